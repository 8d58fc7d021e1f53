package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Figure is one number that we stand by.
type Figure struct {
	Name string
	Unit string
	// Ours takes one measurement.
	Ours func(context.Context, *bench) (float64, error)
	// Theirs takes the peer's. Where it is nil, Limit stands in for the peer.
	Theirs func(context.Context, *bench) (float64, error)
	Peer   string // what the peer is
	Limit  float64
	// Target is the largest ratio of ours to the peer's that is good enough.
	Target float64
}

// Result is a measured figure.
type Result struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Value   float64   `json:"value"` // median
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Peer    float64   `json:"peer"` // median, or the limit
	PeerIs  string    `json:"peerIs"`
	Ratio   float64   `json:"ratio"` // median of the pairs' ratios
	Target  float64   `json:"target"`
	Met     bool      `json:"met"`
	Runs    []float64 `json:"runs,omitempty"`
	Skipped string    `json:"skipped,omitempty"` // why it was not measured
}

// warmUps is how many pairs are run and not counted: they fill the page cache.
const warmUps = 1

func (b *bench) measure(ctx context.Context, f Figure) (Result, error) {
	r := Result{Name: f.Name, Unit: f.Unit, PeerIs: f.Peer, Target: f.Target}
	var ours, theirs, ratios []float64
	for i := range warmUps + b.runs {
		fmt.Fprintf(b.status, "%s: run %d of %d\n", f.Name, i+1, warmUps+b.runs)
		own, peer, err := b.pair(ctx, f, i%2 == 1)
		if errors.Is(err, exec.ErrNotFound) {
			r.Skipped = err.Error()
			return r, nil
		}
		if err != nil {
			return r, err
		}
		if i >= warmUps {
			ours, theirs, ratios = append(ours, own), append(theirs, peer), append(ratios, own/peer)
		}
	}
	r.Value, r.Min, r.Max = median(ours), slices.Min(ours), slices.Max(ours)
	r.Peer, r.Ratio, r.Runs = median(theirs), median(ratios), ours
	r.Met = r.Ratio <= f.Target
	return r, nil
}

// pair measures both sides once, the peer first where told so.
func (b *bench) pair(ctx context.Context, f Figure, peerFirst bool) (ours, theirs float64, err error) {
	sides := []func() error{
		func() error { ours, err = f.Ours(ctx, b); return err },
		func() error {
			if f.Theirs == nil {
				theirs = f.Limit
				return nil
			}
			theirs, err = f.Theirs(ctx, b)
			return err
		},
	}
	if peerFirst {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if err := side(); err != nil {
			return 0, 0, err
		}
	}
	return ours, theirs, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

const row = "%-28s %11s %11s %7s  %-19s %s"

func header() string {
	return fmt.Sprintf(row, "figure (median)", "ours", "peer", "ratio", "min-max", "target")
}

// String is the figure's line.
func (r Result) String() string {
	if r.Skipped != "" {
		return fmt.Sprintf("%-28s not measured: %s", r.Name, r.Skipped)
	}
	verdict := "MISSED"
	if r.Met {
		verdict = "met"
	}
	amount := func(v float64) string { return strings.TrimSpace(fmt.Sprintf("%.3g %s", v, r.Unit)) }
	return fmt.Sprintf(row, r.Name, amount(r.Value), amount(r.Peer), fmt.Sprintf("%.3f", r.Ratio),
		fmt.Sprintf("%.3g-%s", r.Min, amount(r.Max)),
		fmt.Sprintf("ratio <= %g %s; peer: %s", r.Target, verdict, r.PeerIs))
}
