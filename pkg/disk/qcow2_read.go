package disk

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Limits and numbers of QEMU's docs/interop/qcow2.txt.
const (
	qcowMinBits     = 9
	qcowMaxBits     = 21
	qcowHeaderV2    = 72
	qcowMaxHeader   = 4096 // no version has one of more than some hundred bytes
	qcowOffsetMask  = 0x00fffffffffffe00
	qcowFormatName  = 64 // longest name of a backing format that is kept
	qcowMaxL1       = 32 << 20
	qcowMaxDisk     = 1 << 40 // an image may have been made larger, for ESXi to install on
	qcowCacheMemory = 8 << 20 // of L2 tables, and as much again of inflated clusters
	qcowCached      = 16      // of either; more helps nobody who reads on from where he was

	// Incompatible features. A dirty file has wrong reference counts, which
	// nobody needs for reading.
	qcowDirty       = 1 << 0
	qcowCorrupt     = 1 << 1
	qcowDataFile    = 1 << 2
	qcowCompression = 1 << 3
	qcowExtendedL2  = 1 << 4
)

// QCOW2Error says why the disk in a QCOW2 file cannot be read.
type QCOW2Error struct {
	Err    error
	Advice string
}

func (e *QCOW2Error) Error() string { return "qcow2: " + e.Err.Error() }
func (e *QCOW2Error) Unwrap() error { return e.Err }

const (
	adviceConvert  = "convert it first: qemu-img convert -O raw IN OUT"
	adviceCutShort = "the file is damaged or cut short: copy or build it again"
)

func unsupported(format string, args ...any) error {
	return &QCOW2Error{fmt.Errorf(format, args...), adviceConvert}
}

func damaged(format string, args ...any) error {
	return &QCOW2Error{fmt.Errorf(format, args...), adviceCutShort}
}

// OpenBacking opens the disk behind a QCOW2 file, whose name and format ("" if
// it is not told) are as the file has them: nobody has vouched for either.
type OpenBacking func(name, format string) (io.ReaderAt, int64, error)

// QCOW2Disk is the disk in a QCOW2 file. It may be read in parallel.
type QCOW2Disk struct {
	// Size of the disk, in bytes.
	Size int64
	// Snapshots is how many the file has; they are not read.
	Snapshots int
	// Backing is the name of the file behind this one, as it stands there; "" if
	// the file has all of the disk.
	Backing string

	r           io.ReaderAt
	fileSize    int64
	version     uint32
	clusterBits uint
	zstd        bool
	l1          []byte
	behind      io.ReaderAt
	behindSize  int64

	mu       sync.Mutex
	tables   cache
	clusters cache
}

// OpenQCOW2 opens a QCOW2 file of version 2 or 3 and the given size: sparse,
// compressed (deflate or Zstandard), with clusters of any size, of a disk of up
// to 1 TiB. Encryption, data files, subclusters and features that
// are not known are refused, and a file behind this one without open. Memory is
// bounded whatever the file says. Errors are *QCOW2Error and those of r and open.
func OpenQCOW2(r io.ReaderAt, size int64, open OpenBacking) (*QCOW2Disk, error) {
	h := make([]byte, min(size, qcowMaxHeader))
	if err := readWhole(r, h, 0); err != nil {
		return nil, err
	}
	if len(h) < qcowHeaderV2 || binary.BigEndian.Uint32(h) != qcowMagic {
		return nil, damaged("is no such file: its first bytes are % x", h[:min(len(h), 4)])
	}
	d := &QCOW2Disk{r: r, fileSize: size}
	extensions, err := d.readHeader(h)
	if err != nil {
		return nil, err
	}
	if err := d.readL1(h); err != nil {
		return nil, err
	}
	d.tables.room = min(qcowCached, qcowCacheMemory>>d.clusterBits)
	d.clusters.room = min(qcowCached, qcowCacheMemory>>d.clusterBits)
	return d, d.openBacking(h, extensions, open)
}

// readHeader returns where the header extensions begin.
func (d *QCOW2Disk) readHeader(h []byte) (extensions int, err error) {
	be := binary.BigEndian
	d.version, d.clusterBits, d.Snapshots = be.Uint32(h[4:]), uint(be.Uint32(h[20:])), int(be.Uint32(h[60:]))
	if d.version != 2 && d.version != 3 {
		return 0, unsupported("version %d is neither 2 nor 3", d.version)
	}
	if d.clusterBits < qcowMinBits || d.clusterBits > qcowMaxBits {
		return 0, damaged("clusters of 2^%d bytes are not of 2^%d to 2^%d", d.clusterBits, qcowMinBits, qcowMaxBits)
	}
	disk := be.Uint64(h[24:])
	if disk == 0 || disk > qcowMaxDisk {
		return 0, &QCOW2Error{fmt.Errorf("a disk of %d bytes is not of 1 to %d", disk, int64(qcowMaxDisk)), "use the image as it was before its disk was made larger"}
	}
	d.Size = int64(disk)
	if method := be.Uint32(h[32:]); method != 0 {
		return 0, unsupported("it is encrypted (method %d)", method)
	}
	if d.version == 2 {
		return qcowHeaderV2, nil
	}
	return d.readFeatures(h)
}

