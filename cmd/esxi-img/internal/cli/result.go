package cli

import (
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
)

// The shapes of the JSON results, apart from the libraries' own types so that
// a change of those does not change what scripts read.

type releaseResult struct {
	Product  string           `json:"product"`
	Version  string           `json:"version"`
	Update   string           `json:"update,omitempty"`
	Build    string           `json:"build"`
	Profile  string           `json:"profile,omitempty"`
	Vendor   string           `json:"vendor,omitempty"`
	Arch     string           `json:"architecture,omitempty"`
	Evidence []evidenceResult `json:"evidence,omitempty"`
}

type evidenceResult struct {
	Source string `json:"source"`
	Text   string `json:"text"`
}

func newReleaseResult(r iso.Release) releaseResult {
	out := releaseResult{
		Product: r.Product, Version: r.Version, Update: r.Update, Build: r.Build,
		Profile: r.Profile, Vendor: r.Vendor, Arch: r.Arch,
	}
	for _, e := range r.Evidence {
		out.Evidence = append(out.Evidence, evidenceResult{e.Source, e.Text})
	}
	return out
}

// String is the release in a line.
func (r releaseResult) String() string {
	if r.Version == "" && r.Build == "" {
		return "unknown"
	}
	s := r.Product + " " + r.Version
	if r.Update != "" {
		s += " " + r.Update
	}
	if r.Build != "" {
		s += " build " + r.Build
	}
	return s
}

type inspectResult struct {
	File      string            `json:"file"`
	Kind      string            `json:"kind"` // "iso" or "disk"
	Size      int64             `json:"size"`
	ISO       *isoResult        `json:"iso,omitempty"`
	Disk      *diskResult       `json:"disk,omitempty"`
	Release   releaseResult     `json:"release"`
	BootCfg   []bootCfgResult   `json:"bootCfg"`
	Modules   []moduleResult    `json:"addedModules"`
	Kickstart string            `json:"kickstart,omitempty"`
	Metadata  string            `json:"metadata,omitempty"` // required or optional
	Host      *hostResult       `json:"host,omitempty"`
	Custom    *customize.Record `json:"customised,omitempty"`
	VIBs      []vibResult       `json:"vibs"`
	Files     []fileResult      `json:"files"`
	Warnings  []imager.Warning  `json:"warnings,omitempty"`
}

type isoResult struct {
	VolumeID   string            `json:"volumeID"`
	NameSource string            `json:"nameSource"`
	BootImages []bootImageResult `json:"bootImages"`
}

type bootImageResult struct {
	Platform byte   `json:"platform"`
	Bootable bool   `json:"bootable"`
	Path     string `json:"path,omitempty"`
}

type diskResult struct {
	GUID           string `json:"guid"`
	PartitionGUID  string `json:"partitionGUID"`
	SectorSize     int    `json:"sectorSize"`
	PartitionStart int64  `json:"partitionStart"`
	PartitionSize  int64  `json:"partitionSize"`
	Label          string `json:"label"`
	VolumeID       uint32 `json:"volumeID"`
	ClusterSize    int    `json:"clusterSize"`
	FreeBytes      int64  `json:"freeBytes"`
	Room           int64  `json:"room,omitempty"` // behind the end that the partition table has

	ConfigDrive *driveResult `json:"configDrive,omitempty"`
}

// driveResult is a partition with a config drive.
type driveResult struct {
	GUID  string   `json:"guid"`
	Start int64    `json:"start"`
	Size  int64    `json:"size"`
	Label string   `json:"label"`
	Files []string `json:"files"`
}

func newDriveResult(d *imager.DriveReport) *driveResult {
	if d == nil {
		return nil
	}
	return &driveResult{d.GUID.String(), d.Offset, d.Size, d.Label, append([]string{}, d.Files...)}
}

type bootCfgResult struct {
	Path      string   `json:"path"`
	Title     string   `json:"title"`
	Kernel    string   `json:"kernel"`
	KernelOpt string   `json:"kernelopt"`
	Modules   []string `json:"modules"`
}

type moduleResult struct {
	Path    string   `json:"path"`
	Entries []string `json:"entries,omitempty"`
}

type vibResult struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Vendor     string `json:"vendor"`
	Acceptance string `json:"acceptance"`
}

type fileResult struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Offset int64  `json:"offset"`
	Role   string `json:"role"`
	VIB    string `json:"vib,omitempty"`
}

func newInspectResult(name string, r *imager.Report) inspectResult {
	out := inspectResult{
		File: name, Kind: "iso", Size: r.Size, Release: newReleaseResult(r.Release),
		BootCfg: []bootCfgResult{}, Modules: []moduleResult{}, VIBs: []vibResult{}, Files: []fileResult{},
		Kickstart: string(r.Kickstart), Warnings: r.Warnings,
	}
	if r.Host != nil {
		host := newHostResult(r.Host.HostOptions)
		out.Metadata, out.Host = r.Host.Metadata, &host
	}
	out.Custom = newRecordResult(r.Record)
	if r.ISO != nil {
		out.ISO = newISOResult(r.ISO)
	}
	if d := r.Disk; d != nil {
		out.Kind = "disk"
		out.Disk = &diskResult{
			GUID: d.GUID.String(), PartitionGUID: d.PartitionGUID.String(), SectorSize: d.SectorSize,
			PartitionStart: d.PartitionStart, PartitionSize: d.PartitionSize,
			Label: d.Label, VolumeID: d.VolumeID, ClusterSize: d.ClusterSize, FreeBytes: d.FreeBytes, Room: d.Room,
			ConfigDrive: newDriveResult(d.Drive),
		}
	}
	for _, b := range r.BootCfg {
		out.BootCfg = append(out.BootCfg, bootCfgResult(b))
	}
	for _, m := range r.Modules {
		out.Modules = append(out.Modules, moduleResult(m))
	}
	if r.VIBs != nil {
		for _, v := range r.VIBs.VIBs {
			out.VIBs = append(out.VIBs, vibResult{v.Name, v.Version, v.Vendor, v.Acceptance})
		}
	}
	for _, f := range r.Files {
		out.Files = append(out.Files, fileResult{f.Path, f.Size, f.Offset, string(f.Role), f.VIB})
	}
	return out
}

func newISOResult(i *imager.ISOReport) *isoResult {
	out := &isoResult{VolumeID: i.VolumeID, NameSource: string(i.NameSource), BootImages: []bootImageResult{}}
	for _, b := range i.BootImages {
		out.BootImages = append(out.BootImages, bootImageResult{b.Platform, b.Bootable, b.Path})
	}
	return out
}
