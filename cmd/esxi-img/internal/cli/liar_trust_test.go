package cli_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/signing"
)

// newKey makes PREFIX.key and PREFIX.pub and returns their names.
func newKey(t *testing.T) (private, public string) {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "lab")
	if r := command(t.Context(), "sign", "--generate-key", prefix); r.code != done {
		t.Fatal(r.stderr)
	}
	return prefix + ".key", prefix + ".pub"
}

// target is a file that is there, and must not change.
type target struct {
	path string
	info os.FileInfo
}

const letter = "Dear disk,\n"

func newTarget(t *testing.T) target {
	t.Helper()
	path := filepath.Join(t.TempDir(), "got.img")
	if err := os.WriteFile(path, []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return target{path, info}
}

// untouched holds that the file is as it was, and alone.
func (o *target) untouched(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(o.path)
	if err != nil || string(b) != letter {
		t.Errorf("the target holds %d other bytes (%v)", len(b), err)
	}
	info, err := os.Stat(o.path)
	if err != nil || !info.ModTime().Equal(o.info.ModTime()) || !os.SameFile(info, o.info) {
		t.Errorf("the target was written to (%v)", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(o.path)); err != nil || len(entries) != 1 {
		t.Errorf("something lies beside the target: %v (%v)", entries, err)
	}
}

func TestRefusedPullsTouchNothing(t *testing.T) {
	private, public := newKey(t)
	_, other := newKey(t)
	l := liar(t)
	ref := l.Host + "/liar/esxi:8.0"
	pull := func(says string, args ...string) {
		t.Helper()
		o := newTarget(t)
		r := command(t.Context(), append([]string{"pull", ref, "-o", o.path, "--force", "--retries", "1"}, args...)...)
		r.ended(t, notVerified, says)
		o.untouched(t)
	}
	pull("nothing says whose images to trust")
	pull("it has no signature", "--key", public)
	attachLarge(t, ref)
	pull("over the limit of", "--key", public)
	if r := command(t.Context(), "sign", ref, "--key", private); r.code != done {
		t.Fatal(r.stderr)
	}
	pull("it was signed with another key", "--key", other)

	// A list without end is no answer, whatever is in it.
	l.Tell(registrytest.On(http.MethodGet, registrytest.Referrers, registrytest.EndlessReferrers(signing.MediaTypeBundle)))
	pull("over the limit of", "--key", public)
	l.Tell()

	// What nobody can count beside what counts does no harm.
	got := filepath.Join(t.TempDir(), "got.img")
	r := command(t.Context(), "pull", ref, "-o", got, "--key", public)
	r.ended(t, done, "")
	if b, err := os.ReadFile(got); err != nil || !bytes.Equal(b, buildImage(t).disk) {
		t.Errorf("another disk (%v)", err)
	}
}

// attachLarge attaches a bundle of 10 MiB to an image.
func attachLarge(t *testing.T, ref string) {
	t.Helper()
	to := registrytest.Open(t, ref, registry.Options{})
	subject, err := to.Resolve(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte(" "), 10<<20)
	layer := ocispec.Descriptor{MediaType: signing.MediaTypeBundle, Digest: digest.FromBytes(large), Size: int64(len(large))}
	for d, data := range map[*ocispec.Descriptor][]byte{&layer: large, &ocispec.DescriptorEmptyJSON: []byte("{}")} {
		if err := to.Push(t.Context(), *d, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: signing.MediaTypeBundle,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.PushReferrer(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
}

// TestTheTagMayMove takes the tag away as soon as the signature is looked for:
// what was verified is what is fetched.
func TestTheTagMayMove(t *testing.T) {
	private, public := newKey(t)
	l := liar(t)
	ref := l.Host + "/liar/esxi:8.0"
	if r := command(t.Context(), "sign", ref, "--key", private); r.code != done {
		t.Fatal(r.stderr)
	}
	var moved atomic.Bool
	l.Tell(func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if registrytest.KindOf(r) == registrytest.Referrers {
				moved.Store(true)
			}
			if moved.Load() && strings.HasSuffix(r.URL.Path, "/manifests/8.0") {
				t.Errorf("%s %s: the tag is asked for again", r.Method, r.URL.Path)
				r.URL.Path = strings.TrimSuffix(r.URL.Path, "8.0") + "moved"
			}
			truth.ServeHTTP(w, r)
		})
	})
	got := filepath.Join(t.TempDir(), "got.img")
	r := command(t.Context(), "pull", ref, "-o", got, "--key", public)
	r.ended(t, done, "")
	if b, err := os.ReadFile(got); err != nil || !bytes.Equal(b, buildImage(t).disk) {
		t.Errorf("another disk (%v)", err)
	}
	if !moved.Load() {
		t.Error("nobody looked for a signature")
	}
}
