package server_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// started is a registry that runs.
type started struct {
	*server.Server
	http *httptest.Server
	host string
	dir  string
}

func start(t *testing.T, dir string, opts server.Options) *started {
	t.Helper()
	s, err := server.New(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &started{s, h, strings.TrimPrefix(h.URL, "http://"), dir}
}

// open opens a repository as a client.
func (s *started) open(t *testing.T, name string) *registry.Repository {
	t.Helper()
	return open(t, s.host+"/"+name)
}

func open(t *testing.T, text string) *registry.Repository {
	t.Helper()
	return registrytest.Open(t, text, registry.Options{RetryWait: time.Millisecond})
}

// do sends a request and returns its answer with the body read.
func (s *started) do(t *testing.T, method, path string, body []byte, header ...string) *answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.http.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return &answered{resp.StatusCode, resp.Header, b}
}

type answered struct {
	status int
	header http.Header
	body   []byte
}

// code is the error's code, if it is one.
func (a *answered) code() string {
	var e struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(a.body, &e) != nil || len(e.Errors) == 0 {
		return ""
	}
	return e.Errors[0].Code
}

// want holds that an answer is what it should be.
func (a *answered) want(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Errorf("%d %s, want %d %s: %.300s", a.status, a.code(), status, code, a.body)
	}
}

// random returns n bytes and their descriptor.
func random(t *testing.T, n int) ([]byte, ocispec.Descriptor) {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b, describe("application/octet-stream", b)
}

func describe(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// manifestOf makes a manifest with some layers, and maybe a subject.
func manifestOf(t *testing.T, artifactType string, subject *ocispec.Descriptor, layers ...ocispec.Descriptor) ([]byte, ocispec.Descriptor) {
	t.Helper()
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: layers, Subject: subject,
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b, describe(m.MediaType, b)
}

// push pushes or fails the test.
func push(t *testing.T, r *registry.Repository, desc ocispec.Descriptor, b []byte) {
	t.Helper()
	if err := r.Push(t.Context(), desc, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

// pushImage pushes a manifest with one layer and a tag.
func pushImage(t *testing.T, r *registry.Repository, tag string, layer []byte) ocispec.Descriptor {
	t.Helper()
	push(t, r, describe("application/octet-stream", layer), layer)
	push(t, r, ocispec.DescriptorEmptyJSON, []byte("{}"))
	b, desc := manifestOf(t, "application/x", nil, describe("application/octet-stream", layer))
	push(t, r, desc, b)
	if err := r.Tag(t.Context(), desc, tag); err != nil {
		t.Fatal(err)
	}
	return desc
}

// fetch reads all of a blob or of a part of it.
func read(t *testing.T, rc io.ReadCloser, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}
