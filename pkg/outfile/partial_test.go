package outfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/outfile"
)

func openPartial(t *testing.T, path string) *outfile.Partial {
	t.Helper()
	p, err := outfile.OpenPartial(path, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What one run keeps the next one finds, and only Commit gives it its name.
func TestPartialIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	p := openPartial(t, path)
	if p.Found != 0 {
		t.Errorf("found %d bytes in a new one", p.Found)
	}
	if _, err := p.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	why := errors.New("no network")
	if err := p.Keep(&fs.PathError{Op: "write", Path: p.Name(), Err: why}); !errors.Is(err, why) || err.Error() != "write "+path+": no network" {
		t.Errorf("Keep() = %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before Commit: %v", err)
	}
	p = openPartial(t, path)
	if p.Found != 4 {
		t.Errorf("found %d bytes", p.Found)
	}
	if _, err := p.WriteAt([]byte(" and half"), 4); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); string(b) != "half and half" || names(t, dir) != "a" {
		t.Errorf("%q, %v; the folder holds %s", b, err, names(t, dir))
	}
	p = openPartial(t, path)
	if err := p.Discard(nil); err != nil || names(t, dir) != "a" {
		t.Errorf("%v; the folder holds %s", err, names(t, dir))
	}
	if _, err := outfile.OpenPartial(path, false); !errors.Is(err, outfile.ErrExists) {
		t.Errorf("without replace: %v", err)
	}
}

// What lies in the temporary file's place may be somebody's trap.
func TestPartialFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	symlink(t, victim, filepath.Join(dir, ".a.partial"))
	if p, err := outfile.OpenPartial(filepath.Join(dir, "a"), true); err == nil {
		t.Errorf("%s was opened", p.Name())
	}
	if b, err := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

// Writers take turns, and none ever holds what another has finished.
func TestPartialOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	for range 60 {
		first := openPartial(t, path)
		if _, err := outfile.OpenPartial(path, true); !errors.Is(err, outfile.ErrBusy) {
			t.Fatalf("the second: %v", err)
		}
		var others sync.WaitGroup
		for range 4 {
			others.Go(func() {
				p, err := outfile.OpenPartial(path, true)
				for errors.Is(err, outfile.ErrBusy) {
					p, err = outfile.OpenPartial(path, true)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if p.Found != 0 {
					t.Error("a writer holds a file that was finished")
				}
				if err := p.Discard(nil); err != nil {
					t.Error(err)
				}
			})
		}
		if _, err := first.WriteString("first"); err != nil {
			t.Fatal(err)
		}
		if err := first.Commit(); err != nil {
			t.Fatal(err)
		}
		others.Wait()
		if b, err := os.ReadFile(path); string(b) != "first" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}
