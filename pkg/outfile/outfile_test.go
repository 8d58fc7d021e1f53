package outfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/outfile"
)

// names lists what is in a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.Name()
	}
	return strings.Join(list, " ")
}

func TestNothingUnderTheNameBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f, err := outfile.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("whole"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before Commit: %v", err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); string(b) != "whole" || names(t, dir) != "a" {
		t.Errorf("%q, %v; the folder holds %s", b, err, names(t, dir))
	}
}

func TestDiscardSaysWhyAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f, err := outfile.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("the disk is on fire")
	if err := f.Discard(&fs.PathError{Op: "write", Path: f.Name(), Err: why}); !errors.Is(err, why) || !strings.Contains(err.Error(), path+":") {
		t.Errorf("Discard() = %v, want the reason and %s", err, path)
	}
	if got := names(t, dir); got != "" {
		t.Errorf("%s was left behind", got)
	}
}

// A name that was taken in the meantime is not overwritten.
func TestNameTakenBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f, err := outfile.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, outfile.ErrExists) {
		t.Errorf("Commit() = %v", err)
	}
	if err := f.Discard(nil); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "theirs" || names(t, dir) != "a" {
		t.Errorf("%q; the folder holds %s", b, names(t, dir))
	}
}

// symlink makes a link, for which Windows needs a right.
func symlink(t *testing.T, target, link string) {
	t.Helper()
	err := os.Symlink(target, link)
	switch {
	case err != nil && runtime.GOOS == "windows":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

func TestALinkStaysALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	symlink(t, "target", link)
	if err := outfile.Write(link, []byte("new"), true); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info, err)
	}
	if b, _ := os.ReadFile(target); string(b) != "new" {
		t.Errorf("the target holds %q", b)
	}
}
