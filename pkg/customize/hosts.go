package customize

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
)

// maxHostWorkers is how many hosts' images are written at once: each takes some
// buffers of a mebibyte, and the disk does not become faster.
const maxHostWorkers = 4

// Over returns what both change, c on top: what it sets replaces what base sets,
// its scripts, modules, options and keys come behind base's.
func (c Changes) Over(base Changes) Changes {
	out := base
	over(&out.Kickstart, c.Kickstart)
	out.Snippets = slices.DeleteFunc(slices.Clone(base.Snippets), func(s kickstart.Snippet) bool { return contains(c.Snippets, s) })
	out.Snippets = append(out.Snippets, c.Snippets...)
	out.Modules = slices.Concat(base.Modules, c.Modules)
	out.KernelOpts = slices.Concat(base.KernelOpts, c.KernelOpts)
	out.InstallerConsole = base.InstallerConsole || c.InstallerConsole
	over(&out.Host.RootHash, c.Host.RootHash)
	over(&out.Host.Install.Disk, c.Host.Install.Disk)
	over(&out.Host.Install.OverwriteVMFS, c.Host.Install.OverwriteVMFS)
	over(&out.Host.Install.OverwriteVSAN, c.Host.Install.OverwriteVSAN)
	out.Host.KernelOpts = addOptions(base.Host.KernelOpts, c.Host.KernelOpts)
	out.Host.SerialConsole = base.Host.SerialConsole || c.Host.SerialConsole
	out.Host.Keep = base.Host.Keep || c.Host.Keep
	over(&out.MetadataRequired, c.MetadataRequired)
	over(&out.Drive, c.Drive)
	if len(c.Files) > 0 {
		out.Files = maps.Clone(base.Files)
		if out.Files == nil {
			out.Files = map[string]File{}
		}
		maps.Copy(out.Files, c.Files)
	}
	over(&out.Hostname, c.Hostname)
	out.SSHKeys = slices.Concat(base.SSHKeys, c.SSHKeys)
	over(&out.DriveAs, c.DriveAs)
	over(&out.DriveSize, c.DriveSize)
	return out
}

// over replaces what is set.
func over[T comparable](to *T, value T) {
	var zero T
	if value != zero {
		*to = value
	}
}

// Host is one of many that get an image.
type Host struct {
	Name string
	// Output is its file; EachHost does not look at it.
	Output string
	// Changes is called when it is the host's turn, so that the inputs of all
	// are never in memory together.
	Changes func() (Changes, error)
}

// HostsOptions say how images of many hosts are written.
type HostsOptions struct {
	// Replace allows regular files to be replaced, each in one step.
	Replace bool
	// Format is how the disks lie in their files, Compress as disk.WriteOptions
	// has it.
	Format   disk.Format
	Compress bool
	// Backing, which goes with disk.QCOW2, makes overlays: they have only what
	// differs from the image.
	Backing *HostsBacking
	// As makes something else of a customised disk, which is written instead.
	As func(*Result) (*plan.Plan, error)
	// Open opens the file behind a qcow2 image; nil refuses such images.
	Open disk.OpenBacking
	// DryRun plans and compares, and writes nothing.
	DryRun bool
	// Workers is how many hosts are worked on at once, 0 for as many as help.
	Workers  int
	Progress progress.Reporter
}

// HostsBacking is the file behind overlays.
type HostsBacking struct {
	// Path of the file: the image's own, unless Write is given.
	Path string
	// Write makes the file first, in this format.
	Write disk.Format
}

// HostResult is what became of a host.
type HostResult struct {
	Edits    []Edit
	Inputs   []Digest
	Files    []FileChange
	Warnings []imager.Warning
	// Size of the disk, and by how much it grew, in bytes; of the file that was
	// written, 0 where that is the disk's.
	Size, Grown, FileSize int64
	// Differs is how many bytes of the disk are other ones than in the image.
	Differs int64
	// Err is why there is no image of it.
	Err error
}

// WriteHosts writes an image for each host, several at once. It closes the file.
// The image's digest is computed once. What goes wrong with a host is its Err,
// and the others go on; the error is one of the image, or of all. Each output
// appears under its name complete and synced, or not at all. Folders of outputs
// that are not there are made.
func WriteHosts(ctx context.Context, file *os.File, hosts []Host, opts HostsOptions) (Source, []HostResult, error) {
	var zeros *disk.Zeros
	if opts.Backing != nil && opts.Backing.Write == "" {
		zeros = &disk.Zeros{}
	}
	run, err := openHosts(ctx, file, opts.Open, zeros, opts.Workers)
	if err != nil {
		return Source{}, nil, errors.Join(err, file.Close())
	}
	run.media = opts.As != nil
	w := &hostsWriter{opts: opts, run: run, zeros: zeros, results: make([]HostResult, len(hosts))}
	report := progress.Or(opts.Progress)
	if err := w.prepareBacking(ctx); err != nil {
		return run.source, nil, errors.Join(err, file.Close())
	}
	report.Start(fmt.Sprintf("write %d images", len(hosts)), int64(len(hosts))*run.source.Size)
	run.each(ctx, 0, hosts, func(ctx context.Context, i int, r *Result) error {
		defer report.Add(run.source.Size)
		return w.write(ctx, hosts[i], r, &w.results[i])
	}, func(i int, err error) { w.results[i].Err = err })
	report.Done()
	err = ctx.Err()
	if changed := unchanged(file, run.before); changed != nil {
		// What was written may be a mixture.
		err = errors.Join(changed, w.remove(hosts))
	}
	return run.source, w.results, errors.Join(err, file.Close())
}

