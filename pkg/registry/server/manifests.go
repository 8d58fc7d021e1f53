package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// manifestTypes are what is kept as a manifest: OCI's, and Docker's Image
// Manifest V 2, Schema 2.
var manifestTypes = map[string]bool{
	ocispec.MediaTypeImageManifest:                              true,
	ocispec.MediaTypeImageIndex:                                 true,
	"application/vnd.docker.distribution.manifest.v2+json":      true,
	"application/vnd.docker.distribution.manifest.list.v2+json": true,
}

// inMemory waits until one more manifest or list may be read.
func (s *Server) inMemory(ctx context.Context) (done func(), err error) {
	select {
	case s.manifests <- struct{}{}:
		return func() { <-s.manifests }, nil
	case <-ctx.Done():
		return nil, gone(ctx.Err())
	}
}

// parseReference reads a tag or a digest.
func parseReference(text string) (tag string, d digest.Digest, err error) {
	if strings.Contains(text, ":") {
		d, err = parseDigest(text)
		return "", d, err
	}
	if !tagRegexp.MatchString(text) {
		return "", "", fail(http.StatusNotFound, codeManifestUnknown, "%.300q is neither a tag nor a digest", text)
	}
	return text, "", nil
}

// getManifest sends a manifest (OCI distribution-spec 1.1, "Pulling manifests").
func (s *Server) getManifest(w http.ResponseWriter, r *http.Request, rt route) error {
	if _, _, err := parseReference(rt.reference); err != nil {
		return err
	}
	repo, done, err := s.store.use(r.Context(), rt.name, false)
	if err != nil {
		return err
	}
	defer done()
	desc, body, err := s.readManifest(r.Context(), repo, rt.reference)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", desc.MediaType)
	h.Set("Content-Length", strconv.FormatInt(desc.Size, 10))
	h.Set("Docker-Content-Digest", desc.Digest.String())
	h.Set("Etag", `"`+desc.Digest.String()+`"`)
	_, err = w.Write(body)
	return gone(err)
}

// readManifest finds a manifest and checks its digest.
func (s *Server) readManifest(ctx context.Context, repo *repository, reference string) (ocispec.Descriptor, []byte, error) {
	free, err := s.inMemory(ctx)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	defer free()
	desc, err := repo.layout.Resolve(ctx, reference)
	if err == nil {
		var body []byte
		if body, err = registry.NewRepository(repo.layout).FetchBytes(ctx, desc, registry.MaxManifest); err == nil {
			return desc, body, nil
		}
	}
	if errors.Is(err, registry.ErrNotFound) {
		err = manifestUnknown(reference)
	}
	return ocispec.Descriptor{}, nil, err
}

// putManifest takes a manifest whose parts are there (OCI distribution-spec
// 1.1, "Pushing Manifests", and "Pushing Manifests with Subject").
func (s *Server) putManifest(w http.ResponseWriter, r *http.Request, rt route) error {
	tag, d, err := parseReference(rt.reference)
	if err != nil {
		return err
	}
	free, err := s.inMemory(r.Context())
	if err != nil {
		return err
	}
	defer free()
	body, err := readManifestBody(w, r)
	if err != nil {
		return err
	}
	if d == "" {
		d = digest.FromBytes(body)
	}
	if d.Algorithm().FromBytes(body) != d {
		return fail(http.StatusBadRequest, codeDigestInvalid, "the manifest's digest is %s", d.Algorithm().FromBytes(body))
	}
	m, err := parseManifest(body, r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	repo, done, err := s.store.use(r.Context(), rt.name, true)
	if err != nil {
		return err
	}
	defer done()
	if err := m.checkParts(repo.layout); err != nil {
		return err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(body))}
	var full *registry.LimitError
	if err := repo.keep(r.Context(), desc, body, tag); errors.As(err, &full) {
		return &answer{http.StatusInsufficientStorage, codeDenied, "the repository is full: prune it, or push to another one", err}
	} else if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", "/v2/"+rt.name+"/manifests/"+d.String())
	h.Set("Docker-Content-Digest", d.String())
	if m.Subject != nil {
		h.Set("Oci-Subject", m.Subject.Digest.String())
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// keep writes a manifest and names it in index.json, by its tag if it has one.
func (r *repository) keep(ctx context.Context, desc ocispec.Descriptor, body []byte, tag string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.layout.Push(ctx, desc, bytes.NewReader(body)); err != nil {
		return err
	}
	if tag == "" {
		return r.layout.Add(ctx, desc)
	}
	return r.layout.Tag(ctx, desc, tag)
}

func readManifestBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, registry.MaxManifest))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, fail(http.StatusRequestEntityTooLarge, codeSizeInvalid, "a manifest may have %d bytes", large.Limit)
	}
	return body, gone(err)
}

