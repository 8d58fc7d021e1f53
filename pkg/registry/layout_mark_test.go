package registry_test

import (
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestMark moves a mark from one image of a layout to another, leaves what
// else the entries say, and marks nothing where there is no entry.
func TestMark(t *testing.T) {
	l := newLayout(t)
	a, _ := artifact(t, l, "a")
	b, below := artifact(t, l, "b")
	marked := func() (tags []string) {
		entries, err := l.Entries()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Annotations["kind"] == "x" {
				tags = append(tags, e.Annotations["org.opencontainers.image.ref.name"])
			}
		}
		return tags
	}
	for _, step := range []struct {
		what digest.Digest
		want []string
	}{
		{a.Digest, []string{"a"}},
		{b.Digest, []string{"b"}},
		{b.Digest, []string{"b"}},
		{below[1].Digest, []string{"b"}}, // no entry of its own
	} {
		if err := l.Mark(t.Context(), step.what, "kind", "x"); err != nil {
			t.Fatal(err)
		}
		if got := marked(); !slices.Equal(got, step.want) {
			t.Errorf("marked are %v, want %v", got, step.want)
		}
	}
	if d, err := l.Resolve(t.Context(), "b"); err != nil || d.Digest != b.Digest {
		t.Errorf("the tag b names %s: %v", d.Digest, err)
	}
}
