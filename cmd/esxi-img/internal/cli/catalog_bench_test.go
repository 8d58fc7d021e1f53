package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// BenchmarkCatalog lists 500 tags, each of an image of its own that is signed,
// with 20 ms before each answer: every signature is verified.
func BenchmarkCatalog(b *testing.B) {
	const tags, delay = 500, 20 * time.Millisecond
	l := emptyLiar(b)
	repo := l.Host + "/bench/esxi"
	run := func(args ...string) string {
		b.Helper()
		r := command(b.Context(), args...)
		if r.code != done {
			b.Fatal(r.stderr)
		}
		return r.stdout
	}
	image := built()
	if image.err != "" {
		b.Fatal(image.err)
	}
	run("push", repo+":8.0", "--layout", image.layout)
	key := filepath.Join(b.TempDir(), "key")
	run("sign", "--generate-key", key)
	for i := range tags - 2 {
		tag := fmt.Sprintf("t%d", i)
		if err := retitle(b, repo, tag); err != nil {
			b.Fatal(err)
		}
		run("sign", "-q", repo+":"+tag, "--key", key+".key")
	}
	run("sign", "-q", repo+":8.0", "--key", key+".key")
	l.Tell(func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(delay)
			truth.ServeHTTP(w, r)
		})
	})
	list := func(cache string) {
		b.Helper()
		if out := run("catalog", "--key", key+".pub", "--cache", cache, repo); strings.Count(out, " verified ") != tags {
			b.Fatal(out)
		}
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			list(b.TempDir())
		}
	})
	b.Run("warm", func(b *testing.B) {
		cache := b.TempDir()
		list(cache)
		for b.Loop() {
			list(cache)
		}
	})
}

// retitle pushes the image of the tag 8.0 again, under another tag and title.
func retitle(b *testing.B, repo, tag string) error {
	b.Helper()
	ref, err := registry.Parse(repo + ":8.0")
	if err != nil {
		return err
	}
	to, err := registry.Create(b.Context(), ref, registry.Options{})
	if err != nil {
		return err
	}
	_, raw, err := to.FetchNamed(b.Context(), "8.0")
	if err != nil {
		return err
	}
	var x ocispec.Index
	if err := json.Unmarshal(raw, &x); err != nil {
		return err
	}
	x.Annotations[ocispec.AnnotationTitle] = tag
	if raw, err = json.Marshal(x); err != nil {
		return err
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := to.Push(b.Context(), d, bytes.NewReader(raw)); err != nil {
		return err
	}
	if err := to.Tag(b.Context(), d, tag); err != nil {
		return err
	}
	return to.Close()
}
