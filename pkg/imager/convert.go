package imager

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// firstSection begins the sections of ours in a kickstart that was rendered:
// what is carried has to come before.
const firstSection = "\n%pre --interpreter=busybox\n# pre/00-defaults.sh\n"

// diskImage is an image of ours that is to be something else than a disk.
type diskImage struct {
	report  *Report
	src     *source
	volume  *fat32.FS
	time    time.Time
	entries []tardisk.Entry // of our modules, without the kickstart
	text    []byte          // the kickstart
}

// openImage reads a disk image of ours: payload excepted.
func openImage(r io.ReaderAt, size int64) (*diskImage, error) {
	d := &diskImage{}
	var err error
	if d.report, err = InspectDisk(r, size); err != nil {
		return nil, err
	}
	if d.volume, _, err = openVolume(r, size); err != nil {
		return nil, err
	}
	if d.src, err = readSource(medium{FS: d.volume}, false); err != nil {
		return nil, err
	}
	info, err := fs.Stat(d.volume, rootBootCfg)
	if err != nil {
		return nil, err
	}
	d.time = info.ModTime()
	for _, name := range []string{ModuleFile, KickstartFile} {
		if err := d.readModule(name); err != nil {
			return nil, err
		}
	}
	if !bytes.Contains(d.text, []byte(firstSection)) {
		return nil, &InputError{
			Input: KickstartFile, Err: errors.New("has no kickstart that esxi-img rendered"), Advice: "build the image again, without a helper of another tool",
		}
	}
	return d, nil
}

// readModule takes a module of ours apart; the settings for the host lose what
// is true of a disk alone.
func (d *diskImage) readModule(name string) error {
	raw, err := fs.ReadFile(d.volume, name)
	if err != nil {
		return &InputError{Input: name, Err: err, Advice: "give a disk image that esxi-img made"}
	}
	entries, err := tardisk.Read(bytes.NewReader(raw))
	if err != nil {
		return &InputError{Input: name, Err: err, Advice: "give a disk image that esxi-img made"}
	}
	for _, e := range entries {
		switch {
		case !strings.HasPrefix(e.Path, "esxiimg/"):
			return &InputError{Input: name, Err: fmt.Errorf("holds %s, which is none of ours", e.Path), Advice: "give a disk image that esxi-img made"}
		case e.Path == KickstartPath:
			d.text = e.Data
			continue
		case e.Path == SettingsPath:
			settings, err := ParseHostSettings(e.Data)
			if err != nil {
				return &InputError{Input: name, Err: err, Advice: "build the image again"}
			}
			settings.Disk, settings.Partition = "", ""
			if e.Data, err = settings.Encode(); err != nil {
				return err
			}
		}
		d.entries = append(d.entries, e)
	}
	return nil
}

// image begins what becomes of it.
func (d *diskImage) image() *Image {
	out := &Image{Release: d.report.Release, VIBs: d.report.VIBs, Warnings: d.report.Warnings}
	if d.report.Host != nil {
		out.Host = d.report.Host.HostOptions
	}
	return out
}

// files are those of the volume but what is made anew.
func (d *diskImage) files(out *Image) ([]plan.File, error) {
	var files []plan.File
	for _, f := range d.report.Files {
		if f.Role == plan.RoleBootCfg || strings.EqualFold(f.Path, ModuleFile) || strings.EqualFold(f.Path, KickstartFile) {
			continue
		}
		file := plan.File{Path: f.Path, Size: f.Size, Content: f.Content, Role: f.Role}
		if f.Role == plan.RolePayload && out.VIBs != nil {
			if err := out.vouch(&file); err != nil {
				return nil, err
			}
		}
		if f.Role == plan.RolePayload {
			out.Payload.count(file)
		}
		files = append(files, file)
	}
	return files, nil
}

// userModules are those that the boot loader loads besides ours and the VIBs'.
func (d *diskImage) userModules() []plan.File {
	var out []plan.File
	for _, m := range d.report.Modules {
		if name := path.Base(m.Path); !strings.EqualFold(name, ModuleFile) && !strings.EqualFold(name, KickstartFile) {
			out = append(out, plan.File{Path: m.Path, Role: plan.RoleModule})
		}
	}
	return out
}

// ISOOfDisk plans the ISO that a disk image of ours, customised perhaps, would
// have been as one: see NewISO. The image may be a plan that is not written.
func ISOOfDisk(r io.ReaderAt, size int64) (*Image, error) {
	d, err := openImage(r, size)
	if err != nil {
		return nil, err
	}
	out := d.image()
	if out.Kickstart, err = d.carriedText(); err != nil {
		return nil, err
	}
	for _, b := range d.src.bootCfgs {
		if err := b.unload(ModuleFile, KickstartFile); err != nil {
			return nil, err
		}
		if err := b.cfg.AddKernelOpt("ks=cdrom:/" + ISOKickstart); err != nil {
			return nil, &InputError{Input: b.path, Err: err}
		}
	}
	files, err := d.files(out)
	if err != nil {
		return nil, err
	}
	for _, b := range d.src.bootCfgs {
		files = append(files, memoryFile(b.path, b.cfg.Bytes(), plan.RoleBootCfg))
	}
	files = append(files, memoryFile(ISOKickstart, out.Kickstart, plan.RoleKickstart))
	boot, err := bootFiles(files)
	if err != nil {
		return nil, err
	}
	name := strings.ToUpper(d.report.Release.Profile) // as the vendor names its own
	out.Plan, err = iso.Master(files, d.volume.Dirs(), iso.MasterOptions{
		VolumeID: name[:min(len(name), 32)], ApplicationID: "ESXIMAGE", Time: d.time, Boot: boot, Catalog: bootCatalog,
	})
	if err != nil {
		return nil, &InputError{Err: err}
	}
	out.describe(d.src.bootCfgs[len(d.src.bootCfgs)-1], d.userModules(), Profile{})
	out.Warnings = append(out.Warnings, notOnDisk(out.Kickstart, d.userModules(), Profile{Host: out.Host})...)
	return out, nil
}

