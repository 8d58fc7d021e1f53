package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// stale is for how long what is known of the tags is acted upon: others may
// move them, and no registry deletes on a condition.
var stale = 5 * time.Second // a variable for tests

// maxAlong bounds what goes along with one image.
const maxAlong = 10_000

// Prune removes the images of a repository that are older than those to keep,
// with what is attached to them. It never removes what a tag that stays needs:
// what it names, what that lists or refers to, and what a variant is one of.
//
// Before each image is removed the tags are looked at again, unless that was a
// moment ago, and an image that something needs by now stays. Where it fails
// half-way, images are gone or whole, and what was done is returned with the
// error. The caller tidies a layout up, with registry.Layout.GC.
func Prune(ctx context.Context, repo *registry.Repository, opts PruneOptions) (*Pruned, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	p := &pruner{repo: repo, opts: &opts, reader: newReader(repo, opts.Concurrency), gone: map[digest.Digest]bool{}}
	// 1. What there is, and what of it goes.
	if err := p.look(ctx); err != nil {
		return nil, err
	}
	out := p.report()
	// 2. What goes with each.
	for i := range out.Images {
		f := &out.Images[i]
		if !f.Remove || repo.Reference().Scheme != "" {
			continue
		}
		along, err := p.along(ctx, p.reader.known[f.Digest].desc)
		if err != nil {
			return out, err
		}
		for _, m := range along {
			f.Manifests = append(f.Manifests, m.Digest)
		}
	}
	if opts.DryRun {
		return out, nil
	}
	// 3. One image after the other.
	for i := range out.Images {
		f := &out.Images[i]
		if !f.Remove {
			continue
		}
		err := p.remove(ctx, f)
		if f.Removed {
			out.Removed++
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", repo.Reference().WithDigest(f.Digest), err)
		}
	}
	out.Notes = p.notes
	return out, nil
}

// pruner is a repository that is being pruned.
type pruner struct {
	repo   *registry.Repository
	opts   *PruneOptions
	reader *reader

	now    *decisions
	looked time.Time
	took   time.Duration

	tagsOnly bool // the place removes tags, and no manifests
	gone     map[digest.Digest]bool
	notes    []string
}

// look decides by what the tags name now.
func (p *pruner) look(ctx context.Context) error {
	began := time.Now()
	s, err := p.reader.read(ctx)
	if err != nil {
		return err
	}
	p.now, p.looked, p.took = s.decide(p.opts), time.Now(), time.Since(began)
	return nil
}

// lookAgain is look, unless that was a moment ago. Where it takes long itself it
// is not done all the time.
func (p *pruner) lookAgain(ctx context.Context) error {
	if time.Since(p.looked) < max(stale, p.took) {
		return nil
	}
	return p.look(ctx)
}

// report tells what was decided.
func (p *pruner) report() *Pruned {
	out := &Pruned{Repository: text(p.repo.Reference().Locator()), DryRun: p.opts.DryRun, Images: []Fate{}}
	for _, img := range p.now.images {
		f := Fate{
			Digest: img.desc.Digest, Release: img.release, Build: img.build, Variant: img.variant,
			Remove: img.remove, Reason: text(img.reason),
		}
		for _, tag := range img.tags {
			f.Tags = append(f.Tags, text(tag)) // a layout's may be anything
		}
		out.Images = append(out.Images, f)
	}
	for tag, d := range p.now.state.tags {
		if m := p.now.state.manifests[d]; !m.ours && !attachedTag.MatchString(tag) {
			out.Foreign++
		}
	}
	return out
}

// remove removes an image, if nothing needs it by now: first its index, so that
// nothing that is half there can be pulled, then what it listed and what is
// attached to that.
func (p *pruner) remove(ctx context.Context, f *Fate) error {
	if err := p.lookAgain(ctx); err != nil {
		return err
	}
	img := p.now.byDigest[f.Digest]
	switch {
	case img == nil:
		f.Remove, f.Reason = false, "others have removed its tags meanwhile"
		return nil
	case !img.remove:
		f.Remove, f.Reason = false, text("meanwhile: "+img.reason)
		return nil
	}
	moved, err := p.hasMoved(ctx, img)
	if err != nil {
		return err
	}
	if moved != "" {
		f.Remove, f.Reason = false, text("the tag "+moved+" was moved meanwhile: others are at work on it")
		return nil
	}
	var along []ocispec.Descriptor
	if p.repo.Reference().Scheme == "" {
		if along, err = p.along(ctx, img.desc); err != nil {
			return err
		}
	}
	if err := p.removeTop(ctx, img, f); err != nil {
		return err
	}
	p.gone[img.desc.Digest] = true
	if p.tagsOnly {
		return p.removeAttachedTags(ctx, []digest.Digest{img.desc.Digest})
	}
	subjects := []digest.Digest{img.desc.Digest}
	for _, m := range along {
		if m.Digest == img.desc.Digest {
			continue
		}
		if err := p.repo.Delete(ctx, m); err != nil && !errors.Is(err, registry.ErrNotFound) {
			return fmt.Errorf("the image is gone, but what belonged to it is not: %w", err)
		}
		p.gone[m.Digest] = true
		subjects = append(subjects, m.Digest)
	}
	return p.removeAttachedTags(ctx, subjects)
}

