package artifact

import (
	"reflect"
	"testing"
)

// Neighbours share a request, up to some size; small gaps are read over.
func TestRequestsFor(t *testing.T) {
	const piece = PieceSize
	chunks := func(places ...span) (out []*chunk) {
		for _, s := range places {
			out = append(out, &chunk{layer: s.offset, length: s.length})
		}
		return out
	}
	for name, c := range map[string]struct {
		missing []*chunk
		want    []span
	}{
		"none":      {nil, nil},
		"one":       {chunks(span{100, 50}), []span{{100, 50}}},
		"a gap":     {chunks(span{0, 100}, span{100 + maxGap, 1}), []span{{0, 101 + maxGap}}},
		"too large": {chunks(span{0, 100}, span{101 + maxGap, 1}), []span{{0, 100}, {101 + maxGap, 1}}},
		"unsorted":  {chunks(span{100, 100}, span{0, 100}), []span{{0, 200}}},
		"six": {
			chunks(span{0, piece}, span{piece, piece}, span{2 * piece, piece}, span{3 * piece, piece}, span{4 * piece, piece}, span{5 * piece, piece}),
			[]span{{0, 4 * piece}, {4 * piece, 2 * piece}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []span
			n := 0
			for _, r := range requestsFor(c.missing) {
				got = append(got, r.span)
				n += len(r.chunks)
			}
			if !reflect.DeepEqual(got, c.want) || n != len(c.missing) {
				t.Errorf("got %v with %d of %d chunks, want %v", got, n, len(c.missing), c.want)
			}
		})
	}
}
