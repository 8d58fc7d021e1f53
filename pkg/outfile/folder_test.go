package outfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/outfile"
)

func createFolder(t *testing.T, path string, replace func(string) error) *outfile.Folder {
	t.Helper()
	f, err := outfile.CreateFolder(path, replace)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.Path, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAFolderAppearsWhenItIsComplete(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	f := createFolder(t, path, nil)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there before it is complete: %v", err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, path); got != "new" {
		t.Errorf("it holds %q", got)
	}
	if got := names(t, dir); got != "out" {
		t.Errorf("beside it is %q", got)
	}
	if _, err := outfile.CreateFolder(path, nil); !errors.Is(err, outfile.ErrExists) {
		t.Errorf("a second one: %v", err)
	}
}

func TestAFolderIsReplacedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := os.MkdirAll(filepath.Join(path, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("dear to me")
	if _, err := outfile.CreateFolder(path, func(string) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("error %v", err)
	}
	f := createFolder(t, path, func(string) error { return nil })
	if got := names(t, path); got != "old" {
		t.Errorf("before: %q", got)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, path); got != "new" {
		t.Errorf("after: %q", got)
	}
	if got := names(t, dir); got != "out" {
		t.Errorf("beside it is %q", got)
	}
}

func TestAFolderThatIsDiscardedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	f := createFolder(t, path, nil)
	why := &fs.PathError{Op: "write", Path: filepath.Join(f.Path, "new"), Err: errors.New("no space")}
	if err := f.Discard(why); err == nil || err.Error() != "write "+filepath.Join(path, "new")+": no space" {
		t.Errorf("error %v", err)
	}
	if got := names(t, dir); got != "" {
		t.Errorf("left behind: %q", got)
	}
}

func TestAFolderInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := outfile.CreateFolder(path, func(string) error { return nil }); err == nil || !strings.Contains(err.Error(), "is not a folder") {
		t.Errorf("error %v", err)
	}
}
