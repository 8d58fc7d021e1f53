package disk

import (
	"time"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// PlannerName and PlannerVersion name how Layout lays a disk out.
	PlannerName = "esxi-img"
	// PlannerVersion is the same for as long as the same files, in the same
	// order, with the same layout, give the same bytes.
	PlannerVersion = 1

	// PartitionName is the name of the one partition of an image: it tells a
	// disk of ours from a foreign one.
	PartitionName = "esxi-img installer"

	// dirHeadroom is how many spare 32-byte entries each directory has, so that
	// a file more does not move the payload.
	dirHeadroom = 64
)

// Layout is all that a disk is made from besides its files: an EFI system
// partition with a FAT32 volume, and perhaps a config drive behind it.
type Layout struct {
	SectorSize    int // 512 (also if it is 0) or 4096
	DiskGUID      uuid.UUID
	PartitionGUID uuid.UUID
	PartitionName string
	// Drive is a second partition, nil without one.
	Drive *Drive
	// DiskSize is what the partition table is for, in bytes, 0 for the least
	// that holds the partitions. MediumSize is more than that where the disk was
	// made larger afterwards: behind the table's backup there are zeros. Of
	// either what the partitions need is the least.
	DiskSize, MediumSize int64

	// Of the volume.
	Label       string
	VolumeID    uint32
	Time        time.Time // of every file
	ClusterSize int       // in bytes, 0 for what suits its size
	// VolumeSize in bytes, 0 for the smallest that holds the files and leaves
	// Headroom bytes free.
	VolumeSize int64
	Headroom   int64
}

// Plan lays out a disk. The layout that it returns is the given one with what
// it left open: a plan of the same files with it gives the same disk. The
// geometry's offsets are from the start of the volume.
func (l Layout) Plan(files []plan.File, dirs []string) (*plan.Plan, Layout, fat32.Geometry, error) {
	if l.SectorSize == 0 {
		l.SectorSize = 512
	}
	volume, err := fat32.New(files, dirs, fat32.Options{
		SectorSize:    l.SectorSize,
		HiddenSectors: uint32(PartitionStart / l.SectorSize), //nolint:gosec // at most 2048
		Label:         l.Label,
		VolumeID:      l.VolumeID,
		Time:          l.Time,
		ClusterSize:   l.ClusterSize,
		Size:          l.VolumeSize,
		Headroom:      l.Headroom,
		DirHeadroom:   dirHeadroom,
		RoundTo:       PartitionStart, // so that the partition ends as aligned as it begins
	})
	if err != nil {
		return nil, l, fat32.Geometry{}, err
	}
	l.VolumeSize, l.Headroom, l.ClusterSize = volume.Plan.Size, 0, volume.ClusterSize
	p, err := New(volume.Plan, Options{
		DiskGUID: l.DiskGUID, PartitionGUID: l.PartitionGUID, PartitionName: l.PartitionName, Drive: l.Drive,
		DiskSize: l.DiskSize, MediumSize: l.MediumSize,
	})
	return p, l, volume.Geometry, err
}

// Least is what a disk of that layout needs, in bytes. VolumeSize has to be
// known.
func (l Layout) Least() int64 { return sizeFor(l.VolumeSize, l.Drive, l.SectorSize) }
