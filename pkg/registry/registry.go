// Package registry is where artifacts are: repositories of OCI registries,
// OCI image layouts in folders (oci:DIR), and archives of those
// (oci-archive:FILE), all behind one type.
//
// What is read is checked against its descriptor: a stream that ends early,
// goes on after its end or has another digest fails, and never looks whole.
// Requests are tried again where that can help; what a registry can make the
// program hold, wait for or follow is bounded by the limits below.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
)

// Limits on what a registry, a layout or an archive may hold against us.
const (
	// MaxManifest bounds a manifest, an index, a list of referrers and a page
	// of tags, in bytes: what registries accept at most.
	MaxManifest = 4 << 20
	// MaxTags bounds the tags of one repository.
	MaxTags = 100_000
	// MaxReferrers bounds the referrers of one manifest.
	MaxReferrers = 2_000
	// MaxPages bounds the pages of a list.
	MaxPages = 1_000
	// MaxEntries bounds the entries of a layout's index.json.
	MaxEntries = 10_000

	// DefaultConcurrency is how many blobs or ranges travel at once.
	DefaultConcurrency = 4
	// DefaultRetries is how often a request is tried again.
	DefaultRetries = 5

	defaultTag = "latest"
)

// Options say how to reach a registry. The zero value works for public ones.
// A layout or archive needs none of them.
type Options struct {
	// PlainHTTP is whether to speak HTTP instead of HTTPS. Nil: HTTP for
	// loopback addresses unless one of the TLS fields is set, else HTTPS.
	PlainHTTP *bool
	// CAFile holds certificates (PEM) that are trusted beside the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate (PEM).
	CertFile, KeyFile string
	// InsecureSkipTLSVerify believes any certificate.
	InsecureSkipTLSVerify bool

	// Concurrency is how many blobs or ranges callers should move at once;
	// 0: DefaultConcurrency.
	Concurrency int
	// Retries is how often a failed request is tried again; 0:
	// DefaultRetries; negative: never.
	Retries int
	// RetryWait is the first pause before a retry, doubled each time; 0: 250 ms.
	RetryWait time.Duration

	// Username and Password, or the bearer token in TokenFile, are for the
	// registry of the reference and go to no other host. Without them
	// CredentialFiles are searched, in order: files in the form of Docker's
	// config.json or Podman's auth.json. One that is not there is passed over.
	Username, Password string
	TokenFile          string
	CredentialFiles    []string

	// Mirrors are host[:port][/prefix] that are asked before the registry for
	// what is read. Whatever is written, and whether something is there before
	// it is written, is the registry's business alone.
	Mirrors []string

	UserAgent string
	// Proxy chooses a proxy, as http.ProxyFromEnvironment does. Nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport replaces the connections themselves, for tests.
	Transport http.RoundTripper
	// Observe, if it is set, sees every answer of a server before it is read,
	// from many goroutines at once. It must leave the body alone.
	Observe func(*http.Response)

	// Replace lets Create replace an archive that exists.
	Replace bool

	// idle replaces idleTimeout in this package's tests.
	idle time.Duration
}

// store is what a Repository is made of: a registry, a layout or an archive.
type store interface {
	Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error)
	Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
	FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error)
	Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error)
	Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error
	Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error
	Tags(ctx context.Context) iter.Seq2[string, error]
	Referrers(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error)
	Commit(ctx context.Context) error
	Close() error
}

// mounter is a store that can take a blob from another repository.
type mounter interface {
	Mount(ctx context.Context, desc ocispec.Descriptor, fromRepo string) (bool, error)
}

// Repository is one place where artifacts are. Its methods may be used from
// many goroutines at once. It is an oras.Target.
type Repository struct {
	ref         Reference
	concurrency int
	store       store
}

var _ oras.Target = (*Repository)(nil)

// Open opens what is there: a registry's repository (for reading and writing;
// no request is sent yet), a layout (likewise), or an archive (for reading).
func Open(_ context.Context, ref Reference, opts Options) (*Repository, error) {
	var s store
	var err error
	switch ref.Scheme {
	case "":
		s, err = openRemote(ref, opts)
	case SchemeLayout:
		s, err = openLayout(ref.Path)
	case SchemeArchive:
		s, err = openArchive(ref.Path)
	default:
		err = fmt.Errorf("registry: unknown scheme %q", ref.Scheme)
	}
	return newRepository(ref, opts, s, err)
}

// Create opens ref for writing: a layout that is not there is made, an
// archive is begun (and appears at Commit).
func Create(_ context.Context, ref Reference, opts Options) (*Repository, error) {
	var s store
	var err error
	switch ref.Scheme {
	case "":
		s, err = openRemote(ref, opts)
	case SchemeLayout:
		s, err = createLayout(ref.Path) //nolint:contextcheck // making a folder waits for nobody
	case SchemeArchive:
		s, err = createArchive(ref.Path, opts.Replace)
	default:
		err = fmt.Errorf("registry: unknown scheme %q", ref.Scheme)
	}
	return newRepository(ref, opts, s, err)
}

func newRepository(ref Reference, opts Options, s store, err error) (*Repository, error) {
	if err != nil {
		return nil, err
	}
	concurrency := opts.Concurrency
	if concurrency <= 0 {
		concurrency = DefaultConcurrency
	}
	return &Repository{ref: ref, concurrency: concurrency, store: s}, nil
}

// NewRepository makes a repository of a layout that is open already.
func NewRepository(l *Layout) *Repository {
	return &Repository{ref: Reference{Scheme: SchemeLayout, Path: l.Dir()}, concurrency: DefaultConcurrency, store: layoutStore{l}}
}

// Reference returns what the repository was opened with.
func (r *Repository) Reference() Reference { return r.ref }

