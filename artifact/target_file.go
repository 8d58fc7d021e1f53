package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/esxi-img/esxi-img/pkg/blockdev"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// toFile is a file that appears complete. Until then it lies beside its name,
// where the next pull finds what a killed one left.
type toFile struct {
	partial *outfile.Partial
	// make makes the output of the disk, which lies raw beside it; nil where that
	// is the output.
	make func(ctx context.Context, disked *plan.Plan, opts disk.WriteOptions) error
	old  *os.File // what the output is so far, nil if it is not there
	done bool
}

// FileOptions say how a disk lies in a file.
type FileOptions struct {
	// Force replaces what is no image of ours, too.
	Force bool
	// Format is that of the file, "" for raw. In any other the disk comes to lie
	// raw beside it first, and takes that room for as long.
	Format disk.Format
	// Compress is disk.WriteOptions'.
	Compress bool
}

func (o *FileOptions) raw() bool { return o.Format == "" || o.Format == disk.Raw }

// ToFile is a file of that name as a destination. One that is there is
// replaced at the end if it is an image of ours, any other with force only. The
// error may be a *TargetError or outfile.ErrBusy.
func ToFile(path string, opts FileOptions) (Destination, error) {
	if blockdev.Meant(path) {
		return nil, &TargetError{path, blockdev.ErrNotDevice, "name a disk; a file cannot lie there"}
	}
	old, err := openOld(path, opts.Force)
	if err != nil {
		return nil, err
	}
	replace := opts.Force || old != nil
	partial, err := outfile.OpenPartial(path, replace)
	if err != nil {
		if old != nil {
			err = errors.Join(err, old.Close())
		}
		return nil, err
	}
	to := &toFile{partial: partial, old: old}
	if !opts.raw() {
		to.make = func(ctx context.Context, disked *plan.Plan, w disk.WriteOptions) error {
			w.Format, w.Compress, w.Replace = opts.Format, opts.Compress, replace
			return disk.WriteFile(ctx, partial.Path(), disked, w)
		}
	}
	return to, nil
}

