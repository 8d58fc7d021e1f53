package page

import (
	"cmp"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// barWidth is the bar's own unit: the browser scales it.
const barWidth = 1000

// segment is a part of a bar.
type segment struct {
	Class string // of the style sheet
	Name  string
	Size  string
	Share string // of the whole, in percent
	X, W  string // in units of barWidth

	bytes int64
}

// diskBar says what the disk consists of. What is empty need not be fetched.
func diskBar(c *artifact.Config) []segment {
	var files int64
	sums := map[plan.Role]int64{}
	for i := range c.Files {
		f := &c.Files[i]
		sums[f.Role] += f.Size
		files += f.Size
	}
	var zero int64
	for i := range c.Extents {
		if e := &c.Extents[i]; e.Zero() {
			zero += e.Length
		}
	}
	others := files - sums[plan.RolePayload]
	return scaled([]segment{
		{Class: "p", Name: "ESXi’s installer files", bytes: sums[plan.RolePayload]},
		{Class: "m", Name: "Modules, kickstart, boot.cfg", bytes: others},
		// Files end within a cluster, so that this is not exact where zeros follow.
		{Class: "t", Name: "Partition tables and file system", bytes: max(0, c.Disk.Size-zero-files)},
		{Class: "e", Name: "Empty", bytes: zero},
	}, c.Disk.Size)
}

// scaled gives each segment its place. One that is not empty can be seen.
func scaled(list []segment, total int64) []segment {
	const least = 4.0
	x := 0.0
	for i := range list {
		s := &list[i]
		s.Size = quantity.Bytes(s.bytes)
		share := float64(s.bytes) / float64(max(total, 1))
		s.Share = percent(share)
		w := share * barWidth
		if s.bytes > 0 {
			w = max(w, least)
		}
		w = max(0, min(w, barWidth-x))
		s.X, s.W = fmt.Sprintf("%.1f", x), fmt.Sprintf("%.1f", w)
		x += w
	}
	return list
}

func percent(share float64) string {
	switch {
	case share == 0:
		return "0 %"
	case share < 0.001:
		return "< 0.1 %"
	case share < 0.1:
		return fmt.Sprintf("%.1f %%", 100*share)
	default:
		return fmt.Sprintf("%.0f %%", 100*share)
	}
}

// blob is a manifest or a layer of an image.
type blob struct {
	Name, Digest, Type, Size string
	W                        string // in units of barWidth, of the largest one
}

// blobs are what an image consists of.
func blobs(img *artifact.Image) []blob {
	type part struct {
		name string
		d    ocispec.Descriptor
	}
	var parts []part
	entries := img.Entries
	if img.Index == nil {
		entries = []ocispec.Descriptor{img.Manifest}
	}
	for _, e := range entries {
		parts = append(parts, part{strings.TrimSpace("Manifest " + e.Annotations[artifact.AnnotationDiskType]), e})
	}
	parts = append(parts, part{"Config", img.ConfigBlob}, part{"Disk", img.Disk}, part{"Installer module", img.Module}, part{"Kickstart", img.Kickstart})
	largest := int64(1)
	for _, p := range parts {
		largest = max(largest, p.d.Size)
	}
	out := make([]blob, 0, len(parts))
	for _, p := range parts {
		w := max(4, barWidth*float64(p.d.Size)/float64(largest))
		out = append(out, blob{
			clean(p.name), clean(string(p.d.Digest)), clean(cmp.Or(p.d.ArtifactType, p.d.MediaType)), quantity.Bytes(p.d.Size), fmt.Sprintf("%.1f", w),
		})
	}
	return out
}
