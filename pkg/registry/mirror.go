package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orasregistry "oras.land/oras-go/v2/registry"
)

// mirrored is a registry's repository that is read from mirrors where they
// have it. What is embedded is the registry itself: it alone is written to,
// and asked whether something is there, and for its tags.
type mirrored struct {
	*remoteStore
	mirrors []*mirror
}

// mirror is one of them, until it cannot be reached.
type mirror struct {
	*remoteStore
	dead atomic.Bool
}

// openMirrored opens the repository and its mirrors.
func openMirrored(ref Reference, opts Options) (store, error) {
	origin, err := newRemote(ref, opts)
	if err != nil {
		return nil, err
	}
	m := &mirrored{remoteStore: origin}
	for _, text := range opts.Mirrors {
		at, err := mirrorReference(text, ref)
		if err != nil {
			return nil, err
		}
		s, err := newRemote(at, mirrorOptions(opts))
		if err != nil {
			return nil, err
		}
		m.mirrors = append(m.mirrors, &mirror{remoteStore: s})
	}
	return m, nil
}

// mirrorReference is where a mirror, host[:port][/prefix], has the repository.
func mirrorReference(text string, ref Reference) (Reference, error) {
	host, prefix, _ := strings.Cut(strings.TrimSuffix(text, "/"), "/")
	at := Reference{Registry: host, Repository: ref.Repository}
	if prefix != "" {
		at.Repository = prefix + "/" + ref.Repository
	}
	o := orasregistry.Reference{Registry: at.Registry, Repository: at.Repository}
	err := checkHost(at.Registry)
	if err = errors.Join(err, o.ValidateRegistry(), o.ValidateRepository()); err != nil {
		return Reference{}, &ReferenceError{Text: text, Err: fmt.Errorf("a mirror is host[:port][/prefix]: %w", err)}
	}
	return at, nil
}

// mirrorOptions are those for a mirror: the password is not for it, and there
// is another place to go instead of trying again for long.
func mirrorOptions(opts Options) Options {
	opts.Username, opts.Password, opts.TokenFile = "", "", ""
	opts.Retries = min(max(opts.Retries, -1), 1)
	if opts.Retries == 0 {
		opts.Retries = 1
	}
	return opts
}

// first returns the first answer that is no error, of the mirrors and then of
// the registry itself.
func first[T any](ctx context.Context, m *mirrored, ask func(*remoteStore) (T, error)) (T, error) {
	for _, mirror := range m.mirrors {
		if mirror.dead.Load() {
			continue
		}
		got, err := ask(mirror.remoteStore)
		// A mirror that has it, but only whole, is good enough.
		if err == nil || errors.Is(err, ErrRangeIgnored) || ctx.Err() != nil {
			return got, err
		}
		if e := (*Error)(nil); errors.As(err, &e) && e.Status == 0 && e.Temporary() {
			mirror.dead.Store(true)
		}
	}
	return ask(m.remoteStore)
}

func (m *mirrored) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	return first(ctx, m, func(s *remoteStore) (ocispec.Descriptor, error) { return s.Resolve(ctx, reference) })
}

func (m *mirrored) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return first(ctx, m, func(s *remoteStore) (io.ReadCloser, error) { return s.Fetch(ctx, desc) })
}

func (m *mirrored) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	return first(ctx, m, func(s *remoteStore) (io.ReadCloser, error) { return s.FetchRange(ctx, desc, off, n) })
}

// errNone makes first go on where a mirror knows of no referrers: those that
// only copy content do not know of any.
var errNone = errors.New("no referrers")

func (m *mirrored) Referrers(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	return first(ctx, m, func(s *remoteStore) ([]ocispec.Descriptor, error) {
		found, err := s.Referrers(ctx, subject, artifactType)
		if err == nil && len(found) == 0 && s != m.remoteStore {
			err = errNone
		}
		return found, err
	})
}

// Close closes all connections.
func (m *mirrored) Close() error {
	err := m.remoteStore.Close()
	for _, mirror := range m.mirrors {
		err = errors.Join(err, mirror.Close())
	}
	return err
}
