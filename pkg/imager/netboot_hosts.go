package imager

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// maxHostFiles bounds what the hosts of a folder have of their own, in bytes: it
// is in memory until it is written.
const maxHostFiles = 64 << 20

// noInstallation is the boot.cfg for hosts that have none of their own. The boot
// loader gives up after some seconds, and the firmware goes on with the next
// entry of its boot order; one that does not know skip stops, as there is no
// kernel.
const noInstallation = `# For hosts that are not listed, which are not installed.
title=This host is on no list
timeout=5
skip=1
`

// NetbootFolder is the name of a host's own folder: the boot loader looks for a
// boot.cfg in it before it takes the one beside itself. 01 is Ethernet. A mac is
// as aa:bb:cc:dd:ee:ff.
func NetbootFolder(mac string) string {
	return "01-" + strings.ReplaceAll(strings.ToLower(mac), ":", "-")
}

// HostFiles are what a host has of its own beside the folder for network boot
// that base is: in the folder of each of its MACs a boot.cfg, and in that of the
// first one the modules that are other ones than base's. The image is the same
// disk as base's, customised for the host. Both have a prefix, since a name
// without one leads to the folder of the boot.cfg that has it.
func (i *Image) HostFiles(base *Image, macs []string) ([]plan.File, error) {
	if len(macs) == 0 {
		return nil, &InputError{Err: errors.New("has no MAC address, by which the boot loader finds its configuration"), Advice: "give its mac in the list of hosts"}
	}
	shared := map[string]*plan.File{}
	for n := range base.Plan.Files {
		shared[base.Plan.Files[n].Path] = &base.Plan.Files[n]
	}
	folder := NetbootFolder(macs[0])
	moved := map[string]string{}
	var own []plan.File
	var text []byte
	for _, f := range i.Plan.Files {
		switch {
		case f.Path == NetbootConfig:
			var err error
			if text, err = contentOf(&f); err != nil {
				return nil, err
			}
		case f.Role == plan.RolePayload:
			if s := shared[f.Path]; s == nil || s.Size != f.Size {
				return nil, fmt.Errorf("%s is not in the folder that the hosts share", f.Path)
			}
		default:
			same, err := sameContent(shared[f.Path], &f)
			if err != nil {
				return nil, err
			}
			if !same || f.Role == plan.RoleKickstart {
				moved[f.Path] = folder + "/" + f.Path
				f.Path = moved[f.Path]
				own = append(own, f)
			}
		}
	}
	cfg, err := moveModules(text, moved)
	if err != nil {
		return nil, err
	}
	for _, mac := range macs {
		name := NetbootFolder(mac) + "/" + NetbootConfig
		own = append(own, memoryFile(name, cfg, plan.RoleBootCfg))
	}
	return own, nil
}

// moveModules changes the paths of modules in a boot.cfg.
func moveModules(text []byte, moved map[string]string) ([]byte, error) {
	cfg, err := bootcfg.Parse(text)
	if err != nil {
		return nil, err
	}
	modules := cfg.Modules()
	list := make([]string, len(modules))
	for n, m := range modules {
		list[n] = m.Path
		if to, ok := moved[m.Path]; ok {
			list[n] = to
		}
		if m.Args != "" {
			list[n] += " " + m.Args
		}
	}
	if err := cfg.Set("modules", strings.Join(list, " --- ")); err != nil {
		return nil, &InputError{Input: NetbootConfig, Err: err}
	}
	for _, f := range cfg.Check() {
		if f.Severity == bootcfg.SeverityError {
			return nil, &InputError{Input: NetbootConfig, Err: errors.New(f.Message), Advice: f.Cure}
		}
	}
	return cfg.Bytes(), nil
}

// WithHosts plans the folder for network boot with what hosts have of their own,
// as HostFiles gives it. A host that is not among them is installed as the image
// says if install is given, and else goes on with its next boot entry.
func (i *Image) WithHosts(own [][]plan.File, install bool) (*plan.Plan, error) {
	p := &plan.Plan{SectorSize: i.Plan.SectorSize}
	for _, f := range i.Plan.Files {
		switch {
		case install || f.Path != NetbootConfig && f.Role != plan.RoleKickstart:
			p.Files = append(p.Files, f)
		case f.Path == NetbootConfig:
			p.Files = append(p.Files, memoryFile(NetbootConfig, []byte(noInstallation), plan.RoleBootCfg))
		}
	}
	for _, f := range p.Files {
		p.Size += f.Size
	}
	all := slices.Concat(own...)
	var size int64
	for _, f := range all {
		size += f.Size
	}
	if size > maxHostFiles {
		return nil, &InputError{
			Err:    fmt.Errorf("what its hosts have of their own has %d bytes, at most %d are taken", size, maxHostFiles),
			Advice: "make several folders, with a part of the hosts each",
		}
	}
	p.Files, p.Size = append(p.Files, all...), p.Size+size
	return p, nil
}

// sameContent compares two small files.
func sameContent(a, b *plan.File) (bool, error) {
	if a == nil || a.Size != b.Size {
		return false, nil
	}
	x, err := contentOf(a)
	if err != nil {
		return false, err
	}
	y, err := contentOf(b)
	return bytes.Equal(x, y), err
}

// contentOf reads a file of ours.
func contentOf(f *plan.File) ([]byte, error) {
	data := make([]byte, f.Size)
	if f.Size == 0 {
		return data, nil
	}
	return data, f.ReadContent(data, 0)
}
