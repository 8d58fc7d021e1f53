package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sort"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

const (
	// maxMetadata bounds what of a base is kept in memory, in bytes: two FATs
	// of a 16 GiB volume have 32 MiB, and directories hardly anything.
	maxMetadata = 64 << 20

	// givenUnit is what a variant's metadata is compared with its base's by, in
	// bytes: a sector.
	givenUnit = 512
)

// VariantOptions say how a variant is made and pushed.
type VariantOptions struct {
	PushOptions
	// Verifier decides whether the base may be used; it must be given.
	Verifier Verifier
	// Local may hold the base's disk layer and save fetching it; may be nil.
	Local   *registry.Repository
	Builder string // the version of the program
}

// VariantError says why a base cannot have another kickstart.
type VariantError struct {
	Err    error
	Advice string // may be empty
}

func (e *VariantError) Error() string { return e.Err.Error() }
func (e *VariantError) Unwrap() error { return e.Err }

// PushVariant pushes an image that is another one, its base, with another
// kickstart: a config, the kickstart and manifests. The disk layer stays the
// base's, and is mounted from its repository where that is another one of the
// same registry. It is read once, for the variant's own digest.
func PushVariant(ctx context.Context, base *registry.Repository, d ocispec.Descriptor, text []byte, to *registry.Repository, opts VariantOptions) (*Pushed, error) {
	// 1. The base, if the policy lets it pass.
	ref := base.Reference().String()
	if _, err := Verify(ctx, opts.Verifier, Subject{Ref: ref, Target: base, Descriptor: d}); err != nil {
		return nil, err
	}
	img, err := Load(ctx, base, d)
	if err != nil {
		return nil, err
	}
	// 2. The kickstart, if it may be published.
	findings, err := checkSecrets(text, opts.AllowSecrets)
	if err != nil {
		return nil, err
	}
	findings = append(findings, img.Config.toldSecrets()...)
	// 3. The variant's config: its disk is planned, compared and hashed.
	holder := base
	if opts.Local != nil {
		if _, ok := opts.Local.LocalPath(img.Disk); ok {
			holder = opts.Local
		}
	}
	c, err := variantOf(ctx, img, holder, text)
	if err != nil {
		return nil, err
	}
	c.Builder = Builder{opts.Builder}
	// 4. What is new, and what the base has.
	t, variant, err := variantTransfer(img, c, text)
	if err != nil {
		return nil, err
	}
	mountFrom := ""
	if base.Reference().SameRegistry(to.Reference()) && !base.Reference().SamePlace(to.Reference()) {
		mountFrom = base.Reference().Repository
	}
	t.add(load{desc: plain(img.Disk), open: opener(holder, plain(img.Disk)), mountFrom: mountFrom})
	t.add(load{desc: plain(img.Module), open: opener(base, plain(img.Module)), mountFrom: mountFrom})
	out, err := t.run(ctx, to, variant, opts.PushOptions)
	if err != nil {
		return nil, err
	}
	out.Findings = findings
	return out, nil
}

// variantTransfer makes the blobs and manifests that are new.
func variantTransfer(base *Image, c *Config, text []byte) (*transfer, *Image, error) {
	encoded, err := c.Encode()
	if err != nil {
		return nil, nil, err
	}
	config, ks := newBlob(MediaTypeConfig, encoded), newBlob(MediaTypeKickstart, text)
	image, err := imageManifest(c, config, layers{
		disk:      plain(base.Disk), // without a title: no foreign tool is to take it for the variant's disk
		module:    titled(plain(base.Module), TitleModule),
		kickstart: titled(ks.Descriptor, TitleKickstart),
	})
	if err != nil {
		return nil, nil, err
	}
	e := entry(c, image.Descriptor, TypeVariant, DiskTypeImage)
	top, err := index(c, e)
	if err != nil {
		return nil, nil, err
	}
	t := &transfer{manifests: []blob{image}, top: top}
	t.addBlob(config)
	t.addBlob(ks)
	return t, &Image{Manifest: e, Config: c}, nil
}

// variantOf makes the config of a variant, reading the base's disk layer from
// holder, in parallel ranges or, where those are ignored, as one stream.
func variantOf(ctx context.Context, base *Image, holder *registry.Repository, text []byte) (*Config, error) {
	c, err := planVariant(ctx, base, rangeReader(ctx, holder, base.Disk), 0, text)
	if !errors.Is(err, registry.ErrRangeIgnored) {
		return c, err
	}
	s := &streamReader{open: func() (io.ReadCloser, error) { return holder.Fetch(ctx, base.Disk) }}
	c, err = planVariant(ctx, base, s, 1, text)
	return c, errors.Join(err, s.Close())
}

