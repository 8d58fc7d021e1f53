package imager

import (
	"io"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/iso"
)

// DriveReport is what is known of a partition with a config drive.
type DriveReport struct {
	GUID   uuid.UUID
	Offset int64 // on the disk, in bytes
	Size   int64 // in bytes
	// Label of its volume, "" if it can't be read; Files are the files on it.
	Label string
	Files []string
}

// addDrive looks at the partition behind the volume, if it is a config drive's.
func (d *DiskReport) addDrive(r io.ReaderAt, size int64) error {
	table, err := disk.ReadTable(r, size)
	if err != nil {
		return &InputError{Err: err}
	}
	p, ok := table.ConfigDrive()
	if !ok {
		return nil
	}
	d.Drive = &DriveReport{GUID: p.GUID, Offset: p.Offset, Size: p.Size}
	volume, err := iso.Open(io.NewSectionReader(r, p.Offset, p.Size), p.Size)
	if err != nil {
		return nil // what it holds is somebody else's matter
	}
	d.Drive.Label = volume.VolumeID()
	for _, f := range volume.Files() {
		d.Drive.Files = append(d.Drive.Files, f.Path)
	}
	return nil
}
