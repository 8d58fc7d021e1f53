package signing

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/strictyaml"
)

// Limits of a policy file.
const (
	maxPolicyFile   = 1 << 20 // bytes
	maxScopes       = 1000
	maxAuthorities  = 100 // of a scope
	maxAttestations = 16  // of a scope
	maxPolicyText   = 4096
)

// Policy says whose images may be used, by where they lie. ParsePolicy makes
// one of a file.
type Policy struct {
	// Origin is where the policy stands: a file's name, or flags.
	Origin string
	// Dir is the folder that the files it names are relative to.
	Dir string
	// Scopes in order of their prefixes.
	Scopes []Scope
}

// Scope is what a policy says of a part of a registry.
type Scope struct {
	// Prefix is a host, or a host and the beginning of a path, up to a border of
	// the path's elements; "oci:" with the absolute path of a folder for the
	// layouts and archives in it, or with nothing for all of them; "*" is every
	// place that no other scope covers. Empty: what flags say of any place.
	Prefix string
	// AnyOf are those whose signatures count: one of them is enough.
	AnyOf []PolicyAuthority
	// Attestations are predicate types of which there has to be an attestation
	// by one of AnyOf.
	Attestations []string
	Match        Match
	// Reject refuses whatever lies there.
	Reject bool
	// InsecureAcceptAnything takes whatever lies there.
	InsecureAcceptAnything bool
}

// PolicyAuthority is an authority whose files are not read yet.
type PolicyAuthority struct {
	Authority
	// KeyFile is where the key lies, if Key is nil and there is no identity.
	KeyFile string
	// TrustedRoot is a file with a trust root; empty for the public instance's.
	TrustedRoot string
}

// Match is what a signature has to say besides the digest.
type Match struct {
	// SameRepository takes a signature only if it was made for the repository
	// in which the image lies. Without it a copy elsewhere is as good.
	SameRepository bool
	// MinBuild is the lowest build number that is taken, 0 for any.
	MinBuild int64
	// Release is the release that is taken, or its beginning up to a dot: "8.0"
	// takes "8.0.2". Empty for any.
	Release string
}

// policyFile is a policy as it stands in a file.
type policyFile struct {
	Version int                  `yaml:"version"`
	Scopes  map[string]scopeFile `yaml:"scopes"`
}

type scopeFile struct {
	AnyOf                  []authorityFile `yaml:"anyOf"`
	Attestations           []string        `yaml:"attestations"`
	Match                  matchFile       `yaml:"match"`
	Reject                 bool            `yaml:"reject"`
	InsecureAcceptAnything bool            `yaml:"insecureAcceptAnything"`
}

type authorityFile struct {
	Name        string        `yaml:"name"`
	Key         string        `yaml:"key"`
	Identity    *identityFile `yaml:"identity"`
	TrustedRoot string        `yaml:"trustedRoot"`
	Log         *bool         `yaml:"log"`
	Timestamp   bool          `yaml:"timestamp"`
}

type identityFile struct {
	Issuer         string   `yaml:"issuer"`
	IssuerPattern  string   `yaml:"issuerPattern"`
	Subject        string   `yaml:"subject"`
	SubjectPattern string   `yaml:"subjectPattern"`
	CI             CIClaims `yaml:"ci"`
}

type matchFile struct {
	Repository string `yaml:"repository"` // "signed" or "any"
	MinBuild   int64  `yaml:"minBuild"`
	Release    string `yaml:"release"`
}

// LoadPolicy reads a policy file. The error is an *InputError.
func LoadPolicy(file string) (*Policy, error) {
	text, err := readInput(file, maxPolicyFile)
	if err != nil {
		return nil, err
	}
	p, err := ParsePolicy(text)
	if err != nil {
		return nil, &InputError{file, err}
	}
	p.Origin, p.Dir = file, filepath.Dir(file)
	return p, nil
}

// ParsePolicy reads a policy file: YAML of at most 1 MiB, in which nothing
// unknown stands.
func ParsePolicy(text []byte) (*Policy, error) {
	if len(text) > maxPolicyFile {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(text), maxPolicyFile)
	}
	var file policyFile
	if _, err := strictyaml.Decode(text, &file); err != nil {
		return nil, err
	}
	switch file.Version {
	case 1:
	case 0:
		return nil, errors.New("version: is missing; this program knows version 1")
	default:
		return nil, fmt.Errorf("version: %d is not 1, the one that this program knows", file.Version)
	}
	if len(file.Scopes) == 0 || len(file.Scopes) > maxScopes {
		return nil, fmt.Errorf("scopes: %d are not from 1 to %d", len(file.Scopes), maxScopes)
	}
	p := &Policy{Origin: "the policy"}
	for prefix, s := range file.Scopes {
		scope, err := s.scope(prefix)
		if err != nil {
			return nil, fmt.Errorf("scopes: %q: %w", short(prefix), err)
		}
		p.Scopes = append(p.Scopes, scope)
	}
	slices.SortFunc(p.Scopes, func(a, b Scope) int { return strings.Compare(a.Prefix, b.Prefix) })
	for i := range p.Scopes[1:] {
		if p.Scopes[i].Prefix == p.Scopes[i+1].Prefix {
			return nil, fmt.Errorf("scopes: %q stands there in two ways to write it", short(p.Scopes[i].Prefix))
		}
	}
	return p, nil
}

