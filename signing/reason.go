package signing

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// ReasonError says in a few words why a bundle does not count; Err is what the
// library said.
type ReasonError struct {
	Text string
	Err  error
}

func (e *ReasonError) Error() string { return e.Text }
func (e *ReasonError) Unwrap() error { return e.Err }

// explain finds out for people why sigstore-go refused a bundle: it does not
// always tell. It decides nothing.
func (c *checker) explain(b *bundle.Bundle, cause error) error {
	content, err := b.VerificationContent()
	if err != nil {
		return cause
	}
	cert := content.Certificate()
	text := ""
	switch {
	case c.authority.Key != nil && cert != nil:
		text = "it was signed with a certificate" + ofWhom(cert) + ", not with a key"
	case c.authority.Identity != nil && cert == nil:
		text = "it was signed with a key, not with a certificate"
	default:
		text = first(c.explainSignature(b), first(c.explainTime(b, cert), c.explainRest(cert)))
	}
	if text == "" {
		return cause
	}
	return &ReasonError{text, cause}
}

// explainTime looks at what proves when and that it was signed.
func (c *checker) explainTime(b *bundle.Bundle, cert *x509.Certificate) string {
	a := c.authority
	var times []time.Time
	entries, err := b.TlogEntries()
	switch {
	case a.Log && err == nil && len(entries) == 0:
		return "it has no log entry, and the policy wants one"
	case a.Log:
		found, err := verify.VerifyTlogEntry(b, c.trust, 1, !a.Timestamp)
		if err != nil {
			return "its log entry is not one of this signature in a log that is trusted"
		}
		for _, t := range found {
			times = append(times, t.Time)
		}
	}
	if !a.Timestamp && cert == nil {
		return ""
	}
	stamps, _, err := verify.VerifySignedTimestamp(b, c.trust)
	if err != nil {
		return ""
	}
	for _, t := range stamps {
		times = append(times, t.Time)
	}
	raw, _ := b.Timestamps()
	switch {
	case len(stamps) == 0 && (a.Timestamp || len(times) == 0) && len(raw) > 0:
		return "its time stamp is not one of this signature by an authority that is trusted"
	case len(stamps) == 0 && a.Timestamp:
		return "it has no time stamp, and the policy wants one"
	case len(times) == 0:
		return "it has no time stamp, and nothing else proves when it was signed"
	case cert != nil:
		return c.explainCertificate(cert, times)
	default:
		return ""
	}
}

// explainCertificate looks at where a certificate comes from, and whether it was
// valid at each of the times.
func (c *checker) explainCertificate(cert *x509.Certificate, times []time.Time) string {
	for _, t := range times {
		if t.Before(cert.NotBefore) || t.After(cert.NotAfter) {
			return fmt.Sprintf("its certificate was not valid when it was signed: it is from %s to %s, and it was signed at %s",
				stamp(cert.NotBefore), stamp(cert.NotAfter), stamp(t))
		}
		chains, err := verify.VerifyLeafCertificate(t, cert, c.trust)
		if err != nil {
			return "its certificate" + ofWhom(cert) + " is not from a certificate authority that is trusted, or that was not valid then"
		}
		if verify.VerifySignedCertificateTimestamp(chains, 1, c.trust) != nil {
			return "its certificate is in no certificate transparency log that is trusted"
		}
	}
	return ""
}

// explainRest looks at who signed what.
func (c *checker) explainRest(cert *x509.Certificate) string {
	if cert != nil {
		if text := c.explainIdentity(cert); text != "" {
			return text
		}
	}
	return "it is about another subject"
}

// explainSignature looks at whether the key, or the certificate's, made the
// signature. A log entry or time stamp of another one is wrong, too.
func (c *checker) explainSignature(b *bundle.Bundle) string {
	signature, err := b.SignatureContent()
	if err != nil {
		return ""
	}
	content, err := b.VerificationContent()
	if err != nil {
		return ""
	}
	if verify.VerifySignature(signature, content, c.trust) != nil {
		if k := content.PublicKey(); k != nil && k.Hint() != c.authority.Key.hint() {
			return "it was signed with another key"
		}
		return "its signature is wrong: it was made with another key, or it is not of this statement"
	}
	return ""
}

func (c *checker) explainIdentity(cert *x509.Certificate) string {
	s, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return ""
	}
	i := c.authority.Identity
	switch {
	case c.identity.SubjectAlternativeName.Verify(s) != nil:
		return fmt.Sprintf("its certificate is for %q, not for %s", short(s.SubjectAlternativeName), exactOrPattern(i.Subject, i.SubjectPattern))
	case c.identity.Issuer.Verify(s) != nil:
		return fmt.Sprintf("%q was vouched for by %q, not by %s", short(s.SubjectAlternativeName), short(s.Issuer), exactOrPattern(i.Issuer, i.IssuerPattern))
	}
	for _, claim := range []struct{ name, want, have string }{
		{"repository", i.CI.Repository, s.SourceRepositoryURI},
		{"workflow", i.CI.Workflow, s.BuildConfigURI},
		{"ref", i.CI.Ref, s.SourceRepositoryRef},
		{"trigger", i.CI.Trigger, s.BuildTrigger},
	} {
		if claim.want != "" && claim.want != claim.have {
			return fmt.Sprintf("the CI's %s is %q, not %q", claim.name, short(claim.have), short(claim.want))
		}
	}
	return ""
}

func exactOrPattern(exact, pattern string) string {
	if exact != "" {
		return fmt.Sprintf("%q", exact)
	}
	return fmt.Sprintf("what all of %q matches", pattern)
}

// ofWhom names whom a certificate is for, as far as it says.
func ofWhom(cert *x509.Certificate) string {
	s, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" of %q", short(s.SubjectAlternativeName))
}
