package artifact_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func writeFile(tb testing.TB, name string, b []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// What lies in a seed is not fetched, wherever in it; what is wrong there is.
func TestPullSeeds(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{Headroom: 3 << 20})
	want := diskOf(t, layout)
	content := contentOf(packed.Config)
	s := serve(t, layout)

	// Another release of the same size, in which three large files are the same
	// and lie elsewhere.
	other, _ := packLarge(t, imager.Profile{KernelOpts: []string{"x=1"}, Modules: []imager.Module{{Name: "AAA.TGZ", Data: helperModule(t)}}})
	otherDisk := diskOf(t, other)
	damaged := append([]byte(nil), large()...)
	for i := range damaged[len(damaged)/2 : len(damaged)/2+100] {
		damaged[len(damaged)/2+i] ^= 0x55
	}
	for name, c := range map[string]struct {
		seeds   []string
		fetched int64 // at most
	}{
		"ISO":                   {[]string{writeFile(t, "esxi.iso", large())}, content / 50},
		"image":                 {[]string{writeFile(t, "other.img", otherDisk)}, content / 50},
		"the same, cut":         {[]string{writeFile(t, "cut.img", want[:20<<20])}, content * 6 / 10},
		"no tables":             {[]string{writeFile(t, "raw.img", append(make([]byte, 1<<20), want[1<<20:]...))}, content / 50},
		"other firmware":        {[]string{writeFile(t, "next.iso", largeWith(9))}, content/50 + firmwareSize},
		"damaged ISO":           {[]string{writeFile(t, "damaged.iso", damaged)}, content/50 + 2*artifact.PieceSize},
		"noise, ISO":            {[]string{writeFile(t, "noise", make([]byte, 5000)), writeFile(t, "esxi.iso", large())}, content / 50},
		"an ISO of another one": {[]string{writeFile(t, "esxi.iso", esxitest.Bytes(esxitest.WithSeed(7)))}, content * 102 / 100},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "esxi.img")
			opts := skip
			opts.Seeds = c.seeds
			s.Forget()
			p := pullTo(t, s.repo, path, opts)
			holds(t, path, want)
			if sent := s.Counts().Sent; p.Fetched > c.fetched || sent > c.fetched+1<<20 || p.Fetched+p.Reused < content {
				t.Errorf("fetched %d (%d sent), reused %d of %d; at most %d", p.Fetched, sent, p.Reused, content, c.fetched)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "esxi.img")
	for name, seed := range map[string]string{
		"missing": "no-such-file", "folder": t.TempDir(), "qcow2": writeFile(t, "a.qcow2", []byte("QFI\xfb and so on")), "empty": writeFile(t, "empty", nil),
	} {
		opts := skip
		opts.Seeds = []string{seed}
		var bad *artifact.SeedError
		if _, err := tryPull(t.Context(), t, s.repo, path, false, opts); !errors.As(err, &bad) || bad.Path != seed {
			t.Errorf("%s: %v", name, err)
		}
	}
	only(t, filepath.Dir(path))
}

func helperModule(tb testing.TB) []byte {
	tb.Helper()
	b, err := imager.InstallerModule()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// What was pulled with a cache is pulled again without a registry's help, and
// nothing in the cache is believed.
func TestPullCache(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{})
	want := diskOf(t, layout)
	s := serve(t, layout)
	dir := t.TempDir()
	opts := skip
	opts.Cache = filepath.Join(dir, "cache")
	pull := func(name string) *artifact.Pulled {
		t.Helper()
		path := filepath.Join(dir, name)
		p := pullTo(t, s.repo, path, opts)
		holds(t, path, want)
		return p
	}
	pull("first.img")
	if p := pull("second.img"); p.Fetched != 0 || p.Reused < contentOf(packed.Config) {
		t.Errorf("the second: fetched %d, reused %d", p.Fetched, p.Reused)
	}
	pieces := cached(t, opts.Cache)
	var largest string
	for path, size := range pieces {
		if size > pieces[largest] {
			largest = path
		}
	}
	if err := os.WriteFile(largest, make([]byte, pieces[largest]), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := pull("third.img"); p.Fetched != pieces[largest] {
		t.Errorf("a damaged piece: fetched %d, not %d", p.Fetched, pieces[largest])
	}
	if p := pull("fourth.img"); p.Fetched != 0 {
		t.Errorf("it was not replaced: fetched %d", p.Fetched)
	}

	// What was used least recently goes, and nothing of others.
	strange := filepath.Join(opts.Cache, "letter.txt")
	if err := os.WriteFile(strange, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	oldest := ""
	for path, size := range pieces {
		if size == artifact.PieceSize { // of a file that only this medium has
			oldest = path
		}
	}
	if err := os.Chtimes(oldest, old, old); err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, size := range pieces {
		total += size
	}
	opts.CacheLimit = total - 1
	newer, _ := pack(t, imager.Profile{KernelOpts: []string{"b=2"}})
	if _, err := tryPull(t.Context(), t, newer, filepath.Join(dir, "fifth.img"), false, opts); err != nil {
		t.Fatal(err)
	}
	left := cached(t, opts.Cache)
	var now int64
	for _, size := range left {
		now += size
	}
	if _, there := left[oldest]; there || now > opts.CacheLimit || now < opts.CacheLimit/2 {
		t.Errorf("%d bytes are left of %d with a limit of %d; the oldest is there: %v", now, total, opts.CacheLimit, there)
	}
	if _, err := os.Stat(strange); err != nil {
		t.Error(err)
	}
}

// A cache that cannot be written to stops nothing.
func TestPullCacheFails(t *testing.T) {
	layout, _ := pack(t, imager.Profile{})
	opts := skip
	opts.Cache = filepath.Join(writeFile(t, "file", []byte("x")), "cache")
	path := filepath.Join(t.TempDir(), "esxi.img")
	p := pullTo(t, layout, path, opts)
	holds(t, path, diskOf(t, layout))
	if len(p.Notes) != 1 {
		t.Errorf("notes: %q", p.Notes)
	}
}

// cached lists the pieces of a cache with their sizes.
func cached(tb testing.TB, dir string) map[string]int64 {
	tb.Helper()
	found := map[string]int64{}
	err := filepath.WalkDir(filepath.Join(dir, "sha256"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			found[path] = info.Size()
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	if len(found) == 0 {
		tb.Fatal("the cache is empty")
	}
	return found
}

// A repository that is gone is told of as such, and a pull from what is not an
// image too.
func TestPullFromNowhere(t *testing.T) {
	layout := registry.NewRepository(newLayout(t))
	if _, err := tryPull(t.Context(), t, layout, filepath.Join(t.TempDir(), "a"), false, skip); err == nil {
		t.Error("something was pulled")
	}
}