// openOld opens what the output is so far, if it may be replaced.
func openOld(path string, force bool) (*os.File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil // outfile says what is wrong with it
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if force {
		return f, nil
	}
	content, err := probe(f, info.Size())
	if err == nil && content.Kind == blockdev.Foreign && info.Size() > 0 {
		err = &TargetError{path, fmt.Errorf("holds something else than an image of ours: %s", content.Description), "choose another --output, or --force to replace it"}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// probe tells what lies in a file, raw or qcow2.
func probe(f *os.File, size int64) (blockdev.Content, error) {
	r, size, _, err := disk.OpenDisk(f, size, nil)
	var refused *disk.QCOW2Error
	switch {
	case errors.As(err, &refused):
		return blockdev.Content{Kind: blockdev.Foreign, Description: err.Error()}, nil
	case err != nil:
		return blockdev.Content{}, err
	}
	return blockdev.Probe(r, size, 512)
}

func (f *toFile) demand() demand { return demand{} }

// Close keeps what an earlier pull left, and removes what is empty.
func (f *toFile) Close() error {
	err := f.closeOld()
	switch {
	case f.done:
		return err
	case f.partial.Found > 0:
		return f.partial.Keep(err)
	default:
		return f.partial.Discard(err)
	}
}

func (f *toFile) closeOld() error {
	if f.old == nil {
		return nil
	}
	old := f.old
	f.old = nil
	return old.Close()
}

// fill implements Destination.
func (f *toFile) fill(ctx context.Context, p *puller) error {
	same, err := f.isSame(ctx, p)
	if err != nil {
		return err
	}
	if same {
		f.done = true
		return f.partial.Discard(nil) // whatever it holds is not needed any more
	}
	if err := f.write(ctx, p); err != nil {
		if p.written.Load() == 0 && f.partial.Found == 0 {
			return err
		}
		f.done = true
		return &KeptError{f.partial.Name(), f.partial.Keep(err)}
	}
	f.done = true
	return nil
}

// isSame says whether the output is what it should be already.
func (f *toFile) isSame(ctx context.Context, p *puller) (bool, error) {
	if f.old == nil {
		return false, nil
	}
	info, err := f.old.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() == p.goal.size && f.make == nil {
		if p.check {
			dropCache(f.old)
		}
		same, err := p.same(ctx, f.old)
		if err != nil || same {
			p.missing() // counts what is there
			return same, err
		}
		for i := range p.goal.chunks {
			p.goal.chunks[i].there = false // in the old file, not in the new one
		}
	}
	if s, err := newSeed(f.old, info.Size(), true); err == nil {
		p.seeds = append([]*seed{s}, p.seeds...)
	}
	return false, nil
}

func (f *toFile) write(ctx context.Context, p *puller) error {
	dirty, err := f.prepare(ctx, p)
	if err != nil {
		return err
	}
	for _, s := range dirty {
		if err := f.zero(s.offset, s.length); err != nil {
			return err
		}
	}
	if err := p.bring(ctx, f, p.missing()); err != nil {
		return err
	}
	if p.check {
		if err := f.sync(); err != nil {
			return err
		}
		dropCache(f.partial.File)
		if err := p.verify(ctx, f.partial, filepath.Base(f.partial.Path())); err != nil {
			return err
		}
	}
	// Windows does not replace a file that is open.
	if err := f.closeOld(); err != nil {
		return err
	}
	if f.make == nil {
		return f.partial.Commit()
	}
	return f.convert(ctx, p)
}

// convert makes the output of the disk that lies raw beside it; what is written
// is checked once more.
func (f *toFile) convert(ctx context.Context, p *puller) error {
	disked, err := p.goal.plan(f.partial, p.image.Config.Disk.SectorSize)
	if err != nil {
		return err
	}
	p.report.Done()
	p.dropBuffers()
	if err := f.make(ctx, disked, disk.WriteOptions{Progress: p.report}); err != nil {
		return err
	}
	return f.partial.Discard(nil)
}

// prepare makes the file as large as it has to be, and finds out what is
// missing in it. A new one begins as a copy of a file that shares its blocks,
// where there is one and the file system can do that.
func (f *toFile) prepare(ctx context.Context, p *puller) (dirty []span, err error) {
	fresh := f.partial.Found == 0 && !f.clone(p)
	if fresh {
		disk.MakeSparse(f.partial.File)
	}
	if err := f.partial.Truncate(p.goal.size); err != nil || fresh {
		return nil, err
	}
	return p.scan(ctx, f.partial)
}

// clone shares blocks with the disk in a layout, or with the old output. Nobody
// has vouched for what it shares yet: the scan follows.
func (f *toFile) clone(p *puller) bool {
	if path, ok := p.from.LocalPath(p.image.Disk); ok && p.goal.image {
		if blob, err := os.Open(path); err == nil {
			ok := disk.Clone(f.partial.File, blob)
			_ = blob.Close() // was only read
			if ok {
				return true
			}
		}
	}
	return f.old != nil && disk.FormatOf(f.old) == disk.Raw && disk.Clone(f.partial.File, f.old)
}

// ReadAt implements place.
func (f *toFile) ReadAt(b []byte, off int64) (int, error) { return f.partial.ReadAt(b, off) }

// WriteAt implements place.
func (f *toFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.partial.WriteAt(b, off)
	if err == nil {
		disk.StartWriteback(f.partial.File, off, int64(n))
	}
	return n, err
}

func (f *toFile) zero(off, n int64) error {
	if punchHole(f.partial.File, off, n) {
		return nil
	}
	b := make([]byte, min(n, scanStep))
	for n > 0 {
		part := b[:min(n, int64(len(b)))]
		if _, err := f.partial.WriteAt(part, off); err != nil {
			return err
		}
		off, n = off+int64(len(part)), n-int64(len(part))
	}
	return nil
}

func (f *toFile) sync() error { return f.partial.Sync() }
