package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// What is cancelled ends at once, in the middle of a pause too.
func TestCancel(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(503)
		time.AfterFunc(10*time.Millisecond, cancel)
		return true
	}
	began := time.Now()
	_, err := f.open(t).Resolve(ctx, "latest")
	if !errors.Is(err, context.Canceled) || time.Since(began) > 10*time.Second || temporary(err) {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// The pause that a registry asks for is made.
func TestRetryAfterIsKept(t *testing.T) {
	f := newFake(t)
	desc := f.have([]byte("x"))
	var n atomic.Int32
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1) > 1 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(429)
		return true
	}
	began := time.Now()
	if _, err := readAll(t.Context(), f.open(t), desc); err != nil || time.Since(began) < time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// A connection that is refused is a wrong name, unless somebody was there.
func TestRefused(t *testing.T) {
	r := openRepository(t, "127.0.0.1:1/x/y", registry.Options{RetryWait: time.Hour})
	if _, err := r.Resolve(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "refused") || !temporary(err) {
		t.Error(err)
	}
	f := newFake(t)
	desc := f.have([]byte("x"))
	r = f.open(t, func(o *registry.Options) { o.RetryWait = 50 * time.Millisecond })
	if _, err := readAll(t.Context(), r, desc); err != nil {
		t.Fatal(err)
	}
	addr := f.Listener.Addr().String()
	f.Close()
	time.AfterFunc(200*time.Millisecond, func() {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err != nil {
			return // the port was taken; the test below fails and says so
		}
		again := &httptest.Server{Listener: l, Config: &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}}
		again.Start()
		t.Cleanup(again.Close)
	})
	if _, err := readAll(t.Context(), r, desc); err != nil {
		t.Errorf("a registry that was restarted: %v", err)
	}
}

func TestIPv6(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6: ", err)
	}
	f := newFake(t)
	six := httptest.NewUnstartedServer(f)
	_ = six.Listener.Close()
	six.Listener = l
	six.Start()
	defer six.Close()
	f.URL = six.URL
	testPushAndFetch(t, f.open(t))
}

func TestProxy(t *testing.T) {
	f := newFake(t)
	desc := f.have([]byte("x"))
	yes := true
	r := openRepository(t, "registry.invalid/x/y", registry.Options{
		PlainHTTP: &yes,
		Proxy:     func(*http.Request) (*url.URL, error) { return url.Parse(f.URL) },
	})
	if _, err := readAll(t.Context(), r, desc); err != nil {
		t.Error(err)
	}
}

// Uploads do not follow a registry to another host, with or without a login.
func TestUploadElsewhere(t *testing.T) {
	var got atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	defer elsewhere.Close()
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		w.Header().Set("Location", elsewhere.URL+"/upload")
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	blob, desc := random(t, 100)
	err := f.open(t).Push(t.Context(), desc, bytes.NewReader(blob))
	if err == nil || !strings.Contains(err.Error(), "different host") || got.Load() != 0 {
		t.Errorf("%d requests, %v", got.Load(), err)
	}
}

// A token is short, whatever the server says.
func TestEndlessToken(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_, _ = io.WriteString(w, `{"token":"`)
			endless(w, r)
			return true
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.URL+`/token"`)
		w.WriteHeader(401)
		return true
	}
	if _, err := f.open(t).Resolve(t.Context(), "a"); err == nil {
		t.Error("no error")
	}
	if n := f.count("GET /"); n > 1+registry.DefaultRetries {
		t.Errorf("%d tokens were asked for", n)
	}
}

// Files that are no certificates.
func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.pem")
	write(t, bad, "-----BEGIN NONSENSE-----\n")
	ref, err := registry.Parse("registry.example/x")
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]registry.Options{
		"ca":           {CAFile: bad},
		"no key":       {CertFile: bad},
		"no cert":      {KeyFile: bad},
		"bad pair":     {CertFile: bad, KeyFile: bad},
		"no ca":        {CAFile: filepath.Join(dir, "none")},
		"no token":     {TokenFile: filepath.Join(dir, "none")},
		"ca is a dir":  {CAFile: dir},
		"empty token":  {TokenFile: bad + "x"},
		"no such file": {CertFile: filepath.Join(dir, "none"), KeyFile: bad},
	} {
		if _, err := registry.Open(t.Context(), ref, opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
