// Package iso reads an installer ISO: its files as an [fs.FS], its El Torito
// boot images, and which ESXi release it is.
//
// It reads ISO 9660 (ECMA-119) with logical blocks of 2048 bytes. File names
// come from Rock Ridge (IEEE P1282) where the image has it, else from Joliet,
// else from the plain directory records. Files of several extents are joined.
// UDF, interleaved files, zisofs and multi-volume sets are not read.
//
// An image is hostile until proven otherwise: [Open] walks the whole tree
// once, within the limits below, and proves that every extent lies inside the
// image. After that an [Image] does not change and may be used in parallel.
package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// BlockSize is the logical block size, in bytes. ECMA-119 knows smaller ones;
// nobody writes them.
const BlockSize = 2048

// The limits on what Open accepts. ESXi has some 200 entries, three levels
// deep, in less than 32 KiB of directories.
const (
	// MaxEntries bounds the directory records of the whole image.
	MaxEntries = 65536
	// MaxDirBytes bounds the bytes of all directories and of the Rock Ridge
	// continuation areas that their records name: MaxEntries of the longest
	// records (255 bytes).
	MaxDirBytes = 16 << 20
	// MaxDepth bounds the levels of directories. ECMA-119 6.8.2.1 allows 8;
	// Rock Ridge, Joliet and lax writers allow more.
	MaxDepth = 32
	// MaxNameLen bounds one name, in bytes of UTF-8.
	MaxNameLen = 255
	// MaxPathLen bounds a path, in bytes of UTF-8.
	MaxPathLen = 1024
	// MaxPathBytes bounds all paths together: what keeping them costs.
	MaxPathBytes = 16 << 20
	// MaxReadFile bounds what ReadFile reads into memory; the largest file
	// that needs to be looked into, IMGDB.TGZ, has less than 1 MiB.
	MaxReadFile = 64 << 20

	maxDescriptors = 64 // volume descriptors; images have 3 or 4
	maxWarnings    = 16 // kept; more are counted
)

// Where descriptors begin: after the 16 blocks of the system area (ECMA-119
// 6.2.1).
const firstDescriptor = 16

// Volume descriptor types (ECMA-119 8.1.1).
const (
	descBootRecord    = 0
	descPrimary       = 1
	descSupplementary = 2
	descTerminator    = 255
)

// NameSource says where an image's file names come from.
type NameSource string

// The name sources, in order of preference.
const (
	RockRidge NameSource = "rock-ridge"
	Joliet    NameSource = "joliet"
	Plain     NameSource = "plain"
)

// Image is an ISO 9660 image that was walked and found sound.
type Image struct {
	r      io.ReaderAt
	size   int64
	volume volume

	source   NameSource
	root     *node
	files    []*node // regular files, by first extent, then path
	dirs     []*node // without the root, by path
	boot     []BootImage
	warnings []string
	muted    int // warnings beyond maxWarnings
}

// volume is what the volume descriptors say.
type volume struct {
	id, application string
	created         time.Time
	blocks          uint32 // volume space size
	root            record
	jolietRoot      *record
	bootCatalog     uint32 // block; 0: none
}

// Open reads the directories of the image in the first size bytes of r, which
// must allow parallel reads where the image is used in parallel. Nothing but
// directories is read. The error is ErrNotISO, a *FormatError, an
// *OutsideError, or one of r's, wrapped.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	im := &Image{r: r, size: size}
	if err := im.readDescriptors(); err != nil {
		return nil, err
	}
	if err := im.readTree(); err != nil {
		return nil, err
	}
	if err := im.readBootCatalog(); err != nil {
		return nil, err
	}
	return im, nil
}

// VolumeID returns the volume identifier without its padding.
func (im *Image) VolumeID() string { return im.volume.id }

// ApplicationID returns the application identifier without its padding.
func (im *Image) ApplicationID() string { return im.volume.application }

// Created returns when the volume was created, in UTC; zero if it does not
// say.
func (im *Image) Created() time.Time { return im.volume.created }

// NameSource says where the file names come from.
func (im *Image) NameSource() NameSource { return im.source }

// Size returns the size of the input, in bytes.
func (im *Image) Size() int64 { return im.size }

// VolumeSize returns the size that the primary volume descriptor states, in
// bytes. Where it is larger than Size, the end of the image is missing, even
// if no file lies there.
func (im *Image) VolumeSize() int64 { return int64(im.volume.blocks) * BlockSize }

