package artifact_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
)

// memory holds blobs by digest.
type memory map[digest.Digest][]byte

func (m memory) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	b, ok := m[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s is not there", d.Digest)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m memory) put(mediaType string, v any) ocispec.Descriptor {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	m[d.Digest] = b
	return d
}

// parts are the pieces of an image that a test changes before they are put
// together.
type parts struct {
	config   object
	manifest ocispec.Manifest
	index    ocispec.Index
}

// partsOf returns a function that returns the parts of a small image.
func partsOf(t *testing.T) func() parts {
	t.Helper()
	r, p := pack(t, fixed(t))
	index, manifest := blobOf(t, r, p.Index), blobOf(t, r, p.Manifest)
	return func() (out parts) {
		unmarshal(t, index, &out.index)
		unmarshal(t, manifest, &out.manifest)
		unmarshal(t, blobOf(t, r, out.manifest.Config), &out.config)
		return out
	}
}

func (p *parts) assemble() (memory, ocispec.Descriptor) {
	m := memory{}
	if p.config != nil {
		mediaType := p.manifest.Config.MediaType
		p.manifest.Config = m.put(mediaType, p.config)
	}
	d := m.put(ocispec.MediaTypeImageManifest, p.manifest)
	for i := range p.index.Manifests {
		if e := &p.index.Manifests[i]; e.Annotations["disktype"] == "esxi-img" {
			e.Digest, e.Size = d.Digest, d.Size
		}
	}
	return m, m.put(ocispec.MediaTypeImageIndex, p.index)
}

func TestImagesThatAreNotLoaded(t *testing.T) {
	fresh := partsOf(t)
	for name, c := range map[string]struct {
		change func(p *parts)
		want   string
	}{
		"another artifact":      {func(p *parts) { p.index.ArtifactType = "application/vnd.example" }, "not an esxi-img image"},
		"another schema":        {func(p *parts) { p.index.SchemaVersion = 1 }, "schemaVersion 1"},
		"index of another type": {func(p *parts) { p.index.MediaType = ocispec.MediaTypeImageManifest }, "mediaType"},
		"no image manifest":     {func(p *parts) { p.index.Manifests = p.index.Manifests[1:] }, "not an esxi-img image"},
		"two image manifests":   {func(p *parts) { p.index.Manifests = append(p.index.Manifests, p.index.Manifests[0]) }, "2 image manifests"},
		"a thousand manifests": {func(p *parts) {
			for range 1000 {
				p.index.Manifests = append(p.index.Manifests, p.index.Manifests[1])
			}
		}, "over the limit of 64"},
		"manifest's type":    {func(p *parts) { p.manifest.ArtifactType = artifact.TypeVariant }, "but the index says"},
		"manifest of others": {func(p *parts) { p.manifest.ArtifactType = "" }, "not an esxi-img image"},
		"entry is an index":  {func(p *parts) { p.index.Manifests[0].MediaType = ocispec.MediaTypeImageIndex }, "not an esxi-img image"},
		"two layers":         {func(p *parts) { p.manifest.Layers = p.manifest.Layers[:2] }, "2 layers"},
		"order of layers": {func(p *parts) {
			l := p.manifest.Layers
			l[0], l[1] = l[1], l[0]
		}, "layer 0: media type"},
		"config's type":      {func(p *parts) { p.manifest.Config.MediaType = ocispec.MediaTypeImageConfig }, "config has the media type"},
		"disk of another":    {func(p *parts) { p.manifest.Layers[0].Digest = digest.FromString("x") }, "layer 0 is"},
		"disk of 17 GiB":     {func(p *parts) { p.manifest.Layers[0].Size = 17 << 30 }, "layer 0: size"},
		"disk's size":        {func(p *parts) { p.manifest.Layers[0].Size-- }, "layer 0 is"},
		"module of another":  {func(p *parts) { p.manifest.Layers[1].Digest = digest.FromString("x") }, "layer 1 is"},
		"kickstart's size":   {func(p *parts) { p.manifest.Layers[2].Size++ }, "layer 2 is"},
		"digest of 512 bits": {func(p *parts) { p.manifest.Layers[2].Digest = digest.SHA512.FromString("x") }, "is not a SHA-256"},
		"path as digest":     {func(p *parts) { p.manifest.Layers[2].Digest = "sha256:../../etc/passwd" }, "layer 2: "},
		"broken config":      {func(p *parts) { p.config["version"] = "2.0" }, "later version"},
		"config of a variant": {func(p *parts) {
			p.config["base"] = object{"manifest": p.manifest.Layers[0].Digest, "disk": p.manifest.Layers[0].Digest, "diskSize": 36700160}
		}, "does not go with its config"},
		"config of 5 MiB": {func(p *parts) { p.config["more"] = strings.Repeat("x", 5<<20) }, "config: size"},
		"index of 5 MiB":  {func(p *parts) { p.index.Annotations["x"] = strings.Repeat("x", 5<<20) }, "over the limit"},
		"no config":       {func(p *parts) { p.config = nil }, "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			p := fresh()
			c.change(&p)
			m, d := p.assemble()
			if _, err := artifact.Load(t.Context(), m, d); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Load() = %v, want %q", err, c.want)
			}
		})
	}
}

