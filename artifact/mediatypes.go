// Package artifact is the format in which a disk image lies in an OCI
// registry: media types, the config blob, packing, pulling and putting
// together. docs/artifact-spec.md describes it for other implementations.
//
// A tag points at an OCI index. Its image manifest is the artifact proper: the
// config, the raw disk, the installer module and the kickstart. Beside it lies
// a disk manifest over the same disk blob, for tools that know nothing of us.
package artifact

// FormatVersion is the version of the format that this package writes. What
// has another major version is refused, another minor version is read.
const FormatVersion = "1.0"

// Artifact types, of manifests and in the descriptors that point at them.
const (
	// TypeIndex is the artifact type of the index.
	TypeIndex = "application/vnd.esxi-img.v1"
	// TypeImage is that of the image manifest.
	TypeImage = "application/vnd.esxi-img.image.v1"
	// TypeVariant is that of an image manifest whose disk layer is another
	// image's: see Config.Base.
	TypeVariant = "application/vnd.esxi-img.image.variant.v1"
	// TypeDisk is that of a disk manifest, which has the disk as its one layer.
	TypeDisk = "application/vnd.esxi-img.disk.v1"
)

// Media types of blobs.
const (
	MediaTypeConfig    = "application/vnd.esxi-img.config.v1+json"
	MediaTypeRaw       = "application/vnd.esxi-img.disk.v1.raw"
	MediaTypeQCOW2     = "application/vnd.esxi-img.disk.v1.qcow2"
	MediaTypeModule    = "application/vnd.esxi-img.installer-module.v1.tar+gzip"
	MediaTypeKickstart = "application/vnd.esxi-img.kickstart.v1"
)

// AnnotationDiskType says of which kind an entry of the index is. OpenStack
// Ironic and podman machine choose by it, so it has no domain in its name.
const AnnotationDiskType = "disktype"

// Values of AnnotationDiskType.
const (
	DiskTypeImage = "esxi-img" // the image manifest
	DiskTypeRaw   = "raw"      // the disk manifest
	DiskTypeQCOW2 = "qcow2"    // one over the same disk as a QCOW2 file
)

// Annotations of the index and of the image manifest, besides those of the
// image-spec (title, version, created). They let a catalog list a tag with one
// request.
const (
	AnnotationRelease  = "io.github.esxi-img.release"   // "8.0.2"
	AnnotationUpdate   = "io.github.esxi-img.update"    // "U2", absent where there is none
	AnnotationBuild    = "io.github.esxi-img.build"     // "22380479"
	AnnotationProfile  = "io.github.esxi-img.profile"   // "ESXi-8.0U2-22380479-standard"
	AnnotationDiskSize = "io.github.esxi-img.disk-size" // bytes, decimal
)

// Titles of layers: the names under which tools such as oras store them.
const (
	TitleModule    = "ESXIIMG.TGZ"
	TitleKickstart = "KS.CFG"
)

// PlatformOS is what every entry's platform names as its operating system:
// tools skip entries of any other, and some fail where there is none.
const PlatformOS = "linux"
