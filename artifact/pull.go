package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/pkg/parallel"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

const (
	// maxPullWorkers bounds how many pieces are in memory at once.
	maxPullWorkers = 12
	// hashWorkers is how many goroutines hash what is here already; more than
	// four gained nothing.
	hashWorkers = 4
)

// PullOptions say how an image is pulled.
type PullOptions struct {
	// Verifier decides whether the image may be used; it must be given.
	Verifier Verifier
	// Seeds are files and devices that may hold some of the image: other
	// images, installer ISOs.
	Seeds []string
	// Cache is a folder for pieces that may be needed again, "" for none. It
	// holds at most CacheLimit bytes; 0: DefaultCacheLimit.
	Cache      string
	CacheLimit int64
	// UniqueIDs gives the disk identifiers of its own.
	UniqueIDs bool
	// Customize makes the disk another one, nil leaves it as it is.
	Customize Customize
	// ExpectBuild is the build that the image has to install, "" for any.
	ExpectBuild string
	// Check reads the target again when it is written.
	Check    bool
	Progress progress.Reporter
}

// Pulled is what a pull did.
type Pulled struct {
	Digest       digest.Digest `json:"digest"`   // what the reference was resolved to
	Manifest     digest.Digest `json:"manifest"` // the image manifest's
	Config       *Config       `json:"-"`
	Verification *Verification `json:"verification"`
	Size         int64         `json:"size"` // of the disk, in bytes
	// Changed says in which ways the target is not the image's disk byte for
	// byte.
	Changed []string `json:"changed,omitempty"`
	// Bytes of the disk. Fetched came from the registry; Reused were at hand:
	// in the target, in seeds, in the cache; Generated were made here. Written
	// went to the target.
	Fetched   int64 `json:"fetched"`
	Reused    int64 `json:"reused"`
	Generated int64 `json:"generated"`
	Written   int64 `json:"written"`
	// Checked says that the target was read again.
	Checked bool `json:"checked,omitempty"`
	// Notes are what went wrong without stopping the pull.
	Notes []string `json:"notes,omitempty"`
}

// ExpectationError says that something is not what the user expects.
type ExpectationError struct {
	What      string // "the image's build", "the serial number of /dev/sda"
	Want, Got string
}

func (e *ExpectationError) Error() string {
	got := e.Got
	if got == "" {
		got = "not known"
	}
	return fmt.Sprintf("%s is %s, not %s", e.What, got, e.Want)
}

// ContentError says that bytes are not those that the verified image names.
// They were not written.
type ContentError struct {
	From           string // the repository
	Layer          digest.Digest
	Offset, Length int64
	Want, Got      SHA256
}

func (e *ContentError) Error() string {
	return fmt.Sprintf("%s: %d bytes at %d of %s are sha256:%s, not sha256:%s", e.From, e.Length, e.Offset, e.Layer, e.Got, e.Want)
}

// Destination is where a pull writes to: ToFile or ToDevice.
type Destination interface {
	// Close gives the destination free. Whatever was not finished is left as it
	// is, for the next pull to go on from.
	Close() error

	demand() demand
	// fill brings all of the goal to its place and makes it final.
	fill(ctx context.Context, p *puller) error
}

// Pull brings an image's disk to a file or a device. docs/pull.md tells
// the steps. Errors are *VerificationError, *FormatError,
// *ContentError, *ExpectationError, *PlanError, *CustomizeError, *SeedError,
// *TargetError, *CheckError, and those of packages registry and outfile.
func Pull(ctx context.Context, from *registry.Repository, reference string, to Destination, opts PullOptions) (*Pulled, error) {
	// 1. to 3. The name, the verification, the manifests.
	o, err := open(ctx, from, reference, opts)
	if err != nil {
		return nil, err
	}
	// 4. The disk, planned for the target.
	want := to.demand()
	want.uniqueIDs = opts.UniqueIDs
	g, err := newCustomGoal(o.image, o.kickstart, want, newCustom(ctx, from, o, opts.Customize))
	if err != nil {
		return nil, err
	}
	// 5. What may be at hand.
	p := newPuller(from, o.image, g, opts)
	defer p.closeSeeds()
	defer p.cache.Trim()
	if err := p.openSeeds(opts.Seeds); err != nil {
		return nil, err
	}
	// 6. to 8. What is not in its place is looked for or fetched, checked, and
	// written in the order of the target.
	p.report.Start("pull "+from.Reference().Locator(), g.total())
	defer p.report.Done()
	if err := to.fill(ctx, p); err != nil {
		return nil, err
	}
	out := o.pulled()
	out.Size, out.Changed, out.Checked, out.Notes = g.size, g.changed, opts.Check, p.cache.Notes()
	out.Fetched, out.Reused, out.Generated, out.Written = p.fetched.Load(), p.reused.Load(), p.generated.Load(), p.written.Load()
	return out, nil
}

