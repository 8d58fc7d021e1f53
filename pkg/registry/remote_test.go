package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// The whole way: push, tag, resolve, fetch, list.
func TestPushAndFetch(t *testing.T) {
	for _, place := range []string{"registry", "layout"} {
		t.Run(place, func(t *testing.T) {
			r := newFake(t).open(t)
			if place == "layout" {
				r = newLayoutRepository(t)
			}
			testPushAndFetch(t, r)
		})
	}
}

func testPushAndFetch(t *testing.T, r *registry.Repository) {
	t.Helper()
	ctx := t.Context()
	blob, desc := random(t, 3<<20+7)
	if ok, err := r.Exists(ctx, desc); ok || err != nil {
		t.Fatalf("before: %v, %v", ok, err)
	}
	push(t, r, desc, blob)
	push(t, r, ocispec.DescriptorEmptyJSON, []byte("{}"))
	if ok, err := r.Exists(ctx, desc); !ok || err != nil {
		t.Fatalf("after: %v, %v", ok, err)
	}
	if got, err := readAll(ctx, r, desc); err != nil || !bytes.Equal(got, blob) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for _, c := range [][2]int64{{0, 1}, {1, 100}, {1 << 20, 1 << 20}, {desc.Size - 1, 1}, {0, desc.Size}} {
		rc, err := r.FetchRange(ctx, desc, c[0], c[1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, blob[c[0]:c[0]+c[1]]) {
			t.Errorf("range %v: %d bytes, %v", c, len(got), err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
	manifest, mdesc := manifestOf(t, "application/x", nil, desc)
	push(t, r, mdesc, manifest)
	if err := r.Tag(ctx, mdesc, "8.0"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"8.0", mdesc.Digest.String()} {
		if got, err := r.Resolve(ctx, name); err != nil || got.Digest != mdesc.Digest || got.Size != mdesc.Size || got.MediaType != mdesc.MediaType {
			t.Errorf("Resolve(%s) = %v, %v", name, got, err)
		}
	}
	if got, err := r.FetchBytes(ctx, mdesc, 0); err != nil || !bytes.Equal(got, manifest) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := r.Resolve(ctx, "9.9"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Resolve of nothing: %v", err)
	}
	if got := collectTags(t, r); !slices.Equal(got, []string{"8.0"}) {
		t.Errorf("tags %q", got)
	}
}

func collectTags(t *testing.T, r *registry.Repository) []string {
	t.Helper()
	var tags []string
	for tag, err := range r.Tags(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
	}
	return tags
}

// What is a manifest to us is one to oras, and the other way round.
func TestTargetOfOras(t *testing.T) {
	from, to := newLayoutRepository(t), newFake(t).open(t)
	blob, desc := random(t, 1000)
	push(t, from, desc, blob)
	push(t, from, ocispec.DescriptorEmptyJSON, []byte("{}"))
	manifest, mdesc := manifestOf(t, "application/x", nil, desc)
	push(t, from, mdesc, manifest)
	index, idesc := indexOf(t, mdesc)
	push(t, from, idesc, index)
	if err := from.Tag(t.Context(), idesc, "a"); err != nil {
		t.Fatal(err)
	}
	got, err := oras.Copy(t.Context(), from.Target(), "a", to.Target(), "b", oras.DefaultCopyOptions)
	if err != nil || got.Digest != idesc.Digest {
		t.Fatalf("%v, %v", got, err)
	}
	if b, err := readAll(t.Context(), to, desc); err != nil || !bytes.Equal(b, blob) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// Every lie ends in an error of its name, and in none of the bytes believed.
func TestLies(t *testing.T) {
	blob, desc := random(t, 100_000)
	manifest, mdesc := manifestOf(t, "application/x", nil, desc)
	other, _ := manifestOf(t, "application/other", nil, desc)
	big := append([]byte(`{"schemaVersion":2,"config":{},"x":"`), bytes.Repeat([]byte("x"), 5<<20)...)
	big = append(big, '"', '}')

	fetch := func(r *registry.Repository) error { _, err := readAll(t.Context(), r, desc); return err }
	part := func(r *registry.Repository) error {
		rc, err := r.FetchRange(t.Context(), desc, 1000, 2000)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(rc)
		if err == nil && !bytes.Equal(b, blob[1000:3000]) {
			err = errors.New("wrong bytes were believed")
		}
		return errors.Join(err, rc.Close())
	}
	resolve := func(r *registry.Repository) error { _, err := r.Resolve(t.Context(), "latest"); return err }
	byDigest := func(r *registry.Repository) error {
		_, err := r.Resolve(t.Context(), mdesc.Digest.String())
		return err
	}
	fetchManifest := func(r *registry.Repository) error { _, err := r.FetchBytes(t.Context(), mdesc, 0); return err }

	send := func(status int, header map[string]string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range header {
				w.Header().Set(k, v)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	partial := func(contentRange string, b []byte) http.HandlerFunc {
		return send(206, map[string]string{"Content-Range": contentRange}, b)
	}
	ofManifest := func(b []byte, mediaType string) http.HandlerFunc {
		return send(200, map[string]string{"Content-Type": mediaType, "Docker-Content-Digest": mdesc.Digest.String()}, b)
	}
	chunked := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(b)
		}
	}
	damaged := slices.Clone(blob)
	damaged[50_000] ^= 1

	for name, c := range map[string]struct {
		do     func(*registry.Repository) error
		answer http.HandlerFunc
		want   error // errors.Is
		text   string
	}{
		"wrong bytes":            {fetch, send(200, nil, damaged), registry.ErrMismatch, "another digest"},
		"a byte more":            {fetch, send(200, nil, append(slices.Clone(blob), 0)), registry.ErrMismatch, "100001 bytes"},
		"a byte fewer":           {fetch, send(200, nil, blob[1:]), registry.ErrMismatch, "99999 bytes"},
		"a byte more, chunked":   {fetch, chunked(append(slices.Clone(blob), 0)), registry.ErrMismatch, "longer"},
		"a byte fewer, chunked":  {fetch, chunked(blob[:99_999]), registry.ErrMismatch, "shorter"},
		"partial without asking": {fetch, partial("bytes 0-99999/100000", blob), nil, "206"},
		"nothing":                {fetch, send(204, nil, nil), nil, "204"},

		"range ignored":         {part, send(200, nil, blob), registry.ErrRangeIgnored, ""},
		"range off by one":      {part, partial("bytes 1001-3000/100000", blob[1001:3001]), registry.ErrBadRange, "bytes 1001-3000"},
		"range of another blob": {part, partial("bytes 1000-2999/100001", blob[1000:3000]), registry.ErrBadRange, ""},
		"range without header":  {part, send(206, nil, blob[1000:3000]), registry.ErrBadRange, ""},
		"range too short":       {part, partial("bytes 1000-2999/100000", blob[1000:2999]), registry.ErrBadRange, "1999 bytes"},
		"range too long":        {part, partial("bytes 1000-2999/100000", blob[1000:3001]), registry.ErrBadRange, "2001 bytes"},
		"range too long, chunked": {part, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 1000-2999/100000")
			w.WriteHeader(206)
			chunked(blob[1000:3001])(w, nil)
		}, registry.ErrBadRange, "more than was asked for"},
		"range too short, chunked": {part, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 1000-2999/100000")
			w.WriteHeader(206)
			chunked(blob[1000:2999])(w, nil)
		}, registry.ErrBadRange, "1 bytes are missing"},
		"range refused": {part, send(416, nil, nil), nil, "416"},

		"manifest of another digest":  {byDigest, ofManifest(other, ocispec.MediaTypeImageManifest), registry.ErrMismatch, ""},
		"tag's digest is not its own": {resolve, ofManifest(other, ocispec.MediaTypeImageManifest), registry.ErrMismatch, ""},
		"fetch gives another":         {fetchManifest, ofManifest(append(slices.Clone(manifest[:len(manifest)-1]), ' '), ocispec.MediaTypeImageManifest), registry.ErrMismatch, ""},
		"manifest of 5 MiB":           {resolve, ofManifest(big, ocispec.MediaTypeImageManifest), nil, "over the limit of 4194304"},
		"one without end":             {resolve, endless, nil, "over the limit of 4194304"},
		"manifest is a page":          {resolve, send(200, map[string]string{"Content-Type": "text/html"}, []byte("<html>")), nil, `"text/html", not a manifest`},
		"manifest with two types":     {resolve, send(200, map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}, manifest), nil, "the registry calls"},
		"manifest that is no JSON":    {resolve, send(200, map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}, []byte("{")), nil, "is no manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				c.answer(w, r)
				return true
			}
			err := c.do(f.open(t))
			var e *registry.Error
			if !errors.As(err, &e) || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v, want %v with %q", err, c.want, c.text)
			}
			if temporary(err) {
				t.Errorf("%v is said to be temporary", err)
			}
			n := f.count("GET blobs") + f.count("GET manifests")
			if n > 2 {
				t.Errorf("%d requests for an answer that was there", n)
			}
		})
	}
}

