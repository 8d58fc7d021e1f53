package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// PushOptions say how an image goes into a repository.
type PushOptions struct {
	// Tag is what the image is to be called, beside VERSION-BUILD.
	Tag string
	// Force lets Tag move to other content.
	Force bool
	// AllowSecrets publishes a kickstart whatever is in it.
	AllowSecrets bool
	// QCOW2 adds a disk manifest over the disk as a QCOW2 file, and so makes
	// another index. The image must lie in a layout, and be no variant.
	QCOW2 bool
	// BeforeTags, unless nil, is called when everything is there and no tag
	// names it yet: to sign it, say. Where it fails no tag is set.
	BeforeTags func(ctx context.Context, index ocispec.Descriptor) error
	Progress   progress.Reporter
}

// Pushed is what a push did.
type Pushed struct {
	Index    digest.Digest `json:"digest"`
	Manifest digest.Digest `json:"manifest"` // the image manifest's
	// QCOW2 is the digest of the disk manifest that PushOptions.QCOW2 asks for.
	QCOW2 digest.Digest `json:"qcow2,omitempty"`
	Tags  []PushedTag   `json:"tags"`
	// Of blobs and manifests, in bytes.
	Sent    int64 `json:"sent"`
	Mounted int64 `json:"mounted"` // from another repository
	Present int64 `json:"present"` // were there already
	// Findings are what kickstart.Secrets found that did not stop the push.
	Findings []kickstart.Finding `json:"-"`
}

// PushedTag is a tag of a pushed image.
type PushedTag struct {
	Tag string `json:"tag"`
	// Set says that the tag names the image now. A VERSION-BUILD tag never
	// moves: it may go on naming Digest.
	Set    bool          `json:"set"`
	Digest digest.Digest `json:"digest"`
}

// TagMoveError says that a tag names other content, and was not to be moved.
type TagMoveError struct {
	Ref  string // with the tag
	Have digest.Digest
	Want digest.Digest
}

func (e *TagMoveError) Error() string {
	return fmt.Sprintf("%s is %s, and would become %s", e.Ref, e.Have, e.Want)
}

// SecretsError says that a kickstart has what must not be published.
type SecretsError struct {
	Findings []kickstart.Finding // at least one
}

func (e *SecretsError) Error() string {
	f := e.Findings[0]
	s := fmt.Sprintf("kickstart:%d: %s", f.Line, f.Message)
	if more := len(e.Findings) - 1; more > 0 {
		s += fmt.Sprintf(" (and %d more)", more)
	}
	return s
}

// Push copies an image, named by its index, from a layout into a repository. It
// sends what is not there, the blobs in parallel and before what refers to
// them, each hashed again on its way; then it sets the tags. Errors are
// *FormatError for the image, *SecretsError, *TagMoveError, and those of
// package registry.
func Push(ctx context.Context, from *registry.Repository, d ocispec.Descriptor, to *registry.Repository, opts PushOptions) (*Pushed, error) {
	// 1. What is to be sent, and whether it is sound.
	img, err := Load(ctx, from, d)
	if err != nil {
		return nil, err
	}
	if img.Index == nil {
		return nil, malformed("manifest", "is not an index: name the tag, or the index's digest")
	}
	text, err := FetchBytes(ctx, from, img.Kickstart, MaxKickstart)
	if err != nil {
		return nil, err
	}
	if err := img.Config.CheckKickstart(text); err != nil {
		return nil, err
	}
	// 2. Whether it may be published.
	findings, err := checkSecrets(text, opts.AllowSecrets)
	if err != nil {
		return nil, err
	}
	findings = append(findings, img.Config.toldSecrets()...)
	// 3. Blobs, manifests, index, tags.
	t, err := transferOf(ctx, from, img)
	if err != nil {
		return nil, err
	}
	var other digest.Digest
	if opts.QCOW2 {
		if other, err = t.addQCOW2(ctx, from, img, opts.Progress); err != nil {
			return nil, err
		}
	}
	out, err := t.run(ctx, to, img, opts)
	if err != nil {
		return nil, err
	}
	out.QCOW2, out.Findings = other, findings
	return out, nil
}

// toldSecrets finds what the settings beside the kickstart give away.
func (c *Config) toldSecrets() []kickstart.Finding {
	told, err := imager.ParseHostSettings([]byte(c.Kickstart.Settings))
	if err != nil || !told.HasRootPassword() {
		return nil // no settings of ours, or none that tell
	}
	return []kickstart.Finding{{
		Severity: kickstart.Note, Rule: "secret-hash", Message: "the image tells its hosts a hashed root password",
		Reason: "it can be tried out by everybody who can pull the image", Cure: "Use one for each host, from its metadata",
	}}
}

