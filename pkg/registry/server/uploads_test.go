package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// begin begins an upload and returns its path.
func (s *started) begin(t *testing.T, name string) string {
	t.Helper()
	a := s.do(t, http.MethodPost, "/v2/"+name+"/blobs/uploads/", nil)
	a.want(t, http.StatusAccepted, "")
	return a.header.Get("Location")
}

// Every way of sending a blob.
func TestWaysToUpload(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	content, desc := random(t, 600<<10)
	d := desc.Digest.String()
	sha512 := digest.SHA512.FromBytes(content).String()
	for name, send := range map[string]func(t *testing.T) *answered{
		"POST": func(t *testing.T) *answered {
			return s.do(t, http.MethodPost, "/v2/a/blobs/uploads/?digest="+d, content)
		},
		"POST PUT": func(t *testing.T) *answered { return s.do(t, http.MethodPut, s.begin(t, "a")+"?digest="+d, content) },
		"PATCH PUT": func(t *testing.T) *answered {
			at := s.begin(t, "a")
			s.do(t, http.MethodPatch, at, content[:100]).want(t, http.StatusAccepted, "")
			s.do(t, http.MethodPatch, at, content[100:400<<10]).want(t, http.StatusAccepted, "")
			return s.do(t, http.MethodPut, at+"?digest="+d, content[400<<10:])
		},
		"ranges": func(t *testing.T) *answered {
			at := s.begin(t, "a")
			s.do(t, http.MethodPatch, at, content[:100], "Content-Range", "0-99").want(t, http.StatusAccepted, "")
			a := s.do(t, http.MethodGet, at, nil)
			if a.want(t, http.StatusNoContent, ""); a.header.Get("Range") != "0-99" {
				t.Errorf("Range: %s", a.header.Get("Range"))
			}
			s.do(t, http.MethodPatch, at, content[50:100], "Content-Range", "50-99").want(t, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID")
			s.do(t, http.MethodPatch, at, content[100:], "Content-Range", fmt.Sprintf("bytes 100-%d", len(content)-1)).want(t, http.StatusAccepted, "")
			return s.do(t, http.MethodPut, at+"?digest="+d, nil)
		},
		"SHA-512": func(t *testing.T) *answered {
			return s.do(t, http.MethodPut, s.begin(t, "a")+"?digest="+sha512, content)
		},
		"SHA-512 told late": func(t *testing.T) *answered {
			at := s.begin(t, "a")
			s.do(t, http.MethodPatch, at, content).want(t, http.StatusAccepted, "")
			return s.do(t, http.MethodPut, at+"?digest="+sha512, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Join(s.dir, "a", "blobs", "sha256")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(s.dir, "a", "blobs", "sha512")); err != nil {
				t.Fatal(err)
			}
			a := send(t)
			a.want(t, http.StatusCreated, "")
			if got := s.do(t, http.MethodGet, a.header.Get("Location"), nil); !bytes.Equal(got.body, content) {
				t.Errorf("%s: %d bytes", a.header.Get("Location"), len(got.body))
			}
			noTemps(t, filepath.Join(s.dir, "a"))
		})
	}
}

