package catalog_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

func TestList(t *testing.T) {
	f := newFake(t)
	base := f.tag("8.0", image("8.0.2", "22380479", annotated(artifact.AnnotationUpdate, "U2")))
	f.tag("8.0.2-22380479", image("8.0.2", "22380479", annotated(artifact.AnnotationUpdate, "U2")))
	f.tag("lab", image("8.0.2", "22380479", variantOf(base)))
	f.tag("old-lab", image("8.0.2", "22380479", variantOf("")))
	f.tag("copied", image("7.0.3", "21930508", func(x *ocispec.Index) {
		// As skopeo 1.9 writes it.
		x.ArtifactType, x.Manifests[0].ArtifactType = "", ""
		x.Manifests[0].Annotations = map[string]string{artifact.AnnotationDiskType: artifact.DiskTypeImage}
	}))
	f.tag("nginx", foreign)
	f.tag("schema1", "{}")
	f.types["schema1"] = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	f.tag("two", image("8.0.2", "1", func(x *ocispec.Index) { x.Manifests = append(x.Manifests, x.Manifests[0]) }))
	f.tag("none", image("8.0.2", "1", func(x *ocispec.Index) { x.Manifests = []ocispec.Descriptor{} }))
	f.tag("sha256-"+base.Encoded(), foreign)
	f.tag("sha256-"+base.Encoded()+".sig", foreign)
	l := f.listing(t, catalog.Options{})

	e := find(t, l, "8.0")
	if e.Digest != base || e.Release != "8.0.2" || e.Update != "U2" || e.Build != "22380479" || e.Architecture != "amd64" || e.Variant ||
		e.Size != 36700160 || e.Created == nil || !e.Created.Equal(time.Date(2023, 9, 4, 14, 59, 10, 0, time.UTC)) || e.Signed != "" {
		t.Errorf("%+v", e)
	}
	if e.Repository != f.Host+"/fake/esxi" || l.Repository != e.Repository {
		t.Errorf("%q, %q", e.Repository, l.Repository)
	}
	if v := find(t, l, "lab"); !v.Variant || v.Base == nil || v.Base.Digest != base || strings.Join(v.Base.Tags, " ") != "8.0 8.0.2-22380479" {
		t.Errorf("%+v", v)
	}
	if v := find(t, l, "old-lab"); !v.Variant || v.Base != nil {
		t.Errorf("%+v", v)
	}
	if c := find(t, l, "copied"); c.Release != "7.0.3" {
		t.Errorf("%+v", c)
	}
	for tag, why := range map[string]string{"two": "2 image manifests", "none": "0 image manifests", "schema1": "not a manifest"} {
		if b := find(t, l, tag); !strings.Contains(b.Problem, why) || b.Release != "" {
			t.Errorf("%+v", b)
		}
	}
	if len(l.Entries) != 8 || l.Foreign != 1 || l.Attached != 2 || l.Gone != 0 {
		t.Errorf("%d entries, %d foreign, %d attached, %d gone", len(l.Entries), l.Foreign, l.Attached, l.Gone)
	}
	// Nothing but the tags and one request for each that is not attached.
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Tags: 1, registrytest.Manifests: 9, registrytest.Referrers: 0}, 0)
}

// TestHostileTexts holds that nothing that an image says can move a cursor,
// hide text, or fill a screen.
func TestHostileTexts(t *testing.T) {
	f := newFake(t)
	evil := "8.0  U2\x1b[2J\u009b31m\u202eevil\u2066\x00\r\n\t\xff"
	f.tag("evil", image("8", "1", func(x *ocispec.Index) {
		for key := range x.Annotations {
			x.Annotations[key] = evil
		}
		x.Annotations[ocispec.AnnotationTitle] = evil + strings.Repeat("A", 1<<20)
		x.Manifests[0].Platform.Architecture = evil
	}))
	f.tag("broken", image("8", "1", func(x *ocispec.Index) { x.MediaType, x.Manifests = evil, nil }))
	f.types["broken"] = "application/evil\u202e"
	l := f.listing(t, catalog.Options{})
	if len(l.Entries) != 2 {
		t.Fatalf("%+v", l)
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		if e.Tag == "evil" && (e.Release == "" || e.Size != 0 || e.Created != nil) {
			t.Errorf("%+v", e)
		}
		if words := e.Version + e.Release + e.Update + e.Build + e.Profile + e.Architecture; strings.Contains(words, " ") {
			t.Errorf("%q could pass for columns", words)
		}
		for _, s := range []string{e.Tag, e.Title, e.Version, e.Release, e.Update, e.Build, e.Profile, e.Architecture, e.Problem} {
			if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || len([]rune(s)) > catalog.MaxText+1 {
				t.Errorf("%q", s[:min(len(s), 300)])
			}
		}
	}
}

