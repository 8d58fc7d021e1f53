package disk

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
)

const (
	// maxPiece bounds the pieces that Digest takes, in bytes: some are in
	// memory at once.
	maxPiece = 16 << 20

	// piecesAhead is how many pieces more than workers are in memory: those
	// that wait for the hash of the whole disk, which goes from end to end.
	piecesAhead = 4

	// zeroRun is how many zeros are hashed at a time, in bytes.
	zeroRun = 64 << 10
)

// Digests are the SHA-256 of a disk and of its parts.
type Digests struct {
	Disk plan.Digest
	// Extents has those of the pieces of each extent of the plan, none for one
	// that is zero.
	Extents [][]plan.Digest
	// Files has that of each file of the plan; see DigestOptions.PiecesOnly.
	Files []plan.Digest
}

// DigestOptions say how a plan is hashed.
type DigestOptions struct {
	// PieceSize is what extents are cut into, in bytes, each from its start.
	PieceSize int
	// Workers is how many goroutines copy, 0 for as many as help.
	Workers int
	// PiecesOnly leaves out the digests of files that are more than a piece,
	// and so does not check them: for who knows the digests of their pieces.
	PiecesOnly bool
	// Progress hears of the bytes that are not zero, under the name Phase.
	Progress progress.Reporter
	Phase    string
}

// WriteDigests makes f, an empty file, the planned disk, and hashes it in the
// same pass: the whole, each piece, and each file, which is checked as WriteFile
// does it. Without f it only hashes. The content of each file has to lie in one
// run. Memory is bounded by the pieces.
func WriteDigests(ctx context.Context, f *os.File, p *plan.Plan, opts DigestOptions) (*Digests, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if opts.PieceSize <= 0 || opts.PieceSize > maxPiece {
		return nil, fmt.Errorf("disk: pieces of %d bytes are not of 1 to %d", opts.PieceSize, maxPiece)
	}
	if f != nil {
		makeSparse(f)
		if err := f.Truncate(p.Size); err != nil {
			return nil, err
		}
	}
	d, err := newDigester(f, p, opts)
	if err != nil {
		return nil, err
	}
	return d.run(ctx)
}

// digester is one pass over a plan. Pieces are read, written and hashed in
// parallel; the disk and the large files are hashed in order, as soon as a
// piece is read.
type digester struct {
	to      *os.File
	plan    *plan.Plan
	opts    DigestOptions
	workers int
	report  progress.Reporter
	sums    *Digests
	buffers chan []byte

	// whole takes the disk as a stream.
	whole sink
	// checkOnly makes no digests but those that files are checked by.
	checkOnly bool

	jobs  chan *piece // for any worker
	disk  chan *piece // all of them, in order
	files chan *piece // content of files that are more than a piece
}

// sink takes a disk as a stream.
type sink interface {
	io.Writer
	// zeros stands for so many zeros.
	zeros(n int64) error
	// end follows all that was written.
	end() error
}

// diskHash is the sink that hashes the disk.
type diskHash struct {
	hash.Hash
	sum *plan.Digest
	run [zeroRun]byte
}

func (h *diskHash) zeros(n int64) error {
	for ; n > 0; n -= zeroRun {
		h.Write(h.run[:min(n, zeroRun)])
	}
	return nil
}

func (h *diskHash) end() error {
	*h.sum = plan.Digest(h.Sum(nil))
	return nil
}

// piece is a run of an extent.
type piece struct {
	plan.Extent
	index int // of the extent
	n     int // within the extent
	whole bool
	data  []byte        // valid once read is closed
	read  chan struct{} // nil for zeros
	users atomic.Int32  // who still need data
}

func newDigester(f *os.File, p *plan.Plan, opts DigestOptions) (*digester, error) {
	d := &digester{to: f, plan: p, opts: opts, workers: opts.Workers, report: progress.Or(opts.Progress)}
	if d.workers <= 0 {
		d.workers = min(maxWorkers, runtime.GOMAXPROCS(0))
	}
	d.sums = &Digests{Extents: make([][]plan.Digest, len(p.Extents)), Files: make([]plan.Digest, len(p.Files))}
	d.whole = &diskHash{Hash: sha256.New(), sum: &d.sums.Disk}
	placed := make([]bool, len(p.Files))
	for i, e := range p.Extents {
		if e.Kind == plan.Zero {
			continue
		}
		d.sums.Extents[i] = make([]plan.Digest, (e.Length+int64(opts.PieceSize)-1)/int64(opts.PieceSize))
		if e.Kind == plan.Content {
			if placed[e.File] || e.FileOffset != 0 || e.Length != p.Files[e.File].Size {
				return nil, fmt.Errorf("disk: %s does not lie in one run", p.Files[e.File].Path)
			}
			placed[e.File] = true
		}
	}
	for i := range p.Files {
		switch f := &p.Files[i]; {
		case f.Size == 0:
			d.sums.Files[i] = sha256.Sum256(nil)
		case !placed[i]:
			return nil, fmt.Errorf("disk: %s does not lie on the disk", f.Path)
		}
	}
	return d, nil
}

