package artifact

import (
	"io"

	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
)

// SourceOf is the source for an image that was planned from an ISO: the first
// size bytes of content, a file of that name.
func SourceOf(img *imager.Image, medium *iso.Image, name string, content io.ReaderAt) *Source {
	return &Source{
		Plan: img.Plan, Layout: img.Layout, Directories: img.Dirs,
		FirstDataOffset: img.Geometry.FirstDataOffset,
		Release: ESXi{
			Version: img.Release.Version, Update: img.Release.Update, Build: img.Release.Build,
			Profile: img.Release.Profile, Vendor: img.Release.Vendor, Architecture: architecture(img.Release.Arch),
		},
		ISO:        ISO{Name: name, Size: medium.Size(), VolumeID: medium.VolumeID()},
		ISOContent: content,
		VIBs:       img.VIBs,
		Kickstart:  img.Kickstart,
		Settings:   img.Settings,
		KernelOpts: img.KernelOpts,
	}
}

// architecture is amd64 where boot loaders of both kinds are there, or none
// tells: every ESXi but one fling's is.
func architecture(arch string) string {
	if arch == "arm64" {
		return arch
	}
	return "amd64"
}
