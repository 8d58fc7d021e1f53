// Command bench measures esxi-img against what people use without it, on a
// synthetic ISO of full size. It prints one line a figure and never fails
// because a figure is slow.
//
// Each run of ours is paired with one of the peer's, right before or after it
// in turn, so that both meet the same machine; the ratio is the median of the
// pairs' ratios. Files are in the page cache; outputs are deleted and the
// disk is left to settle between runs. Both sides end on the disk.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the figures work with.
type bench struct {
	program string // esxi-img
	iso     string // full size
	dir     string // for outputs; on the disk that is measured
	runs    int
	status  io.Writer

	artifact *artifact // what the figures of registries share, once it is made
	tagged   *tagged   // what those of lists share

	imageBuilt bool // what the figures of customising share
}

func run(ctx context.Context, args []string, stdout, status io.Writer) (err error) {
	b := &bench{status: status}
	defer func() { err = errors.Join(err, b.close()) }()
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(status)
	flags.StringVar(&b.program, "program", "bin/esxi-img", "the esxi-img `FILE` to measure")
	flags.StringVar(&b.iso, "iso", "", "measure with this ISO `FILE` (default: a synthetic one)")
	flags.StringVar(&b.dir, "dir", defaultDir(), "work `FOLDER`, on the disk to measure")
	flags.IntVar(&b.runs, "runs", 5, "pairs of runs per figure")
	only := flags.String("only", "", "measure only figures whose name matches this `REGEXP`")
	asJSON := flags.Bool("json", false, "print the results as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	filter, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	machine := describeMachine()
	if !*asJSON {
		fmt.Fprintln(stdout, machine)
		fmt.Fprintln(stdout, header())
	}
	var results []Result
	for _, f := range figures() {
		if !filter.MatchString(f.Name) {
			continue
		}
		r, err := b.measure(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		results = append(results, r)
		if !*asJSON {
			fmt.Fprintln(stdout, r)
		}
	}
	if *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Machine string   `json:"machine"`
			Figures []Result `json:"figures"`
		}{machine, results})
	}
	return nil
}

func defaultDir() string {
	if dir := os.Getenv("BENCHDIR"); dir != "" {
		return dir
	}
	return filepath.Join("build", "bench")
}

// prepare makes the medium, and keeps it for the next time.
func (b *bench) prepare(ctx context.Context) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	for _, path := range []*string{&b.program, &b.dir} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	if b.iso != "" {
		_, err := os.Stat(b.iso)
		return err
	}
	b.iso = filepath.Join(b.dir, "full.iso")
	if _, err := os.Stat(b.iso); err == nil {
		return nil
	}
	fmt.Fprintln(b.status, "making", b.iso)
	return b.command(ctx, "go", "run", "./pkg/esxitest/mkiso", "-size", "full", b.iso).run()
}

func describeMachine() string {
	load := ""
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = ", load " + strings.Join(strings.Fields(string(text))[:3], " ")
	}
	return fmt.Sprintf("%s/%s, %d CPUs%s, %s%s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpuModel(), runtime.Version(), load)
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}