// readFeatures reads what only version 3 has.
func (d *QCOW2Disk) readFeatures(h []byte) (extensions int, err error) {
	be := binary.BigEndian
	if len(h) < qcowHeaderLength {
		return 0, damaged("has %d bytes, less than its header", len(h))
	}
	length := int64(be.Uint32(h[100:]))
	if length < qcowHeaderLength || length > int64(len(h)) || length%8 != 0 {
		return 0, damaged("a header of %d bytes is not of %d to %d", length, qcowHeaderLength, len(h))
	}
	features := be.Uint64(h[72:])
	kind := byte(0)
	if length > qcowHeaderLength {
		kind = h[qcowHeaderLength]
	}
	switch {
	case features&qcowCorrupt != 0:
		return 0, damaged("is marked as corrupt")
	case features&qcowDataFile != 0:
		return 0, unsupported("its data are in another file")
	case features&qcowExtendedL2 != 0:
		return 0, unsupported("it has subclusters")
	case features&^uint64(qcowDirty|qcowCompression) != 0:
		return 0, unsupported("it has incompatible features that are not known: %#x", features)
	case kind > 1 || (kind != 0) != (features&qcowCompression != 0):
		return 0, unsupported("compression type %d is not known", kind)
	}
	d.zstd = kind == 1
	return int(length), nil
}

// readL1 reads as much of the L1 table as the disk needs.
func (d *QCOW2Disk) readL1(h []byte) error {
	covers := int64(1) << (2*d.clusterBits - 3) // bytes of the disk, by an L2 table
	need := (d.Size + covers - 1) / covers * 8
	have, at := int64(binary.BigEndian.Uint32(h[36:]))*8, binary.BigEndian.Uint64(h[40:])
	if have < need || need > qcowMaxL1 {
		return damaged("an L1 table of %d bytes is none for %d bytes of disk, which need %d", have, d.Size, need)
	}
	off, err := d.within(at, need, "the L1 table")
	if err != nil {
		return err
	}
	d.l1 = make([]byte, need)
	return readWhole(d.r, d.l1, off)
}

// within says where n bytes lie that have to be in the file.
func (d *QCOW2Disk) within(at uint64, n int64, what string) (int64, error) {
	if at > uint64(d.fileSize) || n > d.fileSize-int64(at) { //nolint:gosec // checked
		return 0, damaged("%s, %d bytes at %d, is outside the file, which has %d", what, n, at, d.fileSize)
	}
	return int64(at), nil //nolint:gosec // at most fileSize
}

// openBacking opens the file behind this one, if there is any.
func (d *QCOW2Disk) openBacking(h []byte, extensions int, open OpenBacking) error {
	at, n := binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:])
	if at == 0 {
		return nil
	}
	if n == 0 || n > maxBackingName {
		return damaged("the name of the file behind it has %d bytes, 1 to %d are possible", n, maxBackingName)
	}
	off, err := d.within(at, int64(n), "the name of the file behind it")
	if err != nil {
		return err
	}
	name := make([]byte, n)
	if err := readWhole(d.r, name, off); err != nil {
		return err
	}
	d.Backing = string(name)
	if open == nil {
		return &QCOW2Error{fmt.Errorf("it lies over another file, %q, which is not read", d.Backing), "make one file of both: qemu-img convert -O qcow2 IN OUT"}
	}
	d.behind, d.behindSize, err = open(d.Backing, backingFormat(h, extensions))
	return err
}

// backingFormat finds the format of the file behind in the header extensions.
func backingFormat(h []byte, at int) string {
	for at+8 <= len(h) {
		kind, n := binary.BigEndian.Uint32(h[at:]), int64(binary.BigEndian.Uint32(h[at+4:]))
		at += 8
		if kind == 0 || n > int64(len(h)-at) {
			return ""
		}
		if kind == qcowBackingFormat && n <= qcowFormatName {
			return string(h[at : at+int(n)])
		}
		at += int(roundUp(n, 8))
	}
	return ""
}