// Warnings returns oddities that did no harm, such as both-endian numbers
// whose halves differ (the little-endian one counts).
func (im *Image) Warnings() []string {
	w := append([]string(nil), im.warnings...)
	if im.muted > 0 {
		w = append(w, fmt.Sprintf("and %d more", im.muted))
	}
	return w
}

func (im *Image) warnf(path, format string, args ...any) {
	if len(im.warnings) == maxWarnings {
		im.muted++
		return
	}
	im.warnings = append(im.warnings, printable(path)+": "+fmt.Sprintf(format, args...))
}

// readDescriptors reads the volume descriptor set.
func (im *Image) readDescriptors() error {
	primary := false
	for i := int64(firstDescriptor); i < firstDescriptor+maxDescriptors; i++ {
		name := fmt.Sprintf("volume descriptor at block %d", i)
		if !im.inside(i, BlockSize) {
			if i == firstDescriptor {
				return fmt.Errorf("iso: %w: it has %d bytes", ErrNotISO, im.size)
			}
			return &OutsideError{Path: name, Block: i, Length: BlockSize, Size: im.size}
		}
		b := make([]byte, BlockSize)
		if err := im.readAt(b, i*BlockSize); err != nil {
			return fmt.Errorf("iso: %s: %w", name, err)
		}
		if id := string(b[1:6]); id != "CD001" {
			if i == firstDescriptor {
				return fmt.Errorf("iso: %w: no CD001 at byte %d%s", ErrNotISO, i*BlockSize+1, udfHint(id))
			}
			break // no terminator, but the set is over
		}
		if b[0] == descTerminator {
			break
		}
		if b[0] == descPrimary && !primary {
			primary = true
			if err := im.readPrimary(b, name); err != nil {
				return err
			}
			continue
		}
		if err := im.readOther(b, name); err != nil {
			return err
		}
	}
	if !primary {
		return formatErrorf("volume descriptors", "there is no primary one")
	}
	return nil
}

// udfHint tells those who bring an image with UDF alone (ECMA-167 2/9.1.2).
func udfHint(id string) string {
	if id == "BEA01" {
		return " (UDF without ISO 9660 is not read)"
	}
	return ""
}

// readPrimary reads the primary volume descriptor (ECMA-119 8.4).
func (im *Image) readPrimary(b []byte, name string) error {
	if n := binary.LittleEndian.Uint16(b[128:]); n != BlockSize {
		return formatErrorf(name, "logical block size is %d, not %d", n, BlockSize)
	}
	root, err := parseRecord(b[156:190])
	if err != nil {
		return formatErrorf(name, "root directory record: %v", err)
	}
	v := &im.volume
	v.root = root
	v.id = paddedText(b[40:72])
	v.application = paddedText(b[574:702])
	v.created = longTime(b[813:830])
	v.blocks = binary.LittleEndian.Uint32(b[80:])
	if be := binary.BigEndian.Uint32(b[84:]); be != v.blocks {
		im.warnf(name, "volume space size is %d in little-endian order and %d in big-endian order", v.blocks, be)
	}
	return nil
}

// readOther looks for Joliet and El Torito.
func (im *Image) readOther(b []byte, name string) error {
	switch {
	case b[0] == descSupplementary && isJoliet(b[88:120]) && im.volume.jolietRoot == nil:
		root, err := parseRecord(b[156:190])
		if err != nil {
			return formatErrorf(name, "root directory record: %v", err)
		}
		im.volume.jolietRoot = &root
	case b[0] == descBootRecord && bytes.HasPrefix(b[7:39], []byte("EL TORITO SPECIFICATION")) && im.volume.bootCatalog == 0:
		im.volume.bootCatalog = binary.LittleEndian.Uint32(b[71:])
	}
	return nil
}

// isJoliet looks for the escape sequences of UCS-2 levels 1 to 3 (Joliet
// specification, "SVD escape sequences field").
func isJoliet(escapes []byte) bool {
	for _, level := range []string{"%/@", "%/C", "%/E"} {
		if bytes.HasPrefix(escapes, []byte(level)) {
			return true
		}
	}
	return false
}

// inside says whether length bytes from a block on lie inside the image.
func (im *Image) inside(block, length int64) bool {
	// A block number has at most 33 bits: two 32-bit numbers added.
	off := block * BlockSize
	return block >= 0 && length >= 0 && off <= im.size && length <= im.size-off
}

// readAt fills b from bytes that are known to be inside the image.
func (im *Image) readAt(b []byte, off int64) error {
	n, err := im.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &readError{off: off, n: len(b), err: err}
}
