package iso

import (
	"encoding/binary"
	"io"
	"strings"
	"time"
	"unicode/utf16"
)

// fixture describes an image that build writes byte by byte, the wrong ones
// too. It shares no code with the reader.
type fixture struct {
	volumeID string
	rr       bool
	joliet   bool
	skip     int // SUSP LEN_SKP
	noER     bool
	xa       bool // 14 bytes of CD-ROM XA before SP
	boot     []bootItem
	root     *item

	img []byte
}

type bootItem struct {
	platform byte
	of       *item
	lba      uint32
}

// item is a file, or a directory if dir is set.
type item struct {
	id     string // identifier in the plain record
	nm     string // Rock Ridge name, none if empty
	jn     string // Joliet name; nm or id if empty
	dir    bool
	kids   []*item
	data   []byte
	parts  [][]byte // several extents, instead of data
	flags  byte
	mode   uint32 // PX; 0: by kind
	su     string // more Rock Ridge entries
	pieces int    // in how many continuation areas the name lies
	cl     *item  // stands for a directory that lies elsewhere
	re     bool   // lies elsewhere

	lba, jlba    uint32
	size, jsize  uint32
	partLBA      []uint32
	recordOffset int // of the (first) plain record in the image
	ceOffset     int // of the first continuation area
}

func file(id, data string) *item { return &item{id: id, data: []byte(data)} }
func dir(id string, kids ...*item) *item {
	return &item{id: id, dir: true, kids: kids}
}

var fixtureTime = time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)

func both16(n uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, n), n)
}

func both32(n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, n), n)
}

func susp(sig string, data ...[]byte) []byte {
	b := []byte{sig[0], sig[1], 0, 1}
	for _, d := range data {
		b = append(b, d...)
	}
	b[2] = byte(len(b))
	return b
}

// alloc appends whole blocks and returns the first one's number.
func (f *fixture) alloc(size int) uint32 {
	lba := len(f.img) / BlockSize
	f.img = append(f.img, make([]byte, (size+BlockSize-1)/BlockSize*BlockSize)...)
	return uint32(lba)
}

func (f *fixture) put(lba uint32, b []byte) { copy(f.img[int(lba)*BlockSize:], b) }

// build writes the image. Data comes last, in the order of the tree.
func (f *fixture) build() []byte {
	f.img = nil
	f.alloc(16 * BlockSize)
	pvd := f.alloc(BlockSize)
	var brd, svd uint32
	if f.boot != nil {
		brd = f.alloc(BlockSize)
	}
	if f.joliet {
		svd = f.alloc(BlockSize)
	}
	f.put(f.alloc(BlockSize), []byte("\xffCD001\x01"))
	if f.root == nil {
		f.root = dir("\x00")
	}
	dirs := f.placeDirs()
	f.placeFiles(dirs)
	for _, d := range dirs {
		f.writeDir(d, false)
		if f.joliet {
			f.writeDir(d, true)
		}
	}
	f.put(pvd, f.descriptor(1, false))
	if f.joliet {
		f.put(svd, f.descriptor(2, true))
	}
	if f.boot != nil {
		cat := f.writeCatalog()
		b := append([]byte("\x00CD001\x01EL TORITO SPECIFICATION"), make([]byte, 71-30)...)
		f.put(brd, binary.LittleEndian.AppendUint32(b, cat))
	}
	for _, at := range []uint32{pvd, svd} {
		if at != 0 {
			copy(f.img[int(at)*BlockSize+80:], both32(uint32(len(f.img)/BlockSize)))
		}
	}
	return f.img
}

// placeDirs gives every directory its blocks.
func (f *fixture) placeDirs() []*item {
	dirs := []*item{f.root}
	for i := 0; i < len(dirs); i++ {
		for _, k := range dirs[i].kids {
			if k.dir {
				dirs = append(dirs, k)
			}
		}
	}
	for _, d := range dirs {
		d.size = f.dirSize(d, false)
		d.lba = f.alloc(int(d.size))
		if f.joliet {
			d.jsize = f.dirSize(d, true)
			d.jlba = f.alloc(int(d.jsize))
		}
	}
	return dirs
}

func (f *fixture) dirSize(d *item, joliet bool) uint32 {
	at := 0
	f.eachRecord(d, joliet, func(b []byte, _ *item, _ int) {
		if at%BlockSize+len(b) > BlockSize {
			at += BlockSize - at%BlockSize
		}
		at += len(b)
	})
	return uint32((at + BlockSize - 1) / BlockSize * BlockSize)
}

