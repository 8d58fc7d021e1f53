// Command mkiso writes a synthetic ESXi installer ISO.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/esxi-img/esxi-img/pkg/esxitest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkiso:", err)
		os.Exit(2)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mkiso", flag.ContinueOnError)
	flags.Usage = func() {
		_, _ = fmt.Fprintln(flags.Output(), "usage: mkiso [flags] OUT.iso")
		flags.PrintDefaults()
	}
	size := flags.String("size", "small", "small or full")
	release := flags.String("release", "8.0.2", "6.7U2, 7.0.0, 8.0.2, 8.0.3 or 9.0")
	arch := flags.String("arch", esxitest.AMD64, "amd64 or arm64")
	seed := flags.Uint64("seed", 0, "seed of the noise in the files")
	flavour := flags.String("flavour", string(esxitest.Plain), "plain, rockridge, joliet or lower")
	tool := flags.String("tool", "", "builtin, xorriso or genisoimage (default: builtin where it can, else xorriso)")
	efi := flags.String("efi", "", "a `FILE` to be the boot program, BOOTX64.EFI or BOOTAA64.EFI")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("one OUT.iso is needed")
	}
	opts, err := options(*size, *release, *arch, *seed, *efi)
	if err != nil {
		return err
	}
	start := time.Now()
	how := esxitest.Mastering{Flavour: esxitest.Flavour(*flavour), Tool: esxitest.Tool(*tool)}
	made, err := esxitest.Master(ctx, flags.Arg(0), how, opts...)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %v in %.2f s\n", flags.Arg(0), made, time.Since(start).Seconds())
	return nil
}

func options(size, release, arch string, seed uint64, efi string) ([]esxitest.Option, error) {
	s, err := esxitest.ParseSize(size)
	if err != nil {
		return nil, err
	}
	r, ok := esxitest.FindRelease(release)
	if !ok {
		return nil, fmt.Errorf("no such release: %q", release)
	}
	if arch != esxitest.AMD64 && arch != esxitest.ARM64 {
		return nil, fmt.Errorf("no such architecture: %q", arch)
	}
	opts := []esxitest.Option{
		esxitest.WithSize(s), esxitest.WithRelease(r), esxitest.WithArch(arch), esxitest.WithSeed(seed),
	}
	if efi != "" {
		program, err := os.ReadFile(efi)
		if err != nil {
			return nil, err
		}
		opts = append(opts, esxitest.WithEFI(program))
	}
	return opts, nil
}
