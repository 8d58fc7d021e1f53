package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/outfile"
)

// readIndex reads index.json and checks its entries. Who only looks something
// up uses sharedIndex.
func (l *Layout) readIndex() (*ocispec.Index, error) {
	_, index, err := l.loadIndex()
	return index, err
}

// loadIndex is readIndex, with the bytes.
func (l *Layout) loadIndex() ([]byte, *ocispec.Index, error) {
	path := l.path(ocispec.ImageIndexFile)
	b, err := readLimited(path, MaxManifest)
	if err != nil {
		return nil, nil, err
	}
	index, err := parseLayoutIndex(b)
	if err != nil {
		return nil, nil, &LayoutError{path, err}
	}
	return b, index, nil
}

// parseLayoutIndex reads the bytes of an index.json.
func parseLayoutIndex(b []byte) (*ocispec.Index, error) {
	var index ocispec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) > MaxEntries {
		return nil, &LimitError{What: "manifests", Value: int64(len(index.Manifests)), Limit: MaxEntries}
	}
	for i, desc := range index.Manifests {
		if err := checkDescriptor(desc); err != nil {
			return nil, fmt.Errorf("manifests[%d]: %w", i, err)
		}
	}
	return &index, nil
}

// writeIndex replaces index.json.
func (l *Layout) writeIndex(index *ocispec.Index) error {
	index.SchemaVersion = 2
	index.MediaType = ocispec.MediaTypeImageIndex
	if index.Manifests == nil {
		index.Manifests = []ocispec.Descriptor{}
	}
	if len(index.Manifests) > MaxEntries {
		return &LayoutError{l.dir, &LimitError{What: "entries", Value: int64(len(index.Manifests)), Limit: MaxEntries}}
	}
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	// Nobody could read it any more.
	if b = append(b, '\n'); len(b) > MaxManifest {
		return &LayoutError{l.dir, &LimitError{What: "size of index.json", Value: int64(len(b)), Limit: MaxManifest}}
	}
	return outfile.Write(l.path(ocispec.ImageIndexFile), b, true)
}

// entryOf is a manifest's descriptor as an entry of index.json, which has room
// for many: texts that are long stand in the manifest alone.
func entryOf(desc ocispec.Descriptor) ocispec.Descriptor {
	const most = 8 << 10
	if textOf(desc) > most {
		return plain(desc)
	}
	return desc
}

// textOf is how long the texts of a descriptor are, in bytes.
func textOf(desc ocispec.Descriptor) int {
	n := len(desc.MediaType) + len(desc.ArtifactType)
	for key, value := range desc.Annotations {
		n += len(key) + len(value)
	}
	return n
}

// update changes index.json, one at a time. It is not written if change says
// that nothing changed.
func (l *Layout) update(ctx context.Context, change func(*ocispec.Index) (bool, error)) (err error) {
	unlock, err := l.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	index, err := l.readIndex()
	if err != nil {
		return err
	}
	changed, err := change(index)
	if err != nil || !changed {
		return err
	}
	if err := l.syncBlobs(); err != nil {
		return err
	}
	return l.writeIndex(index)
}

// syncBlobs makes the blobs' names survive a crash before index.json names
// them. Windows offers no sync of a directory, nor do some file systems.
func (l *Layout) syncBlobs() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(l.path(ocispec.ImageBlobsDir, digest.Canonical.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}

// Entries returns the descriptors in index.json.
func (l *Layout) Entries() ([]ocispec.Descriptor, error) {
	index, err := l.readIndex()
	if err != nil {
		return nil, err
	}
	return index.Manifests, nil
}

// refName is the tag of an entry; "" if it has none.
func refName(desc ocispec.Descriptor) string { return desc.Annotations[ocispec.AnnotationRefName] }

// withRefName is the entry for a tag.
func withRefName(desc ocispec.Descriptor, tag string) ocispec.Descriptor {
	desc.Annotations = maps.Clone(desc.Annotations)
	if desc.Annotations == nil {
		desc.Annotations = map[string]string{}
	}
	desc.Annotations[ocispec.AnnotationRefName] = tag
	return desc
}

// plain is a descriptor of content, without what its place says of it.
func plain(desc ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
}

// Resolve finds what a tag or a digest names; see Repository.Resolve. Of a
// layout any manifest or index has a digest to be found by.
func (l *Layout) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	index, err := l.sharedIndex()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return resolveIn(SchemeLayout+":"+l.dir, index, reference, l.describeBlob)
}

// describeBlob finds out what the manifest of a digest is, by reading it.
func (l *Layout) describeBlob(d digest.Digest) (ocispec.Descriptor, error) {
	b, err := readLimited(l.blobPath(d), MaxManifest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%s: %s: %w", l.dir, d, errors.Join(ErrNotFound, err))
	}
	return describeBytes(b, d)
}

