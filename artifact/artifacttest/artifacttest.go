// Package artifacttest is for tests: it packs images of media into layouts.
package artifacttest

import (
	"bytes"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Source is the image of a medium, esxi.iso, that is planned but not packed.
func Source(tb testing.TB, medium []byte, p imager.Profile) *artifact.Source {
	tb.Helper()
	r := bytes.NewReader(medium)
	opened, err := iso.Open(r, r.Size())
	if err != nil {
		tb.Fatal(err)
	}
	img, err := imager.New(opened, p)
	if err != nil {
		tb.Fatal(err)
	}
	return artifact.SourceOf(img, opened, "esxi.iso", r)
}

// Pack packs into a layout and tags the image latest.
func Pack(tb testing.TB, into *registry.Layout, src *artifact.Source) (*registry.Repository, *artifact.Packed) {
	tb.Helper()
	packed, err := artifact.Pack(tb.Context(), src, into, artifact.PackOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	r := registry.NewRepository(into)
	if err := r.Tag(tb.Context(), packed.Index, artifact.LatestTag); err != nil {
		tb.Fatal(err)
	}
	return r, packed
}
