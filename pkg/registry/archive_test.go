package registry_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// archived copies a layout's artifact and its signature to an archive.
func archived(t *testing.T, l *registry.Layout, index, signature ocispec.Descriptor, path string) error {
	t.Helper()
	from, to := registry.NewRepository(l), createRepository(t, "oci-archive:"+path)
	for _, root := range []ocispec.Descriptor{index, signature} {
		if err := oras.CopyGraph(t.Context(), from.Target(), to.Target(), root, oras.DefaultCopyGraphOptions); err != nil {
			return errors.Join(err, to.Close())
		}
	}
	if err := to.Tag(t.Context(), index, "8.0"); err != nil {
		return errors.Join(err, to.Close())
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the archive is there before Commit")
	}
	return errors.Join(to.Commit(t.Context()), to.Close())
}

func TestArchive(t *testing.T) {
	l := newLayout(t)
	index, all := artifact(t, l, "latest")
	signature := attach(t, l, bundleType, index)
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := archived(t, l, index, signature, path); err != nil {
		t.Fatal(err)
	}
	r := openRepository(t, "oci-archive:"+path+":8.0", registry.Options{})
	if got, err := r.Resolve(t.Context(), ""); err != nil || got.Digest != index.Digest {
		t.Errorf("Resolve: %v, %v", got, err)
	}
	for _, desc := range append(all, signature) {
		want, err := readAll(t.Context(), registry.NewRepository(l), desc)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t.Context(), r, desc); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", desc.Digest, len(got), err)
		}
		rc, err := r.FetchRange(t.Context(), desc, 3, 5)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 6)
		if n, _ := rc.Read(part); n != 5 || !bytes.Equal(part[:5], want[3:8]) {
			t.Errorf("range: %q", part[:n])
		}
	}
	if got := digestsOf(t, r, index, bundleType); !slices.Equal(got, []string{signature.Digest.String()}) {
		t.Errorf("referrers: %v", got)
	}
	if got := collectTags(t, r); !slices.Equal(got, []string{"8.0"}) {
		t.Errorf("tags: %v", got)
	}
	if _, err := r.Resolve(t.Context(), "latest"); !errors.Is(err, registry.ErrNotFound) || !strings.Contains(err.Error(), "there are 8.0") {
		t.Error(err)
	}
	if got, err := r.Resolve(t.Context(), all[1].Digest.String()); err != nil || got.MediaType != all[1].MediaType {
		t.Errorf("a child by digest: %v, %v", got, err)
	}
	if err := r.Tag(t.Context(), index, "x"); !errors.Is(err, registry.ErrReadOnly) {
		t.Error(err)
	}

	// The same content makes the same archive.
	again := filepath.Join(t.TempDir(), "a.tar")
	if err := archived(t, l, index, signature, again); err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(path)
	b, againErr := os.ReadFile(again)
	if err != nil || againErr != nil || len(a) != len(b) {
		t.Errorf("%d and %d bytes", len(a), len(b))
	}
}

// An archive that cannot be finished does not appear.
func TestArchiveIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	r := createRepository(t, "oci-archive:"+filepath.Join(dir, "a.tar"))
	blob, desc := random(t, 1000)
	if err := r.Push(t.Context(), desc, bytes.NewReader(blob[1:])); !errors.Is(err, registry.ErrMismatch) {
		t.Error(err)
	}
	if err := r.Push(t.Context(), desc, bytes.NewReader(blob)); err == nil {
		t.Error("an archive with half a blob went on")
	}
	if err := r.Commit(t.Context()); err == nil {
		t.Error("an archive with half a blob was finished")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	there := filepath.Join(dir, "there.tar")
	write(t, there, "")
	ref, err := registry.Parse("oci-archive:" + there)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Create(t.Context(), ref, registry.Options{}); err == nil {
		t.Error("a file was about to be replaced")
	}
}

type entry struct {
	name, content string
	change        func(*tar.Header)
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.content)), Mode: 0o600}
		if e.change != nil {
			e.change(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestHostileArchives(t *testing.T) {
	marker := entry{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`, nil}
	index := entry{"./index.json", `{"schemaVersion":2,"manifests":[]}`, nil}
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"good":           {tarOf(t, entry{"x/", "", func(h *tar.Header) { h.Typeflag = tar.TypeDir }}, index, marker), ""},
		"empty":          {nil, "it has no file oci-layout"},
		"other":          {tarOf(t, index), "it has no file oci-layout"},
		"no index":       {tarOf(t, marker), "index.json"},
		"no tar":         {bytes.Repeat([]byte("x"), 2000), "not a tar archive"},
		"gzip":           {[]byte("\x1f\x8b\x08"), "gunzip"},
		"twice":          {tarOf(t, marker, index, entry{"index.json", "{}", nil}), `"index.json" is there twice`},
		"cut":            {tarOf(t, marker, entry{"blobs/x", strings.Repeat("x", 5000), nil})[:2000], "not a tar archive"},
		"link to marker": {tarOf(t, entry{"oci-layout", "", func(h *tar.Header) { h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, "/etc/passwd", 0 }}), "it has no file oci-layout"},
		"sparse": {bytes.ReplaceAll(tarOf(t, entry{"blobs/x", "abc", func(h *tar.Header) {
			h.PAXRecords = map[string]string{"XNU.sparse.major": "0", "XNU.sparse.minor": "1", "XNU.sparse.size": "3", "XNU.sparse.numblocks": "1", "XNU.sparse.map": "0,3"}
		}}), []byte("XNU.sparse"), []byte("GNU.sparse")), "stored as a sparse file"},
		"large index": {tarOf(t, marker, entry{"index.json", strings.Repeat(" ", 5<<20), nil}), "over the limit of 4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.tar")
			write(t, path, string(c.content))
			ref, err := registry.Parse("oci-archive:" + path)
			if err != nil {
				t.Fatal(err)
			}
			r, err := registry.Open(t.Context(), ref, registry.Options{})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			var e *registry.LayoutError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(tarOf(f, entry{"oci-layout", "{}", nil}, entry{"blobs/sha256/x", "abc", nil}))
	f.Add(tarOf(f, entry{strings.Repeat("long/", 40) + "x", "", func(h *tar.Header) { h.Format = tar.FormatPAX }}))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := registry.ScanArchive(b)
		if err == nil && n > len(b)/512 {
			t.Errorf("%d files in %d bytes", n, len(b))
		}
	})
}
