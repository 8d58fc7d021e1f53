// Command esxi-img turns a VMware ESXi installer ISO into a disk image that
// installs ESXi unattended.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/cli"
)

// Set by the linker (see Makefile).
var (
	version = "devel"
	commit  = ""
	date    = ""
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, os.Args[1:], cli.System{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv,
		Build:  cli.BuildInfo{Version: version, Commit: commit, Date: date},
	})
}
