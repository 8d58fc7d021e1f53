package artifact_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestReadFile(t *testing.T) {
	from, p, _ := signed(t)
	v, err := artifact.PushVariant(t.Context(), from, p.Index, []byte("reboot\n"), from, unverified("lab"))
	if err != nil {
		t.Fatal(err)
	}
	disk := blobOf(t, from, p.Disk)
	for _, tag := range []string{"latest", "lab"} {
		img := pushedImage(t, from, tag)
		n := 0
		for i := range img.Config.Files {
			f := &img.Config.Files[i]
			if f.Role == plan.RoleKickstart {
				continue
			}
			n++
			b, err := img.ReadFile(t.Context(), from, f)
			switch {
			case f.Size > 1<<20:
				var format *artifact.FormatError
				if !errors.As(err, &format) {
					t.Errorf("%s of %d bytes: %v", f.Path, f.Size, err)
				}
			case err != nil || !bytes.Equal(b, disk[f.Offset:f.Offset+f.Size]):
				t.Errorf("%s: %d bytes, %v", f.Path, len(b), err)
			}
		}
		if n < 3 {
			t.Errorf("%s: %d files", tag, n)
		}
		counts, err := img.CountReferrers(t.Context(), from)
		want := []artifact.ReferrerCount{{ArtifactType: sbomType, Count: 1}, {ArtifactType: signatureType, Count: 3}}
		if tag == "lab" {
			want = []artifact.ReferrerCount{}
		}
		if err != nil || !slices.Equal(counts, want) {
			t.Errorf("%s: %+v, %v", tag, counts, err)
		}
	}
	if v.Index == p.Index.Digest {
		t.Error("the variant is its base")
	}
}

// What a variant gives itself is read instead of its base's bytes.
func TestReadFileOfAVariant(t *testing.T) {
	from := registry.NewRepository(newLayout(t))
	text := "timeout=5\n" + strings.Repeat("\x00", 10) + "kernel=b.b00\n"
	layer := strings.Repeat("x", 100) + "timeout=9\n" + strings.Repeat("y", 10) + "kernel=b.b00\n" + strings.Repeat("z", 100)
	img := &artifact.Image{
		Disk: put(t, from, artifact.MediaTypeRaw, []byte(layer)),
		Config: &artifact.Config{Extents: []artifact.Extent{
			{Offset: 0, Length: 104, SHA256: []artifact.SHA256{{}}},
			{Offset: 104, Length: 6, SHA256: []artifact.SHA256{{}}, From: artifact.FromGiven, Data: []byte("out=5\n")},
			{Offset: 110, Length: 10},
			{Offset: 120, Length: 113, SHA256: []artifact.SHA256{{}}},
		}},
	}
	f := &artifact.File{Path: "BOOT.CFG", Offset: 100, Size: int64(len(text)), SHA256: sum([]byte(text))}
	if b, err := img.ReadFile(t.Context(), from, f); err != nil || string(b) != text {
		t.Errorf("%q, %v", b, err)
	}
	f.SHA256[0] ^= 1
	if b, err := img.ReadFile(t.Context(), from, f); err == nil {
		t.Errorf("%q has another digest", b)
	}
}
