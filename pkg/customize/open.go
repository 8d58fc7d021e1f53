package customize

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/pkg/blockdev"
	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// bootCfgs are both copies of BOOT.CFG, the one of UEFI's way last.
var bootCfgs = [...]string{"BOOT.CFG", "EFI/BOOT/BOOT.CFG"}

const (
	adviceOurs    = "give a disk image that esxi-img made"
	adviceDamaged = "the image is damaged: build or pull it again"
)

// Image is an image of ours that was opened.
type Image struct {
	// Layout, Files and Dirs give the same image when they are planned.
	Layout disk.Layout
	Files  []plan.File // Offset is on the disk
	Dirs   []string
	// Size of the disk, in bytes; End is where the one ends that the partition
	// table was made for. What lies behind that is room which was added later.
	Size, End int64
	// Record tells how it was customised, nil if it was not.
	Record   *Record
	Warnings []imager.Warning

	cfgs       []*bootcfg.Config // in the order of bootCfgs
	entries    []tardisk.Entry   // of the kickstart's module
	settings   imager.HostSettings
	drive      *imageDrive
	fragmented bool // some file is not one run of clusters
	onDevice   bool
}

// Open reads an image of ours of the given size, in bytes. What it can't be is
// an *imager.InputError, which wraps ErrNotOurs where another tool made it.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	img, err := open(r, size)
	if err != nil {
		return nil, err
	}
	return img, img.keepRoom()
}

func open(r io.ReaderAt, size int64) (*Image, error) {
	img := &Image{Size: size}
	// 1. The partition table, the backup where the first one is damaged.
	partition, err := img.readTable(r)
	if err != nil {
		return nil, err
	}
	// 2. The volume.
	volume, err := fat32.Open(io.NewSectionReader(r, partition.Offset, partition.Size), partition.Size)
	if err != nil {
		return nil, &imager.InputError{Input: "the volume", Err: err, Advice: adviceDamaged}
	}
	img.readVolume(volume, partition)
	// 3. What customising edits.
	if err := img.readBootCfgs(); err != nil {
		return nil, err
	}
	return img, img.readKickstart()
}

func (i *Image) readTable(r io.ReaderAt) (disk.Partition, error) {
	table, err := disk.ReadTable(r, i.Size)
	if err != nil {
		return disk.Partition{}, foreign(r, i.Size, err)
	}
	i.End = table.End
	if table.FromBackup {
		i.Warnings = append(i.Warnings, imager.Warning{
			Input: "GPT", Message: "the primary table is damaged: the backup at the end of the disk is used", Advice: "what is written has both",
		})
	}
	for _, p := range table.Partitions {
		if !p.EFISystem() || p.Name != disk.PartitionName || p.Offset != disk.PartitionStart {
			continue
		}
		i.Layout = disk.Layout{SectorSize: table.SectorSize, DiskGUID: table.GUID, PartitionGUID: p.GUID, PartitionName: p.Name, VolumeSize: p.Size}
		return p, i.readDrive(r, table)
	}
	return disk.Partition{}, foreign(r, i.Size, errors.New("no partition is named \""+disk.PartitionName+"\""))
}

// foreign says what a disk is that is not ours.
func foreign(r io.ReaderAt, size int64, why error) error {
	if f := disk.FormatOf(r); f != disk.Raw {
		return &imager.InputError{
			Err: fmt.Errorf("%w: it is a %s file, and only raw and qcow2 images are read", ErrNotOurs, f), Advice: "make it raw first: qemu-img convert -O raw IN OUT",
		}
	}
	// ECMA-119 §8.1.2: the standard identifier of the first descriptor.
	var iso [5]byte
	if _, err := r.ReadAt(iso[:], 16*2048+1); err == nil && string(iso[:]) == "CD001" {
		return &imager.InputError{Err: fmt.Errorf("%w: it is an ISO", ErrNotOurs), Advice: "build the image first: esxi-img build --output FILE ISO"}
	}
	content, err := blockdev.Probe(r, size, 0)
	if err != nil {
		return err
	}
	if content.Kind == blockdev.OurImage {
		// Ours by its looks, and broken.
		return &imager.InputError{Err: why, Advice: adviceDamaged}
	}
	if content.Description == "" {
		return &imager.InputError{Err: fmt.Errorf("%w: %w", ErrNotOurs, why), Advice: adviceOurs}
	}
	return &imager.InputError{Err: fmt.Errorf("%w: %s", ErrNotOurs, content.Description), Advice: adviceOurs}
}

// keepRoom makes the layout that of a disk which was made larger than it has to
// be: who did so wants the room.
func (i *Image) keepRoom() error {
	least := i.Layout.Least()
	if i.End > least {
		i.Layout.DiskSize = i.End
	}
	if whole := i.Size - i.Size%int64(i.Layout.SectorSize); whole > max(i.End, least) {
		i.Layout.MediumSize = whole
	}
	if size := max(i.Layout.DiskSize, i.Layout.MediumSize); size > plan.MaxSize {
		return &imager.InputError{
			Err: fmt.Errorf("has a disk of %d bytes, at most %d are taken", size, int64(plan.MaxSize)), Advice: "customize the image before its disk is made larger",
		}
	}
	return nil
}

