package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/errdef"
	orasregistry "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
)

// remoteStore is a repository of a registry.
type remoteStore struct {
	ref    Reference
	client *client
	repo   *remote.Repository
	recent recent

	// attaching lets one goroutine at a time rewrite a list of referrers.
	attaching sync.Mutex
}

func openRemote(ref Reference, opts Options) (store, error) {
	if len(opts.Mirrors) > 0 {
		return openMirrored(ref, opts)
	}
	return newRemote(ref, opts)
}

func newRemote(ref Reference, opts Options) (*remoteStore, error) {
	c, err := newClient(ref.Registry, ref.Repository, opts)
	if err != nil {
		return nil, err
	}
	s := &remoteStore{ref: ref, client: c, repo: &remote.Repository{
		Client:               c,
		Reference:            orasregistry.Reference{Registry: ref.Registry, Repository: ref.Repository},
		PlainHTTP:            opts.plainHTTP(ref.Registry),
		ManifestMediaTypes:   manifestTypes,
		MaxMetadataBytes:     MaxManifest,
		TagListMaxPages:      MaxPages,
		ReferrerListMaxPages: MaxPages,
	}}
	// oras would look after referrers itself; referrers.go is more careful.
	if err := s.repo.SetReferrersCapability(true); err != nil {
		return nil, err
	}
	return s, nil
}

// fail is failure for this repository.
func (s *remoteStore) fail(op string, err error) error {
	return failure(op, s.ref.Locator(), err, s.client.secrets)
}

// Resolve fetches the manifest that is named, for its digest is what its bytes
// have, whatever the registry says.
func (s *remoteStore) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	desc, _, err := s.resolve(ctx, reference)
	if err != nil {
		return ocispec.Descriptor{}, s.fail("resolve "+reference, err)
	}
	return desc, nil
}

func (s *remoteStore) resolve(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	desc, rc, err := s.repo.Manifests().FetchReference(ctx, reference)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc = plain(desc)
	b, err := readManifest(rc, desc)
	if err = errors.Join(err, rc.Close()); err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	if d, err := parseDigest(reference); err == nil && d.Algorithm().FromBytes(b) != d {
		return ocispec.Descriptor{}, nil, &MismatchError{desc, "the registry sent another manifest"}
	}
	if !IsManifest(desc.MediaType) {
		return ocispec.Descriptor{}, nil, fmt.Errorf("the answer is %q, not a manifest", bounded(desc.MediaType))
	}
	var m struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("is no manifest: %w", err)
	}
	// One manifest must not be read in two ways.
	if m.MediaType != "" && m.MediaType != desc.MediaType {
		return ocispec.Descriptor{}, nil, fmt.Errorf("the registry calls a %q manifest %q", bounded(m.MediaType), bounded(desc.MediaType))
	}
	s.recent.add(desc, b)
	return desc, b, nil
}

// Exists sends a HEAD request.
func (s *remoteStore) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	op := "look for " + desc.Digest.String()
	if IsManifest(desc.MediaType) {
		ok, err := s.repo.Manifests().Exists(ctx, plain(desc))
		return ok, s.fail(op, err)
	}
	found, err := s.repo.Blobs().Resolve(ctx, desc.Digest.String())
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err == nil && found.Size != desc.Size {
		err = &MismatchError{desc, fmt.Sprintf("the registry says that it has %d bytes", found.Size)}
	}
	return err == nil, s.fail(op, err)
}

// OpPush is what the Op of an *Error of Push begins with.
const OpPush = "push "

// Push uploads a blob or a manifest.
func (s *remoteStore) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	op := OpPush + desc.Digest.String()
	if !IsManifest(desc.MediaType) {
		return s.fail(op, s.upload(ctx, plain(desc), r))
	}
	manifest, err := readManifest(r, desc)
	if err != nil {
		return s.fail(op, err)
	}
	full, subject, err := describeManifest(manifest, desc.MediaType)
	if err != nil {
		return s.fail(op, err)
	}
	if err := s.repo.Manifests().Push(ctx, plain(desc), bytes.NewReader(manifest)); err != nil {
		return s.fail(op, err)
	}
	s.recent.add(plain(desc), manifest)
	if subject != nil {
		return s.fail("attach "+desc.Digest.String()+" to "+subject.Digest.String(), s.attach(ctx, full, *subject))
	}
	return nil
}

// errNotMounted tells oras that there is nothing to upload instead.
var errNotMounted = errors.New("not mounted")

// Mount asks for a blob of another repository. A registry that does not allow
// it may answer in many ways; none of them keeps the blob from being pushed.
func (s *remoteStore) Mount(ctx context.Context, desc ocispec.Descriptor, fromRepo string) (bool, error) {
	err := s.repo.Mount(ctx, plain(desc), fromRepo, func() (io.ReadCloser, error) { return nil, errNotMounted })
	var answer *Error
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errNotMounted), errors.Is(err, ErrNotFound):
		return false, nil
	case errors.As(s.fail("", err), &answer) && answer.Status >= 400 && answer.Status < 500:
		return false, nil
	default:
		return false, s.fail("mount "+desc.Digest.String(), err)
	}
}

