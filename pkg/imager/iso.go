package imager

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// ISOKickstart is the kickstart's path on an ISO.
	ISOKickstart = "KS.CFG"
	// bootCatalog is the path of the boot catalog where the ISO names none.
	bootCatalog = "BOOT.CAT"
)

// NewISO plans the installer's ISO anew, with a kickstart on it: for servers
// that are started from a CD, such as Redfish virtual media. Its boot images
// are those of the ISO. It carries no module but the user's: the host scripts
// are in the kickstart, since a module of no VIB is what Secure Boot may not
// tolerate. The image's Layout, Dirs and Geometry stay empty; the profile's
// Headroom and SectorSize have no meaning, and a Helper is refused.
func NewISO(img *iso.Image, p Profile) (*Image, error) {
	// 1. What the ISO is.
	src, err := readISO(img, !p.SkipPayloadDigests)
	if err != nil {
		return nil, err
	}
	boot, catalog, err := bootImages(img)
	if err != nil {
		return nil, err
	}
	// 2. What is added to it: the kickstart with the host scripts, the user's modules.
	if p.Helper != nil {
		return nil, &InputError{Input: "installer helper", Err: errors.New("is a module, and an ISO gets none"), Advice: "leave it out"}
	}
	added := &content{}
	if added.kickstart, added.settings, added.warnings, err = carriedKickstart(p); err != nil {
		return nil, err
	}
	for _, m := range p.Modules {
		if err := added.addUserModule(m); err != nil {
			return nil, err
		}
	}
	if err := added.checkClashes(img); err != nil {
		return nil, err
	}
	// 3. The boot configuration that names it.
	cfgs, err := editBootCfgs(src, p, added, "ks=cdrom:/"+ISOKickstart)
	if err != nil {
		return nil, err
	}
	// 4. All files, in the ISO's order, the kickstart last.
	out := &Image{Release: src.release, VIBs: src.vibs, Kickstart: added.kickstart, Settings: added.settings, Host: p.Host}
	modules := added.modules
	added.modules = append(added.modules, memoryFile(ISOKickstart, added.kickstart, plan.RoleKickstart))
	files, err := out.arrange(img, src, cfgs, added, p)
	if err != nil {
		return nil, err
	}
	// 5. The image around them.
	out.Plan, err = iso.Master(files, img.Dirs(), iso.MasterOptions{
		VolumeID: img.VolumeID(), ApplicationID: img.ApplicationID(), Time: stamp(img, p), Boot: boot, Catalog: catalog,
	})
	if err != nil {
		return nil, &InputError{Err: err}
	}
	out.describe(cfgs[1], modules, p)
	out.Warnings = append(append(src.warnings, added.warnings...), notOnDisk(added.kickstart, modules, p)...)
	return out, nil
}

// describe notes what the kernel is told and what was added.
func (i *Image) describe(cfg bootFile, modules []plan.File, p Profile) {
	i.KernelOpt, i.KernelOpts = strings.Join(cfg.cfg.KernelOpts(), " "), p.KernelOpts
	for _, m := range modules {
		i.Modules = append(i.Modules, strings.ToLower(m.Path))
	}
}

// bootImages are the ISO's, as long as firmware can be told of them by a file.
func bootImages(img *iso.Image) (boot []iso.BootImage, catalog string, err error) {
	for n, b := range img.BootImages() {
		if !b.Bootable {
			continue
		}
		if b.Path == "" {
			return nil, "", &InputError{
				Input: fmt.Sprintf("boot image %d", n), Err: errors.New("is no file of the ISO, so where it ends is not known"), Advice: notInstaller,
			}
		}
		boot = append(boot, b)
	}
	if len(boot) == 0 {
		return nil, "", &InputError{Err: errors.New("has no El Torito boot image: no firmware would start it as a CD"), Advice: notInstaller}
	}
	if catalog = img.BootCatalog(); catalog == "" {
		catalog = bootCatalog
	}
	return boot, catalog, nil
}

// notOnDisk warns of what is otherwise where the installer was not started from
// a disk that it can be installed on.
func notOnDisk(ks []byte, modules []plan.File, p Profile) []Warning {
	var out []Warning
	if p.Host.Install.Disk == nil && strings.Contains(string(ks), "\n%include /tmp/install\n") {
		out = append(out, Warning{
			Input: "install", Message: "this image is no disk, so a host whose metadata chooses none is installed on its first disk, and what is there is erased",
			Advice: "choose one with --install-disk",
		})
	}
	for _, m := range modules {
		if m.Role == plan.RoleModule && m.Path != ModuleFile {
			out = append(out, Warning{Input: m.Path, Message: "belongs to no VIB: with Secure Boot the installer may not start"})
		}
	}
	return out
}

// readCDKickstart looks for the kickstart that the kernel options name as a
// file of the ISO, and for what it carries.
func (r *Report) readCDKickstart(src *source) error {
	for _, opt := range src.bootCfgs[len(src.bootCfgs)-1].cfg.KernelOpts() {
		name, onCD := strings.CutPrefix(opt, "ks=cdrom:/")
		if !onCD || !fs.ValidPath(name) {
			continue
		}
		info, err := fs.Stat(src.files, name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > kickstart.MaxSize {
			r.Warnings = append(r.Warnings, Warning{Input: opt, Message: "names no kickstart that can be read"})
			return nil
		}
		if r.Kickstart, err = fs.ReadFile(src.files, name); err != nil {
			return err
		}
		for i := range r.Files {
			if strings.EqualFold(r.Files[i].Path, name) {
				r.Files[i].Role = plan.RoleKickstart
			}
		}
		if settings := carriedFile(r.Kickstart, SettingsPath); settings != nil {
			r.readSettings(name, settings)
		}
		r.Record = carriedFile(r.Kickstart, RecordPath)
		return nil
	}
	return nil
}
