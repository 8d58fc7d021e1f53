package imager

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
	"github.com/esxi-img/esxi-img/pkg/vib"
)

// Report is what an installer ISO or a disk image turns out to be.
type Report struct {
	Disk    *DiskReport // nil for an ISO
	ISO     *ISOReport  // nil for a disk image
	Size    int64
	Release iso.Release
	VIBs    *vib.Database // nil if there is none to read
	Files   []FileReport  // in the order in which they lie there
	BootCfg []BootReport
	// Modules are those that the boot loader loads and no VIB owns: ours and
	// the user's. Kickstart is the text that the kernel options name, nil if
	// it is not on the volume.
	Modules   []ModuleReport
	Kickstart []byte
	// Host is what the image tells its hosts, nil if it tells nothing. A hash
	// of the root password is among it.
	Host *HostSettings
	// Record tells how the image was customised: RecordPath's data, nil if it
	// was not.
	Record   []byte
	Warnings []Warning
}

// ISOReport is what is known of an ISO alone.
type ISOReport struct {
	VolumeID   string
	NameSource iso.NameSource
	BootImages []iso.BootImage
}

// DiskReport is what is known of a disk alone.
type DiskReport struct {
	GUID          uuid.UUID
	PartitionGUID uuid.UUID
	SectorSize    int
	ClusterSize   int
	Label         string
	VolumeID      uint32
	FreeBytes     int64
	FromBackupGPT bool
	// Room is how many bytes lie behind the end that the partition table has: of
	// an image that was made larger.
	Room           int64
	PartitionStart int64
	PartitionSize  int64
	// Drive is the partition with a config drive, nil without one.
	Drive *DriveReport
}

// FileReport is a file of either.
type FileReport struct {
	Path   string
	Size   int64
	Offset int64 // in the ISO or the disk; 0 for an empty file
	Role   plan.Role
	VIB    string // name and version of the owner, "" if none
	// Content has the file's bytes as long as what was inspected is open.
	Content io.ReaderAt
}

// BootReport is one copy of BOOT.CFG.
type BootReport struct {
	Path      string
	Title     string
	Kernel    string
	KernelOpt string
	Modules   []string
}

// ModuleReport is a module that belongs to no VIB.
type ModuleReport struct {
	Path    string
	Entries []string // the files in it; nil if it is no module tar
}

// InspectISO looks at an installer ISO.
func InspectISO(img *iso.Image) (*Report, error) {
	src, err := readISO(img, false)
	if err != nil {
		return nil, err
	}
	r := &Report{
		ISO:  &ISOReport{VolumeID: img.VolumeID(), NameSource: img.NameSource(), BootImages: img.BootImages()},
		Size: img.Size(),
	}
	for _, f := range img.Files() {
		r.Files = append(r.Files, FileReport{Path: f.Path, Size: f.Size, Offset: f.Offset, Content: f.ReaderAt()})
	}
	if err := r.fill(src); err != nil {
		return nil, err
	}
	return r, r.readCDKickstart(src)
}

// InspectDisk looks at a disk image of the given size. What is wrong with the
// disk or its volume is an *InputError.
func InspectDisk(r io.ReaderAt, size int64) (*Report, error) {
	volume, d, err := openVolume(r, size)
	if err != nil {
		return nil, err
	}
	src, err := readSource(medium{FS: volume}, false)
	if err != nil {
		return nil, err
	}
	report := &Report{Disk: d, Size: size}
	if err := d.addDrive(r, size); err != nil {
		return nil, err
	}
	if d.FromBackupGPT {
		report.Warnings = append(report.Warnings, Warning{
			Input: "GPT", Message: "the primary table is damaged; this is from the backup at the end of the disk",
		})
	}
	for _, f := range volume.Files() {
		offset := f.Offset
		if f.Size > 0 {
			offset += d.PartitionStart
		}
		report.Files = append(report.Files, FileReport{Path: f.Path, Size: f.Size, Offset: offset, Content: f.Content})
	}
	return report, report.fill(src)
}

// ErrNoVolume says that a disk has no EFI system partition with a FAT32 volume.
var ErrNoVolume = errors.New("no EFI system partition: this is not an image of ours")

// openVolume finds the volume on a disk.
func openVolume(r io.ReaderAt, size int64) (*fat32.FS, *DiskReport, error) {
	table, err := disk.ReadTable(r, size)
	if f := disk.FormatOf(r); err != nil && f != disk.Raw {
		return nil, nil, &InputError{Err: fmt.Errorf("is a %s file, not a raw or qcow2 disk image", f), Advice: "make it raw first: qemu-img convert -O raw IN OUT"}
	}
	if err != nil {
		return nil, nil, &InputError{Err: err, Advice: "give an installer ISO or a disk image that esxi-img made"}
	}
	for _, p := range table.Partitions {
		if !p.EFISystem() {
			continue
		}
		volume, err := fat32.Open(io.NewSectionReader(r, p.Offset, p.Size), p.Size)
		if err != nil {
			return nil, nil, &InputError{Input: fmt.Sprintf("partition %d", p.Index), Err: err, Advice: "the image is damaged: build or pull it again"}
		}
		free, err := volume.FreeClusters()
		if err != nil {
			return nil, nil, err
		}
		g := volume.Geometry()
		return volume, &DiskReport{
			GUID: table.GUID, PartitionGUID: p.GUID, SectorSize: table.SectorSize,
			ClusterSize: g.ClusterSize, Label: volume.Label(), VolumeID: volume.VolumeID(),
			FreeBytes:     int64(free) * int64(g.ClusterSize),
			FromBackupGPT: table.FromBackup, Room: size - table.End, PartitionStart: p.Offset, PartitionSize: p.Size,
		}, nil
	}
	return nil, nil, &InputError{Err: ErrNoVolume, Advice: "give an installer ISO or a disk image that esxi-img made"}
}

