package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// A folder of layouts: what is pushed lies in a layout of the repository's
// name, and comes back.
func TestPushAndFetch(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, server.Options{})
	r := s.open(t, "org/esxi")
	layer, desc := random(t, 3<<20+17)
	manifest := pushImage(t, r, "8.0", layer)

	if got, err := r.Resolve(t.Context(), "8.0"); err != nil || got.Digest != manifest.Digest || got.Size != manifest.Size {
		t.Errorf("the tag is %v, %v", got, err)
	}
	rc, err := r.Fetch(t.Context(), desc)
	if got := read(t, rc, err); !bytes.Equal(got, layer) {
		t.Error("the blob is another")
	}
	rc, err = r.FetchRange(t.Context(), desc, 1<<20+1, 1<<20)
	if got := read(t, rc, err); !bytes.Equal(got, layer[1<<20+1:2<<20+1]) {
		t.Error("the range is another")
	}
	l, err := registry.OpenLayout(filepath.Join(dir, "org", "esxi"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.Resolve(t.Context(), "8.0"); err != nil || got.Digest != manifest.Digest {
		t.Errorf("in the layout the tag is %v, %v", got, err)
	}
	// Blobs are not to be written to, and nothing else is left.
	path, ok := l.LocalPath(desc)
	if info, err := os.Stat(path); !ok || err != nil || info.Mode().Perm()&0o222 != 0 {
		t.Errorf("the blob's file: %v, %v", info, err)
	}
	noTemps(t, l.Dir())
	// A layer that is there is not sent again.
	if ok, err := s.open(t, "org/esxi").Exists(t.Context(), desc); !ok || err != nil {
		t.Errorf("it is not there: %v", err)
	}
	if _, err := s.open(t, "org/other").Resolve(t.Context(), "8.0"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("another repository: %v", err)
	}
}

func noTemps(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, ".esxi-img-*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// A layout is one repository with the folder's name.
func TestSingleLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Esxi-Img.oci")
	l, err := registry.NewLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	layer, _ := random(t, 1000)
	manifest := pushImage(t, registry.NewRepository(l), "latest", layer)

	s := start(t, dir, server.Options{})
	if s.Repository() != "esxi-img.oci" {
		t.Fatalf("it is called %q", s.Repository())
	}
	if got, err := s.open(t, "esxi-img.oci").Resolve(t.Context(), ""); err != nil || got.Digest != manifest.Digest {
		t.Errorf("%v, %v", got, err)
	}
	s.do(t, http.MethodGet, "/v2/esxi-img/tags/list", nil).want(t, http.StatusNotFound, "NAME_UNKNOWN")
	s.do(t, http.MethodPost, "/v2/esxi-img.oci/blobs/blobs/uploads/", nil).want(t, http.StatusForbidden, "DENIED")

	named := start(t, dir, server.Options{Name: "org/esxi"})
	if got, err := named.open(t, "org/esxi").Resolve(t.Context(), "latest"); err != nil || got.Digest != manifest.Digest {
		t.Errorf("%v, %v", got, err)
	}
}

// What cannot be served is refused at the beginning.
func TestNew(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "my layout")
	if _, err := registry.NewLayout(layout); err != nil {
		t.Fatal(err)
	}
	var name *server.NameError
	for _, c := range []struct {
		dir  string
		opts server.Options
		ok   func(error) bool
	}{
		{filepath.Join(dir, "no"), server.Options{ReadOnly: true}, func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		{filepath.Join(dir, "no", "no"), server.Options{}, func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		{file, server.Options{}, func(err error) bool { return err != nil && strings.Contains(err.Error(), "is not a folder") }},
		{layout, server.Options{}, func(err error) bool { return errors.As(err, &name) }},
		{layout, server.Options{Name: "a b"}, func(err error) bool { return errors.As(err, &name) }},
		{dir, server.Options{Name: "a"}, func(err error) bool { return err != nil }},
		{layout, server.Options{Name: "a"}, func(err error) bool { return err == nil }},
		{filepath.Join(dir, "new"), server.Options{}, func(err error) bool { return err == nil }},
	} {
		if _, err := server.New(c.dir, c.opts); !c.ok(err) {
			t.Errorf("%s, %+v: %v", c.dir, c.opts, err)
		}
	}
}

// Repositories do not lie in one another, nor outside of the folder.
func TestNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	s := start(t, dir, server.Options{})
	layer, _ := random(t, 10)
	pushImage(t, s.open(t, "a/b"), "1", layer)
	post := func(name string) *answered { return s.do(t, http.MethodPost, "/v2/"+name+"/blobs/uploads/", nil) }
	post("a/b/c").want(t, http.StatusForbidden, "DENIED")
	post("a/b/blobs/sha256").want(t, http.StatusForbidden, "DENIED")
	s.do(t, http.MethodGet, "/v2/a/b/blobs/sha256/tags/list", nil).want(t, http.StatusNotFound, "NAME_UNKNOWN")
	post("a").want(t, http.StatusForbidden, "DENIED")
	post("a/c").want(t, http.StatusAccepted, "")
	for _, name := range []string{"..", "../x", "a/../../x", "%2e%2e/x", "a%2f..%2f..%2fx", "A", "a//b", ".a", "a/.lock", "a b", "a%00b", strings.Repeat("a", 256)} {
		if a := post(name); a.status != http.StatusBadRequest && a.status != http.StatusNotFound {
			t.Errorf("%q: %d", name, a.status)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 1 {
		t.Errorf("outside of the folder: %v, %v", entries, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("in the folder: %v, %v", entries, err)
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	writer := start(t, dir, server.Options{})
	layer, desc := random(t, 1000)
	pushImage(t, writer.open(t, "a"), "1", layer)
	s := start(t, dir, server.Options{ReadOnly: true})
	for _, c := range [][2]string{
		{http.MethodPost, "/v2/a/blobs/uploads/"},
		{http.MethodPut, "/v2/a/manifests/1"},
		{http.MethodDelete, "/v2/a/manifests/1"},
		{http.MethodPost, "/v2/b/blobs/uploads/?mount=" + desc.Digest.String() + "&from=a"},
	} {
		s.do(t, c[0], c[1], []byte("{}")).want(t, http.StatusMethodNotAllowed, "UNSUPPORTED")
	}
	rc, err := s.open(t, "a").Fetch(t.Context(), desc)
	if got := read(t, rc, err); !bytes.Equal(got, layer) {
		t.Error("the blob is another")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder: %v, %v", entries, err)
	}
}

func TestTagsAndReferrers(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	r := s.open(t, "a")
	layer, _ := random(t, 100)
	subject := pushImage(t, r, "b", layer)
	for _, tag := range []string{"d", "a", "c"} {
		if err := r.Tag(t.Context(), subject, tag); err != nil {
			t.Fatal(err)
		}
	}
	a := s.do(t, http.MethodGet, "/v2/a/tags/list?n=2&last=a", nil)
	if link := a.header.Get("Link"); string(a.body) != `{"name":"a","tags":["b","c"]}` || link != `</v2/a/tags/list?last=c&n=2>; rel="next"` {
		t.Errorf("%s, %s", a.body, link)
	}
	if a := s.do(t, http.MethodGet, "/v2/a/tags/list?n=2&last=b", nil); string(a.body) != `{"name":"a","tags":["c","d"]}` || a.header.Get("Link") != "" {
		t.Errorf("%s, %s", a.body, a.header.Get("Link"))
	}
	s.do(t, http.MethodGet, "/v2/a/tags/list?n=-1", nil).want(t, http.StatusBadRequest, "UNSUPPORTED")

	s.do(t, http.MethodDelete, "/v2/a/manifests/d", nil).want(t, http.StatusAccepted, "")
	s.do(t, http.MethodDelete, "/v2/a/manifests/d", nil).want(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	s.do(t, http.MethodGet, "/v2/a/manifests/d", nil).want(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	s.do(t, http.MethodDelete, "/v2/a/manifests/"+subject.Digest.String(), nil).want(t, http.StatusMethodNotAllowed, "UNSUPPORTED")

	const many = 3
	var want []string
	for i := range many {
		b, _ := manifestOf(t, fmt.Sprintf("application/n%d", i%2), &subject)
		desc, err := r.PushReferrer(t.Context(), append(b[:len(b)-1], fmt.Sprintf(`,"annotations":{"n":"%d %s"}}`, i, strings.Repeat("x", 400<<10))...))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, desc.Digest.String())
	}
	// 400 KiB each: there is more than one page.
	if link := s.do(t, http.MethodGet, "/v2/a/referrers/"+subject.Digest.String(), nil).header.Get("Link"); link == "" {
		t.Error("three times 400 KiB came on one page")
	}
	found, err := r.Referrers(t.Context(), subject, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range found {
		got = append(got, d.Digest.String())
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%d referrers of %d", len(got), len(want))
	}
	some := s.do(t, http.MethodGet, "/v2/a/referrers/"+subject.Digest.String()+"?artifactType=application/n1", nil)
	if n := strings.Count(string(some.body), `"artifactType":"application/n1"`); n != 1 || some.header.Get("Oci-Filters-Applied") != "artifactType" {
		t.Errorf("%d of that type, %s", n, some.header)
	}
	// What is not there has none; "not found" would mean that there is no API.
	if a := s.do(t, http.MethodGet, "/v2/none/referrers/"+subject.Digest.String(), nil); a.status != http.StatusOK || !strings.Contains(string(a.body), `"manifests":[]`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Many pushes to one repository at once: none is lost.
func TestPushesAtOnce(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	const many = 40
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			layer, _ := random(t, 2000)
			pushImage(t, s.open(t, "a"), fmt.Sprintf("tag%02d", i), layer)
		})
	}
	wg.Wait()
	var n int
	for tag, err := range s.open(t, "a").Tags(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.open(t, "a").Resolve(t.Context(), tag); err != nil {
			t.Error(err)
		}
		n++
	}
	if n != many {
		t.Errorf("%d tags of %d", n, many)
	}
}

// A blob that another repository has is not sent again, and lies there once.
func TestMount(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	layer, desc := random(t, 100<<10)
	pushImage(t, s.open(t, "a"), "1", layer)
	if ok, err := s.open(t, "b").Mount(t.Context(), desc, "a"); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	rc, err := s.open(t, "b").Fetch(t.Context(), desc)
	if got := read(t, rc, err); !bytes.Equal(got, layer) {
		t.Error("the blob is another")
	}
	info := func(name string) os.FileInfo {
		i, err := os.Stat(filepath.Join(s.dir, name, "blobs", "sha256", desc.Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if !os.SameFile(info("a"), info("b")) {
		t.Error("it was copied")
	}
	_, missing := random(t, 10)
	for _, from := range []string{"a", "none", "b", "../b"} {
		if ok, err := s.open(t, "b").Mount(t.Context(), missing, from); ok || err != nil {
			t.Errorf("of nothing from %s: %v, %v", from, ok, err)
		}
	}
}

// Other programs may read and write a layout that is served: what was pushed
// halfway is not removed under the client's hands, what nobody reaches is when
// the client has gone.
func TestOthersUseTheLayout(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, server.Options{})
	r := s.open(t, "a")
	layer, desc := random(t, 1000)
	push(t, r, desc, layer)
	l, err := registry.OpenLayout(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := l.GC(t.Context()); err != nil || !removed.Busy {
		t.Fatalf("%+v, %v", removed, err)
	}
	push(t, r, ocispec.DescriptorEmptyJSON, []byte("{}"))
	b, m := manifestOf(t, "", nil, desc)
	push(t, r, m, b)
	if err := l.Tag(t.Context(), m, "theirs"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Resolve(t.Context(), "theirs"); err != nil || got.Digest != m.Digest {
		t.Errorf("%v, %v", got, err)
	}
	left, leftDesc := random(t, 50)
	push(t, r, leftDesc, left)
	if err := s.Expire(0); err != nil || s.Open() != 0 {
		t.Fatalf("%d layouts are held, %v", s.Open(), err)
	}
	if removed, err := l.GC(t.Context()); err != nil || removed.Busy || removed.Blobs != 1 {
		t.Errorf("%+v, %v", removed, err)
	}
	if got, err := r.Resolve(t.Context(), "theirs"); err != nil || got.Digest != m.Digest {
		t.Errorf("%v, %v", got, err)
	}
	// The folder may go altogether, and come again.
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(t.Context(), "theirs"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("%v", err)
	}
	pushImage(t, r, "2", layer)
}

// A manifest that was damaged on the disk is not sent.
func TestDamagedManifest(t *testing.T) {
	var failed []error
	s := start(t, t.TempDir(), server.Options{Log: func(r server.Request) {
		if r.Err != nil {
			failed = append(failed, r.Err)
		}
	}})
	layer, _ := random(t, 10)
	m := pushImage(t, s.open(t, "a"), "1", layer)
	path := filepath.Join(s.dir, "a", "blobs", "sha256", m.Digest.Encoded())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte{' '}, int(m.Size)), 0o600); err != nil {
		t.Fatal(err)
	}
	a := s.do(t, http.MethodGet, "/v2/a/manifests/1", nil)
	a.want(t, http.StatusInternalServerError, "UNKNOWN")
	if strings.Contains(string(a.body), s.dir) {
		t.Errorf("the client is told of paths: %s", a.body)
	}
	if len(failed) != 1 || !errors.Is(failed[0], registry.ErrMismatch) {
		t.Errorf("the log says %v", failed)
	}
}

// What another process does to a layout that is served shows at once.
func TestChangesOfOthers(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	r := s.open(t, "esxi")
	layer, _ := random(t, 100)
	image := pushImage(t, r, "8.0", layer)
	count := func() int {
		t.Helper()
		found, err := r.Referrers(t.Context(), image, "")
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := count(); n != 0 {
		t.Fatalf("%d referrers of a new image", n)
	}
	l, err := registry.OpenLayout(filepath.Join(s.dir, "esxi"))
	if err != nil {
		t.Fatal(err)
	}
	b, desc := manifestOf(t, "application/y", &image)
	if _, err := registry.NewRepository(l).PushReferrer(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d referrers after somebody signed it", n)
	}
	if err := l.Delete(t.Context(), desc); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d referrers after the signature was deleted", n)
	}
	if err := l.Tag(t.Context(), image, "8.0.2"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(t.Context(), "8.0.2"); err != nil {
		t.Error(err)
	}
}

// What is remembered of all layouts together is bounded.
func TestRememberedIsBounded(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	const limit = 5000
	s.SetMaxRemembered(limit)
	for i := range 12 {
		layer, _ := random(t, 100)
		r := s.open(t, fmt.Sprintf("esxi%d", i))
		image := pushImage(t, r, "8.0", layer)
		if _, err := r.Referrers(t.Context(), image, ""); err != nil {
			t.Fatal(err)
		}
	}
	accounted, remembered := s.Remembered()
	if accounted != remembered || remembered > limit || remembered == 0 {
		t.Errorf("%d bytes are remembered, %d are accounted for, the limit is %d", remembered, accounted, limit)
	}
	for i := range 12 {
		if _, err := s.open(t, fmt.Sprintf("esxi%d", i)).Resolve(t.Context(), "8.0"); err != nil {
			t.Error(err)
		}
	}
	if err := s.ExpireLayouts(0); err != nil {
		t.Fatal(err)
	}
	if accounted, _ := s.Remembered(); accounted != 0 {
		t.Errorf("%d bytes are accounted for when nothing is open", accounted)
	}
}

// A list of referrers goes on on another page before a client would refuse it,
// however long the types in it are; and an index.json that is full is said to be.
func TestLongTypesOfReferrers(t *testing.T) {
	const n = 4
	s := start(t, t.TempDir(), server.Options{})
	r := s.open(t, "esxi")
	layer, _ := random(t, 100)
	image := pushImage(t, r, "8.0", layer)
	for i := range n {
		b, desc := manifestOf(t, strings.Repeat("x", 2<<20)+fmt.Sprint(i), &image)
		a := s.do(t, http.MethodPut, "/v2/esxi/manifests/"+desc.Digest.String(), b, "Content-Type", desc.MediaType)
		a.want(t, http.StatusCreated, "")
	}
	if a := s.do(t, http.MethodGet, "/v2/esxi/referrers/"+image.Digest.String(), nil); a.status != http.StatusOK || len(a.body) > 1<<20 {
		t.Errorf("a page of %d bytes, %d", len(a.body), a.status)
	}
	if found, err := r.Referrers(t.Context(), image, ""); err != nil || len(found) != n {
		t.Errorf("%d referrers, %v", len(found), err)
	}
	l, err := registry.OpenLayout(filepath.Join(s.dir, "esxi"))
	if err != nil {
		t.Fatal(err)
	}
	filler := describe(ocispec.MediaTypeImageManifest, []byte("filler"))
	filler.Annotations = map[string]string{"text": strings.Repeat("x", registry.MaxManifest-4<<10)}
	if err := l.Add(t.Context(), filler); err != nil {
		t.Fatal(err)
	}
	b, desc := manifestOf(t, strings.Repeat("y", 7<<10), &image)
	s.do(t, http.MethodPut, "/v2/esxi/manifests/"+desc.Digest.String(), b, "Content-Type", desc.MediaType).want(t, http.StatusInsufficientStorage, "DENIED")
	if _, err := r.Resolve(t.Context(), "8.0"); err != nil {
		t.Error(err)
	}
}