// What is not what it should be never becomes a blob, and leaves nothing.
func TestRefusedUploads(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	content, desc := random(t, 1000)
	d := desc.Digest.String()
	put := func(query string, body []byte, header ...string) *answered {
		return s.do(t, http.MethodPut, s.begin(t, "a")+query, body, header...)
	}
	put("?digest="+d, content[:999]).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	put("?digest="+d, append([]byte{0}, content...)).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	put("?digest="+d, nil).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	put("?digest=sha256:12", content).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	put("", content).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	put("?digest=md5:d41d8cd98f00b204e9800998ecf8427e", content).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	put("?digest="+d, content, "Content-Range", "1-1000").want(t, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID")
	put("?digest="+d, content, "Content-Range", "0-1000").want(t, http.StatusBadRequest, "SIZE_INVALID")
	put("?digest="+d, content, "Content-Range", "x").want(t, http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
	put("?digest="+d, content, "Content-Range", "0-9223372036854775807").want(t, http.StatusBadRequest, "SIZE_INVALID")
	s.do(t, http.MethodPost, "/v2/a/blobs/uploads/?digest="+d, content[1:]).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	s.do(t, http.MethodPost, "/v2/a/blobs/uploads/?digest=x", content).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	s.do(t, http.MethodPut, "/v2/a/blobs/uploads/none?digest="+d, content).want(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	at := s.begin(t, "a")
	s.do(t, http.MethodPut, strings.Replace(at, "/v2/a/", "/v2/b/", 1)+"?digest="+d, content).want(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	s.do(t, http.MethodDelete, at, nil).want(t, http.StatusNoContent, "")
	s.do(t, http.MethodPatch, at, content).want(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	s.do(t, http.MethodGet, "/v2/a/blobs/"+d, nil).want(t, http.StatusNotFound, "BLOB_UNKNOWN")
	// Those that were refused before their body was read can still be used.
	if err := s.Expire(time.Hour); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "a", ".esxi-img-*.tmp"))
	if err != nil || len(left) == 0 {
		t.Errorf("%v, %v", left, err)
	}
	if err := s.Expire(0); err != nil {
		t.Fatal(err)
	}
	noTemps(t, filepath.Join(s.dir, "a"))
}

// A body whose length is not told ends where its range does.
func TestRangeOfUnknownLength(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	content, _ := random(t, 1000)
	for n, want := range map[int]int{500: http.StatusBadRequest, 999: http.StatusBadRequest, 1000: http.StatusAccepted} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, s.http.URL+s.begin(t, "a"), io.MultiReader(bytes.NewReader(content[:n])))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Range", "0-999")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%d of 1000 bytes: %d, want %d", n, resp.StatusCode, want)
		}
	}
}

// A layout is held as long as an upload to it is under way.
func TestUploadHoldsLayout(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	at := s.begin(t, "a")
	if err := s.ExpireLayouts(0); err != nil || s.Open() != 1 {
		t.Errorf("%d layouts are held, %v", s.Open(), err)
	}
	s.do(t, http.MethodDelete, at, nil).want(t, http.StatusNoContent, "")
	if err := s.ExpireLayouts(0); err != nil || s.Open() != 0 {
		t.Errorf("%d layouts are held, %v", s.Open(), err)
	}
}

