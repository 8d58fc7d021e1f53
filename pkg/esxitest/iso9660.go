package esxitest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// blockSize is the logical block of an ISO9660 image, in bytes.
const blockSize = 2048

// Limits of the format: directory levels (ECMA-119 section 6.8.2.1), and the
// longest identifier of level 2 with ";1".
const (
	maxDepth      = 8
	maxIdentifier = 31 + 2
)

// ISOOptions says what an image's descriptors hold. The zero value makes an
// image without a label that does not boot.
type ISOOptions struct {
	VolumeID      string    // at most 32 characters
	ApplicationID string    // at most 128 characters
	Time          time.Time // of the volume and of every record; zero: 1980-01-01
	// BIOSImage and EFIImage are the paths of the El Torito boot images,
	// empty where there is none.
	BIOSImage, EFIImage string
	// Catalog is the name of the boot catalog in the root directory, which is
	// written where there is a boot image; empty: BOOT.CAT.
	Catalog string
}

// isoNode is a file or a directory of the image that is being laid out.
type isoNode struct {
	name     string // "" for the root
	parent   *isoNode
	children []*isoNode // nil for a file
	dir      bool
	block    uint32
	size     int64
	content  io.ReaderAt
	number   uint16 // of a directory in the path table, from 1
}

// image is an ISO9660 image before it is written.
type image struct {
	opts      ISOOptions
	root      *isoNode
	dirs      []*isoNode // in the path table's order
	files     []*isoNode // in the order in which they lie
	catalog   *isoNode
	pathTable [2]uint32 // blocks of the type L and type M tables
	tableSize int
	blocks    uint32
}

// WriteISO writes files, in their order, as an ISO9660 image of single-extent
// files without Rock Ridge or Joliet. Names are stored as they are, with ";1".
// Nothing but a directory is held in memory, and the same files give the same
// bytes.
func WriteISO(w io.Writer, files []File, opts ISOOptions) error {
	im, err := newImage(files, opts)
	if err != nil {
		return fmt.Errorf("esxitest: %w", err)
	}
	if err := im.write(w); err != nil {
		return fmt.Errorf("esxitest: write iso: %w", err)
	}
	return nil
}

func newImage(files []File, opts ISOOptions) (*image, error) {
	if opts.Time.IsZero() {
		opts.Time = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if opts.Catalog == "" {
		opts.Catalog = "BOOT.CAT"
	}
	if y := opts.Time.UTC().Year(); y < 1900 || y > 2155 { // a record counts from 1900 in one byte
		return nil, fmt.Errorf("the year %d can't be written", y)
	}
	im := &image{opts: opts, root: &isoNode{dir: true}}
	if len(opts.VolumeID) > 32 || len(opts.ApplicationID) > 128 {
		return nil, fmt.Errorf("volume id %q or application id %q is too long", opts.VolumeID, opts.ApplicationID)
	}
	if opts.BIOSImage != "" || opts.EFIImage != "" {
		// The bytes follow once the boot images have their places.
		if err := im.addFile(File{Path: opts.Catalog, Size: blockSize}); err != nil {
			return nil, err
		}
		im.catalog = im.files[0]
	}
	for _, f := range files {
		if err := im.addFile(f); err != nil {
			return nil, err
		}
	}
	if err := im.layOut(); err != nil {
		return nil, err
	}
	if err := im.fillCatalog(); err != nil {
		return nil, err
	}
	return im, nil
}

func (im *image) addFile(f File) error {
	if f.Size < 0 || f.Size > 1<<32-1 {
		return fmt.Errorf("%s: size %d does not fit one extent", f.Path, f.Size)
	}
	parts := strings.Split(f.Path, "/")
	if len(parts) >= maxDepth {
		return fmt.Errorf("%s: more than %d levels", f.Path, maxDepth)
	}
	dir := im.root
	for i, name := range parts {
		if err := checkName(name); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		last := i == len(parts)-1
		node := dir.child(name)
		if node != nil && (last || !node.dir) {
			return fmt.Errorf("%s: %s is there twice", f.Path, name)
		}
		if node == nil {
			node = &isoNode{name: name, parent: dir, dir: !last}
			dir.children = append(dir.children, node)
		}
		dir = node
	}
	dir.size, dir.content = f.Size, f.Content
	im.files = append(im.files, dir)
	return nil
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name)+3 > maxIdentifier {
		return fmt.Errorf("%q can't be a name", name)
	}
	for _, r := range name {
		if r <= ' ' || r > '~' || r == ';' {
			return fmt.Errorf("%q has the character %q", name, r)
		}
	}
	return nil
}

