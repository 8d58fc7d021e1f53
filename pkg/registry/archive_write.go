package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/outfile"
)

// newArchive is an archive that is being written: blob after blob as they are
// pushed, and what names them at Commit.
type newArchive struct {
	path string

	mu     sync.Mutex // one blob at a time
	file   *outfile.File
	tar    *tar.Writer
	sizes  map[digest.Digest]int64
	index  ocispec.Index
	broken error // a blob was not written whole: nothing can follow it
	ended  bool
}

func createArchive(name string, replace bool) (store, error) {
	f, err := outfile.Create(name, replace)
	if err != nil {
		return nil, err
	}
	return &newArchive{path: name, file: f, tar: tar.NewWriter(f), sizes: map[digest.Digest]int64{}}, nil
}

// Push writes a blob, or a manifest, which becomes an entry if it has a subject.
func (a *newArchive) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	if !IsManifest(desc.MediaType) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.write(ctx, desc, r)
	}
	manifest, err := readManifest(r, desc)
	if err != nil {
		return err
	}
	full, subject, err := describeManifest(manifest, desc.MediaType)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.write(ctx, desc, bytes.NewReader(manifest)); err != nil {
		return err
	}
	if subject != nil && !slices.ContainsFunc(a.index.Manifests, func(e ocispec.Descriptor) bool { return e.Digest == desc.Digest }) {
		a.index.Manifests = append(a.index.Manifests, full)
	}
	return nil
}

// write adds a blob to the tar file, once.
func (a *newArchive) write(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	if _, ok := a.sizes[desc.Digest]; ok {
		return nil
	}
	if err := a.writeFile(blobName(desc.Digest), desc.Size, verified(io.NopCloser(contextReader{ctx, r}), desc)); err != nil {
		return err
	}
	a.sizes[desc.Digest] = desc.Size
	return nil
}

// writeFile adds a file. All times are zero, so that the same content makes
// the same archive.
func (a *newArchive) writeFile(name string, size int64, r io.Reader) error {
	if a.broken != nil {
		return fmt.Errorf("%s: an earlier blob failed: %w", a.path, a.broken)
	}
	if a.ended {
		return fmt.Errorf("%s: is written already", a.path)
	}
	err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644})
	if err == nil {
		_, err = io.Copy(a.tar, r)
	}
	a.broken = err
	return err
}

// contextReader reads until the context is done.
type contextReader struct {
	ctx context.Context //nolint:containedctx // of the call that reads
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (a *newArchive) Exists(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size, ok := a.sizes[desc.Digest]
	return ok && size == desc.Size, nil
}

func (a *newArchive) Tag(_ context.Context, desc ocispec.Descriptor, tag string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	size, ok := a.sizes[desc.Digest]
	if err := notThere(a.path, desc, ok && size == desc.Size); err != nil {
		return err
	}
	a.index.Manifests = setTag(a.index.Manifests, desc, tag)
	return nil
}

func (a *newArchive) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return resolveIn(SchemeArchive+":"+a.path, &a.index, reference, func(d digest.Digest) (ocispec.Descriptor, error) {
		return ocispec.Descriptor{}, fmt.Errorf("%s: %s: %w", a.path, d, ErrNotFound)
	})
}

func (a *newArchive) Tags(context.Context) iter.Seq2[string, error] {
	a.mu.Lock()
	defer a.mu.Unlock()
	return tagsOf(&ocispec.Index{Manifests: slices.Clone(a.index.Manifests)}, nil)
}

func (a *newArchive) writeOnly() error { return fmt.Errorf("%s: is being written", a.path) }

func (a *newArchive) Fetch(context.Context, ocispec.Descriptor) (io.ReadCloser, error) {
	return nil, a.writeOnly()
}

func (a *newArchive) FetchRange(context.Context, ocispec.Descriptor, int64, int64) (io.ReadCloser, error) {
	return nil, a.writeOnly()
}

func (a *newArchive) Referrers(context.Context, ocispec.Descriptor, string) ([]ocispec.Descriptor, error) {
	return nil, a.writeOnly()
}

// Commit writes what names the blobs, and gives the archive its name.
func (a *newArchive) Commit(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index.SchemaVersion = 2
	a.index.MediaType = ocispec.MediaTypeImageIndex
	if a.index.Manifests == nil {
		a.index.Manifests = []ocispec.Descriptor{}
	}
	for _, f := range []struct {
		name  string
		value any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, a.index},
	} {
		b, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		if err := a.writeFile(f.name, int64(len(b)), bytes.NewReader(b)); err != nil {
			return err
		}
	}
	if err := a.tar.Close(); err != nil {
		a.broken = err
		return err
	}
	if err := a.file.Commit(); err != nil {
		a.broken = err
		return err
	}
	a.ended = true
	return nil
}

// Close removes an archive that was not committed.
func (a *newArchive) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return nil
	}
	a.ended = true
	return errors.Join(a.file.Discard(nil))
}
