package artifact_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/artifact/artifacttest"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// large is a medium with content of more than one piece.
var large = sync.OnceValue(func() []byte { return largeWith(2) })

// largeWith is the large medium with other firmware, and more.
func largeWith(firmware byte, more ...esxitest.Option) []byte {
	noise := func(seed byte, size int) []byte {
		b := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
		return b
	}
	return esxitest.Bytes(append([]esxitest.Option{
		esxitest.Add("DRIVERS.BIN", noise(1, 7<<20+4711)),
		esxitest.Add("FIRMWARE.BIN", noise(firmware, firmwareSize)),
		esxitest.Add("TOOLS.BIN", noise(3, firmwareSize)), // of the same size
	}, more...)...)
}

// firmwareSize is three pieces.
const firmwareSize = 8<<20 + 1

// packLarge packs the large medium's image into a layout and tags it latest.
func packLarge(tb testing.TB, p imager.Profile) (*registry.Repository, *artifact.Packed) {
	tb.Helper()
	return artifacttest.Pack(tb, newLayout(tb), sourceOf(tb, p, large()))
}

// contentOf is how many bytes of an image are of files but the kickstart's.
func contentOf(c *artifact.Config) (n int64) {
	for _, f := range c.Files {
		if f.Role != plan.RoleKickstart {
			n += f.Size
		}
	}
	return n
}

// served is a layout as a registry that can be pulled from.
type served struct {
	*registrytest.Liar
	repo *registry.Repository // over HTTP
}

func serve(tb testing.TB, layout *registry.Repository) *served {
	tb.Helper()
	s := &served{Liar: registrytest.NewLiar(readOnly{layout})}
	tb.Cleanup(s.Close)
	s.repo = registrytest.Open(tb, s.Host+"/esxi", registry.Options{RetryWait: time.Millisecond})
	return s
}

// readOnly is as much of a registry as pulling needs.
type readOnly struct {
	layout *registry.Repository
}

func (h readOnly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if registrytest.KindOf(r) == registrytest.Manifests {
		d, err := h.layout.Resolve(r.Context(), name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		b, err := h.layout.FetchBytes(r.Context(), d, 0)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", d.MediaType)
		w.Header().Set("Docker-Content-Digest", d.Digest.String())
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		return
	}
	f, err := os.Open(filepath.Join(h.layout.Reference().Path, "blobs", "sha256", digest.Digest(name).Encoded()))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// skip is what the user says who does not verify.
var skip = artifact.PullOptions{Verifier: artifact.InsecureSkip{}}

// pullTo pulls the tag latest to a file.
func pullTo(tb testing.TB, from *registry.Repository, path string, opts artifact.PullOptions) *artifact.Pulled {
	tb.Helper()
	p, err := tryPull(tb.Context(), tb, from, path, false, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func tryPull(ctx context.Context, tb testing.TB, from *registry.Repository, path string, force bool, opts artifact.PullOptions) (*artifact.Pulled, error) {
	tb.Helper()
	to, err := artifact.ToFile(path, artifact.FileOptions{Force: force})
	if err != nil {
		return nil, err
	}
	p, err := artifact.Pull(ctx, from, artifact.LatestTag, to, opts)
	if closeErr := to.Close(); closeErr != nil {
		tb.Error(closeErr)
	}
	return p, err
}

// diskOf is the disk that a pull should make.
func diskOf(tb testing.TB, r *registry.Repository) []byte {
	tb.Helper()
	img, _ := loadLatest(tb, r)
	return assemble(tb, r, img)
}

func holds(tb testing.TB, path string, want []byte) {
	tb.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		tb.Errorf("%s is another disk than it should be", path)
	}
}

// only checks what a folder holds.
func only(tb testing.TB, dir string, want ...string) {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		tb.Errorf("the folder holds %v, not %v", names, want)
	}
}

// pullStopper cancels a pull when that many bytes are done.
type pullStopper struct {
	cancel context.CancelFunc
	after  int64
	mu     sync.Mutex
	done   int64
}

func (s *pullStopper) Start(string, int64) {}
func (s *pullStopper) Done()               {}
func (s *pullStopper) Add(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done += n; s.done >= s.after {
		s.cancel()
	}
}

// rewrite changes the config of the image latest, and all that names it.
func rewrite(tb testing.TB, r *registry.Repository, change func(*artifact.Config)) {
	tb.Helper()
	ctx := tb.Context()
	top, err := r.Resolve(ctx, artifact.LatestTag)
	if err != nil {
		tb.Fatal(err)
	}
	img, err := artifact.Load(ctx, r, top)
	if err != nil {
		tb.Fatal(err)
	}
	change(img.Config)
	b, err := json.Marshal(img.Config)
	if err != nil {
		tb.Fatal(err)
	}
	push := func(mediaType string, b []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		if err := r.Push(ctx, d, bytes.NewReader(b)); err != nil {
			tb.Fatal(err)
		}
		return d
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(blobOf(tb, r, img.Manifest), &m); err != nil {
		tb.Fatal(err)
	}
	m.Config = push(artifact.MediaTypeConfig, b)
	if b, err = json.Marshal(m); err != nil {
		tb.Fatal(err)
	}
	if err := r.Tag(ctx, push(ocispec.MediaTypeImageManifest, b), artifact.LatestTag); err != nil {
		tb.Fatal(err)
	}
}
