package registry_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestPushIsTriedAgain(t *testing.T) {
	blob, desc := random(t, 4<<20)
	for name, fail := range map[string]http.HandlerFunc{
		"500 to the end": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(500)
		},
		"429 at once": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"broken": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			panic(http.ErrAbortHandler)
		},
		"session forgotten": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"?"}]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			var n atomic.Int32
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut || n.Add(1) > 2 {
					return false
				}
				fail(w, r)
				return true
			}
			r := f.open(t)
			if err := r.Push(t.Context(), desc, bytes.NewReader(blob)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(f.blobs[desc.Digest.String()], blob) {
				t.Error("it did not arrive")
			}
			// What cannot be read again is not tried again.
			n.Store(0)
			other, odesc := random(t, 1000)
			if err := r.Push(t.Context(), odesc, io.MultiReader(bytes.NewReader(other))); err == nil {
				t.Error("a stream was pushed twice")
			}
		})
	}
}

// Content that is not the descriptor's never arrives.
func TestPushIsHashed(t *testing.T) {
	blob, desc := random(t, 3<<20)
	wrong := slices.Clone(blob)
	wrong[2<<20] ^= 1
	broken := errors.New("the disk is on fire")
	for name, c := range map[string]struct {
		src  io.Reader
		want error
	}{
		"other content": {bytes.NewReader(wrong), registry.ErrMismatch},
		"longer":        {bytes.NewReader(append(slices.Clone(blob), 1)), registry.ErrMismatch},
		"shorter":       {bytes.NewReader(blob[1:]), registry.ErrMismatch},
		"unreadable":    {io.MultiReader(bytes.NewReader(blob[:1<<20]), errorReader{broken}), broken},
	} {
		for _, place := range []string{"registry", "layout"} {
			t.Run(name+" to a "+place, func(t *testing.T) {
				f := newFake(t)
				r := f.open(t)
				if place == "layout" {
					r = newLayoutRepository(t)
				}
				if err := r.Push(t.Context(), desc, c.src); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if ok, err := r.Exists(t.Context(), desc); ok || err != nil {
					t.Errorf("it is there: %v, %v", ok, err)
				}
			})
		}
	}
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }
