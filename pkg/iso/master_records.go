package iso

import (
	"encoding/binary"
	"slices"
	"strings"
)

// metadata is all that comes before the files, from the first descriptor on.
func (m *master) metadata() []byte {
	out := m.primary()
	if m.catalog != nil {
		out = append(out, m.bootRecord()...)
		out = append(out, terminator()...)
	} else {
		out = append(out, terminator()...)
		out = append(out, make([]byte, BlockSize)...)
	}
	out = append(out, blockPadded(m.pathTable(binary.LittleEndian))...)
	out = append(out, blockPadded(m.pathTable(binary.BigEndian))...)
	for _, d := range m.dirs {
		out = append(out, m.records(d)...)
	}
	return out
}

// primary is the primary volume descriptor (ECMA-119 8.4).
func (m *master) primary() []byte {
	const notSet = "0000000000000000\x00"
	made := m.opts.Time.Format("20060102150405") + "00\x00" // hundredths, offset from UTC
	b := append(make([]byte, 0, BlockSize), "\x01CD001\x01\x00"...)
	b = append(b, blankPadded("", 32)...) // system
	b = append(b, blankPadded(m.opts.VolumeID, 32)...)
	b = append(b, make([]byte, 8)...)
	b = bothEndian32(b, m.blocks)
	b = append(b, make([]byte, 32)...)
	b = bothEndian16(b, 1) // volumes in the set
	b = bothEndian16(b, 1) // number of this one
	b = bothEndian16(b, BlockSize)
	b = bothEndian32(b, m.tableSize)
	b = binary.LittleEndian.AppendUint32(b, m.tables[0])
	b = binary.LittleEndian.AppendUint32(b, 0) // no second table
	b = binary.BigEndian.AppendUint32(b, m.tables[1])
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, m.record(m.root, "\x00")...)
	b = append(b, blankPadded("", 3*128)...) // volume set, publisher, preparer
	b = append(b, blankPadded(m.opts.ApplicationID, 128)...)
	b = append(b, blankPadded("", 3*37)...) // copyright, abstract, bibliography
	b = append(b, made+made+notSet+made...) // created, modified, expires, effective
	return blockPadded(append(b, 1))        // file structure version
}

// bootRecord points at the boot catalog (El Torito 1.0, 2.0). It has to be in
// block 17.
func (m *master) bootRecord() []byte {
	b := append(make([]byte, 0, BlockSize), "\x00CD001\x01EL TORITO SPECIFICATION"...)
	b = append(b, make([]byte, 71-len(b))...)
	return blockPadded(binary.LittleEndian.AppendUint32(b, m.catalog.block))
}

func terminator() []byte { return blockPadded([]byte("\xffCD001\x01")) }