// planVariant plans the variant's disk over the base's, hashes it, and tells
// what of it the base's disk layer has. Whatever is read is held against the
// base's digests.
func planVariant(ctx context.Context, base *Image, layer io.ReaderAt, workers int, text []byte) (*Config, error) {
	if base.Config.Variant() {
		return nil, &VariantError{fmt.Errorf("the base is a variant itself, of %s", base.Config.Base.Manifest), "name the image that it is a variant of"}
	}
	if !base.Config.KnownPlanner() {
		return nil, &VariantError{fmt.Errorf("the base was laid out by %q version %d, which this version does not know", base.Config.Planner.Name, base.Config.Planner.Version), "build the image again"}
	}
	if len(text) == 0 || len(text) > MaxKickstart {
		return nil, &VariantError{fmt.Errorf("the kickstart has %d bytes, not 1 to %d", len(text), MaxKickstart), ""}
	}
	tar, err := base.Config.kickstartTar(text)
	if err != nil {
		return nil, &VariantError{err, ""}
	}
	p, err := planWithKickstart(base.Config, layer, tar)
	if err != nil {
		return nil, err
	}
	known, err := readBase(base.Config, layer)
	if err != nil {
		return nil, err
	}
	// The pieces are held against the base's, so that its digests of whole files
	// hold too.
	sums, err := disk.WriteDigests(ctx, nil, p, disk.DigestOptions{PieceSize: PieceSize, Workers: workers, PiecesOnly: true})
	var mismatch *plan.MismatchError
	if errors.As(err, &mismatch) {
		return nil, malformed("base", "its disk is damaged: %w", err)
	}
	if err != nil {
		return nil, err
	}
	for i := range p.Files {
		if f := &p.Files[i]; f.Role != plan.RoleKickstart {
			sums.Files[i] = f.Expect[0]
		}
	}
	c := *base.Config
	c.Version, c.Disk.SHA256 = FormatVersion, SHA256(sums.Disk)
	c.Base = &Base{Manifest: base.Manifest.Digest, Disk: base.Disk.Digest, DiskSize: base.Disk.Size}
	if base.Index != nil {
		c.Base.Index = base.Index.Digest
	}
	c.Kickstart.Size, c.Kickstart.SHA256 = int64(len(text)), sha256.Sum256(text)
	c.Modules = []Module{}
	c.addFiles(p, sums)
	if c.Extents, err = known.extents(p, sums); err != nil {
		return nil, err
	}
	return &c, c.CheckKickstart(text)
}

// planWithKickstart plans the base's disk with another kickstart. Identifiers
// and the volume's size stay, so that little else changes.
func planWithKickstart(c *Config, layer io.ReaderAt, tar []byte) (*plan.Plan, error) {
	files := c.PlanFiles(func(f *File) io.ReaderAt { return io.NewSectionReader(layer, f.Offset, f.Size) })
	for i := range files {
		if f := &files[i]; f.Role == plan.RoleKickstart {
			f.Size, f.Content = int64(len(tar)), bytes.NewReader(tar)
			f.Expect = []plan.Digest{sha256.Sum256(tar)}
		}
	}
	p, _, _, err := c.Layout().Plan(files, c.Directories)
	if err != nil {
		return nil, &VariantError{fmt.Errorf("the kickstart does not fit on the base's volume: %w", err), "build the image again with that kickstart, or the base with more --headroom"}
	}
	if p.Size != c.Disk.Size {
		return nil, malformed("base", "its disk has %d bytes, its files give one of %d", c.Disk.Size, p.Size)
	}
	return p, nil
}

// baseDisk is what is known of a base's disk layer.
type baseDisk struct {
	files map[int64]Piece // pieces of files, by offset
	meta  []run           // everything else, in order
}

// run is some of the base's metadata; without data, zeros.
type run struct {
	offset, length int64
	data           []byte
}

// readBase reads and checks the base's metadata.
func readBase(c *Config, layer io.ReaderAt) (*baseDisk, error) {
	known := &baseDisk{files: map[int64]Piece{}}
	var total int64
	for _, p := range c.Pieces() {
		if p.File >= 0 {
			known.files[p.Offset] = p
			continue
		}
		if total += p.Length; total > maxMetadata {
			return nil, malformed("base", "has more than %d bytes of metadata", maxMetadata)
		}
		data := make([]byte, p.Length)
		if n, err := layer.ReadAt(data, p.Offset); n < len(data) {
			return nil, err
		}
		if got := SHA256(sha256.Sum256(data)); got != p.SHA256 {
			return nil, malformed("base", "%d bytes at %d of its disk are %s, not %s", p.Length, p.Offset, got, p.SHA256)
		}
		known.meta = append(known.meta, run{p.Offset, p.Length, data})
	}
	for i := range c.Extents {
		if e := &c.Extents[i]; e.Zero() {
			known.meta = append(known.meta, run{e.Offset, e.Length, nil})
		}
	}
	sort.Slice(known.meta, func(i, j int) bool { return known.meta[i].offset < known.meta[j].offset })
	return known, nil
}