// TestCache holds what a second list asks for.
func TestCache(t *testing.T) {
	f := many(t, 50)
	f.tag("nginx", foreign)
	opts := catalog.Options{Cache: filepath.Join(t.TempDir(), "cache")}
	first := f.listing(t, opts)
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Manifests: 51}, 0)
	same := func() {
		t.Helper()
		l := f.listing(t, opts)
		if len(l.Entries) != 50 || l.Foreign != 1 || l.Entries[7].Build != first.Entries[7].Build || len(l.Notes) > 0 {
			t.Errorf("%d entries, %+v", len(l.Entries), l.Entries[7])
		}
	}
	same()
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Manifests: 0}, 51)

	// A tag that was moved is read.
	f.tag("t00003", image("9.0.0", "99"))
	if e := find(t, f.listing(t, opts), "t00003"); e.Release != "9.0.0" {
		t.Errorf("%+v", e)
	}
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Manifests: 1}, 51)

	// A new one and one that is gone.
	f.tag("new", image("9.0.0", "100"))
	find(t, f.listing(t, opts), "new")
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Manifests: 1}, 51)
	delete(f.tags, "new")
	same()

	// What was damaged is read again.
	paths, err := filepath.Glob(filepath.Join(opts.Cache, "sha256", "??", "*"))
	if err != nil || len(paths) != 53 {
		t.Fatal(len(paths), err)
	}
	for _, path := range paths[:5] {
		if err := os.WriteFile(path, []byte("application/vnd.oci.image.index.v1+json\n{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	same()
	if n := f.Counts().Requests["GET manifests"]; n < 3 || n > 5 {
		t.Errorf("%d were read again", n)
	}

	// A registry that tells no digests is read as if there were no cache.
	f.digestless = true
	same()
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Manifests: 51}, 51)
}

