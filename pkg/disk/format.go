package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Format is how a disk lies in a file.
type Format string

// The formats that are written.
const (
	// Raw is the disk byte for byte, sparse where it is zero.
	Raw Format = "raw"
	// QCOW2 is QEMU's format, see PlanQCOW2.
	QCOW2 Format = "qcow2"
	// VMDK is VMware's, in the kind (streamOptimized) that vSphere imports.
	VMDK Format = "vmdk"
	// VMDKSparse is VMware's in the kind (monolithicSparse) that Workstation and
	// Fusion run, see PlanVMDKSparse.
	VMDKSparse Format = "vmdk-sparse"
)

// Formats lists all formats.
func Formats() []Format { return []Format{Raw, QCOW2, VMDK, VMDKSparse} }

// FormatOf tells by its first bytes what is not Raw, whoever made it: VMDK also
// for other kinds of it.
func FormatOf(r io.ReaderAt) Format {
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil {
		return Raw
	}
	switch {
	case binary.BigEndian.Uint32(magic[:]) == qcowMagic:
		return QCOW2
	case binary.LittleEndian.Uint32(magic[:]) == vmdkMagic:
		return VMDK
	default:
		return Raw
	}
}

// OpenDisk opens the disk in a raw file, which is the file itself, or in a QCOW2
// file, with one behind it if open is given; see OpenQCOW2. Any other format is
// told, and not opened.
func OpenDisk(r io.ReaderAt, size int64, open OpenBacking) (io.ReaderAt, int64, Format, error) {
	format := FormatOf(r)
	if format != QCOW2 {
		return r, size, format, nil
	}
	d, err := OpenQCOW2(r, size, open)
	if err != nil {
		return nil, 0, format, err
	}
	return d, d.Size, format, nil
}

// formatUnit is what all formats but Raw keep or leave out at once, in bytes:
// a cluster of QCOW2, a grain of VMDK.
const formatUnit = 64 << 10

// fill makes an empty file the planned disk.
func fill(ctx context.Context, f *os.File, p *plan.Plan, opts WriteOptions, phase string) error {
	if opts.Compress && opts.Format != QCOW2 {
		return fmt.Errorf("disk: only %s is compressed, not %q", QCOW2, opts.Format)
	}
	var err error
	switch opts.Format {
	case "", Raw:
	case QCOW2:
		if opts.Compress {
			return writeCompressedQCOW2(ctx, f, p, opts, phase)
		}
		p, err = PlanQCOW2(p)
	case VMDK:
		return writeVMDK(ctx, f, p, opts, phase)
	case VMDKSparse:
		p, err = PlanVMDKSparse(p, opts.Name)
	default:
		err = fmt.Errorf("disk: %q is not one of the formats %v", opts.Format, Formats())
	}
	if err != nil {
		return err
	}
	makeSparse(f)
	if err := f.Truncate(p.Size); err != nil {
		return err
	}
	return write(ctx, f, p, opts, phase)
}

// dataRuns are the parts of a disk that a format keeps: all that the plan does
// not say to be zeros, rounded outwards to units. What is kept follows from the
// plan alone, never from what a file holds.
func dataRuns(p *plan.Plan, unit int64) []span {
	var runs []span
	for _, e := range p.Extents {
		if e.Kind == plan.Zero {
			continue
		}
		r := span{e.Offset / unit * unit, roundUp(e.End(), unit)}
		if last := len(runs) - 1; last >= 0 && runs[last].end >= r.start {
			runs[last].end = r.end
			continue
		}
		runs = append(runs, r)
	}
	return runs
}

// packed is a plan of the runs alone, one after another. Its files are the given
// plan's; those of which nothing is in a run lie nowhere.
func packed(p *plan.Plan, runs []span) *plan.Plan {
	out := &plan.Plan{SectorSize: p.SectorSize, Files: slices.Clone(p.Files)}
	first := 0 // the first extent that ends within or behind the run
	for _, r := range runs {
		for first < len(p.Extents) && p.Extents[first].End() <= r.start {
			first++
		}
		shift := out.Size - r.start
		at := r.start
		for _, e := range p.Extents[first:] {
			if e.Offset >= r.end {
				break
			}
			e = clipped(e, r)
			at = e.End()
			e.Offset += shift
			if e.Kind == plan.Content && e.FileOffset == 0 {
				out.Files[e.File].Offset = e.Offset
			}
			out.Extents = append(out.Extents, e)
		}
		if at < r.end { // the disk ends within a unit
			out.Extents = append(out.Extents, plan.Extent{Offset: at + shift, Length: r.end - at})
		}
		out.Size += r.end - r.start
	}
	return out
}

// clipped is the part of an extent that lies in a run.
func clipped(e plan.Extent, r span) plan.Extent {
	skip := max(0, r.start-e.Offset)
	length := min(e.End(), r.end) - e.Offset - skip
	switch e.Kind {
	case plan.Literal:
		e.Data = e.Data[skip : skip+length]
	case plan.Content:
		e.FileOffset += skip
	}
	e.Offset, e.Length = e.Offset+skip, length
	return e
}
