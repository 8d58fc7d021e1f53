package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// Docker's names for a manifest and an index (Image Manifest V 2, Schema 2).
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// manifestTypes are the media types of what a registry keeps as a manifest.
var manifestTypes = []string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerList, dockerManifest}

// IsManifest says whether a registry keeps what has this media type as a
// manifest: an index, too, and Docker's forms of both.
func IsManifest(mediaType string) bool { return slices.Contains(manifestTypes, mediaType) }

// links is what a manifest or an index refers to, and what it says of itself.
type links struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

func parseLinks(b []byte) (links, error) {
	var m links
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("is no manifest: %w", err)
	}
	if m.Subject != nil {
		if err := checkDescriptor(*m.Subject); err != nil {
			return m, fmt.Errorf("subject: %w", err)
		}
	}
	for _, d := range m.below() {
		if err := checkDescriptor(d); err != nil {
			return m, err
		}
	}
	return m, nil
}

// below lists what the manifest is made of, and its subject.
func (m *links) below() []ocispec.Descriptor {
	var out []ocispec.Descriptor
	if m.Config != nil {
		out = append(out, *m.Config)
	}
	out = append(append(out, m.Layers...), m.Manifests...)
	if m.Subject != nil {
		out = append(out, *m.Subject)
	}
	return out
}

// readManifest reads a manifest of at most MaxManifest bytes and checks it.
func readManifest(r io.Reader, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > MaxManifest {
		return nil, &LimitError{What: "size of manifest " + desc.Digest.String(), Value: desc.Size, Limit: MaxManifest}
	}
	b, err := content.ReadAll(r, desc)
	if err != nil {
		return nil, mismatch(desc, err)
	}
	return b, nil
}

// describeManifest returns the descriptor of a manifest as a list of referrers
// has it (OCI distribution-spec 1.1, "Listing Referrers"), and its subject.
func describeManifest(b []byte, mediaType string) (ocispec.Descriptor, *ocispec.Descriptor, error) {
	m, err := parseLinks(b)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc := content.NewDescriptorFromBytes(mediaType, b)
	desc.ArtifactType, desc.Annotations = m.ArtifactType, m.Annotations
	if desc.ArtifactType == "" && m.Config != nil {
		desc.ArtifactType = m.Config.MediaType
	}
	return desc, m.Subject, nil
}

// describeReferrer is describeManifest for a manifest that says itself what it is.
func describeReferrer(b []byte) (ocispec.Descriptor, *ocispec.Descriptor, error) {
	if len(b) > MaxManifest {
		return ocispec.Descriptor{}, nil, &LimitError{What: "size of the manifest", Value: int64(len(b)), Limit: MaxManifest}
	}
	m, err := parseLinks(b)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	return describeManifest(b, m.kind())
}

// kind is the media type of a manifest; one that does not say is told by what
// it has.
func (m *links) kind() string {
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	default:
		return ocispec.MediaTypeImageManifest
	}
}

// describeBytes returns the descriptor of a manifest that was found by digest.
func describeBytes(b []byte, d digest.Digest) (ocispec.Descriptor, error) {
	m, err := parseLinks(b)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%s: %w", d, err)
	}
	desc := ocispec.Descriptor{MediaType: m.kind(), Digest: d, Size: int64(len(b))}
	if !IsManifest(desc.MediaType) || m.Config == nil && m.Manifests == nil {
		return ocispec.Descriptor{}, fmt.Errorf("%s: is no manifest: %w", d, ErrNotFound)
	}
	if d.Algorithm().FromBytes(b) != d {
		return ocispec.Descriptor{}, &MismatchError{desc, "the content has another digest"}
	}
	return desc, nil
}

// newBytesReader is a reader of b that can seek.
func newBytesReader(b []byte) io.ReadSeeker { return bytes.NewReader(b) }
