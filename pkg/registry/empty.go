package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/outfile"
)

// Preview opens what Create would, and writes nothing: a layout or archive that
// is not there yet is an empty one.
func Preview(ctx context.Context, ref Reference, opts Options) (*Repository, error) {
	switch {
	case ref.Scheme == SchemeArchive && !opts.Replace:
		if _, err := os.Lstat(ref.Path); err == nil {
			return nil, fmt.Errorf("%s: %w", ref.Path, outfile.ErrExists)
		}
		return newRepository(ref, opts, emptyStore{}, nil)
	case ref.Scheme == SchemeArchive, ref.Scheme == SchemeLayout && isVacant(ref.Path):
		return newRepository(ref, opts, emptyStore{}, nil)
	default:
		return Open(ctx, ref, opts)
	}
}

// isVacant says whether a folder is not there, or nothing in it.
func isVacant(dir string) bool {
	entries, err := os.ReadDir(dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}

// emptyStore is a place with nothing in it, and nothing comes into it.
type emptyStore struct{}

func (emptyStore) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, fmt.Errorf("%s: %w", reference, ErrNotFound)
}

func (emptyStore) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return nil, fmt.Errorf("%s: %w", desc.Digest, ErrNotFound)
}

func (e emptyStore) FetchRange(ctx context.Context, desc ocispec.Descriptor, _, _ int64) (io.ReadCloser, error) {
	return e.Fetch(ctx, desc)
}

func (emptyStore) Exists(context.Context, ocispec.Descriptor) (bool, error) { return false, nil }

func (emptyStore) Push(context.Context, ocispec.Descriptor, io.Reader) error { return ErrReadOnly }

func (emptyStore) Tag(context.Context, ocispec.Descriptor, string) error { return ErrReadOnly }

func (emptyStore) Tags(context.Context) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}

func (emptyStore) Referrers(context.Context, ocispec.Descriptor, string) ([]ocispec.Descriptor, error) {
	return nil, nil
}

func (emptyStore) Commit(context.Context) error { return ErrReadOnly }

func (emptyStore) Close() error { return nil }
