package esxitest

import (
	"strings"
	"time"
)

// Release is the shape of one ESXi release's installer.
type Release struct {
	Version string // "8.0.2"
	Update  string // "U2", empty where there is none
	Build   string // "22380479"
	Profile string // the image profile: "ESXi-8.0U2-22380479-standard"
	// VIBVersion is the version of the VIBs that carry the release's own:
	// "8.0.2-0.0.22380479".
	VIBVersion string
	// BootBuild is the build= line of BOOT.CFG, empty on 6.x.
	BootBuild string
	// KernelOpt is the kernelopt= line of BOOT.CFG.
	KernelOpt string
	// Modules of BOOT.CFG in order, without the leading slash.
	Modules []string
	// Crypto64 says whether EFI/BOOT has CRYPTO64.EFI (7.0U3 and later).
	Crypto64 bool
	// Components says whether the image database has bulletins and reserved
	// components (7.0 and later).
	Components bool
	// DiscInfo says whether the root has a .DISCINFO.
	DiscInfo bool
	// Date stands in the volume descriptor and in every directory record.
	Date time.Time
}

// VolumeID returns the profile's name in upper case, cut to 32 characters.
func (r Release) VolumeID() string {
	id := strings.ToUpper(r.Profile)
	return id[:min(len(id), 32)]
}

// WithBuild returns the release as another build of it.
func (r Release) WithBuild(build string) Release {
	for _, text := range []*string{&r.Profile, &r.VIBVersion, &r.BootBuild} {
		*text = strings.ReplaceAll(*text, r.Build, build)
	}
	r.Build = build
	return r
}

// Releases returns the presets, oldest first: 6.7U2, 7.0.0, 8.0.2, 8.0.3, 9.0.
func Releases() []Release {
	return []Release{Release67U2(), Release700(), Release802(), Release803(), Release900()}
}

// FindRelease returns the preset for a name such as "8.0.2", "8.0U2", "6.7U2"
// or "9.0".
func FindRelease(name string) (Release, bool) {
	for _, r := range Releases() {
		short := r.Version[:strings.LastIndexByte(r.Version, '.')]
		if name == r.Version || name == short+r.Update {
			return r, true
		}
	}
	return Release{}, false
}

// Release67U2 has an empty build=, 158 modules, no components.
func Release67U2() Release {
	return Release{
		Version: "6.7.0", Update: "U2", Build: "13006603",
		Profile: "ESXi-6.7.0-20190402001-standard", VIBVersion: "6.7.0-2.48.13006603",
		KernelOpt: "cdromBoot runweasel", Modules: modules67U2(),
		DiscInfo: true, Date: time.Date(2019, 4, 11, 5, 20, 10, 0, time.UTC),
	}
}

// Release700 still has kernelopt in the old order; 89 modules.
func Release700() Release {
	return Release{
		Version: "7.0.0", Build: "15843807",
		Profile: "ESXi-7.0.0-15843807-standard", VIBVersion: "7.0.0-1.0.15843807",
		BootBuild: "7.0.0-1.0.15843807", KernelOpt: "cdromBoot runweasel", Modules: modules700(),
		Components: true, Date: time.Date(2020, 3, 16, 10, 30, 0, 0, time.UTC),
	}
}

// Release802 has exactly the stock BOOT.CFG of ESXi 8.0 Update 2. It is what
// the other functions use unless they are told otherwise.
func Release802() Release {
	return Release{
		Version: "8.0.2", Update: "U2", Build: "22380479",
		Profile: "ESXi-8.0U2-22380479-standard", VIBVersion: "8.0.2-0.0.22380479",
		BootBuild: "8.0.2-0.0.22380479", KernelOpt: "runweasel cdromBoot", Modules: modules802(),
		Crypto64: true, Components: true, Date: time.Date(2023, 9, 4, 14, 59, 10, 0, time.UTC),
	}
}

// Release803 has one module more than 8.0.2.
func Release803() Release {
	r := Release802()
	r.Version, r.Update, r.Build = "8.0.3", "U3", "24022510"
	r.Profile = "ESXi-8.0U3-24022510-standard"
	r.VIBVersion = "8.0.3-0.0.24022510"
	r.BootBuild = r.VIBVersion
	r.Modules = insertAfter(r.Modules, "trx.v00", "vcls_pod.v00")
	r.Date = time.Date(2024, 6, 11, 8, 2, 40, 0, time.UTC)
	return r
}

// Release900 shows its version with dots only, where its VIBs keep a dash.
func Release900() Release {
	r := Release803()
	r.Version, r.Update, r.Build = "9.0.0", "", "24755229"
	r.Profile = "ESXi-9.0.0.0.24755229-standard"
	r.VIBVersion = "9.0.0-0.24755229"
	r.BootBuild = "9.0.0.0.24755229"
	r.Modules = insertAfter(r.Modules, "vmx.v00", "vmxnet.v00", "vmkapi.v00")
	r.Modules = insertAfter(r.Modules, "rdmahl.v00", "bnxtcust.v00", "dpu_core.v00")
	r.Date = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	return r
}

func insertAfter(list []string, after string, more ...string) []string {
	var out []string
	for _, s := range list {
		out = append(out, s)
		if s == after {
			out = append(out, more...)
		}
	}
	return out
}
