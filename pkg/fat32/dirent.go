package fat32

import (
	"encoding/binary"
	"time"
)

// Section "FAT Directory Structure": offsets in an entry.
const (
	dirName         = 0
	dirAttr         = 11
	dirNTRes        = 12
	dirCrtTimeTenth = 13
	dirCrtTime      = 14
	dirCrtDate      = 16
	dirLstAccDate   = 18
	dirFstClusHI    = 20
	dirWrtTime      = 22
	dirWrtDate      = 24
	dirFstClusLO    = 26
	dirFileSize     = 28

	attrReadOnly  = 0x01
	attrVolumeID  = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLongName  = 0x0F // ReadOnly | Hidden | System | VolumeID
	attrLongMask  = 0x3F

	nameEnd     = 0x00 // first byte: no entry here, nor later
	nameDeleted = 0xE5 // first byte: no entry here
	nameKanji   = 0x05 // first byte: stands for 0xE5

	ntLowerBase = 0x08 // DIR_NTRes as Windows NT uses it: the base is in lower case
	ntLowerExt  = 0x10
)

// Section "FAT Long Directory Entries": offsets in an entry.
const (
	ldirOrd       = 0
	ldirType      = 12
	ldirChksum    = 13
	ldirFstClusLO = 26

	lastLongEntry  = 0x40 // in LDIR_Ord of the entry that comes first
	charsPerEntry  = 13
	maxLongEntries = 20
)

// longOffsets is where an entry's 13 characters lie: LDIR_Name1, 2 and 3.
func longOffsets() [charsPerEntry]int {
	return [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
}

// longEntries counts the entries that a long name takes besides its alias's.
func longEntries(long []uint16) int { return (len(long) + charsPerEntry - 1) / charsPerEntry }

// stamp is a time as an entry holds it.
type stamp struct {
	date, time uint16
	tenths     byte // in units of 10 ms, 0 to 199
}

// newStamp returns a time in UTC, moved into what FAT can express.
func newStamp(t time.Time) stamp {
	t = t.UTC()
	if first := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); t.Before(first) {
		t = first
	}
	if last := time.Date(2107, 12, 31, 23, 59, 59, 0, time.UTC); t.After(last) {
		t = last
	}
	return stamp{
		date:   u16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()),
		time:   u16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2),
		tenths: u8(t.Second() % 2 * 100),
	}
}

// parse returns the time, the zero time where it is none.
func (s stamp) parse() time.Time {
	month, day := time.Month(s.date>>5&15), int(s.date&31)
	hour, minute, second := int(s.time>>11), int(s.time>>5&63), int(s.time&31)*2
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 58 || s.tenths > 199 {
		return time.Time{}
	}
	t := time.Date(1980+int(s.date>>9), month, day, hour, minute, second, int(s.tenths)*1e7, time.UTC)
	if t.Day() != day { // 31 April
		return time.Time{}
	}
	return t
}

// dirWriter appends entries to a directory's bytes.
type dirWriter struct {
	data  []byte
	stamp stamp
}

// short appends the entry that every name has.
func (w *dirWriter) short(name shortName, attr byte, cluster, size uint32) {
	var e [dirEntrySize]byte
	le := binary.LittleEndian
	copy(e[dirName:], name[:])
	e[dirAttr] = attr
	e[dirCrtTimeTenth] = w.stamp.tenths
	le.PutUint16(e[dirCrtTime:], w.stamp.time)
	le.PutUint16(e[dirCrtDate:], w.stamp.date)
	le.PutUint16(e[dirLstAccDate:], w.stamp.date)
	le.PutUint16(e[dirFstClusHI:], uint16(cluster>>16))
	le.PutUint16(e[dirWrtTime:], w.stamp.time)
	le.PutUint16(e[dirWrtDate:], w.stamp.date)
	le.PutUint16(e[dirFstClusLO:], uint16(cluster&0xFFFF))
	le.PutUint32(e[dirFileSize:], size)
	w.data = append(w.data, e[:]...)
}

// long appends the entries of a long name, the last part first.
func (w *dirWriter) long(name []uint16, checksum byte) {
	count := longEntries(name)
	for ord := count; ord > 0; ord-- {
		var e [dirEntrySize]byte
		e[ldirOrd] = u8(ord)
		if ord == count {
			e[ldirOrd] |= lastLongEntry
		}
		e[dirAttr] = attrLongName
		e[ldirChksum] = checksum
		for i, offset := range longOffsets() {
			c := uint16(0xFFFF) // after the end
			switch at := (ord-1)*charsPerEntry + i; {
			case at < len(name):
				c = name[at]
			case at == len(name):
				c = 0
			}
			binary.LittleEndian.PutUint16(e[offset:], c)
		}
		w.data = append(w.data, e[:]...)
	}
}

// node appends what a file or directory is known by to its parent.
func (w *dirWriter) node(n *node) {
	w.long(n.long, n.alias.checksum())
	attr := byte(attrArchive)
	if n.isDir {
		attr = attrDirectory
	}
	w.short(n.alias, attr, n.cluster, u32(n.size))
}

// directory returns a directory's bytes, without the zeros after them.
func (t *tree) directory(d *node, label [11]byte, s stamp) []byte {
	w := dirWriter{stamp: s, data: make([]byte, 0, t.entries(d)*dirEntrySize)}
	if d == t.root {
		if t.labeled {
			w.short(label, attrVolumeID, 0, 0)
		}
	} else {
		w.short(dotName(), attrDirectory, d.cluster, 0)
		up := d.parent.cluster
		if d.parent == t.root {
			up = 0 // the specification's way to say "the root"
		}
		w.short(dotDotName(), attrDirectory, up, 0)
	}
	for _, n := range d.dirs {
		w.node(n)
	}
	for _, n := range d.files {
		w.node(n)
	}
	return w.data
}
