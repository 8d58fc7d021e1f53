//go:build unix

package cli

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPipesAreNotOpened holds that a pipe that nobody writes to is refused, not
// waited for.
func TestPipesAreNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() error{
		"image": func() error { _, _, err := openInput(path); return err },
		"whole": func() error { _, err := readInput(path, 1<<20); return err },
	} {
		if err := open(); err == nil || !strings.Contains(err.Error(), "cannot be read from any place") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
