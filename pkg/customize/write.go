package customize

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
)

const (
	// compareSize is what is compared and written at once, in bytes: less than a
	// file system's block gains nothing.
	compareSize = 4096
	// windowSize is how much is read at a time, in bytes.
	windowSize = 1 << 20
)

var (
	// ErrChanged says that an image was written to while it was read.
	ErrChanged = errors.New("was changed while it was read")
	// ErrInUse says that another process holds a lock on an image.
	ErrInUse = errors.New("is in use by another process")
)

// WriteOptions say where a customised image goes.
type WriteOptions struct {
	// Output is the file; it may be the image itself, which then is replaced in
	// one step. Replace allows any other file to be replaced.
	Output  string
	Replace bool
	// Format is how the disk lies in Output; "" for that of the image where it is
	// replaced, raw elsewhere. Compress is disk.WriteOptions'.
	Format   disk.Format
	Compress bool
	// Convert makes it no error that there is nothing to change: the output
	// becomes the same disk. Not where the image is replaced.
	Convert bool
	// Backing opens the file behind a qcow2 one; nil refuses such images.
	Backing disk.OpenBacking
	// DryRun plans and compares, and writes nothing.
	DryRun   bool
	Progress progress.Reporter
}

// Written is a Result that was written. The files of the image in its plan can
// be read no more.
type Written struct {
	*Result
	// Format is how the disk lies in the output.
	Format disk.Format
	// Source is what the image's digest turned out to be; that of an image that
	// was only converted was not asked for.
	Source Source
	// Differs is how many bytes are other ones than in the image.
	Differs int64
}

// Converted says that nothing was changed: the output is the same disk. There is
// no Step of it.
func (w *Written) Converted() bool { return w.Source.Digest == "" }

// WriteFile customises the image in a file, raw or qcow2, which it closes:
// Windows does not replace one that is open. The output appears under its name complete and
// synced, or not at all. Where the file system can, it shares the blocks of the
// image that stay the same. Errors are those of Open and Customize, of package
// outfile, ErrInUse, and ErrChanged.
func WriteFile(ctx context.Context, file *os.File, c Changes, opts WriteOptions) (_ *Written, err error) {
	open := true
	defer func() {
		if open {
			err = errors.Join(err, file.Close())
		}
	}()
	before, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if inUse(file) {
		return nil, fmt.Errorf("%s: %w", file.Name(), ErrInUse)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	w := &writing{file: file, opts: opts}
	if err := w.open(size, before); err != nil {
		return nil, err
	}
	// 1. What cannot be is told of before any work.
	_, err = w.image.Customize(c, w.source)
	convert := errors.Is(err, ErrNoChange) && opts.Convert && !w.inPlace
	if err != nil && !convert {
		return nil, err
	}
	// 2. The image's digest, and meanwhile a copy of it.
	out, err := w.create(before)
	if err != nil {
		return nil, err
	}
	var done *Written
	if convert {
		done, err = w.convert(ctx, out)
	} else {
		done, err = w.write(ctx, out, c)
	}
	if err == nil {
		err = unchanged(file, before)
	}
	if out == nil {
		return done, err
	}
	open = false
	if err = errors.Join(err, file.Close()); err == nil {
		err = out.Commit()
	}
	if err != nil {
		return nil, out.Discard(err)
	}
	return done, nil
}

// unchanged says whether a file is as it was, by size and time.
func unchanged(file *os.File, before os.FileInfo) error {
	now, err := os.Stat(file.Name())
	if err != nil {
		return err
	}
	if now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime()) || !os.SameFile(now, before) {
		return fmt.Errorf("%s: %w", file.Name(), ErrChanged)
	}
	return nil
}

// writing is one way from an image to another.
type writing struct {
	file *os.File
	disk io.ReaderAt // what file holds
	// as is the format of file, inPlace that it is the output, too.
	as      disk.Format
	inPlace bool
	image   *Image
	opts    WriteOptions
	source  Source
}

// open opens the image in the file, and finds out what its output will be.
func (w *writing) open(size int64, file os.FileInfo) error {
	var err error
	if w.disk, size, w.as, err = openDisk(w.file, size, w.opts.Backing); err != nil {
		return err
	}
	if w.image, err = openImage(w.disk, size, file); err != nil {
		return err
	}
	w.source = Source{Name: filepath.Base(w.file.Name()), Digest: digestText(nil), Size: w.image.End}
	if old, err := os.Stat(w.opts.Output); err == nil {
		w.inPlace = os.SameFile(old, file)
	}
	if w.opts.Format == "" {
		w.opts.Format = disk.Raw
		if w.inPlace {
			w.opts.Format = w.as
		}
	}
	return w.checkInPlace()
}

