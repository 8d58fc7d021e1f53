package customize

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
)

const (
	// copyBuffers is how many windows are on their way at once.
	copyBuffers = 8
	// writebackSize is how much is handed to the disk at a time, in bytes.
	writebackSize = 8 << 20
	// forgetBehind is how far behind both copy and digest a file that is replaced
	// is forgotten, in bytes.
	forgetBehind = 16 << 20
)

// copyInKernel copies runs to an empty file without reading them here. The
// digest is found meanwhile: hashing is slower than copying, and does not hold it
// up.
type copyInKernel struct {
	from, to *os.File
	runs     []run
	sum      io.Writer
	report   progress.Reporter
	// last says that nobody will read the file any more: what the system keeps
	// of it in memory is given back behind both, and need not be when the copy
	// takes its name.
	last bool

	copied atomic.Int64 // up to where
	read   chan int64   // up to where it was hashed
}

// run says whether the kernel could.
func (c *copyInKernel) run(ctx context.Context, size int64) (bool, error) {
	disk.MakeSparse(c.to)
	if err := c.to.Truncate(size); err != nil {
		return false, err
	}
	if len(c.runs) == 0 || copyRange(c.to, c.from, c.runs[0].at, min(c.runs[0].n, windowSize)) != nil {
		return false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.read = make(chan int64, 1)
	var wg sync.WaitGroup
	var hashErr error
	wg.Go(func() {
		defer close(c.read)
		if hashErr = readAll(ctx, c.sum, c.from, size, c.hashed); hashErr != nil {
			cancel()
		}
	})
	wg.Go(c.forget)
	err := c.copy(ctx)
	if err != nil {
		cancel()
	}
	wg.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return true, err
	}
	return true, errors.Join(hashErr, err)
}

func (c *copyInKernel) copy(ctx context.Context) error {
	for _, r := range c.runs {
		for r.n > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(r.n, writebackSize)
			if err := copyRange(c.to, c.from, r.at, n); err != nil {
				return err
			}
			disk.StartWriteback(c.to, r.at, n)
			c.report.Add(n)
			r.at, r.n = r.at+n, r.n-n
			c.copied.Store(r.at)
		}
	}
	return nil
}

// hashed tells forget, unless that has not heard of the last time.
func (c *copyInKernel) hashed(at int64) {
	select {
	case c.read <- at:
	default:
	}
}

// forget gives back what was hashed and copied.
func (c *copyInKernel) forget() {
	done := int64(0)
	for hashed := range c.read {
		// What was read just now the kernel would have to collect from all CPUs.
		end := min(hashed, c.copied.Load()) - forgetBehind
		if c.last && end-done >= writebackSize {
			disk.DropCache(c.from, done, end-done)
			done = end
		}
	}
}

// run is a part of a disk, in bytes.
type run struct{ at, n int64 }

// dataRuns are the parts of a disk of that size that are no zeros, neighbours
// at once.
func dataRuns(p *plan.Plan, size int64) (runs []run) {
	for _, e := range p.Extents {
		n := min(e.End(), size) - e.Offset
		if e.Kind == plan.Zero || n <= 0 {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].at+runs[last].n == e.Offset {
			runs[last].n += n
			continue
		}
		runs = append(runs, run{e.Offset, n})
	}
	return runs
}

// copyOnce reads a disk once, from end to end, for its digest and for a copy:
// its runs of data are written to an empty file of the same size.
type copyOnce struct {
	from   io.ReaderAt
	to     *os.File
	runs   []run // of data, see dataRuns
	sum    io.Writer
	report progress.Reporter

	next   int   // the first run that ends behind what was written
	handed int64 // to the disk
}

// window is a run of the disk in memory, which two are to see.
type window struct {
	buf  []byte
	data []byte
	at   int64
	seen atomic.Int32
}

func (c *copyOnce) run(ctx context.Context, size int64) error {
	disk.MakeSparse(c.to)
	if err := c.to.Truncate(size); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	free := make(chan *window, copyBuffers)
	for range copyBuffers {
		free <- &window{buf: make([]byte, windowSize)}
	}
	done := func(w *window) {
		if w.seen.Add(1) == 2 {
			w.seen.Store(0)
			free <- w
		}
	}
	toHash, toWrite := make(chan *window, copyBuffers), make(chan *window, copyBuffers)
	var wg sync.WaitGroup
	wg.Go(func() {
		for w := range toHash {
			_, _ = c.sum.Write(w.data) // a hash never fails
			done(w)
		}
	})
	wg.Go(func() {
		for w := range toWrite {
			if context.Cause(ctx) == nil {
				if err := c.write(w); err != nil {
					cancel(err)
				}
			}
			done(w)
		}
	})
	err := c.read(ctx, size, free, toHash, toWrite)
	close(toHash)
	close(toWrite)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// read hands each window to both.
func (c *copyOnce) read(ctx context.Context, size int64, free <-chan *window, to ...chan<- *window) error {
	for at := int64(0); at < size; at += windowSize {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		w := <-free
		w.at, w.data = at, w.buf[:min(windowSize, size-at)]
		if n, err := c.from.ReadAt(w.data, at); n < len(w.data) {
			return &plan.ReadError{Path: "the image", Err: short(err)}
		}
		for _, ch := range to {
			ch <- w
		}
	}
	return nil
}

// write writes what of a window is not zeros.
func (c *copyOnce) write(w *window) error {
	end := w.at + int64(len(w.data))
	for ; c.next < len(c.runs) && c.runs[c.next].at < end; c.next++ {
		r := c.runs[c.next]
		from, to := max(r.at, w.at), min(r.at+r.n, end)
		if _, err := c.to.WriteAt(w.data[from-w.at:to-w.at], from); err != nil {
			return err
		}
		c.report.Add(to - from)
		if r.at+r.n > end {
			break // the next window has the rest
		}
	}
	if end-c.handed >= writebackSize {
		disk.StartWriteback(c.to, c.handed, end-c.handed)
		c.handed = end
	}
	return nil
}
