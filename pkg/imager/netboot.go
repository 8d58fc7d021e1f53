package imager

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// NetbootConfig is the name of the boot loader's configuration in a folder for
// network boot.
const NetbootConfig = "boot.cfg"

// maxPrefix bounds the prefix, in bytes: the boot loader's paths have little
// more room.
const maxPrefix = 160

// loaders are what starts the installer over a network, and their names there,
// as VMware's documents have them. Those for UEFI are looked for first.
var loaders = []struct{ on, as string }{
	{"EFI/BOOT/BOOTX64.EFI", "mboot.efi"},
	{"EFI/BOOT/BOOTAA64.EFI", "mboot.efi"},
	{"EFI/BOOT/CRYPTO64.EFI", "crypto64.efi"}, // mboot asks for it where it lies itself
	{"MBOOT.C32", "mboot.c32"},
}

// NewNetboot plans a folder for HTTP or PXE boot: the boot loader, a boot.cfg,
// and what that names, under the names that it has there. The plan has files
// and no extents. The host scripts and the kickstart are modules, as on a disk.
//
// Prefix is where the folder will be, as boot.cfg's prefix: a URL or a path of
// the TFTP server's. Without one the boot loader takes the folder of boot.cfg,
// which does for one that is started from there. The profile's Headroom and
// SectorSize have no meaning.
func NewNetboot(img *iso.Image, prefix string, p Profile) (*Image, error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, err
	}
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
	if err := added.finish(identifiers{}, p); err != nil {
		return nil, err
	}
	// 3. The boot configuration that loads it over a network.
	p.KernelOpts = append([]string{"-cdromBoot"}, p.KernelOpts...)
	cfgs, err := editBootCfgs(src, p, added, "ks=file:///"+KickstartPath)
	if err != nil {
		return nil, err
	}
	out := &Image{Release: src.release, VIBs: src.vibs, Kickstart: added.kickstart, Settings: added.settings, Host: p.Host}
	// 4. What the boot configuration names, then the loaders, then itself.
	onISO, err := out.arrange(img, src, cfgs, added, p)
	if err != nil {
		return nil, err
	}
	if err := out.netboot(src, onISO, cfgs[0], prefix); err != nil {
		return nil, err
	}
	p.KernelOpts = p.KernelOpts[1:]
	out.describe(cfgs[0], added.modules, p)
	out.Warnings = append(append(src.warnings, added.warnings...), notOnDisk(added.kickstart, nil, p)...)
	return out, nil
}

// netboot plans the folder of those files that the boot configuration needs,
// which becomes the folder's.
func (i *Image) netboot(src *source, files []plan.File, boot bootFile, prefix string) error {
	n := &netboot{src: src, from: map[string]plan.File{}, seen: map[string]bool{}}
	for _, f := range files {
		n.from[strings.ToLower(f.Path)] = f
	}
	if err := n.collect(boot, prefix); err != nil {
		return err
	}
	i.Plan, i.Payload = &plan.Plan{SectorSize: 512, Files: n.files}, Payload{}
	for _, f := range n.files {
		i.Plan.Size += f.Size
		if f.Role == plan.RolePayload {
			i.Payload.count(f)
		}
	}
	return nil
}

// CheckPrefix refuses what boot.cfg can't hold, or would be read otherwise, with
// an *InputError.
func CheckPrefix(prefix string) error {
	fail := func(why string) error {
		return &InputError{Input: "prefix", Err: fmt.Errorf("%.60q %s", prefix, why), Advice: "give the URL of the folder, such as http://boot.example/esxi/"}
	}
	switch {
	case len(prefix) > maxPrefix:
		return fail(fmt.Sprintf("has more than %d bytes", maxPrefix))
	case strings.ContainsFunc(prefix, notInOption):
		return fail("is not printable ASCII without blanks")
	}
	u, err := url.Parse(prefix)
	if err == nil && u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return nil
	}
	if err == nil {
		prefix = u.Redacted()
	}
	return fail("is neither a path nor a URL without user and query")
}

// netboot is a folder that is being put together.
type netboot struct {
	src   *source
	from  map[string]plan.File // by path on the ISO, in lower case
	files []plan.File
	seen  map[string]bool // names in the folder
}

func (n *netboot) collect(boot bootFile, prefix string) error {
	cfg, dir := boot.cfg, "/"+path.Dir(boot.path)
	kernel, err := n.load(cfg, dir, cfg.Kernel())
	if err != nil {
		return err
	}
	modules := cfg.Modules()
	list := make([]string, len(modules))
	for i, m := range modules {
		if list[i], err = n.load(cfg, dir, m.Path); err != nil {
			return err
		}
		if m.Args != "" {
			list[i] += " " + m.Args
		}
	}
	if err := n.addLoaders(); err != nil {
		return err
	}
	if err := errors.Join(
		cfg.Set("prefix", prefix), cfg.Set("kernel", kernel), cfg.Set("modules", strings.Join(list, " --- ")),
	); err != nil {
		return &InputError{Input: boot.path, Err: err}
	}
	for _, f := range cfg.Check() {
		if f.Severity == bootcfg.SeverityError {
			return &InputError{Input: NetbootConfig, Err: errors.New(f.Message), Advice: f.Cure}
		}
	}
	return n.add(NetbootConfig, memoryFile(NetbootConfig, cfg.Bytes(), plan.RoleBootCfg))
}

// load adds a file that boot.cfg names, and returns how it is to name it: a
// leading slash would make it forget the prefix.
func (n *netboot) load(cfg *bootcfg.Config, dir, file string) (string, error) {
	name := cfg.Resolve(dir, file)
	f, ok := n.from[strings.ToLower(name)]
	if !ok || !fs.ValidPath(name) {
		return "", &InputError{Input: n.src.bootCfgs[0].path, Err: fmt.Errorf("names %q, which can't be a file of the folder", name)}
	}
	return name, n.add(name, f)
}

// add puts a file into the folder, once.
func (n *netboot) add(name string, f plan.File) error {
	if n.seen[name] && n.files[slices.IndexFunc(n.files, func(o plan.File) bool { return o.Path == name })].Role != f.Role {
		return &InputError{Input: name, Err: errors.New("is the name of two files of the folder"), Advice: "rename the module"}
	}
	if n.seen[name] {
		return nil
	}
	n.seen[name] = true
	f.Path, f.Offset = name, 0
	n.files = append(n.files, f)
	return nil
}

func (n *netboot) addLoaders() error {
	for _, l := range loaders {
		f, ok := n.from[strings.ToLower(l.on)]
		if !ok {
			continue
		}
		if n.seen[l.as] {
			return &InputError{Input: l.as, Err: errors.New("is the name of a module and of the boot loader")}
		}
		if err := n.add(l.as, f); err != nil {
			return err
		}
	}
	return nil
}
