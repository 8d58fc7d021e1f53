package fat32

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Section "Boot Sector and BPB Structure": offsets in bytes.
const (
	bsJmpBoot     = 0
	bsOEMName     = 3
	bpbBytsPerSec = 11
	bpbSecPerClus = 13
	bpbRsvdSecCnt = 14
	bpbNumFATs    = 16
	bpbRootEntCnt = 17
	bpbTotSec16   = 19
	bpbMedia      = 21
	bpbFATSz16    = 22
	bpbSecPerTrk  = 24
	bpbNumHeads   = 26
	bpbHiddSec    = 28
	bpbTotSec32   = 32
	bpbFATSz32    = 36
	bpbExtFlags   = 40
	bpbFSVer      = 42
	bpbRootClus   = 44
	bpbFSInfo     = 48
	bpbBkBootSec  = 50
	bsDrvNum      = 64
	bsBootSig     = 66
	bsVolID       = 67
	bsVolLab      = 71
	bsFilSysType  = 82
	bsBootCode    = 90
	bsSignature   = 510 // at this offset whatever the sector's size
)

// Section "FAT32 FSInfo Sector Structure and Backup Boot Sector".
const (
	fsiLeadSig   = 0
	fsiStrucSig  = 484
	fsiFreeCount = 488
	fsiNxtFree   = 492
	fsiTrailSig  = 508

	leadSig  = 0x41615252
	strucSig = 0x61417272
	trailSig = 0xAA550000

	fsInfoSector  = 1
	backupSector  = 6 // "no value other than 6 is recommended"
	fsiUnknown    = 0xFFFFFFFF
	bootSignature = 0xAA55
)

const (
	bootSectorBytes = 512 // what is used of a boot or FSInfo sector
	minReserved     = 32  // "typically 32"; what mkfs.vfat uses
	numFATs         = 2
	mediaFixed      = 0xF8
	extBootSig      = 0x29
	extFlagsActive  = 0x000F // the active FAT, where
	extFlagsSingle  = 0x0080 // mirroring is off
	noLabel         = "NO NAME    "
)

// bootSector returns the volume's first sector.
func bootSector(g *Geometry, label [11]byte, volumeID uint32) []byte {
	b := make([]byte, g.SectorSize)
	le := binary.LittleEndian
	copy(b[bsJmpBoot:], []byte{0xEB, bsBootCode - 2, 0x90})
	copy(b[bsOEMName:], "MSWIN4.1") // the name that the specification recommends
	le.PutUint16(b[bpbBytsPerSec:], u16(g.SectorSize))
	b[bpbSecPerClus] = u8(g.ClusterSize / g.SectorSize)
	le.PutUint16(b[bpbRsvdSecCnt:], u16(g.ReservedSectors))
	b[bpbNumFATs] = u8(g.FATs)
	b[bpbMedia] = mediaFixed
	le.PutUint16(b[bpbSecPerTrk:], 63) // CHS: nobody reads it, some check that it is there
	le.PutUint16(b[bpbNumHeads:], 255)
	le.PutUint32(b[bpbHiddSec:], g.HiddenSectors)
	le.PutUint32(b[bpbTotSec32:], u32(g.TotalSectors))
	le.PutUint32(b[bpbFATSz32:], u32(g.SectorsPerFAT))
	le.PutUint32(b[bpbRootClus:], g.RootCluster)
	le.PutUint16(b[bpbFSInfo:], fsInfoSector)
	le.PutUint16(b[bpbBkBootSec:], backupSector)
	b[bsDrvNum] = 0x80
	b[bsBootSig] = extBootSig
	le.PutUint32(b[bsVolID:], volumeID)
	copy(b[bsVolLab:], label[:])
	copy(b[bsFilSysType:], "FAT32   ")
	copy(b[bsBootCode:], []byte{0xCD, 0x18, 0xF4, 0xEB, 0xFD}) // int 18h (no boot here); hlt; jmp to hlt
	le.PutUint16(b[bsSignature:], bootSignature)
	le.PutUint16(b[len(b)-2:], bootSignature) // allowed, and looked for by some
	return b
}

// fsInfo returns the FSInfo sector.
func fsInfo(sectorSize int, free, next uint32) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	le.PutUint32(b[fsiLeadSig:], leadSig)
	le.PutUint32(b[fsiStrucSig:], strucSig)
	le.PutUint32(b[fsiFreeCount:], free)
	le.PutUint32(b[fsiNxtFree:], next)
	le.PutUint32(b[fsiTrailSig:], trailSig)
	return b
}