// has says whether the base's disk has these bytes there, outside of files.
func (b *baseDisk) has(data []byte, offset int64) bool {
	i := sort.Search(len(b.meta), func(i int) bool { return b.meta[i].offset+b.meta[i].length > offset })
	for ; len(data) > 0; i++ {
		if i == len(b.meta) || b.meta[i].offset > offset {
			return false
		}
		r := &b.meta[i]
		skip := offset - r.offset
		part := data[:min(int64(len(data)), r.length-skip)]
		if r.data == nil && !allZero(part) || r.data != nil && !bytes.Equal(part, r.data[skip:skip+int64(len(part))]) {
			return false
		}
		data, offset = data[len(part):], offset+int64(len(part))
	}
	return true
}

// allZero compares each byte with the one before it.
func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// extents says of a variant's plan what comes from the base, what from the
// kickstart, and gives the rest.
func (b *baseDisk) extents(p *plan.Plan, sums *disk.Digests) ([]Extent, error) {
	var out []Extent
	for i, e := range p.Extents {
		x := Extent{Offset: e.Offset, Length: e.Length}
		for _, sum := range sums.Extents[i] {
			x.SHA256 = append(x.SHA256, SHA256(sum))
		}
		switch {
		case e.Kind == plan.Literal:
			out = b.compare(out, e)
			continue
		case e.Kind == plan.Content && p.Files[e.File].Role == plan.RoleKickstart:
			x.From = FromKickstart
		case e.Kind == plan.Content:
			if err := b.holds(&x, p.Files[e.File].Path); err != nil {
				return nil, err
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// holds returns an error unless the base has a file's pieces at the same place.
func (b *baseDisk) holds(e *Extent, path string) error {
	for n, sum := range e.SHA256 {
		at := e.Offset + int64(n)*PieceSize
		p, ok := b.files[at]
		if !ok || p.Length != min(PieceSize, e.End()-at) {
			return &VariantError{fmt.Errorf("%s would have to move", path), "build the image again with that kickstart"}
		}
		if p.SHA256 != sum {
			return malformed("base", "its disk is damaged: %s: %d bytes at %d are %s, not %s", path, p.Length, at, sum, p.SHA256)
		}
	}
	return nil
}

// compare cuts metadata into runs that the base has and runs that are given.
func (b *baseDisk) compare(out []Extent, e plan.Extent) []Extent {
	for data, at := e.Data, e.Offset; len(data) > 0; {
		n := min(givenUnit, len(data))
		same := b.has(data[:n], at)
		for n < len(data) {
			m := min(givenUnit, len(data)-n)
			if b.has(data[n:n+m], at+int64(n)) != same {
				break
			}
			n += m
		}
		x := Extent{Offset: at, Length: int64(n), SHA256: pieceSums(data[:n])}
		if !same {
			x.From, x.Data = FromGiven, data[:n]
		}
		out = append(out, x)
		data, at = data[n:], at+int64(n)
	}
	return out
}

func pieceSums(data []byte) []SHA256 {
	var sums []SHA256
	for len(data) > 0 {
		n := min(PieceSize, len(data))
		sums = append(sums, sha256.Sum256(data[:n]))
		data = data[n:]
	}
	return sums
}

// readerAt makes a function an io.ReaderAt.
type readerAt func(b []byte, off int64) (int, error)

func (f readerAt) ReadAt(b []byte, off int64) (int, error) { return f(b, off) }

// rangeReader reads a blob by ranges.
func rangeReader(ctx context.Context, from *registry.Repository, d ocispec.Descriptor) io.ReaderAt {
	return readerAt(func(b []byte, off int64) (int, error) {
		r, err := from.FetchRange(ctx, d, off, int64(len(b)))
		if err != nil {
			return 0, err
		}
		n, err := io.ReadFull(r, b)
		return n, errors.Join(err, r.Close())
	})
}

// streamReader reads a blob as a stream, which begins again where what is
// wanted lies behind. It is for one reader at a time.
type streamReader struct {
	open func() (io.ReadCloser, error)
	r    io.ReadCloser
	at   int64
}

// ReadAt implements io.ReaderAt.
func (s *streamReader) ReadAt(b []byte, off int64) (n int, err error) {
	if s.r == nil || off < s.at {
		if err := s.Close(); err != nil {
			return 0, err
		}
		if s.r, err = s.open(); err != nil {
			s.r = nil
			return 0, err
		}
		s.at = 0
	}
	skipped, err := io.CopyN(io.Discard, s.r, off-s.at)
	s.at += skipped
	if err != nil {
		return 0, fmt.Errorf("skip to %d: %w", off, err)
	}
	n, err = io.ReadFull(s.r, b)
	s.at += int64(n)
	return n, err
}

// Close ends the stream.
func (s *streamReader) Close() error {
	if s.r == nil {
		return nil
	}
	r := s.r
	s.r = nil
	return r.Close()
}
