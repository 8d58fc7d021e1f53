package artifact

import (
	"bytes"
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// CopyOptions say how something is copied.
type CopyOptions struct {
	// Tag is what the copy is to be called.
	Tag string
	// Force lets Tag move to other content.
	Force bool
	// Promote lets Tag move from an image to one of the same build or a later
	// one. What is copied has to be an image that Verifier accepts in both places.
	Promote bool
	// DryRun copies nothing, and tells what would be.
	DryRun bool
	// AllowSecrets publishes kickstarts whatever is in them.
	AllowSecrets bool
	// Verifier decides whether it may be copied; it must be given.
	Verifier Verifier
	Progress progress.Reporter
}

// Copied is what a copy did.
type Copied struct {
	Digest       digest.Digest `json:"digest"`
	Verification *Verification `json:"verification"`
	Tags         []PushedTag   `json:"tags"`
	// Replaced is what CopyOptions.Tag named before, nil for nothing.
	Replaced *Replaced `json:"replaced,omitempty"`
	// DryRun says that nothing was done: all else is what would be. Sent may be
	// mounted then.
	DryRun bool `json:"dryRun,omitempty"`
	// Manifests are what the digest reaches, itself included, Referrers what
	// refers to any of them: signatures and attestations.
	Manifests int             `json:"manifests"`
	Referrers []ReferrerCount `json:"referrers"`
	// Missing are referrers that are listed where they were to be copied from,
	// and not there.
	Missing []digest.Digest `json:"missing,omitempty"`
	// Of blobs and manifests, in bytes.
	Sent    int64 `json:"sent"`
	Mounted int64 `json:"mounted"` // from another repository
	Present int64 `json:"present"` // were there already
	// Findings are what kickstart.Secrets found that did not stop the copy.
	Findings []kickstart.Finding `json:"-"`
}

// Copy copies a manifest or an index, whatever it is of, with all that it
// reaches and all that refers to any of that. Bytes, and so digests, stay what
// they are, and are checked on the way. What is there is not sent again.
// Nothing is sent before it was verified.
//
// The tag is set last: who finds it finds the signatures. The tag of the
// release goes along, unless it names another image here or there.
func Copy(ctx context.Context, from *registry.Repository, d ocispec.Descriptor, to *registry.Repository, opts CopyOptions) (*Copied, error) {
	// 1. Whether the policy lets it pass, and the tag is free.
	verified, err := Verify(ctx, opts.Verifier, Subject{Ref: from.Reference().String(), Target: from, Descriptor: d})
	if err != nil {
		return nil, err
	}
	tag, err := newMover(ctx, from, d, to, &opts)
	if err != nil {
		return nil, err
	}
	replaced, err := tag.check(ctx)
	if err != nil {
		return nil, err
	}
	// 2. What belongs to it.
	mountFrom := ""
	if from.Reference().SameRegistry(to.Reference()) {
		mountFrom = from.Reference().Repository
	}
	g, err := graphOf(ctx, from, d, mountFrom)
	if err != nil {
		return nil, err
	}
	// 3. Whether it may be published: what goes to a folder or file is not.
	out := &Copied{Digest: d.Digest, Verification: verified, Missing: g.missing, DryRun: opts.DryRun}
	if replaced != nil && replaced.Digest != d.Digest {
		out.Replaced = replaced
	}
	if to.Reference().Scheme == "" {
		if out.Findings, err = g.checkSecrets(ctx, opts.AllowSecrets); err != nil {
			return nil, err
		}
	}
	release, err := releaseTag(ctx, from, d)
	if err != nil {
		return nil, err
	}
	if opts.DryRun {
		return out, out.estimate(ctx, g, to, opts.Tag, release)
	}
	// 4. Blobs, then manifests, each after what it lists or refers to.
	var count Pushed
	t := transfer{loads: g.loads, phase: "copy to "}
	if err := t.sendBlobs(ctx, to, opts.Progress, &count); err != nil {
		return nil, err
	}
	if err := g.sendManifests(ctx, to, out, &count); err != nil {
		return nil, err
	}
	out.Sent, out.Mounted, out.Present = count.Sent, count.Mounted, count.Present
	// 5. The names.
	if err := tag.set(ctx); err != nil {
		return nil, err
	}
	out.Tags = []PushedTag{{opts.Tag, true, d.Digest}}
	if release != "" && release != opts.Tag {
		tag, err := setReleaseTag(ctx, to, d, release)
		if err != nil {
			return nil, err
		}
		out.Tags = append(out.Tags, tag)
	}
	return out, to.Commit(ctx)
}

// estimate tells what a copy would do.
func (c *Copied) estimate(ctx context.Context, g *graph, to *registry.Repository, tag, release string) error {
	var referrers []string
	count := func(d ocispec.Descriptor) error {
		there, err := to.Exists(ctx, d)
		if there {
			c.Present += d.Size
		} else {
			c.Sent += d.Size
		}
		return err
	}
	for _, n := range g.nodes {
		if n.subject == nil {
			c.Manifests++
		} else {
			referrers = append(referrers, n.artifactType)
		}
		if err := count(n.Descriptor); err != nil {
			return err
		}
	}
	for _, l := range g.loads {
		if err := count(l.desc); err != nil {
			return err
		}
	}
	c.Referrers = countTypes(referrers)
	c.Tags = []PushedTag{{tag, true, c.Digest}}
	if release == "" || release == tag {
		return nil
	}
	have, err := to.Resolve(ctx, release)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		have.Digest = c.Digest
	case err != nil:
		return err
	}
	c.Tags = append(c.Tags, PushedTag{release, have.Digest == c.Digest, have.Digest})
	return nil
}

