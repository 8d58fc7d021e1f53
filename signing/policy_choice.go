package signing

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/esxi-img/esxi-img/artifact"
)

var (
	// ErrRejected says that a policy refuses whatever lies in a place.
	ErrRejected = errors.New("the policy rejects all that lies there")
	// ErrNoRule says that nothing tells whose images to trust.
	ErrNoRule = errors.New("nothing says whose images to trust")
)

// ScopeError says that a policy says nothing of a place.
type ScopeError struct {
	Place  string
	Policy string // where it stands
}

func (e *ScopeError) Error() string {
	return fmt.Sprintf("no scope of %s covers %s: %v", e.Policy, e.Place, ErrNoRule)
}
func (e *ScopeError) Unwrap() error { return ErrNoRule }

// TrustSource returns a trust root when it is needed. It may wait for servers.
type TrustSource func(ctx context.Context) (Trust, error)

// PolicyVerifier decides on each subject by the scope of a policy that covers
// the place where it lies. NewPolicyVerifier makes one.
type PolicyVerifier struct {
	policy *Policy
	trust  TrustSource

	mu   sync.Mutex
	made map[*Scope]*Verifier
}

var _ artifact.Verifier = (*PolicyVerifier)(nil)

// NewPolicyVerifier makes a verifier of a policy. trust is asked for the trust
// root of authorities that name none, when the first of them is needed; nil
// where there is none.
func NewPolicyVerifier(p *Policy, trust TrustSource) (*PolicyVerifier, error) {
	if p == nil || len(p.Scopes) == 0 {
		return nil, errors.New("signing: a policy without scopes trusts nobody")
	}
	return &PolicyVerifier{policy: p, trust: trust, made: map[*Scope]*Verifier{}}, nil
}

// Verify implements artifact.Verifier. A file that cannot be used, and a trust
// root that is not to be had, are an *artifact.UndecidedError.
func (p *PolicyVerifier) Verify(ctx context.Context, s artifact.Subject) (*artifact.Verification, error) {
	c, err := p.Choose(s.Ref)
	if err != nil {
		return nil, err
	}
	v, done, err := p.verifier(ctx, c, s)
	if done != nil || err != nil {
		return done, err
	}
	return v.Verify(ctx, s)
}

// Examine verifies as Verify does, but looks at every bundle. What it found it
// returns with an error too.
func (p *PolicyVerifier) Examine(ctx context.Context, s artifact.Subject) (*Examination, error) {
	c, err := p.Choose(s.Ref)
	if err != nil {
		return &Examination{}, err
	}
	v, done, err := p.verifier(ctx, c, s)
	if done != nil || err != nil {
		return &Examination{Verification: done}, err
	}
	return v.Examine(ctx, s)
}

// Choice says which scope of a policy applies.
type Choice struct {
	Place  string // as PlaceOf names it
	Policy string // where the policy stands
	Scope  *Scope
	// Others are the prefixes of scopes that cover the place too, and say less
	// of it.
	Others []string
}

// Choose finds the scope that applies to what a reference names. The error is a
// *ScopeError if there is none.
func (p *PolicyVerifier) Choose(ref string) (*Choice, error) {
	place, err := PlaceOf(ref)
	if err != nil {
		return nil, err
	}
	c := &Choice{Place: place, Policy: p.policy.Origin, Scope: p.policy.For(place)}
	if c.Scope == nil {
		return nil, &ScopeError{place, p.policy.Origin}
	}
	for i := range p.policy.Scopes {
		if s := &p.policy.Scopes[i]; s != c.Scope && s.covers(place) {
			c.Others = append(c.Others, s.Prefix)
		}
	}
	return c, nil
}

// Rule names what applies.
func (c *Choice) Rule() string {
	if c.Scope.Prefix == "" {
		return c.Policy
	}
	return c.Policy + ", scope " + c.Scope.Prefix
}

// Why says why the scope applies.
func (c *Choice) Why() string {
	switch {
	case c.Scope.Prefix == "":
		return "flags come before any policy file"
	case c.Scope.Prefix == everywhere:
		return "no other scope covers " + c.Place
	case len(c.Others) == 0:
		return "the only scope that covers " + c.Place
	default:
		return "the longest of the scopes that cover " + c.Place + "; the others are " + strings.Join(c.Others, ", ")
	}
}

// verifier returns the verifier of a scope, or its verdict where it needs none.
func (p *PolicyVerifier) verifier(ctx context.Context, c *Choice, s artifact.Subject) (*Verifier, *artifact.Verification, error) {
	switch {
	case c.Scope.Reject:
		return nil, nil, fmt.Errorf("%s: %w", c.Rule(), ErrRejected)
	case c.Scope.InsecureAcceptAnything:
		return nil, &artifact.Verification{Digest: s.Descriptor.Digest.String(), Skipped: true, Policy: c.Rule() + ": insecureAcceptAnything"}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.made[c.Scope]; v != nil {
		return v, nil, nil
	}
	v, err := p.make(ctx, c)
	switch {
	case err == nil:
		p.made[c.Scope] = v
		return v, nil, nil
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	default:
		return nil, nil, &artifact.UndecidedError{Err: err}
	}
}

// make reads the files that a scope names, and gets the trust root if one is
// needed.
func (p *PolicyVerifier) make(ctx context.Context, c *Choice) (*Verifier, error) {
	rule := Rule{Name: c.Rule(), Attestations: c.Scope.Attestations, Match: c.Scope.Match}
	var trust Trust
	for i := range c.Scope.AnyOf {
		a := c.Scope.AnyOf[i]
		if err := p.read(&a); err != nil {
			return nil, err
		}
		if trust == nil && a.Trust == nil && a.needsTrust() && p.trust != nil {
			var err error
			if trust, err = p.trust(ctx); err != nil {
				return nil, err
			}
		}
		rule.AnyOf = append(rule.AnyOf, a.Authority)
	}
	v, err := NewVerifier(rule, trust)
	if err != nil {
		return nil, &InputError{rule.Name, err}
	}
	return v, nil
}

// read reads the files of an authority.
func (p *PolicyVerifier) read(a *PolicyAuthority) (err error) {
	if a.KeyFile != "" && a.Key == nil {
		if a.Key, err = LoadPublicKey(p.policy.path(a.KeyFile)); err != nil {
			return err
		}
	}
	if a.TrustedRoot != "" {
		a.Trust, err = LoadTrustedRoot(p.policy.path(a.TrustedRoot))
	}
	return err
}

// path is where a file lies that the policy names.
func (p *Policy) path(name string) string {
	if filepath.IsAbs(name) || p.Dir == "" {
		return name
	}
	return filepath.Join(p.Dir, name)
}

// LoadPublicKey reads a file with a public key. The error is an *InputError.
func LoadPublicKey(file string) (*PublicKey, error) {
	text, err := readInput(file, maxKeyFile)
	if err != nil {
		return nil, err
	}
	key, err := ParsePublicKey(text)
	if err != nil {
		return nil, &InputError{file, err}
	}
	return key, nil
}
