package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/parallel"
)

// What a layout remembers of what it has read, for those who ask many times: a
// server, or a list of signed images. None of it can be out of date. index.json
// is compared byte for byte each time, since times and inodes lie where layouts
// are unpacked or copied; and what a manifest is about follows from its digest.

// indexMemory is index.json as it was read last.
type indexMemory struct {
	mu    sync.Mutex
	raw   []byte
	index *ocispec.Index // shared by all who read it
}

func (m *indexMemory) last() ([]byte, *ocispec.Index) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.raw, m.index
}

func (m *indexMemory) keep(raw []byte, index *ocispec.Index) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.raw, m.index = raw, index
}

// sharedIndex returns what names the manifests in index.json, to be read only:
// of each entry media type, digest, size and tag.
func (l *Layout) sharedIndex() (*ocispec.Index, error) {
	path := l.path(ocispec.ImageIndexFile)
	if raw, index := l.memory.last(); index != nil && hasContent(path, raw) {
		return index, nil
	}
	raw, index, err := l.loadIndex()
	if err != nil {
		return nil, err
	}
	for i, desc := range index.Manifests {
		tag := refName(desc)
		if desc = plain(desc); tag != "" {
			desc = withRefName(desc, tag)
		}
		index.Manifests[i] = desc
	}
	index.Annotations = nil
	l.memory.keep(raw, index)
	l.subjects.retain(index)
	return index, nil
}

// hasContent says whether a file has these bytes. One that cannot be read has
// not.
func hasContent(path string, want []byte) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(want)) {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // was only read
	buf := make([]byte, 64<<10)
	for len(want) > 0 {
		part := buf[:min(len(buf), len(want))]
		if _, err := io.ReadFull(f, part); err != nil || !bytes.Equal(part, want[:len(part)]) {
			return false
		}
		want = want[len(part):]
	}
	n, err := f.Read(buf[:1])
	return n == 0 && errors.Is(err, io.EOF)
}

// subjects is what manifests are about, "" where that is nothing, for manifests
// whose content was found to have their digest.
type subjects struct {
	learning sync.Mutex // held to read what is not known

	mu sync.RWMutex // of all below
	of map[digest.Digest]digest.Digest
}

// readEntry reads the manifest that an entry of index.json names.
type readEntry func(ocispec.Descriptor) ([]byte, error)

// learnAll reads what is not known yet, one caller at a time: of many who ask a
// server that has just begun only the first reads it all. What is not there or
// damaged stays unknown.
func (s *subjects) learnAll(ctx context.Context, entries []ocispec.Descriptor, read readEntry) error {
	if len(s.unknown(entries)) == 0 {
		return nil
	}
	s.learning.Lock()
	defer s.learning.Unlock()
	unknown := s.unknown(entries)
	return parallel.Do(ctx, learners, len(unknown), func(_ context.Context, i int) error {
		desc := unknown[i]
		b, err := read(desc)
		if err != nil || desc.Digest.Algorithm().FromBytes(b) != desc.Digest {
			return nil //nolint:nilerr // whoever needs it is told
		}
		_, about, _ := describeManifest(b, desc.MediaType) // what is no manifest is about nothing
		s.learn(desc.Digest, about)
		return nil
	})
}

// learners is how many manifests are read at once to learn what they are about.
const learners = 4

func (s *subjects) unknown(entries []ocispec.Descriptor) []ocispec.Descriptor {
	return s.choose(entries, func(_ ocispec.Descriptor, _ digest.Digest, known bool) bool { return !known })
}

// mayBeAbout returns the manifests among entries of which it is not known that
// they are about something else. Those with a tag of that name are always among
// them.
func (s *subjects) mayBeAbout(subject digest.Digest, entries []ocispec.Descriptor, tag string) []ocispec.Descriptor {
	return s.choose(entries, func(desc ocispec.Descriptor, about digest.Digest, known bool) bool {
		return desc.Digest != subject && (!known || about == subject || refName(desc) == tag)
	})
}

// choose returns those of the manifests among entries for which right holds.
func (s *subjects) choose(entries []ocispec.Descriptor, right func(desc ocispec.Descriptor, about digest.Digest, known bool) bool) []ocispec.Descriptor {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []ocispec.Descriptor
	for _, desc := range entries {
		if !IsManifest(desc.MediaType) {
			continue
		}
		if about, known := s.of[desc.Digest]; right(desc, about, known) {
			out = append(out, desc)
		}
	}
	return out
}

// has says whether a manifest is known to be about something.
func (s *subjects) has(manifest digest.Digest) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.of[manifest] != ""
}

// learn remembers as many as an index.json may name.
func (s *subjects) learn(manifest digest.Digest, about *ocispec.Descriptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) >= MaxEntries {
		return
	}
	if s.of == nil {
		s.of = map[digest.Digest]digest.Digest{}
	}
	s.of[manifest] = ""
	if about != nil {
		s.of[manifest] = about.Digest
	}
}

// retain forgets what an index.json does not name any more.
func (s *subjects) retain(index *ocispec.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) == 0 {
		return
	}
	kept := map[digest.Digest]digest.Digest{}
	for _, desc := range index.Manifests {
		if about, known := s.of[desc.Digest]; known {
			kept[desc.Digest] = about
		}
	}
	s.of = kept
}

// What one entry, and one subject, takes in memory, in bytes: 374 and 144 were
// measured, for digests and tags as text and the maps they are in.
const (
	entryMemory   = 512
	subjectMemory = 192
)

// Remembered is about how much memory the layout takes for what it has read, in
// bytes: some twice the size of index.json.
func (l *Layout) Remembered() int64 {
	raw, index := l.memory.last()
	n := int64(len(raw))
	if index != nil {
		n += int64(len(index.Manifests)) * entryMemory
	}
	l.subjects.mu.RLock()
	defer l.subjects.mu.RUnlock()
	return n + int64(len(l.subjects.of))*subjectMemory
}

// Forget gives that memory back: it is all read again when it is asked for.
func (l *Layout) Forget() {
	l.memory.keep(nil, nil)
	l.subjects.mu.Lock()
	defer l.subjects.mu.Unlock()
	l.subjects.of = nil
}
