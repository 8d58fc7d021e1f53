package blockdev

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// signature is what tells a file system, or a member of something larger. Most
// are libblkid's too; each is from its format's documentation.
type signature struct {
	at    int64 // from the start of the partition or, if negative, from its end
	magic string
	name  string
}

// Where a volume has its label.
const (
	isoVolumeID = 16*2048 + 40 // ECMA-119 §8.4
	fat32Label  = 71           // BS_VolLab
	fat16Label  = 43
)

var signatures = []signature{
	{0, "LUKS\xba\xbe", "LUKS encryption"},
	{3, "-FVE-FS-", "BitLocker"},
	{3, "NTFS    ", "NTFS"},
	{3, "EXFAT   ", "exFAT"},
	{3, "ReFS\x00\x00\x00\x00", "ReFS"},
	{82, "FAT32   ", "FAT32"},
	{54, "FAT16   ", "FAT16"},
	{54, "FAT12   ", "FAT12"},
	{0, "XFSB", "XFS"},
	{0, "hsqs", "SquashFS"},
	{0, "bluestore block device", "Ceph"},
	{32, "NXSB", "APFS"},
	{1024, "H+\x00\x04", "HFS+"},
	{1024, "HX\x00\x05", "HFS+"},
	{1024, "\x10\x20\xf5\xf2", "F2FS"},
	{1024, "\xe2\xe1\xf5\xe0", "EROFS"},
	{1024 + 56, "\x53\xef", "ext2, ext3 or ext4"},
	{64<<10 + 64, "_BHRfS_M", "Btrfs"},
	{0, "LABELONE", "LVM"},
	{512, "LABELONE", "LVM"}, // where pvcreate puts it
	{1024, "LABELONE", "LVM"},
	{1536, "LABELONE", "LVM"},
	{0, "\xfc\x4e\x2b\xa9", "Linux RAID"},    // version 1.1
	{4096, "\xfc\x4e\x2b\xa9", "Linux RAID"}, // 1.2
	{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache"},   // SB magic
	{4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", "bcachefs"}, //
	{16<<10 + 20, "\x00\x00\x00\x07version", "ZFS"},                                             // label 0: vdev_phys is an XDR nvlist
	{256<<10 + 16<<10 + 20, "\x00\x00\x00\x07version", "ZFS"},                                   // label 1
	{32769, "CD001", "ISO 9660"},
	{32769, "BEA01", "UDF"},
	{4096 - 10, "SWAPSPACE2", "swap"},
	{64<<10 - 10, "SWAPSPACE2", "swap"}, // with pages of 64 KiB
	{1 << 20, "\x0d\xd0\x01\xc0", "VMFS"},
	{2 << 20, "\x5e\xf1\xab\x2f", "VMFS"},
	{-512, "\xde\x11\xde\x11", "DDF RAID"},
	{-1024, "Intel Raid ISM Cfg Sig. ", "Intel RAID"},
}

// signature names what lies in n bytes at base, "" if that is unknown.
func (p *prober) signature(base, n int64) string {
	if n <= 0 || base < 0 || base > p.size || n > p.size-base {
		return ""
	}
	for _, s := range append(signatures[:len(signatures):len(signatures)], atEnd(n)...) {
		at := s.at
		if at < 0 {
			at += n
		}
		if at < 0 || at > n-int64(len(s.magic)) {
			continue
		}
		if b := p.at(base+at, len(s.magic)); bytes.Equal(b, []byte(s.magic)) {
			return s.name
		}
	}
	return ""
}

// atEnd are signatures whose place depends on the size in more than one way:
// md(4) on superblocks; ZFS keeps two labels of 256 KiB at the end.
func atEnd(n int64) []signature {
	const md = "\xfc\x4e\x2b\xa9"
	return []signature{
		{n&^(64<<10-1) - 64<<10 - n, md, "Linux RAID"}, // version 0.90
		{(n/512-16)&^7*512 - n, md, "Linux RAID"},      // 1.0
		{n&^(256<<10-1) - 512<<10 + 16<<10 + 20 - n, "\x00\x00\x00\x07version", "ZFS"},
	}
}

// The MBR's four partitions of 16 bytes, and its signature.
const (
	mbrPartitions = 446
	mbrSignature  = 510
	mbrEnd        = 512
)

// protective is an MBR that says that there is a GPT, and no more.
const protective = "MBR: GPT without its tables"

// mbr describes the partitions of an MBR; "" if there is none, as where the
// first sector is a file system's.
func (p *prober) mbr() string {
	sector := p.at(0, mbrEnd)
	if len(sector) < mbrEnd || sector[mbrSignature] != 0x55 || sector[mbrSignature+1] != 0xAA {
		return ""
	}
	var names []string
	for i := range 4 {
		// Status, first CHS, type, last CHS, first sector, count.
		entry := sector[mbrPartitions+16*i:][:16]
		first, count := int64(binary.LittleEndian.Uint32(entry[8:])), int64(binary.LittleEndian.Uint32(entry[12:]))
		switch {
		case entry[0] != 0 && entry[0] != 0x80:
			return "" // code
		case entry[4] == 0:
			continue
		}
		name := mbrTypes[entry[4]]
		if name == "" {
			name = "type 0x" + strconv.FormatUint(uint64(entry[4]), 16)
		}
		if fs := p.signature(first*p.sector, count*p.sector); fs != "" && entry[4] != 0xEE {
			name += " (" + fs + ")"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	return "MBR: " + strings.Join(names, ", ")
}

var mbrTypes = map[byte]string{
	0x05: "extended partition", 0x07: "NTFS or exFAT", 0x0B: "FAT32", 0x0C: "FAT32", 0x0E: "FAT16", 0x06: "FAT16",
	0x0F: "extended partition", 0x17: "hidden NTFS", 0x42: "Windows dynamic disk", 0x82: "Linux swap", 0x83: "Linux",
	0x8E: "Linux LVM", 0xA5: "FreeBSD", 0xEE: "GPT without its tables", 0xEF: "EFI system partition", 0xFB: "VMFS",
	0xFC: "VMware core dumps", 0xFD: "Linux RAID",
}

// gptTypes are the partition types that disks in servers have.
var gptTypes = map[uuid.UUID]string{
	uuid.MustParse("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"): "EFI system partition",
	uuid.MustParse("21686148-6449-6E6F-744E-656564454649"): "BIOS boot partition",
	uuid.MustParse("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"): "basic data",
	uuid.MustParse("E3C9E316-0B5C-4DB8-817D-F92DF00215AE"): "Microsoft reserved",
	uuid.MustParse("DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"): "Windows recovery",
	uuid.MustParse("5808C8AA-7E8F-42E0-85D2-E1E90434CFB3"): "Windows dynamic disk",
	uuid.MustParse("AF9B60A0-1431-4F62-BC68-3311714A69AD"): "Windows dynamic disk",
	uuid.MustParse("0FC63DAF-8483-4772-8E79-3D69D8477DE4"): "Linux",
	uuid.MustParse("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"): "Linux root",
	uuid.MustParse("BC13C2FF-59E6-4262-A352-B275FD6F7172"): "Linux boot",
	uuid.MustParse("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"): "Linux swap",
	uuid.MustParse("E6D6D379-F507-44C2-A23C-238F2A3DF928"): "Linux LVM",
	uuid.MustParse("A19D880F-05FC-4D3B-A006-743F0F84911E"): "Linux RAID",
	uuid.MustParse("CA7D7CCB-63ED-4C53-861C-1742536059CC"): "LUKS encryption",
	uuid.MustParse("4FBD7E29-9D25-41B8-AFD0-062C0CEFF05D"): "Ceph",
	uuid.MustParse("6A898CC3-1DD2-11B2-99A6-080020736631"): "ZFS",
	uuid.MustParse("516E7CB4-6ECF-11D6-8FF8-00022D09712B"): "FreeBSD",
	uuid.MustParse("AA31E02A-400F-11DB-9590-000C2911D1B8"): "VMFS",
	uuid.MustParse("4EB2EA39-7855-4790-A79E-FAE495E21F8D"): "VMFS-L",
	uuid.MustParse("381CFCCC-7288-11E0-92EE-000C2911D0B2"): "vSAN",
	uuid.MustParse("77719A0C-A4A0-11E3-A47E-000C29745A24"): "vSAN metadata",
	uuid.MustParse("9D275380-40AD-11DB-BF97-000C2911D1B8"): "VMware core dumps",
	uuid.MustParse("9198EFFC-31C0-11DB-8F78-000C2911D1B8"): "VMware reserved",
}
