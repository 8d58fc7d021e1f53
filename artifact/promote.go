package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

const (
	// promoteTries is how often a tag is set that others set at the same time.
	promoteTries = 5
	// promoteSettle is how long after setting a tag it is looked at again:
	// another promoter that had looked before has set it by then.
	promoteSettle = 200 * time.Millisecond
)

// PromotionError says why a tag is not moved to what was to be promoted.
type PromotionError struct {
	Ref  string // with the tag
	Have digest.Digest
	Err  error
}

func (e *PromotionError) Error() string { return fmt.Sprintf("%s (%s) %v", e.Ref, e.Have, e.Err) }
func (e *PromotionError) Unwrap() error { return e.Err }

// Replaced is what a tag named before.
type Replaced struct {
	Digest  digest.Digest `json:"digest"`
	Version string        `json:"version,omitempty"` // VERSION-BUILD, of an image
}

// mover sets the tag of a copy, if that may be moved.
type mover struct {
	to   *registry.Repository
	desc ocispec.Descriptor
	opts *CopyOptions
	own  *Config // of what is promoted; nil for any other copy
}

// newMover finds out what a tag may be moved from.
func newMover(ctx context.Context, from *registry.Repository, d ocispec.Descriptor, to *registry.Repository, opts *CopyOptions) (*mover, error) {
	m := &mover{to: to, desc: d, opts: opts}
	if !opts.Promote {
		return m, nil
	}
	// Whoever pulls it there will ask the policy of that place.
	ref := to.Reference().WithTag(opts.Tag).String()
	if _, err := Verify(ctx, opts.Verifier, Subject{Ref: ref, Target: from, Descriptor: d}); err != nil {
		return nil, err
	}
	img, err := Load(ctx, from, d)
	if err != nil {
		return nil, err
	}
	if img.Index == nil {
		return nil, malformed("manifest", "is not an index: name the tag, or the index's digest")
	}
	m.own = img.Config
	return m, nil
}

// check refuses to move the tag from what it names, which it returns; nil is
// nothing.
func (m *mover) check(ctx context.Context) (*Replaced, error) {
	have, err := m.to.Resolve(ctx, m.opts.Tag)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	out := &Replaced{Digest: have.Digest}
	ref := m.to.Reference().WithTag(m.opts.Tag).String()
	switch {
	case have.Digest == m.desc.Digest, m.own == nil && m.opts.Force:
		return out, nil
	case m.own == nil:
		return nil, &TagMoveError{Ref: ref, Have: have.Digest, Want: m.desc.Digest}
	}
	img, err := Load(ctx, m.to, have)
	var format *FormatError
	switch {
	case err != nil && m.opts.Force:
		return out, nil // whatever it is
	case errors.As(err, &format), errors.Is(err, registry.ErrNotFound):
		return nil, &PromotionError{ref, have.Digest, fmt.Errorf("cannot be compared: %w", err)}
	case err != nil:
		return nil, err
	}
	out.Version = img.Config.ESXi.Tag()
	if m.opts.Force {
		return out, nil
	}
	if err := promotes(&img.Config.ESXi, &m.own.ESXi); err != nil {
		return nil, &PromotionError{ref, have.Digest, err}
	}
	return out, nil
}

// set sets the tag. What is promoted stays only if nobody promotes a later
// build meanwhile: a registry cannot set a tag on a condition, so the tag is
// looked at again when others that had looked before have set it.
func (m *mover) set(ctx context.Context) error {
	if m.own == nil || m.opts.Force {
		return setTag(ctx, m.to, m.desc, m.opts.Tag, m.opts.Force)
	}
	for range promoteTries {
		have, err := m.check(ctx)
		if err != nil || have != nil && have.Digest == m.desc.Digest {
			return err
		}
		if err := m.to.Tag(ctx, plain(m.desc), m.opts.Tag); err != nil {
			return err
		}
		if err := registry.Pause(ctx, promoteSettle); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: others keep moving the tag", m.to.Reference().WithTag(m.opts.Tag))
}

// promotes says why one release does not follow another: by version, and of
// the same version by build. The same build may have been made again.
func promotes(have, want *ESXi) error {
	if have.Architecture != want.Architecture {
		return fmt.Errorf("is for %s, and would become one for %s", have.Architecture, want.Architecture)
	}
	order, ok := compareReleases(have, want)
	switch {
	case !ok:
		return fmt.Errorf("is %s, and would become %s: which of them is later cannot be told", releaseText(have), releaseText(want))
	case order > 0:
		return fmt.Errorf("is %s, and would become %s, which is older", releaseText(have), releaseText(want))
	default:
		return nil
	}
}

func releaseText(e *ESXi) string {
	return cmp.Or(e.Version, "an unknown release") + " build " + cmp.Or(e.Build, "unknown")
}

// compareReleases compares versions and builds as numbers; false where one of
// them has none.
func compareReleases(a, b *ESXi) (int, bool) {
	x, okA := releaseNumbers(a)
	y, okB := releaseNumbers(b)
	if !okA || !okB {
		return 0, false
	}
	for i := range x {
		if c := cmp.Compare(x[i], y[i]); c != 0 {
			return c, true
		}
	}
	return 0, true
}

// releaseNumbers are the parts of a version, padded with zeros, and the build.
func releaseNumbers(e *ESXi) ([5]int64, bool) {
	var out [5]int64
	parts := strings.Split(e.Version, ".")
	if len(parts) > len(out)-1 {
		return out, false
	}
	numbers := map[int]string{len(out) - 1: e.Build}
	for i, p := range parts {
		numbers[i] = p
	}
	for i, text := range numbers {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return out, false
		}
		out[i] = n
	}
	return out, true
}
