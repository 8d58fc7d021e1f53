package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/parallel"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// maxManifests bounds what is known of a repository at once: manifests and what
// they name.
const maxManifests = 500_000

// manifestTypes are those of what has manifests below it or a subject: OCI's,
// and Docker's Image Manifest V 2, Schema 2.
var manifestTypes = []string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest,
	"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
}

// manifest is what matters of one: what it needs, and which image it is.
type manifest struct {
	desc     ocispec.Descriptor
	children []ocispec.Descriptor // manifests that it lists
	subject  digest.Digest
	kind     string // artifact type

	// Of an image of ours that a tag names.
	ours                         bool
	problem                      string // why it is none
	release, build, architecture string
	created                      time.Time
	variant                      bool
	bases                        []digest.Digest // what it is a variant of
}

// state is what a repository's tags reach.
type state struct {
	tags      map[string]digest.Digest
	manifests map[digest.Digest]*manifest
}

func (s *state) sortedTags() []string { return slices.Sorted(maps.Keys(s.tags)) }

// reader reads the state of a repository. What has a digest it reads once.
type reader struct {
	repo    *registry.Repository
	workers int

	mu    sync.Mutex
	known map[digest.Digest]*manifest
	size  int // of known, with what they name
}

func newReader(repo *registry.Repository, concurrency int) *reader {
	return &reader{repo: repo, workers: Connections(concurrency), known: map[digest.Digest]*manifest{}}
}

// read finds out what the tags name now, and what that needs.
func (r *reader) read(ctx context.Context) (*state, error) {
	// 1. The tags.
	var tags []string
	for tag, err := range r.repo.Tags(ctx) {
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	named := make([]digest.Digest, len(tags))
	err := parallel.Do(ctx, r.workers, len(tags), func(ctx context.Context, i int) (err error) {
		named[i], err = r.named(ctx, tags[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	s := &state{tags: map[string]digest.Digest{}, manifests: r.known}
	var level []ocispec.Descriptor
	for i, tag := range tags {
		if named[i] != "" {
			s.tags[tag] = named[i]
			level = append(level, r.known[named[i]].children...)
		}
	}
	// 2. What they list, and what that lists.
	for len(level) > 0 {
		if level, err = r.descend(ctx, level); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// named finds out what a tag names; "" if it is gone.
func (r *reader) named(ctx context.Context, tag string) (digest.Digest, error) {
	d, err := r.repo.Look(ctx, tag)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return "", nil
	case err == nil && r.have(d) != nil:
		return d, nil
	case err != nil && !errors.Is(err, registry.ErrUntold):
		return "", err
	}
	desc, raw, err := r.repo.FetchNamed(ctx, tag)
	if errors.Is(err, registry.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	m := parseManifest(desc, raw)
	if err := r.identify(ctx, m, raw); err != nil {
		return "", err
	}
	return desc.Digest, r.add(m)
}

// descend reads manifests that others list, and returns those below them.
func (r *reader) descend(ctx context.Context, level []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	level = slices.DeleteFunc(level, func(d ocispec.Descriptor) bool { return r.have(d.Digest) != nil })
	slices.SortFunc(level, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	level = slices.CompactFunc(level, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
	below := make([][]ocispec.Descriptor, len(level))
	err := parallel.Do(ctx, r.workers, len(level), func(ctx context.Context, i int) error {
		m, err := r.fetch(ctx, level[i])
		if err == nil {
			below[i] = m.children
		}
		return err
	})
	return slices.Concat(below...), err
}

// fetch reads a manifest by its digest. One that is not there, or is none,
// needs nothing.
func (r *reader) fetch(ctx context.Context, d ocispec.Descriptor) (*manifest, error) {
	if m := r.have(d.Digest); m != nil {
		return m, nil
	}
	d = ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	raw, err := r.repo.FetchBytes(ctx, d, registry.MaxManifest)
	var limit *registry.LimitError
	if err != nil && !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, registry.ErrMismatch) && !errors.As(err, &limit) {
		return nil, err
	}
	m := parseManifest(d, raw)
	return m, r.add(m)
}

func (r *reader) have(d digest.Digest) *manifest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[d]
}

func (r *reader) add(m *manifest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size += 1 + len(m.children); r.size > maxManifests {
		return &registry.LimitError{What: "number of manifests", Limit: maxManifests}
	}
	r.known[m.desc.Digest] = m
	return nil
}

// parseManifest reads what a manifest names. What cannot be read names nothing.
func parseManifest(d ocispec.Descriptor, raw []byte) *manifest {
	m := &manifest{desc: d}
	var named struct {
		ArtifactType string               `json:"artifactType"`
		Manifests    []ocispec.Descriptor `json:"manifests"`
		Subject      *ocispec.Descriptor  `json:"subject"`
		Annotations  map[string]string    `json:"annotations"`
	}
	if json.Unmarshal(raw, &named) != nil {
		return m
	}
	m.kind = named.ArtifactType
	for _, c := range named.Manifests {
		if c.Digest.Validate() == nil && c.Size >= 0 && slices.Contains(manifestTypes, c.MediaType) {
			m.children = append(m.children, ocispec.Descriptor{MediaType: c.MediaType, Digest: c.Digest, Size: c.Size})
		}
	}
	if named.Subject != nil {
		m.subject = named.Subject.Digest
	}
	if base := digest.Digest(named.Annotations[ocispec.AnnotationBaseImageDigest]); base.Validate() == nil {
		m.bases = append(m.bases, base)
	}
	return m
}

// identify finds out which image a tagged manifest is. Of a variant the config
// says what it is one of: an index that a tool wrote anew may not.
func (r *reader) identify(ctx context.Context, m *manifest, raw []byte) error {
	s, err := artifact.Summarize(m.desc, raw)
	if errors.Is(err, artifact.ErrNotImage) {
		return nil
	}
	m.ours = true
	if err != nil {
		m.problem = text(err.Error())
		return nil
	}
	m.release, m.build, m.architecture, m.variant = word(s.Release), word(s.Build), word(s.Architecture), s.Variant
	if s.Created != nil {
		m.created = *s.Created
	}
	if !m.variant && m.release != "" {
		return nil
	}
	img, err := artifact.Load(ctx, r.repo, m.desc)
	var format *artifact.FormatError
	switch {
	case errors.As(err, &format), errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrMismatch):
		m.problem = text(err.Error())
		return nil
	case err != nil:
		return err
	}
	c := img.Config
	m.release, m.build, m.architecture, m.variant = word(c.ESXi.Version), word(c.ESXi.Build), word(c.ESXi.Architecture), c.Variant()
	if c.Base != nil {
		m.bases = append(m.bases, c.Base.Index, c.Base.Manifest)
	}
	return nil
}