// Tag puts the manifest under a tag.
func (s *remoteStore) Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	op := "tag " + tag
	desc = plain(desc)
	b, err := s.manifest(ctx, desc)
	if err != nil {
		return s.fail(op, err)
	}
	return s.fail(op, s.repo.Manifests().PushReference(ctx, desc, bytes.NewReader(b), tag))
}

// manifest fetches a manifest, unless it went through our hands just now.
func (s *remoteStore) manifest(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > MaxManifest {
		return nil, &LimitError{What: "size of manifest " + desc.Digest.String(), Value: desc.Size, Limit: MaxManifest}
	}
	if b, ok := s.recent.get(desc); ok {
		return b, nil
	}
	got, b, err := s.resolve(ctx, desc.Digest.String())
	switch {
	case err != nil:
		return nil, err
	case got.Size != desc.Size:
		return nil, &MismatchError{desc, fmt.Sprintf("the manifest has %d bytes", got.Size)}
	case got.MediaType != desc.MediaType:
		return nil, &MismatchError{desc, fmt.Sprintf("the registry calls a %q manifest %q", bounded(desc.MediaType), bounded(got.MediaType))}
	}
	return b, nil
}

// errStop ends oras's walk over pages.
var errStop = errors.New("stop")

// Tags walks over the pages of the tag list.
func (s *remoteStore) Tags(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		n := 0
		err := s.repo.Tags(ctx, "", func(page []string) error {
			for _, tag := range page {
				if n++; n > MaxTags {
					return &LimitError{What: "number of tags", Limit: MaxTags}
				}
				if err := checkTag(tag); err != nil {
					return err
				}
				if !yield(tag, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield("", s.fail("list tags", pagesLimit(err)))
		}
	}
}

// pagesLimit is the *LimitError for a list that does not end.
func pagesLimit(err error) error {
	if errors.Is(err, errdef.ErrTooManyPages) {
		return &LimitError{What: "number of pages", Limit: MaxPages}
	}
	return err
}

// Commit has nothing to do: every request is final.
func (s *remoteStore) Commit(context.Context) error { return nil }

// Close closes idle connections.
func (s *remoteStore) Close() error {
	s.client.close()
	return nil
}

// mountTarget is a Repository with the method by which oras.CopyGraph mounts.
type mountTarget struct {
	*Repository
	mounter mounter
}

var (
	_ oras.Target          = (*mountTarget)(nil)
	_ orasregistry.Mounter = (*mountTarget)(nil)
)

// Mount mounts the blob, or pushes what getContent returns.
func (t *mountTarget) Mount(ctx context.Context, desc ocispec.Descriptor, fromRepo string, getContent func() (io.ReadCloser, error)) error {
	ok, err := t.mounter.Mount(ctx, desc, fromRepo)
	if err != nil || ok {
		return err
	}
	rc, err := getContent()
	if err != nil {
		return err
	}
	return errors.Join(t.Push(ctx, desc, rc), rc.Close())
}

// recent keeps the manifests of the last moments: what was resolved is fetched
// next, what was pushed is tagged next.
type recent struct {
	mu    sync.Mutex
	order []ocispec.Descriptor
	bytes map[digest.Digest][]byte
}

// maxRecent bounds what is kept: few, for manifests may have MaxManifest bytes.
const maxRecent = 4

func (r *recent) add(desc ocispec.Descriptor, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes == nil {
		r.bytes = map[digest.Digest][]byte{}
	}
	if _, ok := r.bytes[desc.Digest]; ok {
		return
	}
	if len(r.order) == maxRecent {
		delete(r.bytes, r.order[0].Digest)
		r.order = r.order[1:]
	}
	r.order, r.bytes[desc.Digest] = append(r.order, desc), b
}

func (r *recent) get(desc ocispec.Descriptor) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.order {
		if d.Digest == desc.Digest && d.Size == desc.Size && d.MediaType == desc.MediaType {
			return r.bytes[d.Digest], true
		}
	}
	return nil, false
}

// blobURL is where a blob is.
func (s *remoteStore) blobURL(d digest.Digest) string {
	scheme := "https"
	if s.repo.PlainHTTP {
		scheme = "http"
	}
	return fmt.Sprintf("%s://%s/v2/%s/blobs/%s", scheme, s.repo.Reference.Host(), s.ref.Repository, d)
}

// newGet makes the request for a blob.
func (s *remoteStore) newGet(ctx context.Context, d digest.Digest) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, s.blobURL(d), nil)
}