func (d *digester) run(ctx context.Context) (*Digests, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.jobs, d.disk, d.files = make(chan *piece), make(chan *piece, len(d.plan.Extents)), make(chan *piece, d.workers+piecesAhead)
	d.buffers = make(chan []byte, d.workers+piecesAhead)
	for range cap(d.buffers) {
		d.buffers <- nil // allocated when it is needed
	}
	var total int64
	for _, e := range d.plan.Extents {
		if e.Kind != plan.Zero {
			total += e.Length
		}
	}
	d.report.Start(d.opts.Phase, total)
	defer d.report.Done()

	var wg sync.WaitGroup
	for _, part := range d.parts() {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return d.sums, nil
}

// parts are what runs at the same time.
func (d *digester) parts() []func(context.Context) error {
	parts := []func(context.Context) error{d.feed, d.passDisk, d.hashFiles}
	for range d.workers {
		parts = append(parts, d.work)
	}
	return parts
}

// feed hands out the pieces in the order of the disk.
func (d *digester) feed(ctx context.Context) error {
	defer close(d.jobs)
	defer close(d.disk)
	defer close(d.files)
	for i, e := range d.plan.Extents {
		if e.Kind == plan.Zero {
			if !send(ctx, d.disk, &piece{Extent: e}) {
				return nil
			}
			continue
		}
		for n := 0; e.Length > 0; n++ {
			part := e
			part.Length = min(e.Length, int64(d.opts.PieceSize))
			if !d.handOut(ctx, &piece{Extent: part, index: i, n: n, read: make(chan struct{})}) {
				return nil
			}
			e.Offset, e.FileOffset, e.Length = e.Offset+part.Length, e.FileOffset+part.Length, e.Length-part.Length
			if e.Kind == plan.Literal {
				e.Data = e.Data[part.Length:]
			}
		}
	}
	return nil
}

// handOut gives a piece to all who need it, and says whether it goes on.
func (d *digester) handOut(ctx context.Context, p *piece) bool {
	p.users.Store(2)
	p.whole = p.Kind == plan.Content && p.Length == d.plan.Files[p.File].Size
	large := p.Kind == plan.Content && !p.whole && !d.opts.PiecesOnly && d.wanted(p)
	if large {
		p.users.Store(3)
	}
	if p.Kind == plan.Content {
		select {
		case p.data = <-d.buffers:
		case <-ctx.Done():
			return false
		}
	}
	return send(ctx, d.jobs, p) && send(ctx, d.disk, p) && (!large || send(ctx, d.files, p))
}

// wanted says whether somebody wants a digest that the piece is a part of.
func (d *digester) wanted(p *piece) bool {
	return !d.checkOnly || p.Kind == plan.Content && len(d.plan.Files[p.File].Expect) > 0
}

func send(ctx context.Context, to chan<- *piece, p *piece) bool {
	select {
	case to <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// done gives a piece's buffer back when nobody needs it any more.
func (d *digester) done(p *piece) {
	if p.users.Add(-1) == 0 && p.Kind == plan.Content {
		d.buffers <- p.data[:0]
	}
}

// work reads pieces, writes them and hashes each.
func (d *digester) work(ctx context.Context) error {
	for p := range d.jobs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := d.read(p); err != nil {
			return err
		}
		close(p.read)
		if d.to != nil {
			if _, err := d.to.WriteAt(p.data, p.Offset); err != nil {
				return err
			}
			startWriteback(d.to, p.Offset, p.Length)
		}
		if err := d.sum(p); err != nil {
			return err
		}
		d.report.Add(p.Length)
		d.done(p)
	}
	return nil
}

// sum hashes a piece, and checks it if it is a file.
func (d *digester) sum(p *piece) error {
	if d.checkOnly && (!p.whole || !d.wanted(p)) {
		return nil
	}
	sum := plan.Digest(sha256.Sum256(p.data))
	d.sums.Extents[p.index][p.n] = sum
	if p.whole {
		return d.fileDone(p.File, sum)
	}
	return nil
}

func (d *digester) read(p *piece) error {
	if p.Kind == plan.Literal {
		p.data = p.Data[:p.Length]
		return nil
	}
	if int64(cap(p.data)) < p.Length {
		p.data = make([]byte, d.opts.PieceSize)
	}
	p.data = p.data[:p.Length]
	return d.plan.Files[p.File].ReadContent(p.data, p.FileOffset)
}

func (d *digester) fileDone(file int, sum plan.Digest) error {
	d.sums.Files[file] = sum
	return d.plan.Files[file].Check(sum)
}

// passDisk hands the whole disk on.
func (d *digester) passDisk(ctx context.Context) error {
	for p := range d.disk {
		if p.Kind == plan.Zero {
			if err := d.whole.zeros(p.Length); err != nil {
				return err
			}
			continue
		}
		if ok, err := d.pass(ctx, d.whole, p); err != nil || !ok {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return d.whole.end()
}

// hashFiles hashes the files that are more than one piece, one after another.
func (d *digester) hashFiles(ctx context.Context) error {
	h := sha256.New()
	for p := range d.files {
		if ok, err := d.pass(ctx, h, p); err != nil || !ok {
			return err
		}
		if p.FileOffset+p.Length < d.plan.Files[p.File].Size {
			continue
		}
		if err := d.fileDone(p.File, plan.Digest(h.Sum(nil))); err != nil {
			return err
		}
		h.Reset()
	}
	return nil
}

// pass hands a piece on as soon as it is read, and says whether it was.
func (d *digester) pass(ctx context.Context, to io.Writer, p *piece) (bool, error) {
	select {
	case <-p.read:
	case <-ctx.Done():
		return false, nil
	}
	if _, err := to.Write(p.data); err != nil {
		return false, err
	}
	d.done(p)
	return true, nil
}
