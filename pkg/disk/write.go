package disk

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"runtime"
	"sort"

	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/parallel"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
)

const (
	// bufferSize is what one worker reads and writes at a time, in bytes. On
	// the way from page cache to page cache 1 MiB was as fast as any size up to
	// 8 MiB, 32 KiB was not.
	bufferSize = 1 << 20

	// maxWorkers bounds memory (one buffer each) and seeks; more than four
	// gained nothing.
	maxWorkers = 4

	// splitSize is how large a piece of a file without a digest is one job, in
	// bytes. A file with a digest is hashed from end to end, so it is one job.
	splitSize = 16 << 20

	// writebackSize is how much of a file is handed to the disk at a time, in
	// bytes, while the rest is still being copied.
	writebackSize = 8 << 20
)

// WriteOptions say how a plan becomes a file.
type WriteOptions struct {
	// Replace allows an existing regular file to be replaced, in one step.
	Replace bool
	// Format is how the disk lies in the file, "" for Raw.
	Format Format
	// Compress deflates what QCOW2 keeps, where that makes it smaller.
	Compress bool
	// Name is that of the file, without its folder, which VMDKSparse holds;
	// WriteFile sets it.
	Name string
	// Mode is who may read and write the file, 0 for who may any new file.
	Mode os.FileMode
	// Workers is how many goroutines copy, 0 for as many as help.
	Workers int
	// Progress hears of the bytes of file content as they are written.
	Progress progress.Reporter
}

// WriteFile writes the plan to a file of that name, sparse where it is zero.
// The file appears under its name complete and synced, or not at all; until
// then it is a temporary file beside it. A file whose digest is known is
// checked on the way: errors are *plan.MismatchError and *plan.ReadError for
// the content, outfile.ErrExists or *fs.PathError for the output.
func WriteFile(ctx context.Context, path string, p *plan.Plan, opts WriteOptions) error {
	if err := p.Validate(); err != nil {
		return err
	}
	f, err := outfile.Create(path, opts.Replace)
	if err != nil {
		return err
	}
	if opts.Mode != 0 {
		if err := f.Chmod(opts.Mode); err != nil {
			return f.Discard(err)
		}
	}
	opts.Name = filepath.Base(path)
	if err := fill(ctx, f.File, p, opts, "write "+opts.Name); err != nil {
		return f.Discard(err)
	}
	if err := f.Commit(); err != nil {
		return f.Discard(err)
	}
	return nil
}

// write writes what is not zero to f, which has to read as zeros, in parallel.
func write(ctx context.Context, f *os.File, p *plan.Plan, opts WriteOptions, phase string) error {
	jobs, total := jobsOf(p)
	report := progress.Or(opts.Progress)
	report.Start(phase, total)
	defer report.Done()

	return parallel.DoEach(ctx, opts.workers(), len(jobs), func() func(context.Context, int) error {
		w := writer{to: f, plan: p, buf: make([]byte, bufferSize), report: report}
		return func(ctx context.Context, i int) error { return w.do(ctx, jobs[i]) }
	})
}

func (o *WriteOptions) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return min(maxWorkers, runtime.GOMAXPROCS(0))
}

// job is a run of the disk that one worker writes.
type job struct {
	extent plan.Extent
	// check says that the run is a whole file with a known digest.
	check bool
}

// jobsOf cuts the plan into jobs, the longest first, so that none is left to
// run alone at the end; and counts their bytes.
func jobsOf(p *plan.Plan) (jobs []job, total int64) {
	for _, e := range p.Extents {
		if e.Kind == plan.Zero {
			continue
		}
		total += e.Length
		if e.Kind == plan.Literal {
			jobs = append(jobs, job{extent: e})
			continue
		}
		f := &p.Files[e.File]
		if len(f.Expect) > 0 && e.Length == f.Size {
			jobs = append(jobs, job{extent: e, check: true})
			continue
		}
		for e.Length > 0 {
			part := e
			part.Length = min(e.Length, splitSize)
			jobs = append(jobs, job{extent: part})
			e.Offset, e.FileOffset, e.Length = e.Offset+part.Length, e.FileOffset+part.Length, e.Length-part.Length
		}
	}
	sort.SliceStable(jobs, func(i, j int) bool { return jobs[i].extent.Length > jobs[j].extent.Length })
	return jobs, total
}

// writer is one worker.
type writer struct {
	to     *os.File
	plan   *plan.Plan
	buf    []byte
	report progress.Reporter
}

func (w *writer) do(ctx context.Context, j job) error {
	if j.extent.Kind == plan.Literal {
		return w.put(j.extent.Data, j.extent.Offset)
	}
	f := &w.plan.Files[j.extent.File]
	sum := sha256.New()
	var done, handed int64 // written; of that, handed to the disk
	for done < j.extent.Length {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		b := w.buf[:min(int64(len(w.buf)), j.extent.Length-done)]
		if err := f.ReadContent(b, j.extent.FileOffset+done); err != nil {
			return err
		}
		if j.check {
			sum.Write(b)
		}
		if err := w.put(b, j.extent.Offset+done); err != nil {
			return err
		}
		done += int64(len(b))
		if done-handed >= writebackSize || done == j.extent.Length {
			startWriteback(w.to, j.extent.Offset+handed, done-handed)
			handed = done
		}
	}
	if !j.check {
		return nil
	}
	return f.Check(plan.Digest(sum.Sum(nil)))
}

func (w *writer) put(b []byte, off int64) error {
	if _, err := w.to.WriteAt(b, off); err != nil {
		return err
	}
	w.report.Add(int64(len(b)))
	return nil
}
