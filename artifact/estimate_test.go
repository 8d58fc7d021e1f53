package artifact_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/artifact/artifacttest"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// loadLatest reads the image that is tagged latest, and its kickstart.
func loadLatest(tb testing.TB, r *registry.Repository) (*artifact.Image, []byte) {
	tb.Helper()
	d, err := r.Resolve(tb.Context(), artifact.LatestTag)
	if err != nil {
		tb.Fatal(err)
	}
	img, err := artifact.Load(tb.Context(), r, d)
	if err != nil {
		tb.Fatal(err)
	}
	return img, blobOf(tb, r, img.Kickstart)
}

// packOf packs the image of a medium, and returns its disk's file too.
func packOf(tb testing.TB, p imager.Profile, medium []byte) (r *registry.Repository, disk string) {
	tb.Helper()
	r, packed := artifacttest.Pack(tb, newLayout(tb), sourceOf(tb, p, medium))
	disk, ok := r.LocalPath(packed.Disk)
	if !ok {
		tb.Fatal("the disk is not there")
	}
	return r, disk
}

// An estimate is what a pull then does: with the other image's disk or ISO as a
// seed, and over the other image in its place.
func TestEstimate(t *testing.T) {
	profile := imager.Profile{Headroom: 3 << 20}
	from, fromDisk := packOf(t, profile, large())
	img, text := loadLatest(t, from)
	content := contentOf(img.Config)

	same, sameDisk := packOf(t, profile, large())
	next, nextDisk := packOf(t, profile, largeWith(9))
	moved, movedDisk := packOf(t, imager.Profile{KernelOpts: []string{"x=1"}, Modules: []imager.Module{{Name: "AAA.TGZ", Data: helperModule(t)}}}, large())
	// A file before the others, so that all that follows lies elsewhere.
	shifted, shiftedDisk := packOf(t, profile, largeWith(2, esxitest.Add("AAA.BIN", make([]byte, 1<<20))))
	wide := profile
	wide.SectorSize = 4096
	sectors, sectorsDisk := packOf(t, wide, large())

	for name, c := range map[string]struct {
		image *registry.Repository
		seed  string
		least int64 // that has to be fetched
		most  int64
		// place says whether the disk can be replaced in its place, and the others
		// how much has to be fetched then.
		place                   bool
		placedLeast, placedMost int64
	}{
		"the same":       {same, sameDisk, 0, 0, true, 0, 0},
		"other firmware": {next, nextDisk, firmwareSize - artifact.PieceSize, firmwareSize + 256<<10, true, 1, firmwareSize + 256<<10},
		"another module": {moved, movedDisk, 1, content / 50, true, 1, content / 50},
		"shifted":        {shifted, shiftedDisk, 0, content / 50, true, 2 * firmwareSize, content * 102 / 100},
		"4096":           {sectors, sectorsDisk, 0, content / 50, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			other, _ := loadLatest(t, c.image)
			byImage, err := img.Estimate(t.Context(), text, artifact.AtHand{Image: other})
			if err != nil {
				t.Fatal(err)
			}
			byFile, err := img.Estimate(t.Context(), text, artifact.AtHand{File: c.seed})
			if err != nil {
				t.Fatal(err)
			}
			opts := skip
			opts.Seeds = []string{c.seed}
			pulled := pullTo(t, from, filepath.Join(t.TempDir(), "esxi.img"), opts)
			for what, e := range map[string]*artifact.Estimate{"image": byImage, "file": byFile} {
				if e.Fetched != pulled.Fetched || e.Reused != pulled.Reused || e.Generated != pulled.Generated {
					t.Errorf("by the %s: %+v, but pull fetched %d, reused %d, generated %d", what, *e, pulled.Fetched, pulled.Reused, pulled.Generated)
				}
				if e.Fetched < c.least || e.Fetched > c.most {
					t.Errorf("by the %s: %d bytes, want %d to %d", what, e.Fetched, c.least, c.most)
				}
				if (e.InPlace != nil) != c.place {
					t.Fatalf("by the %s: in place: %v", what, e.InPlace)
				}
				if c.place && (*e.InPlace > c.placedMost || *e.InPlace < max(c.placedLeast, e.Fetched)) {
					t.Errorf("by the %s: in place %d bytes, want %d to %d", what, *e.InPlace, max(c.placedLeast, e.Fetched), c.placedMost)
				}
			}
			if c.place && *byImage.InPlace != *byFile.InPlace {
				t.Errorf("in place: by the image %d, by the file %d", *byImage.InPlace, *byFile.InPlace)
			}
		})
	}

	// An ISO is a seed and no disk.
	e, err := img.Estimate(t.Context(), text, artifact.AtHand{File: writeFile(t, "esxi.iso", large())})
	if err != nil {
		t.Fatal(err)
	}
	if e.Fetched > content/50 || e.InPlace != nil {
		t.Errorf("by the ISO: %+v", *e)
	}
	var seed *artifact.SeedError
	if _, err := img.Estimate(t.Context(), text, artifact.AtHand{File: "no-such-file"}); !errors.As(err, &seed) {
		t.Errorf("no file: %v", err)
	}
	var format *artifact.FormatError
	if _, err := img.Estimate(t.Context(), []byte("reboot\n"), artifact.AtHand{File: fromDisk}); !errors.As(err, &format) {
		t.Errorf("another kickstart: %v", err)
	}
}

// Of a file whose first pieces differ a pull reads no more, so that what is the
// same further on is fetched too.
func TestEstimateGivesUpAsPullDoes(t *testing.T) {
	text := func(first byte) []byte {
		b := make([]byte, 2*artifact.PieceSize, 3*artifact.PieceSize)
		_, _ = rand.NewChaCha8([32]byte{first}).Read(b) // never fails
		return append(b, bytes.Repeat([]byte("same"), artifact.PieceSize/4)...)
	}
	from, _ := packOf(t, imager.Profile{}, esxitest.Bytes(esxitest.Add("FIRMWARE.BIN", text(1))))
	other, _ := packOf(t, imager.Profile{}, esxitest.Bytes(esxitest.Add("FIRMWARE.BIN", text(2))))
	img, kickstart := loadLatest(t, from)
	have, _ := loadLatest(t, other)
	e, err := img.Estimate(t.Context(), kickstart, artifact.AtHand{Image: have})
	if err != nil {
		t.Fatal(err)
	}
	if e.Fetched < 3*artifact.PieceSize || *e.InPlace >= 3*artifact.PieceSize {
		t.Errorf("%+v, in place %d", *e, *e.InPlace)
	}
}