// A manifest whose parts are missing is refused, and so is what is none.
func TestRefusedManifests(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	r := s.open(t, "a")
	push(t, r, ocispec.DescriptorEmptyJSON, []byte("{}"))
	layer, desc := random(t, 100)
	b, m := manifestOf(t, "", nil, desc)
	oci := []string{"Content-Type", ocispec.MediaTypeImageManifest}
	put := func(reference string, body []byte, header ...string) *answered {
		return s.do(t, http.MethodPut, "/v2/a/manifests/"+reference, body, header...)
	}
	put("1", b, oci...).want(t, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
	push(t, r, desc, layer)
	shorter := desc
	shorter.Size--
	wrong, _ := manifestOf(t, "", nil, shorter)
	put("1", wrong, oci...).want(t, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
	put(m.Digest.String(), append(b, ' '), oci...).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	put("1", b, "Content-Type", ocispec.MediaTypeImageIndex).want(t, http.StatusBadRequest, "MANIFEST_INVALID")
	put("1", b, "Content-Type", "text/plain").want(t, http.StatusBadRequest, "MANIFEST_INVALID")
	put("1", []byte("{}"), oci...).want(t, http.StatusBadRequest, "MANIFEST_INVALID")
	put("1", []byte("["), oci...).want(t, http.StatusBadRequest, "MANIFEST_INVALID")
	put("1", []byte(`{"config":{"digest":"sha256:x","size":1}}`), oci...).want(t, http.StatusBadRequest, "MANIFEST_INVALID")
	many := put("1", []byte(`{"manifests":[`+strings.Repeat("null,", 200<<10)+`null]}`), oci...)
	if many.want(t, http.StatusBadRequest, "MANIFEST_INVALID"); !strings.Contains(string(many.body), "commas") {
		t.Errorf("it was parsed: %s", many.body)
	}
	put("1", bytes.Repeat([]byte{' '}, registry.MaxManifest+1), oci...).want(t, http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	put("-", b, oci...).want(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	put("sha256:x", b, oci...).want(t, http.StatusBadRequest, "DIGEST_INVALID")
	for tag, err := range r.Tags(t.Context()) {
		t.Errorf("the tag %q, %v", tag, err)
	}
	put("1", append(b, bytes.Repeat([]byte{' '}, registry.MaxManifest-len(b))...), oci...).want(t, http.StatusCreated, "")
}

// A blob of zeros takes no room.
func TestSparseBlob(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	content := make([]byte, 8<<20)
	content[5<<20] = 1
	desc := describe("application/octet-stream", content)
	push(t, s.open(t, "a"), desc, content)
	path := filepath.Join(s.dir, "a", "blobs", "sha256", desc.Digest.Encoded())
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the blob is another, %v", err)
	}
	if n, known := registrytest.Allocated(t, path); known && n > 1<<20 {
		t.Errorf("it takes %d bytes", n)
	}
}

// serveUntil serves at an address until stop is called; then ended has how.
func serveUntil(t *testing.T, s *server.Server) (address string, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	how := make(chan error, 1)
	go func() { how <- s.Serve(ctx, l, nil) }()
	return l.Addr().String(), stop, how
}

// A client that breaks off in the middle leaves nothing; one that says nothing
// is not waited for.
func TestClientsThatStall(t *testing.T) {
	s, err := server.New(t.TempDir(), server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.SetTimes(200*time.Millisecond, time.Second)
	address, stop, ended := serveUntil(t, s)
	ask := func(request string) net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	// The connection ends, and something was said before.
	for name, request := range map[string]string{
		"an upload":   "POST /v2/a/blobs/uploads/?digest=" + ocispec.DescriptorEmptyJSON.Digest.String() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{",
		"a manifest":  "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{",
		"what nobody": "PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{",
	} {
		conn := ask(request)
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 4") {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		_ = conn.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Who reads an answer when the server is to end gets the rest of it, within the
// time that there is.
func TestShutdown(t *testing.T) {
	dir := t.TempDir()
	content, desc := random(t, 32<<20)
	push(t, start(t, dir, server.Options{}).open(t, "a"), desc, content)
	for name, c := range map[string]struct {
		grace time.Duration
		want  int
	}{"in time": {10 * time.Second, len(content)}, "too late": {50 * time.Millisecond, -1}} {
		t.Run(name, func(t *testing.T) {
			s, err := server.New(dir, server.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s.SetTimes(20*time.Second, c.grace)
			address, stop, ended := serveUntil(t, s)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/v2/a/blobs/"+desc.Digest.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := new(http.Transport).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			stop()
			time.Sleep(200 * time.Millisecond)
			b, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if c.want >= 0 && (err != nil || len(b) != c.want) || c.want < 0 && err == nil {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
				_ = conn.Close()
				t.Error("it still listens")
			}
		})
	}
}

// A page in a browser cannot push.
func TestCrossOrigin(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	if a := s.do(t, http.MethodPost, "/v2/a/blobs/uploads/", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); a.status != http.StatusForbidden {
		t.Errorf("%d", a.status)
	}
}

// A file is handed to the connection as such, part by part: then the system
// sends it by itself.
func TestFilesAreHandedOn(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	const size = 5<<20 + 3
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	w := &readFromWriter{ResponseRecorder: httptest.NewRecorder()}
	n, err := io.CopyN(server.NewRecorder(w, time.Second), f, size)
	if n != size || err != nil || w.files != 6 || w.Body.Len() != size {
		t.Errorf("%d bytes, %v; %d parts with %d bytes", n, err, w.files, w.Body.Len())
	}
	if n, err := io.CopyN(server.NewRecorder(w, time.Second), f, 1); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

type readFromWriter struct {
	*httptest.ResponseRecorder
	files int
}

func (w *readFromWriter) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			w.files++
		}
	}
	return io.Copy(w.ResponseRecorder, r)
}

func FuzzRoute(f *testing.F) {
	for _, p := range []string{
		"/v2/", "/v2/a/b/blobs/uploads/", "/v2/a/blobs/uploads/x", "/v2/a/manifests/../..", "/v2/../a/blobs/x",
		"/v2/blobs/blobs/blobs/x", "/v2/a/tags/list", "/v2/a/referrers/sha256:x", "/v2//tags/list", "/v2/a\x00/tags/list",
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		name, ok := server.RouteName(p)
		if !ok {
			return
		}
		local, err := filepath.Localize(name)
		if err == nil && (!filepath.IsLocal(local) || filepath.Clean(local) != local) {
			t.Errorf("%q names the folder %q", p, local)
		}
		if strings.ContainsAny(name, "\\:\x00") || strings.Contains(name, "..") || name == "" {
			t.Errorf("%q names %q", p, name)
		}
	})
}
