package catalog

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Contents are what an image, a disk or an ISO is compared by. ContentsOfReport
// and ContentsOfImage make them.
type Contents struct {
	// Properties are compared where both sides have one of that name.
	Properties []Property
	VIBs       []VIB
	Files      []File
	// Boot are the boot loader's configurations; BootUnknown says that they
	// could not be read, so that nothing is said of them.
	Boot        []BootConfig
	BootUnknown bool
	Kickstart   []byte // nil if there is none
}

// Property is something that a side has one of.
type Property struct {
	Name, Value string
	// Secret values are compared, and shown to nobody.
	Secret bool
}

// VIB is a software package.
type VIB struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Vendor     string `json:"vendor"`
	Acceptance string `json:"acceptance"`
}

// File is a file of the volume or of the ISO.
type File struct {
	Path string // slash separated, no leading slash; upper and lower case are the same
	Size int64  // in bytes
	Role plan.Role
	VIB  string // the name of the VIB that owns it, "" if none
	// SHA256 is its digest where that is known; else Content has its bytes.
	SHA256  *[32]byte
	Content io.ReaderAt
}

// BootConfig is one copy of boot.cfg.
type BootConfig struct {
	Path       string
	Title      string
	Kernel     string
	KernelOpts []string
	Modules    []string // in the order in which they are loaded
}

// ContentsOfReport says what an ISO or a disk is compared by.
func ContentsOfReport(r *imager.Report) *Contents {
	c := &Contents{Kickstart: r.Kickstart}
	c.addRelease(r.Release.Version, r.Release.Update, r.Release.Build, r.Release.Profile, r.Release.Vendor, r.Release.Arch)
	if d := r.Disk; d != nil {
		c.addDisk(r.Size, d.SectorSize, d.GUID.String(), d.PartitionGUID.String(), d.Label, d.VolumeID)
	}
	if r.Host != nil {
		c.addHost(r.Host)
	}
	if r.VIBs != nil {
		for i := range r.VIBs.VIBs {
			v := &r.VIBs.VIBs[i]
			c.VIBs = append(c.VIBs, VIB{v.Name, v.Version, v.Vendor, v.Acceptance})
		}
	}
	for _, f := range r.Files {
		owner, _, _ := strings.Cut(f.VIB, " ") // its version is the VIB's
		c.Files = append(c.Files, File{Path: f.Path, Size: f.Size, Role: f.Role, VIB: owner, Content: f.Content})
	}
	for i := range r.BootCfg {
		c.Boot = append(c.Boot, BootConfigOf(&r.BootCfg[i]))
	}
	return c
}

// BootConfigOf takes over what was found in a boot.cfg.
func BootConfigOf(b *imager.BootReport) BootConfig {
	return BootConfig{b.Path, b.Title, b.Kernel, strings.Fields(b.KernelOpt), b.Modules}
}

// ContentsOfImage says what an image in a registry or a layout is compared by.
// boot is nil where it could not be read.
func ContentsOfImage(img *artifact.Image, kickstart []byte, boot []BootConfig) *Contents {
	conf := img.Config
	c := &Contents{Kickstart: kickstart, Boot: boot, BootUnknown: boot == nil}
	e, d := &conf.ESXi, &conf.Disk
	c.addRelease(e.Version, e.Update, e.Build, e.Profile, e.Vendor, e.Architecture)
	c.addDisk(d.Size, d.SectorSize, d.GUID.String(), d.PartitionGUID.String(), d.Label, d.VolumeID)
	if told, err := imager.ParseHostSettings([]byte(conf.Kickstart.Settings)); err == nil {
		c.addHost(&told)
	}
	owners := map[string]string{}
	for i := range conf.VIBs {
		v := &conf.VIBs[i]
		c.VIBs = append(c.VIBs, VIB{v.Name, v.Version, v.Vendor, v.Acceptance})
		for _, name := range v.Files {
			owners[name] = v.Name
		}
	}
	for i := range conf.Files {
		f := &conf.Files[i]
		sum := [32]byte(f.SHA256)
		c.Files = append(c.Files, File{Path: f.Path, Size: f.Size, Role: f.Role, VIB: owners[f.Path], SHA256: &sum})
	}
	return c
}

func (c *Contents) add(name, value string) {
	c.Properties = append(c.Properties, Property{Name: name, Value: value})
}

func (c *Contents) addRelease(version, update, build, profile, vendor, arch string) {
	c.add("release", strings.TrimSpace(version+" "+update))
	c.add("build", build)
	c.add("profile", profile)
	c.add("vendor", vendor)
	c.add("architecture", arch)
}

func (c *Contents) addDisk(size int64, sector int, disk, partition, label string, volume uint32) {
	c.add("disk size", strconv.FormatInt(size, 10))
	c.add("sector size", strconv.Itoa(sector))
	c.add("disk GUID", disk)
	c.add("partition GUID", partition)
	c.add("volume", fmt.Sprintf("%s, id %04X-%04X", label, volume>>16, volume&0xFFFF))
}

// addHost adds what an image tells its hosts.
func (c *Contents) addHost(s *imager.HostSettings) {
	c.add("metadata", s.Metadata)
	c.Properties = append(c.Properties, Property{"root password", string(s.RootHash), true})
	disk := ""
	if s.Install.Disk != nil {
		disk = s.Install.Disk.String()
	}
	c.add("install disk", disk)
	c.add("overwrite VMFS", boolText(s.Install.OverwriteVMFS))
	c.add("overwrite vSAN", boolText(s.Install.OverwriteVSAN))
	c.add("host kernelopt", strings.Join(s.KernelOpts, " "))
	c.add("serial console", strconv.FormatBool(s.SerialConsole))
}

// boolText is "" where nothing is said.
func boolText(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}
