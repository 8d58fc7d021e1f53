package customize

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// noCloudLabel is the label of a volume with NoCloud's files.
const noCloudLabel = "cidata"

// imageDrive is the partition with a config drive that an image has.
type imageDrive struct {
	disk  *disk.Drive // as it is
	label string
	// files are its metadata; err says why they can't be read.
	files map[string][]byte
	err   error
}

// readDrive reads what lies behind the volume: nothing, or a config drive.
func (i *Image) readDrive(r io.ReaderAt, table *disk.Table) error {
	if len(table.Partitions) == 1 {
		return nil
	}
	p, ok := table.ConfigDrive()
	if !ok {
		return &imager.InputError{
			Err: fmt.Errorf("has %d partitions besides ours, which would be lost", len(table.Partitions)-1), Advice: "use the image as it was built or pulled",
		}
	}
	volume, err := iso.Open(io.NewSectionReader(r, p.Offset, p.Size), p.Size)
	if err != nil || !strings.EqualFold(volume.VolumeID(), disk.DriveName) && !strings.EqualFold(volume.VolumeID(), noCloudLabel) {
		return &imager.InputError{
			Input: "partition 2", Err: errors.New("holds something else than a config drive of ISO 9660, which would be lost"), Advice: "use the image as it was built or pulled",
		}
	}
	d := &imageDrive{label: volume.VolumeID()}
	if d.disk, err = disk.ReadDrive(r, table, p); err != nil {
		return err
	}
	if len(volume.Files()) > 0 {
		var drive *Drive
		if drive, d.err = ReadDrive("partition 2", volume); d.err == nil {
			d.files = drive.Files
		}
	}
	i.drive, i.Layout.Drive = d, d.disk
	return nil
}

// DriveFiles are the metadata on the image's partition for a config drive, by
// path; none without such a partition. What can't be used is an
// *imager.InputError.
func (i *Image) DriveFiles() (map[string][]byte, error) {
	if i.drive == nil {
		return nil, nil
	}
	return i.drive.files, i.drive.err
}

// carry puts the metadata where it is to be.
func (e *editor) carry() error {
	c, was := &e.changes, e.image.drive
	e.metadata = e.image.metadata()
	if was != nil {
		e.drive = was.disk
	}
	if c.Drive == nil && len(c.Files) == 0 && c.Hostname == "" && len(c.SSHKeys) == 0 && c.DriveAs == "" {
		return nil
	}
	have := e.metadata
	if was != nil && (was.files != nil || was.err != nil) {
		if was.err != nil && c.Drive == nil {
			return was.err
		}
		have = was.files // what a host would take
	}
	files, err := c.planMetadata(have)
	if err != nil {
		return err
	}
	if e.carriage() == AsPartition {
		e.metadata = nil
		return e.carryOnDrive(files)
	}
	e.metadata = files
	if was != nil && c.DriveAs == AsModule {
		e.drive, e.onDrive = nil, map[string][]byte{}
		e.edit("config drive partition", "removed")
	}
	return nil
}

// carriage is how the metadata is carried.
func (e *editor) carriage() Carriage {
	switch was := e.image.drive; {
	case e.changes.DriveAs != "":
		return e.changes.DriveAs
	case was != nil && (was.files != nil || was.err != nil):
		return AsPartition
	default:
		return AsModule
	}
}

func (e *editor) carryOnDrive(files map[string][]byte) error {
	volume, err := driveVolume(files, e.image.Layout.Time)
	if err != nil {
		return &imager.InputError{Input: "config drive", Err: err}
	}
	d := &disk.Drive{Size: disk.MaxDriveSize, Extents: volume}
	if was := e.image.drive; was != nil {
		d.Size, d.GUID = was.disk.Size, was.disk.GUID
	}
	if e.changes.DriveSize != 0 {
		d.Size = e.changes.DriveSize
	}
	if need := volume[len(volume)-1].End(); need > d.Size {
		return &imager.InputError{
			Input: "config drive", Err: fmt.Errorf("needs %d bytes, its partition has %d", need, d.Size),
			Advice: fmt.Sprintf("give --config-drive-size %dM or more, at most %dM", (need+disk.DriveUnit-1)/disk.DriveUnit, int64(disk.MaxDriveSize/disk.DriveUnit)),
		}
	}
	e.drive, e.onDrive = d, files
	if e.changes.DriveAs != "" {
		e.edit("config drive partition", fmt.Sprintf("%d MiB", d.Size/disk.DriveUnit))
	}
	return nil
}

// driveVolume is an ISO 9660 volume with the files, as extents from its start:
// with Rock Ridge names, labelled as those look for it who read such files.
func driveVolume(files map[string][]byte, made time.Time) ([]plan.Extent, error) {
	label := disk.DriveName
	var list []plan.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, plan.File{Path: name, Size: int64(len(files[name])), Content: bytes.NewReader(files[name])})
		if slices.Contains(noCloudFiles, name) {
			label = noCloudLabel
		}
	}
	volume, err := iso.Master(list, nil, iso.MasterOptions{VolumeID: label, Time: made, RockRidge: true})
	if err != nil {
		return nil, err
	}
	// Of a disk's plan the files are those of its first volume.
	names := slices.Sorted(maps.Keys(files))
	for n := range volume.Extents {
		if e := &volume.Extents[n]; e.Kind == plan.Content {
			e.Kind, e.Data = plan.Literal, files[names[e.File]][e.FileOffset:][:e.Length]
		}
	}
	return volume.Extents, nil
}

// driveChanges compares what the partition has.
func (e *editor) driveChanges() []FileChange {
	if e.onDrive == nil {
		return nil
	}
	var before map[string][]byte
	if e.image.drive != nil {
		before = e.image.drive.files
	}
	return compareEntries(disk.DriveName, asEntries(before), asEntries(e.onDrive))
}

func asEntries(files map[string][]byte) []tardisk.Entry {
	var out []tardisk.Entry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, tardisk.Entry{Path: name, Data: files[name]})
	}
	return out
}