// checkInPlace refuses to replace what holds more than a disk.
func (w *writing) checkInPlace() error {
	q, ok := w.disk.(*disk.QCOW2Disk)
	if !ok || !w.inPlace {
		return nil
	}
	const advice = "write to another file with --output"
	switch {
	case q.Snapshots > 0:
		return &imager.InputError{Err: fmt.Errorf("has %d snapshots, which would be lost", q.Snapshots), Advice: advice}
	case q.Backing != "":
		return &imager.InputError{Err: fmt.Errorf("lies over %s, and would have all of the disk itself", q.Backing), Advice: advice}
	}
	return nil
}

// openDisk opens the disk in a file.
func openDisk(r io.ReaderAt, size int64, open disk.OpenBacking) (io.ReaderAt, int64, disk.Format, error) {
	out, size, as, err := disk.OpenDisk(r, size, open)
	var refused *disk.QCOW2Error
	if errors.As(err, &refused) {
		return nil, 0, as, &imager.InputError{Err: err, Advice: refused.Advice}
	}
	return out, size, as, err
}

// openImage opens the image that a file or a device holds. Nobody asked for the
// size that a device has: what is made of such an image has the least.
func openImage(r io.ReaderAt, size int64, file os.FileInfo) (*Image, error) {
	if file.Mode().IsRegular() {
		return Open(r, size)
	}
	img, err := open(r, size)
	if err != nil {
		return nil, err
	}
	img.onDevice = true
	return img, nil
}

// create begins the output; nil for a dry run.
func (w *writing) create(source os.FileInfo) (*outfile.File, error) {
	if w.opts.DryRun {
		return nil, nil //nolint:nilnil // nothing is written
	}
	out, err := outfile.Create(w.opts.Output, w.opts.Replace || w.inPlace)
	if err != nil {
		return nil, err
	}
	// A private image stays private.
	if err := out.Chmod(source.Mode().Perm()); err != nil {
		return nil, out.Discard(err)
	}
	return out, nil
}

func (w *writing) raw() bool { return w.opts.Format == disk.Raw }

func (w *writing) options() disk.WriteOptions {
	return disk.WriteOptions{Format: w.opts.Format, Compress: w.opts.Compress, Name: filepath.Base(w.opts.Output), Progress: w.opts.Progress}
}

func (w *writing) write(ctx context.Context, out *outfile.File, c Changes) (*Written, error) {
	if err := w.copyAndDigest(ctx, out); err != nil {
		return nil, err
	}
	// 3. The plan, with the digest in the record.
	r, err := w.image.Customize(c, w.source)
	if err != nil {
		return nil, err
	}
	// 4. What is different.
	done := &Written{Result: r, Format: w.opts.Format, Source: w.source}
	if out == nil || !w.raw() {
		done.Differs, err = update(ctx, w.disk, nil, r)
	} else {
		done.Differs, err = update(ctx, out.File, out.File, r)
	}
	if err != nil {
		return nil, err
	}
	if out != nil && !w.raw() {
		err = disk.CopyFile(ctx, out.File, w.file, r.Plan, w.options(), w.phase())
	}
	return done, err
}

func (w *writing) phase() string { return "write " + filepath.Base(w.opts.Output) }

// copyAndDigest makes a raw output the image as it is, and finds its digest.
func (w *writing) copyAndDigest(ctx context.Context, out *outfile.File) error {
	sum := sha256.New()
	// A file that shares its blocks is a copy already.
	if out == nil || !w.raw() || w.as == disk.Raw && disk.Clone(out.File, w.file) {
		if err := readAll(ctx, sum, w.disk, w.source.Size, nil); err != nil {
			return err
		}
	} else if err := w.copy(ctx, out, sum); err != nil {
		return err
	}
	w.source.Digest = digestText(sum.Sum(nil))
	return nil
}

