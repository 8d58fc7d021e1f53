package interop

import (
	"context"
	"errors"
	"io"
	"path"
	"reflect"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// BundleType is the artifact type of Sigstore bundles, in which cosign 3 keeps
// signatures and attestations.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// dockerLayer is the media type of layers that Tinkerbell's oci2disk writes.
const dockerLayer = "application/vnd.oci.image.layer.v1.tar"

var selfRules = []rule{
	{Self, "format", selfFormat},
	{Self, "complete", selfComplete},
	{Self, "ranges", selfRanges},
}

var orasRules = []rule{
	{ORAS, "platform", orasPlatform},
	{ORAS, "names", orasNames},
	{ORAS, "titles", orasTitles},
}

var otherRules = []rule{
	{Skopeo, "media-types", skopeoTypes},
	{Skopeo, "all", skopeoAll},
	{Podman, "platform", podmanPlatform},
	{Cosign, "digest", cosignDigest},
	{Cosign, "signatures", cosignSignatures},
	{Tinkerbell, "layer", tinkerbellLayer},
}

// selfFormat holds that it is an image of ours, as pull would.
func selfFormat(ctx context.Context, s *subject) (Verdict, string, error) {
	img, err := artifact.Load(ctx, s.from, s.top)
	var format *artifact.FormatError
	switch {
	case errors.Is(err, artifact.ErrNotImage):
		return note("is no image of esxi-img's: %v", err)
	case errors.As(err, &format), errors.Is(err, registry.ErrNotFound):
		return fails("%v", err)
	case err != nil:
		return "", "", err
	case img.Config.Variant():
		return ok("a variant, format %s", img.Config.Version)
	default:
		return ok("an image, format %s", img.Config.Version)
	}
}

// selfComplete holds that all that the manifests list is there.
func selfComplete(ctx context.Context, s *subject) (Verdict, string, error) {
	seen := map[digest.Digest]bool{}
	for i := range s.entries {
		e := &s.entries[i]
		if e.missing {
			return fails("%s is listed and not there", e.name())
		}
		if e.desc.MediaType != ocispec.MediaTypeImageManifest {
			continue
		}
		for _, d := range append([]ocispec.Descriptor{e.manifest.Config}, e.manifest.Layers...) {
			if seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			there, err := s.from.Exists(ctx, d)
			if errors.Is(err, registry.ErrMismatch) {
				return fails("%s has another size than it should", d.Digest)
			}
			if err != nil {
				return "", "", err
			}
			if !there {
				return fails("%s is listed and not there", d.Digest)
			}
		}
	}
	return ok("all blobs are there: %d", len(seen))
}

// selfRanges asks for a part of the largest layer.
func selfRanges(ctx context.Context, s *subject) (Verdict, string, error) {
	var largest ocispec.Descriptor
	for i := range s.entries {
		for _, l := range s.entries[i].manifest.Layers {
			if l.Size > largest.Size {
				largest = l
			}
		}
	}
	if !s.remote() || largest.Size < 2 {
		return skip()
	}
	r, err := s.from.FetchRange(ctx, largest, largest.Size/2, 1)
	switch {
	case errors.Is(err, registry.ErrRangeIgnored):
		return note("the registry ignores ranges: pull fetches all of the disk in one stream")
	case errors.Is(err, registry.ErrNotFound):
		return skip() // another rule says so
	case errors.Is(err, registry.ErrBadRange):
		return fails("the registry answers with other ranges than it is asked for: %v", err)
	case err != nil:
		return "", "", err
	}
	_, err = io.Copy(io.Discard, r)
	switch err = errors.Join(err, r.Close()); {
	case errors.Is(err, registry.ErrBadRange):
		return fails("the registry answers with other ranges than it is asked for: %v", err)
	case err != nil:
		return "", "", err
	default:
		return ok("the registry sends parts of blobs")
	}
}

// goArchitectures are those that an image of ESXi can have, in Go's names.
var goArchitectures = map[string]bool{"amd64": true, "arm64": true}

func orasPlatform(_ context.Context, s *subject) (Verdict, string, error) {
	if s.index == nil {
		return skip()
	}
	for i := range s.entries {
		e := &s.entries[i]
		switch p := e.desc.Platform; {
		case p == nil || p.OS == "" || p.Architecture == "":
			return fails("%s has no platform: oras pull --platform does not find it", e.name())
		case !goArchitectures[p.Architecture]:
			return fails("%s is for %q: oras pull --platform wants amd64 or arm64", e.name(), p.Architecture)
		}
	}
	return ok("every entry has a platform in Go's names")
}

// orasNames holds that no two descriptors have one title: oras pull of an
// index writes all layers into one folder, and stops with "duplicate name".
func orasNames(_ context.Context, s *subject) (Verdict, string, error) {
	names := map[string]ocispec.Descriptor{}
	for i := range s.entries {
		for _, l := range s.entries[i].manifest.Layers {
			title := l.Annotations[ocispec.AnnotationTitle]
			if title == "" {
				continue
			}
			if path.IsAbs(title) || strings.Contains(title, "..") {
				return fails("a layer is called %q, which leads out of the folder", title)
			}
			if have, twice := names[title]; twice && !reflect.DeepEqual(have, l) {
				return fails("two different layers are called %q: oras pull stops with \"duplicate name\"", title)
			}
			names[title] = l
		}
	}
	return ok("no two different layers have one name")
}

func orasTitles(_ context.Context, s *subject) (Verdict, string, error) {
	if s.variant() {
		return note("the disk is the base's and has no name: oras pull leaves it out, as it should")
	}
	for i := range s.entries {
		for n, l := range s.entries[i].manifest.Layers {
			if l.Annotations[ocispec.AnnotationTitle] == "" {
				return fails("layer %d of %s has no name: oras pull leaves it out", n, s.entries[i].name())
			}
		}
	}
	return ok("every layer has a name")
}

func skopeoTypes(_ context.Context, s *subject) (Verdict, string, error) {
	if s.index != nil && s.index.MediaType != ocispec.MediaTypeImageIndex {
		return fails("the index has no mediaType: it may be taken for something else")
	}
	for i := range s.entries {
		e := &s.entries[i]
		if e.desc.MediaType != ocispec.MediaTypeImageManifest || !e.missing && e.manifest.MediaType != e.desc.MediaType {
			return fails("%s is of the media type %q, and says %q of itself", e.name(), e.desc.MediaType, e.manifest.MediaType)
		}
	}
	return ok("index and manifests are of OCI's media types, and say so")
}

func skopeoAll(_ context.Context, s *subject) (Verdict, string, error) {
	if s.index == nil {
		return ok("one manifest is copied as it is")
	}
	return note("use skopeo copy --all, else it takes one manifest of the %d; signatures it leaves behind: esxi-img copy takes them along", len(s.entries))
}

// podmanPlatform holds that each entry has a platform: podman machine looks at
// it before it looks at disktype, and fails hard.
func podmanPlatform(_ context.Context, s *subject) (Verdict, string, error) {
	if s.index == nil {
		return skip()
	}
	for i := range s.entries {
		if s.entries[i].desc.Platform == nil {
			return fails("%s has no platform: podman machine crashes on it", s.entries[i].name())
		}
	}
	return ok("every entry has a platform")
}

func cosignDigest(_ context.Context, s *subject) (Verdict, string, error) {
	if a := s.top.Digest.Algorithm(); a != digest.SHA256 {
		return fails("the digest is a %s: signatures are about SHA-256", a)
	}
	return ok("the digest is a SHA-256")
}

func cosignSignatures(ctx context.Context, s *subject) (Verdict, string, error) {
	found, err := s.from.Referrers(ctx, s.top, BundleType)
	var limit *registry.LimitError
	if errors.As(err, &limit) {
		return fails("the list of referrers is too long: %v", err)
	}
	if err != nil {
		return "", "", err
	}
	switch len(found) {
	case 0:
		return note("no signature or attestation refers to it")
	case 1:
		return ok("one signature or attestation refers to it, which is not verified here")
	default:
		return ok("%d signatures and attestations refer to it, which are not verified here", len(found))
	}
}

// tinkerbellLayer is about Tinkerbell's oci2disk, which writes every layer of
// one media type that has a title, of every entry, to the disk.
func tinkerbellLayer(_ context.Context, s *subject) (Verdict, string, error) {
	layers := 0
	for i := range s.entries {
		for _, l := range s.entries[i].manifest.Layers {
			if l.MediaType == dockerLayer && l.Annotations[ocispec.AnnotationTitle] != "" {
				layers++
			}
		}
	}
	switch {
	case layers == 0:
		return fails("oci2disk writes layers of the type %s: push the disk under a tag of its own with that type", dockerLayer)
	case layers > 1:
		return fails("oci2disk writes every layer of the type %s to the disk, and there are %d", dockerLayer, layers)
	default:
		return ok("one layer is of the type that oci2disk writes")
	}
}
