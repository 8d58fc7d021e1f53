// Package disk puts a protective MBR and a GPT around a volume, reads them
// back, and writes plans to files.
package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// PartitionStart is where the volume begins, in bytes: 1 MiB, the alignment
	// that every partitioning tool uses, a multiple of any flash page.
	PartitionStart = 1 << 20

	// entriesSize is the size of the partition entry array, in bytes: 128
	// entries of 128 bytes, the least that UEFI 2.10 §5.3.2 allows.
	entriesSize = 128 * gpt.PartitionEntrySize

	// MaxSize is the largest disk that is planned for what lies on it, in bytes.
	MaxSize = plan.MaxVolume

	// roundTo is what the size of a disk is a multiple of, in bytes.
	roundTo = 1 << 20
)

// Options are the identifiers of a disk. All have to be given: a disk is a
// function of its inputs, so nothing here is random.
type Options struct {
	DiskGUID      uuid.UUID
	PartitionGUID uuid.UUID
	// PartitionName is at most 36 UTF-16 code units (UEFI 2.10 table 5-6).
	PartitionName string
	// Drive is a partition behind the volume, nil without one.
	Drive *Drive
	// DiskSize and MediumSize are Layout's.
	DiskSize, MediumSize int64
}

// TableSize is the size of a partition table without its header, in bytes.
const TableSize = entriesSize

// New plans a disk whose first partition, an EFI system partition at
// PartitionStart, is the volume.
func New(volume *plan.Plan, opts Options) (*plan.Plan, error) {
	if err := volume.Validate(); err != nil {
		return nil, err
	}
	if err := opts.Drive.check(); err != nil {
		return nil, err
	}
	size := sizeFor(volume.Size, opts.Drive, volume.SectorSize)
	if size > MaxSize {
		return nil, fmt.Errorf("disk: %d bytes are over the limit of %d", size, int64(MaxSize))
	}
	size = max(size, opts.DiskSize)
	head, tail, err := partitionTable(volume, size, opts)
	if err != nil {
		return nil, err
	}

	var b plan.Builder
	b.Literal(head)
	b.Zero(PartitionStart - int64(len(head)))
	b.Plan(volume)
	opts.Drive.add(&b, driveStart(volume.Size))
	b.Zero(size - int64(len(tail)) - b.Offset())
	b.Literal(tail)
	b.Zero(max(0, opts.MediumSize-size))
	return b.Build(volume.SectorSize)
}

// sizeFor is the least that a disk can have, in bytes: the backup entries and
// header take its last sectors.
func sizeFor(volume int64, drive *Drive, sectorSize int) int64 {
	return roundUp(driveStart(volume)+drive.size()+entriesSize+int64(sectorSize), roundTo)
}

// partitionTable returns the first bytes of the disk (MBR, header, entries)
// and the last (entries, header).
func partitionTable(volume *plan.Plan, size int64, opts Options) (head, tail []byte, err error) {
	if opts.DiskGUID == uuid.Nil || opts.PartitionGUID == uuid.Nil {
		return nil, nil, errors.New("disk: both GUIDs have to be given")
	}
	sector := int64(volume.SectorSize)
	partitions := []*gpt.Partition{{
		Index: 1,
		Start: sectors(PartitionStart, sector),
		Size:  sectors(volume.Size, 1),
		Type:  gpt.EFISystemPartition,
		Name:  opts.PartitionName,
		GUID:  opts.PartitionGUID.String(),
	}}
	if d := opts.Drive; d != nil {
		partitions = append(partitions, d.partition(driveStart(volume.Size), sector, opts.DiskGUID))
	}
	table := &gpt.Table{
		GUID:               opts.DiskGUID.String(),
		ProtectiveMBR:      true,
		LogicalSectorSize:  volume.SectorSize,
		PhysicalSectorSize: volume.SectorSize,
		Partitions:         partitions,
	}
	ends := &diskEnds{
		head: make([]byte, 2*sector+entriesSize),
		tail: make([]byte, entriesSize+sector),
		size: size,
	}
	if err := table.Write(ends, size); err != nil {
		return nil, nil, fmt.Errorf("disk: partition table: %w", err)
	}
	putMBRStart(ends.head)
	return ends.head, ends.tail, nil
}

// putMBRStart sets the start of the protective partition to CHS 0/0/2, which
// UEFI 2.10 table 5-4 demands (bytes 00 02 00). The library leaves it zero, and
// OpenStack's image inspector refuses that.
func putMBRStart(mbr []byte) { copy(mbr[447:450], []byte{0x00, 0x02, 0x00}) }

// Partition is an entry of a GPT.
type Partition struct {
	Index  int
	Type   uuid.UUID
	GUID   uuid.UUID
	Name   string
	Offset int64 // in bytes
	Size   int64 // in bytes
}