// checkSecrets looks into every kickstart.
func (g *graph) checkSecrets(ctx context.Context, allow bool) ([]kickstart.Finding, error) {
	var findings []kickstart.Finding
	for _, l := range g.loads {
		if l.desc.MediaType != MediaTypeKickstart {
			continue
		}
		text, err := g.from.FetchBytes(ctx, l.desc, MaxKickstart)
		if err != nil {
			return nil, err
		}
		found, err := checkSecrets(text, allow)
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// sendManifests sends what is missing, in order, and counts.
func (g *graph) sendManifests(ctx context.Context, to *registry.Repository, out *Copied, count *Pushed) error {
	listed := map[digest.Digest][]ocispec.Descriptor{}
	var referrers []string
	for _, n := range g.nodes {
		there, err := to.Exists(ctx, n.Descriptor)
		if err != nil {
			return err
		}
		if n.subject == nil {
			out.Manifests++
		} else {
			referrers = append(referrers, n.artifactType)
			if there {
				there, err = isListed(ctx, to, n, listed)
			}
		}
		switch {
		case err != nil:
			return err
		case there:
			count.Present += n.Size
			continue
		}
		count.Sent += n.Size
		if err := to.Push(ctx, n.Descriptor, bytes.NewReader(n.data)); err != nil {
			return err
		}
	}
	out.Referrers = countTypes(referrers)
	return nil
}

// isListed says whether a referrer that is there is found as one. It is not
// where an earlier copy ended between the two.
func isListed(ctx context.Context, to *registry.Repository, n node, known map[digest.Digest][]ocispec.Descriptor) (bool, error) {
	if to.Reference().Scheme == registry.SchemeArchive {
		return true, nil // is written in one go, and cannot be asked yet
	}
	list, ok := known[n.subject.Digest]
	if !ok {
		var err error
		if list, err = to.Referrers(ctx, *n.subject, ""); err != nil {
			return false, err
		}
		known[n.subject.Digest] = list
	}
	for _, d := range list {
		if d.Digest == n.Digest {
			return true, nil
		}
	}
	return false, nil
}

// releaseTag is the tag VERSION-BUILD of an image; empty for what is none, and
// where it names another image in the same repository.
func releaseTag(ctx context.Context, from *registry.Repository, d ocispec.Descriptor) (string, error) {
	img, err := Load(ctx, from, d)
	var format *FormatError
	switch {
	case errors.As(err, &format):
		return "", nil
	case err != nil:
		return "", err
	case img.Index == nil || img.Config.Variant() || img.Config.ESXi.Tag() == "":
		return "", nil
	}
	tag := img.Config.ESXi.Tag()
	have, err := from.Resolve(ctx, tag)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return tag, nil
	case err != nil:
		return "", err
	case have.Digest != d.Digest:
		return "", nil
	default:
		return tag, nil
	}
}