// resolveIn finds what a tag or a digest names in an index.json. A digest that
// is no entry's is looked for by describe.
func resolveIn(where string, index *ocispec.Index, reference string, describe func(digest.Digest) (ocispec.Descriptor, error)) (ocispec.Descriptor, error) {
	if d, err := parseDigest(reference); err == nil {
		for _, desc := range index.Manifests {
			if desc.Digest == d {
				return plain(desc), nil
			}
		}
		return describe(d)
	}
	var found []ocispec.Descriptor
	for _, desc := range index.Manifests {
		if refName(desc) == reference && !slices.ContainsFunc(found, func(f ocispec.Descriptor) bool { return f.Digest == desc.Digest }) {
			found = append(found, desc)
		}
	}
	switch len(found) {
	case 1:
		return plain(found[0]), nil
	case 0:
		return ocispec.Descriptor{}, &TagError{Where: where, Tag: reference, Tags: tagNames(index)}
	default:
		return ocispec.Descriptor{}, fmt.Errorf("%s: tag %q names %d manifests: give a digest", where, reference, len(found))
	}
}

// TagError says that a layout or an archive has no such tag, and which it has.
// errors.Is(err, ErrNotFound) holds.
type TagError struct {
	Where string
	Tag   string
	Tags  []string
}

func (e *TagError) Error() string {
	const shown = 20
	switch n := len(e.Tags); {
	case n == 0:
		return fmt.Sprintf("%s: there is no tag %q, nor any other", e.Where, e.Tag)
	case n > shown:
		return fmt.Sprintf("%s: there is no tag %q; there are %s and %d more", e.Where, e.Tag, strings.Join(e.Tags[:shown], ", "), n-shown)
	default:
		return fmt.Sprintf("%s: there is no tag %q; there are %s", e.Where, e.Tag, strings.Join(e.Tags, ", "))
	}
}

// Is makes errors.Is(err, ErrNotFound) hold.
func (e *TagError) Is(target error) bool { return target == ErrNotFound }

// tagNames lists the tags of an index.json, sorted.
func tagNames(index *ocispec.Index) []string {
	var tags []string
	for _, desc := range index.Manifests {
		if name := refName(desc); name != "" {
			tags = append(tags, name)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// tagsOf iterates over the tags of an index.json.
func tagsOf(index *ocispec.Index, err error) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err != nil {
			yield("", err)
			return
		}
		for _, tag := range tagNames(index) {
			if !yield(tag, nil) {
				return
			}
		}
	}
}

// Tag sets a tag. What the tag named so far loses its entry, and so do those
// entries without a tag that it reached: other tools write one for every
// manifest.
func (l *Layout) Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	if ok, err := l.Exists(ctx, desc); err != nil || !ok {
		return errors.Join(err, notThere(l.dir, desc, ok))
	}
	return l.update(ctx, func(index *ocispec.Index) (bool, error) {
		old := slices.Clone(index.Manifests)
		if err := l.dropReached(index); err != nil {
			return false, err
		}
		index.Manifests = setTag(index.Manifests, desc, tag)
		return !slices.EqualFunc(old, index.Manifests, sameEntry), nil
	})
}

func notThere(where string, desc ocispec.Descriptor, there bool) error {
	if there {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", where, desc.Digest, ErrNotFound)
}

func sameEntry(a, b ocispec.Descriptor) bool {
	return a.Digest == b.Digest && a.Size == b.Size && a.MediaType == b.MediaType && maps.Equal(a.Annotations, b.Annotations)
}

// setTag makes tag name desc, in the place of what it named so far.
func setTag(entries []ocispec.Descriptor, desc ocispec.Descriptor, tag string) []ocispec.Descriptor {
	out := make([]ocispec.Descriptor, 0, len(entries)+1)
	entry, placed := withRefName(desc, tag), false
	for _, e := range entries {
		switch {
		case refName(e) == tag:
			if !placed {
				out, placed = append(out, entry), true
			}
		case e.Digest == desc.Digest && refName(e) == "":
			// The tag reaches it now.
		default:
			out = append(out, e)
		}
	}
	if !placed {
		out = append(out, entry)
	}
	return out
}

// Untag removes a tag; GC removes what only it reached.
func (l *Layout) Untag(ctx context.Context, tag string) error {
	return l.update(ctx, func(index *ocispec.Index) (bool, error) {
		if err := l.dropReached(index); err != nil {
			return false, err
		}
		n := len(index.Manifests)
		tags := tagNames(index)
		index.Manifests = slices.DeleteFunc(index.Manifests, func(e ocispec.Descriptor) bool { return refName(e) == tag })
		if len(index.Manifests) == n {
			return false, &TagError{Where: SchemeLayout + ":" + l.dir, Tag: tag, Tags: tags}
		}
		return true, nil
	})
}

// Add makes sure that index.json has an entry, with or without a tag, for a
// manifest that is there.
func (l *Layout) Add(ctx context.Context, desc ocispec.Descriptor) error {
	return l.update(ctx, func(index *ocispec.Index) (bool, error) {
		if slices.ContainsFunc(index.Manifests, func(e ocispec.Descriptor) bool { return e.Digest == desc.Digest }) {
			return false, nil
		}
		index.Manifests = append(index.Manifests, desc)
		return true, nil
	})
}
