package imager

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/vib"
)

// volumeLabel is the label of the FAT volume.
const volumeLabel = "ESXI-IMG"

// Image is a disk image that is planned and what there is to say of it.
type Image struct {
	Plan    *plan.Plan
	Release iso.Release
	// Layout and Dirs are what, with the files, makes the same plan again;
	// Geometry is the volume's.
	Layout   disk.Layout
	Dirs     []string
	Geometry fat32.Geometry
	// KernelOpt is what the installer's kernel gets, KernelOpts the profile's
	// share of it; Modules are the files that were added to what it loads.
	KernelOpt  string
	KernelOpts []string
	Modules    []string
	// Kickstart is the rendered text, nil where a helper carries its own.
	Kickstart []byte
	// Settings is what the host scripts are told of the image: the text of
	// SettingsPath beside the kickstart; nil where there is no kickstart.
	Settings []byte
	// Host is what the image tells its hosts.
	Host     HostOptions
	VIBs     *vib.Database // nil if the ISO has no database
	Payload  Payload
	Warnings []Warning
}

// New plans the image of an installer ISO. Nothing of the payload is read:
// that happens when the plan is, and then Explain tells whose file was damaged.
func New(img *iso.Image, p Profile) (*Image, error) {
	// 1. What the ISO is.
	src, err := readISO(img, !p.SkipPayloadDigests)
	if err != nil {
		return nil, err
	}
	// 2. What is added to it: the host scripts, the kickstart, the user's modules.
	added, err := makeContent(p)
	if err != nil {
		return nil, err
	}
	if err := added.checkClashes(img); err != nil {
		return nil, err
	}
	// 3. The boot configuration that loads what was added.
	cfgs, err := editBootCfgs(src, p, added, "ks=file:///"+KickstartPath)
	if err != nil {
		return nil, err
	}
	// 4. Identifiers, from what is known so far, and the module that tells them
	// to the host.
	ids := identify(img, src, added, p)
	if err := added.finish(ids, p); err != nil {
		return nil, err
	}
	// 5. All files in disk order, with the digests that the VIBs vouch for.
	out := &Image{Release: src.release, VIBs: src.vibs, Kickstart: added.kickstart, Settings: added.settings, Host: p.Host}
	files, err := out.arrange(img, src, cfgs, added, p)
	if err != nil {
		return nil, err
	}
	// 6. The volume, and the disk around it.
	if err := out.planDisk(img, files, ids, p); err != nil {
		return nil, err
	}
	out.describe(cfgs[1], added.modules, p)
	out.Warnings = append(src.warnings, added.warnings...)
	return out, nil
}

// editBootCfgs adds our kernel options, with the one that names the kickstart,
// and our modules to both copies, and checks that the boot loader still takes
// them.
func editBootCfgs(src *source, p Profile, added *content, ks string) ([]bootFile, error) {
	for _, b := range src.bootCfgs {
		if err := b.cfg.AddKernelOpt(ks); err != nil {
			return nil, &InputError{Input: b.path, Err: err}
		}
		for _, opt := range p.KernelOpts {
			if name, remove := strings.CutPrefix(opt, "-"); remove {
				b.cfg.RemoveKernelOpt(name)
			} else if err := b.cfg.AddKernelOpt(opt); err != nil {
				return nil, &InputError{Input: "kernel option " + opt, Err: err}
			}
		}
		for _, m := range added.modules {
			// The leading slash counts: without it, and without a prefix, the
			// loader looks in the directory of the boot.cfg.
			if err := b.cfg.AppendModule("/" + strings.ToLower(m.Path)); err != nil {
				return nil, &InputError{Input: m.Path, Err: err}
			}
		}
	}
	// Only what is new since the ISO's own check is told of.
	after := &source{}
	for _, b := range src.bootCfgs[1:] {
		if err := after.judge(b.path, b.cfg.Check()); err != nil {
			return nil, err
		}
	}
	src.warnings = mergeWarnings(src.warnings, after.warnings)
	return src.bootCfgs, nil
}

// mergeWarnings adds those that say something new about the same file.
func mergeWarnings(have, more []Warning) []Warning {
	said := map[string]bool{}
	for _, w := range have {
		said[w.Message] = true
	}
	for _, w := range more {
		if !said[w.Message] {
			have = append(have, w)
		}
	}
	return have
}

