package signing

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
)

// Rule is what has to be true of an image: signatures of one of the
// authorities, and what they have to say.
type Rule struct {
	// Name tells where the rule comes from: flags, or a policy file's scope.
	Name  string
	AnyOf []Authority
	// Attestations are predicate types of which there has to be an attestation
	// by one of AnyOf.
	Attestations []string
	Match        Match
}

// Verifier decides by a rule. NewVerifier makes one.
type Verifier struct {
	rule     Rule
	checkers []*checker
	now      func() time.Time
}

var _ artifact.Verifier = (*Verifier)(nil)

// NewVerifier prepares a rule. trust is the trust root of the authorities that
// have none of their own; it may be nil where none needs one: for keys without
// log and time stamp. Without an authority there is no verifier.
func NewVerifier(rule Rule, trust Trust) (*Verifier, error) {
	if len(rule.AnyOf) == 0 {
		return nil, errors.New("signing: a rule without authorities trusts nobody")
	}
	v := &Verifier{rule: rule, now: time.Now}
	for i := range rule.AnyOf {
		c, err := newChecker(&rule.AnyOf[i], trust)
		if err != nil {
			return nil, err
		}
		v.checkers = append(v.checkers, c)
	}
	return v, nil
}

// Verify implements artifact.Verifier: it stops at the first signature that
// counts.
func (v *Verifier) Verify(ctx context.Context, s artifact.Subject) (*artifact.Verification, error) {
	e, err := v.examine(ctx, s, false)
	if err != nil {
		return nil, err
	}
	return e.Verification, nil
}

// Examination is what became of all that is attached to a subject.
type Examination struct {
	// Verification is nil where the subject was refused.
	Verification *artifact.Verification
	// Fates are those of the bundles, asked whether they are signatures.
	Fates []Fate
	// Attestations are the fates where the policy asks for attestations, by
	// predicate type.
	Attestations map[string][]Fate
}

// Examine verifies as Verify does, but looks at every bundle. What it found it
// returns with an error too.
func (v *Verifier) Examine(ctx context.Context, s artifact.Subject) (*Examination, error) {
	return v.examine(ctx, s, true)
}

func (v *Verifier) examine(ctx context.Context, s artifact.Subject, all bool) (*Examination, error) {
	e := &Examination{}
	look, err := newSearch(ctx, s, v.now)
	if err != nil {
		return e, err
	}
	e.Fates, err = look.find(ctx, PredicateSignature, v.checkers, v.accept(s, true), all)
	if err != nil {
		return e, err
	}
	found := &artifact.Verification{Digest: s.Descriptor.Digest.String(), Policy: v.rule.Name}
	for _, f := range e.Fates {
		if f.Signature != nil {
			found.Signers = append(found.Signers, f.Signature.Signer)
		}
	}
	for _, kind := range v.rule.Attestations {
		fates, err := look.find(ctx, kind, v.checkers, v.accept(s, false), all)
		if e.Attestations == nil {
			e.Attestations = map[string][]Fate{}
		}
		e.Attestations[kind] = fates
		if err != nil {
			return e, err
		}
		for _, f := range fates {
			if f.Signature != nil {
				found.Attestations = append(found.Attestations, artifact.Attestation{PredicateType: kind, Signer: f.Signature.Signer})
			}
		}
	}
	e.Verification = found
	return e, nil
}

// accept holds what a statement says of its subject against the rule. What the
// rule's match asks for, only signatures have to say.
func (v *Verifier) accept(s artifact.Subject, match bool) func(*Signature) error {
	return func(sig *Signature) error {
		if role := sig.Claims.Role; role != "" {
			if here := roleOf(s.Descriptor); role != here {
				return fmt.Errorf("it was made for another part of an image (%q), and this is one's %s", short(string(role)), here)
			}
			sig.also("role")
		}
		if !match {
			return nil
		}
		return v.rule.Match.check(sig, s.Ref)
	}
}

func roleOf(d ocispec.Descriptor) Role {
	if d.MediaType == ocispec.MediaTypeImageIndex {
		return RoleIndex
	}
	return RoleManifest
}

// check holds claims against what a rule wants of them.
func (m *Match) check(sig *Signature, ref string) error {
	c := &sig.Claims
	if m.SameRepository {
		here, err := PlaceOf(ref)
		switch {
		case err != nil:
			return err
		case c.Repository == "":
			return errors.New("it does not say for which repository it was made, and the policy wants to know")
		case !samePlace(c.Repository, here):
			return fmt.Errorf("it was made for the repository %q, and the image lies in %s", short(c.Repository), here)
		}
		sig.also("repository")
	}
	if m.Release != "" {
		if c.Version != m.Release && !strings.HasPrefix(c.Version, m.Release+".") {
			return fmt.Errorf("it is for the release %q, and the policy wants %s", short(c.Version), m.Release)
		}
		sig.also("release")
	}
	if m.MinBuild > 0 {
		build, ok := decimal(c.Build)
		switch {
		case !ok:
			return fmt.Errorf("it does not say for which build it is (%q), and the policy wants %d or later", short(c.Build), m.MinBuild)
		case build < m.MinBuild:
			return fmt.Errorf("it is for the build %d, which is older than the %d that the policy wants at least", build, m.MinBuild)
		}
		sig.also("build")
	}
	return nil
}

// decimal reads a build number: decimal digits and nothing else.
func decimal(text string) (int64, bool) {
	if strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