// Concurrency is how many blobs or ranges to move at once.
func (r *Repository) Concurrency() int { return r.concurrency }

// Target is the repository as oras.CopyGraph and its like take it; it mounts
// blobs too (registry.Mounter of oras) where the repository can.
func (r *Repository) Target() oras.Target {
	if m, ok := r.store.(mounter); ok {
		return &mountTarget{Repository: r, mounter: m}
	}
	return r
}

// Layout returns the layout below the repository, if it is one.
func (r *Repository) Layout() (*Layout, bool) {
	l, ok := r.store.(layoutStore)
	return l.Layout, ok
}

// Resolve finds the manifest that a tag or a digest names. "" takes the tag or
// digest that the repository was opened with, else the tag "latest". The
// descriptor has a media type, a digest and a size and nothing else; for a
// registry the digest is computed from the manifest's bytes. Nothing of that
// name: ErrNotFound.
func (r *Repository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if reference == "" {
		reference = r.ref.Name()
	}
	return r.store.Resolve(ctx, reference)
}

// Fetch streams a blob or a manifest. Read returns io.EOF only after exactly
// desc.Size bytes of the right digest; a stream that breaks is taken up where
// it broke.
func (r *Repository) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := checkDescriptor(desc); err != nil {
		return nil, err
	}
	return r.store.Fetch(ctx, desc)
}

// FetchBytes fetches a manifest or a small blob whole. One over the limit (0:
// MaxManifest), in bytes, is a *LimitError before anything is fetched.
func (r *Repository) FetchBytes(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if limit <= 0 {
		limit = MaxManifest
	}
	if desc.Size > limit {
		return nil, &LimitError{What: "size of " + string(desc.Digest), Value: desc.Size, Limit: limit}
	}
	rc, err := r.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	// checkDescriptor has found the size to be positive, and Fetch does not
	// return more than it.
	data := make([]byte, desc.Size)
	_, err = io.ReadFull(rc, data)
	if err == nil {
		// The verdict on the digest comes with the end of the stream.
		err = expectEOF(rc)
	}
	if err = errors.Join(err, rc.Close()); err != nil {
		return nil, err
	}
	return data, nil
}

// FetchRange streams n bytes of a blob from off on; Read returns io.EOF only
// after n bytes. The bytes are not verified: whoever asks for a part knows the
// part's digest. A server that answers with the whole blob: ErrRangeIgnored,
// and the caller may take Fetch instead.
func (r *Repository) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	if err := checkDescriptor(desc); err != nil {
		return nil, err
	}
	if off < 0 || n <= 0 || off > desc.Size || n > desc.Size-off {
		return nil, fmt.Errorf("registry: range of %d bytes at %d is outside %s (%d bytes)", n, off, desc.Digest, desc.Size)
	}
	return r.store.FetchRange(ctx, desc, off, n)
}

// Exists says whether a blob or a manifest is there.
func (r *Repository) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := checkDescriptor(desc); err != nil {
		return false, err
	}
	return r.store.Exists(ctx, desc)
}

// Push writes a blob or a manifest. Content that is not what desc says never
// becomes whole at the other side: it is hashed on its way. A failed upload is
// tried again if src is an io.Seeker. A manifest that has a subject becomes
// one of its referrers, in registries without a referrers API too.
func (r *Repository) Push(ctx context.Context, desc ocispec.Descriptor, src io.Reader) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	return r.store.Push(ctx, desc, src)
}

// Mount takes a blob from another repository of the same registry, without
// moving it. False: the registry would not, and the blob must be pushed.
func (r *Repository) Mount(ctx context.Context, desc ocispec.Descriptor, fromRepo string) (bool, error) {
	if err := checkDescriptor(desc); err != nil {
		return false, err
	}
	if m, ok := r.store.(mounter); ok {
		return m.Mount(ctx, desc, fromRepo)
	}
	return false, nil
}

// Tag gives a manifest that is there a name, which may be another's so far.
func (r *Repository) Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	if err := checkTag(tag); err != nil {
		return err
	}
	return r.store.Tag(ctx, desc, tag)
}

// Tags lists the tags, at most MaxTags. An error ends the list.
func (r *Repository) Tags(ctx context.Context) iter.Seq2[string, error] { return r.store.Tags(ctx) }

// Referrers lists the manifests whose subject is the given one, at most
// MaxReferrers; more are a *LimitError. artifactType "": of all types.
// Where a registry has no referrers API, its tag for them is read.
func (r *Repository) Referrers(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	if err := checkDescriptor(subject); err != nil {
		return nil, err
	}
	return r.store.Referrers(ctx, subject, artifactType)
}

// PushReferrer pushes a manifest that has a subject and returns its
// descriptor, when the subject's referrers have been seen to list it.
func (r *Repository) PushReferrer(ctx context.Context, manifest []byte) (ocispec.Descriptor, error) {
	desc, subject, err := describeReferrer(manifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if subject == nil {
		return ocispec.Descriptor{}, errors.New("registry: the manifest has no subject to refer to")
	}
	return plain(desc), r.store.Push(ctx, plain(desc), newBytesReader(manifest))
}

// LocalPath returns the file that holds the blob, if there is one of the right
// size. It must not be written to, and its digest has not been checked.
func (r *Repository) LocalPath(desc ocispec.Descriptor) (string, bool) {
	if l, ok := r.Layout(); ok && checkDescriptor(desc) == nil {
		return l.LocalPath(desc)
	}
	return "", false
}

// Commit makes what was written final. Only an archive needs it: it does not
// appear before.
func (r *Repository) Commit(ctx context.Context) error { return r.store.Commit(ctx) }

// Close lets go of connections and files. An archive that was not committed
// is discarded.
func (r *Repository) Close() error { return r.store.Close() }
