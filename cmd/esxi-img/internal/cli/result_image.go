package cli

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/signing"
)

// imageResult is what inspect prints of an image in a registry, a layout or an
// archive. What a disk image has too is called the same there.
type imageResult struct {
	Ref           string                   `json:"ref"`
	Kind          string                   `json:"kind"` // "image" or "variant"
	Digest        string                   `json:"digest"`
	Manifest      string                   `json:"manifest"` // the image manifest's digest
	Base          *artifact.Base           `json:"base,omitempty"`
	Size          int64                    `json:"size"` // of the disk
	Disk          imageDiskResult          `json:"disk"`
	ISO           artifact.ISO             `json:"iso"`
	Release       releaseResult            `json:"release"`
	BootCfg       []bootCfgResult          `json:"bootCfg"`
	Modules       []artifact.Module        `json:"addedModules"`
	KernelOpts    []string                 `json:"kernelopts"`
	Kickstart     string                   `json:"kickstart"`
	Metadata      string                   `json:"metadata,omitempty"` // required or optional
	Host          *hostResult              `json:"host,omitempty"`
	Manifests     []blobResult             `json:"manifests"`
	Layers        []blobResult             `json:"layers"`
	Tags          []string                 `json:"tags"`
	Referrers     []artifact.ReferrerCount `json:"referrers"`
	Bundles       *signing.Listing         `json:"bundles"` // attached to the digest, as they say of themselves
	VIBs          []vibResult              `json:"vibs"`
	Files         []fileResult             `json:"files"`
	FormatVersion string                   `json:"formatVersion"`
	Builder       string                   `json:"builder"`
	Warnings      []string                 `json:"warnings,omitempty"`
}

type imageDiskResult struct {
	SHA256         string `json:"sha256"`
	GUID           string `json:"guid"`
	PartitionGUID  string `json:"partitionGUID"`
	SectorSize     int    `json:"sectorSize"`
	PartitionStart int64  `json:"partitionStart"`
	PartitionSize  int64  `json:"partitionSize"`
	Label          string `json:"label"`
	VolumeID       uint32 `json:"volumeID"`
	ClusterSize    int    `json:"clusterSize"`
}

// blobResult is a manifest or a layer.
type blobResult struct {
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType,omitempty"`
	DiskType     string `json:"diskType,omitempty"`
	Title        string `json:"title,omitempty"`
}

func newBlobResult(d ocispec.Descriptor) blobResult {
	return blobResult{
		d.Digest.String(), d.Size, d.MediaType, d.ArtifactType,
		d.Annotations[artifact.AnnotationDiskType], d.Annotations[ocispec.AnnotationTitle],
	}
}

func newImageResult(r *imageReport) imageResult {
	img, c := r.img, r.img.Config
	d := &c.Disk
	out := imageResult{
		Ref: r.ref.String(), Kind: imageKind(c), Digest: r.top.Digest.String(), Manifest: img.Manifest.Digest.String(),
		Base: c.Base, Size: d.Size, ISO: c.ISO, Release: imageRelease(c),
		Disk: imageDiskResult{
			d.SHA256.String(), d.GUID.String(), d.PartitionGUID.String(), d.SectorSize,
			d.PartitionOffset, d.PartitionSize, d.Label, d.VolumeID, d.ClusterSize,
		},
		BootCfg: orNone(r.boot), Modules: orNone(c.Modules), KernelOpts: orNone(c.KernelOpts), Kickstart: string(r.kickstart),
		Tags: orNone(r.tags), Referrers: orNone(r.referrers), Bundles: r.claims, VIBs: []vibResult{}, Files: imageFiles(c),
		FormatVersion: c.Version, Builder: c.Builder.Version, Warnings: r.warnings,
	}
	if told, err := imager.ParseHostSettings([]byte(c.Kickstart.Settings)); err == nil {
		host := newHostResult(told.HostOptions)
		out.Metadata, out.Host = told.Metadata, &host
	}
	for _, e := range r.entries() {
		out.Manifests = append(out.Manifests, newBlobResult(e))
	}
	for _, l := range []ocispec.Descriptor{img.ConfigBlob, img.Disk, img.Module, img.Kickstart} {
		out.Layers = append(out.Layers, newBlobResult(l))
	}
	for _, v := range c.VIBs {
		out.VIBs = append(out.VIBs, vibResult{v.Name, v.Version, v.Vendor, v.Acceptance})
	}
	return out
}

// orNone makes an empty list of none, for JSON.
func orNone[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
