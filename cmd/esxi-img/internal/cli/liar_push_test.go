package cli_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

func onUploads(method string, lie registrytest.Lie) registrytest.Lie {
	return registrytest.On(method, registrytest.Uploads, lie)
}

// large are the uploads that take more than a moment.
func large(lie registrytest.Lie) registrytest.Lie {
	return onUploads(http.MethodPut, registrytest.Where(func(r *http.Request) bool { return r.ContentLength > 1<<20 }, lie))
}

// swallow answers that it has taken a blob, and has not.
func swallow(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // it is a lie in any case
		w.Header().Set("Location", "/v2/liar/new/blobs/"+r.URL.Query().Get("digest"))
		w.WriteHeader(http.StatusCreated)
	})
}

// pretend answers that it has every blob.
func pretend(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "12")
		w.WriteHeader(http.StatusOK)
	})
}

var pushLies = []struct {
	name string
	lie  registrytest.Lie
	code int
	says string
}{
	{"429, come back at once", onUploads(http.MethodPost, registrytest.First(2, registrytest.Refuse(429, "0"))), done, ""},
	{"429, come back tomorrow", onUploads(http.MethodPost, registrytest.Refuse(429, "86400")), badRegistry, "come back in 24h0m0s"},
	{"503 twice", large(registrytest.First(2, registrytest.Refuse(503, ""))), done, ""},
	{"500 for ever", large(registrytest.Refuse(500, "")), badRegistry, "500 Internal Server Error"},
	{"500 for manifests", registrytest.On(http.MethodPut, registrytest.Manifests, registrytest.Refuse(500, "")), badRegistry, "500 Internal Server Error"},
	{"reset in the middle of a blob", large(registrytest.First(2, registrytest.BreakUpload(3_000_000))), done, ""},
	{"reset in the middle of a blob, for ever", large(registrytest.BreakUpload(3_000_000)), badRegistry, ""},
	{"blobs are swallowed", onUploads(http.MethodPut, swallow), badRegistry, "manifest blob unknown"},
	{"it has every blob", registrytest.On(http.MethodHead, registrytest.Blobs, pretend), notVerified, "the registry says that it has 12 bytes"},
	{"redirects without end", onUploads(http.MethodPost, registrytest.Redirect("")), badRegistry, "stopped after 10 redirects"},
	{"the disk is full", large(registrytest.Refuse(507, "")), badRegistry, "507 Insufficient Storage"},
	{"no, it says", onUploads(http.MethodPost, registrytest.Refuse(403, "")), badRegistry, "403 Forbidden"},
	{"a tag that is another manifest", onManifests(registrytest.OtherManifest(ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))), badRegistry, "would become"},
	{"a tag of 5 MiB", onManifests(registrytest.LargeManifest(5<<20, false)), badRegistry, "over the limit"},
}

// Whatever a registry does, a push ends well or says what was wrong, in time;
// what it left is no image.
func TestLiesToPush(t *testing.T) {
	i := buildImage(t)
	for _, c := range pushLies {
		t.Run(c.name, func(t *testing.T) {
			l := registrytest.ServeLiar(t)
			ref := l.Host + "/liar/new:8.0"
			push := []string{"push", ref, "--layout", i.layout, "--retries", "2", "--quiet"}
			pull := []string{"pull", ref, "-o", filepath.Join(t.TempDir(), "got.img"), "--insecure-skip-verify", "--quiet"}
			l.Tell(c.lie)
			r := command(t.Context(), push...)
			r.ended(t, c.code, c.says)
			l.Tell()
			if c.code != done {
				r = command(t.Context(), pull...)
				r.ended(t, badRegistry, "404")
				r = command(t.Context(), push...)
				r.ended(t, done, "")
			}
			r = command(t.Context(), pull...)
			r.ended(t, done, "")
			if b, err := os.ReadFile(pull[3]); err != nil || !bytes.Equal(b, i.disk) {
				t.Errorf("the disk is another: %v", err)
			}
		})
	}
}

// A layout whose disk was damaged is not pushed, and it is not the registry
// that is to blame.
func TestPushOfDamagedLayout(t *testing.T) {
	i := buildImage(t)
	dir := filepath.Join(t.TempDir(), "damaged.oci")
	if err := os.CopyFS(dir, os.DirFS(i.layout)); err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(blobs, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != len(i.disk) {
			continue
		}
		b[10<<20] ^= 1
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := registrytest.ServeLiar(t)
	r := command(t.Context(), "push", l.Host+"/liar/new", "--layout", dir)
	r.ended(t, badInput, "the content's digest is")
	r = command(t.Context(), "pull", l.Host+"/liar/new", "-o", filepath.Join(t.TempDir(), "got.img"), "--insecure-skip-verify")
	r.ended(t, badRegistry, "404")
}

// A registry that wants its uploads elsewhere does not get them, and nobody gets
// our password.
func TestUploadElsewhere(t *testing.T) {
	l := registrytest.ServeLiar(t)
	store := registrytest.NewLiar(l.Config.Handler)
	defer store.Close()
	l.Tell(
		func(truth http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, _, ok := r.BasicAuth(); !ok && r.Host == l.Host {
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					http.Error(w, "who are you?", http.StatusUnauthorized)
					return
				}
				truth.ServeHTTP(w, r)
			})
		},
		onUploads(http.MethodPost, func(truth http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				truth.ServeHTTP(&elsewhere{w, store.URL}, r)
			})
		}),
	)
	r := command(t.Context(), "push", l.Host+"/liar/new", "--layout", buildImage(t).layout, "--retries", "2")
	r.ended(t, badRegistry, "is on a different host than the registry")
	if len(store.Credentials()) > 0 || store.Counts().Received > 0 {
		t.Errorf("the other host was shown %q, and got %d bytes", store.Credentials(), store.Counts().Received)
	}
}

// elsewhere sends uploads to another host.
type elsewhere struct {
	http.ResponseWriter
	base string
}

func (e *elsewhere) WriteHeader(status int) {
	if at := e.Header().Get("Location"); strings.HasPrefix(at, "/") {
		e.Header().Set("Location", e.base+at)
	}
	e.ResponseWriter.WriteHeader(status)
}

// A list of referrers without end does not go on without end.
func TestEndlessReferrers(t *testing.T) {
	l := liar(t)
	l.Tell(registrytest.On(http.MethodGet, registrytest.Referrers, registrytest.EndlessReferrers("application/vnd.dev.sigstore.bundle.v0.3+json")))
	ref := l.Host + "/liar/esxi:8.0"
	dir := t.TempDir()
	for _, args := range [][]string{
		{"copy", ref, "oci:" + filepath.Join(dir, "copy.oci") + ":8.0", "--insecure-skip-verify"},
		{"inspect", ref},
	} {
		r := command(t.Context(), args...)
		r.ended(t, badRegistry, "over the limit")
	}
	// Who needs none does not ask.
	r := command(t.Context(), "pull", ref, "-o", filepath.Join(dir, "got.img"), "--insecure-skip-verify")
	r.ended(t, done, "")
}
