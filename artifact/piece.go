package artifact

import (
	"fmt"
	"io"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Piece is what is fetched, checked and written at once.
type Piece struct {
	Offset int64 // on the disk, in bytes
	Length int64 // at most PieceSize
	SHA256 SHA256
	From   Origin
	// Extent is the index of the extent that the piece belongs to, File that of
	// the file whose bytes it is, -1 where it is metadata.
	Extent, File int
}

// Pieces lists all pieces of the disk in order. What lies in none is zeros.
func (c *Config) Pieces() []Piece {
	var out []Piece
	file := -1 // the last that begins at or before the piece
	next := 0
	for i := range c.Extents {
		e := &c.Extents[i]
		for n, sum := range e.SHA256 {
			p := Piece{Offset: e.Offset + int64(n)*PieceSize, SHA256: sum, From: e.From, Extent: i, File: -1}
			p.Length = min(PieceSize, e.End()-p.Offset)
			for ; next < len(c.Files) && (c.Files[next].Size == 0 || c.Files[next].Offset <= p.Offset); next++ {
				if c.Files[next].Size > 0 {
					file = next
				}
			}
			if file >= 0 && p.Offset+p.Length <= c.Files[file].Offset+c.Files[file].Size {
				p.File = file
			}
			out = append(out, p)
		}
	}
	return out
}

// OwnBytes returns the bytes of an extent that does not come from the disk
// layer: those that the config gives, or a part of the tar of a kickstart that
// CheckKickstart accepted.
func (c *Config) OwnBytes(e *Extent, kickstart []byte) ([]byte, error) {
	switch e.From {
	case FromGiven:
		return e.Data, nil
	case FromKickstart:
		f := c.KickstartFile()
		tar, err := c.kickstartTar(kickstart)
		if err != nil {
			return nil, err
		}
		if f == nil || e.Offset < f.Offset || e.End()-f.Offset > int64(len(tar)) {
			return nil, malformed("config: extents", "the one at %d does not lie in the kickstart", e.Offset)
		}
		return tar[e.Offset-f.Offset : e.End()-f.Offset], nil
	default:
		return nil, fmt.Errorf("artifact: the extent at %d comes from the disk layer", e.Offset)
	}
}

// Layout is what the disk was laid out by, besides its files.
func (c *Config) Layout() disk.Layout {
	d := &c.Disk
	return disk.Layout{
		SectorSize: d.SectorSize, DiskGUID: d.GUID, PartitionGUID: d.PartitionGUID, PartitionName: d.PartitionName,
		Label: d.Label, VolumeID: d.VolumeID, Time: d.Time, ClusterSize: d.ClusterSize, VolumeSize: d.PartitionSize,
	}
}

// KnownPlanner says whether Layout's Plan makes this disk from its files.
func (c *Config) KnownPlanner() bool {
	return c.Planner == Planner{disk.PlannerName, disk.PlannerVersion}
}

// PlanFiles lists the files for a planner, with their digests as what they are
// expected to have and the content that each has: nil for one that is empty.
func (c *Config) PlanFiles(content func(f *File) io.ReaderAt) []plan.File {
	out := make([]plan.File, len(c.Files))
	for i := range c.Files {
		f := &c.Files[i]
		out[i] = plan.File{Path: f.Path, Size: f.Size, Role: f.Role, Expect: []plan.Digest{plan.Digest(f.SHA256)}}
		if f.Size > 0 {
			out[i].Content = content(f)
		}
	}
	return out
}

// BlobPlan is the disk as it lies in a blob: what is zero, and what is read
// from there, each extent a file of the plan. It serves to write the disk
// somewhere else.
func (c *Config) BlobPlan(blob io.ReaderAt) (*plan.Plan, error) {
	p := &plan.Plan{Size: c.Disk.Size, SectorSize: c.Disk.SectorSize}
	for i := range c.Extents {
		e := &c.Extents[i]
		x := plan.Extent{Offset: e.Offset, Length: e.Length}
		if !e.Zero() {
			x.Kind, x.File = plan.Content, len(p.Files)
			p.Files = append(p.Files, plan.File{Path: "disk", Size: e.Length, Offset: e.Offset, Content: io.NewSectionReader(blob, e.Offset, e.Length)})
		}
		p.Extents = append(p.Extents, x)
	}
	return p, p.Validate()
}