// endless never stops.
func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	b := bytes.Repeat([]byte(" "), 64<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// What a registry says now it may not say a moment later.
func TestRetries(t *testing.T) {
	blob, desc := random(t, 5<<20)
	hijack := func(w http.ResponseWriter, header string, b []byte) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = buf.WriteString(header)
		_, _ = buf.Write(b)
		_ = buf.Flush()
		_ = conn.Close()
	}
	for name, c := range map[string]struct {
		first func(w http.ResponseWriter, r *http.Request)
		times int32
		bytes int64 // at most so many more than the blob's are sent
	}{
		"429": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, 2, 0},
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 3, 0},
		"503 with Retry-After": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(503)
		}, 1, 0},
		"408":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(408) }, 1, 0},
		"no answer": {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "", nil) }, 2, 0},
		"broken at once": {func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 5242880\r\n\r\n", nil)
		}, 2, 0},
		"broken in the middle": {func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 5242880\r\n\r\n", blob[:3<<20])
		}, 1, -(3 << 20)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.have(blob)
			var n atomic.Int32
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if n.Add(1) > c.times {
					return false
				}
				c.first(w, r)
				return true
			}
			got, err := readAll(t.Context(), f.open(t), desc)
			if err != nil || !bytes.Equal(got, blob) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if sent := f.total(); sent > desc.Size+c.bytes {
				t.Errorf("%d bytes were sent", sent)
			}
		})
	}
}

