package catalog_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// fake is a registry with one repository, fake/esxi, in which tags name
// whatever the test likes.
type fake struct {
	*registrytest.Liar

	mu         sync.Mutex
	tags       map[string]string // to manifests
	types      map[string]string // of manifests that are no indexes
	blobs      map[digest.Digest]string
	referrers  map[digest.Digest][]ocispec.Descriptor
	page       int                   // tags of a page; 0: all
	delay      time.Duration         // of each answer
	digestless bool                  // answers to HEAD tell no digest
	deletes    func(name string) int // answers DELETE, before it is done; 0: it is done
	leaveTags  bool                  // of what is deleted by its digest
}

func newFake(tb testing.TB) *fake {
	tb.Helper()
	f := &fake{
		tags: map[string]string{}, types: map[string]string{},
		blobs: map[digest.Digest]string{}, referrers: map[digest.Digest][]ocispec.Descriptor{},
	}
	f.Liar = registrytest.NewLiar(f)
	tb.Cleanup(f.Close)
	return f
}

// tag makes a tag name a manifest.
func (f *fake) tag(name, manifest string) digest.Digest {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[name] = manifest
	return digest.FromString(manifest)
}

// attach makes a manifest refer to another one.
func (f *fake) attach(subject digest.Digest, manifest string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := digest.FromString(manifest)
	f.blobs[d] = manifest
	f.referrers[subject] = append(f.referrers[subject], ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(manifest)),
	})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(f.delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/fake/esxi/")
	what, name, _ := strings.Cut(rest, "/")
	switch {
	case r.URL.Path == "/v2/_catalog":
		answer(w, map[string]any{"repositories": []string{"fake/esxi", "../Bad\x1b[31m"}})
	case !ok:
		http.NotFound(w, r)
	case what == "tags":
		f.list(w, r)
	case what == "referrers":
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		answer(w, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: f.referrers[digest.Digest(name)]})
	case r.Method == http.MethodDelete:
		f.remove(w, name)
	default:
		f.manifest(w, r, name)
	}
}

// remove removes a tag, or what has a digest with the tags that name it.
func (f *fake) remove(w http.ResponseWriter, name string) {
	if f.deletes != nil {
		if status := f.deletes(name); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	_, isBlob := f.blobs[digest.Digest(name)]
	delete(f.blobs, digest.Digest(name))
	for tag, m := range f.tags {
		if tag == name || string(digest.FromString(m)) == name {
			isBlob = true
			if tag == name || !f.leaveTags {
				delete(f.tags, tag)
			} else {
				f.tags[tag] = ""
			}
		}
	}
	if !isBlob {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func answer(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(v) // the client tells
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	var tags []string
	for tag := range f.tags {
		if tag > r.URL.Query().Get("last") {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	if f.page > 0 && len(tags) > f.page {
		tags = tags[:f.page]
		w.Header().Set("Link", `</v2/fake/esxi/tags/list?last=`+tags[f.page-1]+`>; rel="next"`)
	}
	answer(w, map[string]any{"name": "fake/esxi", "tags": tags})
}

func (f *fake) manifest(w http.ResponseWriter, r *http.Request, name string) {
	body, ok := f.tags[name]
	if !ok {
		body, ok = f.blobs[digest.Digest(name)]
	}
	for _, m := range f.tags {
		if !ok && string(digest.FromString(m)) == name {
			body, ok = m, true
		}
	}
	ok = ok && body != "" // a tag may name nothing
	if !ok {
		http.NotFound(w, r)
		return
	}
	var m struct {
		MediaType string `json:"mediaType"`
	}
	_ = json.Unmarshal([]byte(body), &m) // some are none
	mediaType := ocispec.MediaTypeImageIndex
	switch {
	case f.types[name] != "":
		mediaType = f.types[name]
	case m.MediaType != "":
		mediaType = m.MediaType
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead || !f.digestless {
		w.Header().Set("Docker-Content-Digest", digest.FromString(body).String())
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // the client tells
	}
}

// image is the index of an image.
func image(release, build string, change ...func(*ocispec.Index)) string {
	x := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: artifact.TypeIndex,
		Manifests: []ocispec.Descriptor{{
			MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifact.TypeImage, Digest: digest.FromString(release + build), Size: 1000,
			Platform: &ocispec.Platform{OS: artifact.PlatformOS, Architecture: "amd64"},
		}},
		Annotations: map[string]string{
			ocispec.AnnotationTitle: "VMware ESXi " + release, ocispec.AnnotationVersion: release + "-" + build,
			ocispec.AnnotationCreated: "2023-09-04T14:59:10Z", artifact.AnnotationRelease: release, artifact.AnnotationBuild: build,
			artifact.AnnotationDiskSize: "36700160",
		},
	}
	for _, c := range change {
		c(&x)
	}
	b, err := json.Marshal(x)
	if err != nil {
		panic(err) // a struct of texts
	}
	return string(b)
}

// variantOf makes it a variant.
func variantOf(base digest.Digest) func(*ocispec.Index) {
	return func(x *ocispec.Index) {
		x.Manifests[0].ArtifactType = artifact.TypeVariant
		if base != "" {
			x.Annotations[ocispec.AnnotationBaseImageDigest] = base.String()
		}
	}
}

func annotated(key, value string) func(*ocispec.Index) {
	return func(x *ocispec.Index) { x.Annotations[key] = value }
}

// foreign is somebody else's image.
const foreign = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`

// open opens the repository.
func (f *fake) open(tb testing.TB) *registry.Repository {
	tb.Helper()
	return registrytest.Open(tb, f.Host+"/fake/esxi", registry.Options{Retries: -1, Concurrency: catalog.Connections(0)})
}

// listing lists it, and counts the requests from here on.
func (f *fake) listing(tb testing.TB, opts catalog.Options) *catalog.Listing {
	tb.Helper()
	r := f.open(tb)
	f.Forget()
	l, err := catalog.List(tb.Context(), r, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// asked holds which requests were sent.
func (f *fake) asked(t *testing.T, want map[registrytest.RequestKind]int, heads int) {
	t.Helper()
	got := f.Counts().Requests
	for kind, n := range want {
		if got["GET "+string(kind)] != n {
			t.Errorf("%d requests for %s, want %d", got["GET "+string(kind)], kind, n)
		}
	}
	if got["HEAD manifests"] != heads {
		t.Errorf("%d HEAD requests, want %d", got["HEAD manifests"], heads)
	}
}

// find returns the entry of a tag.
func find(t *testing.T, l *catalog.Listing, tag string) *catalog.Entry {
	t.Helper()
	for i := range l.Entries {
		if l.Entries[i].Tag == tag {
			return &l.Entries[i]
		}
	}
	t.Fatalf("%s is not listed: %+v", tag, l)
	return nil
}

// many is a repository with n images.
func many(tb testing.TB, n int) *fake {
	tb.Helper()
	f := newFake(tb)
	for i := range n {
		f.tag(fmt.Sprintf("t%05d", i), image("8.0.2", strconv.Itoa(10_000_000+i)))
	}
	return f
}