func (w *writing) copy(ctx context.Context, out *outfile.File, sum hash.Hash) error {
	p, err := w.image.Plan()
	if err != nil {
		return err
	}
	runs, total := dataRuns(p, w.source.Size), int64(0)
	for _, r := range runs {
		total += r.n
	}
	report := progress.Or(w.opts.Progress)
	report.Start(w.phase(), total)
	defer report.Done()
	if w.as == disk.Raw {
		k := &copyInKernel{from: w.file, to: out.File, runs: runs, sum: sum, report: report, last: w.inPlace}
		if done, err := k.run(ctx, w.source.Size); done || err != nil {
			return err
		}
	}
	return (&copyOnce{from: w.disk, to: out.File, runs: runs, sum: sum, report: report}).run(ctx, w.source.Size)
}

func digestText(sum []byte) string {
	if sum == nil {
		return "sha256:" + strings.Repeat("0", 2*sha256.Size)
	}
	return fmt.Sprintf("sha256:%x", sum)
}

// Digest is that of the image which was opened from r, as a Source has it: up to
// the end that its partition table has.
func (i *Image) Digest(ctx context.Context, r io.ReaderAt) (string, error) {
	sum := sha256.New()
	if err := readAll(ctx, sum, r, i.End, nil); err != nil {
		return "", err
	}
	return digestText(sum.Sum(nil)), nil
}

// readAll hands the first size bytes of a file to w, and tells how far it is,
// unless tell is nil. Holes are not read.
func readAll(ctx context.Context, w io.Writer, r io.ReaderAt, size int64, tell func(at int64)) error {
	buf, zeros := make([]byte, windowSize), []byte(nil)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(windowSize, size-at)]
		if hole := disk.NextData(r, at, size) - at; hole >= int64(len(b)) {
			if zeros == nil {
				zeros = make([]byte, windowSize)
			}
			b = zeros[:len(b)]
		} else if n, err := r.ReadAt(b, at); n < len(b) {
			return &plan.ReadError{Path: "the image", Err: short(err)}
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		at += int64(len(b))
		if tell != nil {
			tell(at)
		}
	}
	return nil
}

// short is a read that ended early.
func short(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// update compares a disk with a plan, returns how many bytes differ, and with to
// writes those. What has to be where the image had it is not read: the disk is
// the image, or a copy of it.
func update(ctx context.Context, have io.ReaderAt, to *os.File, r *Result) (int64, error) {
	u := &updater{have: have, to: to, want: make([]byte, windowSize), is: make([]byte, windowSize)}
	if to != nil {
		if err := to.Truncate(r.Plan.Size); err != nil {
			return 0, err
		}
	}
	for _, e := range r.Plan.Extents {
		if e.Kind == plan.Content && e.FileOffset == 0 {
			f := &r.Plan.Files[e.File]
			if at, ok := r.offsets[f.Path]; ok && at == e.Offset && e.Length == f.Size {
				continue
			}
		}
		if err := u.compare(ctx, r.Plan, e); err != nil {
			return u.differs, err
		}
	}
	return u.differs, nil
}

type updater struct {
	have     io.ReaderAt
	to       *os.File
	want, is []byte
	differs  int64
}

func (u *updater) compare(ctx context.Context, p *plan.Plan, e plan.Extent) error {
	for at := e.Offset; at < e.End(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Kind == plan.Zero {
			if at = disk.NextData(u.have, at, e.End()); at == e.End() {
				break
			}
		}
		// Up to a multiple, so that blocks are those of the file system.
		end := min((at/windowSize+1)*windowSize, e.End())
		want, is := u.want[:end-at], u.is[:end-at]
		if n, err := p.ReadAt(want, at); n < len(want) {
			return short(err)
		}
		// Behind the end of a smaller disk there are zeros.
		n, err := u.have.ReadAt(is, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(is[n:])
		if err := u.put(want, is, at); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// put writes the blocks that differ, neighbours at once.
func (u *updater) put(want, is []byte, at int64) error {
	for from := 0; from < len(want); {
		to := from + blockLength(at+int64(from), len(want)-from)
		if bytes.Equal(want[from:to], is[from:to]) {
			from = to
			continue
		}
		for to < len(want) {
			next := to + blockLength(at+int64(to), len(want)-to)
			if bytes.Equal(want[to:next], is[to:next]) {
				break
			}
			to = next
		}
		u.differs += int64(to - from)
		if u.to != nil {
			if _, err := u.to.WriteAt(want[from:to], at+int64(from)); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}

// blockLength is how much of a block is left from at on.
func blockLength(at int64, left int) int {
	return min(compareSize-int(at%compareSize), left)
}
