package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/esxi-img/esxi-img/pkg/parallel"
)

const (
	// scanStep is how many bytes of zeros are looked at, and zeroed, at a time.
	scanStep = 1 << 20
	// sampleSize is what of a chunk is looked at first, in bytes.
	sampleSize = 4096
)

// place is where chunks are written to.
type place interface {
	io.ReaderAt
	io.WriterAt
}

// CheckError says that a target does not hold what was written to it.
type CheckError struct {
	Target         string
	Offset, Length int64
	Err            error // of reading; may be nil
}

func (e *CheckError) Error() string {
	s := fmt.Sprintf("%s: %d bytes at %d are not what was written there", e.Target, e.Length, e.Offset)
	if e.Err != nil {
		s = fmt.Sprintf("%s: %d bytes at %d cannot be read again: %v", e.Target, e.Length, e.Offset, e.Err)
	}
	return s
}
func (e *CheckError) Unwrap() error { return e.Err }

// scan finds out which chunks are in their place, and lists the runs that should
// be zeros and are not. What cannot be read is not in its place.
func (p *puller) scan(ctx context.Context, r io.ReaderAt) (dirty []span, err error) {
	chunks := p.goal.chunks
	blank := p.blank(r)
	err = parallel.Do(ctx, min(hashWorkers, runtime.GOMAXPROCS(0)), len(chunks), func(_ context.Context, i int) error {
		if c := &chunks[i]; !blank || c.own != nil {
			c.there, _ = p.holds(r, c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p.dirty(ctx, r)
}

// missing lists the chunks that are not in their place, and counts the others.
func (p *puller) missing() []*chunk {
	var list []*chunk
	for i := range p.goal.chunks {
		c := &p.goal.chunks[i]
		switch {
		case !c.there:
			list = append(list, c)
			continue
		case c.own != nil:
			p.generated.Add(c.length)
		default:
			p.reused.Add(c.length)
		}
		p.report.Add(c.length)
	}
	return list
}

// blank says whether the target looks empty wherever the image has content: a
// new disk need not be read from end to end to find that it holds nothing.
func (p *puller) blank(r io.ReaderAt) bool {
	b := make([]byte, sampleSize)
	for i := range p.goal.chunks {
		c := &p.goal.chunks[i]
		if c.own != nil {
			continue
		}
		b := b[:min(c.length, sampleSize)]
		if n, _ := r.ReadAt(b, c.offset); n == len(b) && !allZero(b) {
			return false
		}
	}
	return true
}

// holds says whether a chunk is in its place.
func (p *puller) holds(r io.ReaderAt, c *chunk) (bool, error) {
	buf := p.buffer()
	defer p.release(buf)
	b := buf[:c.length]
	if n, err := r.ReadAt(b, c.offset); n < len(b) {
		return false, noEOF(err)
	}
	// What a patch covers has an unknown hash: such a chunk is always written.
	return len(c.patches) == 0 && c.is(b), nil
}

// dirty lists what should be zeros and is not.
func (p *puller) dirty(ctx context.Context, r io.ReaderAt) ([]span, error) {
	var steps []span
	for _, z := range p.goal.zeros {
		for at := z.offset; at < z.end(); at += scanStep {
			steps = append(steps, span{at, min(scanStep, z.end()-at)})
		}
	}
	var (
		mu    sync.Mutex
		found []span
	)
	err := parallel.Do(ctx, min(hashWorkers, runtime.GOMAXPROCS(0)), len(steps), func(_ context.Context, i int) error {
		s := steps[i]
		buf := p.buffer()
		defer p.release(buf)
		if n, _ := r.ReadAt(buf[:s.length], s.offset); int64(n) == s.length && allZero(buf[:n]) {
			return nil
		}
		mu.Lock()
		found = append(found, s)
		mu.Unlock()
		return nil
	})
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.offset, b.offset) })
	return found, err
}

// errDiffers ends a comparison.
var errDiffers = errors.New("differs")

// same says whether a file is the goal already. It stops at the first
// difference.
func (p *puller) same(ctx context.Context, r io.ReaderAt) (bool, error) {
	err := parallel.Do(ctx, min(hashWorkers, runtime.GOMAXPROCS(0)), len(p.goal.chunks), func(_ context.Context, i int) error {
		c := &p.goal.chunks[i]
		if ok, _ := p.holds(r, c); !ok {
			return errDiffers
		}
		c.there = true
		return nil
	})
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	dirty, err := p.dirty(ctx, r)
	return err == nil && len(dirty) == 0, err
}

// verify reads the target and holds it against the goal.
func (p *puller) verify(ctx context.Context, r io.ReaderAt, name string) error {
	p.report.Done()
	p.report.Start("check "+name, p.goal.total())
	err := parallel.Do(ctx, min(hashWorkers, runtime.GOMAXPROCS(0)), len(p.goal.chunks), func(_ context.Context, i int) error {
		c := &p.goal.chunks[i]
		if ok, err := p.holds(r, c); !ok {
			return &CheckError{name, c.offset, c.length, err}
		}
		p.report.Add(c.length)
		return nil
	})
	if err != nil {
		return err
	}
	dirty, err := p.dirty(ctx, r)
	if err != nil || len(dirty) == 0 {
		return err
	}
	return &CheckError{name, dirty[0].offset, dirty[0].length, nil}
}
