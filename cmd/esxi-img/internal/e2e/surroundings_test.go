//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is Debian's user without rights.
const nobody = 65534

// TestInterrupted stops a build in its middle: nothing may be left behind.
func TestInterrupted(t *testing.T) {
	iso := plain.iso(t, full, "")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := t.TempDir()
			var stderr bytes.Buffer
			cmd := exec.Command(program, "build", iso, "--output", filepath.Join(dir, "esxi.img"))
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitForFile(t, dir)
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			wantExit(t, cmd.Wait(), 130, stderr.String(), "interrupted")
			wantEmpty(t, dir)
		})
	}
}

// waitForFile waits until something is written in the folder.
func waitForFile(t *testing.T, dir string) {
	t.Helper()
	for range 10_000 {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the build did not begin to write")
}

func wantExit(t *testing.T, err error, code int, stderr string, says ...string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Fatalf("ended with %v, want exit code %d\n%s", err, code, stderr)
	}
	for _, s := range says {
		if !strings.Contains(stderr, s) {
			t.Errorf("does not say %q:\n%s", s, stderr)
		}
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left behind", e.Name())
	}
}

// mount mounts a tmpfs for as long as the test takes.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount a tmpfs (root is needed): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// TestFullDisk builds onto a file system that is too small.
func TestFullDisk(t *testing.T) {
	iso := plain.iso(t, small, "")
	dir := filepath.Join(t.TempDir(), "full")
	mount(t, dir, "size=1m")
	out, err := try(t, "", program, "build", iso, "--output", filepath.Join(dir, "esxi.img"))
	wantExit(t, err, 5, out, filepath.Join(dir, "esxi.img")+": no space left on device", "Advice: free some space")
	wantEmpty(t, dir)
}

// TestBareSurroundings builds as a user without rights, in a root that holds
// the program, the ISO and a folder for the output and nothing else: no /dev,
// no /proc, no PATH, no HOME, and all but that folder read-only.
func TestBareSurroundings(t *testing.T) {
	iso := plain.iso(t, small, "")
	want := build(t, iso)

	root := filepath.Join(t.TempDir(), "root")
	mount(t, root, "size=64m,mode=0755")
	copyFile(t, program, filepath.Join(root, "esxi-img"), 0o755)
	copyFile(t, iso, filepath.Join(root, "esxi.iso"), 0o644)
	out := filepath.Join(root, "out")
	mount(t, out, "size=64m,mode=0700,uid=65534,gid=65534")
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}

	var text bytes.Buffer
	cmd := exec.Command("/esxi-img", "build", "/esxi.iso", "--output", "/out/esxi.img")
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.Stdout, cmd.Stderr = &text, &text
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &text)
	}
	run(t, "cmp", want, filepath.Join(out, "esxi.img"))
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, mode); err != nil {
		t.Fatal(err)
	}
}
