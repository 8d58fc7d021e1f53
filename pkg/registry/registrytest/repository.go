package registrytest

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// Open opens the repository of a reference, until the test ends.
func Open(tb testing.TB, reference string, opts registry.Options) *registry.Repository {
	tb.Helper()
	return opened(tb, reference, opts, registry.Open)
}

// Create is Open for a repository that need not be there.
func Create(tb testing.TB, reference string, opts registry.Options) *registry.Repository {
	tb.Helper()
	return opened(tb, reference, opts, registry.Create)
}

type opener func(context.Context, registry.Reference, registry.Options) (*registry.Repository, error)

func opened(tb testing.TB, reference string, opts registry.Options, open opener) *registry.Repository {
	tb.Helper()
	ref, err := registry.Parse(reference)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := open(tb.Context(), ref, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// Push pushes a blob or a manifest.
func Push(tb testing.TB, to *registry.Repository, mediaType string, b []byte) ocispec.Descriptor {
	tb.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	if err := to.Push(tb.Context(), d, bytes.NewReader(b)); err != nil {
		tb.Fatal(err)
	}
	return d
}

// Serve runs our own registry, empty, until the test ends, and returns its
// host:port. Requests go through see, if there is one.
func Serve(tb testing.TB, see func(http.Handler) http.Handler) string {
	tb.Helper()
	handler := empty(tb)
	if see != nil {
		handler = see(handler)
	}
	web := httptest.NewServer(handler)
	tb.Cleanup(web.Close)
	return strings.TrimPrefix(web.URL, "http://")
}

// ServeLiar is Serve with a Liar before the registry.
func ServeLiar(tb testing.TB) *Liar {
	tb.Helper()
	l := NewLiar(empty(tb))
	tb.Cleanup(l.Close)
	return l
}

// empty is a registry that is closed at the end of the test, after whatever is
// begun later.
func empty(tb testing.TB) http.Handler {
	tb.Helper()
	s, err := server.New(tb.TempDir(), server.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}