// checkSecrets refuses what is, or looks like, a secret in plain text, and
// returns the other findings.
func checkSecrets(text []byte, allow bool) ([]kickstart.Finding, error) {
	var bad, rest []kickstart.Finding
	for _, f := range kickstart.Secrets(text) {
		if f.Severity == kickstart.Note || allow {
			rest = append(rest, f)
		} else {
			bad = append(bad, f)
		}
	}
	if len(bad) > 0 {
		return nil, &SecretsError{Findings: bad}
	}
	return rest, nil
}

// transferOf lists all that an image's index reaches in a repository.
func transferOf(ctx context.Context, from *registry.Repository, img *Image) (*transfer, error) {
	raw, err := FetchBytes(ctx, from, *img.Index, MaxManifest)
	if err != nil {
		return nil, err
	}
	t := &transfer{top: blob{*img.Index, raw}}
	for _, e := range img.Entries {
		if err := t.addManifest(ctx, from, e); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// addManifest adds an entry of the index and the blobs below it. Entries of
// other kinds than ours go along.
func (t *transfer) addManifest(ctx context.Context, from *registry.Repository, d ocispec.Descriptor) error {
	if d.MediaType != ocispec.MediaTypeImageManifest {
		return malformed("index", "entry %s has the media type %q", d.Digest, cut(d.MediaType))
	}
	raw, err := FetchBytes(ctx, from, d, MaxManifest)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := decode(raw, &m, "manifest"); err != nil {
		return err
	}
	if len(m.Layers) > MaxIndexEntries {
		return malformed("manifest", "%d layers are over the limit of %d", len(m.Layers), MaxIndexEntries)
	}
	t.manifests = append(t.manifests, blob{plain(d), raw})
	for _, b := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if b.Size < 0 || b.Size > MaxDisk {
			return malformed("manifest", "%s has a size of %d bytes", b.Digest, b.Size)
		}
		if _, err := parseDigest(b.Digest); err != nil {
			return malformed("manifest", "%w", err)
		}
		t.add(load{desc: plain(b), open: opener(from, plain(b))})
	}
	return nil
}

// opener opens a blob of a repository: as a file where it is one, so that an
// upload that broke can begin again.
func opener(from *registry.Repository, d ocispec.Descriptor) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		if path, ok := from.LocalPath(d); ok {
			return os.Open(path)
		}
		return from.Fetch(ctx, d)
	}
}

// plain is a descriptor without what a manifest says of it.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// checkTag refuses to move a tag, and says whether it names d already.
func checkTag(ctx context.Context, to *registry.Repository, tag string, d digest.Digest, force bool) (there bool, err error) {
	have, err := to.Resolve(ctx, tag)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case have.Digest == d:
		return true, nil
	case force:
		return false, nil
	default:
		return false, &TagMoveError{Ref: to.Reference().WithTag(tag).String(), Have: have.Digest, Want: d}
	}
}

// setTags gives the image its names.
func setTags(ctx context.Context, to *registry.Repository, top ocispec.Descriptor, img *Image, opts PushOptions) ([]PushedTag, error) {
	var tags []PushedTag
	if opts.Tag != "" {
		if err := setTag(ctx, to, top, opts.Tag, opts.Force); err != nil {
			return nil, err
		}
		tags = append(tags, PushedTag{opts.Tag, true, top.Digest})
	}
	release := img.Config.ESXi.Tag()
	// A variant is not what its release's tag names.
	if release == "" || release == opts.Tag || img.Config.Variant() {
		return tags, nil
	}
	tag, err := setReleaseTag(ctx, to, top, release)
	if err != nil {
		return nil, err
	}
	return append(tags, tag), nil
}

// setReleaseTag sets the tag of a release, unless it names something already.
func setReleaseTag(ctx context.Context, to *registry.Repository, top ocispec.Descriptor, release string) (PushedTag, error) {
	err := setTag(ctx, to, top, release, false)
	var other *TagMoveError
	switch {
	case errors.As(err, &other):
		return PushedTag{release, false, other.Have}, nil
	case err != nil:
		return PushedTag{}, err
	default:
		return PushedTag{release, true, top.Digest}, nil
	}
}

func setTag(ctx context.Context, to *registry.Repository, top ocispec.Descriptor, tag string, force bool) error {
	there, err := checkTag(ctx, to, tag, top.Digest, force)
	if err != nil || there {
		return err
	}
	return to.Tag(ctx, plain(top), tag)
}
