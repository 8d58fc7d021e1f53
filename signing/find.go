package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Limits of what is looked at while a subject is verified.
const (
	// MaxBundle is the largest bundle, in bytes. A signature has some 10 KiB,
	// an SBOM of an installer some 300.
	MaxBundle = 4 << 20
	// maxReferrerManifest is the largest manifest around a bundle, in bytes.
	maxReferrerManifest = 64 << 10
	// MaxBundles is how many bundles of a subject are looked at. Whoever may
	// push to a repository can attach more of them than anybody wants to read.
	MaxBundles = 100
	// maxBundleBytes is how much of them is read in all, in bytes.
	maxBundleBytes = 64 << 20
)

// ErrNoSignature says that nothing was found that could be a signature.
var ErrNoSignature = errors.New("no signature")

var (
	// errNotBundle says that a referrer is something else than a bundle.
	errNotBundle = errors.New("holds no bundle")
	// errTooMuch says that so much was read already that this was left out.
	errTooMuch = fmt.Errorf("was not looked at: the others have %d MiB", maxBundleBytes>>20)
)

// candidate is a referrer that may hold a bundle.
type candidate struct {
	desc    ocispec.Descriptor
	claimed string // the predicate type that its annotation claims
	fetched bool
	bundle  *bundle.Bundle
	err     error
}

// search looks through what is attached to a subject.
type search struct {
	subject    artifact.Subject
	candidates []*candidate
	read       int64 // bytes of bundles
	now        func() time.Time
}

// newSearch lists what is attached to a subject.
func newSearch(ctx context.Context, s artifact.Subject, now func() time.Time) (*search, error) {
	if s.Target == nil {
		return nil, errors.New("signing: the subject lies nowhere")
	}
	// Some registries report the config's media type for the artifact type:
	// ask for all, and look.
	found, err := s.Target.Referrers(ctx, s.Descriptor, "")
	if err != nil {
		return nil, failed(ctx, fmt.Errorf("look for signatures: %w", err))
	}
	out := &search{subject: s, now: now}
	for _, d := range found {
		if d.ArtifactType == MediaTypeBundle || d.ArtifactType == ocispec.MediaTypeEmptyJSON || d.ArtifactType == "" {
			out.candidates = append(out.candidates, &candidate{desc: d, claimed: d.Annotations[annotationPredicate]})
		}
	}
	return out, nil
}

// failed tells what a registry or a file failed to do from what is wrong with
// what it sent: the one leaves the question open, the other is an answer.
func failed(ctx context.Context, err error) error {
	var (
		format *artifact.FormatError
		limit  *registry.LimitError
	)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &format), errors.As(err, &limit), errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrMismatch):
		return err
	default:
		return &artifact.UndecidedError{Err: err}
	}
}

// order lists the candidates, those first that say that they have the predicate
// type: that is a hint only.
func (s *search) order(predicateType string) []*candidate {
	rank := func(c *candidate) int {
		switch {
		case c.claimed == predicateType:
			return 0
		case c.claimed == "" && c.desc.ArtifactType == MediaTypeBundle:
			return 1
		case c.claimed == "":
			return 2
		default:
			return 3
		}
	}
	out := slices.Clone(s.candidates)
	slices.SortStableFunc(out, func(a, b *candidate) int { return rank(a) - rank(b) })
	return out
}

// fetch reads the bundle of a candidate, once, within the limits.
func (s *search) fetch(ctx context.Context, c *candidate) (*bundle.Bundle, error) {
	if !c.fetched {
		c.bundle, c.err = s.load(ctx, c.desc)
		c.fetched = !errors.Is(c.err, errTooMuch)
	}
	return c.bundle, c.err
}

func (s *search) load(ctx context.Context, d ocispec.Descriptor) (*bundle.Bundle, error) {
	if s.read >= maxBundleBytes {
		return nil, errTooMuch
	}
	raw, err := artifact.FetchBytes(ctx, s.subject.Target, d, maxReferrerManifest)
	if err != nil {
		return nil, failed(ctx, err)
	}
	s.read += int64(len(raw))
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("its manifest is not JSON: %w", err)
	}
	switch {
	case len(m.Layers) != 1 || m.Layers[0].MediaType != MediaTypeBundle:
		return nil, errNotBundle
	case m.Subject == nil || m.Subject.Digest != s.subject.Descriptor.Digest:
		return nil, errors.New("its manifest is about another subject")
	}
	data, err := artifact.FetchBytes(ctx, s.subject.Target, m.Layers[0], MaxBundle)
	if err != nil {
		return nil, failed(ctx, err)
	}
	s.read += int64(len(data))
	return parseBundle(data)
}

