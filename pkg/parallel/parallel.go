// Package parallel calls a function for each number of a range from a few
// goroutines.
package parallel

import (
	"context"
	"sync"
	"sync/atomic"
)

// Do calls do for 0 to n-1, begun in that order, from that many goroutines at
// once, at least one. The first error ends it, cancels the context of the other
// calls, and is returned. So is why ctx ended, if it did.
func Do(ctx context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	return DoEach(ctx, workers, n, func() func(context.Context, int) error { return do })
}

// DoEach is Do where every goroutine has something of its own, such as a
// buffer: it calls what start returned for it.
func DoEach(ctx context.Context, workers, n int, start func() func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range min(max(workers, 1), n) {
		wg.Go(func() {
			do := start()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
