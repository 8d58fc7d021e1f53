package imager

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/vib"
)

const (
	// partitionName is the name of the partition in the GPT.
	partitionName = "esxi-img installer"

	// volumeLabel is the label of the FAT volume.
	volumeLabel = "ESXI-IMG"

	// dirHeadroom is how many spare 32-byte entries each directory has, so that
	// a file more does not move the payload.
	dirHeadroom = 64
)

// Image is a disk image that is planned and what there is to say of it.
type Image struct {
	Plan     *plan.Plan
	Release  iso.Release
	DiskGUID uuid.UUID
	// KernelOpt is what the installer's kernel gets; Modules are the files that
	// were added to what it loads.
	KernelOpt string
	Modules   []string
	// Kickstart is the rendered text, nil where a helper carries its own.
	Kickstart []byte
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
	cfgs, err := editBootCfgs(src, p, added)
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
	out := &Image{Release: src.release, VIBs: src.vibs, Kickstart: added.kickstart, Host: p.Host}
	files, err := out.arrange(img, src, cfgs, added, p)
	if err != nil {
		return nil, err
	}
	// 6. The volume, and the disk around it.
	out.DiskGUID = ids.disk
	if out.Plan, err = planDisk(img, files, ids, p); err != nil {
		return nil, err
	}
	out.KernelOpt = strings.Join(cfgs[1].cfg.KernelOpts(), " ")
	for _, m := range added.modules {
		out.Modules = append(out.Modules, strings.ToLower(m.Path))
	}
	out.Warnings = append(src.warnings, added.warnings...)
	return out, nil
}

// editBootCfgs adds our kernel options and modules to both copies, and checks
// that the boot loader still takes them.
func editBootCfgs(src *source, p Profile, added *content) ([]bootFile, error) {
	for _, b := range src.bootCfgs {
		if err := b.cfg.AddKernelOpt("ks=file:///" + KickstartPath); err != nil {
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
	return append(files, added.modules...), nil
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
func planDisk(img *iso.Image, files []plan.File, ids identifiers, p Profile) (*plan.Plan, error) {
	sector := p.SectorSize
	if sector == 0 {
		sector = 512
	}
	layout, err := fat32.New(files, img.Dirs(), fat32.Options{
		SectorSize:    sector,
		HiddenSectors: uint32(disk.PartitionStart / sector), //nolint:gosec // at most 2048
		Label:         volumeLabel,
		VolumeID:      ids.volume,
		Time:          stamp(img, p),
		Headroom:      p.Headroom,
		DirHeadroom:   dirHeadroom,
		RoundTo:       disk.PartitionStart, // so that the partition ends as aligned as it begins
	})
	if err != nil {
		return nil, &InputError{Err: err}
	}
	return disk.New(layout.Plan, disk.Options{DiskGUID: ids.disk, PartitionGUID: ids.partition, PartitionName: partitionName})
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