// fill adds what both kinds have.
func (r *Report) fill(src *source) error {
	r.Release, r.VIBs = src.release, src.vibs
	r.Warnings = append(r.Warnings, src.warnings...)
	for _, b := range src.bootCfgs {
		r.BootCfg = append(r.BootCfg, bootReport(b.path, b.cfg))
	}
	owned := r.assignOwners()
	if err := r.readModules(src, owned); err != nil {
		return err
	}
	r.assignRoles()
	return nil
}

func bootReport(name string, cfg *bootcfg.Config) BootReport {
	b := BootReport{Path: name, Title: cfg.Title(), Kernel: cfg.Kernel(), KernelOpt: strings.Join(cfg.KernelOpts(), " ")}
	for _, m := range cfg.Modules() {
		b.Modules = append(b.Modules, m.Path)
	}
	return b
}

// assignOwners says which VIB each file belongs to, and returns the paths that
// have one, in lower case.
func (r *Report) assignOwners() map[string]bool {
	owned := map[string]bool{}
	if r.VIBs == nil {
		return owned
	}
	for i := range r.Files {
		f := &r.Files[i]
		if !mayBePayload(f.Path) {
			continue
		}
		if c := r.VIBs.Candidates(f.Path, f.Size); len(c) == 1 {
			f.VIB = c[0].VIB.Name + " " + c[0].VIB.Version
			owned[strings.ToLower(f.Path)] = true
		}
	}
	return owned
}

// knownModules are loaded by every installer and belong to no VIB.
var knownModules = map[string]bool{
	"imgdb.tgz": true, "imgpayld.tgz": true, "basemisc.tgz": true, "resvibs.tgz": true, "esxiodpt.tgz": true,
	"jumpstrt.gz": true, "useropts.gz": true, "features.gz": true,
}

// readModules lists the modules that were added to the installer, and the
// kickstart in them.
func (r *Report) readModules(src *source, owned map[string]bool) error {
	boot := src.bootCfgs[len(src.bootCfgs)-1]
	for _, m := range boot.cfg.Modules() {
		name := boot.cfg.Resolve("/"+path.Dir(boot.path), m.Path)
		key := strings.ToLower(name)
		if owned[key] || knownModules[key] {
			continue
		}
		info, err := fs.Stat(src.files, name)
		if err != nil {
			return err
		}
		report := ModuleReport{Path: spelled(src.files, name)}
		if info.Size() <= MaxModule {
			if err := r.readModule(src.files, &report); err != nil {
				return err
			}
		}
		r.Modules = append(r.Modules, report)
	}
	return nil
}

// readModule lists a module's files. One that is no tar is none of ours, but
// nothing is wrong with it.
func (r *Report) readModule(files fs.FS, m *ModuleReport) error {
	raw, err := fs.ReadFile(files, m.Path)
	if err != nil {
		return err
	}
	entries, err := tardisk.Read(bytes.NewReader(raw))
	if err != nil {
		return nil //nolint:nilerr // a module of another kind
	}
	for _, e := range entries {
		m.Entries = append(m.Entries, e.Path)
		switch e.Path {
		case KickstartPath:
			r.Kickstart = e.Data
		case SettingsPath:
			r.readSettings(m.Path, e.Data)
		case RecordPath:
			r.Record = e.Data
		}
	}
	return nil
}

// readSettings notes what the image tells its hosts. What can't be read is no
// reason not to tell the rest.
func (r *Report) readSettings(module string, data []byte) {
	settings, err := ParseHostSettings(data)
	if err != nil {
		r.Warnings = append(r.Warnings, Warning{Input: module, Message: err.Error(), Advice: "build the image again"})
		return
	}
	r.Host = &settings
}

// assignRoles says why each file is there.
func (r *Report) assignRoles() {
	roles := map[string]plan.Role{}
	for _, b := range r.BootCfg {
		roles[b.Path] = plan.RoleBootCfg
	}
	for _, m := range r.Modules {
		roles[m.Path] = plan.RoleModule
		if path.Base(m.Path) == KickstartFile {
			roles[m.Path] = plan.RoleKickstart
		}
	}
	for i, f := range r.Files {
		role, ok := roles[f.Path]
		if !ok {
			role = plan.RolePayload
		}
		r.Files[i].Role = role
	}
}