// EachHost plans the disk of each host, the first one before the others, which
// go several at once, and hands it to do, whose errors it returns in the hosts'
// order. What it makes of it is no disk, so metadata is never on a partition. The
// plan's contents can be read until the file is closed. Open and workers are as
// in HostsOptions. The error is one of the image, or of all.
func EachHost(
	ctx context.Context, file *os.File, open disk.OpenBacking, hosts []Host, workers int, do func(ctx context.Context, i int, r *Result) error,
) (Source, []error, error) {
	run, err := openHosts(ctx, file, open, nil, workers)
	if err != nil {
		return Source{}, nil, err
	}
	run.media = true
	errs := make([]error, len(hosts))
	failed := func(i int, err error) { errs[i] = err }
	run.each(ctx, 0, hosts[:min(1, len(hosts))], do, failed)
	run.each(ctx, 1, hosts[min(1, len(hosts)):], do, failed)
	return run.source, errs, errors.Join(ctx.Err(), unchanged(file, run.before))
}

// hostsRun is an image of which many are made.
type hostsRun struct {
	file    *os.File
	disk    io.ReaderAt // what file holds
	as      disk.Format // how
	image   *Image
	before  os.FileInfo
	source  Source
	size    int64 // of the disk, in bytes
	media   bool  // what comes of it is no disk
	workers int
}

// openHosts opens the image, and computes its digest.
func openHosts(ctx context.Context, file *os.File, open disk.OpenBacking, zeros *disk.Zeros, workers int) (*hostsRun, error) {
	if inUse(file) {
		return nil, fmt.Errorf("%s: %w", file.Name(), ErrInUse)
	}
	before, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	run := &hostsRun{file: file, before: before, workers: workers}
	if run.disk, size, run.as, err = openDisk(file, size, open); err != nil {
		return nil, err
	}
	if run.image, err = openImage(run.disk, size, before); err != nil {
		return nil, err
	}
	if workers <= 0 {
		run.workers = min(maxHostWorkers, runtime.GOMAXPROCS(0))
	}
	sum := sha256.New()
	to := io.Writer(sum)
	if zeros != nil {
		to = io.MultiWriter(sum, zeros)
	}
	if err := readAll(ctx, to, run.disk, run.image.End, nil); err != nil {
		return nil, err
	}
	run.source = Source{Name: filepath.Base(file.Name()), Digest: digestText(sum.Sum(nil)), Size: run.image.End}
	run.size = size
	return run, nil
}

// each plans and hands out, in the order of the hosts, whose numbers begin with
// first.
func (r *hostsRun) each(ctx context.Context, first int, hosts []Host, do func(context.Context, int, *Result) error, failed func(int, error)) {
	queue := make(chan int)
	var wg sync.WaitGroup
	for range min(r.workers, len(hosts)) {
		wg.Go(func() {
			for i := range queue {
				if err := r.one(ctx, first+i, hosts[i], do); err != nil {
					failed(first+i, err)
				}
			}
		})
	}
	for i := range hosts {
		queue <- i // each looks at ctx first, so that every host has its answer
	}
	close(queue)
	wg.Wait()
}

func (r *hostsRun) one(ctx context.Context, i int, h Host, do func(context.Context, int, *Result) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	changes, err := h.Changes()
	if err == nil && r.media {
		changes, err = r.withoutPartition(changes)
	}
	if err != nil {
		return err
	}
	planned, err := r.image.Customize(changes, r.source)
	if errors.Is(err, ErrNoChange) {
		planned, err = r.image.asIs()
	}
	if err != nil {
		return err
	}
	return do(ctx, i, planned)
}

// withoutPartition carries metadata in a module, as only a disk has a partition
// for it.
func (r *hostsRun) withoutPartition(c Changes) (Changes, error) {
	if c.DriveAs == AsPartition {
		return c, &imager.InputError{Input: "config drive", Err: errors.New("is to be a partition, which only a disk has"), Advice: "carry it in a module"}
	}
	drive, err := r.image.DriveFiles()
	if len(drive) > 0 {
		c.DriveAs = AsModule
	}
	return c, err
}

