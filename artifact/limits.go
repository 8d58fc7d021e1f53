package artifact

import "github.com/esxi-img/esxi-img/pkg/disk"

// The limits of the format. What breaks one is refused before it is used.
const (
	// MaxManifest is the largest index or manifest, in bytes: what registries
	// accept.
	MaxManifest = 4 << 20
	// MaxConfig is the largest config, in bytes. One of an installer has some
	// 100 KiB.
	MaxConfig = 4 << 20
	// MaxDisk is the largest disk, in bytes: 16 GiB.
	MaxDisk = disk.MaxSize
	// MaxFiles is the most files on a disk. An installer has 200.
	MaxFiles = 4096
	// MaxDirectories is the most directories on a disk.
	MaxDirectories = 4096
	// PieceSize is the most bytes that one digest of an extent covers: what is
	// fetched, checked and then written at once.
	PieceSize = 4 << 20
	// MaxExtents is the most extents of a disk: each file is one, may be
	// followed by zeros, and the metadata around them needs some more; a
	// variant's given bytes cut them further.
	MaxExtents = 16384
	// MaxGiven is the most bytes that a config gives itself, over all extents.
	MaxGiven = 2 << 20
	// MaxVIBs is the most VIBs, and MaxVIBFiles the most files of them all.
	MaxVIBs     = 4096
	MaxVIBFiles = 8192
	// MaxModules is the most modules that were added to an image.
	MaxModules = 256
	// MaxKernelOpts is the most kernel options that were applied.
	MaxKernelOpts = 256
	// MaxText is the longest text in a config, in bytes: a path, a name, an
	// option.
	MaxText = 4096
	// MaxModule is the largest installer module, in bytes: layer 1. Ours has
	// some ten KiB, one that replaces it may have what imager takes.
	MaxModule = 256 << 20
	// MaxKickstart is the largest kickstart, in bytes: layer 2.
	MaxKickstart = 1 << 20
	// MaxSettings is the most that the host scripts are told of an image, in
	// bytes.
	MaxSettings = 64 << 10
	// MaxIndexEntries is the most manifests of an index.
	MaxIndexEntries = 64

	// maxValues is the most names and values in a config's JSON, so that four
	// MiB of "{}," do not become hundreds of MiB of memory. A config at every
	// other limit has some 300,000.
	maxValues = 1 << 19
	// maxNesting is how deep the values of a config's JSON lie.
	maxNesting = 8
)