// ReadAt reads the disk.
func (d *QCOW2Disk) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("qcow2: read at negative offset %d", off)
	}
	size := int64(1) << d.clusterBits
	n := 0
	for n < len(b) && off+int64(n) < d.Size {
		at := off + int64(n)
		part := b[n:min(int64(len(b)), int64(n)+min(size-at%size, d.Size-at))]
		if err := d.readCluster(part, at/size, at%size); err != nil {
			return n, err
		}
		n += len(part)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// readCluster fills b from a cluster of the disk, skip bytes into it.
func (d *QCOW2Disk) readCluster(b []byte, n, skip int64) error {
	entry, err := d.entry(n)
	if err != nil {
		return err
	}
	at := entry & qcowOffsetMask
	switch {
	case entry&qcowCompressed != 0:
		data, err := d.inflated(entry)
		if err != nil {
			return err
		}
		copy(b, data[skip:])
		return nil
	case d.version > 2 && entry&qcowZero != 0:
		clear(b)
		return nil
	case at == 0 && d.behind == nil:
		clear(b)
		return nil
	case at == 0:
		return readZeroed(d.behind, b, n<<d.clusterBits+skip, d.behindSize)
	case at%(1<<d.clusterBits) != 0:
		return damaged("cluster %d lies at %d, within a cluster of the file", n, at)
	}
	off, err := d.within(at, skip+int64(len(b)), fmt.Sprintf("cluster %d", n))
	if err != nil {
		return err
	}
	return readWhole(d.r, b, off+skip)
}

// entry is the L2 table's entry of a cluster of the disk; 0 without a table.
func (d *QCOW2Disk) entry(n int64) (uint64, error) {
	entries := int64(1) << (d.clusterBits - 3)
	table := binary.BigEndian.Uint64(d.l1[n/entries*8:]) & qcowOffsetMask
	if table == 0 {
		return 0, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.tables.get(table)
	if !ok {
		if table%(1<<d.clusterBits) != 0 {
			return 0, damaged("an L2 table lies at %d, within a cluster of the file", table)
		}
		off, err := d.within(table, 1<<d.clusterBits, "an L2 table")
		if err != nil {
			return 0, err
		}
		b = d.tables.take(1 << d.clusterBits)
		if err := readWhole(d.r, b, off); err != nil {
			return 0, err
		}
		d.tables.put(table, b)
	}
	return binary.BigEndian.Uint64(b[n%entries*8:]), nil
}

// inflated is a compressed cluster. The entry has its offset, and behind that
// how many sectors more than the first it takes.
func (d *QCOW2Disk) inflated(entry uint64) ([]byte, error) {
	d.mu.Lock()
	data, ok := d.clusters.get(entry)
	d.mu.Unlock()
	if ok {
		return data, nil
	}
	shift := 62 - (d.clusterBits - 8)
	at := entry & (1<<shift - 1)
	sectors := int64(entry >> shift & (1<<(d.clusterBits-8) - 1)) //nolint:gosec // at most 2^13
	off, err := d.within(at, 1, "a compressed cluster")
	if err != nil {
		return nil, err
	}
	// The last sector may not be there whole.
	in := make([]byte, min((sectors+1)*qcowSector-off%qcowSector, d.fileSize-off))
	if err := readWhole(d.r, in, off); err != nil {
		return nil, err
	}
	data = make([]byte, 1<<d.clusterBits)
	if err := d.inflate(data, in); err != nil {
		return nil, damaged("the compressed cluster at %d cannot be read: %w", off, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clusters.put(entry, data)
	return data, nil
}

// inflate fills out; what follows in in is padding.
func (d *QCOW2Disk) inflate(out, in []byte) error {
	if d.zstd {
		z, err := zstd.NewReader(bytes.NewReader(in), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(qcowCacheMemory))
		if err != nil {
			return err
		}
		defer z.Close()
		_, err = io.ReadFull(z, out)
		return err
	}
	_, err := io.ReadFull(flate.NewReader(bytes.NewReader(in)), out)
	return err
}

// readWhole fills b; a file that ends before that is cut short.
func readWhole(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return damaged("ends at %d, within %d bytes at %d", off+int64(n), len(b), off)
	}
	return err
}

// cache keeps the last few blocks by what they are found by.
type cache struct {
	room int
	keys []uint64
	data [][]byte
	next int
}

func (c *cache) get(key uint64) ([]byte, bool) {
	for i, k := range c.keys {
		if k == key && c.data[i] != nil {
			return c.data[i], true
		}
	}
	return nil, false
}

// take is room for a block, that of the one which goes next if there is no more.
// Nobody may hold that one.
func (c *cache) take(n int) []byte {
	if len(c.keys) < c.room {
		return make([]byte, n)
	}
	b := c.data[c.next]
	c.data[c.next] = nil
	if b == nil {
		return make([]byte, n)
	}
	return b
}

func (c *cache) put(key uint64, b []byte) {
	if len(c.keys) < c.room {
		c.keys, c.data = append(c.keys, key), append(c.data, b)
		return
	}
	c.keys[c.next], c.data[c.next] = key, b
	c.next = (c.next + 1) % c.room
}
