package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxTags is the most tags of one answer.
	maxTags = 10_000
	// maxPage is when a list of referrers goes on on another page, in bytes.
	maxPage = 1 << 20
	// maxType is the longest type of an artifact that such a list repeats where it
	// has no room, in bytes (RFC 6838, 4.2: 127 on each side of the slash).
	maxType = 255
)

// listTags sends the tags, sorted (OCI distribution-spec 1.1, "Listing Tags").
func (s *Server) listTags(w http.ResponseWriter, r *http.Request, rt route) error {
	query := r.URL.Query()
	n := maxTags
	if text := query.Get("n"); text != "" {
		asked, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return fail(http.StatusBadRequest, codeUnsupported, "n=%.20q is no number of tags", text)
		}
		n = min(n, int(asked))
	}
	free, err := s.inMemory(r.Context())
	if err != nil {
		return err
	}
	defer free()
	repo, done, err := s.store.use(r.Context(), rt.name, false)
	if err != nil {
		return err
	}
	defer done()
	tags := []string{}
	more := false
	for tag, err := range repo.layout.Tags(r.Context()) {
		if err != nil {
			return err
		}
		// Other tools write names of other kinds into a layout.
		if tag <= query.Get("last") || !tagRegexp.MatchString(tag) {
			continue
		}
		if more = len(tags) == n; more {
			break
		}
		tags = append(tags, tag)
	}
	if more && n > 0 {
		next(w, rt, "tags/list", url.Values{"n": {strconv.Itoa(n)}, "last": {tags[n-1]}})
	}
	return writeJSON(w, "application/json", map[string]any{"name": rt.name, "tags": tags})
}

// next tells where a list goes on.
func next(w http.ResponseWriter, rt route, what string, query url.Values) {
	w.Header().Set("Link", `</v2/`+rt.name+`/`+what+`?`+query.Encode()+`>; rel="next"`)
}

func writeJSON(w http.ResponseWriter, mediaType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	return gone(err)
}

// listReferrers sends an index of the manifests whose subject is the given one
// (OCI distribution-spec 1.1, "Listing Referrers").
func (s *Server) listReferrers(w http.ResponseWriter, r *http.Request, rt route) error {
	d, err := parseDigest(rt.reference)
	if err != nil {
		return err
	}
	free, err := s.inMemory(r.Context())
	if err != nil {
		return err
	}
	defer free()
	query := r.URL.Query()
	artifactType := query.Get("artifactType")
	found, err := s.referrers(r.Context(), rt.name, d, artifactType)
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b ocispec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	page, last, err := pageAfter(found, query.Get("last"))
	if err != nil {
		return err
	}
	if last != "" {
		link := url.Values{"last": {last}}
		if artifactType != "" {
			link.Set("artifactType", artifactType)
		}
		next(w, rt, "referrers/"+d.String(), link)
	}
	if artifactType != "" {
		w.Header().Set("Oci-Filters-Applied", "artifactType")
	}
	return writeJSON(w, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: page,
	})
}

// referrers finds them. What there is not has none: "not found" would mean that
// this registry cannot tell.
func (s *Server) referrers(ctx context.Context, name string, d digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	repo, done, err := s.store.use(ctx, name, false)
	if a := (*answer)(nil); errors.As(err, &a) && a.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer done()
	return repo.layout.Referrers(ctx, ocispec.Descriptor{Digest: d}, artifactType)
}

// pageAfter returns the entries behind the digest last, as many as fit, and
// the last one's digest if there are more.
func pageAfter(found []ocispec.Descriptor, last string) (page []ocispec.Descriptor, next string, err error) {
	page = []ocispec.Descriptor{}
	size := 0
	for _, desc := range found {
		if desc.Digest.String() <= last {
			continue
		}
		b, err := json.Marshal(desc)
		if err != nil {
			return nil, "", err
		}
		if len(b) > maxPage {
			// The manifest has it all; a client would refuse the list.
			if desc.Annotations = nil; len(desc.ArtifactType) > maxType {
				desc.ArtifactType = ""
			}
			if b, err = json.Marshal(desc); err != nil {
				return nil, "", err
			}
		}
		if size += len(b); size > maxPage {
			return page, page[len(page)-1].Digest.String(), nil
		}
		page = append(page, desc)
	}
	return page, "", nil
}
