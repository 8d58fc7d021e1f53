// Package fat32 plans FAT32 volumes and reads them.
//
// [New] makes a [plan.Plan] of a whole volume from a list of files: the same
// list and options give the same bytes everywhere. [Open] reads a volume, one
// of ours or of any other tool, as an [io/fs.FS].
//
// Field names and section titles are those of Microsoft's "FAT: General
// Overview of On-Disk Format", version 1.03 ("the specification").
//
// # Where things lie on a planned volume
//
// Boot sector, FSInfo, their backups at sector 6, two FATs, then the data: the
// root directory at cluster 2, the other directories in the order in which
// they are first mentioned (dirs, then the parents of files; parents before
// children), then the files in the order given. Each is one run of clusters.
// In a directory the sub-directories come first, then the files, both in that
// same order. So replacing the last files moves no other file's bytes.
//
// # Names
//
// Paths are UTF-8, slash separated, without a leading slash. Names are stored
// in the case given and compared without case: "efi/x" goes into a directory
// "EFI" that was mentioned earlier, and two files that differ in case only are
// a [ClashError]. A name that is upper-case 8.3 is stored as that alone; every
// other name has a long name and an alias.
package fat32

import (
	"errors"
	"fmt"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Limits, for planning and for reading alike.
const (
	// MinClusters is the fewest data clusters of a FAT32 volume; with fewer it
	// is FAT16 or FAT12, whatever its boot sector claims (section "FAT Type
	// Determination").
	MinClusters = 65525
	// MaxFileSize is the largest file in bytes: DIR_FileSize has 32 bits.
	MaxFileSize = 1<<32 - 1
	// MaxDirEntries is the most 32-byte entries of a directory, long names and
	// spare ones included: 2 MiB, which other drivers enforce.
	MaxDirEntries = 65536
	// MaxNameLength is the longest name in UCS-2 characters.
	MaxNameLength = 255
	// MaxDepth is the most elements of a path. An installer needs 5.
	MaxDepth = 64
	// MaxNodes is the most files and directories of a volume. An installer has
	// 200; the bound keeps a hostile volume from filling the memory.
	MaxNodes = 65536
	// MaxPathBytes bounds all paths of a volume together, for the same reason.
	MaxPathBytes = 16 << 20
)

const (
	maxUsedClusters = 1 << 22 // a planned FAT's used part is held in memory: 16 MiB
	maxCluster      = 0x0FFFFFF6
	maxClusterSize  = 64 << 10 // the specification says 32 KiB; mkfs.vfat and Windows go to 64

	dirEntrySize = 32
	dataAlign    = 4096 // the data area's alignment, on the volume and on the disk

	fatEntrySize = 4
	fatMask      = 0x0FFFFFFF // the top four bits are reserved
	fatBad       = 0x0FFFFFF7
	fatEOC       = 0x0FFFFFFF // what we write
	fatMinEOC    = 0x0FFFFFF8 // from here on it is the end of a chain

	firstCluster = 2 // number of the first data cluster
)

// Geometry is where the parts of a volume lie.
type Geometry struct {
	SectorSize      int    // bytes; BPB_BytsPerSec
	ClusterSize     int    // bytes; BPB_SecPerClus * BPB_BytsPerSec
	ReservedSectors int    // BPB_RsvdSecCnt
	FATs            int    // BPB_NumFATs
	SectorsPerFAT   int64  // BPB_FATSz32
	HiddenSectors   uint32 // BPB_HiddSec: sectors before the volume
	TotalSectors    int64  // BPB_TotSec32
	RootCluster     uint32 // BPB_RootClus
	Clusters        int    // data clusters; they are numbered from 2
	FirstDataOffset int64  // bytes from the boot sector to cluster 2
}

// Size returns the volume's size in bytes.
func (g *Geometry) Size() int64 { return g.TotalSectors * int64(g.SectorSize) }

// ClusterOffset returns where a data cluster begins, in bytes from the start
// of the volume.
func (g *Geometry) ClusterOffset(cluster uint32) int64 {
	return g.FirstDataOffset + int64(cluster-firstCluster)*int64(g.ClusterSize)
}

// fatOffset returns where FAT i begins, in bytes from the start of the volume.
func (g *Geometry) fatOffset(i int) int64 {
	return (int64(g.ReservedSectors) + int64(i)*g.SectorsPerFAT) * int64(g.SectorSize)
}

// Layout is a planned volume.
type Layout struct {
	Plan *plan.Plan // offset 0 is the boot sector
	Geometry
	FreeClusters int
}

// ErrNotFAT32 is what [Open] wraps when the bytes are no FAT32 volume at all:
// FAT12, FAT16, another format, or a boot sector that makes no sense.
var ErrNotFAT32 = errors.New("not a FAT32 volume")

// NameError says that a name can't be stored.
type NameError struct {
	Path   string
	Name   string // the element of Path at fault
	Reason string
}

func (e *NameError) Error() string {
	if e.Path == e.Name {
		return fmt.Sprintf("fat32: %q %s", e.Name, e.Reason)
	}
	return fmt.Sprintf("fat32: %q: %q %s", e.Path, e.Name, e.Reason)
}

// ClashError says that two paths are one to FAT, which ignores case.
type ClashError struct {
	Path, Other string // Other was there first
}

func (e *ClashError) Error() string {
	return fmt.Sprintf("fat32: %q clashes with %q: FAT compares names without case", e.Path, e.Other)
}

// FileSizeError says that a file is larger than [MaxFileSize].
type FileSizeError struct {
	Path string
	Size int64
}

func (e *FileSizeError) Error() string {
	return fmt.Sprintf("fat32: %q has %d bytes, a file on FAT32 at most %d", e.Path, e.Size, int64(MaxFileSize))
}

// SizeError says that a volume does not hold what it should.
type SizeError struct {
	Size int64 // of the volume, in bytes
	Need int64 // the size that would do
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("fat32: a volume of %d bytes is %d too small: %d are needed", e.Size, e.Need-e.Size, e.Need)
}

// CorruptError says what is wrong with a FAT32 volume.
type CorruptError struct {
	Path   string // the file or directory, "." for the root; empty for the volume
	Reason string
}

func (e *CorruptError) Error() string {
	if e.Path == "" {
		return "fat32: " + e.Reason
	}
	return fmt.Sprintf("fat32: %q: %s", e.Path, e.Reason)
}

func corrupt(path, format string, args ...any) error {
	return &CorruptError{Path: path, Reason: fmt.Sprintf(format, args...)}
}
