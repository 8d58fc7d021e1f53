package signing

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Authority is somebody whose signatures count: a key or an identity, exactly
// one of them.
type Authority struct {
	// Name is what messages call it; "" for what it is.
	Name     string
	Key      *PublicKey
	Identity *Identity
	// Log wants an entry in a transparency log of the trust root, Timestamp a
	// time from one of its time stamp authorities. An identity's certificate is
	// valid for some minutes: it needs a proof of the time, from a time stamp
	// authority or from a log that gives times (Rekor v1; version 2 does not).
	Log, Timestamp bool
	// Trust is the authority's own trust root, nil for that of the verifier.
	Trust Trust
}

// Identity is whom a certificate names. Of each pair one is given; patterns are
// Go's regular expressions and have to match the whole.
type Identity struct {
	Issuer, IssuerPattern   string
	Subject, SubjectPattern string
	CI                      CIClaims
}

// CIClaims are what a CI's certificate says of the run that signed. Empty ones
// are not looked at; the others have to be exactly so.
type CIClaims struct {
	Repository string `json:"repository,omitempty" yaml:"repository"` // "https://github.com/org/repo"
	Workflow   string `json:"workflow,omitempty" yaml:"workflow"`     // URL of the workflow with its ref
	Ref        string `json:"ref,omitempty" yaml:"ref"`               // "refs/heads/main"
	Trigger    string `json:"trigger,omitempty" yaml:"trigger"`       // "push"
}

// checker verifies bundles on behalf of an authority.
type checker struct {
	name      string
	authority *Authority
	trust     Trust // what the authority's trust root gives, and the key
	identity  verify.CertificateIdentity
	verifier  *verify.Verifier
	policy    verify.PolicyOption
}

// newChecker prepares an authority. trust may be nil where nothing of it is
// needed: for a key without log and time stamp.
func newChecker(a *Authority, trust Trust) (*checker, error) {
	if (a.Key == nil) == (a.Identity == nil) {
		return nil, errors.New("an authority is either a key or an identity")
	}
	if a.Trust != nil {
		trust = a.Trust
	}
	if trust == nil && a.needsTrust() {
		return nil, fmt.Errorf("%s: needs a trust root", a)
	}
	if err := a.enough(trust); err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	c := &checker{name: a.String(), authority: a}
	var err error
	if a.Key != nil {
		err = c.forKey(a, trust)
	} else {
		err = c.forIdentity(a, trust)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	return c, nil
}

// needsTrust says whether the authority is worth nothing without a trust root.
func (a *Authority) needsTrust() bool { return a.Identity != nil || a.Log || a.Timestamp }

// enough says what a trust root lacks, without which everything would be
// refused.
func (a *Authority) enough(trust Trust) error {
	if trust == nil {
		return nil
	}
	switch {
	case a.Identity != nil && len(trust.FulcioCertificateAuthorities()) == 0:
		return errors.New("the trust root has no certificate authority")
	case a.Identity != nil && len(trust.CTLogs()) == 0:
		return errors.New("the trust root has no certificate transparency log")
	case a.Log && len(trust.RekorLogs()) == 0:
		return errors.New("the trust root has no transparency log")
	case a.Timestamp && len(trust.TimestampingAuthorities()) == 0:
		return errors.New("the trust root has no time stamp authority")
	case a.Identity != nil && !a.Log && len(trust.TimestampingAuthorities()) == 0:
		return errors.New("the trust root has no time stamp authority, and without a log nothing else proves the time")
	default:
		return nil
	}
}

func (c *checker) forKey(a *Authority, trust Trust) error {
	v, err := signature.LoadDefaultVerifier(a.Key.key)
	if err != nil {
		return err
	}
	key := root.NewExpiringKey(v, time.Time{}, time.Time{})
	// The hint in a bundle says nothing that the signature would not.
	material := root.TrustedMaterialCollection{root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil })}
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if a.Log {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if a.Timestamp {
		opts = append(opts, verify.WithSignedTimestamps(1))
	} else {
		opts = append(opts, verify.WithNoObserverTimestamps())
	}
	if a.Log || a.Timestamp {
		material = append(material, trust)
	}
	c.trust, c.policy = material, verify.WithKey()
	c.verifier, err = verify.NewVerifier(material, opts...)
	return err
}

