package signing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Subjects are the manifests of an image that a signature is made for.
type Subjects struct {
	// Image is what they belong to.
	Image *artifact.Image
	// Statements are those to sign: for the index and each manifest in it, or
	// for the one manifest that was named.
	Statements []Statement
	// Unchecked are manifests among them whose disk is not the image's byte for
	// byte, but is said to be the same in another format.
	Unchecked []digest.Digest
}

// FindSubjects reads an image and says what is to be signed, after it has held
// that there is one truth: config, layers and kickstart agree, and each disk
// manifest has the image's disk. repository is host/path of where the image is
// going to be pulled from, for the claims; "" claims none. Errors are a
// *artifact.FormatError, or those of package registry.
func FindSubjects(ctx context.Context, from artifact.Fetcher, d ocispec.Descriptor, repository string) (*Subjects, error) {
	img, err := artifact.Load(ctx, from, d)
	if err != nil {
		return nil, err
	}
	text, err := artifact.FetchBytes(ctx, from, img.Kickstart, artifact.MaxKickstart)
	if err != nil {
		return nil, err
	}
	if err := img.Config.CheckKickstart(text); err != nil {
		return nil, err
	}
	s := &Subjects{Image: img}
	s.add(img, d, repository)
	if img.Index == nil {
		return s, nil
	}
	for _, e := range img.Entries {
		if s.has(e.Digest) {
			continue
		}
		if e.Digest != img.Manifest.Digest {
			if err := s.checkEntry(ctx, from, e); err != nil {
				return nil, err
			}
		}
		s.add(img, e, repository)
	}
	return s, nil
}

func (s *Subjects) add(img *artifact.Image, d ocispec.Descriptor, repository string) {
	s.Statements = append(s.Statements, Statement{
		Subject:       ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
		Claims:        Claims{Repository: repository, Version: img.Config.ESXi.Version, Build: img.Config.ESXi.Build, Role: roleOf(d)},
		PredicateType: PredicateSignature,
	})
}

func (s *Subjects) has(d digest.Digest) bool {
	return slices.ContainsFunc(s.Statements, func(st Statement) bool { return st.Subject.Digest == d })
}

// checkEntry holds that a manifest beside the image's is a disk manifest over
// the same disk: whoever signs an index stands for all of it.
func (s *Subjects) checkEntry(ctx context.Context, from artifact.Fetcher, e ocispec.Descriptor) error {
	refuse := func(format string, args ...any) error {
		return &artifact.FormatError{What: "index", Err: fmt.Errorf("entry %s: "+format, append([]any{e.Digest}, args...)...)}
	}
	if e.MediaType != ocispec.MediaTypeImageManifest {
		return refuse("has the media type %q", short(e.MediaType))
	}
	raw, err := artifact.FetchBytes(ctx, from, e, artifact.MaxManifest)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return refuse("is not JSON: %w", err)
	}
	disk := s.Image.Disk
	switch {
	case m.ArtifactType != artifact.TypeDisk || len(m.Layers) != 1:
		return refuse("is not a disk manifest, so that nobody can tell whether it belongs to the image")
	case s.Image.Config.Variant():
		return refuse("a variant has no disk manifest")
	case m.Annotations[artifact.AnnotationDiskType] != artifact.DiskTypeRaw:
		s.Unchecked = append(s.Unchecked, e.Digest)
	case m.Layers[0].Digest != disk.Digest || m.Layers[0].Size != disk.Size || m.Layers[0].MediaType != disk.MediaType:
		return refuse("has the disk %s, and the image has %s", m.Layers[0].Digest, disk.Digest)
	}
	return nil
}

// Base names what a variant was made from, by its index or its manifest; "" for
// any other image. Whoever signs a variant stands for the base's disk, so the
// base is to be verified first.
func (s *Subjects) Base() digest.Digest {
	b := s.Image.Config.Base
	if b == nil {
		return ""
	}
	if b.Index != "" {
		return b.Index
	}
	return b.Manifest
}

// CheckBase holds that the image of d, which Base names and somebody verified,
// is what the variant says that it builds on. Errors are as for FindSubjects.
func (s *Subjects) CheckBase(ctx context.Context, from artifact.Fetcher, d ocispec.Descriptor) error {
	if d.Digest != s.Base() {
		return &artifact.FormatError{What: "config: base", Err: fmt.Errorf("is %s, not %s", s.Base(), d.Digest)}
	}
	base, err := artifact.Load(ctx, from, d)
	if err != nil {
		return err
	}
	says := s.Image.Config.Base
	if base.Manifest.Digest != says.Manifest || base.Disk.Digest != says.Disk || base.Disk.Size != says.DiskSize {
		return &artifact.FormatError{What: "config: base", Err: fmt.Errorf("has the manifest %s and the disk %s, but %s has %s and %s",
			says.Manifest, says.Disk, d.Digest, base.Manifest.Digest, base.Disk.Digest)}
	}
	return nil
}

// kindAnnotation of an entry in a layout's index.json tells cosign (verify
// --local-image) which image the layout is about. It knows one for each layout.
const (
	kindAnnotation = "kind"
	kindImage      = "dev.cosignproject.cosign/image"
)

// MarkForCosign makes what was signed in a layout the image that cosign takes
// it to be about.
func MarkForCosign(ctx context.Context, l *registry.Layout, subject digest.Digest) error {
	return l.Mark(ctx, subject, kindAnnotation, kindImage)
}