// TestCacheIsTrimmed holds that what was written first goes, that what is not the
// cache's stays, and that nobody else may read it.
func TestCacheIsTrimmed(t *testing.T) {
	f := many(t, 3)
	dir := filepath.Join(t.TempDir(), "cache")
	sparse := func(name string, size int64, age time.Duration) string {
		path := filepath.Join(dir, filepath.FromSlash(name))
		when := time.Now().Add(-age)
		err := errors.Join(
			os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600), os.Truncate(path, size), os.Chtimes(path, when, when),
		)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	wanted := map[string]bool{
		sparse("sha256/ab/"+strings.Repeat("a", 64), 70<<20, 5*time.Hour): false,
		sparse("sha256/ab/"+strings.Repeat("b", 64), 30<<20, 4*time.Hour): true,
		sparse("sha256/ab/"+strings.Repeat("c", 64), 60<<20, 3*time.Hour): true,
		sparse("sha256/ab/notes.txt", 1<<30, 6*time.Hour):                 true,
		sparse("tmp/piece-1", 1, 2*time.Hour):                             false,
		sparse("tmp/piece-2", 1, time.Minute):                             true,
	}
	f.listing(t, catalog.Options{Cache: dir})
	for path, stays := range wanted {
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v", path, err)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCacheElsewhere holds that a cache that cannot be written to stops
// nothing.
func TestCacheElsewhere(t *testing.T) {
	f := many(t, 3)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := f.listing(t, catalog.Options{Cache: filepath.Join(file, "cache")})
	if len(l.Entries) != 3 || len(l.Notes) != 1 || !strings.Contains(l.Notes[0], "the cache was not filled") {
		t.Errorf("%+v", l)
	}
}

// TestGone lists what is left when tags vanish between the list and the request.
func TestGone(t *testing.T) {
	f := many(t, 10)
	f.Tell(registrytest.Where(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/t00004") }, registrytest.Refuse(http.StatusNotFound, "")))
	if l := f.listing(t, catalog.Options{}); len(l.Entries) != 9 || l.Gone != 1 {
		t.Errorf("%d entries, %d gone", len(l.Entries), l.Gone)
	}
}

// TestFailures holds that there is no list where the registry does not answer.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		lie    registrytest.Lie
		status int
	}{
		"no repository":  {registrytest.On("GET", registrytest.Tags, registrytest.Refuse(http.StatusNotFound, "")), http.StatusNotFound},
		"no permission":  {registrytest.On("GET", registrytest.Tags, registrytest.Refuse(http.StatusForbidden, "")), http.StatusForbidden},
		"not this one":   {registrytest.On("GET", registrytest.Manifests, registrytest.Refuse(http.StatusForbidden, "")), http.StatusForbidden},
		"busy":           {registrytest.On("GET", registrytest.Manifests, registrytest.Refuse(http.StatusServiceUnavailable, "")), http.StatusServiceUnavailable},
		"referrers fail": {registrytest.On("GET", registrytest.Referrers, registrytest.Refuse(http.StatusInternalServerError, "")), http.StatusInternalServerError},
		"endless tags":   {endlessTags, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := many(t, 5)
			f.Tell(c.lie)
			l, err := catalog.List(t.Context(), f.open(t), catalog.Options{Signers: true, Claims: listReferrers})
			var answer *registry.Error
			if l != nil || !errors.As(err, &answer) || answer.Status != c.status {
				t.Errorf("%v, %v", l, err)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := catalog.List(ctx, many(t, 5).open(t), catalog.Options{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// endlessTags is a list of tags that always goes on.
func endlessTags(truth http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if registrytest.KindOf(r) == registrytest.Tags {
			w.Header().Set("Link", `</v2/fake/esxi/tags/list?last=x>; rel="next"`)
		}
		truth.ServeHTTP(w, r)
	})
}

// TestPages lists 10,000 tags of 100 a page.
func TestPages(t *testing.T) {
	f := many(t, 10_000)
	f.page = 100
	if l := f.listing(t, catalog.Options{}); len(l.Entries) != 10_000 {
		t.Errorf("%d entries", len(l.Entries))
	}
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Tags: 100, registrytest.Manifests: 10_000}, 0)
}

// TestLayout lists a folder, whose tags may be anything.
func TestLayout(t *testing.T) {
	layout, err := registry.NewLayout(filepath.Join(t.TempDir(), "layout"))
	if err != nil {
		t.Fatal(err)
	}
	text := image("8.0.2", "1")
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString(text), Size: int64(len(text))}
	if err := layout.Push(t.Context(), d, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"8.0", "\x1b[31mred"} {
		if err := layout.Tag(t.Context(), d, tag); err != nil {
			t.Fatal(err)
		}
	}
	l, err := catalog.List(t.Context(), registry.NewRepository(layout), catalog.Options{})
	if err != nil || len(l.Entries) != 2 || l.Entries[0].Tag != "\uFFFD[31mred" || l.Entries[1].Release != "8.0.2" {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestRepositories lists a registry, and passes over names that are none.
func TestRepositories(t *testing.T) {
	f := newFake(t)
	refs, err := registry.Repositories(t.Context(), f.Host, registry.Options{Retries: -1})
	if err != nil || len(refs) != 1 || refs[0].Locator() != f.Host+"/fake/esxi" {
		t.Errorf("%v, %v", refs, err)
	}
	f.Tell(registrytest.Refuse(http.StatusUnauthorized, ""))
	if _, err := registry.Repositories(t.Context(), f.Host, registry.Options{Retries: -1}); err == nil {
		t.Error("no error")
	}
}

// BenchmarkList lists 500 signed images over 20 ms of delay.
func BenchmarkList(b *testing.B) {
	f := many(b, 500)
	for _, text := range f.tags {
		f.attach(digest.FromString(text), foreign)
	}
	f.delay = 20 * time.Millisecond
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			f.listing(b, catalog.Options{Signers: true, Claims: listReferrers, Cache: b.TempDir()})
		}
	})
	b.Run("warm", func(b *testing.B) {
		opts := catalog.Options{Signers: true, Claims: listReferrers, Cache: b.TempDir()}
		f.listing(b, opts)
		for b.Loop() {
			f.listing(b, opts)
		}
	})
}
