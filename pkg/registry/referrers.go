package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

const (
	// attachTries is how often a list of referrers is rewritten when others
	// write it at the same time, or asked for when the registry is slow to
	// list what it took.
	attachTries = 12
	// settle is how long after writing the list it is read again: another
	// writer that had read the old one has written by then.
	settle = 200 * time.Millisecond
)

// errNoAPI says that the registry has no referrers API.
var errNoAPI = errors.New("no referrers API")

// Referrers asks the API, or reads the fall-back tag.
func (s *remoteStore) Referrers(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	found, err := s.referrersByAPI(ctx, subject, artifactType)
	if errors.Is(err, errNoAPI) {
		found, err = s.referrersByTag(ctx, subject, artifactType)
	}
	if err != nil {
		return nil, s.fail("list the referrers of "+subject.Digest.String(), err)
	}
	return found, nil
}

// referrersByAPI walks over the pages of the API's list.
func (s *remoteStore) referrersByAPI(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	list := referrerList{artifactType: artifactType}
	err := s.repo.Referrers(ctx, subject, artifactType, func(page []ocispec.Descriptor) error { return list.add(page...) })
	if hasNoAPI(err) {
		return nil, errNoAPI
	}
	if err != nil {
		return nil, pagesLimit(err)
	}
	return list.found, nil
}

// hasNoAPI says whether an answer means that there is no such API. Registries
// without one have been seen to answer in each of these ways.
func hasNoAPI(err error) bool {
	var (
		known    *Error
		response *errcode.ErrorResponse
		status   int
	)
	switch {
	case errors.Is(err, errdef.ErrUnsupported):
		return true
	case errors.As(err, &known):
		status = known.Status
	case errors.As(err, &response):
		status = response.StatusCode
	}
	switch status {
	case http.StatusSeeOther, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusTooManyRequests:
		return true
	default:
		return false
	}
}

// referrersByTag reads the list under the fall-back tag.
func (s *remoteStore) referrersByTag(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	index, err := s.fallbackIndex(ctx, subject)
	if err != nil {
		return nil, err
	}
	list := referrerList{artifactType: artifactType}
	if err := list.add(index.Manifests...); err != nil {
		return nil, err
	}
	return list.found, nil
}

// fallbackIndex reads the list under the fall-back tag; none is an empty one.
func (s *remoteStore) fallbackIndex(ctx context.Context, subject ocispec.Descriptor) (*ocispec.Index, error) {
	desc, b, err := s.resolve(ctx, referrersTag(subject.Digest))
	if errors.Is(err, ErrNotFound) {
		return &ocispec.Index{}, nil
	}
	if err != nil {
		return nil, err
	}
	// Some registries take the tag for a way to write the digest.
	if desc.Digest == subject.Digest || desc.MediaType != ocispec.MediaTypeImageIndex {
		return &ocispec.Index{}, nil
	}
	var index ocispec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("tag %s: %w", referrersTag(subject.Digest), err)
	}
	return &index, nil
}

// attach makes sure that a manifest that was pushed is listed as a referrer.
// Whether the registry says that it looks after that (the header OCI-Subject)
// does not matter: what it lists does.
func (s *remoteStore) attach(ctx context.Context, desc, subject ocispec.Descriptor) error {
	for attempt := range attachTries {
		if attempt > 0 {
			if err := s.client.policy.sleep(ctx, attempt-1, nil); err != nil {
				return err
			}
		}
		found, err := s.referrersByAPI(ctx, subject, "")
		if errors.Is(err, errNoAPI) {
			return s.attachByTag(ctx, desc, subject)
		}
		if err != nil {
			return err
		}
		if lists(found, desc) {
			return nil
		}
	}
	return errors.New("the registry took the manifest but does not list it as a referrer")
}

func lists(list []ocispec.Descriptor, desc ocispec.Descriptor) bool {
	return slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == desc.Digest })
}

// attachByTag adds a manifest to the list under the fall-back tag. There is no
// way to write it only if it has not changed: it is read back, at once and
// when others that were writing have written, until it holds the manifest.
func (s *remoteStore) attachByTag(ctx context.Context, desc, subject ocispec.Descriptor) error {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	for attempt := range attachTries {
		if attempt > 0 {
			if err := s.client.policy.sleep(ctx, attempt-1, nil); err != nil {
				return err
			}
		}
		index, err := s.fallbackIndex(ctx, subject)
		if err != nil {
			return err
		}
		if !lists(index.Manifests, desc) {
			if err := s.writeFallback(ctx, index, desc, subject); err != nil {
				return err
			}
		}
		if ok, err := s.stays(ctx, desc, subject); err != nil || ok {
			return err
		}
	}
	return fmt.Errorf("others keep writing the list of referrers, tag %s", referrersTag(subject.Digest))
}

// writeFallback writes the list with one more manifest in it.
func (s *remoteStore) writeFallback(ctx context.Context, index *ocispec.Index, desc, subject ocispec.Descriptor) error {
	if len(index.Manifests) >= MaxReferrers {
		return &LimitError{What: "number of referrers", Value: int64(len(index.Manifests)) + 1, Limit: MaxReferrers}
	}
	out := ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageIndex,
		Manifests:   append(slices.Clone(index.Manifests), desc),
		Annotations: index.Annotations,
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	if len(b) > MaxManifest {
		return &LimitError{What: "size of the list of referrers", Value: int64(len(b)), Limit: MaxManifest}
	}
	return s.repo.Manifests().PushReference(ctx, content.NewDescriptorFromBytes(out.MediaType, b), bytes.NewReader(b), referrersTag(subject.Digest))
}

// stays says whether the list holds the manifest, now and a moment later.
func (s *remoteStore) stays(ctx context.Context, desc, subject ocispec.Descriptor) (bool, error) {
	for i := range 2 {
		if i > 0 {
			if err := Pause(ctx, settle); err != nil {
				return false, err
			}
		}
		index, err := s.fallbackIndex(ctx, subject)
		if err != nil || !lists(index.Manifests, desc) {
			return false, err
		}
	}
	return true, nil
}