// A stream that breaks again and again ends, unless it gets on.
func TestRetriesEnd(t *testing.T) {
	blob, desc := random(t, 16<<20)
	for name, piece := range map[string]int{"gets on": 2 << 20, "does not": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.have(blob)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				f.blob(&cut{ResponseWriter: w, left: piece}, r, desc.Digest.String())
				return true
			}
			got, err := readAll(t.Context(), f.open(t), desc)
			if name == "gets on" {
				if err != nil || !bytes.Equal(got, blob) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				return
			}
			if n := f.count("GET blobs"); !errors.Is(err, io.ErrUnexpectedEOF) || !temporary(err) || n != 1+registry.DefaultRetries {
				t.Errorf("after %d requests: %v", n, err)
			}
		})
	}
}

// cut breaks the connection after so many bytes.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 && err == nil {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// A registry that wants a long pause gets no further request.
func TestRetryAfterTooLong(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
		return true
	}
	_, err := f.open(t).Resolve(t.Context(), "latest")
	if f.count("GET manifests") != 1 || err == nil || !strings.Contains(err.Error(), "429 Too Many Requests") || !strings.Contains(err.Error(), "1h0m0s") {
		t.Errorf("after %d requests: %v", f.count("GET manifests"), err)
	}
}

// A connection that stays silent is given up.
func TestSilence(t *testing.T) {
	blob, desc := random(t, 1<<20)
	for name, answer := range map[string]http.HandlerFunc{
		"no header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half a body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(blob[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				answer(w, r)
				return true
			}
			r := f.open(t, func(o *registry.Options) { o.Retries = 1; *o = registry.WithIdle(*o, 50*time.Millisecond) })
			_, err := readAll(t.Context(), r, desc)
			if err == nil || !strings.Contains(err.Error(), "silent for 50ms") || !temporary(err) {
				t.Error(err)
			}
		})
	}
	t.Run("upload", func(t *testing.T) {
		t.Parallel()
		f := newFake(t)
		f.before = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				<-t.Context().Done() // with a body that is not read the request's own does not end
			}
			return r.Method == http.MethodPut
		}
		big, bigDesc := random(t, 32<<20) // more than the sockets' buffers take
		r := f.open(t, func(o *registry.Options) { o.Retries = -1; *o = registry.WithIdle(*o, 100*time.Millisecond) })
		err := r.Push(t.Context(), bigDesc, bytes.NewReader(big))
		if err == nil || !strings.Contains(err.Error(), "silent for") {
			t.Error(err)
		}
	})
}

func TestRedirects(t *testing.T) {
	blob, desc := random(t, 1000)
	var auth []string
	var mu sync.Mutex
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		auth = append(auth, r.Header.Get("Authorization"))
		mu.Unlock()
		_, _ = w.Write(blob)
	}))
	defer elsewhere.Close()
	target := ""
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
		return true
	}
	login := func(o *registry.Options) { o.Username, o.Password = "user", "correct horse" }

	t.Run("to another host", func(t *testing.T) {
		target = elsewhere.URL + "/blob?X-Signature=abcdef"
		got, err := readAll(t.Context(), f.open(t, login), desc)
		if err != nil || !bytes.Equal(got, blob) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if !slices.Equal(auth, []string{""}) {
			t.Errorf("the other host saw the header Authorization: %q", auth)
		}
	})
	t.Run("in circles", func(t *testing.T) {
		target = f.URL + "/v2/x/y/blobs/" + desc.Digest.String()
		_, err := readAll(t.Context(), f.open(t, login), desc)
		if n := f.count("GET blobs"); err == nil || !strings.Contains(err.Error(), "stopped after 10 redirects") || n > 25 {
			t.Errorf("after %d requests: %v", n, err)
		}
	})
	t.Run("to where nobody is", func(t *testing.T) {
		target = "http://127.0.0.1:1/blob?X-Amz-Signature=abcdef0123456789"
		_, err := readAll(t.Context(), f.open(t, login, func(o *registry.Options) { o.Retries = 1 }), desc)
		if err == nil || strings.Contains(err.Error(), "abcdef") {
			t.Error(err)
		}
	})
}

