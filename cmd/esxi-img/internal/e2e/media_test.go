//go:build e2e

package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// size of a synthetic medium, as mkiso names it.
type size string

const (
	small size = "small"
	full  size = "full"
)

// flavour is a way in which installer media are mastered.
type flavour struct{ names, tool string }

func (f flavour) String() string { return f.names + "-" + f.tool }

var plain = flavour{"plain", "builtin"}

var flavours = []flavour{
	plain,
	{"plain", "genisoimage"},
	{"rockridge", "xorriso"}, // with Joliet
	{"rockridge", "genisoimage"},
	{"joliet", "xorriso"},
	{"lower", "builtin"},
	{"lower", "xorriso"},
}

// mkiso is the built pkg/esxitest/mkiso.
func mkiso() string { return filepath.Join(workDir, "mkiso") }

func buildMkiso() error {
	return goRun("build", "-o", mkiso(), "github.com/esxi-img/esxi-img/pkg/esxitest/mkiso")
}

// isos makes each medium that tests share a single time.
var isos struct {
	sync.Mutex
	made map[string]*sync.Once
}

// iso returns the path of a medium. efi, if not empty, is the file that
// becomes its boot program.
func (f flavour) iso(t *testing.T, s size, efi string) string {
	t.Helper()
	name := fmt.Sprintf("%v-%s-%s.iso", f, s, filepath.Base(efi))
	path := filepath.Join(workDir, name)

	isos.Lock()
	if isos.made == nil {
		isos.made = map[string]*sync.Once{}
	}
	if isos.made[name] == nil {
		isos.made[name] = new(sync.Once)
	}
	first := isos.made[name]
	isos.Unlock()

	first.Do(func() {
		run(t, mkiso(), "-size", string(s), "-flavour", f.names, "-tool", f.tool, "-efi", efi, path)
	})
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("another test failed to make it: %v", err)
	}
	return path
}

// extract takes all files off a medium with xorriso.
func extract(t *testing.T, iso string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "medium")
	run(t, "xorriso", "-osirrox", "on:auto_chmod_on", "-indev", iso, "-extract", "/", dir)
	run(t, "chmod", "-R", "u+rwX", dir) // so that the test's folder can be removed
	return dir
}

// hashes returns the SHA-256 of every file under a folder. FAT and firmware do
// not tell case apart, so the paths are in lower case.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		sum, err := hashFile(path)
		sums[strings.ToLower(filepath.ToSlash(rel))] = sum
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sums) == 0 {
		t.Fatalf("no files under %s", dir)
	}
	return sums
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), errors.Join(err, f.Close())
}
