package artifact

import (
	"context"
	"runtime"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/parallel"
)

// AtHand is what a host has already: one of the two.
type AtHand struct {
	Image *Image // the disk of this image
	File  string // this ISO or disk image
}

// Estimate says what pulling an image takes, in bytes of its disk. Fetched has
// the bytes that are fetched rather than asked for around, so that the three may
// be more than there are.
type Estimate struct {
	// Fetched have to come from the registry, where what is at hand is given as
	// a seed; Reused are at hand; Generated follow from the manifests.
	Fetched   int64 `json:"fetched"`
	Reused    int64 `json:"reused"`
	Generated int64 `json:"generated"`
	// InPlace would have to be fetched where the target is a device that holds
	// what is at hand: there only what lies in its place counts. It is nil where
	// that cannot be: for an ISO, or another sector size.
	InPlace *int64 `json:"inPlace,omitempty"`
}

// Estimate says what a pull of the image would take, without fetching any of it.
// The kickstart is layer 2, which is checked. A file that cannot be read is a
// *SeedError.
func (img *Image) Estimate(ctx context.Context, kickstart []byte, have AtHand) (*Estimate, error) {
	if err := img.Config.CheckKickstart(kickstart); err != nil {
		return nil, err
	}
	g, err := newGoal(img, kickstart, demand{})
	if err != nil {
		return nil, err
	}
	if have.Image != nil {
		other := have.Image.Config
		// One at a time: how much is tried depends on what was found before.
		return img.estimate(ctx, g, recordOf(other), 1, other.Disk.SectorSize == img.Config.Disk.SectorSize)
	}
	s, err := openSeed(have.File)
	if err != nil {
		return nil, &SeedError{have.File, err}
	}
	defer func() { _ = s.Close() }() // was only read
	return img.estimate(ctx, g, s, min(hashWorkers, runtime.GOMAXPROCS(0)), s.raw && s.sectorsOf(img.Config))
}

// sectorsOf says whether a disk has the sector size of the image. One without a
// table has none.
func (s *seed) sectorsOf(c *Config) bool {
	table, err := disk.ReadTable(s.file, s.size)
	return err != nil || table.SectorSize == c.Disk.SectorSize
}

// holder says what of an image is at hand.
type holder interface {
	// find says whether the chunk can be had, as seed.find does, and fills b.
	find(c *chunk, f *File, b []byte) bool
	// inPlace says whether it lies where it belongs.
	inPlace(c *chunk, b []byte) bool
}

func (img *Image) estimate(ctx context.Context, g *goal, have holder, workers int, placeable bool) (*Estimate, error) {
	out := &Estimate{}
	found, placed := make([]bool, len(g.chunks)), make([]bool, len(g.chunks))
	buffers := make(chan []byte, workers)
	for range workers {
		buffers <- nil // made when it is needed
	}
	err := parallel.Do(ctx, workers, len(g.chunks), func(_ context.Context, i int) error {
		c := &g.chunks[i]
		if c.own != nil {
			return nil
		}
		buf := <-buffers
		if buf == nil {
			buf = make([]byte, PieceSize)
		}
		defer func() { buffers <- buf }()
		var f *File
		if c.file >= 0 {
			f = &img.Config.Files[c.file]
		}
		found[i] = have.find(c, f, buf[:c.length])
		placed[i] = placeable && have.inPlace(c, buf[:c.length])
		return nil
	})
	if err != nil {
		return nil, err
	}
	var missing, displaced []*chunk
	for i := range g.chunks {
		c := &g.chunks[i]
		switch {
		case c.own != nil:
			out.Generated += c.length
			continue
		case found[i]:
			out.Reused += c.length
		default:
			missing = append(missing, c)
		}
		if !placed[i] {
			displaced = append(displaced, c)
		}
	}
	out.Fetched = sizeOf(missing)
	if placeable {
		n := sizeOf(displaced)
		out.InPlace = &n
	}
	return out, nil
}

// sizeOf is how many bytes are fetched for chunks.
func sizeOf(chunks []*chunk) (n int64) {
	for _, r := range requestsFor(chunks) {
		n += r.length
	}
	return n
}

func (s *seed) inPlace(c *chunk, b []byte) bool {
	return c.offset+c.length <= s.size && readsAs(s.file, c.offset, c, b)
}

// record is a disk of which only the digests are known.
type record struct {
	seed   seed // its files, which cannot be read
	pieces map[*candidate]map[int64]Piece
	at     map[int64]Piece // by offset on the disk
}

func recordOf(c *Config) *record {
	r := &record{
		seed:   seed{bySize: map[int64][]*candidate{}},
		pieces: map[*candidate]map[int64]Piece{}, at: map[int64]Piece{},
	}
	files := make([]map[int64]Piece, len(c.Files))
	for i := range files {
		files[i] = map[int64]Piece{}
	}
	for _, p := range c.Pieces() {
		r.at[p.Offset] = p
		if p.File >= 0 {
			files[p.File][p.Offset-c.Files[p.File].Offset] = p
		}
	}
	for i := range c.Files {
		f := &c.Files[i]
		if f.Size == 0 {
			continue
		}
		x := &candidate{path: f.Path}
		r.seed.bySize[f.Size] = append(r.seed.bySize[f.Size], x)
		r.pieces[x] = files[i]
	}
	return r
}

func (r *record) find(c *chunk, f *File, _ []byte) bool {
	if f != nil {
		for _, x := range r.seed.candidates(f) {
			if r.has(pairing{f, x}, c) {
				return true
			}
		}
		return false
	}
	return r.inPlace(c, nil)
}

// has gives up where seed.has does.
func (r *record) has(p pairing, c *chunk) bool {
	v, _ := r.seed.tries.LoadOrStore(p, &outcome{})
	o, _ := v.(*outcome)
	if o.misses.Load() >= maxMisses && o.hits.Load() == 0 {
		return false
	}
	if x, ok := r.pieces[p.found][c.fileOffset]; !ok || x.Length != c.length || x.SHA256 != c.sum {
		o.misses.Add(1)
		return false
	}
	o.hits.Add(1)
	return true
}

func (r *record) inPlace(c *chunk, _ []byte) bool {
	p, ok := r.at[c.offset]
	return ok && p.Length == c.length && p.SHA256 == c.sum
}
