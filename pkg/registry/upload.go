package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

const (
	// uploadChunk is how much is read, hashed and handed on at once, in bytes.
	uploadChunk = 1 << 20
	// uploadChunks are in flight between reading and sending.
	uploadChunks = 3
)

// upload pushes a blob, from its beginning each time: an upload that broke
// cannot be told from one that was taken.
func (s *remoteStore) upload(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	seeker, canSeek := r.(io.Seeker)
	var start int64
	if canSeek {
		var err error
		if start, err = seeker.Seek(0, io.SeekCurrent); err != nil {
			canSeek = false
		}
	}
	for attempt := 0; ; attempt++ {
		err := s.uploadOnce(ctx, desc, r)
		if err == nil || !canSeek || attempt >= s.client.policy.retries || !s.worthAgain(ctx, err) {
			return err
		}
		if err := s.client.policy.sleep(ctx, attempt, err); err != nil {
			return err
		}
		// The answer may have been lost, and not the blob.
		if ok, err := s.Exists(ctx, desc); err == nil && ok {
			return nil
		}
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return err
		}
	}
}

func (s *remoteStore) uploadOnce(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	body := newUploadBody(r, desc)
	err := s.repo.Blobs().Push(ctx, desc, body)
	// Nobody reads from r any more when this returns.
	closeErr := body.Close()
	if source := body.failed(); source != nil {
		// What the registry said of the half that it got does not matter.
		return source
	}
	if err == nil && closeErr != nil {
		return closeErr
	}
	return err
}

// worthAgain says whether an upload that failed may work. A session that the
// registry forgot (it was restarted) is begun anew.
func (s *remoteStore) worthAgain(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var source *sourceError
	if errors.As(err, &source) {
		return false
	}
	var e *Error
	if !errors.As(s.fail("", err), &e) || e.after > maxRetryAfter {
		return false
	}
	return e.Temporary() || isUploadUnknown(err)
}

// isUploadUnknown says whether the registry has forgotten the upload.
func isUploadUnknown(err error) bool {
	var answer *errcode.ErrorResponse
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound &&
		slices.ContainsFunc(answer.Errors, func(e errcode.Error) bool { return e.Code == errcode.ErrorCodeBlobUploadUnknown })
}

// sourceError says that what was to be sent could not be read.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "read what is to be sent: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// uploadBody is a request's body that is read and hashed ahead of sending, and
// that ends with an error, before its last bytes, if it is not what the
// descriptor says: then the registry cannot have got the whole of it.
type uploadBody struct {
	chunks chan uploadPiece
	free   chan []byte
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once

	current uploadPiece // of the reader
	sent    int         // of current
	err     error       // of the reader goroutine; read when done is closed
}

type uploadPiece struct {
	data []byte
	err  error
}

func newUploadBody(r io.Reader, desc ocispec.Descriptor) *uploadBody {
	u := &uploadBody{
		chunks: make(chan uploadPiece, uploadChunks),
		free:   make(chan []byte, uploadChunks),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	size := min(uploadChunk, max(desc.Size, 1))
	for range uploadChunks {
		u.free <- make([]byte, size)
	}
	go u.produce(r, desc)
	return u
}

// produce reads and hashes, chunk after chunk.
func (u *uploadBody) produce(r io.Reader, desc ocispec.Descriptor) {
	defer close(u.done)
	hash := desc.Digest.Algorithm().Hash()
	for left := desc.Size; ; {
		var buf []byte
		select {
		case buf = <-u.free:
		case <-u.stop:
			return
		}
		n := min(int64(len(buf)), left)
		buf = buf[:n]
		_, err := io.ReadFull(r, buf)
		left -= n
		if err == nil {
			_, _ = hash.Write(buf) // a hash takes everything
			if left == 0 {
				err = atEndOf(r, desc, digest.NewDigest(desc.Digest.Algorithm(), hash))
			}
		} else {
			err = tooShort(desc, err)
		}
		u.err = err
		piece := uploadPiece{buf, err}
		if err == nil && left == 0 {
			piece.err = io.EOF
		}
		select {
		case u.chunks <- piece:
		case <-u.stop:
			return
		}
		if piece.err != nil {
			return
		}
	}
}

// tooShort is the error for a source that failed or ended early.
func tooShort(desc ocispec.Descriptor, err error) error {
	if endOfFull(err) {
		return &MismatchError{desc, "the content is shorter"}
	}
	return &sourceError{err}
}

// atEndOf checks a source of which desc.Size bytes were read.
func atEndOf(r io.Reader, desc ocispec.Descriptor, got digest.Digest) error {
	var one [1]byte
	switch n, err := io.ReadFull(r, one[:]); {
	case n > 0:
		return &MismatchError{desc, "the content is longer"}
	case !errors.Is(err, io.EOF):
		return &sourceError{err}
	case got != desc.Digest:
		return &MismatchError{desc, fmt.Sprintf("the content's digest is %s", got)}
	default:
		return nil
	}
}

// Read hands on what was found to be right so far.
func (u *uploadBody) Read(p []byte) (int, error) {
	for u.sent == len(u.current.data) {
		if u.current.err != nil {
			return 0, u.current.err
		}
		if u.current.data != nil {
			u.free <- u.current.data[:cap(u.current.data)]
		}
		select {
		case u.current = <-u.chunks:
		case <-u.stop:
			return 0, io.ErrClosedPipe
		}
		u.sent = 0
		if err := u.current.err; err != nil && !errors.Is(err, io.EOF) {
			u.current.data = nil
			return 0, err
		}
	}
	n := copy(p, u.current.data[u.sent:])
	u.sent += n
	return n, nil
}

// Close ends the reading and waits for it.
func (u *uploadBody) Close() error {
	u.once.Do(func() { close(u.stop) })
	<-u.done
	return nil
}

// failed is what was wrong with the source, after Close.
func (u *uploadBody) failed() error {
	<-u.done
	return u.err
}