// open finds an image, verifies it, and reads all but its disk and its module.
func open(ctx context.Context, from *registry.Repository, reference string, opts PullOptions) (*opened, error) {
	// 1. The name, once: everything else is reached by digests.
	d, err := from.Resolve(ctx, reference)
	if err != nil {
		return nil, err
	}
	// 2. Whether what it names may be used.
	verification, err := Verify(ctx, opts.Verifier, Subject{Ref: refOf(from, reference), Target: from, Descriptor: d})
	if err != nil {
		return nil, err
	}
	// 3. What it is, within the limits.
	img, err := Load(ctx, from, d)
	if err != nil {
		return nil, err
	}
	text, err := FetchBytes(ctx, from, img.Kickstart, MaxKickstart)
	if err != nil {
		return nil, err
	}
	if err := img.Config.CheckKickstart(text); err != nil {
		return nil, err
	}
	if b := img.Config.ESXi.Build; opts.ExpectBuild != "" && opts.ExpectBuild != b {
		return nil, &ExpectationError{"the image's build", opts.ExpectBuild, b}
	}
	return &opened{d, img, text, verification}, nil
}

// refOf is the reference as the user may have named it.
func refOf(from *registry.Repository, reference string) string {
	ref := from.Reference()
	switch {
	case reference == "":
		return ref.String()
	case digest.Digest(reference).Validate() == nil:
		return ref.WithDigest(digest.Digest(reference)).String()
	default:
		return ref.WithTag(reference).String()
	}
}

// puller is one pull.
type puller struct {
	from   *registry.Repository
	image  *Image
	goal   *goal
	check  bool
	seeds  []*seed
	cache  pieceCache
	report progress.Reporter
	// free are buffers of PieceSize that are not in use.
	free chan []byte

	fetched, reused, generated, written atomic.Int64
}

func newPuller(from *registry.Repository, img *Image, g *goal, opts PullOptions) *puller {
	return &puller{
		from: from, image: img, goal: g, check: opts.Check,
		cache: newPieceCache(opts.Cache, opts.CacheLimit), report: progress.Or(opts.Progress),
		free: make(chan []byte, maxPullWorkers),
	}
}

func (p *puller) buffer() []byte {
	select {
	case b := <-p.free:
		return b
	default:
		return make([]byte, PieceSize)
	}
}

func (p *puller) release(b []byte) {
	select {
	case p.free <- b[:cap(b)]:
	default:
	}
}

// dropBuffers frees those that are not in use: no more are needed.
func (p *puller) dropBuffers() {
	for {
		select {
		case <-p.free:
		default:
			return
		}
	}
}

func (p *puller) openSeeds(paths []string) error {
	for _, path := range paths {
		s, err := openSeed(path)
		if err != nil {
			return &SeedError{path, err}
		}
		p.seeds = append(p.seeds, s)
	}
	return nil
}

// closeSeeds closes files that were only read.
func (p *puller) closeSeeds() {
	for _, s := range p.seeds {
		_ = s.Close()
	}
}

// bring writes chunks: those whose bytes are here first, then those that have
// to be fetched.
func (p *puller) bring(ctx context.Context, to place, chunks []*chunk) error {
	missing, err := p.fromHere(ctx, to, chunks)
	if err != nil {
		return err
	}
	return p.fetch(ctx, to, missing)
}

// fromHere writes the chunks whose bytes are known, in a seed or in the cache,
// and returns the others.
func (p *puller) fromHere(ctx context.Context, to place, chunks []*chunk) ([]*chunk, error) {
	absent := make([]bool, len(chunks))
	err := parallel.Do(ctx, min(hashWorkers, runtime.GOMAXPROCS(0)), len(chunks), func(_ context.Context, i int) error {
		c := chunks[i]
		if c.own != nil {
			p.generated.Add(c.length)
			return p.put(to, c, c.own)
		}
		if len(p.seeds) == 0 && p.cache.Cache == nil {
			absent[i] = true
			return nil
		}
		buf := p.buffer()
		defer p.release(buf)
		b := buf[:c.length]
		if !p.findInSeeds(c, b) && !p.cache.get(c, b) {
			absent[i] = true
			return nil
		}
		p.reused.Add(c.length)
		return p.put(to, c, b)
	})
	if err != nil {
		return nil, err
	}
	var missing []*chunk
	for i, c := range chunks {
		if absent[i] {
			missing = append(missing, c)
		}
	}
	return missing, nil
}

func (p *puller) findInSeeds(c *chunk, b []byte) bool {
	var f *File
	if c.file >= 0 {
		f = &p.image.Config.Files[c.file]
	}
	for _, s := range p.seeds {
		if s.find(c, f, b) {
			return true
		}
	}
	return false
}

// put writes a chunk whose bytes were checked.
func (p *puller) put(to place, c *chunk, data []byte) error {
	if len(c.patches) > 0 {
		data = append([]byte(nil), data...)
		for _, x := range c.patches {
			copy(data[x.at:], x.data)
		}
		c.sum, c.patches = sha256.Sum256(data), nil // what it is on the target
	}
	if _, err := to.WriteAt(data, c.offset); err != nil {
		return err
	}
	p.written.Add(c.length)
	p.report.Add(c.length)
	return nil
}

// SeedError says that a seed cannot be read.
type SeedError struct {
	Path string
	Err  error
}

func (e *SeedError) Error() string {
	var path *os.PathError
	if errors.As(e.Err, &path) {
		return fmt.Sprintf("seed %s: %v", e.Path, path.Err)
	}
	return fmt.Sprintf("seed %s: %v", e.Path, e.Err)
}
func (e *SeedError) Unwrap() error { return e.Err }
