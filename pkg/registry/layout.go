package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/outfile"
)

const (
	// tempPattern names blobs that are being written, beside index.json.
	tempPattern = ".esxi-img-*.tmp"
	// maxLayoutFile bounds the file oci-layout, in bytes.
	maxLayoutFile = 4096
)

// Layout is an OCI image layout in a folder (OCI image-spec 1.1,
// image-layout.md). Blobs are read-only files that appear whole; index.json is
// replaced in one step. Several processes may use one layout at once, see Hold.
//
// It remembers what it has read, so that many questions cost little; it never
// answers from memory what has changed in the folder. Its methods may be used
// from many goroutines at once.
type Layout struct {
	dir      string
	memory   indexMemory
	subjects subjects
	// readManifest is readLimited, and counted in tests.
	readManifest func(path string, limit int64) ([]byte, error)
}

func layoutAt(dir string) *Layout { return &Layout{dir: dir, readManifest: readLimited} }

// LayoutError says that a folder is no layout, or a broken one.
type LayoutError struct {
	Path string // of the folder, or of the file in it
	Err  error
}

func (e *LayoutError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }
func (e *LayoutError) Unwrap() error { return e.Err }

// OpenLayout opens a layout that is there.
func OpenLayout(dir string) (*Layout, error) {
	l := layoutAt(dir)
	marker, err := readLimited(l.path(ocispec.ImageLayoutFile), maxLayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		if _, dirErr := os.Stat(dir); dirErr != nil {
			return nil, dirErr
		}
		return nil, &LayoutError{dir, errors.New("is not an OCI image layout: it has no file oci-layout")}
	}
	if err != nil {
		return nil, err
	}
	if err := checkMarker(marker); err != nil {
		return nil, &LayoutError{l.path(ocispec.ImageLayoutFile), err}
	}
	if _, err := l.sharedIndex(); err != nil {
		return nil, err
	}
	return l, nil
}

// NewLayout opens a layout, and makes it in a folder that is empty or not
// there. It leaves any other folder alone.
func NewLayout(dir string) (*Layout, error) {
	l, err := OpenLayout(dir)
	if err == nil {
		return l, nil
	}
	var broken *LayoutError
	if !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &broken) {
		return nil, err
	}
	l = layoutAt(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Two who make the same layout at once must not see each other's half.
	unlock, lockErr := l.lockIndex(context.Background())
	if lockErr != nil {
		return nil, lockErr
	}
	l, err = l.initialise(err)
	return l, errors.Join(err, unlock())
}

// initialise writes what makes a folder a layout; cause is why it is none yet.
func (l *Layout) initialise(cause error) (*Layout, error) {
	if again, err := OpenLayout(l.dir); err == nil {
		return again, nil
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != indexLockFile {
			return nil, &LayoutError{l.dir, fmt.Errorf("cannot become an OCI image layout, it holds other things such as %s (%w)", e.Name(), cause)}
		}
	}
	if err := os.MkdirAll(l.path(ocispec.ImageBlobsDir, digest.Canonical.String()), 0o755); err != nil {
		return nil, err
	}
	if err := l.writeIndex(&ocispec.Index{}); err != nil {
		return nil, err
	}
	marker, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	return l, outfile.Write(l.path(ocispec.ImageLayoutFile), marker, true)
}

// checkMarker checks the content of the file oci-layout.
func checkMarker(b []byte) error {
	var marker ocispec.ImageLayout
	if err := json.Unmarshal(b, &marker); err != nil {
		return err
	}
	if marker.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("layout version %.20q is not %q", marker.Version, ocispec.ImageLayoutVersion)
	}
	return nil
}

// Dir is the layout's folder.
func (l *Layout) Dir() string { return l.dir }

func (l *Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.dir}, elem...)...)
}

// blobPath is where a blob lies. The digest has been checked: it holds no
// separators.
func (l *Layout) blobPath(d digest.Digest) string {
	return l.path(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// LocalPath returns the blob's file, if it is there and has the right size.
func (l *Layout) LocalPath(desc ocispec.Descriptor) (string, bool) {
	path := l.blobPath(desc.Digest)
	info, err := os.Stat(path)
	return path, err == nil && info.Mode().IsRegular() && info.Size() == desc.Size
}

// openBlob opens a blob's file, which must be regular and of the right size.
func (l *Layout) openBlob(desc ocispec.Descriptor) (*os.File, error) {
	path := l.blobPath(desc.Digest)
	// Before opening: that of a named pipe would wait for a writer.
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: blob %s: %w", l.dir, desc.Digest, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &LayoutError{path, errors.New("is not a regular file")}
	}
	if info.Size() != desc.Size {
		return nil, &LayoutError{path, &MismatchError{desc, fmt.Sprintf("the file has %d bytes", info.Size())}}
	}
	return os.Open(path)
}

// Fetch streams a blob; see Repository.Fetch.
func (l *Layout) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := checkDescriptor(desc); err != nil {
		return nil, err
	}
	f, err := l.openBlob(desc)
	if err != nil {
		return nil, err
	}
	return verified(f, desc), nil
}