// Fate is what became of a bundle.
type Fate struct {
	Referrer ocispec.Descriptor
	Claimed  string // the predicate type that its annotation claims; may be empty
	// Signature is what the bundle says, if it counts.
	Signature *Signature
	// Reasons say why it does not: one of the bundle itself, or one for each
	// authority.
	Reasons []Reason
}

// Reason is why a bundle does not count for an authority.
type Reason struct {
	Authority string // empty where it is about the bundle itself
	Err       error
}

func (r Reason) String() string {
	text := oneLine(r.Err.Error())
	if r.Authority == "" {
		return text
	}
	return "not by " + r.Authority + ": " + text
}

// oneLine is what a library says, in a line and within bounds.
func oneLine(text string) string {
	const most = 500
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// find looks for statements of the predicate type that one of the authorities
// made and accept takes; one that counts is enough, those that don't count do
// no harm. With all, it looks at every bundle. Where none counts, the error is
// a *RefusedError, or an *artifact.UndecidedError.
func (s *search) find(ctx context.Context, predicateType string, authorities []*checker, accept func(*Signature) error, all bool) ([]Fate, error) {
	refused := &RefusedError{What: nameOf(predicateType)}
	var open error // what left a question open
	counts := false
	for _, c := range s.order(predicateType) {
		if len(refused.Fates) == MaxBundles {
			refused.More++
			continue
		}
		fate, err := s.one(ctx, c, predicateType, authorities, accept)
		var undecided *artifact.UndecidedError
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errNotBundle):
			continue
		case errors.Is(err, errTooMuch):
			refused.More++
			continue
		case errors.As(err, &undecided):
			open = err
		}
		refused.Fates = append(refused.Fates, fate)
		if fate.Signature != nil {
			if counts = true; !all {
				break
			}
		}
	}
	switch {
	case counts:
		return refused.Fates, nil
	case open != nil:
		return refused.Fates, open
	default:
		return refused.Fates, refused
	}
}

// one verifies a candidate on behalf of each authority until one takes it. The
// error is one of fetching; the fate tells the others.
func (s *search) one(ctx context.Context, c *candidate, predicateType string, authorities []*checker, accept func(*Signature) error) (Fate, error) {
	fate := Fate{Referrer: c.desc, Claimed: c.claimed}
	b, err := s.fetch(ctx, c)
	if err != nil {
		fate.Reasons = []Reason{{"", err}}
		return fate, err
	}
	for _, a := range authorities {
		sig, err := a.verifyBundle(b, s.subject.Descriptor.Digest, predicateType, s.now())
		if err == nil {
			sig.Referrer = c.desc
			err = accept(sig)
		}
		if err == nil {
			fate.Signature, fate.Reasons = sig, nil
			return fate, nil
		}
		fate.Reasons = append(fate.Reasons, Reason{a.name, err})
	}
	return fate, nil
}

// RefusedError says why none of the statements about a subject counts.
type RefusedError struct {
	What  string // "a signature", or what kind of attestation
	Fates []Fate // of the bundles that were looked at
	More  int    // how many were not
}

func (e *RefusedError) Error() string {
	const most = 4 // reasons
	if len(e.Fates) == 0 && e.More == 0 {
		_, what, _ := strings.Cut(e.What, " ")
		return "it has no " + what
	}
	var b strings.Builder
	if n := len(e.Fates) + e.More; n == 1 {
		fmt.Fprintf(&b, "its one bundle does not count as %s", e.What)
	} else {
		fmt.Fprintf(&b, "none of its %d bundles counts as %s", n, e.What)
	}
	said := 0
	for _, f := range e.Fates {
		for _, r := range f.Reasons {
			if said++; said <= most {
				fmt.Fprintf(&b, "; %s %s", shortDigest(f.Referrer.Digest), r)
			}
		}
	}
	if said > most {
		fmt.Fprintf(&b, "; and %d reasons more", said-most)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; %d were not looked at, the limits are %d bundles and %d MiB", e.More, MaxBundles, maxBundleBytes>>20)
	}
	return b.String()
}

// Unwrap returns the reasons, and ErrNoSignature where there was nothing.
func (e *RefusedError) Unwrap() []error {
	if len(e.Fates) == 0 {
		return []error{ErrNoSignature}
	}
	var out []error
	for _, f := range e.Fates {
		for _, r := range f.Reasons {
			out = append(out, r.Err)
		}
	}
	return out
}

func nameOf(predicateType string) string {
	if predicateType == PredicateSignature {
		return "a signature"
	}
	return "an attestation of the type " + predicateType
}

func shortDigest(d digest.Digest) string {
	const digits = 12
	if e := d.Encoded(); len(e) > digits {
		return e[:digits]
	}
	return d.String()
}