// arrange lists the files in disk order: payload first, as the ISO has it, and
// what customising changes last, so that payload never moves.
func (i *Image) arrange(img *iso.Image, src *source, cfgs []bootFile, added *content, p Profile) ([]plan.File, error) {
	replaced := map[string]bool{}
	for _, b := range cfgs {
		replaced[b.path] = true
	}
	for _, m := range added.modules {
		replaced[spelled(img, m.Path)] = true
	}
	var files []plan.File
	isoFiles := img.Files()
	for n := range isoFiles {
		f := &isoFiles[n]
		if replaced[f.Path] {
			continue
		}
		file := plan.File{Path: f.Path, Size: f.Size, Content: f.ReaderAt(), Role: plan.RolePayload}
		if src.vibs != nil && !p.SkipPayloadDigests {
			if err := i.vouch(&file); err != nil {
				return nil, err
			}
		}
		i.Payload.count(file)
		files = append(files, file)
	}
	for _, b := range cfgs {
		files = append(files, memoryFile(b.path, b.cfg.Bytes(), plan.RoleBootCfg))
	}
	// The kickstart comes last, whenever it is loaded: another one of another
	// length then moves no module.
	last := func(m plan.File) int {
		if m.Role == plan.RoleKickstart {
			return 1
		}
		return 0
	}
	modules := slices.Clone(added.modules)
	slices.SortStableFunc(modules, func(a, b plan.File) int { return last(a) - last(b) })
	return append(files, modules...), nil
}

func memoryFile(name string, data []byte, role plan.Role) plan.File {
	sum := plan.Digest(sha256.Sum256(data))
	return plan.File{Path: name, Size: int64(len(data)), Content: bytes.NewReader(data), Expect: []plan.Digest{sum}, Role: role}
}

// vouch notes what the file's VIB says that its bytes must hash to.
func (i *Image) vouch(f *plan.File) error {
	if !mayBePayload(f.Path) {
		return nil
	}
	expected := i.VIBs.Expect(f.Path, f.Size)
	if err := expected.CheckSize(); err != nil {
		return damaged(err)
	}
	if !expected.Known() {
		return nil
	}
	for _, c := range expected.Candidates {
		f.Expect = append(f.Expect, *c.Payload.SHA256)
	}
	return nil
}

// mayBePayload says whether a VIB can own the file: all of them lie in the root.
func mayBePayload(path string) bool { return !strings.Contains(path, "/") }

// Explain adds what the VIBs say to an error of writing the plan.
func (i *Image) Explain(err error) error {
	var mismatch *plan.MismatchError
	if !errors.As(err, &mismatch) || i.VIBs == nil {
		return err
	}
	for _, f := range i.Plan.Files {
		if f.Path != mismatch.Path {
			continue
		}
		if why := i.VIBs.Expect(f.Path, f.Size).Check(mismatch.Got); why != nil {
			return damaged(why)
		}
	}
	return err
}

func damaged(err error) error {
	return &InputError{Err: err, Advice: "the ISO is damaged: compare its SHA-256 with the vendor's and download it again"}
}

// planDisk plans the volume and the disk around it.
func (i *Image) planDisk(img *iso.Image, files []plan.File, ids identifiers, p Profile) error {
	layout := disk.Layout{
		SectorSize: p.SectorSize,
		DiskGUID:   ids.disk, PartitionGUID: ids.partition, PartitionName: disk.PartitionName,
		Label: volumeLabel, VolumeID: ids.volume, Time: stamp(img, p),
		Headroom: p.Headroom,
	}
	var err error
	i.Dirs = img.Dirs()
	if i.Plan, i.Layout, i.Geometry, err = layout.Plan(files, i.Dirs); err != nil {
		return &InputError{Err: err}
	}
	return nil
}

// stamp is the time of every file: the profile's, else the ISO's own, else the
// first that FAT knows.
func stamp(img *iso.Image, p Profile) time.Time {
	switch {
	case !p.Time.IsZero():
		return p.Time.UTC()
	case !img.Created().IsZero():
		return img.Created().UTC()
	default:
		return ModuleTime
	}
}

// Payload counts the files of the ISO.
type Payload struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Checked is how many of them have a digest that a VIB vouches for.
	Checked int `json:"checked"`
}

func (p *Payload) count(f plan.File) {
	p.Files++
	p.Bytes += f.Size
	if len(f.Expect) > 0 {
		p.Checked++
	}
}
