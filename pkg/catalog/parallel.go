package catalog

import (
	"context"
	"sync"
	"sync/atomic"
	"unicode"
)

// parallel calls do for 0 to n-1, from that many goroutines at once. The first
// error ends it, and the context of the calls.
func parallel(ctx context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range min(workers, n) {
		wg.Go(func() {
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

// printable replaces what a terminal could take for a command, or what hides
// text: control characters, directions and the like (Unicode's C categories).
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '\uFFFD'
}