func (c *checker) forIdentity(a *Authority, trust Trust) error {
	id, err := a.Identity.matcher()
	if err != nil {
		return err
	}
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate(), verify.WithSignedCertificateTimestamps(1)}
	if a.Log {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if a.Timestamp {
		opts = append(opts, verify.WithSignedTimestamps(1))
	} else {
		opts = append(opts, verify.WithObserverTimestamps(1))
	}
	c.trust, c.identity, c.policy = trust, id, verify.WithCertificateIdentity(id)
	c.verifier, err = verify.NewVerifier(trust, opts...)
	return err
}

// checked lists what is checked of a signature that the authority's counts.
func (a *Authority) checked() []string {
	if a.Key != nil {
		out := []string{"signature", "key"}
		if a.Log {
			out = append(out, "log")
		}
		if a.Timestamp {
			out = append(out, "timestamp")
		}
		return out
	}
	out := []string{"signature", "certificate", "sct", "time", "identity"}
	if a.Identity.CI != (CIClaims{}) {
		out = append(out, "ci")
	}
	if a.Log {
		out = append(out, "log")
	}
	if a.Timestamp {
		out = append(out, "timestamp")
	}
	return out
}

// Validate says what is wrong with an identity.
func (i *Identity) Validate() error {
	_, err := i.matcher()
	return err
}

// matcher is the identity as sigstore-go compares it.
func (i *Identity) matcher() (verify.CertificateIdentity, error) {
	var none verify.CertificateIdentity
	if (i.Issuer == "") == (i.IssuerPattern == "") {
		return none, errors.New("an identity has either an issuer or a pattern of issuers")
	}
	if (i.Subject == "") == (i.SubjectPattern == "") {
		return none, errors.New("an identity has either a subject or a pattern of subjects")
	}
	san, err := anchored(i.SubjectPattern)
	if err != nil {
		return none, err
	}
	issuer, err := anchored(i.IssuerPattern)
	if err != nil {
		return none, err
	}
	sanMatcher, err := verify.NewSANMatcher(i.Subject, san)
	if err != nil {
		return none, err
	}
	issuerMatcher, err := verify.NewIssuerMatcher(i.Issuer, issuer)
	if err != nil {
		return none, err
	}
	return verify.NewCertificateIdentity(sanMatcher, issuerMatcher, certificate.Extensions{
		SourceRepositoryURI: i.CI.Repository, BuildConfigURI: i.CI.Workflow,
		SourceRepositoryRef: i.CI.Ref, BuildTrigger: i.CI.Trigger,
	})
}

// maxPattern bounds a pattern, in bytes.
const maxPattern = 4096

// anchored makes a pattern match the whole: sigstore-go looks for it anywhere.
func anchored(pattern string) (string, error) {
	if pattern == "" {
		return "", nil
	}
	if len(pattern) > maxPattern {
		return "", fmt.Errorf("a pattern of %d bytes is over the limit of %d", len(pattern), maxPattern)
	}
	// By itself, lest it closes the brackets that are put around it.
	if _, err := regexp.Compile(pattern); err != nil {
		return "", fmt.Errorf("pattern %q: %w", short(pattern), err)
	}
	return `\A(?:` + pattern + `)\z`, nil
}

// String names the authority.
func (a *Authority) String() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.Key != nil:
		return "key " + a.Key.Fingerprint()
	case a.Identity != nil:
		return a.Identity.String()
	default:
		return "nobody"
	}
}

// String names the identity.
func (i *Identity) String() string {
	return "identity " + first(i.Subject, i.SubjectPattern) + " of " + first(i.Issuer, i.IssuerPattern)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
