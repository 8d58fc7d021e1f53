package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// ErrNoDelete says that a place does not remove what it was asked to remove,
// whoever asks.
var ErrNoDelete = errors.New("it does not delete this")

// deleter is a store from which things can be removed.
type deleter interface {
	deleteManifest(ctx context.Context, desc ocispec.Descriptor) error
	untag(ctx context.Context, tag string) error
}

// Delete removes a manifest by its digest. Registries take the tags that name
// it along, or leave them to name nothing; blobs stay until the place collects
// what nothing reaches. A place that deletes no manifests: ErrNoDelete. None of
// that digest: ErrNotFound.
func (r *Repository) Delete(ctx context.Context, desc ocispec.Descriptor) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	if s, ok := r.store.(deleter); ok {
		return s.deleteManifest(ctx, desc)
	}
	return fmt.Errorf("%s: %w", r.ref.Locator(), ErrNoDelete)
}

// Untag removes a tag; what it named stays. A place that does not remove tags
// by their names: ErrNoDelete. No such tag: ErrNotFound.
func (r *Repository) Untag(ctx context.Context, tag string) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	if s, ok := r.store.(deleter); ok {
		return s.untag(ctx, tag)
	}
	return fmt.Errorf("%s: %w", r.ref.Locator(), ErrNoDelete)
}

func (s *remoteStore) deleteManifest(ctx context.Context, desc ocispec.Descriptor) error {
	return s.delete(ctx, desc.Digest.String())
}

func (s *remoteStore) untag(ctx context.Context, tag string) error { return s.delete(ctx, tag) }

// delete asks for a manifest or a tag to be removed (OCI distribution-spec 1.1,
// "Content Management").
func (s *remoteStore) delete(ctx context.Context, reference string) error {
	op := "delete " + reference
	ref := s.repo.Reference
	ref.Reference = reference
	ctx = auth.AppendRepositoryScope(ctx, ref, auth.ActionDelete)
	scheme := "https"
	if s.repo.PlainHTTP {
		scheme = "http"
	}
	url := fmt.Sprintf("%s://%s/v2/%s/manifests/%s", scheme, ref.Host(), s.ref.Repository, reference)
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, url, nil)
	if err != nil {
		return s.fail(op, err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return s.notDeleted(op, err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxBodyRead) // says nothing that matters
	err = resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return s.fail(op, ErrNotFound)
	case resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent:
		return s.fail(op, fmt.Errorf("the answer is %d, not %d", resp.StatusCode, http.StatusAccepted))
	default:
		return s.fail(op, err)
	}
}

// notDeleted tells a registry that never deletes from one that did not this
// time. Distribution answers UNSUPPORTED with 405 where deleting is off, and
// before version 3 takes a tag for a wrong digest.
func (s *remoteStore) notDeleted(op string, err error) error {
	err = s.fail(op, err)
	var answer *Error
	if !errors.As(err, &answer) {
		return err
	}
	body := strings.ToUpper(answer.Body)
	switch answer.Status {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
	case http.StatusBadRequest:
		if !strings.Contains(body, "UNSUPPORTED") && !strings.Contains(body, "DIGEST") {
			return err
		}
	default:
		return err
	}
	answer.Err = ErrNoDelete
	return answer
}

func (l layoutStore) deleteManifest(ctx context.Context, desc ocispec.Descriptor) error {
	return l.Delete(ctx, desc)
}

func (l layoutStore) untag(ctx context.Context, tag string) error { return l.Untag(ctx, tag) }

// Delete removes the entries of a manifest from index.json, with their tags; GC
// removes what only they reached. None: ErrNotFound.
func (l *Layout) Delete(ctx context.Context, desc ocispec.Descriptor) error {
	return l.update(ctx, func(index *ocispec.Index) (bool, error) {
		if err := l.dropReached(index); err != nil {
			return false, err
		}
		n := len(index.Manifests)
		index.Manifests = slices.DeleteFunc(index.Manifests, func(e ocispec.Descriptor) bool { return e.Digest == desc.Digest })
		return len(index.Manifests) != n, notThere(l.dir, desc, len(index.Manifests) != n)
	})
}
