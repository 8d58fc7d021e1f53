package artifact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Types of what refers to images in these tests.
const (
	signatureType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	sbomType      = "application/spdx+json"
)

func descriptor(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// put writes a blob or a manifest.
func put(tb testing.TB, to *registry.Repository, mediaType string, b []byte) ocispec.Descriptor {
	tb.Helper()
	d := descriptor(mediaType, b)
	if err := to.Push(tb.Context(), d, bytes.NewReader(b)); err != nil {
		tb.Fatal(err)
	}
	return d
}

// referrerOf makes a manifest that refers to another.
func referrerOf(tb testing.TB, artifactType string, subject ocispec.Descriptor, layers ...ocispec.Descriptor) []byte {
	tb.Helper()
	return encodedJSON(tb, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: layers, Subject: &subject,
	})
}

// manifestJSON makes a manifest, indexJSON an index.
func manifestJSON(tb testing.TB, layers ...ocispec.Descriptor) []byte {
	tb.Helper()
	return encodedJSON(tb, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/other",
		Config: ocispec.DescriptorEmptyJSON, Layers: layers,
	})
}

func indexJSON(tb testing.TB, manifests ...ocispec.Descriptor) []byte {
	tb.Helper()
	return encodedJSON(tb, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
}

func encodedJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// sign attaches something to a manifest.
func sign(tb testing.TB, to *registry.Repository, artifactType string, subject ocispec.Descriptor) ocispec.Descriptor {
	tb.Helper()
	put(tb, to, ocispec.MediaTypeEmptyJSON, []byte("{}"))
	layer := put(tb, to, artifactType, []byte("about "+subject.Digest.String()))
	return put(tb, to, ocispec.MediaTypeImageManifest, referrerOf(tb, artifactType, artifactPlain(subject), layer))
}

func artifactPlain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// signed is an image with something attached to each of its manifests, and to
// one of those. It returns what is attached to what.
func signed(tb testing.TB) (*registry.Repository, *artifact.Packed, map[digest.Digest][]digest.Digest) {
	tb.Helper()
	from, p := pack(tb, fixed(tb))
	img, err := artifact.Load(tb.Context(), from, p.Index)
	if err != nil {
		tb.Fatal(err)
	}
	signature := sign(tb, from, signatureType, p.Index)
	sbom := sign(tb, from, sbomType, p.Index)
	out := map[digest.Digest][]digest.Digest{
		p.Index.Digest:   {signature.Digest, sbom.Digest},
		signature.Digest: {sign(tb, from, "application/timestamp", signature).Digest},
	}
	for _, e := range img.Entries {
		out[e.Digest] = []digest.Digest{sign(tb, from, signatureType, e).Digest}
	}
	return from, p, out
}

func copyTo(t *testing.T, from *registry.Repository, d ocispec.Descriptor, to *registry.Repository, tag string) *artifact.Copied {
	t.Helper()
	c, err := artifact.Copy(t.Context(), from, d, to, artifact.CopyOptions{Verifier: artifact.InsecureSkip{}, Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sameCopy holds that an image and what refers to it are somewhere, byte for
// byte.
func sameCopy(t *testing.T, from, to *registry.Repository, index ocispec.Descriptor, refers map[digest.Digest][]digest.Digest) {
	t.Helper()
	d, err := to.Resolve(t.Context(), "8.0")
	if err != nil || d.Digest != index.Digest {
		t.Fatalf("8.0 is %v (%v)", d, err)
	}
	img, err := artifact.Load(t.Context(), to, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []ocispec.Descriptor{img.Disk, img.Module, img.Kickstart} {
		r, err := to.Fetch(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readAll(t, r), blobOf(t, from, l)) {
			t.Errorf("%s differs", l.Digest)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for subject, want := range refers {
		found, err := to.Referrers(t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject, Size: 1}, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []digest.Digest
		for _, d := range found {
			got = append(got, d.Digest)
			if b, err := to.FetchBytes(t.Context(), d, 0); err != nil || digest.FromBytes(b) != d.Digest {
				t.Errorf("referrer %s: %v", d.Digest, err)
			}
		}
		slices.Sort(got)
		if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("%s has the referrers %v, want %v", subject, got, want)
		}
	}
}

// From a layout to an archive, a registry, another repository there, and back.
func TestCopyTakesEverythingAlong(t *testing.T) {
	from, p, refers := signed(t)
	archive := "oci-archive:" + filepath.Join(t.TempDir(), "a.tar")
	registries := registrytest.Serve(t, nil)
	want := []artifact.ReferrerCount{{ArtifactType: sbomType, Count: 1}, {ArtifactType: "application/timestamp", Count: 1}, {ArtifactType: signatureType, Count: 3}}
	at := from
	for i, next := range []string{archive, registries + "/a/b", registries + "/c", "oci:" + filepath.Join(t.TempDir(), "back")} {
		to := registrytest.Create(t, next, registry.Options{Retries: -1})
		c := copyTo(t, at, p.Index, to, "8.0")
		if c.Digest != p.Index.Digest || c.Manifests != 3 || !slices.Equal(c.Referrers, want) || len(c.Missing) > 0 {
			t.Errorf("%s: copied %+v", next, c)
		}
		if tags := []artifact.PushedTag{{Tag: "8.0", Set: true, Digest: p.Index.Digest}, {Tag: "8.0.2-22380479", Set: true, Digest: p.Index.Digest}}; !slices.Equal(c.Tags, tags) {
			t.Errorf("%s: tags %+v", next, c.Tags)
		}
		// Between repositories of one registry only manifests travel.
		if i == 2 && (c.Mounted < p.Disk.Size || c.Sent > 64<<10) || i != 2 && c.Sent < p.Disk.Size {
			t.Errorf("%s: %d bytes sent, %d mounted", next, c.Sent, c.Mounted)
		}
		at = registrytest.Open(t, next, registry.Options{Retries: -1})
		sameCopy(t, from, at, p.Index, refers)
	}
	// Again: nothing is sent; with another signature, only that.
	if c := copyTo(t, from, p.Index, at, "8.0"); c.Sent != 0 {
		t.Errorf("a second copy sends %d bytes", c.Sent)
	}
	later := sign(t, from, "application/later", p.Index)
	if c := copyTo(t, from, p.Index, at, "8.0"); c.Sent == 0 || c.Sent > 4<<10 {
		t.Errorf("a copy of one more signature sends %d bytes", c.Sent)
	}
	refers[p.Index.Digest] = append(refers[p.Index.Digest], later.Digest)
	sameCopy(t, from, at, p.Index, refers)
}

func TestCopyMakesTheSameArchive(t *testing.T) {
	from, p, _ := signed(t)
	var files [][]byte
	for range 2 {
		file := filepath.Join(t.TempDir(), "a.tar")
		copyTo(t, from, p.Index, registrytest.Create(t, "oci-archive:"+file, registry.Options{Retries: -1}), "8.0")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two copies of one image are two archives")
	}
}

// The tag comes last: who finds it finds the signatures.
func TestCopySetsTheTagLast(t *testing.T) {
	from, p, _ := signed(t)
	var (
		mu   sync.Mutex
		puts []string
	)
	to := registrytest.Create(t, registrytest.Serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				mu.Lock()
				puts = append(puts, path.Base(r.URL.Path))
				mu.Unlock()
			}
			h.ServeHTTP(w, r)
		})
	})+"/x", registry.Options{Retries: -1})
	copyTo(t, from, p.Index, to, "8.0")
	index := slices.Index(puts, p.Index.Digest.String())
	if n := len(puts); n != 10 || index != 2 || puts[n-2] != "8.0" || puts[n-1] != "8.0.2-22380479" {
		t.Errorf("manifests in the order %q", puts)
	}
}

// A copy that was killed between a signature and the list of it is finished by
// the next.
func TestCopyAttachesWhatIsThere(t *testing.T) {
	from, p, refers := signed(t)
	to := registry.NewRepository(newLayout(t))
	copyTo(t, from, p.Index, to, "8.0")
	index := filepath.Join(layoutOf(t, to), ocispec.ImageIndexFile)
	var x ocispec.Index
	b, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	unmarshal(t, b, &x)
	x.Manifests = slices.DeleteFunc(x.Manifests, func(d ocispec.Descriptor) bool { return d.Annotations[ocispec.AnnotationRefName] == "" })
	if b, err = json.Marshal(x); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(index, b, 0o600); err != nil {
		t.Fatal(err)
	}
	copyTo(t, from, p.Index, to, "8.0")
	sameCopy(t, from, to, p.Index, refers)
}

func TestCopyAndTags(t *testing.T) {
	from, p := pack(t, fixed(t))
	other := fixed(t)
	other.Kickstart = append(bytes.Clone(kickstartText), "# other\n"...)
	second, q := pack(t, other)
	to := registry.NewRepository(newLayout(t))
	copyTo(t, from, p.Index, to, "8.0")
	before := blobs(t, layoutOf(t, to))
	var moved *artifact.TagMoveError
	if _, err := artifact.Copy(t.Context(), second, q.Index, to, artifact.CopyOptions{Verifier: artifact.InsecureSkip{}, Tag: "8.0"}); !errors.As(err, &moved) || moved.Have != p.Index.Digest {
		t.Errorf("Copy() over a tag = %v", err)
	}
	if !slices.Equal(before, blobs(t, layoutOf(t, to))) {
		t.Error("the refused copy sent something")
	}
	c, err := artifact.Copy(t.Context(), second, q.Index, to, artifact.CopyOptions{Verifier: artifact.InsecureSkip{}, Tag: "8.0", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := []artifact.PushedTag{{Tag: "8.0", Set: true, Digest: q.Index.Digest}, {Tag: "8.0.2-22380479", Digest: p.Index.Digest}}; !slices.Equal(c.Tags, want) {
		t.Errorf("tags %+v, want %+v", c.Tags, want)
	}
	// Where the release's tag names another image, it stays behind.
	if c := copyTo(t, to, q.Index, registry.NewRepository(newLayout(t)), "lab"); len(c.Tags) != 1 {
		t.Errorf("tags %+v", c.Tags)
	}
	// A variant is not what its release's tag names.
	v, err := artifact.PushVariant(t.Context(), to, q.Index, []byte("reboot\n"), to, unverified("variant"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := to.Resolve(t.Context(), "variant")
	if err != nil || d.Digest != v.Index {
		t.Fatal(d, err)
	}
	elsewhere := registry.NewRepository(newLayout(t))
	if c := copyTo(t, to, d, elsewhere, "variant"); len(c.Tags) != 1 || c.Manifests != 2 {
		t.Errorf("%+v", c)
	}
	if c := copyTo(t, elsewhere, d, registry.NewRepository(newLayout(t)), "variant"); len(c.Tags) != 1 {
		t.Errorf("tags %+v", c.Tags)
	}
	img := pushedImage(t, elsewhere, "variant")
	checkPieces(t, img.Config, assemble(t, elsewhere, img))
}

// Whatever is of OCI's form is copied.
func TestCopyOfOthers(t *testing.T) {
	from := registry.NewRepository(newLayout(t))
	put(t, from, ocispec.MediaTypeEmptyJSON, []byte("{}"))
	layer := put(t, from, ocispec.MediaTypeImageIndex, []byte("{}")) // a layer that is called an index
	if err := from.Push(t.Context(), descriptor("text/plain", []byte("{}")), strings.NewReader("{}")); err != nil {
		t.Fatal(err)
	}
	d := put(t, from, ocispec.MediaTypeImageManifest, manifestJSON(t, layer))
	i := put(t, from, ocispec.MediaTypeImageIndex, indexJSON(t, d))
	outer := indexJSON(t, i, d)
	top := put(t, from, ocispec.MediaTypeImageIndex, outer)
	to := registrytest.Create(t, registrytest.Serve(t, nil)+"/other", registry.Options{Retries: -1})
	if c := copyTo(t, from, top, to, "x"); c.Manifests != 3 || len(c.Tags) != 1 {
		t.Errorf("%+v", c)
	}
	if got, err := to.FetchBytes(t.Context(), top, 0); err != nil || !bytes.Equal(got, outer) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCopyPublishesNoSecrets(t *testing.T) {
	profile := fixed(t)
	profile.Kickstart = append(bytes.Clone(kickstartText), "rootpw VMware1!\n"...)
	from, p := pack(t, profile)
	var sent atomic.Int64
	to := registrytest.Create(t, registrytest.Serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut || r.Method == http.MethodPost {
				sent.Add(1)
			}
			h.ServeHTTP(w, r)
		})
	})+"/x", registry.Options{Retries: -1})
	var secrets *artifact.SecretsError
	if _, err := artifact.Copy(t.Context(), from, p.Index, to, artifact.CopyOptions{Verifier: artifact.InsecureSkip{}, Tag: "8.0"}); !errors.As(err, &secrets) || sent.Load() > 0 {
		t.Errorf("Copy() = %v; %d uploads", err, sent.Load())
	}
	if _, err := artifact.Copy(t.Context(), from, p.Index, to, artifact.CopyOptions{Verifier: artifact.InsecureSkip{}, Tag: "8.0", AllowSecrets: true}); err != nil {
		t.Error(err)
	}
	copyTo(t, from, p.Index, registry.NewRepository(newLayout(t)), "8.0") // is no publication
}

// listing makes a layout's fall-back tag list some referrers.
func listing(t *testing.T, r *registry.Repository, subject ocispec.Descriptor, referrers ...ocispec.Descriptor) {
	t.Helper()
	d := put(t, r, ocispec.MediaTypeImageIndex, indexJSON(t, referrers...))
	if err := r.Tag(t.Context(), d, "sha256-"+subject.Digest.Encoded()); err != nil {
		t.Fatal(err)
	}
}

// What is listed as a referrer and is gone is told of; what is none is left.
func TestCopyOfWrongReferrers(t *testing.T) {
	from, p := pack(t, fixed(t))
	gone := descriptor(ocispec.MediaTypeImageManifest, []byte("gone"))
	stranger := put(t, from, ocispec.MediaTypeImageManifest, referrerOf(t, "application/stranger", descriptor(ocispec.MediaTypeImageManifest, []byte("else"))))
	listing(t, from, p.Index, gone, stranger)
	to := registry.NewRepository(newLayout(t))
	c := copyTo(t, from, p.Index, to, "8.0")
	if !slices.Equal(c.Missing, []digest.Digest{gone.Digest}) || len(c.Referrers) != 0 {
		t.Errorf("%+v", c)
	}
	if ok, err := to.Exists(t.Context(), stranger); ok || err != nil {
		t.Errorf("a stranger went along: %v", err)
	}
}

func TestCopyIsBounded(t *testing.T) {
	from, p := pack(t, fixed(t))
	dir := filepath.Join(layoutOf(t, from), "blobs", "sha256")
	var all []ocispec.Descriptor
	for i := range 4100 {
		b := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"annotations":{"n":"%d"}}`, ocispec.MediaTypeImageManifest, i)
		d := descriptor(ocispec.MediaTypeImageManifest, b)
		if err := os.WriteFile(filepath.Join(dir, d.Digest.Encoded()), b, 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	many := put(t, from, ocispec.MediaTypeImageIndex, indexJSON(t, all...))
	var layers []ocispec.Descriptor
	for i := range 16400 {
		layers = append(layers, descriptor("x/y", fmt.Appendf(nil, "%d", i)))
	}
	wide := put(t, from, ocispec.MediaTypeImageManifest, referrerOf(t, "x/y", p.Index, layers...))
	huge := put(t, from, ocispec.MediaTypeImageManifest, referrerOf(t, "x/y", many, ocispec.Descriptor{MediaType: "x/y", Digest: p.Disk.Digest, Size: artifact.MaxDisk + 1}))
	to := registry.NewRepository(newLayout(t))
	for name, d := range map[string]ocispec.Descriptor{"manifests": many, "blobs belong": wide, "size of": huge} {
		var format *artifact.FormatError
		if _, err := artifact.Copy(t.Context(), from, d, to, artifact.CopyOptions{Verifier: artifact.InsecureSkip{}, Tag: "x"}); !errors.As(err, &format) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: Copy() = %v", name, err)
		}
	}
	if n := len(blobs(t, layoutOf(t, to))); n != 0 {
		t.Errorf("%d blobs were sent", n)
	}
}

// Damaged content stays where it is, and gets no name.
func TestCopyOfDamagedContent(t *testing.T) {
	from, p := pack(t, fixed(t))
	file, ok := from.LocalPath(p.Disk)
	if !ok {
		t.Fatal("no disk")
	}
	flip(t, file)
	for _, text := range []string{registrytest.Serve(t, nil) + "/x", "oci:" + filepath.Join(t.TempDir(), "to"), "oci-archive:" + filepath.Join(t.TempDir(), "to.tar")} {
		to := registrytest.Create(t, text, registry.Options{Retries: -1})
		if _, err := artifact.Copy(t.Context(), from, p.Index, to, artifact.CopyOptions{Verifier: artifact.InsecureSkip{}, Tag: "8.0"}); !errors.Is(err, registry.ErrMismatch) {
			t.Errorf("%s: Copy() = %v", text, err)
		}
		if _, err := to.Resolve(t.Context(), "8.0"); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("%s: has the tag (%v)", text, err)
		}
	}
}

// An upload from one registry to another that breaks begins again.
func TestCopyUploadsAgain(t *testing.T) {
	local, p := pack(t, fixed(t))
	from := registrytest.Create(t, registrytest.Serve(t, nil)+"/from", registry.Options{Retries: -1})
	copyTo(t, local, p.Index, from, "8.0")
	var broken atomic.Int64
	address := registrytest.Serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && r.ContentLength == p.Disk.Size && broken.Add(1) <= 2 {
				http.Error(w, "busy", http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	to := registrytest.Create(t, address+"/to", registry.Options{RetryWait: 1})
	copyTo(t, from, p.Index, to, "8.0")
	if n := broken.Load(); n != 3 {
		t.Errorf("the disk was sent %d times", n)
	}
	sameCopy(t, local, to, p.Index, nil)
}
