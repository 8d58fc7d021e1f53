package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func sequence(values ...float64) func(context.Context, *bench) (float64, error) {
	return func(context.Context, *bench) (float64, error) {
		v := values[0]
		values = values[1:]
		return v, nil
	}
}

func TestMeasureTakesTheMedianOfThePairs(t *testing.T) {
	b := &bench{runs: 3, status: io.Discard}
	f := Figure{
		Name: "x", Target: 2,
		Ours:   sequence(99, 1, 4, 9), // the first is the warm-up
		Theirs: sequence(1, 1, 2, 3),
	}
	r, err := b.measure(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	// Pairs: 1/1, 4/2, 9/3.
	if r.Value != 4 || r.Peer != 2 || r.Ratio != 2 || r.Min != 1 || r.Max != 9 || !r.Met {
		t.Errorf("%+v", r)
	}
	f.Ours, f.Theirs, f.Target = sequence(99, 1, 4, 9), sequence(1, 1, 2, 3), 1.9
	if r, err = b.measure(t.Context(), f); err != nil || r.Met || !strings.Contains(r.String(), "MISSED") {
		t.Errorf("%v %v", r, err)
	}
}

func TestMeasureGoesOnWithoutThePeer(t *testing.T) {
	b := &bench{runs: 1, status: io.Discard}
	missing := func(context.Context, *bench) (float64, error) {
		_, err := exec.LookPath("no-such-program-anywhere")
		return 0, err
	}
	r, err := b.measure(t.Context(), Figure{Name: "x", Ours: sequence(1, 1), Theirs: missing})
	if err != nil || !strings.Contains(r.String(), "not measured") {
		t.Errorf("%v %v", r, err)
	}
	broken := func(context.Context, *bench) (float64, error) { return 0, errors.New("broken") }
	if _, err := b.measure(t.Context(), Figure{Name: "x", Ours: broken, Limit: 1}); err == nil {
		t.Error("a failing run passed")
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Error(m)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Error(m)
	}
}
