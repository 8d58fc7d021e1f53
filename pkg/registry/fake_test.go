package registry_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// fake is a registry that does what a test wants it to.
type fake struct {
	*httptest.Server
	// before sees every request first; true: it has answered.
	before func(w http.ResponseWriter, r *http.Request) bool
	// api: there is a referrers API.
	api       bool
	mu        sync.Mutex
	blobs     map[string][]byte
	manifests map[string][]byte // by tag and digest
	types     map[string]string // media types, by digest
	requests  map[string]int    // by method and last but one element of the path
	sent      int64             // bytes of blobs
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{blobs: map[string][]byte{}, manifests: map[string][]byte{}, types: map[string]string{}, requests: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// open opens the repository x/y, with quick retries.
func (f *fake) open(t *testing.T, change ...func(*registry.Options)) *registry.Repository {
	t.Helper()
	opts := registry.Options{RetryWait: time.Millisecond}
	for _, c := range change {
		c(&opts)
	}
	return openRepository(t, f.ref(), opts)
}

func (f *fake) ref() string { return strings.TrimPrefix(f.URL, "http://") + "/x/y" }

func openRepository(t *testing.T, text string, opts registry.Options) *registry.Repository {
	t.Helper()
	return registrytest.Open(t, text, opts)
}

// temporary says whether what failed may work later.
func temporary(err error) bool {
	var e *registry.Error
	return errors.As(err, &e) && e.Temporary()
}

func (f *fake) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[what]
}

// total is how many bytes of blobs were sent.
func (f *fake) total() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := path.Base(path.Dir(r.URL.Path))
	f.mu.Lock()
	f.requests[r.Method+" "+kind]++
	f.mu.Unlock()
	if f.before != nil && f.before(w, r) {
		return
	}
	switch name := path.Base(r.URL.Path); {
	case r.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case kind == "blobs" && name == "uploads", strings.HasSuffix(r.URL.Path, "/blobs/uploads/"):
		f.begin(w, r)
	case kind == "uploads":
		f.finish(w, r)
	case kind == "blobs":
		f.blob(w, r, name)
	case kind == "manifests" && r.Method == http.MethodPut:
		f.putManifest(w, r, name)
	case kind == "manifests":
		f.manifest(w, r, name)
	case kind == "referrers" && f.api:
		f.referrers(w, r, name)
	case kind == "tags":
		f.tags(w)
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) begin(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	_, ok := f.blobs[r.URL.Query().Get("mount")]
	f.mu.Unlock()
	if ok && r.URL.Query().Get("from") == "x/base" {
		w.WriteHeader(http.StatusCreated)
		return
	}
	w.Header().Set("Location", "/v2/x/y/blobs/uploads/"+rand.Text())
	w.WriteHeader(http.StatusAccepted)
}

func (f *fake) finish(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	d := r.URL.Query().Get("digest")
	if err != nil || digest.FromBytes(b).String() != d {
		http.Error(w, `{"errors":[{"code":"DIGEST_INVALID","message":"the digest is wrong"}]}`, http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	f.blobs[d] = b
	f.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) blob(w http.ResponseWriter, r *http.Request, d string) {
	f.mu.Lock()
	b, ok := f.blobs[d]
	f.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Docker-Content-Digest", d)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&counter{w, f}, r, "", time.Time{}, strings.NewReader(string(b)))
}

// counter counts what is sent of blobs.
type counter struct {
	http.ResponseWriter
	f *fake
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.sent += int64(n)
	return n, err
}

func (f *fake) putManifest(w http.ResponseWriter, r *http.Request, name string) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := digest.FromBytes(b).String()
	f.manifests[name], f.manifests[d], f.types[d] = b, b, r.Header.Get("Content-Type")
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) manifest(w http.ResponseWriter, r *http.Request, name string) {
	f.mu.Lock()
	b, ok := f.manifests[name]
	d := digest.FromBytes(b).String()
	mediaType := f.types[d]
	f.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Docker-Content-Digest", d)
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b)
}

func (f *fake) referrers(w http.ResponseWriter, _ *http.Request, subject string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	seen := map[digest.Digest]bool{}
	for _, b := range f.manifests {
		var m ocispec.Manifest
		if json.Unmarshal(b, &m) == nil && m.Subject != nil && m.Subject.Digest.String() == subject && !seen[digest.FromBytes(b)] {
			seen[digest.FromBytes(b)] = true
			index.Manifests = append(index.Manifests, ocispec.Descriptor{
				MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(b), Size: int64(len(b)), ArtifactType: m.ArtifactType,
			})
		}
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	_ = json.NewEncoder(w).Encode(index)
}

func (f *fake) tags(w http.ResponseWriter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []string{}
	for name := range f.manifests {
		if !strings.Contains(name, ":") {
			list = append(list, name)
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": "x/y", "tags": list})
}

// random returns n bytes and their descriptor.
func random(t *testing.T, n int) ([]byte, ocispec.Descriptor) {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b, describe("application/octet-stream", b)
}

func describe(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// have puts a blob into the registry.
func (f *fake) have(b []byte) ocispec.Descriptor {
	f.mu.Lock()
	defer f.mu.Unlock()
	desc := describe("application/octet-stream", b)
	f.blobs[desc.Digest.String()] = b
	return desc
}

// manifestOf makes a manifest with some layers, and maybe a subject.
func manifestOf(t *testing.T, artifactType string, subject *ocispec.Descriptor, layers ...ocispec.Descriptor) ([]byte, ocispec.Descriptor) {
	t.Helper()
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: layers, Subject: subject,
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b, describe(m.MediaType, b)
}

// indexOf makes an index.
func indexOf(t *testing.T, manifests ...ocispec.Descriptor) ([]byte, ocispec.Descriptor) {
	t.Helper()
	b, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
	if err != nil {
		t.Fatal(err)
	}
	return b, describe(ocispec.MediaTypeImageIndex, b)
}

// push pushes or fails the test.
func push(t *testing.T, r *registry.Repository, desc ocispec.Descriptor, b []byte) {
	t.Helper()
	if err := r.Push(t.Context(), desc, strings.NewReader(string(b))); err != nil {
		t.Fatal(err)
	}
}

// readAll fetches all of a blob.
func readAll(ctx context.Context, r *registry.Repository, desc ocispec.Descriptor) ([]byte, error) {
	rc, err := r.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(rc)
	if closeErr := rc.Close(); err == nil {
		err = closeErr
	}
	return b, err
}

func host(t *testing.T, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
