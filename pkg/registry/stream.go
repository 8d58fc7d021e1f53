package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// verifiedReader ends with io.EOF only when everything was right.
type verifiedReader struct {
	base io.ReadCloser
	vr   *content.VerifyReader
	desc ocispec.Descriptor
	fail func(error) error
	err  error
}

// verified checks what r holds against desc while it is read.
func verified(r io.ReadCloser, desc ocispec.Descriptor) io.ReadCloser {
	return verifiedAs(r, desc, func(err error) error { return err })
}

// verifiedAs is verified with errors as fail makes them.
func verifiedAs(r io.ReadCloser, desc ocispec.Descriptor, fail func(error) error) io.ReadCloser {
	return &verifiedReader{base: r, vr: content.NewVerifyReader(r, desc), desc: desc, fail: fail}
}

func (v *verifiedReader) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.vr.Read(p)
	if errors.Is(err, io.EOF) {
		if err = v.vr.Verify(); err == nil {
			v.err = io.EOF
			return n, io.EOF
		}
	}
	if err != nil {
		v.err = v.fail(mismatch(v.desc, err))
	}
	return n, v.err
}

func (v *verifiedReader) Close() error { return v.base.Close() }

// section reads n bytes of a file from off on; fewer are io.ErrUnexpectedEOF.
func section(r io.ReaderAt, c io.Closer, off, n int64) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{&exactReader{r: io.NewSectionReader(r, off, n), left: n}, c}
}

// exactReader reads exactly left bytes.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if e.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// expectEOF says whether a reader is at its end, as it should be.
func expectEOF(r io.Reader) error {
	var one [1]byte
	switch n, err := io.ReadFull(r, one[:]); {
	case n > 0:
		return errors.New("there is more than there should be")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// sparseBlock is how long zeros have to be to become a hole, in bytes: file
// systems have none that are shorter, and this is quick to check.
const sparseBlock = 64 << 10

// copySparse copies size bytes to a new file and leaves holes for zeros.
func copySparse(ctx context.Context, f *os.File, r io.Reader, size int64) error {
	buf := make([]byte, 1<<20)
	var off int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf)
		if writeErr := writeSparse(f, buf[:n], off); writeErr != nil {
			return writeErr
		}
		off += int64(n)
		switch {
		case err == nil:
		case off == size && endOfFull(err):
			return f.Truncate(size)
		case endOfFull(err):
			return fmt.Errorf("%d of %d bytes: %w", off, size, io.ErrUnexpectedEOF)
		default:
			return err
		}
	}
}

// endOfFull says whether io.ReadFull met the end.
func endOfFull(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

var zeros [sparseBlock]byte

func writeSparse(f *os.File, b []byte, off int64) error {
	for len(b) > 0 {
		block := b[:min(len(b), sparseBlock)]
		if !bytes.Equal(block, zeros[:len(block)]) {
			if _, err := f.WriteAt(block, off); err != nil {
				return err
			}
		}
		b, off = b[len(block):], off+int64(len(block))
	}
	return nil
}
