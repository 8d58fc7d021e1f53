package artifact

import (
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Summary is what an index, or an image manifest, says of an image by itself,
// without a further request. The texts are what stands there: nobody checked
// that they are true, or fit for a terminal.
type Summary struct {
	Title   string // "VMware ESXi 8.0.2 U2 build 22380479"
	Version string // "8.0.2-22380479"

	Release, Update, Build, Profile string

	Architecture string     // "amd64"; an index tells it, a manifest does not
	DiskSize     int64      // in bytes; 0 where it is not told
	Created      *time.Time // nil where it is not told
	Variant      bool
	// Base is the index, else the manifest, that a variant is one of; empty where
	// it is not told.
	Base digest.Digest
}

// Summarize reads the bytes of what a tag names, and nothing below it. What
// does not say that it is an image of ours is an error that wraps ErrNotImage;
// what says so and is none, and what cannot be read, another *FormatError.
func Summarize(d ocispec.Descriptor, raw []byte) (*Summary, error) {
	switch d.MediaType {
	case ocispec.MediaTypeImageIndex:
		return summarizeIndex(d, raw)
	case ocispec.MediaTypeImageManifest:
		return summarizeManifest(d, raw)
	default:
		return nil, malformed("manifest", "media type %q: %w", cut(d.MediaType), ErrNotImage)
	}
}

func summarizeIndex(d ocispec.Descriptor, raw []byte) (*Summary, error) {
	var x ocispec.Index
	if err := decode(raw, &x, "index"); err != nil {
		return nil, err
	}
	found := imageEntries(&x)
	switch {
	case x.ArtifactType != TypeIndex && (x.ArtifactType != "" || len(found) == 0):
		return nil, notImage("index", x.ArtifactType)
	case len(x.Manifests) > MaxIndexEntries:
		return nil, malformed("index", "%d manifests are over the limit of %d", len(x.Manifests), MaxIndexEntries)
	case len(found) != 1:
		return nil, malformed("index", "has %d image manifests, not 1", len(found))
	}
	if err := header("index", x.SchemaVersion, x.MediaType, d.MediaType); err != nil {
		return nil, err
	}
	s := summaryOf(x.Annotations)
	s.Variant = found[0].ArtifactType == TypeVariant || s.Base != ""
	if p := found[0].Platform; p != nil {
		s.Architecture = p.Architecture
	}
	return s, nil
}

func summarizeManifest(d ocispec.Descriptor, raw []byte) (*Summary, error) {
	var m ocispec.Manifest
	if err := decode(raw, &m, "manifest"); err != nil {
		return nil, err
	}
	if m.ArtifactType != TypeImage && m.ArtifactType != TypeVariant {
		return nil, notImage("manifest", m.ArtifactType)
	}
	if err := header("manifest", m.SchemaVersion, m.MediaType, d.MediaType); err != nil {
		return nil, err
	}
	s := summaryOf(m.Annotations)
	s.Variant = m.ArtifactType == TypeVariant
	return s, nil
}

// imageEntries are the entries of an index that are an image's.
func imageEntries(x *ocispec.Index) []ocispec.Descriptor {
	var found []ocispec.Descriptor
	for _, m := range x.Manifests {
		if m.ArtifactType == TypeImage || m.ArtifactType == TypeVariant ||
			m.ArtifactType == "" && m.Annotations[AnnotationDiskType] == DiskTypeImage {
			found = append(found, m)
		}
	}
	return found
}

// summaryOf reads annotations. What is not of its form is as good as not told.
func summaryOf(a map[string]string) *Summary {
	s := &Summary{
		Title: a[ocispec.AnnotationTitle], Version: a[ocispec.AnnotationVersion],
		Release: a[AnnotationRelease], Update: a[AnnotationUpdate], Build: a[AnnotationBuild], Profile: a[AnnotationProfile],
	}
	if n, err := strconv.ParseInt(a[AnnotationDiskSize], 10, 64); err == nil && n > 0 && n <= MaxDisk {
		s.DiskSize = n
	}
	// A year of more than four digits is none, and JSON cannot tell it.
	if t, err := time.Parse(time.RFC3339, a[ocispec.AnnotationCreated]); err == nil && t.UTC().Year() >= 1 && t.UTC().Year() <= 9999 {
		t = t.UTC()
		s.Created = &t
	}
	if d, err := parseDigest(digest.Digest(a[ocispec.AnnotationBaseImageDigest])); err == nil {
		s.Base = d.Digest()
	}
	return s
}
