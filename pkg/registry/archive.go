package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxArchiveEntries bounds the entries of an archive.
const maxArchiveEntries = 200_000

// gzipMagic begins a file that is packed (RFC 1952, 2.3.1).
var gzipMagic = []byte{0x1f, 0x8b}

// archive is a tar archive of a layout, for reading: where in the file each
// blob lies.
type archive struct {
	path  string
	file  *os.File
	files map[string]extent
	index *ocispec.Index
	about subjects
}

// extent is a run of bytes in the archive.
type extent struct{ off, size int64 }

func openArchive(name string) (store, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &LayoutError{name, errors.New("is not a regular file")}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a := &archive{path: name, file: f, files: map[string]extent{}}
	if err := a.load(); err != nil {
		return nil, errors.Join(&LayoutError{name, err}, f.Close())
	}
	return a, nil
}

// load finds all files of the archive and reads its index.json.
func (a *archive) load() error {
	if err := a.scan(a.file); err != nil {
		return fmt.Errorf("is not a tar archive that can be read: %w", err)
	}
	marker, err := a.read(ocispec.ImageLayoutFile, maxLayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("is not an archive of an OCI image layout: it has no file oci-layout")
	}
	if err != nil {
		return err
	}
	if err := checkMarker(marker); err != nil {
		return fmt.Errorf("oci-layout: %w", err)
	}
	b, err := a.read(ocispec.ImageIndexFile, MaxManifest)
	if err != nil {
		return err
	}
	if a.index, err = parseLayoutIndex(b); err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	return nil
}

// scan walks over the headers; r is at the beginning, and seeks over contents.
func (a *archive) scan(r io.ReadSeeker) error {
	var magic [2]byte
	if _, err := io.ReadFull(r, magic[:]); err == nil && bytes.Equal(magic[:], gzipMagic) {
		return errors.New("it is packed with gzip; unpack it first (gunzip)")
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == maxArchiveEntries {
			return &LimitError{What: "number of entries", Limit: maxArchiveEntries}
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if isSparse(header) {
			return fmt.Errorf("%.200q is stored as a sparse file", header.Name)
		}
		off, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := path.Clean(header.Name)
		if _, twice := a.files[name]; twice {
			return fmt.Errorf("%.200q is there twice", name)
		}
		a.files[name] = extent{off, header.Size}
	}
}

// isSparse says whether a file's bytes are not simply those that follow.
func isSparse(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// read reads a small file of the archive.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	e, ok := a.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: a.path + ":" + name, Err: fs.ErrNotExist}
	}
	if e.size > limit {
		return nil, &LimitError{What: "size of " + name, Value: e.size, Limit: limit}
	}
	b := make([]byte, e.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.file, e.off, e.size), b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func (a *archive) find(desc ocispec.Descriptor) (extent, error) {
	e, ok := a.files[blobName(desc.Digest)]
	if !ok {
		return e, fmt.Errorf("%s: blob %s: %w", a.path, desc.Digest, ErrNotFound)
	}
	if e.size != desc.Size {
		return e, &LayoutError{a.path, &MismatchError{desc, fmt.Sprintf("the archive has %d bytes", e.size)}}
	}
	return e, nil
}

func (a *archive) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	e, err := a.find(desc)
	if err != nil {
		return nil, err
	}
	return verified(io.NopCloser(io.NewSectionReader(a.file, e.off, e.size)), desc), nil
}

func (a *archive) FetchRange(_ context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	e, err := a.find(desc)
	if err != nil {
		return nil, err
	}
	return section(a.file, io.NopCloser(nil), e.off+off, n), nil
}

func (a *archive) Exists(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	e, ok := a.files[blobName(desc.Digest)]
	return ok && e.size == desc.Size, nil
}

func (a *archive) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	return resolveIn(SchemeArchive+":"+a.path, a.index, reference, func(d digest.Digest) (ocispec.Descriptor, error) {
		b, err := a.read(blobName(d), MaxManifest)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("%s: %s: %w", a.path, d, errors.Join(ErrNotFound, err))
		}
		return describeBytes(b, d)
	})
}

func (a *archive) Tags(context.Context) iter.Seq2[string, error] { return tagsOf(a.index, nil) }

func (a *archive) Referrers(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	return referrersIn(ctx, a.index, subject, artifactType, &a.about, func(desc ocispec.Descriptor) ([]byte, error) {
		return a.read(blobName(desc.Digest), MaxManifest)
	})
}

func (a *archive) readOnly() error { return fmt.Errorf("%s %w", a.path, ErrReadOnly) }

func (a *archive) Push(context.Context, ocispec.Descriptor, io.Reader) error { return a.readOnly() }

func (a *archive) Tag(context.Context, ocispec.Descriptor, string) error { return a.readOnly() }

func (a *archive) Commit(context.Context) error { return nil }

func (a *archive) Close() error { return a.file.Close() }
