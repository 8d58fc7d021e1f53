package fat32

import (
	"encoding/binary"
	"time"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Options says what a volume is like. The zero value is a volume of 512-byte
// sectors, without a label, just large enough.
type Options struct {
	// SectorSize is 512 (also if it is 0) or 4096 bytes.
	SectorSize int
	// HiddenSectors is where the partition starts on its disk, in sectors. It
	// must be a multiple of 4096 bytes.
	HiddenSectors uint32
	// Label of up to 11 characters; it is stored in upper case.
	Label string
	// VolumeID is the serial number.
	VolumeID uint32
	// Time of everything on the volume, stored in UTC, to the second, and
	// moved into 1980 to 2107 if it is outside.
	Time time.Time
	// Headroom is how many bytes must stay free for later changes.
	Headroom int64
	// Size of the volume in bytes, a multiple of SectorSize. 0 takes the
	// smallest that holds everything and the headroom.
	Size int64
	// RoundTo is what a chosen Size is a multiple of, in bytes: a multiple of
	// SectorSize, 0 for SectorSize itself.
	RoundTo int64
	// ClusterSize in bytes, a power of two. 0 takes what mkfs.vfat takes for
	// a volume of that size.
	ClusterSize int
	// DirHeadroom is how many 32-byte entries must stay free in each
	// directory. A long name takes one for its alias and one for every 13
	// characters.
	DirHeadroom int
}

// New plans a volume that holds files and directories; parents need not be
// named. The package's documentation says where they lie. The plan has the
// files in the order given, with their Path in the case that is stored.
//
// What can't be stored is a [*NameError], [*ClashError] or [*FileSizeError];
// a volume that does not hold it a [*SizeError].
func New(files []plan.File, dirs []string, opts Options) (*Layout, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	label, labeled, err := parseLabel(opts.Label)
	if err != nil {
		return nil, err
	}
	t, err := newTree(files, dirs, labeled)
	if err != nil {
		return nil, err
	}
	if err := t.checkDirs(opts.DirHeadroom); err != nil {
		return nil, err
	}
	g, used, err := (&need{t, &opts}).geometry()
	if err != nil {
		return nil, err
	}
	fat := t.allocate(&g, used, opts.DirHeadroom)
	free := g.Clusters - int(used)

	var b plan.Builder
	addReserved(&b, &g, label, opts.VolumeID, free)
	for range g.FATs {
		addPadded(&b, fat, g.SectorsPerFAT*int64(g.SectorSize))
	}
	t.addData(&b, &g, label, &opts)
	b.Zero(g.Size() - b.Offset())
	p, err := b.Build(g.SectorSize)
	if err != nil {
		return nil, err
	}
	return &Layout{Plan: p, Geometry: g, FreeClusters: free}, nil
}

// allocate gives every directory and file its run of clusters, and returns the
// used part of the FAT that says so.
func (t *tree) allocate(g *Geometry, used int64, dirHeadroom int) []byte {
	fat := make([]byte, (firstCluster+used)*fatEntrySize)
	le := binary.LittleEndian
	le.PutUint32(fat, fatMask&^0xFF|mediaFixed)
	le.PutUint32(fat[fatEntrySize:], fatEOC) // "clean shutdown", "no errors"
	next := uint32(firstCluster)
	run := func(bytes int64) uint32 {
		first, end := next, next+u32(ceilDiv(bytes, int64(g.ClusterSize)))
		if first == end {
			return 0 // an empty file has no cluster
		}
		for ; next < end-1; next++ {
			le.PutUint32(fat[next*fatEntrySize:], next+1)
		}
		le.PutUint32(fat[next*fatEntrySize:], fatEOC)
		next = end
		return first
	}
	for _, d := range t.dirs {
		d.cluster = run(t.dirBytes(d, dirHeadroom))
	}
	for _, f := range t.files {
		f.cluster = run(f.size)
	}
	return fat
}

// addReserved adds what comes before the FATs.
func addReserved(b *plan.Builder, g *Geometry, label [11]byte, volumeID uint32, free int) {
	next := uint32(fsiUnknown)
	if free > 0 {
		next = firstCluster + u32(int64(g.Clusters-free))
	}
	boot, info := bootSector(g, label, volumeID), fsInfo(g.SectorSize, u32(int64(free)), next)
	b.Literal(boot)
	b.Literal(info)
	b.Zero(int64(backupSector)*int64(g.SectorSize) - b.Offset())
	b.Literal(boot)
	b.Literal(info)
	b.Zero(g.fatOffset(0) - b.Offset())
}

// addData adds directories and files, in the order of their clusters.
func (t *tree) addData(b *plan.Builder, g *Geometry, label [11]byte, opts *Options) {
	cluster := int64(g.ClusterSize)
	stamp := newStamp(opts.Time)
	for _, d := range t.dirs {
		addPadded(b, t.directory(d, label, stamp), alignUp(t.dirBytes(d, opts.DirHeadroom), cluster))
	}
	for _, f := range t.plan {
		b.File(f)
		b.Zero(alignUp(f.Size, cluster) - f.Size)
	}
}

// addPadded adds data and zeros up to size bytes.
func addPadded(b *plan.Builder, data []byte, size int64) {
	b.Literal(data)
	b.Zero(size - int64(len(data)))
}