func (f *fixture) placeFiles(dirs []*item) {
	for _, d := range dirs {
		for _, k := range d.kids {
			if k.dir || k.cl != nil {
				continue
			}
			if k.parts == nil {
				k.parts = [][]byte{k.data}
			}
			k.partLBA = nil
			for i, p := range k.parts {
				if i > 0 {
					f.alloc(1) // a gap, so that extents are not contiguous
				}
				k.partLBA = append(k.partLBA, f.alloc(len(p)))
				f.put(k.partLBA[i], p)
			}
			k.lba = k.partLBA[0]
		}
	}
}

func (f *fixture) writeDir(d *item, joliet bool) {
	at := int(d.lba) * BlockSize
	if joliet {
		at = int(d.jlba) * BlockSize
	}
	f.eachRecord(d, joliet, func(b []byte, k *item, part int) {
		if at%BlockSize+len(b) > BlockSize {
			at += BlockSize - at%BlockSize
		}
		copy(f.img[at:], b)
		if !joliet && k != nil && part == 0 {
			k.recordOffset = at
		}
		at += len(b)
	})
}

// eachRecord makes a directory's records in order.
func (f *fixture) eachRecord(d *item, joliet bool, visit func(b []byte, k *item, part int)) {
	lba, size := d.lba, d.size
	if joliet {
		lba, size = d.jlba, d.jsize
	}
	var self []byte
	if f.rr && !joliet {
		self = f.selfEntries(d == f.root)
	}
	visit(rawRecord("\x00", lba, size, 2, self), nil, 0)
	visit(rawRecord("\x01", lba, size, 2, nil), nil, 0)
	for _, k := range d.kids {
		if joliet && (k.cl != nil || k.re) {
			panic("fixture: no Joliet with relocated directories")
		}
		if k.dir {
			lba, size = k.lba, k.size
			if joliet {
				lba, size = k.jlba, k.jsize
			}
			visit(f.record(k, joliet, lba, size, k.flags|2), k, 0)
			continue
		}
		for i, p := range k.parts {
			flags := k.flags
			if i < len(k.parts)-1 {
				flags |= 0x80
			}
			var at uint32 // not known while sizes are counted
			if i < len(k.partLBA) {
				at = k.partLBA[i]
			}
			visit(f.record(k, joliet, at, uint32(len(p)), flags), k, i)
		}
		if k.parts == nil { // not placed yet, or a child link
			visit(f.record(k, joliet, 0, uint32(len(k.data)), k.flags), k, 0)
		}
	}
}

func (f *fixture) record(k *item, joliet bool, lba, size uint32, flags byte) []byte {
	id := k.id
	if joliet {
		id = ucs2(k.jolietName())
		if !k.dir {
			id += ucs2(";1")
		}
	}
	var su []byte
	if f.rr && !joliet {
		su = f.rockRidge(k)
	}
	return rawRecord(id, lba, size, flags, su)
}

func (k *item) jolietName() string {
	switch {
	case k.jn != "":
		return k.jn
	case k.nm != "":
		return k.nm
	}
	return strings.TrimSuffix(k.id, ";1")
}

func ucs2(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return string(b)
}

