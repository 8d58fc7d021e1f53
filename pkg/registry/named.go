package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// named is a store that can tell what a name stands for and hand over the
// manifest with one request.
type named interface {
	fetchNamed(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error)
	look(ctx context.Context, reference string) (digest.Digest, error)
}

// FetchNamed is Resolve and FetchBytes at once: of a registry it takes one
// request. The bytes have the descriptor's digest.
func (r *Repository) FetchNamed(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	if s, ok := r.store.(named); ok {
		return s.fetchNamed(ctx, reference)
	}
	desc, err := r.store.Resolve(ctx, reference)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	b, err := r.FetchBytes(ctx, desc, MaxManifest)
	return desc, b, err
}

// Look asks which digest a tag names, without its manifest. It is what the
// registry says: only the manifest's bytes can show that it is true. A registry
// that does not say: ErrUntold.
func (r *Repository) Look(ctx context.Context, tag string) (digest.Digest, error) {
	if s, ok := r.store.(named); ok {
		return s.look(ctx, tag)
	}
	desc, err := r.store.Resolve(ctx, tag)
	return desc.Digest, err
}

// ErrUntold says that a registry does not tell a manifest's digest without
// sending it.
var ErrUntold = errors.New("the registry does not tell the digest")

func (s *remoteStore) fetchNamed(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	desc, b, err := s.resolve(ctx, reference)
	if err != nil {
		return ocispec.Descriptor{}, nil, s.fail("fetch "+reference, err)
	}
	return desc, b, nil
}

// look sends a HEAD request (OCI distribution-spec 1.1, "Checking if content
// exists in the registry").
func (s *remoteStore) look(ctx context.Context, tag string) (digest.Digest, error) {
	desc, err := s.repo.Manifests().Resolve(ctx, tag)
	var answer *Error
	switch {
	case err == nil:
		return desc.Digest, nil
	case errors.Is(err, ErrNotFound), errors.As(err, &answer), ctx.Err() != nil, temporaryError(err):
		return "", s.fail("look for "+tag, err)
	default:
		// The header Docker-Content-Digest is missing, or is no digest.
		return "", s.fail("look for "+tag, fmt.Errorf("%w: %w", ErrUntold, err))
	}
}