func (n *isoNode) child(name string) *isoNode {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// identifier is the name as a directory record holds it.
func (n *isoNode) identifier() string {
	switch {
	case n.dir:
		return n.name
	case strings.Contains(n.name, "."):
		return n.name + ";1"
	default:
		return n.name + ".;1"
	}
}

// compareNodes orders records (ECMA-119 section 9.3): by name, then suffix.
func compareNodes(a, b *isoNode) int {
	an, as, _ := strings.Cut(a.name, ".")
	bn, bs, _ := strings.Cut(b.name, ".")
	if c := strings.Compare(an, bn); c != 0 {
		return c
	}
	return strings.Compare(as, bs)
}

// layOut gives everything its blocks: descriptors, path tables, directories,
// files.
func (im *image) layOut() error {
	const firstFree = 16 + 3 // system area; primary, boot and terminating descriptors
	im.orderDirs()
	at := int64(firstFree)
	for i := range im.pathTable {
		im.pathTable[i] = uint32(at)
		at += blocksOf(int64(len(im.table(binary.LittleEndian))))
	}
	im.tableSize = len(im.table(binary.LittleEndian))
	for _, n := range slices.Concat(im.dirs, im.files) {
		if n.dir {
			n.size = int64(len(im.records(n)))
		}
		n.block = uint32(at)
		at += blocksOf(n.size)
	}
	if at > 1<<32-1 {
		return fmt.Errorf("%d blocks are more than an image can have", at)
	}
	im.blocks = uint32(at)
	return nil
}

func blocksOf(size int64) int64 { return (size + blockSize - 1) / blockSize }

// orderDirs sorts every directory, and numbers them level by level.
func (im *image) orderDirs() {
	im.dirs = []*isoNode{im.root}
	for i := 0; i < len(im.dirs); i++ {
		im.dirs[i].number = uint16(i + 1)
		slices.SortFunc(im.dirs[i].children, compareNodes)
		for _, c := range im.dirs[i].children {
			if c.dir {
				im.dirs = append(im.dirs, c)
			}
		}
	}
}

// table returns a path table (ECMA-119 section 9.4).
func (im *image) table(order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range im.dirs {
		name, parent := d.name, d.parent
		if d == im.root {
			name, parent = "\x00", im.root
		}
		b = append(b, byte(len(name)), 0) //nolint:gosec // at most maxIdentifier
		b = order.AppendUint32(b, d.block)
		b = order.AppendUint16(b, parent.number)
		b = append(b, name...)
		if len(name)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// records returns a directory's extent.
func (im *image) records(d *isoNode) []byte {
	parent := d.parent
	if parent == nil {
		parent = d
	}
	b := append(im.record(d, "\x00"), im.record(parent, "\x01")...)
	for _, c := range d.children {
		r := im.record(c, c.identifier())
		if len(b)%blockSize+len(r) > blockSize { // a record must not cross a block's end
			b = padded(b)
		}
		b = append(b, r...)
	}
	return padded(b)
}

func padded(b []byte) []byte {
	return append(b, make([]byte, blocksOf(int64(len(b)))*blockSize-int64(len(b)))...)
}

// record returns a directory record (ECMA-119 section 9.1).
func (im *image) record(n *isoNode, id string) []byte {
	length := 33 + len(id)
	length += length % 2
	r := append(make([]byte, 0, length), byte(length), 0) //nolint:gosec // at most 33 + maxIdentifier + 1
	r = both32(r, n.block)
	r = both32(r, uint32(n.size)) //nolint:gosec // checked by addFile
	t := im.opts.Time.UTC()
	r = append(r, byte(t.Year()-1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0) //nolint:gosec // 1900 to 2155, checked by newImage
	flags := byte(0)
	if n.dir {
		flags = 2
	}
	r = append(r, flags, 0, 0)
	r = both16(r, 1)
	r = append(r, byte(len(id))) //nolint:gosec // at most maxIdentifier
	return append(append(r, id...), make([]byte, length-33-len(id))...)
}

func both16(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, v), v)
}

func both32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, v), v)
}

// primary returns the primary volume descriptor (ECMA-119 section 8.4).
func (im *image) primary() []byte {
	b := append(make([]byte, 0, blockSize), "\x01CD001\x01\x00"...)
	b = append(b, text("", 32)...)
	b = append(b, text(im.opts.VolumeID, 32)...)
	b = append(b, make([]byte, 8)...)
	b = both32(b, im.blocks)
	b = append(b, make([]byte, 32)...)
	b = both16(both16(both16(b, 1), 1), blockSize)
	b = both32(b, uint32(im.tableSize)) //nolint:gosec // a test's tree
	b = binary.LittleEndian.AppendUint32(b, im.pathTable[0])
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, im.pathTable[1])
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, im.record(im.root, "\x00")...)
	b = append(b, text("", 3*128)...) // volume set, publisher, preparer
	b = append(b, text(im.opts.ApplicationID, 128)...)
	b = append(b, text("", 3*37)...)                               // copyright, abstract, bibliography
	made := im.opts.Time.UTC().Format("20060102150405") + "00\x00" // hundredths, offset from UTC
	never := strings.Repeat("0", 16) + "\x00"
	b = append(b, made+made+never+made...)
	b = append(b, 1)
	return padded(b)
}

