package customize

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// convert makes the output the same disk, byte for byte.
func (w *writing) convert(ctx context.Context, out *outfile.File) (*Written, error) {
	p, err := w.samePlan(ctx)
	if err != nil {
		return nil, err
	}
	done := &Written{Result: &Result{Plan: p, Layout: w.image.Layout, Record: w.image.Record, Warnings: w.image.Warnings}, Format: w.opts.Format, Source: w.source}
	done.Source.Digest = ""
	if out == nil {
		return done, nil
	}
	if w.as == disk.Raw {
		return done, disk.CopyFile(ctx, out.File, w.file, p, w.options(), w.phase())
	}
	return done, disk.FillFile(ctx, out.File, p, w.options(), w.phase())
}

// samePlan is a plan that gives the disk as it is. That is the image's own, of
// which only what is no payload has to be compared, unless another tool has
// written to the disk: then all of it is looked at.
func (w *writing) samePlan(ctx context.Context) (*plan.Plan, error) {
	p, err := w.image.Plan()
	size := w.image.Size - w.image.Size%int64(w.image.Layout.SectorSize)
	if err == nil && w.image.onDevice {
		return p, nil
	}
	if err == nil && p.Size == size {
		r := &Result{Plan: p, offsets: w.image.keptOffsets(p)}
		if differs, err := update(ctx, w.disk, nil, r); err != nil || differs == 0 {
			return p, err
		}
	}
	return scan(ctx, w.disk, size, w.image.Layout.SectorSize)
}

// keptOffsets are where the payload lies that a plan of the image puts where it
// is.
func (i *Image) keptOffsets(p *plan.Plan) map[string]int64 {
	out := map[string]int64{}
	for n := range i.Files {
		if f := &i.Files[n]; f.Role == plan.RolePayload && !i.fragmented && p.Files[n].Offset == f.Offset {
			out[f.Path] = f.Offset
		}
	}
	return out
}

// scanUnit is what is zero or not at once, in bytes: what a format leaves out.
const scanUnit = 64 << 10

// scan plans a disk by what it holds: zeros, and runs of all else.
func scan(ctx context.Context, r io.ReaderAt, size int64, sectorSize int) (*plan.Plan, error) {
	var b plan.Builder
	run := func(from, to int64) {
		if from < to {
			b.File(plan.File{Path: fmt.Sprintf("bytes %d to %d", from, to-1), Size: to - from, Content: io.NewSectionReader(r, from, to-from)})
		}
	}
	buf := make([]byte, windowSize)
	from := int64(0) // where the run begins that is not zero
	for at := int64(0); at < size; at += windowSize {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		window := buf[:min(windowSize, size-at)]
		if disk.NextData(r, at, size) >= at+int64(len(window)) {
			run(from, at)
			b.Zero(int64(len(window)))
			from = at + int64(len(window))
			continue
		}
		if n, err := r.ReadAt(window, at); n < len(window) {
			return nil, &plan.ReadError{Path: "the image", Err: short(err)}
		}
		for off := 0; off < len(window); off += scanUnit {
			unit := window[off:min(off+scanUnit, len(window))]
			if !disk.AllZero(unit) {
				continue
			}
			run(from, at+int64(off))
			b.Zero(int64(len(unit)))
			from = at + int64(off+len(unit))
		}
	}
	run(from, size)
	p, err := b.Build(sectorSize)
	if err != nil {
		return nil, errors.Join(errors.New("its disk cannot be planned"), err)
	}
	return p, nil
}