// carriedText is the kickstart with our modules' files in it.
func (d *diskImage) carriedText() ([]byte, error) {
	slices.SortStableFunc(d.entries, func(a, b tardisk.Entry) int { return rank(a) - rank(b) })
	carriers, _, err := kickstart.Render(kickstart.Options{Kickstart: []byte{}, User: carry(d.entries)})
	if err != nil {
		return nil, &InputError{Input: "kickstart", Err: err}
	}
	at := bytes.Index(d.text, []byte(firstSection))
	text := slices.Concat(d.text[:at], carriers, d.text[at:])
	if len(text) > kickstart.MaxSize {
		return nil, &InputError{
			Input:  "kickstart",
			Err:    fmt.Errorf("with the scripts of esxi-img and what the image carries for its host it has %d bytes, at most %d are taken", len(text), kickstart.MaxSize),
			Advice: "make the kickstart and the metadata smaller",
		}
	}
	return text, nil
}

// rank puts the settings first, see carriedFile.
func rank(e tardisk.Entry) int {
	if e.Path == SettingsPath {
		return 0
	}
	return 1
}

// unload takes modules off the list, by their file's name.
func (b bootFile) unload(names ...string) error {
	var keep []string
	for _, m := range b.cfg.Modules() {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(path.Base(m.Path), n) }) {
			continue
		}
		keep = append(keep, strings.TrimSpace(m.Path+" "+m.Args))
	}
	if err := b.cfg.Set("modules", strings.Join(keep, " --- ")); err != nil {
		return &InputError{Input: b.path, Err: err}
	}
	return nil
}

// bootFiles finds what firmware starts an installer's CD by: a disk has its
// files, not its boot catalog's entries.
func bootFiles(files []plan.File) ([]iso.BootImage, error) {
	const loadSectors = 4 // of 512 bytes: what ISOLINUX wants
	var bios, efi []iso.BootImage
	for _, f := range files {
		switch strings.ToUpper(f.Path) {
		case "ISOLINUX.BIN":
			bios = append(bios, iso.BootImage{Platform: iso.PlatformX86, Bootable: true, SectorCount: loadSectors, Path: f.Path})
		case "EFIBOOT.IMG":
			sectors := min((f.Size+511)/512, 1<<16-1)
			efi = append(efi, iso.BootImage{Platform: iso.PlatformEFI, Bootable: true, SectorCount: uint16(sectors), Path: f.Path}) //nolint:gosec // bounded by the line before
		}
	}
	if len(efi) == 0 {
		return nil, &InputError{Input: "EFIBOOT.IMG", Err: errors.New("is not in the image: no firmware would start it as a CD"), Advice: "build from the ISO: build --format iso"}
	}
	return append(bios, efi...), nil
}

// NetbootOfDisk plans the folder for network boot that a disk image of ours
// would have been as one: see NewNetboot.
func NetbootOfDisk(r io.ReaderAt, size int64, prefix string) (*Image, error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, err
	}
	d, err := openImage(r, size)
	if err != nil {
		return nil, err
	}
	out := d.image()
	out.Kickstart = d.text
	files, err := d.files(out)
	if err != nil {
		return nil, err
	}
	var scripts, own []tardisk.Entry
	for _, e := range d.entries {
		if strings.HasPrefix(e.Path, "esxiimg/esxi_netinit/") {
			scripts = append(scripts, e)
		} else {
			own = append(own, e)
		}
	}
	for _, m := range []struct {
		name    string
		entries []tardisk.Entry
		role    plan.Role
	}{
		{ModuleFile, scripts, plan.RoleModule},
		{KickstartFile, append(own, tardisk.Entry{Path: KickstartPath, Data: d.text}), plan.RoleKickstart},
	} {
		data, err := packModule(m.entries)
		if err != nil {
			return nil, err
		}
		files = append(files, memoryFile(m.name, data, m.role))
	}
	boot := d.src.bootCfgs[0]
	boot.cfg.RemoveKernelOpt("cdromBoot")
	if err := out.netboot(d.src, files, boot, prefix); err != nil {
		return nil, err
	}
	out.describe(boot, append([]plan.File{{Path: ModuleFile}, {Path: KickstartFile}}, d.userModules()...), Profile{})
	out.Warnings = append(out.Warnings, notOnDisk(out.Kickstart, nil, Profile{Host: out.Host})...)
	return out, nil
}
