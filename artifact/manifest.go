package artifact

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// blob is a small blob or manifest with its descriptor.
type blob struct {
	ocispec.Descriptor
	data []byte
}

func newBlob(mediaType string, data []byte) blob {
	return blob{ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data}
}

// encode makes a manifest's bytes. Maps are written in order of their keys, so
// the same manifest gives the same bytes.
func encode(mediaType string, v any) (blob, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return blob{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	if len(data) > MaxManifest {
		return blob{}, malformed("manifest", "%d bytes are over the limit of %d", len(data), MaxManifest)
	}
	return newBlob(mediaType, data), nil
}

// layers are the three blobs of an image manifest, in order.
type layers struct{ disk, module, kickstart ocispec.Descriptor }

// titled returns a descriptor with a title.
func titled(d ocispec.Descriptor, title string) ocispec.Descriptor {
	d.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	return d
}

// imageManifest makes the image manifest of a config.
func imageManifest(c *Config, config blob, l layers) (blob, error) {
	kind := TypeImage
	if c.Variant() {
		kind = TypeVariant
	}
	return encode(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: kind,
		Config:       config.Descriptor,
		Layers:       []ocispec.Descriptor{l.disk, l.module, l.kickstart},
		Annotations:  withDiskType(annotations(c), DiskTypeImage),
	})
}

// diskManifest makes the manifest over the disk alone, in one format or another.
func diskManifest(c *Config, disk ocispec.Descriptor, diskType string) (blob, error) {
	return encode(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: TypeDisk,
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       []ocispec.Descriptor{disk},
		Annotations:  withDiskType(annotations(c), diskType),
	})
}

// index makes the index of an image's manifests.
func index(c *Config, entries ...ocispec.Descriptor) (blob, error) {
	a := annotations(c)
	if c.Base != nil {
		a[ocispec.AnnotationBaseImageDigest] = string(cmp.Or(c.Base.Index, c.Base.Manifest))
	}
	return encode(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageIndex,
		ArtifactType: TypeIndex,
		Manifests:    entries,
		Annotations:  a,
	})
}

// entry is what an index says of a manifest.
func entry(c *Config, manifest ocispec.Descriptor, artifactType, diskType string) ocispec.Descriptor {
	manifest.ArtifactType = artifactType
	manifest.Annotations = withDiskType(nil, diskType)
	manifest.Platform = &ocispec.Platform{OS: PlatformOS, Architecture: c.ESXi.Architecture}
	return manifest
}

func withDiskType(a map[string]string, diskType string) map[string]string {
	if a == nil {
		a = map[string]string{}
	}
	a[AnnotationDiskType] = diskType
	return a
}

// annotations say what an image is to whoever fetched no config.
func annotations(c *Config) map[string]string {
	a := map[string]string{
		ocispec.AnnotationTitle:   title(&c.ESXi),
		ocispec.AnnotationCreated: c.Disk.Time.Format("2006-01-02T15:04:05Z07:00"),
		AnnotationDiskSize:        strconv.FormatInt(c.Disk.Size, 10),
	}
	for key, value := range map[string]string{
		ocispec.AnnotationVersion: c.ESXi.Tag(),
		AnnotationRelease:         c.ESXi.Version,
		AnnotationUpdate:          c.ESXi.Update,
		AnnotationBuild:           c.ESXi.Build,
		AnnotationProfile:         c.ESXi.Profile,
	} {
		if value != "" {
			a[key] = value
		}
	}
	return a
}

// title is what people call the release.
func title(e *ESXi) string {
	s := "VMware ESXi"
	if e.Version != "" {
		s += " " + e.Version
	}
	if e.Update != "" {
		s += " " + e.Update
	}
	if e.Build != "" {
		s += " build " + e.Build
	}
	return s
}

// notInTag is what a tag cannot have (distribution-spec 1.1, "Pulling
// manifests"), and what is better not in a file name.
var notInTag = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// Tag is VERSION-BUILD, which names an image's release in a repository; empty
// where the release is not known.
func (e *ESXi) Tag() string {
	version := strings.Trim(notInTag.ReplaceAllString(e.Version, "_"), ".-")
	build := strings.Trim(notInTag.ReplaceAllString(e.Build, "_"), ".-")
	const most = 60 // of either: a tag has at most 128 characters
	if version == "" || build == "" || len(version) > most || len(build) > most {
		return ""
	}
	return version + "-" + build
}

// diskTitle is the name under which tools store the disk.
func diskTitle(e *ESXi, suffix string) string {
	if tag := e.Tag(); tag != "" {
		return "esxi-" + tag + suffix
	}
	return "esxi" + suffix
}