func rawRecord(id string, lba, size uint32, flags byte, su []byte) []byte {
	b := []byte{0, 0}
	b = append(b, both32(lba)...)
	b = append(b, both32(size)...)
	b = append(b, 124, 2, 29, 12, 34, 56, 0, flags, 0, 0)
	b = append(b, both16(1)...)
	b = append(b, byte(len(id)))
	b = append(b, id...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	b = append(b, su...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	if len(b) > 255 {
		panic("fixture: record is too long")
	}
	b[0] = byte(len(b))
	return b
}

// selfEntries are those of a directory's own record.
func (f *fixture) selfEntries(root bool) []byte {
	b := []byte{}
	if !root {
		return append(make([]byte, f.skip), px(0o040555)...)
	}
	if f.xa {
		b = make([]byte, 14)
	}
	b = append(b, susp("SP", []byte{0xBE, 0xEF, byte(f.skip)})...)
	if !f.noER {
		b = append(b, susp("ER", []byte{10, 0, 0, 1}, []byte("RRIP_1991A"))...)
	}
	return append(b, px(0o040555)...)
}

func px(mode uint32) []byte {
	return susp("PX", both32(mode), both32(1), both32(0), both32(0))
}

func (f *fixture) rockRidge(k *item) []byte {
	mode := k.mode
	if mode == 0 {
		mode = 0o100444
		if k.dir {
			mode = 0o040555
		}
	}
	b := append(make([]byte, f.skip), px(mode)...)
	// TF with creation and modification time.
	b = append(b, susp("TF", []byte{3}, []byte{100, 1, 1, 1, 1, 1, 0}, []byte{123, 6, 7, 8, 9, 10, 4})...)
	b = append(b, k.su...)
	if k.cl != nil {
		b = append(b, susp("CL", both32(k.cl.lba))...)
	}
	if k.re {
		b = append(b, susp("RE")...)
	}
	if k.pieces > 0 {
		return append(b, f.continued(k)...)
	}
	if k.nm != "" {
		b = append(b, susp("NM", []byte{0}, []byte(k.nm))...)
	}
	return b
}

// continued puts the name into a chain of continuation areas, and returns the
// first CE entry. Areas are written once, when the data has its place.
func (f *fixture) continued(k *item) []byte {
	ce := func(offset int, length int) []byte {
		return susp("CE", both32(uint32(offset/BlockSize)), both32(uint32(offset%BlockSize)), both32(uint32(length)))
	}
	step := (len(k.nm) + k.pieces - 1) / k.pieces
	if k.ceOffset == 0 {
		if len(f.img) == 0 || f.root.lba == 0 {
			return ce(0, 0) // sizes only
		}
		k.ceOffset = int(f.alloc(k.pieces*512)) * BlockSize
	}
	length := func(i int) int {
		n := 5 + len(k.nm[i*step:min((i+1)*step, len(k.nm))])
		if i < k.pieces-1 {
			n += 28
		}
		return n
	}
	for i := range k.pieces {
		var area []byte
		if i < k.pieces-1 {
			area = ce(k.ceOffset+(i+1)*512, length(i+1))
		}
		flags := byte(1)
		if i == k.pieces-1 {
			flags = 0
		}
		area = append(area, susp("NM", []byte{flags}, []byte(k.nm[i*step:min((i+1)*step, len(k.nm))]))...)
		copy(f.img[k.ceOffset+i*512:], area)
	}
	return ce(k.ceOffset, length(0))
}

func (f *fixture) descriptor(kind byte, joliet bool) []byte {
	b := make([]byte, BlockSize)
	copy(b, "\x00CD001\x01")
	b[0] = kind
	id := f.volumeID
	if id == "" {
		id = "FIXTURE"
	}
	copy(b[8:], strings.Repeat(" ", 64))
	copy(b[40:], id)
	copy(b[120:], both16(1))
	copy(b[124:], both16(1))
	copy(b[128:], both16(BlockSize))
	root := rawRecord("\x00", f.root.lba, f.root.size, 2, nil)
	if joliet {
		copy(b[88:], "%/E")
		root = rawRecord("\x00", f.root.jlba, f.root.jsize, 2, nil)
	}
	copy(b[156:], root)
	copy(b[190:], strings.Repeat(" ", 813-190))
	copy(b[574:], "ESXIMAGE")
	copy(b[813:], "2024022912345600\x04")
	for _, at := range []int{830, 847, 864} {
		copy(b[at:], "0000000000000000\x00")
	}
	b[881] = 1
	return b
}

func (f *fixture) writeCatalog() uint32 {
	validation := make([]byte, 32)
	validation[0], validation[1] = 1, f.boot[0].platform
	validation[30], validation[31] = 0x55, 0xAA
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(validation[i:])
	}
	binary.LittleEndian.PutUint16(validation[28:], -sum)
	cat := validation
	for i, b := range f.boot {
		if i > 0 {
			h := make([]byte, 32)
			h[0], h[1], h[2] = 0x90, b.platform, 1
			if i == len(f.boot)-1 {
				h[0] = 0x91
			}
			cat = append(cat, h...)
		}
		e := make([]byte, 32)
		e[0], e[6] = 0x88, 4
		lba := b.lba
		if b.of != nil {
			lba = b.of.lba
		}
		binary.LittleEndian.PutUint32(e[8:], lba)
		cat = append(cat, e...)
	}
	at := f.alloc(BlockSize)
	f.put(at, cat)
	return at
}

// systemArea is what precedes the first descriptor.
const systemArea = firstDescriptor * BlockSize

// withoutSystemArea reads as that many zeros, then data: fuzzing shall not
// waste its time on zeros.
type withoutSystemArea []byte

func (d withoutSystemArea) size() int64 { return systemArea + int64(len(d)) }

func (d withoutSystemArea) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= d.size() {
		return 0, io.EOF
	}
	n := 0
	if off < systemArea {
		n = int(min(systemArea-off, int64(len(b))))
		clear(b[:n])
	}
	if n < len(b) {
		n += copy(b[n:], d[off+int64(n)-systemArea:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
