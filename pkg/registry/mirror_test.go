package registry_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestMirror(t *testing.T) {
	origin, mirror := newFake(t), newFake(t)
	blob := []byte("both have it")
	desc := origin.have(blob)
	only := origin.have([]byte("the mirror has not"))
	mirror.have(blob)
	r := origin.open(t, func(o *registry.Options) {
		o.Mirrors = []string{"127.0.0.1:1", strings.TrimPrefix(mirror.URL, "http://") + "/cache"}
	})
	for range 3 {
		if got, err := readAll(t.Context(), r, desc); err != nil || !bytes.Equal(got, blob) {
			t.Error(err)
		}
	}
	if origin.count("GET blobs") != 0 || mirror.count("GET blobs") != 3 {
		t.Errorf("%d requests to the registry, %d to the mirror", origin.count("GET blobs"), mirror.count("GET blobs"))
	}
	if _, err := readAll(t.Context(), r, only); err != nil {
		t.Error(err)
	}
	other, odesc := random(t, 10)
	push(t, r, odesc, other)
	if mirror.count("PUT uploads") != 0 || origin.count("PUT uploads") != 1 {
		t.Error("the mirror was written to")
	}
	ref, err := registry.Parse("a.example/b")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "http://x", "a b", "user@host"} {
		if _, err := registry.Open(t.Context(), ref, registry.Options{Mirrors: []string{bad}}); err == nil {
			t.Errorf("mirror %q was taken", bad)
		}
	}
}

// A mirror that is dead is not asked again, and no mirror sees the password.
func TestDeadMirror(t *testing.T) {
	origin := basicRegistry(t, "me", "secret")
	desc := origin.have([]byte("x"))
	var dead, asks atomic.Int32
	broken := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		dead.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer broken.Close()
	curious := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a mirror got the password")
		}
		asks.Add(1)
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
	}))
	defer curious.Close()
	r := origin.open(t, func(o *registry.Options) {
		o.Username, o.Password = "me", "secret"
		o.Mirrors = []string{host(t, broken.URL), host(t, curious.URL)}
	})
	for range 3 {
		if _, err := readAll(t.Context(), r, desc); err != nil {
			t.Error(err)
		}
	}
	if dead.Load() != 2 || asks.Load() != 3 {
		t.Errorf("the dead mirror was asked %d times, the other %d", dead.Load(), asks.Load())
	}
}
