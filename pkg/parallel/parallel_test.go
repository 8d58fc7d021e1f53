package parallel_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/parallel"
)

func TestEveryNumberOnce(t *testing.T) {
	for _, workers := range []int{-1, 0, 1, 3, 100} {
		var calls [10]atomic.Int32
		if err := parallel.Do(t.Context(), workers, len(calls), func(_ context.Context, i int) error {
			calls[i].Add(1)
			return nil
		}); err != nil {
			t.Error(err)
		}
		for i := range calls {
			if n := calls[i].Load(); n != 1 {
				t.Errorf("%d workers: %d was called %d times", workers, i, n)
			}
		}
	}
}

func TestOneWorkerKeepsTheOrder(t *testing.T) {
	var got []int
	if err := parallel.Do(t.Context(), 1, 4, func(_ context.Context, i int) error {
		got = append(got, i)
		return nil
	}); err != nil || !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Error(got, err)
	}
}

func TestTheFirstErrorEndsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	var after atomic.Int32
	err := parallel.Do(t.Context(), 2, 1000, func(ctx context.Context, i int) error {
		if i == 0 {
			return broken
		}
		<-ctx.Done() // would hang if the error did not end this call
		after.Add(1)
		return ctx.Err()
	})
	if !errors.Is(err, broken) || after.Load() > 1 {
		t.Errorf("%v, and %d calls more", err, after.Load())
	}
}

func TestAnEndedContext(t *testing.T) {
	why := errors.New("the user went home")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	err := parallel.Do(ctx, 2, 5, func(context.Context, int) error { return errors.New("was called") })
	if !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestWorkersHaveTheirOwn(t *testing.T) {
	var started atomic.Int32
	if err := parallel.DoEach(t.Context(), 3, 100, func() func(context.Context, int) error {
		started.Add(1)
		var own int // the race detector tells if it is shared
		return func(context.Context, int) error { own++; return nil }
	}); err != nil || started.Load() != 3 {
		t.Error(started.Load(), err)
	}
}
