package artifact_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
)

// index is one of an image, changed.
func index(tb testing.TB, change func(*ocispec.Index)) []byte {
	tb.Helper()
	x := ocispec.Index{
		MediaType: ocispec.MediaTypeImageIndex, ArtifactType: artifact.TypeIndex,
		Manifests:   []ocispec.Descriptor{{ArtifactType: artifact.TypeImage, Platform: &ocispec.Platform{Architecture: "arm64"}}},
		Annotations: map[string]string{artifact.AnnotationRelease: "8.0.2", artifact.AnnotationDiskSize: "100"},
	}
	x.SchemaVersion = 2
	if change != nil {
		change(&x)
	}
	b, err := json.Marshal(x)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestSummarize(t *testing.T) {
	summarize := func(mediaType string, raw []byte) (*artifact.Summary, error) {
		return artifact.Summarize(ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw)
	}
	base := digest.FromString("base")
	s, err := summarize(ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) {
		x.Manifests[0].ArtifactType = artifact.TypeVariant
		x.Annotations[ocispec.AnnotationBaseImageDigest] = base.String()
	}))
	if err != nil || s.Release != "8.0.2" || s.Architecture != "arm64" || s.DiskSize != 100 || !s.Variant || s.Base != base {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = summarize(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageManifest+`","artifactType":"`+artifact.TypeImage+`","annotations":{"io.github.esxi-img.build":"1"}}`))
	if err != nil || s.Build != "1" || s.Variant {
		t.Errorf("%+v, %v", s, err)
	}
	// What is not of its form is as good as not told.
	for _, bad := range []string{"", "x", "-1", "0", "99999999999999999999", "17179869185", "1e3"} {
		s, err := summarize(ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) {
			x.Annotations[artifact.AnnotationDiskSize], x.Annotations[ocispec.AnnotationCreated], x.Annotations[ocispec.AnnotationBaseImageDigest] = bad, bad, bad
		}))
		if err != nil || s.DiskSize != 0 || s.Created != nil || s.Base != "" || s.Variant {
			t.Errorf("%q: %+v, %v", bad, s, err)
		}
	}
	// Not ours, and ours but broken.
	for name, c := range map[string]struct {
		mediaType string
		raw       []byte
		foreign   bool
	}{
		"another type":    {ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) { x.ArtifactType = "application/x" }), true},
		"no type":         {ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) { x.ArtifactType, x.Manifests = "", nil }), true},
		"disk manifest":   {ocispec.MediaTypeImageManifest, []byte(`{"artifactType":"` + artifact.TypeDisk + `"}`), true},
		"docker's":        {"application/vnd.docker.distribution.manifest.v2+json", []byte(`{}`), true},
		"no image":        {ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) { x.Manifests = nil }), false},
		"two images":      {ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) { x.Manifests = append(x.Manifests, x.Manifests[0]) }), false},
		"many entries":    {ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) { x.Manifests = append(make([]ocispec.Descriptor, 64), x.Manifests...) }), false},
		"schema version":  {ocispec.MediaTypeImageIndex, index(t, func(x *ocispec.Index) { x.SchemaVersion = 1 }), false},
		"not JSON":        {ocispec.MediaTypeImageIndex, []byte("{"), false},
		"deep":            {ocispec.MediaTypeImageIndex, []byte(strings.Repeat("[", 1000)), false},
		"manifest's type": {ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"mediaType":"x","artifactType":"` + artifact.TypeImage + `"}`), false},
	} {
		_, err := summarize(c.mediaType, c.raw)
		var format *artifact.FormatError
		if !errors.As(err, &format) || errors.Is(err, artifact.ErrNotImage) != c.foreign {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzSummarize(f *testing.F) {
	f.Add(index(f, nil), true)
	f.Add([]byte(`{"artifactType":"`+artifact.TypeImage+`"}`), false)
	f.Fuzz(func(t *testing.T, raw []byte, isIndex bool) {
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		if isIndex {
			d.MediaType = ocispec.MediaTypeImageIndex
		}
		s, err := artifact.Summarize(d, raw)
		if (s == nil) == (err == nil) {
			t.Errorf("%+v, %v", s, err)
		}
		if s == nil {
			return
		}
		if _, err := json.Marshal(s); err != nil {
			t.Error(err)
		}
		if s.Base != "" && s.Base.Validate() != nil || s.DiskSize < 0 || s.DiskSize > artifact.MaxDisk {
			t.Errorf("%+v", s)
		}
	})
}