// parseBPB reads the geometry from the first bytes of a volume that has size
// bytes, and which FAT is the active one. Whatever it returns is consistent:
// the FATs hold an entry for every cluster, and every cluster is inside size.
func parseBPB(b []byte, size int64) (g Geometry, active int, err error) {
	refuse := func(format string, args ...any) (Geometry, int, error) {
		return Geometry{}, 0, fmt.Errorf("fat32: %w: "+format, append([]any{ErrNotFAT32}, args...)...)
	}
	le := binary.LittleEndian
	if got := le.Uint16(b[bsSignature:]); got != bootSignature {
		return refuse("boot sector signature is %#04x", got)
	}
	sector := int(le.Uint16(b[bpbBytsPerSec:]))
	if bits.OnesCount(uint(sector)) != 1 || sector < 512 || sector > 4096 {
		return refuse("BPB_BytsPerSec is %d", sector)
	}
	perCluster := int(b[bpbSecPerClus])
	if bits.OnesCount(uint(perCluster)) != 1 || perCluster*sector > maxClusterSize {
		return refuse("BPB_SecPerClus is %d, of %d bytes each", perCluster, sector)
	}
	if n := le.Uint16(b[bpbRootEntCnt:]); n != 0 {
		return refuse("BPB_RootEntCnt is %d, as in FAT12 or FAT16", n)
	}
	if n := le.Uint16(b[bpbFATSz16:]); n != 0 {
		return refuse("BPB_FATSz16 is %d, as in FAT12 or FAT16", n)
	}
	if n := le.Uint16(b[bpbTotSec16:]); n != 0 {
		return refuse("BPB_TotSec16 is %d, as in FAT12 or FAT16", n)
	}
	if n := le.Uint16(b[bpbFSVer:]); n != 0 {
		return refuse("BPB_FSVer is %#04x", n)
	}
	g = Geometry{
		SectorSize:      sector,
		ClusterSize:     perCluster * sector,
		ReservedSectors: int(le.Uint16(b[bpbRsvdSecCnt:])),
		FATs:            int(b[bpbNumFATs]),
		SectorsPerFAT:   int64(le.Uint32(b[bpbFATSz32:])),
		HiddenSectors:   le.Uint32(b[bpbHiddSec:]),
		TotalSectors:    int64(le.Uint32(b[bpbTotSec32:])),
		RootCluster:     le.Uint32(b[bpbRootClus:]),
	}
	if g.ReservedSectors == 0 {
		return refuse("BPB_RsvdSecCnt is 0")
	}
	if g.FATs < 1 || g.FATs > 2 {
		return refuse("BPB_NumFATs is %d", g.FATs)
	}
	if g.SectorsPerFAT == 0 {
		return refuse("BPB_FATSz32 is 0")
	}
	meta := int64(g.ReservedSectors) + int64(g.FATs)*g.SectorsPerFAT
	if meta >= g.TotalSectors {
		return refuse("the FATs end at sector %d of %d", meta, g.TotalSectors)
	}
	clusters := (g.TotalSectors - meta) / int64(perCluster)
	if clusters < MinClusters {
		return refuse("%d clusters make it FAT12 or FAT16", clusters)
	}
	if clusters > maxCluster-firstCluster+1 {
		return refuse("%d clusters are more than FAT32 can number", clusters)
	}
	if have := g.SectorsPerFAT * int64(sector) / fatEntrySize; have < clusters+firstCluster {
		return refuse("a FAT of %d entries for %d clusters", have, clusters)
	}
	if g.Size() > size {
		return Geometry{}, 0, corrupt("", "the boot sector claims a volume of %d bytes, there are %d", g.Size(), size)
	}
	g.Clusters = int(clusters)
	g.FirstDataOffset = meta * int64(sector)
	if !g.valid(g.RootCluster) {
		return refuse("BPB_RootClus is %d, with %d clusters", g.RootCluster, clusters)
	}
	if flags := le.Uint16(b[bpbExtFlags:]); flags&extFlagsSingle != 0 {
		if active = int(flags & extFlagsActive); active >= g.FATs {
			return refuse("BPB_ExtFlags names FAT %d of %d", active, g.FATs)
		}
	}
	return g, active, nil
}

// valid tells whether a number is that of a data cluster.
func (g *Geometry) valid(cluster uint32) bool {
	return cluster >= firstCluster && int64(cluster) < int64(g.Clusters)+firstCluster
}

// u8, u16 and u32 narrow what is known to fit: planning bounds it.
func u8(n int) byte      { return byte(n & 0xFF) }
func u16(n int) uint16   { return uint16(n & 0xFFFF) }
func u32(n int64) uint32 { return uint32(n & 0xFFFFFFFF) }
