package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Removed says what GC removed.
type Removed struct {
	Blobs int
	Bytes int64
	// Busy: others use the layout, so that nothing was removed.
	Busy bool
}

// GC removes the blobs that no entry of index.json reaches, and what writers
// that were killed have left. An entry without a tag whose subject is gone (a
// signature, say) goes with it. Where others hold the layout it does nothing:
// the next one will. If any manifest that is reached cannot be read nothing is
// removed. The caller must not hold the layout itself.
func (l *Layout) GC(ctx context.Context) (removed Removed, err error) {
	unlock, err := l.lockAll()
	if err != nil {
		return removed, err
	}
	if unlock == nil {
		return Removed{Busy: true}, nil
	}
	defer func() { err = errors.Join(err, unlock()) }()

	var reached map[digest.Digest]bool
	err = l.update(ctx, func(index *ocispec.Index) (bool, error) {
		n := len(index.Manifests)
		var err error
		reached, err = l.reach(index)
		return err == nil && len(index.Manifests) != n, err
	})
	if err != nil {
		return removed, err
	}
	return l.sweep(ctx, reached)
}

// fallbackTag is the tag under which referrers of a manifest are listed where
// there is no better way (OCI distribution-spec 1.1, "Referrers Tag Schema"),
// or one of cosign's old ones, which end in .sig, .att or .sbom.
var fallbackTag = regexp.MustCompile(`^(sha256|sha512)-([0-9a-f]{64})(\.[a-z]+)?$`)

// reach returns every digest that the index's entries reach, and removes from
// the index those entries whose subject is gone.
func (l *Layout) reach(index *ocispec.Index) (map[digest.Digest]bool, error) {
	w := walker{layout: l, reached: map[digest.Digest]bool{}}
	var about []referrer
	for _, desc := range index.Manifests {
		subject, err := w.subjectOf(desc)
		if err != nil {
			return nil, err
		}
		if subject != "" {
			about = append(about, referrer{desc, subject})
			continue
		}
		if err := w.walk(desc); err != nil {
			return nil, err
		}
	}
	// A referrer may have referrers: until nothing is added.
	for {
		n := len(about)
		for i := 0; i < len(about); i++ {
			if !w.has(about[i].subject) {
				continue
			}
			if err := w.walk(about[i].desc); err != nil {
				return nil, err
			}
			about = slices.Delete(about, i, i+1)
			i--
		}
		if len(about) == n {
			break
		}
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(e ocispec.Descriptor) bool {
		return slices.ContainsFunc(about, func(r referrer) bool { return r.desc.Digest == e.Digest && refName(r.desc) == refName(e) })
	})
	return w.reached, nil
}

// referrer is an entry that stays only as long as what it is about.
type referrer struct {
	desc    ocispec.Descriptor
	subject string // a digest; of a tag, its beginning
}

// dropReached removes the entries without a tag that other entries reach.
// Referrers stay, for that is how they are found: where all the others are known
// to be such nothing has to be read.
func (l *Layout) dropReached(index *ocispec.Index) error {
	if !slices.ContainsFunc(index.Manifests, func(e ocispec.Descriptor) bool { return refName(e) == "" && !l.subjects.has(e.Digest) }) {
		return nil
	}
	w := walker{layout: l, reached: map[digest.Digest]bool{}}
	for _, desc := range index.Manifests {
		if refName(desc) == "" {
			continue
		}
		if err := w.walk(desc); err != nil {
			return err
		}
	}
	var failed error
	index.Manifests = slices.DeleteFunc(index.Manifests, func(e ocispec.Descriptor) bool {
		if failed != nil || refName(e) != "" || !w.reached[e.Digest] {
			return false
		}
		subject, err := w.subjectOf(e)
		failed = err
		return err == nil && subject == ""
	})
	return failed
}

// walker follows descriptors through a layout.
type walker struct {
	layout  *Layout
	reached map[digest.Digest]bool
}

// has says whether a digest, or one that begins so, was reached.
func (w *walker) has(subject string) bool {
	if w.reached[digest.Digest(subject)] {
		return true
	}
	// A tag has room for the beginning of a longer digest only.
	if !strings.HasPrefix(subject, digest.SHA512.String()) {
		return false
	}
	for d := range w.reached {
		if strings.HasPrefix(string(d), subject) {
			return true
		}
	}
	return false
}

// subjectOf returns what an entry is about, if it is a referrer's.
func (w *walker) subjectOf(desc ocispec.Descriptor) (string, error) {
	if m := fallbackTag.FindStringSubmatch(refName(desc)); m != nil {
		return m[1] + ":" + m[2], nil
	}
	if refName(desc) != "" {
		return "", nil
	}
	m, err := w.read(desc)
	if err != nil || m.Subject == nil {
		return "", err
	}
	return m.Subject.Digest.String(), nil
}

// read parses a manifest of the layout. What is no manifest, or is not there,
// refers to nothing.
func (w *walker) read(desc ocispec.Descriptor) (links, error) {
	if !IsManifest(desc.MediaType) {
		return links{}, nil
	}
	b, err := w.layout.readManifest(w.layout.blobPath(desc.Digest), MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return links{}, nil
	}
	if err != nil {
		return links{}, err
	}
	if desc.Digest.Algorithm().FromBytes(b) != desc.Digest {
		return links{}, &LayoutError{w.layout.blobPath(desc.Digest), &MismatchError{desc, "the content has another digest"}}
	}
	m, err := parseLinks(b)
	if err != nil {
		return links{}, &LayoutError{w.layout.blobPath(desc.Digest), err}
	}
	return m, nil
}

// walk marks a descriptor and all below it.
func (w *walker) walk(desc ocispec.Descriptor) error {
	queue := []ocispec.Descriptor{desc}
	for len(queue) > 0 {
		d := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if w.reached[d.Digest] {
			continue
		}
		w.reached[d.Digest] = true
		m, err := w.read(d)
		if err != nil {
			return err
		}
		queue = append(queue, m.below()...)
	}
	return nil
}

// sweep removes the blobs that were not reached.
func (l *Layout) sweep(ctx context.Context, reached map[digest.Digest]bool) (removed Removed, err error) {
	algorithms, err := os.ReadDir(l.path(ocispec.ImageBlobsDir))
	if err != nil {
		return removed, err
	}
	for _, algorithm := range algorithms {
		if !algorithm.IsDir() {
			continue
		}
		names, err := os.ReadDir(l.path(ocispec.ImageBlobsDir, algorithm.Name()))
		if err != nil {
			return removed, err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return removed, err
			}
			d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm.Name()), name.Name())
			// What has no digest for a name is none of ours.
			if d.Validate() != nil || reached[d] {
				continue
			}
			if err := removed.remove(l.blobPath(d)); err != nil {
				return removed, err
			}
		}
	}
	return removed, l.sweepTemps()
}

func (r *Removed) remove(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	r.Blobs++
	r.Bytes += info.Size()
	return nil
}

// sweepTemps removes what writers that were killed have left.
func (l *Layout) sweepTemps() error {
	names, err := os.ReadDir(l.dir)
	for _, name := range names {
		if ok, _ := filepath.Match(tempPattern, name.Name()); ok { // the pattern is well formed
			err = errors.Join(err, os.Remove(l.path(name.Name())))
		}
	}
	return err
}