func (s *scopeFile) scope(prefix string) (Scope, error) {
	out := Scope{
		Attestations: s.Attestations, Reject: s.Reject, InsecureAcceptAnything: s.InsecureAcceptAnything,
		Match: Match{SameRepository: s.Match.Repository == "signed", MinBuild: s.Match.MinBuild, Release: s.Match.Release},
	}
	var err error
	if out.Prefix, err = scopePrefix(prefix); err != nil {
		return out, err
	}
	said := 0
	for _, is := range []bool{len(s.AnyOf) > 0, s.Reject, s.InsecureAcceptAnything} {
		if is {
			said++
		}
	}
	switch {
	case said != 1:
		return out, errors.New("has to have exactly one of anyOf, reject and insecureAcceptAnything")
	case len(s.AnyOf) > maxAuthorities:
		return out, fmt.Errorf("anyOf: %d are over the limit of %d", len(s.AnyOf), maxAuthorities)
	case len(s.AnyOf) == 0 && (len(s.Attestations) > 0 || s.Match != matchFile{}):
		return out, errors.New("attestations and match need anyOf")
	}
	if err := s.Match.check(out.Prefix); err != nil {
		return out, fmt.Errorf("match: %w", err)
	}
	if err := checkAttestations(s.Attestations); err != nil {
		return out, fmt.Errorf("attestations: %w", err)
	}
	for i := range s.AnyOf {
		a, err := s.AnyOf[i].authority()
		if err != nil {
			return out, fmt.Errorf("anyOf: entry %d: %w", i+1, err)
		}
		out.AnyOf = append(out.AnyOf, a)
	}
	return out, nil
}

func (m *matchFile) check(prefix string) error {
	switch {
	case m.Repository != "" && m.Repository != "any" && m.Repository != "signed":
		return fmt.Errorf("repository: %q is neither signed nor any", short(m.Repository))
	case m.Repository == "signed" && strings.HasPrefix(prefix, localPlaces):
		return errors.New("repository: signed: a layout or an archive is no repository")
	case m.MinBuild < 0:
		return fmt.Errorf("minBuild: %d is negative", m.MinBuild)
	case m.Release != "" && (strings.Trim(m.Release, "0123456789.") != "" || strings.Contains("."+m.Release+".", "..")):
		return fmt.Errorf("release: %q is not numbers with dots between them", short(m.Release))
	default:
		return nil
	}
}

func checkAttestations(types []string) error {
	if len(types) > maxAttestations {
		return fmt.Errorf("%d are over the limit of %d", len(types), maxAttestations)
	}
	for i, t := range types {
		u, err := url.Parse(t)
		switch {
		case err != nil || u.Scheme == "" || len(t) > maxPolicyText:
			return fmt.Errorf("%q is not a URI", short(t))
		case t == PredicateSignature:
			return errors.New("that of signatures is not one: they are looked for anyway")
		case slices.Contains(types[:i], t):
			return fmt.Errorf("%q stands there twice", short(t))
		}
	}
	return nil
}

func (f *authorityFile) authority() (PolicyAuthority, error) {
	a := PolicyAuthority{Authority: Authority{Name: f.Name, Timestamp: f.Timestamp}, TrustedRoot: f.TrustedRoot}
	if (f.Key == "") == (f.Identity == nil) {
		return a, errors.New("has to have either a key or an identity")
	}
	if len(f.Name) > maxPolicyText || len(f.TrustedRoot) > maxPolicyText {
		return a, fmt.Errorf("a text is over the limit of %d bytes", maxPolicyText)
	}
	if f.Identity != nil {
		i := *f.Identity
		a.Identity = &Identity{Issuer: i.Issuer, IssuerPattern: i.IssuerPattern, Subject: i.Subject, SubjectPattern: i.SubjectPattern, CI: i.CI}
		// Who holds no key for long proves by the log that it signed.
		a.Log = f.Log == nil || *f.Log
		return a, a.Identity.Validate()
	}
	a.Log = f.Log != nil && *f.Log
	if a.TrustedRoot != "" && !a.needsTrust() {
		return a, errors.New("trustedRoot: nothing of it is needed for a key without log and timestamp")
	}
	if !strings.Contains(f.Key, "-----BEGIN") {
		a.KeyFile = f.Key
		if len(a.KeyFile) > maxPolicyText || strings.ContainsAny(a.KeyFile, "\n\x00") {
			return a, errors.New("key: is neither a file's name nor a key (PEM)")
		}
		return a, nil
	}
	var err error
	if a.Key, err = ParsePublicKey([]byte(f.Key)); err != nil {
		return a, fmt.Errorf("key: %w", err)
	}
	return a, nil
}

// For returns the scope that covers a place, as PlaceOf names it: the one with
// the longest prefix, nil if there is none.
func (p *Policy) For(place string) *Scope {
	var best *Scope
	for i := range p.Scopes {
		s := &p.Scopes[i]
		if s.covers(place) && (best == nil || s.rank() > best.rank()) {
			best = s
		}
	}
	return best
}

func (s *Scope) covers(place string) bool { return s.Prefix == "" || covers(s.Prefix, place) }

// rank is higher the more a scope says of a place that it covers.
func (s *Scope) rank() int {
	if s.Prefix == everywhere {
		return 0
	}
	return len(s.Prefix)
}
