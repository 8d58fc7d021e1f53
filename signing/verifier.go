package signing

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/esxi-img/esxi-img/artifact"
)

// clockSkew is how far a signature's time may lie ahead of this host's clock.
const clockSkew = 5 * time.Minute

// Signature is a statement about a subject that an authority made.
type Signature struct {
	Signer        artifact.Signer
	Authority     string    // which of the policy's it is
	Time          time.Time // zero where nothing that was checked tells
	TimeSource    string    // "log", "time stamp authority", or empty
	LogIndex      int64     // -1 where no log entry was checked
	Claims        Claims
	PredicateType string
	Payload       []byte   // the statement
	Checked       []string // what was checked, as Authority.checked says
	Referrer      ocispec.Descriptor
}

// parseBundle reads a Sigstore bundle.
func parseBundle(data []byte) (*bundle.Bundle, error) {
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("is no Sigstore bundle: %w", err)
	}
	return b, nil
}

// verifyBundle verifies one bundle on behalf of one authority, and that its
// statement is of the predicate type and about the subject.
func (c *checker) verifyBundle(b *bundle.Bundle, subject digest.Digest, predicateType string, now time.Time) (*Signature, error) {
	envelope, err := b.Envelope()
	if err != nil {
		return nil, errors.New("it is not a signature of a statement (a DSSE envelope)")
	}
	if subject.Validate() != nil || subject.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("the subject's digest %s is not a SHA-256", short(subject.String()))
	}
	raw, err := hex.DecodeString(subject.Encoded())
	if err != nil {
		return nil, err
	}
	result, err := c.verifier.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", raw), c.policy))
	if err != nil {
		return nil, c.explain(b, err)
	}
	if envelope.RawEnvelope().PayloadType != payloadType {
		return nil, fmt.Errorf("its payload is a %q", short(envelope.RawEnvelope().PayloadType))
	}
	payload, err := envelope.RawEnvelope().DecodeB64Payload()
	if err != nil {
		return nil, err
	}
	_, claims, err := parseStatement(payload, subject, predicateType)
	if err != nil {
		return nil, err
	}
	s := &Signature{
		Authority: c.name, Claims: claims, PredicateType: predicateType, Payload: payload, LogIndex: -1,
		Checked: c.authority.checked(),
	}
	c.describe(s, b, result)
	// A time that has not come yet means that one of the clocks is wrong, and
	// with this host's nothing can be said of any certificate.
	if s.Time.After(now.Add(clockSkew)) {
		return nil, fmt.Errorf("it was signed at %s, and this host's clock says that it is %s: set the clock", stamp(s.Time), stamp(now))
	}
	return s, nil
}

// describe takes from a result who signed, and when: only what was checked.
func (c *checker) describe(s *Signature, b *bundle.Bundle, result *verify.VerificationResult) {
	if cert := result.Signature.Certificate; cert != nil {
		s.Signer = artifact.Signer{Identity: cert.SubjectAlternativeName, Issuer: cert.Issuer}
	} else {
		s.Signer.Key = c.authority.Key.Fingerprint()
	}
	for _, t := range result.VerifiedTimestamps {
		source := "time stamp authority"
		if t.Type == "Tlog" {
			source = "log"
		}
		if s.Time.IsZero() || t.Timestamp.After(s.Time) {
			s.Time, s.TimeSource = t.Timestamp, source
		}
	}
	// Of several entries the result does not tell which are good.
	if entries, err := b.TlogEntries(); err == nil && len(entries) == 1 && c.authority.Log {
		s.LogIndex = entries[0].LogIndex()
	}
	s.Signer.Authority, s.Signer.TimeSource, s.Signer.Checked = c.authority.Name, s.TimeSource, s.Checked
	if !s.Time.IsZero() {
		t := s.Time.UTC()
		s.Signer.Time = &t
	}
	if s.LogIndex >= 0 {
		n := s.LogIndex
		s.Signer.LogIndex = &n
	}
	if s.Claims != (Claims{}) {
		s.Signer.Claims = &artifact.Claims{
			Repository: s.Claims.Repository, Version: s.Claims.Version, Build: s.Claims.Build, Role: string(s.Claims.Role),
		}
	}
}

// also adds to what was checked.
func (s *Signature) also(checked ...string) {
	s.Checked = append(slices.Clip(s.Checked), checked...)
	s.Signer.Checked = s.Checked
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