// FetchRange streams a part of a blob; see Repository.FetchRange.
func (l *Layout) FetchRange(_ context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	f, err := l.openBlob(desc)
	if err != nil {
		return nil, err
	}
	return section(f, f, off, n), nil
}

// Exists says whether a blob of that digest and size is there.
func (l *Layout) Exists(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	if err := checkDescriptor(desc); err != nil {
		return false, err
	}
	_, ok := l.LocalPath(desc)
	return ok, nil
}

// Push writes a blob; see Repository.Push. A manifest with a subject gets an
// entry in index.json, as other tools expect of a layout's referrers.
func (l *Layout) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	if !IsManifest(desc.MediaType) {
		return l.pushBlob(ctx, desc, r)
	}
	manifest, err := readManifest(r, desc)
	if err != nil {
		return err
	}
	full, subject, err := describeManifest(manifest, desc.MediaType)
	if err != nil {
		return err
	}
	if err := l.pushBlob(ctx, desc, bytes.NewReader(manifest)); err != nil {
		return err
	}
	l.subjects.learn(desc.Digest, subject)
	if subject == nil {
		return nil
	}
	return l.Add(ctx, entryOf(full))
}

func (l *Layout) pushBlob(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	if _, ok := l.LocalPath(desc); ok {
		return nil
	}
	b, err := l.CreateBlob()
	if err != nil {
		return err
	}
	if err := copySparse(ctx, b.File, verified(io.NopCloser(r), desc), desc.Size); err != nil {
		return b.Discard(err)
	}
	return b.Commit(desc)
}

// Blob is a blob on its way into a layout: a file of which nobody knows yet.
type Blob struct {
	*os.File
	layout *Layout
}

// CreateBlob begins a blob whose digest need not be known before Commit. Hold
// the layout from before CreateBlob until an entry reaches the blob.
func (l *Layout) CreateBlob() (*Blob, error) {
	f, err := os.CreateTemp(l.dir, tempPattern)
	if err != nil {
		return nil, err
	}
	return &Blob{File: f, layout: l}, nil
}

// Commit syncs the file, makes it read-only and gives it its name. The digest
// is taken on trust, the size is checked. On an error the file is gone.
func (b *Blob) Commit(desc ocispec.Descriptor) error {
	if err := b.commit(desc); err != nil {
		return b.Discard(err)
	}
	return nil
}

func (b *Blob) commit(desc ocispec.Descriptor) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	info, err := b.Stat()
	if err != nil {
		return err
	}
	if info.Size() != desc.Size {
		return &MismatchError{desc, fmt.Sprintf("%d bytes were written", info.Size())}
	}
	if err := b.Sync(); err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	if err := os.Chmod(b.Name(), 0o444); err != nil {
		return err
	}
	path := b.layout.blobPath(desc.Digest)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if _, ok := b.layout.LocalPath(desc); ok {
		// Somebody was faster; Windows does not replace read-only files.
		return os.Remove(b.Name())
	}
	return os.Rename(b.Name(), path)
}

// Discard removes the file and returns why.
func (b *Blob) Discard(why error) error {
	if err := b.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		why = errors.Join(why, err)
	}
	if err := os.Remove(b.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		why = errors.Join(why, err)
	}
	return why
}

// layoutStore is a layout as a Repository's store.
type layoutStore struct{ *Layout }

func openLayout(dir string) (store, error) {
	l, err := OpenLayout(dir)
	if err != nil {
		return nil, err
	}
	return layoutStore{l}, nil
}

func createLayout(dir string) (store, error) {
	l, err := NewLayout(dir)
	if err != nil {
		return nil, err
	}
	return layoutStore{l}, nil
}

// Tags lists the tags, sorted.
func (l *Layout) Tags(context.Context) iter.Seq2[string, error] {
	index, err := l.sharedIndex()
	return tagsOf(index, err)
}

// Commit has nothing to do: every step of a layout is final.
func (layoutStore) Commit(context.Context) error { return nil }

// Close has nothing to do: files are open only while they are read.
func (layoutStore) Close() error { return nil }

// readLimited reads a regular file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &LayoutError{path, errors.New("is not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &LayoutError{path, &LimitError{What: "its size in bytes", Limit: limit}}
	}
	return b, nil
}