// asIs is the image without a change.
func (i *Image) asIs() (*Result, error) {
	p, err := i.Plan()
	if err != nil {
		return nil, err
	}
	return &Result{Plan: p, Layout: i.Layout, Warnings: i.Warnings, offsets: i.keptOffsets(p)}, nil
}

// same says of an extent that the image has it where the result has it.
func (r *Result) same(e plan.Extent) bool {
	if e.Kind != plan.Content || e.FileOffset != 0 {
		return false
	}
	f := &r.Plan.Files[e.File]
	at, ok := r.offsets[f.Path]
	return ok && at == e.Offset && e.Length == f.Size
}

// hostsWriter writes the images of hosts.
type hostsWriter struct {
	opts    HostsOptions
	run     *hostsRun
	zeros   *disk.Zeros
	backing disk.Backing
	results []HostResult
}

func (w *hostsWriter) options() disk.WriteOptions {
	return disk.WriteOptions{Replace: w.opts.Replace, Format: w.opts.Format, Compress: w.opts.Compress, Mode: w.run.before.Mode().Perm(), Workers: 1}
}

// prepareBacking writes the file behind, if that is asked for.
func (w *hostsWriter) prepareBacking(ctx context.Context) error {
	b := w.opts.Backing
	if b == nil {
		return nil
	}
	w.backing = disk.Backing{Path: b.Path, Format: w.run.as, Disk: w.run.disk, Size: w.run.size, Zeros: w.zeros}
	if b.Write == "" {
		return nil
	}
	r, err := w.run.image.asIs()
	if err != nil {
		return err
	}
	// What is written is the plan, not what else may be in the image.
	w.backing.Format, w.backing.Disk, w.backing.Size = b.Write, r.Plan, r.Plan.Size
	if w.opts.DryRun {
		return nil
	}
	if err := folderFor(b.Path); err != nil {
		return err
	}
	if b.Write == disk.Raw {
		return w.copy(ctx, b.Path, r)
	}
	opts := w.options()
	opts.Format, opts.Workers, opts.Progress = b.Write, 0, w.opts.Progress
	return disk.WriteFile(ctx, b.Path, r.Plan, opts)
}

func folderFor(path string) error { return os.MkdirAll(filepath.Dir(path), 0o777) }

// write writes one host's image, and notes what it is.
func (w *hostsWriter) write(ctx context.Context, h Host, r *Result, to *HostResult) (err error) {
	defer func() { to.Warnings = r.Warnings }() // As may add some
	to.Files, to.Size, to.Grown = r.Files, r.Plan.Size, r.Grown
	if r.Record != nil {
		to.Edits, to.Inputs = r.Step().Edits, r.Step().Inputs
	}
	if w.opts.Backing == nil || w.opts.DryRun { // an overlay is what differs
		if to.Differs, err = update(ctx, w.run.disk, nil, r); err != nil {
			return err
		}
	}
	p := r.Plan
	if w.opts.As != nil {
		if p, err = w.opts.As(r); err != nil {
			return err
		}
	}
	if w.opts.DryRun {
		return nil
	}
	if err := folderFor(h.Output); err != nil {
		return err
	}
	switch raw := w.opts.Format == "" || w.opts.Format == disk.Raw; {
	case w.opts.Backing != nil:
		var overlay *disk.Overlay
		overlay, err = disk.WriteOverlay(ctx, h.Output, p, w.backing, r.same, w.options())
		if err == nil {
			to.FileSize, to.Differs = overlay.Size, overlay.Differs
		}
	case raw && w.opts.As == nil:
		err = w.copy(ctx, h.Output, r)
	default:
		err = disk.WriteFile(ctx, h.Output, p, w.options())
	}
	return err
}

// copy writes a raw disk, which shares with the image the blocks that stay the
// same where the file system can.
func (w *hostsWriter) copy(ctx context.Context, path string, r *Result) error {
	out, err := outfile.Create(path, w.opts.Replace)
	if err != nil {
		return err
	}
	err = out.Chmod(w.run.before.Mode().Perm())
	switch opts := (disk.WriteOptions{Workers: 1}); {
	case err != nil:
	case w.run.as == disk.Raw:
		err = disk.CopyFile(ctx, out.File, w.run.file, r.Plan, opts, "")
	default:
		err = disk.FillFile(ctx, out.File, r.Plan, opts, "")
	}
	if err == nil {
		_, err = update(ctx, out.File, out.File, r)
	}
	if err == nil {
		err = out.Commit()
	}
	if err != nil {
		return out.Discard(err)
	}
	return nil
}

// remove takes away what was written of an image that was changed meanwhile.
func (w *hostsWriter) remove(hosts []Host) error {
	if w.opts.DryRun {
		return nil
	}
	var errs []error
	for i := range w.results {
		if w.results[i].Err != nil {
			continue
		}
		if err := os.Remove(hosts[i].Output); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
