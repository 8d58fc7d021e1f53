package registry

import (
	"context"
	"errors"
	"io/fs"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers lists the referrers of a manifest; see Repository.Referrers. They
// are entries of index.json, or listed by a fall-back tag.
func (l *Layout) Referrers(ctx context.Context, subject ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	index, err := l.sharedIndex()
	if err != nil {
		return nil, err
	}
	return referrersIn(ctx, index, subject, artifactType, &l.subjects, func(desc ocispec.Descriptor) ([]byte, error) {
		return l.readManifest(l.blobPath(desc.Digest), MaxManifest)
	})
}

// referrersIn finds the referrers of a manifest in an index.json, with read to
// read the manifests that it names: each once, as long as known remembers it, and
// those that refer to this one again.
func referrersIn(ctx context.Context, index *ocispec.Index, subject ocispec.Descriptor, artifactType string, known *subjects, read readEntry) ([]ocispec.Descriptor, error) {
	if err := known.learnAll(ctx, index.Manifests, read); err != nil {
		return nil, err
	}
	list := referrerList{artifactType: artifactType}
	tag := referrersTag(subject.Digest)
	for _, desc := range known.mayBeAbout(subject.Digest, index.Manifests, tag) {
		b, err := read(desc)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if desc.Digest.Algorithm().FromBytes(b) != desc.Digest {
			return nil, &MismatchError{desc, "the content has another digest"}
		}
		full, about, err := describeManifest(b, desc.MediaType)
		if err != nil {
			continue // not one of anything
		}
		if about != nil && about.Digest == subject.Digest {
			if err := list.add(full); err != nil {
				return nil, err
			}
		}
		if refName(desc) == tag {
			m, err := parseLinks(b)
			if err != nil {
				return nil, err
			}
			if err := list.add(m.Manifests...); err != nil {
				return nil, err
			}
		}
	}
	return list.found, nil
}

// referrersTag is the tag that lists a manifest's referrers where there is no
// API (OCI distribution-spec 1.1, "Referrers Tag Schema").
func referrersTag(d digest.Digest) string {
	return d.Algorithm().String() + "-" + d.Encoded()[:min(len(d.Encoded()), 64)]
}

// referrerList collects referrers of one type, each once.
type referrerList struct {
	artifactType string
	text         int // of those that were found, in bytes
	found        []ocispec.Descriptor
	seen         map[digest.Digest]bool
}

// add takes those that can be fetched at all: what else a list holds is not
// worth an error that would hide the others.
func (l *referrerList) add(descs ...ocispec.Descriptor) error {
	if l.seen == nil {
		l.seen = map[digest.Digest]bool{}
	}
	for _, desc := range descs {
		if checkDescriptor(desc) != nil || !IsManifest(desc.MediaType) || l.seen[desc.Digest] {
			continue
		}
		// Bounded whatever the type, so that others' referrers cannot use up
		// the memory either.
		if len(l.seen) >= MaxReferrers {
			return &LimitError{What: "number of referrers", Limit: MaxReferrers}
		}
		l.seen[desc.Digest] = true
		if l.artifactType != "" && desc.ArtifactType != l.artifactType {
			continue
		}
		if l.text+textOf(desc) > maxReferrersText {
			desc.Annotations = nil // the manifest has them
		}
		if l.text += textOf(desc); l.text > maxReferrersText {
			return &LimitError{What: "size of a list of referrers", Value: int64(l.text), Limit: maxReferrersText}
		}
		l.found = append(l.found, desc)
	}
	return nil
}

// maxReferrersText bounds the texts of a list of referrers, in bytes: each of
// MaxReferrers may have MaxManifest of them.
const maxReferrersText = 16 << 20