func TestImagesThatAreLoaded(t *testing.T) {
	fresh := partsOf(t)
	for name, c := range map[string]struct {
		change func(p *parts)
	}{
		"as packed": {func(*parts) {}},
		// Skopeo does this to an index.
		"without artifact types": {func(p *parts) {
			p.index.ArtifactType = ""
			for i := range p.index.Manifests {
				p.index.Manifests[i].ArtifactType = ""
			}
		}},
		"with more annotations": {func(p *parts) { p.manifest.Annotations["x"] = "y" }},
	} {
		t.Run(name, func(t *testing.T) {
			p := fresh()
			c.change(&p)
			m, d := p.assemble()
			img, err := artifact.Load(t.Context(), m, d)
			if err != nil || img.Index == nil || img.Index.Digest != d.Digest {
				t.Fatalf("Load() = %+v, %v", img, err)
			}
			// Or by the manifest's digest alone.
			pinned := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: img.Manifest.Digest, Size: img.Manifest.Size}
			if img, err = artifact.Load(t.Context(), m, pinned); err != nil || img.Index != nil {
				t.Errorf("Load() of the manifest = %+v, %v", img, err)
			}
		})
	}
}

func TestFetchBytes(t *testing.T) {
	m := memory{}
	d := m.put("application/json", "hello")
	long, short := bytes.Clone(append(m[d.Digest], '!')), m[d.Digest][:3]
	wrong := []byte(`"jello"`)
	for name, c := range map[string]struct {
		data []byte
		d    ocispec.Descriptor
		want string
	}{
		"right":     {m[d.Digest], d, ""},
		"longer":    {long, d, "other bytes"},
		"shorter":   {short, d, "other bytes"},
		"other":     {wrong, d, "other bytes"},
		"too large": {nil, ocispec.Descriptor{Digest: d.Digest, Size: 1 << 40}, "over the limit"},
		"negative":  {nil, ocispec.Descriptor{Digest: d.Digest, Size: -1}, "over the limit"},
		"no digest": {nil, ocispec.Descriptor{Digest: "x", Size: 1}, "descriptor"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := artifact.FetchBytes(t.Context(), memory{d.Digest: c.data}, c.d, 1<<20)
			var format *artifact.FormatError
			switch {
			case c.want == "" && (err != nil || string(b) != `"hello"`):
				t.Errorf("FetchBytes() = %q, %v", b, err)
			case c.want != "" && (!errors.As(err, &format) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("FetchBytes() = %v, want %q", err, c.want)
			}
		})
	}
}
