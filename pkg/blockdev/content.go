package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/esxi-img/esxi-img/pkg/disk"
)

// Kind is what overwriting a disk would destroy.
type Kind int

// The kinds of content.
const (
	// Empty is a disk that holds nothing known and begins with zeros: a new
	// one, a wiped one, or one where writing an image was broken off.
	Empty Kind = iota
	// OurImage is a disk with an image of ours, whole or not, and at most config
	// drives beside it.
	OurImage
	// Foreign is anything else.
	Foreign
)

// Content is what lies on a disk.
type Content struct {
	Kind        Kind
	Description string // one line: "GPT: EFI system partition (FAT32), VMFS"
}

const (
	// headSize is how much of a disk has to be zero for it to be empty, in
	// bytes: where the first partition begins on every disk of the last decade.
	headSize = 1 << 20
	// chunk is what is read of it at a time, in bytes.
	chunk = 64 << 10
	// maxTable is how much of a disk the MBR and the table behind it take at
	// most, in bytes: with sectors of 4096.
	maxTable = 2*4096 + gptEntries*gptEntry
	// maxConfigDrive is how large Ironic makes the partition of a config drive,
	// in bytes: 64 MiB, and what it takes to align that.
	maxConfigDrive = 65 << 20
	// maxDescribed is how many partitions are looked into, and named.
	maxDescribed = 8
	// maxName bounds the name of a partition in a description, in runes: GPT
	// allows 36 UTF-16 units.
	maxName = 36
)

// Probe finds out what lies on a disk of that size, in bytes. It reads little:
// the first MiB, the end, and where file systems have their signatures. Errors
// are those of r. A sector size of 0 is taken for 512.
func Probe(r io.ReaderAt, size int64, sectorSize int) (Content, error) {
	p := &prober{r: r, size: size, sector: int64(sectorSize)}
	if p.sector != 4096 {
		p.sector = 512
	}
	content := p.probe()
	if p.err != nil { // what could not be read may be there
		return Content{}, fmt.Errorf("look for data on the disk: %w", p.err)
	}
	return content, nil
}

// prober reads for as long as reading works.
type prober struct {
	r      io.ReaderAt
	size   int64
	sector int64
	err    error // the first
}

// ReadAt reads and remembers that it failed.
func (p *prober) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.r.ReadAt(b, off)
	switch {
	case n == len(b):
		return n, nil
	case off < 0 || off > p.size-int64(len(b)):
		return n, io.EOF
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	if p.err == nil {
		p.err = err
	}
	return n, err
}

// at returns n bytes, nil if they are not on the disk or cannot be read.
func (p *prober) at(off int64, n int) []byte {
	if off < 0 || off > p.size-int64(n) {
		return nil
	}
	b := make([]byte, n)
	if _, err := p.ReadAt(b, off); err != nil {
		return nil
	}
	return b
}

func (p *prober) probe() Content {
	table, err := disk.ReadTable(p, p.size)
	switch {
	case err == nil:
		return p.gpt(table)
	case p.oursRemains():
		return p.ours("a damaged image of esxi-img")
	case !errors.Is(err, disk.ErrNoGPT):
		return Content{Foreign, "a damaged GPT"}
	}
	var found []string
	mbr := p.mbr()
	if mbr != "" && mbr != protective {
		found = append(found, mbr)
	}
	if name := p.signature(0, p.size); name != "" {
		found = append(found, name)
	}
	// A disk whose table is lost. FAT is what a pull of ours leaves there.
	lost := p.signature(disk.PartitionStart, p.size-disk.PartitionStart)
	if lost != "" && !strings.HasPrefix(lost, "FAT") && len(found) == 0 {
		found = append(found, lost+" at 1 MiB, without a partition table")
	}
	switch {
	case len(found) > 0:
		return Content{Foreign, strings.Join(found, ", ")}
	case !p.isZero(0, headSize, mbr == protective):
		return Content{Foreign, "data of an unknown kind"}
	default:
		return Content{Empty, "nothing"}
	}
}

// ours is an image of ours, unless something else was put on the disk since and
// has left the image's tables alone, or the ones at the end.
func (p *prober) ours(text string) Content {
	const over = " over an image of esxi-img"
	if mbr := p.mbr(); mbr != "" && mbr != protective {
		return Content{Foreign, mbr + over}
	}
	if name := p.signature(0, min(p.size, headSize)); name != "" {
		return Content{Foreign, name + over}
	}
	if !p.isZero(maxTable, headSize, false) {
		return Content{Foreign, "data of an unknown kind" + over}
	}
	return Content{OurImage, text}
}