// pathTable is a path table (ECMA-119 9.4).
func (m *master) pathTable(order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range m.dirs {
		name := d.name
		if d == m.root {
			name = "\x00"
		}
		b = append(b, byte(len(name)), 0) //nolint:gosec // at most maxMasterName
		b = order.AppendUint32(b, d.block)
		b = order.AppendUint16(b, d.parent.number)
		b = append(b, name...)
		if len(name)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// records is a directory's extent: no record crosses the end of a block
// (ECMA-119 6.8.1.1).
func (m *master) records(d *masterNode) []byte {
	var first []byte
	if d == m.root {
		first = rockRidgeStart()
	}
	b := append(m.extend(m.record(d, "\x00"), d, first), m.extend(m.record(d.parent, "\x01"), d.parent, nil)...)
	for _, c := range d.sorted {
		r := m.extend(m.record(c, c.identifier()), c, rockRidgeName(c.given))
		if len(b)%BlockSize+len(r) > BlockSize {
			b = blockPadded(b)
		}
		b = append(b, r...)
	}
	return blockPadded(b)
}

// record is a directory record (ECMA-119 9.1).
func (m *master) record(n *masterNode, id string) []byte {
	length := recordHeader + len(id)
	length += length % 2
	t := m.opts.Time
	r := append(make([]byte, 0, length), byte(length), 0) //nolint:gosec // at most recordHeader + maxMasterName + 3
	r = bothEndian32(r, n.block)
	r = bothEndian32(r, n.size)
	r = append(r, byte(t.Year()-1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0) //nolint:gosec // the year is checked
	flags := byte(0)
	if n.dir {
		flags = flagDirectory
	}
	r = append(r, flags, 0, 0)
	r = bothEndian16(r, 1)
	r = append(r, byte(len(id))) //nolint:gosec // see above
	return append(append(r, id...), make([]byte, length-recordHeader-len(id))...)
}

// extend adds Rock Ridge's entries to a record, if they are asked for: what is
// given, and the mode of the file (RRIP 1.12 §4.1.1).
func (m *master) extend(record []byte, n *masterNode, entries []byte) []byte {
	if !m.opts.RockRidge {
		return record
	}
	const fileMode, dirMode = 0o100444, 0o040555
	mode, links := uint32(fileMode), uint32(1)
	if n.dir {
		mode, links = dirMode, 2
	}
	out := append(record, entries...)
	out = append(out, 'P', 'X', 36, 1)
	for _, v := range []uint32{mode, links, 0, 0} { // user and group
		out = bothEndian32(out, v)
	}
	if len(out)%2 == 1 {
		out = append(out, 0)
	}
	out[0] = byte(len(out)) //nolint:gosec // see maxRockRidgeName
	return out
}

// rockRidgeStart says in the root's record that there is Rock Ridge (SUSP 1.12
// §5.3 and §5.5), in few enough bytes for no continuation.
func rockRidgeStart() []byte {
	const id = "RRIP_1991A"
	b := []byte{'S', 'P', 7, 1, 0xBE, 0xEF, 0}
	return append(append(b, 'E', 'R', 8+byte(len(id)), 1, byte(len(id)), 0, 0, 1), id...)
}

// rockRidgeName is a name as it is given (RRIP 1.12 §4.1.4).
func rockRidgeName(name string) []byte {
	return append([]byte{'N', 'M', 5 + byte(len(name)), 1, 0}, name...) //nolint:gosec // see maxRockRidgeName
}

// masterCatalog is a boot catalog (El Torito 1.0, 2.1 to 2.4): the default
// entry, then a section for each further one.
func masterCatalog(boot []BootImage, nodes []*masterNode) []byte {
	validation := make([]byte, catalogEntry)
	validation[0], validation[1] = headerValidation, boot[0].Platform
	validation[30], validation[31] = 0x55, 0xAA
	var sum uint16
	for i := 0; i < catalogEntry; i += 2 {
		sum += binary.LittleEndian.Uint16(validation[i:])
	}
	binary.LittleEndian.PutUint16(validation[28:], -sum)
	out := slices.Concat(validation, catalogBoot(boot[0], nodes[0].block))
	for i := 1; i < len(boot); i++ {
		header := make([]byte, catalogEntry)
		header[0], header[1], header[2] = headerMore, boot[i].Platform, 1
		if i == len(boot)-1 {
			header[0] = headerLast
		}
		out = slices.Concat(out, header, catalogBoot(boot[i], nodes[i].block))
	}
	return blockPadded(out)
}

func catalogBoot(b BootImage, block uint32) []byte {
	e := make([]byte, catalogEntry)
	if b.Bootable {
		e[0] = entryBootable
	}
	e[1] = b.MediaType
	binary.LittleEndian.PutUint16(e[2:], b.LoadSegment)
	binary.LittleEndian.PutUint16(e[6:], b.SectorCount)
	binary.LittleEndian.PutUint32(e[8:], block)
	return e
}

func bothEndian16(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, v), v)
}

func bothEndian32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, v), v)
}

func blankPadded(s string, n int) []byte { return []byte(s + strings.Repeat(" ", n-len(s))) }

func blockPadded(b []byte) []byte {
	if over := len(b) % BlockSize; over != 0 {
		b = append(b, make([]byte, BlockSize-over)...)
	}
	return b
}

// BootCatalog returns the path of the file that is the El Torito boot catalog,
// "" where there is none or it is no file.
func (im *Image) BootCatalog() string {
	if im.volume.bootCatalog == 0 {
		return ""
	}
	for _, n := range im.files {
		if n.size > 0 && n.offset() == int64(im.volume.bootCatalog)*BlockSize {
			return n.path
		}
	}
	return ""
}
