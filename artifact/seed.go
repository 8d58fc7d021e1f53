package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/iso"
)

const (
	// maxCandidates bounds how many files of a seed are read for one that is
	// wanted: those of the same size.
	maxCandidates = 4
	// maxMisses is how many pieces of a file may differ before no more of it is
	// read, unless some were right.
	maxMisses = 2
)

// seed is a file or a device that may hold some of an image.
type seed struct {
	file io.ReaderAt // of a qcow2 file the disk in it
	size int64
	// closer closes it; nil where somebody else does.
	closer io.Closer
	// bySize are its files, if it is an ISO or a disk with a volume; each with
	// its size.
	bySize map[int64][]*candidate
	// raw says that pieces may lie where they lie in the image.
	raw bool
	// tries are what came of comparing files: pairing to *outcome.
	tries sync.Map
}

// candidate is a file in a seed.
type candidate struct {
	path    string
	content io.ReaderAt
}

// pairing is a file that is wanted and one that may be it.
type pairing struct {
	wanted *File
	found  *candidate
}

// outcome counts the pieces of a pairing that were right, and that were not.
type outcome struct{ hits, misses atomic.Int32 }

// openSeed opens a file or a device for reading.
func openSeed(path string) (*seed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := seedOf(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func seedOf(f *os.File) (*seed, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("is a folder, not an image or an ISO")
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return newSeed(f, size, false)
}

// Formats whose bytes do not lie where a disk has them, by how they begin.
var packedFormats = map[string]string{"KDMV": "vmdk", "\x1f\x8b": "gzip", "(\xb5/\xfd": "zstd"}

// newSeed finds out what a seed of size bytes is. With shared, somebody else
// closes it.
func newSeed(f *os.File, size int64, shared bool) (*seed, error) {
	s := &seed{bySize: map[int64][]*candidate{}}
	if !shared {
		s.closer = f
	}
	var head [4]byte
	if n, err := f.ReadAt(head[:], 0); n < len(head) {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	for magic, name := range packedFormats {
		if strings.HasPrefix(string(head[:]), magic) {
			return nil, fmt.Errorf("is in the format %s: a seed has to be a raw disk, a qcow2 file or an ISO", name)
		}
	}
	var err error
	if s.file, s.size, _, err = disk.OpenDisk(f, size, nil); err != nil {
		return nil, err
	}
	if medium, err := iso.Open(f, size); err == nil {
		for _, x := range medium.Files() {
			s.add(x.Path, x.Size, x.ReaderAt())
		}
		return s, nil
	}
	// A disk whose volume cannot be read still has its bytes.
	s.raw = true
	s.addVolume()
	return s, nil
}

func (s *seed) add(path string, size int64, content io.ReaderAt) {
	if size > 0 {
		s.bySize[size] = append(s.bySize[size], &candidate{path, content})
	}
}

// addVolume adds the files of the first EFI system partition, if there is one.
func (s *seed) addVolume() {
	table, err := disk.ReadTable(s.file, s.size)
	if err != nil {
		return
	}
	for _, p := range table.Partitions {
		if !p.EFISystem() {
			continue
		}
		volume, err := fat32.Open(io.NewSectionReader(s.file, p.Offset, p.Size), p.Size)
		if err != nil {
			return
		}
		for _, f := range volume.Files() {
			s.add(f.Path, f.Size, f.Content)
		}
		return
	}
}

// find fills b with a chunk's bytes if the seed has them: f is the file that
// they belong to, nil for metadata.
func (s *seed) find(c *chunk, f *File, b []byte) bool {
	if f != nil {
		for _, x := range s.candidates(f) {
			if s.has(pairing{f, x}, c, b) {
				return true
			}
		}
		if len(s.bySize) > 0 {
			return false // wherever the file lay, it would have been found
		}
	}
	for _, at := range slices.Compact([]int64{c.layer, c.offset}) {
		if s.raw && at+c.length <= s.size && readsAs(s.file, at, c, b) {
			return true
		}
	}
	return false
}

// candidates are the files that may be f, the likeliest first.
func (s *seed) candidates(f *File) []*candidate {
	found := s.bySize[f.Size]
	if len(found) > 1 {
		found = slices.Clone(found)
		slices.SortStableFunc(found, func(a, b *candidate) int {
			return cmp.Compare(unlikeness(a.path, f.Path), unlikeness(b.path, f.Path))
		})
	}
	return found[:min(len(found), maxCandidates)]
}

// unlikeness of two names is smaller for those that are alike.
func unlikeness(a, b string) int {
	switch {
	case strings.EqualFold(a, b):
		return 0
	case strings.EqualFold(a[strings.LastIndexByte(a, '/')+1:], b[strings.LastIndexByte(b, '/')+1:]):
		return 1
	default:
		return 2
	}
}

// has fills b with the chunk's bytes if the file has them at their place.
func (s *seed) has(p pairing, c *chunk, b []byte) bool {
	v, _ := s.tries.LoadOrStore(p, &outcome{})
	o, _ := v.(*outcome)
	if o.misses.Load() >= maxMisses && o.hits.Load() == 0 {
		return false
	}
	if !readsAs(p.found.content, c.fileOffset, c, b) {
		o.misses.Add(1)
		return false
	}
	o.hits.Add(1)
	return true
}

// readsAs reads b and says whether it is the chunk. Whatever cannot be read is
// not.
func readsAs(r io.ReaderAt, off int64, c *chunk, b []byte) bool {
	n, _ := r.ReadAt(b, off)
	return n == len(b) && c.is(b)
}

// Close closes the file.
func (s *seed) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}
