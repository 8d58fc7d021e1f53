//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/blockdev/blockdevtest"
)

// background starts a slow pull and returns it once some has been fetched.
func (p *published) background(t *testing.T, output string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	stderr = new(bytes.Buffer)
	cmd = pullCommand(p.new.ref, output, "--quiet")
	cmd.Stderr = stderr
	p.proxy.Forget()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for began := time.Now(); p.proxy.Counts().Sent < moduleSize/2; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("the pull does not begin:\n%s", stderr)
		}
	}
	return cmd, stderr
}

// refused pulls, which must end with that code.
func (p *published) refused(t *testing.T, code int, output string, args []string, says ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := pullCommand(p.new.ref, output, append(args, "--quiet")...)
	cmd.Stderr = &stderr
	wantExit(t, cmd.Run(), code, stderr.String(), says...)
}

// TestPullInterrupted stops pulls with signals: the next one goes on.
func TestPullInterrupted(t *testing.T) {
	p := publish(t)
	size := fileSize(t, p.new.img)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run("file, "+signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "esxi.img")
			p.slowly(func() {
				cmd, stderr := p.background(t, out)
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				wantExit(t, cmd.Wait(), 130, stderr.String(), "interrupted", "goes on from where it stopped")
			})
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the name is there: %v", err)
			}
			s := pull(t, p.new.ref, out)
			if s.Reused == 0 {
				t.Errorf("nothing was reused: %+v", s)
			}
			run(t, "cmp", p.new.img, out)
		})
		t.Run("device, "+signal.String(), func(t *testing.T) {
			loop := blockdevtest.New(t, size, blockdevtest.Options{})
			fill(t, loop, p.old.img)
			p.slowly(func() {
				cmd, stderr := p.background(t, loop.Path)
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				wantExit(t, cmd.Wait(), 130, stderr.String(), "interrupted", "goes on from where it stopped")
			})
			d := device{published: p, sector: 512, size: size}
			if d.boots(t, loop.Path) {
				t.Error("the device boots")
			}
			pull(t, p.new.ref, loop.Path)
			run(t, "cmp", p.new.img, loop.Backing)
		})
	}
}

// TestTwoPulls wants one pull at a time, and the first one undisturbed.
func TestTwoPulls(t *testing.T) {
	p := publish(t)
	loop := blockdevtest.New(t, fileSize(t, p.new.img), blockdevtest.Options{})
	out := filepath.Join(t.TempDir(), "esxi.img")
	for _, c := range []struct{ output, says string }{
		{out, "is being written by another process"},
		{loop.Path, "is in use by another program"},
	} {
		p.slowly(func() {
			first, stderr := p.background(t, c.output)
			p.refused(t, 5, c.output, nil, c.output, c.says, "Advice: wait")
			if err := first.Wait(); err != nil {
				t.Fatalf("the first: %v\n%s", err, stderr)
			}
		})
		run(t, "cmp", p.new.img, c.output)
	}
}

// TestPullFullDisk pulls to a file system that is too small; when it has
// become larger the pull goes on.
func TestPullFullDisk(t *testing.T) {
	p := publish(t)
	dir := filepath.Join(t.TempDir(), "full")
	mount(t, dir, "size=30m")
	out := filepath.Join(dir, "esxi.img")
	p.refused(t, 5, out, nil, out+": no space left on device", "Advice: free some space")
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the name is there: %v", err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	if s := pull(t, p.new.ref, out); s.Reused == 0 {
		t.Errorf("nothing was reused: %+v", s)
	}
	run(t, "cmp", p.new.img, out)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestDeviceRefused names devices that must not be written to, and compares
// them afterwards.
func TestDeviceRefused(t *testing.T) {
	p := publish(t)
	size := fileSize(t, p.new.img)
	unchanged := func(t *testing.T, path string, do func()) {
		t.Helper()
		before := sum(t, path, fileSize(t, path))
		do()
		run(t, "sync", path)
		if got := sum(t, path, fileSize(t, path)); got != before {
			t.Error("it was written to")
		}
	}
	t.Run("foreign", func(t *testing.T) {
		loop := blockdevtest.New(t, size, blockdevtest.Options{})
		run(t, "mkfs.ext4", "-q", loop.Path)
		unchanged(t, loop.Backing, func() {
			p.refused(t, 5, loop.Path, nil, loop.Path, "ext4", "--force")
		})
		pull(t, p.new.ref, loop.Path, "--force")
		run(t, "cmp", p.new.img, loop.Backing)
	})
	t.Run("mounted", func(t *testing.T) {
		loop := blockdevtest.New(t, size, blockdevtest.Options{})
		run(t, "mkfs.ext4", "-q", loop.Path)
		dir := filepath.Join(t.TempDir(), "mnt")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "mount", loop.Path, dir)
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
		p.refused(t, 5, loop.Path, []string{"--force"}, loop.Path+": is mounted: "+dir, "Advice: make sure that it is the right disk")
	})
	t.Run("too small", func(t *testing.T) {
		loop := blockdevtest.New(t, size-512, blockdevtest.Options{})
		run(t, "dd", "if="+p.old.img, "of="+loop.Path, "bs=512", "conv=fsync", "status=none", "count=4096")
		unchanged(t, loop.Backing, func() {
			p.refused(t, 3, loop.Path, nil, "Advice: name a larger disk")
		})
	})
	t.Run("another serial number", func(t *testing.T) {
		loop := blockdevtest.New(t, size, blockdevtest.Options{})
		unchanged(t, loop.Backing, func() {
			p.refused(t, 3, loop.Path, []string{"--expect-serial", "S45RNC0R123456"}, "serial number of "+loop.Path, "S45RNC0R123456")
			p.refused(t, 3, loop.Path, []string{"--expect-wwn", "0x5002538e40a1b2c3"}, "0x5002538e40a1b2c3")
		})
	})
	t.Run("no device", func(t *testing.T) {
		p.refused(t, 5, "/dev/null", nil, "/dev/null: is not a block device", "Advice: name a disk under /dev")
		p.refused(t, 5, "/dev/there-is-no-such-disk", nil, "Advice: name a disk under /dev")
		if _, err := os.Stat("/dev/there-is-no-such-disk"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it was made: %v", err)
		}
	})
}
