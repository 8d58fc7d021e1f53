package imager

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/vib"
)

// What an installer has to hold, as paths on the volume.
const (
	rootBootCfg  = "BOOT.CFG"          // used by the BIOS loader and by network boot
	efiBootCfg   = "EFI/BOOT/BOOT.CFG" // beside mboot: the one that UEFI firmware's way leads to
	imageDB      = "IMGDB.TGZ"
	notInstaller = "give the ESXi installer ISO as VMware or your hardware's vendor ships it"
)

// source is what is known of an installer before a byte of its payload is read.
type source struct {
	files    fs.FS
	bootCfgs []bootFile
	vibs     *vib.Database // nil if there is no IMGDB.TGZ
	imgdb    []byte        // its file, for the identifiers
	release  iso.Release
	warnings []Warning
}

// bootFile is one copy of BOOT.CFG.
type bootFile struct {
	path string // as the ISO spells it
	raw  []byte
	cfg  *bootcfg.Config
}

// medium is where an installer's files are: an ISO or a disk's volume.
type medium struct {
	fs.FS
	volumeID string // of an ISO, "" on a disk
}

// readISO is readSource for an ISO. A strict one has to be complete and has to
// have an image database.
func readISO(img *iso.Image, strict bool) (*source, error) {
	cut := img.VolumeSize() - img.Size()
	if cut > 0 && strict {
		return nil, &InputError{Err: cutShort(cut), Advice: "download or copy it again, and compare its SHA-256 with the vendor's"}
	}
	src, err := readSource(medium{img, img.VolumeID()}, strict)
	if err != nil {
		return nil, err
	}
	if cut > 0 {
		src.warn("ISO", cutShort(cut).Error(), "")
	}
	for _, w := range img.Warnings() {
		src.warn("ISO", w, "")
	}
	return src, nil
}

func cutShort(by int64) error {
	return fmt.Errorf("is cut short: the last %d bytes of the volume are missing", by)
}

// readSource looks at everything on a medium that says what it is.
func readSource(m medium, needDB bool) (*source, error) {
	src := &source{files: m.FS}
	if err := src.readBootCfgs(); err != nil {
		return nil, err
	}
	if err := src.checkLoader(); err != nil {
		return nil, err
	}
	if err := src.readImageDB(needDB); err != nil {
		return nil, err
	}
	release, err := iso.Identify(m.FS, m.volumeID, src.evidence()...)
	if err != nil && !errors.Is(err, iso.ErrNoRelease) {
		return nil, &InputError{Err: err}
	}
	if err != nil {
		src.warn("", "nothing tells which ESXi release this is", "")
	}
	src.release = release
	return src, nil
}

func (s *source) warn(input, message, advice string) {
	s.warnings = append(s.warnings, Warning{Input: input, Message: message, Advice: advice})
}

// missing is a file without which this is no installer.
func missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("is missing: this is not an ESXi installer ISO")
	}
	return &InputError{Input: name, Err: err, Advice: notInstaller}
}

func (s *source) readBootCfgs() error {
	for _, name := range []string{rootBootCfg, efiBootCfg} {
		raw, err := fs.ReadFile(s.files, name)
		if err != nil {
			return missing(name, err)
		}
		cfg, err := bootcfg.Parse(raw)
		if err != nil {
			return &InputError{Input: name, Err: err, Advice: notInstaller}
		}
		b := bootFile{path: spelled(s.files, name), raw: raw, cfg: cfg}
		if err := s.checkBootCfg(b); err != nil {
			return err
		}
		s.bootCfgs = append(s.bootCfgs, b)
	}
	return nil
}

// spelled returns the name in the case in which the file system has it.
func spelled(fsys fs.FS, name string) string {
	dir := "."
	parts := strings.Split(name, "/")
	for i, part := range parts {
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil {
			return name
		}
		for _, e := range entries {
			if strings.EqualFold(e.Name(), part) {
				parts[i] = e.Name()
				if e.Name() == part {
					break
				}
			}
		}
		dir = path.Join(parts[:i+1]...)
	}
	return strings.Join(parts, "/")
}

// checkBootCfg refuses what would stop the boot loader, on the file as the ISO
// has it: a mistake of the ISO's must not look like one of ours.
func (s *source) checkBootCfg(b bootFile) error {
	if len(s.bootCfgs) == 0 || !bytes.Equal(b.raw, s.bootCfgs[0].raw) {
		if err := s.judge(b.path, b.cfg.Check()); err != nil {
			return err
		}
	}
	dir := "/" + path.Dir(b.path)
	if err := s.loaded(b, "kernel", b.cfg.Resolve(dir, b.cfg.Kernel())); err != nil {
		return err
	}
	for _, m := range b.cfg.Modules() {
		if err := s.loaded(b, "module", b.cfg.Resolve(dir, m.Path)); err != nil {
			return err
		}
	}
	return nil
}

// judge turns errors of a boot.cfg into a failure and the rest into warnings.
func (s *source) judge(name string, findings []bootcfg.Finding) error {
	for _, f := range findings {
		if f.Severity == bootcfg.SeverityError {
			return &InputError{Input: at(name, f.Line), Err: errors.New(f.Message), Advice: f.Cure}
		}
		s.warnings = append(s.warnings, Warning{Input: name, Line: f.Line, Message: f.Message, Advice: f.Cure})
	}
	return nil
}

func at(name string, line int) string {
	if line > 0 {
		return fmt.Sprintf("%s:%d", name, line)
	}
	return name
}

// loaded checks that a file that the boot loader will open is there.
func (s *source) loaded(b bootFile, what, name string) error {
	info, err := fs.Stat(s.files, name)
	if err == nil && info.Mode().IsRegular() {
		return nil
	}
	return &InputError{
		Input:  b.path,
		Err:    fmt.Errorf("names the %s /%s, which is not on the ISO: the boot loader would stop", what, name),
		Advice: "the ISO is incomplete: compare its SHA-256 with the vendor's",
	}
}

// checkLoader makes sure that firmware will find a boot loader.
func (s *source) checkLoader() error {
	for _, name := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTAA64.EFI"} {
		if _, err := fs.Stat(s.files, name); err == nil {
			return nil
		}
	}
	return missing("EFI/BOOT/BOOTX64.EFI", fs.ErrNotExist)
}

func (s *source) readImageDB(needed bool) error {
	raw, err := fs.ReadFile(s.files, imageDB)
	if errors.Is(err, fs.ErrNotExist) && !needed {
		s.warn(imageDB, "is missing, so nothing tells which VIBs this is made of", "")
		return nil
	}
	if err != nil {
		return missing(imageDB, err)
	}
	db, err := vib.Read(bytes.NewReader(raw))
	if err != nil {
		return &InputError{Input: imageDB, Err: err, Advice: "the ISO is damaged: compare its SHA-256 with the vendor's"}
	}
	s.imgdb, s.vibs = raw, db
	return nil
}

// evidence is what boot.cfg and the VIBs say of the release, best first.
func (s *source) evidence() []iso.Evidence {
	var known []iso.Evidence
	if s.vibs != nil {
		if base := s.vibs.Find("esx-base"); base != nil {
			known = append(known, iso.Evidence{Source: "esx-base VIB", Text: base.Version})
		}
	}
	if build := s.bootCfgs[0].cfg.Build(); build != "" {
		known = append(known, iso.Evidence{Source: rootBootCfg + " build", Text: build})
	}
	return known
}