// text pads s with blanks.
func text(s string, n int) []byte {
	return append([]byte(s), bytes.Repeat([]byte{' '}, n-len(s))...)
}

// bootRecord points at the boot catalog (El Torito section 2.0).
func (im *image) bootRecord() []byte {
	b := append(make([]byte, 0, blockSize), "\x00CD001\x01EL TORITO SPECIFICATION"...)
	b = append(b, make([]byte, 71-len(b))...)
	return padded(binary.LittleEndian.AppendUint32(b, im.catalog.block))
}

// fillCatalog writes the boot catalog (El Torito sections 2.1 to 2.4; the EFI
// platform is UEFI's section 13.3.2.1).
func (im *image) fillCatalog() error {
	if im.catalog == nil {
		return nil
	}
	const platformBIOS, platformEFI = 0, 0xef
	const loadSectors = 4 // of 512 bytes: what ISOLINUX wants
	var entries [][]byte
	platform := byte(platformBIOS)
	if im.opts.BIOSImage != "" {
		n, err := im.bootImage(im.opts.BIOSImage)
		if err != nil {
			return err
		}
		entries = append(entries, bootEntry(n, loadSectors))
	}
	if im.opts.EFIImage != "" {
		n, err := im.bootImage(im.opts.EFIImage)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			platform = platformEFI
		} else {
			entries = append(entries, append([]byte{0x91, platformEFI, 1, 0}, make([]byte, 28)...)) // last header, one entry
		}
		entries = append(entries, bootEntry(n, uint16(min(blocksOf(n.size)*4, 0xffff)))) //nolint:gosec // bounded
	}
	validation := append([]byte{1, platform}, make([]byte, 30)...)
	validation[30], validation[31] = 0x55, 0xaa
	var sum uint16
	for i := 0; i < len(validation); i += 2 {
		sum += binary.LittleEndian.Uint16(validation[i:])
	}
	binary.LittleEndian.PutUint16(validation[28:], -sum)
	im.catalog.content = bytes.NewReader(padded(append(validation, slices.Concat(entries...)...)))
	return nil
}

func bootEntry(n *isoNode, sectors uint16) []byte {
	e := append(make([]byte, 0, 32), 0x88, 0, 0, 0, 0, 0) // bootable, no emulation
	e = binary.LittleEndian.AppendUint16(e, sectors)
	e = binary.LittleEndian.AppendUint32(e, n.block)
	return append(e, make([]byte, 32-len(e))...)
}

func (im *image) bootImage(path string) (*isoNode, error) {
	n := im.root
	for name := range strings.SplitSeq(path, "/") {
		if n = n.child(name); n == nil {
			return nil, fmt.Errorf("there is no boot image %s", path)
		}
	}
	return n, nil
}

// write writes the image from its first byte to its last.
func (im *image) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<20)
	meta := make([]byte, 16*blockSize)
	meta = append(meta, im.primary()...)
	terminator := padded([]byte("\xffCD001\x01"))
	if im.catalog != nil {
		meta = append(meta, im.bootRecord()...)
		meta = append(meta, terminator...)
	} else {
		meta = append(append(meta, terminator...), make([]byte, blockSize)...)
	}
	meta = append(meta, padded(im.table(binary.LittleEndian))...)
	meta = append(meta, padded(im.table(binary.BigEndian))...)
	for _, d := range im.dirs {
		meta = append(meta, im.records(d)...)
	}
	if _, err := out.Write(meta); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for _, f := range im.files {
		if err := copyFile(out, f, buf); err != nil {
			return err
		}
	}
	return out.Flush()
}

// copyFile writes a file and fills its last block with zeros.
func copyFile(w io.Writer, f *isoNode, buf []byte) error {
	for at := int64(0); at < f.size; {
		part := buf[:min(int64(len(buf)), f.size-at)]
		if n, err := f.content.ReadAt(part, at); n < len(part) {
			return fmt.Errorf("%s: %w at byte %d of %d", f.name, errors.Join(io.ErrUnexpectedEOF, err), at+int64(n), f.size)
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		at += int64(len(part))
	}
	_, err := w.Write(make([]byte, blocksOf(f.size)*blockSize-f.size))
	return err
}
