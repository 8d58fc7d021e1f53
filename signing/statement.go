package signing

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Predicate types say what a statement says of its subject.
const (
	// PredicateSignature is cosign's: the signer stands for the subject. Its
	// predicate is empty.
	PredicateSignature = "https://sigstore.dev/cosign/sign/v1"
	// PredicateSPDX is an SPDX document (in-toto attestation, predicates/spdx).
	PredicateSPDX = "https://spdx.dev/Document"
	// PredicateProvenance is SLSA's provenance of version 1.
	PredicateProvenance = "https://slsa.dev/provenance/v1"

	// statementType and payloadType are in-toto's (attestation framework v1,
	// "Statement" and "Envelope").
	statementType = "https://in-toto.io/Statement/v1"
	payloadType   = "application/vnd.in-toto+json"
	// statementTypeOld is the version before, of the same shape, in which cosign
	// 3 attests.
	statementTypeOld = "https://in-toto.io/Statement/v0.1"
)

// Names of the claims in a statement, annotations of its subject, which cosign
// checks with -a NAME=VALUE.
const (
	claimRepository = "io.github.esxi-img.repository"
	claimVersion    = "io.github.esxi-img.release"
	claimBuild      = "io.github.esxi-img.build"
	claimRole       = "io.github.esxi-img.role"
)

// Role is what part of an image a signature is about.
type Role string

// Roles.
const (
	RoleIndex    Role = "index"
	RoleManifest Role = "manifest"
)

// Claims are what a signature binds besides a digest, so that a genuine image
// does not pass for another one: of an older build, or of another repository.
// cosign binds none of it unless it is told.
type Claims struct {
	Repository string `json:"repository,omitempty"` // host/path, without tag
	Version    string `json:"version,omitempty"`    // "8.0.2"
	Build      string `json:"build,omitempty"`      // "22380479"
	Role       Role   `json:"role,omitempty"`
}

// statement is an in-toto statement of version 1.
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     json.RawMessage    `json:"predicate"`
}

type statementSubject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// newStatement makes the bytes that are signed.
func newStatement(subject ocispec.Descriptor, claims Claims, predicateType string, predicate json.RawMessage) ([]byte, error) {
	if err := subject.Digest.Validate(); err != nil {
		return nil, err
	}
	if subject.Digest.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("the subject's digest %s is not a SHA-256", subject.Digest)
	}
	if predicateType == "" || !json.Valid(predicate) {
		return nil, errors.New("a statement needs a predicate type and a predicate that is JSON")
	}
	s := statement{
		Type:          statementType,
		Subject:       []statementSubject{{Digest: map[string]string{"sha256": subject.Digest.Encoded()}, Annotations: claims.annotations()}},
		PredicateType: predicateType,
		Predicate:     predicate,
	}
	return json.Marshal(s)
}

func (c *Claims) annotations() map[string]any {
	a := map[string]any{}
	for name, value := range map[string]string{
		claimRepository: c.Repository, claimVersion: c.Version, claimBuild: c.Build, claimRole: string(c.Role),
	} {
		if value != "" {
			a[name] = value
		}
	}
	return a
}

// parseStatement reads a statement whose signature was verified, and holds that
// it is about the subject and of the type that is asked for: whoever signed an
// SBOM did not sign the image.
func parseStatement(b []byte, subject digest.Digest, predicateType string) (*statement, Claims, error) {
	var s statement
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, Claims{}, fmt.Errorf("the statement is not JSON: %w", err)
	}
	if s.Type != statementType && s.Type != statementTypeOld {
		return nil, Claims{}, fmt.Errorf("the statement's type is %q", short(s.Type))
	}
	if s.PredicateType != predicateType {
		return nil, Claims{}, fmt.Errorf("it is %s, not a statement of the type %s", kindOf(s.PredicateType), predicateType)
	}
	for i := range s.Subject {
		if s.Subject[i].Digest["sha256"] == subject.Encoded() {
			return &s, claimsOf(s.Subject[i].Annotations), nil
		}
	}
	return nil, Claims{}, errors.New("it is about another subject")
}

func claimsOf(annotations map[string]any) Claims {
	text := func(name string) string {
		s, _ := annotations[name].(string)
		return s
	}
	return Claims{Repository: text(claimRepository), Version: text(claimVersion), Build: text(claimBuild), Role: Role(text(claimRole))}
}

// kindOf names a predicate type for people.
func kindOf(predicateType string) string {
	switch predicateType {
	case PredicateSignature:
		return "a signature"
	case PredicateSPDX:
		return "an attestation of an SBOM"
	case PredicateProvenance:
		return "an attestation of provenance"
	default:
		return fmt.Sprintf("an attestation of the type %q", short(predicateType))
	}
}

// short cuts a text that comes from outside, for messages.
func short(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