// isZero looks at the bytes from off to end; not at the partitions of the MBR
// where they are known to be nothing but a place-holder.
func (p *prober) isZero(off, end int64, skipMBR bool) bool {
	end = min(p.size, end)
	b := make([]byte, chunk)
	for ; off < end; off += chunk {
		part := b[:min(chunk, end-off)]
		if _, err := p.ReadAt(part, off); err != nil {
			return false
		}
		if off == 0 && skipMBR {
			clear(part[mbrPartitions:mbrEnd])
		}
		if !isZero(part) {
			return false
		}
	}
	return true
}

// isZero compares with itself, which is as fast as comparing gets.
func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// gpt describes a disk with a GUID partition table.
func (p *prober) gpt(t *disk.Table) Content {
	if len(t.Partitions) == 0 {
		return Content{Foreign, "GPT without partitions"}
	}
	ours, drives := false, 0
	for _, part := range t.Partitions {
		switch {
		case part.EFISystem() && part.Name == disk.PartitionName && part.Offset == disk.PartitionStart:
			ours = true
		case part.Size <= maxConfigDrive && p.isConfigDrive(part.Offset):
			drives++
		}
	}
	if ours && drives == len(t.Partitions)-1 {
		text := "an image of esxi-img"
		if drives > 0 {
			text += " and a config drive"
		}
		return p.ours(text)
	}
	var names []string
	for _, part := range t.Partitions[:min(len(t.Partitions), maxDescribed)] {
		names = append(names, p.describePartition(part))
	}
	return Content{Foreign, "GPT: " + listed(names, len(t.Partitions))}
}

func (p *prober) describePartition(part disk.Partition) string {
	text := gptTypes[part.Type]
	if text == "" {
		text = "partition of type " + part.Type.String()
	}
	if name := clip(clean([]byte(part.Name))); name != "" {
		text += fmt.Sprintf(" %q", name)
	}
	if fs := p.signature(part.Offset, part.Size); fs != "" {
		text += " (" + fs + ")"
	}
	return text
}

func clip(name string) string {
	if runes := []rune(name); len(runes) > maxName {
		return string(runes[:maxName])
	}
	return name
}

func listed(names []string, total int) string {
	text := strings.Join(names, ", ")
	if more := total - len(names); more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// isConfigDrive says whether a partition is what OpenStack's Ironic adds to a
// disk: ISO 9660 with the label config-2, or FAT with it in capitals; or what
// an image of ours has with NoCloud's label.
func (p *prober) isConfigDrive(off int64) bool {
	for _, at := range []int64{isoVolumeID, fat32Label, fat16Label} {
		for _, label := range []string{disk.DriveName, "cidata"} {
			if b := p.at(off+at, len(label)); b != nil && strings.EqualFold(string(b), label) {
				return true
			}
		}
	}
	return false
}

// oursRemains says whether there is an array of partitions that holds ours
// alone: a pull may have been broken off while it wrote the table, or removed
// it.
func (p *prober) oursRemains() bool {
	for _, sector := range []int64{512, 4096} {
		for _, off := range []int64{2 * sector, p.size - sector - gptEntries*gptEntry} {
			if entries := p.at(off, gptEntries*gptEntry); entries != nil && onlyOurs(entries) {
				return true
			}
		}
	}
	return false
}

// The array of GPT's entries (UEFI 2.10 §5.3.3), in bytes.
const (
	gptEntries   = 128
	gptEntry     = 128
	gptEntryName = 56
)

// onlyOurs says whether an array has our partition, and at most that of a
// config drive behind it.
func onlyOurs(entries []byte) bool {
	named := func(entry []byte, text string) bool {
		var name []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			name = binary.LittleEndian.AppendUint16(name, unit)
		}
		return bytes.HasPrefix(entry[gptEntryName:gptEntry], name)
	}
	if !named(entries, disk.PartitionName) {
		return false
	}
	rest := entries[gptEntry:]
	if named(rest, disk.DriveName) {
		rest = rest[gptEntry:]
	}
	return isZero(rest)
}

// clean makes what a device or a disk says of itself fit for a line of text.
func clean(b []byte) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), " "))
	return strings.Join(strings.Fields(text), " ")
}
