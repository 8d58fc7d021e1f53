package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Fetcher opens blobs and manifests by digest.
type Fetcher interface {
	Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
}

// ErrNotImage says that a reference leads to something else than an image of
// ours.
var ErrNotImage = errors.New("not an esxi-img image")

// Image is an image in a registry or a layout: everything but its layers'
// bytes, checked.
type Image struct {
	// Index is nil where a manifest was named.
	Index *ocispec.Descriptor
	// Entries are those of the index.
	Entries  []ocispec.Descriptor
	Manifest ocispec.Descriptor
	// ConfigBlob is the config's descriptor, Config what it says.
	ConfigBlob ocispec.Descriptor
	Config     *Config
	// The layers. A variant's Disk is its base's.
	Disk, Module, Kickstart ocispec.Descriptor
}

// Load reads index, manifest and config from what a reference was resolved to,
// and checks that they agree. What it fetches is reached by digest and size
// from d, within the limits. The error is a *FormatError if what is there is no
// image of ours or a wrong one.
func Load(ctx context.Context, from Fetcher, d ocispec.Descriptor) (*Image, error) {
	img := &Image{Manifest: d}
	if d.MediaType == ocispec.MediaTypeImageIndex {
		if err := img.loadIndex(ctx, from, d); err != nil {
			return nil, err
		}
	}
	m, err := img.loadManifest(ctx, from)
	if err != nil {
		return nil, err
	}
	raw, err := FetchBytes(ctx, from, m.Config, MaxConfig)
	if err != nil {
		return nil, err
	}
	if img.Config, err = ParseConfig(raw); err != nil {
		return nil, err
	}
	return img, img.agree(m.ArtifactType)
}

func (img *Image) loadIndex(ctx context.Context, from Fetcher, d ocispec.Descriptor) error {
	raw, err := FetchBytes(ctx, from, d, MaxManifest)
	if err != nil {
		return err
	}
	var x ocispec.Index
	if err := decode(raw, &x, "index"); err != nil {
		return err
	}
	if err := header("index", x.SchemaVersion, x.MediaType, d.MediaType); err != nil {
		return err
	}
	// Skopeo (1.9, for one) writes an index anew when it copies one, and leaves
	// artifact types out. The manifests say what they are themselves.
	if x.ArtifactType != TypeIndex && x.ArtifactType != "" {
		return notImage("index", x.ArtifactType)
	}
	if len(x.Manifests) > MaxIndexEntries {
		return malformed("index", "%d manifests are over the limit of %d", len(x.Manifests), MaxIndexEntries)
	}
	found := imageEntries(&x)
	if len(found) == 0 {
		return malformed("index", "none of its %d manifests is an image's: %w", len(x.Manifests), ErrNotImage)
	}
	if len(found) != 1 {
		return malformed("index", "has %d image manifests, not 1", len(found))
	}
	img.Index, img.Entries, img.Manifest = &d, x.Manifests, found[0]
	return nil
}

func (img *Image) loadManifest(ctx context.Context, from Fetcher) (*ocispec.Manifest, error) {
	d := img.Manifest
	if d.MediaType != ocispec.MediaTypeImageManifest {
		return nil, malformed("manifest", "media type %q: %w", cut(d.MediaType), ErrNotImage)
	}
	raw, err := FetchBytes(ctx, from, d, MaxManifest)
	if err != nil {
		return nil, err
	}
	m := &ocispec.Manifest{}
	if err := decode(raw, m, "manifest"); err != nil {
		return nil, err
	}
	if err := header("manifest", m.SchemaVersion, m.MediaType, d.MediaType); err != nil {
		return nil, err
	}
	switch {
	case m.ArtifactType != TypeImage && m.ArtifactType != TypeVariant:
		return nil, notImage("manifest", m.ArtifactType)
	case d.ArtifactType != "" && d.ArtifactType != m.ArtifactType:
		return nil, malformed("manifest", "artifact type %s, but the index says %s", m.ArtifactType, d.ArtifactType)
	case m.Config.MediaType != MediaTypeConfig:
		return nil, malformed("manifest", "config has the media type %q", cut(m.Config.MediaType))
	case len(m.Layers) != 3:
		return nil, malformed("manifest", "%d layers, not 3", len(m.Layers))
	}
	img.ConfigBlob, img.Disk, img.Module, img.Kickstart = m.Config, m.Layers[0], m.Layers[1], m.Layers[2]
	for _, l := range []struct {
		name      string
		d         ocispec.Descriptor
		mediaType string
		limit     int64
	}{
		{"config", img.ConfigBlob, MediaTypeConfig, MaxConfig},
		{"layer 0", img.Disk, MediaTypeRaw, MaxDisk},
		{"layer 1", img.Module, MediaTypeModule, MaxModule},
		{"layer 2", img.Kickstart, MediaTypeKickstart, MaxKickstart},
	} {
		if err := checkDescriptor(l.d, l.mediaType, l.limit); err != nil {
			return nil, malformed("manifest", "%s: %w", l.name, err)
		}
	}
	return m, nil
}