// manifest is what a manifest or an index refers to.
type manifest struct {
	MediaType string               `json:"mediaType"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
	Subject   *ocispec.Descriptor  `json:"subject"`
}

func manifestInvalid(format string, args ...any) error {
	return fail(http.StatusBadRequest, codeManifestInvalid, format, args...)
}

// parseManifest reads a manifest of the media type that the request names.
func parseManifest(body []byte, contentType string) (*manifest, error) {
	if n := bytes.Count(body, []byte(",")); n > maxManifestCommas {
		return nil, manifestInvalid("it has %d commas, over the limit of %d", n, maxManifestCommas)
	}
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, manifestInvalid("%v", err)
	}
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = strings.TrimSpace(contentType)
	if contentType == "" {
		contentType = m.MediaType
	}
	if m.MediaType != "" && m.MediaType != contentType {
		return nil, manifestInvalid("it says that it is %.100q, the request that it is %.100q", m.MediaType, contentType)
	}
	if m.MediaType = contentType; !manifestTypes[contentType] {
		return nil, manifestInvalid("%.100q is no media type of a manifest", contentType)
	}
	if m.Config == nil && m.Manifests == nil {
		return nil, manifestInvalid("it has neither a config nor manifests")
	}
	for _, d := range m.parts() {
		if _, err := parseDigest(d.Digest.String()); err != nil {
			return nil, manifestInvalid("%.300q is no digest", d.Digest.String())
		}
		if d.Size < 0 {
			return nil, manifestInvalid("%s has a size of %d bytes", d.Digest, d.Size)
		}
	}
	return &m, nil
}

func (m *manifest) parts() []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for _, d := range []*ocispec.Descriptor{m.Config, m.Subject} {
		if d != nil {
			out = append(out, *d)
		}
	}
	return append(append(out, m.Layers...), m.Manifests...)
}

// checkParts says which part is not there. A subject may come later, and
// layers that lie elsewhere never come.
func (m *manifest) checkParts(l *registry.Layout) error {
	for _, d := range m.parts() {
		if m.Subject != nil && d.Digest == m.Subject.Digest || len(d.URLs) > 0 || strings.Contains(d.MediaType, "nondistributable") {
			continue
		}
		if _, ok := l.LocalPath(d); !ok {
			return fail(http.StatusBadRequest, codeManifestBlobUnknown, "there is no %s of %d bytes", d.Digest, d.Size)
		}
	}
	return nil
}

// deleteTag removes a tag (OCI distribution-spec 1.1, "Deleting tags"). What
// it named stays, for others may have its digest.
func (s *Server) deleteTag(w http.ResponseWriter, r *http.Request, rt route) error {
	tag, _, err := parseReference(rt.reference)
	if err != nil {
		return err
	}
	if tag == "" {
		return fail(http.StatusMethodNotAllowed, codeUnsupported, "only tags are deleted here")
	}
	repo, done, err := s.store.use(r.Context(), rt.name, false)
	if err != nil {
		return err
	}
	defer done()
	repo.writing.Lock()
	defer repo.writing.Unlock()
	err = repo.layout.Untag(r.Context(), tag)
	if errors.Is(err, registry.ErrNotFound) {
		return manifestUnknown(tag)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
