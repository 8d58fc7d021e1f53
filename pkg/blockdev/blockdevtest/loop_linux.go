//go:build e2e

package blockdevtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Loop is a loop device that lasts as long as its test.
type Loop struct {
	Path    string // "/dev/loop0"
	Backing string // the file: it has what the device was told to keep
}

// Options of a loop device, beyond its size.
type Options struct {
	SectorSize int  // 512 if 0
	Partitions bool // the kernel looks for them
	ReadOnly   bool
}

// New makes an empty loop device of that size, in bytes.
func New(t testing.TB, size int64, opts Options) *Loop {
	t.Helper()
	backing := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(backing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(backing, size); err != nil {
		t.Fatal(err)
	}
	return Over(t, backing, opts)
}

// Over makes a loop device of a file.
func Over(t testing.TB, backing string, opts Options) *Loop {
	t.Helper()
	sector := opts.SectorSize
	if sector == 0 {
		sector = 512
	}
	args := []string{"--find", "--show", "--sector-size", strconv.Itoa(sector)}
	if opts.Partitions {
		args = append(args, "--partscan")
	}
	if opts.ReadOnly {
		args = append(args, "--read-only")
	}
	path := strings.TrimSpace(Run(t, "losetup", append(args, backing)...))
	t.Cleanup(func() { Run(t, "losetup", "--detach", path) })
	return &Loop{Path: path, Backing: backing}
}

// Run runs a program, which must succeed, and returns what it printed.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	// After the test, too: a device must not outlive it. Debian's PATH of a
	// user lacks sbin, where these are.
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		name = path
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...) //nolint:gosec // a test's
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &problems)
	}
	return string(out)
}
