package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/oci"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

func newLayoutRepository(t *testing.T) *registry.Repository {
	t.Helper()
	return createRepository(t, "oci:"+t.TempDir())
}

func createRepository(t *testing.T, text string) *registry.Repository {
	t.Helper()
	ref, err := registry.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Create(t.Context(), ref, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newLayout(t *testing.T) *registry.Layout {
	t.Helper()
	l, err := registry.NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// artifact pushes an index of one manifest of one blob and tags it.
func artifact(t *testing.T, l *registry.Layout, tag string) (index ocispec.Descriptor, all []ocispec.Descriptor) {
	t.Helper()
	r := registry.NewRepository(l)
	blob, desc := random(t, 1000)
	push(t, r, desc, blob)
	push(t, r, ocispec.DescriptorEmptyJSON, []byte("{}"))
	manifest, mdesc := manifestOf(t, "application/x", nil, desc)
	push(t, r, mdesc, manifest)
	b, idesc := indexOf(t, mdesc)
	push(t, r, idesc, b)
	if tag != "" {
		if err := r.Tag(t.Context(), idesc, tag); err != nil {
			t.Fatal(err)
		}
	}
	return idesc, []ocispec.Descriptor{desc, mdesc, idesc}
}

func attach(t *testing.T, l *registry.Layout, artifactType string, subject ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	b, _ := manifestOf(t, artifactType, &subject)
	desc, err := registry.NewRepository(l).PushReferrer(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

func there(t *testing.T, l *registry.Layout, descs ...ocispec.Descriptor) int {
	t.Helper()
	n := 0
	for _, d := range descs {
		if ok, err := l.Exists(t.Context(), d); err != nil {
			t.Fatal(err)
		} else if ok {
			n++
		}
	}
	return n
}

func gc(t *testing.T, l *registry.Layout) registry.Removed {
	t.Helper()
	removed, err := l.GC(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return removed
}

func TestGC(t *testing.T) {
	l := newLayout(t)
	index, old := artifact(t, l, "latest")
	signature := attach(t, l, bundleType, index)
	ofChild := attach(t, l, bundleType, old[1])
	ofSignature := attach(t, l, sbomType, signature)
	old = append(old, signature, ofChild, ofSignature)
	_, kept := artifact(t, l, "8.0")
	if r := gc(t, l); r != (registry.Removed{}) || there(t, l, old...) != len(old) {
		t.Fatalf("removed %+v of what is in use", r)
	}
	_, latest := artifact(t, l, "latest")
	if got := there(t, l, old...); got != len(old) {
		t.Fatalf("only %d are left before GC", got)
	}
	r := gc(t, l)
	if r.Blobs != len(old) || r.Busy || there(t, l, old...) != 0 {
		t.Errorf("removed %+v, %d are left", r, there(t, l, old...))
	}
	if n := there(t, l, append(kept, latest...)...); n != len(kept)+len(latest) {
		t.Errorf("only %d are left of what is in use", n)
	}
	entries, err := l.Entries()
	if err != nil || len(entries) != 2 {
		t.Errorf("entries %v, %v", entries, err)
	}
	if err := l.Untag(t.Context(), "8.0"); err != nil {
		t.Fatal(err)
	}
	if gc(t, l); there(t, l, kept...) != 0 {
		t.Error("what lost its tag is there")
	}
	if err := l.Untag(t.Context(), "8.0"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Untag of nothing: %v", err)
	}
}

// While one reads or writes the other removes nothing.
func TestHold(t *testing.T) {
	l := newLayout(t)
	blob, desc := random(t, 100)
	release, err := l.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Push(t.Context(), desc, bytes.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	again, err := registry.OpenLayout(l.Dir())
	if err != nil {
		t.Fatal(err)
	}
	releaseToo, err := again.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []func() error{release, releaseToo} {
		if r := gc(t, again); !r.Busy || there(t, l, desc) != 1 {
			t.Errorf("removed %+v", r)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
	if r := gc(t, again); r.Busy || r.Blobs != 1 || r.Bytes != 100 {
		t.Errorf("removed %+v", r)
	}
}

// What a writer that was killed has left goes, and nothing else.
func TestGCRemovesTemporaryFiles(t *testing.T) {
	l := newLayout(t)
	_, all := artifact(t, l, "latest")
	b, err := l.CreateBlob()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	notes := filepath.Join(l.Dir(), "notes.txt")
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		_ = b.Close()
	}
	gc(t, l)
	if _, err := os.Stat(b.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file: %v", err)
	}
	if _, err := os.Stat(notes); err != nil || there(t, l, all...) != len(all) {
		t.Error("too much was removed")
	}
}

// If in doubt nothing is removed.
func TestGCWithABrokenManifest(t *testing.T) {
	l := newLayout(t)
	_, all := artifact(t, l, "latest")
	blob, desc := random(t, 10)
	push(t, registry.NewRepository(l), desc, blob)
	path, _ := l.LocalPath(all[1])
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{[]byte("not JSON"), []byte(`{"layers":[{"digest":"x"}]}`), bytes.Repeat([]byte("x"), 5<<20)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var layoutErr *registry.LayoutError
		if r, err := l.GC(t.Context()); !errors.As(err, &layoutErr) || layoutErr.Path != path || r.Blobs != 0 || there(t, l, desc) != 1 {
			t.Errorf("removed %+v, %v", r, err)
		}
	}
}

// Other tools write an entry for every manifest; the referrers' fall-back tag
// is another way to attach.
func TestLayoutsOfOthers(t *testing.T) {
	l := newLayout(t)
	index, old := artifact(t, l, "latest")
	if err := l.Add(t.Context(), old[1]); err != nil {
		t.Fatal(err)
	}
	signature, sdesc := manifestOf(t, bundleType, nil)
	r := registry.NewRepository(l)
	push(t, r, sdesc, signature)
	sdesc.ArtifactType = bundleType
	list, ldesc := indexOf(t, sdesc)
	push(t, r, ldesc, list)
	if err := l.Tag(t.Context(), ldesc, registry.ReferrersTag(index.Digest)); err != nil {
		t.Fatal(err)
	}
	old = append(old, sdesc, ldesc)
	if got := digestsOf(t, r, index, bundleType); !slices.Equal(got, []string{sdesc.Digest.String()}) {
		t.Errorf("referrers %v", got)
	}
	if gc(t, l); there(t, l, old...) != len(old) {
		t.Error("what is in use was removed")
	}
	artifact(t, l, "latest")
	if gc(t, l); there(t, l, old...) != 0 {
		t.Errorf("%d are left", there(t, l, old...))
	}
}

// oras reads what we write, and we what it writes.
func TestLayoutWithOras(t *testing.T) {
	l := newLayout(t)
	index, _ := artifact(t, l, "8.0")
	signature := attach(t, l, bundleType, index)
	store, err := oci.New(l.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := store.Resolve(t.Context(), "8.0"); err != nil || got.Digest != index.Digest {
		t.Errorf("oras resolves %v, %v", got, err)
	}
	found, err := store.Predecessors(t.Context(), index)
	if err != nil || len(found) != 1 || found[0].Digest != signature.Digest {
		t.Errorf("oras finds the referrers %v, %v", found, err)
	}
	if err := store.Tag(t.Context(), index, "8.1"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Resolve(t.Context(), "8.1"); err != nil || got.Digest != index.Digest {
		t.Errorf("we resolve %v, %v", got, err)
	}
	artifact(t, l, "8.0")
	artifact(t, l, "8.1")
	if gc(t, l); there(t, l, index) != 0 {
		t.Error("the old image is left")
	}
}

func TestTagsAtOnce(t *testing.T) {
	l := newLayout(t)
	index, _ := artifact(t, l, "latest")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			other, err := registry.OpenLayout(l.Dir())
			if err != nil {
				t.Error(err)
				return
			}
			for j := range 4 {
				if err := other.Tag(t.Context(), index, fmt.Sprintf("t%d-%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if tags := collectTags(t, registry.NewRepository(l)); len(tags) != 33 {
		t.Errorf("%d tags: %q", len(tags), tags)
	}
}

func TestBlob(t *testing.T) {
	l := newLayout(t)
	content, desc := random(t, 1000)
	b, err := l.CreateBlob()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(content[1:]); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(desc); !errors.Is(err, registry.ErrMismatch) {
		t.Errorf("a short blob: %v", err)
	}
	for range 2 { // the second time it is there
		if b, err = l.CreateBlob(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(desc); err != nil {
			t.Fatal(err)
		}
	}
	path, ok := l.LocalPath(desc)
	info, err := os.Stat(path)
	if !ok || err != nil || info.Mode().Perm()&0o222 != 0 {
		t.Errorf("%v, %v: not read-only", info, err)
	}
	left, err := filepath.Glob(filepath.Join(l.Dir(), "*.tmp"))
	hidden, _ := filepath.Glob(filepath.Join(l.Dir(), ".*.tmp"))
	if err != nil || len(left)+len(hidden) != 0 {
		t.Errorf("left %q %q, %v", left, hidden, err)
	}
}

// Zeros take no space, and are zeros.
func TestSparsePush(t *testing.T) {
	l := newLayout(t)
	content := make([]byte, 8<<20)
	copy(content, "MBR")
	copy(content[5<<20+100:], "data")
	desc := describe("application/x", content)
	if err := l.Push(t.Context(), desc, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	path, _ := l.LocalPath(desc)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if used, ok := registrytest.Allocated(t, path); ok && used > 1<<20 {
		t.Errorf("it takes %d bytes", used)
	}
}

func TestHostileLayouts(t *testing.T) {
	empty := `{"schemaVersion":2,"manifests":[]}`
	for name, c := range map[string]struct{ marker, index, want string }{
		"no marker":       {"", empty, "it has no file oci-layout"},
		"bad marker":      {"{", empty, "oci-layout: unexpected end"},
		"future":          {`{"imageLayoutVersion":"2.0.0"}`, empty, `layout version "2.0.0"`},
		"large marker":    {strings.Repeat(" ", 5000), empty, "over the limit of 4096"},
		"bad index":       {`{"imageLayoutVersion":"1.0.0"}`, "[]", "index.json"},
		"path for digest": {`{"imageLayoutVersion":"1.0.0"}`, `{"manifests":[{"digest":"sha256:../../../etc/passwd","size":1}]}`, "manifests[0]: digest"},
		"no digest":       {`{"imageLayoutVersion":"1.0.0"}`, `{"manifests":[{"size":1}]}`, "manifests[0]: digest"},
		"negative size":   {`{"imageLayoutVersion":"1.0.0"}`, `{"manifests":[{"digest":"` + digest.FromString("").String() + `","size":-1}]}`, "size of -1 bytes"},
		"many entries":    {`{"imageLayoutVersion":"1.0.0"}`, `{"manifests":[{}` + strings.Repeat(",{}", registry.MaxEntries) + `]}`, "over the limit of 10000"},
		"large index":     {`{"imageLayoutVersion":"1.0.0"}`, strings.Repeat(" ", 5<<20), "over the limit of 4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.marker != "" {
				write(t, filepath.Join(dir, "oci-layout"), c.marker)
			}
			write(t, filepath.Join(dir, "index.json"), c.index)
			if _, err := registry.OpenLayout(dir); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("OpenLayout: %v, want %q", err, c.want)
			}
			if _, err := registry.NewLayout(dir); err == nil {
				t.Error("NewLayout took it")
			}
			if b, err := os.ReadFile(filepath.Join(dir, "index.json")); err != nil || string(b) != c.index {
				t.Error("NewLayout changed it")
			}
		})
	}
	if _, err := registry.OpenLayout(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Blobs that are something else than a file with the right content.
func TestHostileBlobs(t *testing.T) {
	l := newLayout(t)
	r := registry.NewRepository(l)
	content, desc := random(t, 1000)
	push(t, r, desc, content)
	path, _ := l.LocalPath(desc)
	for name, c := range map[string]struct {
		make func() error
		want error
	}{
		"gone":      {func() error { return nil }, registry.ErrNotFound},
		"shorter":   {func() error { return os.WriteFile(path, content[1:], 0o600) }, registry.ErrMismatch},
		"damaged":   {func() error { return os.WriteFile(path, slices.Repeat([]byte("x"), 1000), 0o600) }, registry.ErrMismatch},
		"directory": {func() error { return os.Mkdir(path, 0o700) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := errors.Join(os.RemoveAll(path), c.make()); err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(t.Context(), r, desc); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, err := r.FetchRange(t.Context(), desc, 0, 10); err == nil && name != "damaged" {
				t.Error("a part of it was read")
			}
		})
	}
	tag := func(index ocispec.Index) {
		b, err := json.Marshal(index)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(l.Dir(), "index.json"), string(b))
	}
	a, b := describe(ocispec.MediaTypeImageManifest, []byte("a")), describe(ocispec.MediaTypeImageManifest, []byte("b"))
	a.Annotations = map[string]string{ocispec.AnnotationRefName: "x"}
	b.Annotations = a.Annotations
	tag(ocispec.Index{Manifests: []ocispec.Descriptor{a, b}})
	if _, err := l.Resolve(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "names 2 manifests") {
		t.Errorf("an ambiguous tag: %v", err)
	}
}

func TestLayoutSaysItsTags(t *testing.T) {
	l := newLayout(t)
	_, err := l.Resolve(t.Context(), "latest")
	if err == nil || !strings.HasSuffix(err.Error(), `there is no tag "latest", nor any other`) {
		t.Error(err)
	}
	artifact(t, l, "8.0")
	artifact(t, l, "7.0")
	_, err = registry.NewRepository(l).Resolve(t.Context(), "")
	if err == nil || !strings.HasSuffix(err.Error(), `there is no tag "latest"; there are 7.0, 8.0`) || !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
}

// A layout may be read where nothing may be written.
func TestReadOnlyLayout(t *testing.T) {
	l := newLayout(t)
	_, all := artifact(t, l, "8.0")
	if err := errors.Join(os.RemoveAll(filepath.Join(l.Dir(), ".lock")), os.Chmod(l.Dir(), 0o500)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(l.Dir(), 0o700) })
	if os.Getuid() == 0 {
		becomeNobody(t, filepath.Dir(l.Dir()))
	}
	if f, err := os.Create(filepath.Join(l.Dir(), "file")); err == nil && runtime.GOOS != "windows" {
		_ = f.Close()
		t.Fatal("the folder can be written to")
	}
	release, err := l.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t.Context(), registry.NewRepository(l), all[0]); err != nil {
		t.Error(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func FuzzLayoutIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"annotations":{"org.opencontainers.image.ref.name":"a"}}]}`))
	f.Add([]byte(`{"manifests":null}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = registry.ParseLayoutIndex(b) })
}
