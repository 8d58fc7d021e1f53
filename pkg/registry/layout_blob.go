package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a registry over a layout needs: blobs of which only the digest is
// known, and those that others sent half of.

// FindBlob opens the file of a blob, or of a manifest, and tells its size.
// Nothing of that digest: ErrNotFound. The content is not checked.
func (l *Layout) FindBlob(d digest.Digest) (*os.File, int64, error) {
	if _, err := parseDigest(d.String()); err != nil {
		return nil, 0, err
	}
	path := l.blobPath(d)
	// Before opening: that of a named pipe would wait for a writer.
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: blob %s: %w", l.dir, d, ErrNotFound)
	}
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &LayoutError{path, errors.New("is not a regular file")}
	}
	f, err := os.Open(path)
	return f, info.Size(), err
}

// Adopt takes a blob from another layout of the same file system, without
// copying it: both have the same read-only file. False: it is not there, or the
// file system cannot do that.
func (l *Layout) Adopt(_ context.Context, desc ocispec.Descriptor, from *Layout) (bool, error) {
	if err := checkDescriptor(desc); err != nil {
		return false, err
	}
	if _, ok := l.LocalPath(desc); ok {
		return true, nil
	}
	source, ok := from.LocalPath(desc)
	if !ok {
		return false, nil
	}
	path := l.blobPath(desc.Digest)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	if err := os.Link(source, path); err != nil {
		// Not on this file system, or somebody was faster.
		_, ok = l.LocalPath(desc)
	}
	return ok, nil
}

// Tidy removes what writers that were killed have left, unless somebody uses
// the layout, or it cannot be written to.
func (l *Layout) Tidy() (err error) {
	unlock, err := l.lockAll()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	if err != nil || unlock == nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return l.sweepTemps()
}

// WriteSparse writes to a new file at off, a multiple of 64 KiB, and leaves
// holes for zeros. The file's size has to be set after the last write.
func (b *Blob) WriteSparse(p []byte, off int64) error { return writeSparse(b.File, p, off) }