// hasMoved says which of an image's tags names something else by now.
func (p *pruner) hasMoved(ctx context.Context, img *image) (string, error) {
	for _, tag := range img.tags {
		d, err := p.reader.named(ctx, tag)
		if err != nil {
			return "", err
		}
		if d != "" && d != img.desc.Digest {
			return tag, nil
		}
	}
	return "", nil
}

// removeTop removes what an image's tags name, and the tags. By digest first: a
// tag that somebody moves in this moment is not removed then.
func (p *pruner) removeTop(ctx context.Context, img *image, f *Fate) error {
	if !p.tagsOnly {
		err := p.repo.Delete(ctx, img.desc)
		switch {
		case errors.Is(err, registry.ErrNoDelete):
			p.tagsOnly = true
		case err != nil && !errors.Is(err, registry.ErrNotFound):
			return err
		default:
			f.Removed = true
		}
	}
	for _, tag := range img.tags {
		err := p.untag(ctx, tag, img.desc.Digest)
		switch {
		case errors.Is(err, registry.ErrNoDelete) && p.tagsOnly:
			return fmt.Errorf("%w: %w", ErrNothingDeletes, err)
		case errors.Is(err, registry.ErrNoDelete):
			p.notes = append(p.notes, text("the tag "+tag+" is left, and names nothing: the registry does not remove tags"))
		case err != nil && f.Removed:
			return fmt.Errorf("the image is gone, but the tag %s is not: %w", tag, err)
		case err != nil:
			return err
		}
	}
	f.Removed, f.TagsOnly = true, p.tagsOnly
	return nil
}

// untag removes a tag if it still names that, or nothing. Most registries have
// taken it along with the manifest.
func (p *pruner) untag(ctx context.Context, tag string, was digest.Digest) error {
	d, err := p.repo.Look(ctx, tag)
	if errors.Is(err, registry.ErrUntold) {
		d, err = p.reader.named(ctx, tag)
	}
	there := err == nil && d != ""
	switch {
	case err != nil && !errors.Is(err, registry.ErrNotFound):
		return err
	case there && d != was:
		return nil
	}
	err = p.repo.Untag(ctx, tag)
	if errors.Is(err, registry.ErrNotFound) || !there && !p.listed(ctx, tag) {
		return nil
	}
	return err
}

// listed says whether a tag is there that names nothing. A list that fails is
// none.
func (p *pruner) listed(ctx context.Context, tag string) bool {
	for have, err := range p.repo.Tags(ctx) {
		if err != nil {
			return false
		}
		if have == tag {
			return true
		}
	}
	return false
}

// removeAttachedTags removes the tags that hold what was attached to manifests
// that are gone: lists of referrers, and signatures as cosign 2 stores them.
func (p *pruner) removeAttachedTags(ctx context.Context, subjects []digest.Digest) error {
	for _, tag := range p.now.state.sortedTags() {
		if !attachedTag.MatchString(tag) || !slices.Contains(subjects, subjectOfTag(tag)) {
			continue
		}
		d := p.now.state.tags[tag]
		m := p.now.state.manifests[d]
		if p.now.needed[d] == "" && !p.tagsOnly && !p.shared(tag) {
			if err := p.repo.Delete(ctx, m.desc); err != nil && !errors.Is(err, registry.ErrNotFound) {
				return fmt.Errorf("the image is gone, but the tag %s is not: %w", tag, err)
			}
		}
		if err := p.untag(ctx, tag, d); err != nil && !errors.Is(err, registry.ErrNoDelete) {
			return fmt.Errorf("the image is gone, but the tag %s is not: %w", tag, err)
		}
	}
	return nil
}

// shared says whether another tag names the same: two empty lists are one.
func (p *pruner) shared(tag string) bool {
	for other, d := range p.now.state.tags {
		if other != tag && d == p.now.state.tags[tag] && !p.gone[subjectOfTag(other)] {
			return true
		}
	}
	return false
}

// along lists the manifests that go with an image, itself first: those that it
// lists and that are ours, and what refers to any of them. What something that
// stays needs is not among them.
func (p *pruner) along(ctx context.Context, top ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	out := []ocispec.Descriptor{top}
	seen := map[digest.Digest]bool{top.Digest: true}
	add := func(d ocispec.Descriptor) error {
		if seen[d.Digest] || p.now.needed[d.Digest] != "" || p.gone[d.Digest] {
			return nil
		}
		if len(out) == maxAlong {
			return &registry.LimitError{What: "number of manifests of " + string(top.Digest), Limit: maxAlong}
		}
		seen[d.Digest] = true
		out = append(out, d)
		return nil
	}
	for _, c := range p.reader.have(top.Digest).children {
		m, err := p.reader.fetch(ctx, c)
		if err != nil {
			return nil, err
		}
		if m.kind != artifact.TypeImage && m.kind != artifact.TypeVariant && m.kind != artifact.TypeDisk {
			continue // somebody else's: it may be listed elsewhere
		}
		if err := add(m.desc); err != nil {
			return nil, err
		}
	}
	for i := 0; i < len(out); i++ { // it grows
		referrers, err := p.repo.Referrers(ctx, out[i], "")
		if err != nil {
			return nil, err
		}
		for _, r := range referrers {
			m, err := p.reader.fetch(ctx, r)
			if err != nil {
				return nil, err
			}
			// What a list of referrers says is not true until the manifest says so.
			if m.subject != out[i].Digest {
				continue
			}
			if err := add(m.desc); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