// readVolume notes what plans the same volume again.
func (i *Image) readVolume(volume *fat32.FS, p disk.Partition) {
	g := volume.Geometry()
	i.Layout.Label, i.Layout.VolumeID, i.Layout.ClusterSize = volume.Label(), volume.VolumeID(), g.ClusterSize
	i.Files, i.Dirs = volume.Files(), volume.Dirs()
	for n := range i.Files {
		f := &i.Files[n]
		f.Role = plan.RolePayload
		if f.Size > 0 {
			f.Offset += p.Offset
		}
		entry := entryOf(volume, f.Path)
		i.fragmented = i.fragmented || entry.Fragments > 1
		if i.Layout.Time.IsZero() && strings.EqualFold(f.Path, imager.KickstartFile) {
			i.Layout.Time = stamp(entry)
		}
	}
	for n := range i.Files {
		f := &i.Files[n]
		switch {
		case strings.EqualFold(f.Path, bootCfgs[0]) || strings.EqualFold(f.Path, bootCfgs[1]):
			f.Role = plan.RoleBootCfg
		case strings.EqualFold(f.Path, imager.KickstartFile):
			f.Role = plan.RoleKickstart
		case n > i.lastBootCfg():
			f.Role = plan.RoleModule
		}
	}
}

// lastBootCfg returns where the payload ends: the imager puts what it adds
// behind both copies.
func (i *Image) lastBootCfg() int {
	last := len(i.Files)
	for n, f := range i.Files {
		if strings.EqualFold(f.Path, bootCfgs[0]) || strings.EqualFold(f.Path, bootCfgs[1]) {
			last = n
		}
	}
	return last
}

func entryOf(volume *fat32.FS, name string) fat32.Entry {
	info, err := fs.Stat(volume, name)
	if err != nil {
		return fat32.Entry{}
	}
	entry, _ := info.Sys().(fat32.Entry)
	return entry
}

// stamp is when a file was made: to the second, where the time of its last
// change has two of them.
func stamp(e fat32.Entry) time.Time {
	if e.Created.IsZero() {
		return e.Modified
	}
	return e.Created
}

// find returns the index of a file, in any case of letters; -1 without one.
func (i *Image) find(name string) int {
	for n, f := range i.Files {
		if strings.EqualFold(f.Path, name) {
			return n
		}
	}
	return -1
}

// read reads a whole file of at most limit bytes.
func (i *Image) read(name string, limit int64) ([]byte, error) {
	n := i.find(name)
	if n < 0 {
		return nil, &imager.InputError{Input: name, Err: fmt.Errorf("is not there: this %w", ErrNotOurs), Advice: adviceOurs}
	}
	f := &i.Files[n]
	if f.Size > limit {
		return nil, &imager.InputError{Input: f.Path, Err: fmt.Errorf("has %d bytes, more than %d", f.Size, limit), Advice: adviceDamaged}
	}
	data := make([]byte, f.Size)
	if f.Size == 0 {
		return data, nil
	}
	return data, f.ReadContent(data, 0)
}

func (i *Image) readBootCfgs() error {
	for _, name := range bootCfgs {
		raw, err := i.read(name, 1<<20)
		if err != nil {
			return err
		}
		cfg, err := bootcfg.Parse(raw)
		if err != nil {
			return &imager.InputError{Input: name, Err: err, Advice: adviceDamaged}
		}
		i.cfgs = append(i.cfgs, cfg)
	}
	return nil
}

// readKickstart reads the module with the kickstart and all that lies beside it.
func (i *Image) readKickstart() error {
	if i.find(imager.KickstartFile) < 0 && i.find(imager.ModuleFile) >= 0 {
		return &imager.InputError{
			Input: imager.ModuleFile, Err: errors.New("carries the kickstart itself: such an image has nothing to customise"), Advice: "build it without an installer helper of your own",
		}
	}
	raw, err := i.read(imager.KickstartFile, tardisk.MaxArchive)
	if err != nil {
		return err
	}
	damaged := func(err error) error {
		return &imager.InputError{Input: imager.KickstartFile, Err: err, Advice: adviceDamaged}
	}
	if i.entries, err = tardisk.Read(bytes.NewReader(raw)); err != nil {
		return damaged(err)
	}
	if i.entry(imager.KickstartPath) == nil {
		return damaged(fmt.Errorf("has no %s", imager.KickstartPath))
	}
	settings := i.entry(imager.SettingsPath)
	if settings == nil {
		return damaged(fmt.Errorf("has no %s", imager.SettingsPath))
	}
	if i.settings, err = imager.ParseHostSettings(settings); err != nil {
		return damaged(err)
	}
	if record := i.entry(imager.RecordPath); record != nil {
		if i.Record, err = ParseRecord(record); err != nil {
			return damaged(err)
		}
	}
	return nil
}

// entry is a file of the kickstart's module, nil if it is not there.
func (i *Image) entry(name string) []byte {
	for _, e := range i.entries {
		if e.Path == name {
			return append([]byte{}, e.Data...)
		}
	}
	return nil
}

// metadata are the files that the image carries for its host, by their path
// below imager.MetadataFolder.
func (i *Image) metadata() map[string][]byte {
	out := map[string][]byte{}
	for _, e := range i.entries {
		if name, ok := strings.CutPrefix(e.Path, imager.MetadataFolder+"/"); ok {
			out[path.Clean(name)] = e.Data
		}
	}
	return out
}
