package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// DriveName is the name of the partition that is a config drive: the label
	// by which OpenStack's tools look for one.
	DriveName = "config-2"
	// DriveUnit is what the size of a drive is a multiple of, in bytes, so that
	// the disk stays aligned.
	DriveUnit = 1 << 20
	// MaxDriveSize is the largest partition for a config drive, in bytes:
	// OpenStack's own limit, and what its Ironic makes of it.
	MaxDriveSize = 64 << 20
)

// Drive is a partition for a config drive, right behind the volume.
type Drive struct {
	Size int64 // in bytes, a multiple of DriveUnit
	// GUID of the partition; if it is nil it follows from the disk's.
	GUID uuid.UUID
	// Extents are what it holds, from its start: literals and zeros. What they
	// leave is zeros.
	Extents []plan.Extent
}

func (d *Drive) size() int64 {
	if d == nil {
		return 0
	}
	return d.Size
}

// driveStart is where a drive begins behind a volume of that size.
func driveStart(volumeSize int64) int64 { return roundUp(PartitionStart+volumeSize, DriveUnit) }

func (d *Drive) check() error {
	if d == nil {
		return nil
	}
	if d.Size <= 0 || d.Size > MaxDriveSize || d.Size%DriveUnit != 0 {
		return fmt.Errorf("disk: a config drive's partition of %d bytes: is not a multiple of %d up to %d", d.Size, DriveUnit, MaxDriveSize)
	}
	var at int64
	for _, e := range d.Extents {
		if e.Offset != at || e.Length <= 0 || e.Kind == plan.Content || e.Kind == plan.Literal && int64(len(e.Data)) != e.Length {
			return errors.New("disk: a config drive is not made of literals and zeros, end to end")
		}
		at = e.End()
	}
	if at > d.Size {
		return fmt.Errorf("disk: a config drive of %d bytes on a partition of %d", at, d.Size)
	}
	return nil
}

// add puts the drive where it belongs on a disk.
func (d *Drive) add(b *plan.Builder, start int64) {
	if d == nil {
		return
	}
	b.Zero(start - b.Offset())
	for _, e := range d.Extents {
		if e.Kind == plan.Literal {
			b.Literal(e.Data)
		} else {
			b.Zero(e.Length)
		}
	}
	b.Zero(start + d.Size - b.Offset())
}

func (d *Drive) partition(start, sector int64, diskGUID uuid.UUID) *gpt.Partition {
	return &gpt.Partition{
		Index: 2, Start: sectors(start, sector), Size: sectors(d.Size, 1),
		Type: gpt.LinuxFilesystem, // what Ironic's sgdisk makes of one
		Name: DriveName,
		GUID: d.guid(diskGUID).String(),
	}
}

// guid is the partition's own, else one that no other disk's has.
func (d *Drive) guid(diskGUID uuid.UUID) uuid.UUID {
	if d.GUID != uuid.Nil {
		return d.GUID
	}
	return uuid.NewSHA1(diskGUID, []byte(DriveName))
}

// ConfigDrive returns the partition that is for a config drive, as New makes
// one: right behind the volume, with its name.
func (t *Table) ConfigDrive() (Partition, bool) {
	if len(t.Partitions) != 2 {
		return Partition{}, false
	}
	volume, drive := t.Partitions[0], t.Partitions[1]
	ok := volume.Offset == PartitionStart && drive.Offset == driveStart(volume.Size) &&
		drive.Name == DriveName && strings.EqualFold(drive.Type.String(), string(gpt.LinuxFilesystem)) &&
		drive.Size <= MaxDriveSize && drive.Size%DriveUnit == 0
	return drive, ok
}

// ReadDrive reads what a drive's partition holds, as it is. Only what is not
// zero is kept in memory.
func ReadDrive(r io.ReaderAt, t *Table, p Partition) (*Drive, error) {
	d := &Drive{Size: p.Size}
	if derived := d.guid(t.GUID); p.GUID != derived {
		d.GUID = p.GUID
	}
	const unit = 64 << 10
	buf, zero := make([]byte, unit), make([]byte, unit)
	var b plan.Builder
	for at := int64(0); at < p.Size; at += unit {
		if n, err := r.ReadAt(buf, p.Offset+at); n < unit {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, &plan.ReadError{Path: "the config drive", Err: err}
		}
		if bytes.Equal(buf, zero) {
			b.Zero(unit)
		} else {
			b.Literal(bytes.Clone(buf))
		}
	}
	whole, err := b.Build(t.SectorSize)
	if err != nil {
		return nil, err
	}
	d.Extents = whole.Extents
	return d, nil
}