func TestNoRedirectFromHTTPS(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	r := openRepository(t, host(t, secure.URL)+"/x/y", registry.Options{Transport: secure.Client().Transport, InsecureSkipTLSVerify: true})
	_, err := r.Resolve(t.Context(), "latest")
	if err == nil || !strings.Contains(err.Error(), "redirected from HTTPS") {
		t.Error(err)
	}
}

// Errors say who, what and why, in bounds, and no secret.
func TestErrorsKeepSecrets(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		w.WriteHeader(403)
		fmt.Fprintf(w, "no \x1b[31m%s %s for you\r\n%s", r.Header.Get("Authorization"), "swordfish", strings.Repeat("blah ", 10_000))
		return true
	}
	_, err := f.open(t, func(o *registry.Options) { o.Username, o.Password = "me", "swordfish" }).Resolve(t.Context(), "8.0")
	if err == nil || !strings.Contains(err.Error(), "resolve 8.0: "+f.ref()+": 403 Forbidden: no [31mBasic *** *** for you blah") {
		t.Errorf("%v", err)
	}
	if len(err.Error()) > 800 || strings.Contains(err.Error(), "swordfish") || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%d bytes: %q", len(err.Error()), err)
	}
}

// Credentials come from files, are asked for once, and are for one host.
func TestCredentialFile(t *testing.T) {
	f := newFake(t)
	var challenged atomic.Int32
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "alice" && password == "secret:1" {
			return false
		}
		challenged.Add(1)
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
		return true
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":{"`+host(t, f.URL)+`":{"auth":"YWxpY2U6c2VjcmV0OjE="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := f.open(t, func(o *registry.Options) { o.CredentialFiles = []string{filepath.Join(t.TempDir(), "none"), file} })
	blob, desc := random(t, 10)
	push(t, r, desc, blob)
	if got, err := readAll(t.Context(), r, desc); err != nil || !bytes.Equal(got, blob) {
		t.Error(err)
	}
	if n := challenged.Load(); n != 1 {
		t.Errorf("%d requests without credentials", n)
	}
	_, err := f.open(t).Resolve(t.Context(), "latest")
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized: it wants a user name") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestMount(t *testing.T) {
	f := newFake(t)
	r := f.open(t)
	desc := f.have([]byte("disk"))
	if ok, err := r.Mount(t.Context(), desc, "x/base"); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := r.Mount(t.Context(), desc, "x/other"); ok || err != nil {
		t.Errorf("from where it is not: %v, %v", ok, err)
	}
	f.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(405); return true }
	if ok, err := r.Mount(t.Context(), desc, "x/base"); ok || err != nil {
		t.Errorf("where it is not allowed: %v, %v", ok, err)
	}
	f.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true }
	if ok, err := r.Mount(t.Context(), desc, "x/base"); ok || err == nil {
		t.Errorf("where it is broken: %v, %v", ok, err)
	}
}

// A list of tags without end ends.
func TestEndlessLists(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Link", `<`+r.URL.Path+`?last=x>; rel="next"`)
		if strings.Contains(r.URL.Path, "/referrers/") {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			_, desc := random(t, 10)
			desc.MediaType = ocispec.MediaTypeImageManifest
			_ = json.NewEncoder(w).Encode(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: slices.Repeat([]ocispec.Descriptor{desc}, 3)})
			return true
		}
		_, _ = io.WriteString(w, `{"tags":["a"]}`)
		return true
	}
	r := f.open(t)
	var last error
	n := 0
	for _, err := range r.Tags(t.Context()) {
		last = err
		n++
	}
	var limit *registry.LimitError
	if !errors.As(last, &limit) || limit.Limit != registry.MaxPages || n != registry.MaxPages+1 {
		t.Errorf("%d tags, %v", n, last)
	}
	_, desc := random(t, 10)
	if _, err := r.Referrers(t.Context(), desc, ""); !errors.As(err, &limit) {
		t.Errorf("referrers: %v", err)
	}
	if n := f.count("GET referrers"); n > registry.MaxReferrers {
		t.Errorf("%d requests", n)
	}
}

func TestTagsMayStop(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = io.WriteString(w, `{"tags":["a","b","c"]}`)
		return true
	}
	for tag, err := range f.open(t).Tags(t.Context()) {
		if tag != "a" || err != nil {
			t.Errorf("%q, %v", tag, err)
		}
		break
	}
}
