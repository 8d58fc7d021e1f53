package option

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/esxi-img/esxi-img/pkg/strictyaml"
)

const (
	// DefaultLayout is the folder of the layout that build writes and push
	// takes.
	DefaultLayout = "esxi-img.oci"
	// DefaultConfig is the configuration file that is used if it is there.
	DefaultConfig = "esxi-img.yaml"
	// maxConfig bounds the configuration file, in bytes.
	maxConfig = 1 << 20
)

// Profile says what goes into an image. Its fields are those of esxi-img.yaml;
// flags come on top of the file.
type Profile struct {
	ISO            string `yaml:"iso"`
	Output         string `yaml:"output"`
	Layout         string `yaml:"layout"`
	Tag            string `yaml:"tag"`
	Format         string `yaml:"format"`
	Compress       bool   `yaml:"compress"`
	Prefix         string `yaml:"prefix"`
	Headroom       Size   `yaml:"headroom"`
	SectorSize     int    `yaml:"sectorSize"`
	VerifyPayloads bool   `yaml:"verifyPayloads"`
	Content        `yaml:",inline"`
	Host           `yaml:",inline"`
}

// ProfileFlags fill a Profile from a configuration file and from flags.
type ProfileFlags struct {
	given            Profile
	host             hostFlags
	config           string
	noVerifyPayloads bool
}

// defaults are what holds where neither the file nor a flag says otherwise.
var defaults = Profile{Format: "raw", Content: Content{Metadata: "optional"}, Headroom: 16 << 20, SectorSize: 512, VerifyPayloads: true}

// AddFlags adds the group's flags.
func (p *ProfileFlags) AddFlags(f *pflag.FlagSet) {
	g := &p.given
	f.StringVarP(&g.Output, "output", "o", "", "write the disk image to `FILE`")
	f.StringVar(&g.Layout, "layout", "", "write an OCI image layout to the folder `DIR` (default \"./esxi-img.oci\" without --output)")
	f.StringVar(&g.Tag, "tag", "", "`TAG` in the layout, beside latest")
	f.StringVar(&g.Format, "format", defaults.Format, "`FORMAT` of the output: raw, qcow2, vmdk, vmdk-sparse, iso or netboot")
	f.BoolVar(&g.Compress, "compress", false, "compress a qcow2 file")
	f.StringVar(&g.Prefix, "prefix", "", "`URL` or path of the folder, for boot.cfg, with --format netboot (default: the folder that boot.cfg is in)")
	p.AddContentFlags(f)
	g.Headroom = defaults.Headroom
	f.Var(&g.Headroom, "headroom", "free `SIZE` on the volume for later changes")
	f.IntVar(&g.SectorSize, "sector-size", defaults.SectorSize, "logical sector size of the target disk in `BYTES`: 512 or 4096")
	f.BoolVar(&p.noVerifyPayloads, "no-verify-payloads", false, "do not check the ISO's files against the VIBs' digests")
	f.StringVar(&p.config, "config", "", "read the profile from `FILE` (default \"esxi-img.yaml\" if it is there)")
}

// AddContentFlags adds the flags about what runs on the host.
func (p *ProfileFlags) AddContentFlags(f *pflag.FlagSet) {
	g := &p.given
	p.AddKickstartFlags(f)
	f.StringVar(&g.Metadata, "metadata", defaults.Metadata, "`MODE` required or optional: required stops the installation before a disk is touched on a host without metadata, optional goes on")
	p.host.addFlags(f)
	f.StringArrayVar(&g.Modules, "module", nil, "add a module `FILE.tgz` to the installer (repeatable)")
	g.addKernelOptFlag(f)
}

// AddKickstartFlags adds the flags that make up the kickstart.
func (p *ProfileFlags) AddKickstartFlags(f *pflag.FlagSet) {
	p.given.addKickstartFlags(f, "the built-in ones")
}

// Resolve merges defaults, configuration file and flags, in this order. Lists
// of flags are added to those of the file.
func (p *ProfileFlags) Resolve(f *pflag.FlagSet) (Profile, error) {
	merged, err := p.fromFile()
	if err != nil {
		return Profile{}, err
	}
	g := p.given
	override(f, "output", &merged.Output, g.Output)
	override(f, "layout", &merged.Layout, g.Layout)
	override(f, "tag", &merged.Tag, g.Tag)
	override(f, "format", &merged.Format, g.Format)
	override(f, "compress", &merged.Compress, g.Compress)
	override(f, "prefix", &merged.Prefix, g.Prefix)
	override(f, "kickstart", &merged.Kickstart, g.Kickstart)
	override(f, "metadata", &merged.Metadata, g.Metadata)
	override(f, "headroom", &merged.Headroom, g.Headroom)
	override(f, "sector-size", &merged.SectorSize, g.SectorSize)
	merged.Pre = append(merged.Pre, g.Pre...)
	merged.Post = append(merged.Post, g.Post...)
	merged.Firstboot = append(merged.Firstboot, g.Firstboot...)
	merged.Modules = append(merged.Modules, g.Modules...)
	merged.KernelOpts = append(merged.KernelOpts, g.KernelOpts...)
	if p.noVerifyPayloads {
		merged.VerifyPayloads = false
	}
	return merged, p.host.resolveOnto(f, &merged.Host)
}

func override[T any](f *pflag.FlagSet, flag string, to *T, value T) {
	if f.Changed(flag) {
		*to = value
	}
}

// fromFile reads the configuration file. Without --config a missing one is no
// error.
func (p *ProfileFlags) fromFile() (Profile, error) {
	merged := defaults
	name := p.config
	if name == "" {
		name = DefaultConfig
	}
	text, err := readBounded(name)
	if errors.Is(err, fs.ErrNotExist) && p.config == "" {
		return merged, nil
	}
	if err != nil {
		return merged, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&merged); err != nil && !errors.Is(err, io.EOF) {
		return merged, fmt.Errorf("%s: %w", name, strictyaml.Plain(err))
	}
	merged.relativeTo(filepath.Dir(name))
	return merged, nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%s: over the limit of %d bytes", name, maxConfig)
	}
	return text, nil
}

// relativeTo makes the paths of a configuration file relative to its folder.
func (p *Profile) relativeTo(dir string) {
	makeRelative(dir, []*string{&p.ISO, &p.Output, &p.Layout, &p.Kickstart, &p.RootPasswordFile}, p.pathLists())
}

// Defaults returns the profile that holds where nobody says otherwise.
func Defaults() Profile { return defaults }