// agree holds that there is one truth: what the config says is what the
// manifest lists.
func (img *Image) agree(artifactType string) error {
	c := img.Config
	if c.Variant() != (artifactType == TypeVariant) {
		return malformed("manifest", "artifact type %s does not go with its config", artifactType)
	}
	diskDigest, diskSize := c.Disk.SHA256.Digest(), c.Disk.Size
	if c.Base != nil {
		diskDigest, diskSize = c.Base.Disk, c.Base.DiskSize
	}
	for _, l := range []struct {
		name   string
		d      ocispec.Descriptor
		digest digest.Digest
		size   int64
	}{
		{"layer 0", img.Disk, diskDigest, diskSize},
		{"layer 1", img.Module, c.Modules[0].SHA256.Digest(), c.Modules[0].Size},
		{"layer 2", img.Kickstart, c.Kickstart.SHA256.Digest(), c.Kickstart.Size},
	} {
		if l.d.Digest != l.digest || l.d.Size != l.size {
			return malformed("manifest", "%s is %s of %d bytes, the config says %s of %d", l.name, l.d.Digest, l.d.Size, l.digest, l.size)
		}
	}
	return nil
}

func checkDescriptor(d ocispec.Descriptor, mediaType string, limit int64) error {
	if d.MediaType != mediaType {
		return fmt.Errorf("media type %q, not %s", cut(d.MediaType), mediaType)
	}
	if _, err := parseDigest(d.Digest); err != nil {
		return err
	}
	if d.Size <= 0 || d.Size > limit {
		return fmt.Errorf("size %d is not a positive number up to %d", d.Size, limit)
	}
	return nil
}

func header(what string, schema int, mediaType, want string) error {
	if schema != 2 {
		return malformed(what, "schemaVersion %d is not 2", schema)
	}
	if mediaType != want {
		return malformed(what, "mediaType %q is not %s", cut(mediaType), want)
	}
	return nil
}

func notImage(what, artifactType string) error {
	if artifactType == TypeDisk {
		return malformed(what, "is the disk manifest, which has no config: name the tag, or the index's digest: %w", ErrNotImage)
	}
	return malformed(what, "artifact type %q: %w", cut(artifactType), ErrNotImage)
}

// decode reads a manifest that is within the limits of JSON's shape.
func decode(raw []byte, into any, what string) error {
	if err := checkShape(raw, false); err != nil {
		return malformed(what, "%w", err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return malformed(what, "%w", err)
	}
	return nil
}

// FetchManifest reads a manifest or an index of any kind, within the limits of
// the format, into a struct of the image-spec, and returns its bytes.
func FetchManifest(ctx context.Context, from Fetcher, d ocispec.Descriptor, into any) ([]byte, error) {
	raw, err := FetchBytes(ctx, from, d, MaxManifest)
	if err != nil {
		return nil, err
	}
	return raw, decode(raw, into, "manifest "+d.Digest.String())
}

// FetchBytes reads a small blob or manifest whole. One that is larger than
// limit is not fetched; what is not d's digest and size is a *FormatError.
func FetchBytes(ctx context.Context, from Fetcher, d ocispec.Descriptor, limit int64) (_ []byte, err error) {
	if d.Size < 0 || d.Size > limit {
		return nil, malformed(d.Digest.String(), "%d bytes are over the limit of %d", d.Size, limit)
	}
	if _, err := parseDigest(d.Digest); err != nil {
		return nil, malformed("descriptor", "%w", err)
	}
	r, err := from.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var b bytes.Buffer
	b.Grow(int(d.Size))
	if _, err := io.Copy(&b, io.LimitReader(r, d.Size+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) != d.Size || digest.FromBytes(b.Bytes()) != d.Digest {
		return nil, malformed(d.Digest.String(), "has other bytes than its digest and size say")
	}
	return b.Bytes(), nil
}
