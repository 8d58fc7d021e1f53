//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programEnv names an esxi-img to judge instead of one built from this tree,
// such as a released one.
const programEnv = "ESXI_IMG_E2E_PROGRAM"

var (
	program string // the esxi-img under test
	workDir string // lives as long as the test binary
)

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	// mkfs.vfat, sgdisk and fdisk live there, and PATH may not say so.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return 1, err
	}
	workDir, err = os.MkdirTemp("", "esxi-img-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(workDir)) }()

	program = os.Getenv(programEnv)
	if program == "" {
		program = filepath.Join(workDir, "esxi-img")
		if err := goRun("build", "-trimpath", "-o", program, "github.com/esxi-img/esxi-img/cmd/esxi-img"); err != nil {
			return 1, err
		}
	}
	if err := buildMkiso(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func goRun(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// toolTimeout bounds one run of a foreign program other than QEMU.
const toolTimeout = 3 * time.Minute

// run runs a program, which must succeed, and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return runInput(t, "", name, args...)
}

func runInput(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	out, err := try(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func try(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "MTOOLS_SKIP_CHECK=0", "MTOOLSRC=/dev/null")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// build builds an image with the program under test.
func build(t *testing.T, iso string, args ...string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "esxi.img")
	run(t, program, append([]string{"build", iso, "--output", img, "--quiet"}, args...)...)
	return img
}
