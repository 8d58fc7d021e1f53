package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// progressBytes is what a stream has to bring before its retries count anew.
const progressBytes = 1 << 20

// Fetch streams a blob or a manifest, checked.
func (s *remoteStore) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	op := "fetch " + desc.Digest.String()
	if IsManifest(desc.MediaType) {
		b, err := s.manifest(ctx, plain(desc))
		if err != nil {
			return nil, s.fail(op, err)
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	rc, err := s.open(ctx, desc, 0, desc.Size, op)
	if err != nil {
		return nil, err
	}
	return verifiedAs(rc, desc, func(err error) error { return s.fail(op, err) }), nil
}

// FetchRange streams a part of a blob.
func (s *remoteStore) FetchRange(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	op := fmt.Sprintf("fetch %d bytes at %d of %s", n, off, desc.Digest)
	return s.open(ctx, desc, off, n, op)
}

// open begins a stream of n bytes from off on, that goes on where it broke.
func (s *remoteStore) open(ctx context.Context, desc ocispec.Descriptor, off, n int64, op string) (io.ReadCloser, error) {
	body, err := s.get(ctx, desc, off, n)
	if err != nil {
		return nil, s.fail(op, err)
	}
	return &resumed{ctx: ctx, store: s, desc: desc, op: op, whole: off == 0 && n == desc.Size, off: off, end: off + n, body: body}, nil
}

// get requests n bytes of a blob from off on. It is a plain request if that is
// the whole blob.
func (s *remoteStore) get(ctx context.Context, desc ocispec.Descriptor, off, n int64) (io.ReadCloser, error) {
	ctx = auth.AppendRepositoryScope(ctx, s.repo.Reference, auth.ActionPull)
	req, err := s.newGet(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	part := off != 0 || n != desc.Size
	if part {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := checkAnswer(resp, part, desc, off, n); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp.Body, nil
}

// checkAnswer says whether a response is what was asked for.
func checkAnswer(resp *http.Response, part bool, desc ocispec.Descriptor, off, n int64) error {
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return ErrNotFound
	case part && resp.StatusCode == http.StatusOK:
		return ErrRangeIgnored
	case part && resp.StatusCode == http.StatusPartialContent:
		if err := checkContentRange(resp.Header.Get("Content-Range"), off, n, desc.Size); err != nil {
			return err
		}
	case !part && resp.StatusCode == http.StatusOK:
	default:
		return &Error{Status: resp.StatusCode}
	}
	if length := resp.ContentLength; length >= 0 && length != n {
		if part {
			return fmt.Errorf("%w: %d bytes instead of %d", ErrBadRange, length, n)
		}
		return &MismatchError{desc, fmt.Sprintf("the registry sends %d bytes", length)}
	}
	return nil
}

// checkContentRange checks the header Content-Range (RFC 9110, 14.4) against
// what was asked for.
func checkContentRange(value string, off, n, size int64) error {
	with, without := fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size), fmt.Sprintf("bytes %d-%d/*", off, off+n-1)
	if value != with && value != without {
		return fmt.Errorf("%w: %.100q instead of %q", ErrBadRange, value, with)
	}
	return nil
}

// resumed is a stream that is taken up again where it broke.
type resumed struct {
	ctx      context.Context //nolint:containedctx // for the requests that take the stream up again
	store    *remoteStore
	desc     ocispec.Descriptor
	op       string
	whole    bool  // the stream is all of the blob, and its end is checked by who reads it
	off, end int64 // of what is still to come
	body     io.ReadCloser
	failures int
	gained   int64 // bytes since the last failure
}

func (r *resumed) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.off += int64(n)
		if extra := r.off - r.end; extra > 0 && !r.whole {
			return n - int(extra), r.store.fail(r.op, fmt.Errorf("%w: there is more than was asked for", ErrBadRange))
		}
		if r.gained += int64(n); r.gained >= progressBytes {
			r.failures = 0
		}
		if err == nil {
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			return n, r.atEnd()
		}
		if failed := r.resume(err); failed != nil || n > 0 {
			return n, failed
		}
	}
}

// atEnd is the verdict on a stream that ends without an error.
func (r *resumed) atEnd() error {
	if r.whole || r.off == r.end {
		return io.EOF
	}
	return r.store.fail(r.op, fmt.Errorf("%w: %d bytes are missing", ErrBadRange, r.end-r.off))
}

// resume makes the request again, for what is still to come.
func (r *resumed) resume(cause error) error {
	if err := r.ctx.Err(); err != nil {
		return r.store.fail(r.op, err)
	}
	policy := r.store.client.policy
	if r.failures >= policy.retries || !temporaryError(cause) || r.off >= r.end {
		return r.store.fail(r.op, cause)
	}
	_ = r.body.Close() // it is broken, and said so
	if err := policy.sleep(r.ctx, r.failures, cause); err != nil {
		return r.store.fail(r.op, err)
	}
	r.failures++
	r.gained = 0
	body, err := r.store.get(r.ctx, r.desc, r.off, r.end-r.off)
	if errors.Is(err, ErrRangeIgnored) && r.whole {
		body, err = r.skip()
	}
	if err != nil {
		r.body = http.NoBody
		return r.store.fail(r.op, err)
	}
	r.body = body
	return nil
}

// skip begins the stream anew and passes over what has been read already.
func (r *resumed) skip() (io.ReadCloser, error) {
	body, err := r.store.get(r.ctx, r.desc, 0, r.desc.Size)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, body, r.off); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

func (r *resumed) Close() error { return r.body.Close() }
