package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/esxi-img/esxi-img/pkg/parallel"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

const (
	// requestSize is how much one request brings where that much is missing in
	// one run, in bytes: a round trip is little beside it.
	requestSize = 16 << 20
	// maxGap is how many bytes that are not needed are fetched rather than
	// asked for around.
	maxGap = 128 << 10
	// hashStep is how many bytes are hashed at once, in bytes, as long as they
	// are in the processor's cache.
	hashStep = 256 << 10
)

// request is a run of the disk layer with the chunks that it is fetched for.
type request struct {
	span
	chunks []*chunk // in the order of the layer, not overlapping
}

// fetch brings chunks from the disk layer: in ranges, several at a time, or
// where the server ignores ranges as one stream.
func (p *puller) fetch(ctx context.Context, to place, missing []*chunk) error {
	if len(missing) == 0 {
		return nil
	}
	requests := requestsFor(missing)
	done := make([]bool, len(requests))
	workers := min(p.from.Concurrency(), maxPullWorkers)
	err := parallel.Do(ctx, workers, len(requests), func(ctx context.Context, i int) error {
		err := p.fetchRange(ctx, to, &requests[i])
		done[i] = err == nil
		return err
	})
	if !errors.Is(err, registry.ErrRangeIgnored) || ctx.Err() != nil {
		return err
	}
	var rest []*chunk
	for i := range requests {
		if !done[i] {
			rest = append(rest, requests[i].chunks...)
		}
	}
	return p.fetchStream(ctx, to, rest)
}

// requestsFor puts neighbours into one request.
func requestsFor(missing []*chunk) []request {
	missing = slices.Clone(missing)
	slices.SortFunc(missing, func(a, b *chunk) int { return cmp.Compare(a.layer, b.layer) })
	var out []request
	for _, c := range missing {
		if last := len(out) - 1; last >= 0 && out[last].length < requestSize && c.layer-out[last].end() <= maxGap {
			r := &out[last]
			r.length = c.layer + c.length - r.offset
			r.chunks = append(r.chunks, c)
			continue
		}
		out = append(out, request{span{c.layer, c.length}, []*chunk{c}})
	}
	return out
}

func (p *puller) fetchRange(ctx context.Context, to place, r *request) (err error) {
	rc, err := p.from.FetchRange(ctx, p.image.Disk, r.offset, r.length)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	return p.receive(ctx, to, rc, r.offset, r.chunks)
}

// fetchStream reads the whole layer as far as it is needed.
func (p *puller) fetchStream(ctx context.Context, to place, chunks []*chunk) (err error) {
	rc, err := p.from.Fetch(ctx, p.image.Disk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	return p.receive(ctx, to, rc, 0, chunks)
}

// receive takes chunks out of a stream that begins at that offset of the layer.
// Each is checked before it is written.
func (p *puller) receive(ctx context.Context, to place, r io.Reader, at int64, chunks []*chunk) error {
	buf := p.buffer()
	defer p.release(buf)
	for _, c := range chunks {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		skipped, err := io.CopyBuffer(writeOnly{io.Discard}, io.LimitReader(r, c.layer-at), buf[:hashStep])
		p.fetched.Add(skipped)
		if err == nil && skipped < c.layer-at {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return p.short(c, err)
		}
		b := buf[:c.length]
		got, err := p.readHashed(r, b)
		if err != nil {
			return p.short(c, err)
		}
		if got != c.sum {
			return &ContentError{p.from.Reference().Locator(), p.image.Disk.Digest, c.layer, c.length, c.sum, got}
		}
		at = c.layer + c.length
		p.cache.put(c.sum, b)
		if err := p.put(to, c, b); err != nil {
			return err
		}
	}
	return nil
}

// writeOnly hides what else a writer can do, so that the given buffer is used.
type writeOnly struct{ io.Writer }

// readHashed fills b and hashes it on the way.
func (p *puller) readHashed(r io.Reader, b []byte) (sum SHA256, err error) {
	h := sha256.New()
	for len(b) > 0 {
		part := b[:min(len(b), hashStep)]
		n, err := io.ReadFull(r, part)
		p.fetched.Add(int64(n))
		if err != nil {
			return sum, noEOF(err)
		}
		h.Write(part)
		b = b[n:]
	}
	return SHA256(h.Sum(nil)), nil
}

// short is the error for a stream that ends before a chunk does; others say
// themselves what they are about.
func (p *puller) short(c *chunk, err error) error {
	var said *registry.Error // of a connection that broke, say
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &said) {
		return err
	}
	return &registry.Error{
		Op: fmt.Sprintf("fetch %d bytes at %d of %s", c.length, c.layer, p.image.Disk.Digest), Ref: p.from.Reference().Locator(),
		Err: &registry.MismatchError{Descriptor: p.image.Disk, Reason: "the content ends early"},
	}
}