// EFISystem says whether the partition is an EFI system partition.
func (p Partition) EFISystem() bool {
	return strings.EqualFold(p.Type.String(), string(gpt.EFISystemPartition))
}

// Table is what the partition table of a disk says.
type Table struct {
	GUID       uuid.UUID
	SectorSize int
	Partitions []Partition
	// End is where the disk ends that the table was made for, in bytes: before
	// the end of one that was made larger since.
	End int64
	// FromBackup says that the primary table is damaged and the one at the end
	// of the disk was read.
	FromBackup bool
}

// ErrNoGPT says that a disk has no GUID partition table.
var ErrNoGPT = errors.New("disk: no GUID partition table")

// ReadTable reads the partition table of a disk of the given size, with
// sectors of 512 or 4096 bytes, whichever it was made for.
func ReadTable(r io.ReaderAt, size int64) (*Table, error) {
	for _, sector := range []int64{512, 4096} {
		primary := usable(r, sector, sector, size)
		backup := usable(r, size-sector, sector, size)
		if !primary && !backup {
			continue
		}
		masked := &maskedReader{ReaderAt: r}
		if !primary {
			masked.hide(sector, sector)
		}
		if !backup {
			masked.hide(size-sector, sector)
		}
		table, err := readTable(masked, size, int(sector))
		if err == nil {
			table.End = table.end(r, size)
		}
		return table, err
	}
	return nil, ErrNoGPT
}

// end is behind the backup of the table. One that is not on the disk says
// nothing, and neither does a primary table that is damaged: then the backup was
// found at the end.
func (t *Table) end(r io.ReaderAt, size int64) int64 {
	sector := int64(t.SectorSize)
	// UEFI 2.10 table 5-5: AlternateLBA.
	var alternate [8]byte
	if _, err := r.ReadAt(alternate[:], sector+32); err != nil || t.FromBackup {
		return size
	}
	last := binary.LittleEndian.Uint64(alternate[:])
	if last >= sectors(size, sector) {
		return size
	}
	end := int64(last+1) * sector //nolint:gosec // at most size
	for _, p := range t.Partitions {
		if end < p.Offset+p.Size+entriesSize+sector {
			return size
		}
	}
	return end
}

// usable says whether a GPT header lies at off whose entry array is one that
// may be read: the library allocates whatever the header asks for.
func usable(r io.ReaderAt, off, sector, size int64) bool {
	if off < sector || off > size-sector {
		return false
	}
	var h [92]byte
	if _, err := r.ReadAt(h[:], off); err != nil {
		return false
	}
	// UEFI 2.10 table 5-5: signature, then count and size of the entries.
	return string(h[:8]) == "EFI PART" &&
		binary.LittleEndian.Uint32(h[80:]) == 128 &&
		binary.LittleEndian.Uint32(h[84:]) == gpt.PartitionEntrySize &&
		binary.LittleEndian.Uint64(h[72:]) < sectors(size, sector)
}

func readTable(r io.ReaderAt, size int64, sector int) (*Table, error) {
	t, err := gpt.Read(&readOnly{Reader: io.NewSectionReader(r, 0, size)}, sector, sector)
	if err != nil {
		return nil, fmt.Errorf("disk: partition table: %w", err)
	}
	table := &Table{SectorSize: sector, FromBackup: t.RecoveredFromBackup}
	if table.GUID, err = uuid.Parse(t.GUID); err != nil {
		return nil, fmt.Errorf("disk: GUID of the partition table: %w", err)
	}
	for _, p := range t.Partitions {
		entry, err := partition(p, size, int64(sector))
		if err != nil {
			return nil, err
		}
		table.Partitions = append(table.Partitions, entry)
	}
	return table, nil
}

// partition checks that an entry lies on the disk.
func partition(p *gpt.Partition, size, sector int64) (Partition, error) {
	total := sectors(size, sector)
	if p.Start == 0 || p.End < p.Start || p.End >= total {
		return Partition{}, fmt.Errorf("disk: partition %d: sectors %d to %d are not on a disk of %d sectors", p.Index, p.Start, p.End, total)
	}
	first, count := int64(p.Start), int64(p.End-p.Start)+1 //nolint:gosec // less than total
	typ, err := uuid.Parse(string(p.Type))
	if err != nil {
		return Partition{}, fmt.Errorf("disk: partition %d: type: %w", p.Index, err)
	}
	guid, err := uuid.Parse(p.GUID)
	if err != nil {
		return Partition{}, fmt.Errorf("disk: partition %d: GUID: %w", p.Index, err)
	}
	return Partition{
		Index: p.Index, Type: typ, GUID: guid, Name: p.Name,
		Offset: first * sector, Size: count * sector,
	}, nil
}

// sectors returns how many sectors so many bytes are; neither is negative.
func sectors(bytes, sector int64) uint64 {
	return uint64(bytes / sector) //nolint:gosec // see above
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
