package cachedir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/cachedir"
)

var options = cachedir.Options{
	Files: []string{"sha256/??/" + cachedir.AnyDigest, "tags/" + cachedir.AnyDigest + ".json"},
	Mode:  0o700, Limit: 400, Room: 75,
}

// digestName is the name of a file of the cache.
func digestName(digit string) string {
	return "sha256/" + digit + digit + "/" + strings.Repeat(digit, 64)
}

// found lists the files below a folder, with slashes.
func found(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	if err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

func place(t *testing.T, path string, age time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-age)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := cachedir.New(dir, options)
	name := digestName("a")
	for _, text := range []string{"one", "another"} {
		c.Write(name, []byte(text))
		if b, err := c.Read(name, int64(len(text))); err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := c.Read(name, int64(len(text))-1); err == nil {
			t.Error("more was read than the limit")
		}
	}
	if got := found(t, dir); !slices.Equal(got, []string{name}) {
		t.Errorf("there are %q", got)
	}
	for _, folder := range []string{"", "sha256", "sha256/aa", "tmp"} {
		info, err := os.Stat(filepath.Join(dir, folder))
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != options.Mode {
			t.Errorf("%s: %v, %v", folder, info, err)
		}
	}
	if notes := c.Notes(); notes != nil {
		t.Error(notes)
	}
	c.Remove(name)
	if _, err := c.Read(name, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Without a folder nothing is kept, and nothing fails.
func TestNoCache(t *testing.T) {
	c := cachedir.New("", options)
	c.Write("sha256/aa/a", nil)
	c.Trim()
	if _, err := c.Read("sha256/aa/a", 1); c.Notes() != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Error(c.Notes(), err)
	}
}

func TestTheFirstErrorEndsWriting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := cachedir.New(dir, options)
	c.Write(digestName("a"), []byte("x"))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	c.Write(digestName("b"), []byte("x"))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was written to once more")
	}
	if notes := c.Notes(); len(notes) != 1 || !strings.Contains(notes[0], dir) {
		t.Errorf("%q", notes)
	}
}

// What was used first goes until the rest is within the share of the limit;
// what others put there stays, as does what is being written.
func TestTrim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with [brackets]") // not a pattern
	c := cachedir.New(dir, options)
	hour := time.Hour
	json := "tags/" + strings.Repeat("e", 64) + ".json"
	for name, age := range map[string]time.Duration{
		digestName("a"): 5 * hour, digestName("b"): 4 * hour, json: 3 * hour, digestName("d"): 2 * hour,
		"tmp/piece-1": 2 * hour, "tmp/piece-2": hour / 2, "tmp/letter": 2 * hour,
		"letter": 9 * hour, "sha256/aa/letter": 9 * hour, "sha256/aaa/" + strings.Repeat("a", 64): 9 * hour,
		"blobs/" + digestName("a"): 9 * hour,
	} {
		place(t, filepath.Join(dir, name), age)
	}
	others := []string{
		"blobs/" + digestName("a"), "letter", "sha256/aa/letter", "sha256/aaa/" + strings.Repeat("a", 64), "tmp/letter", "tmp/piece-2",
	}
	holds := func(when string, own ...string) {
		t.Helper()
		c.Trim()
		want := append(own, others...)
		slices.Sort(want)
		if got := found(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s: there are %q, want %q", when, got, want)
		}
	}
	holds("within the limit", digestName("a"), digestName("b"), digestName("d"), json)
	c.Used(digestName("a"))
	c.Write(digestName("c"), make([]byte, 100))
	holds("over the limit", digestName("a"), digestName("c"), digestName("d"))
}
