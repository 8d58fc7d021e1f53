package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Target is where a subject lies: its blobs, and what refers to it.
type Target interface {
	// Fetch opens a manifest or blob. The caller checks size and digest.
	Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
	// Referrers lists the manifests whose subject is d, of that artifact type
	// or, if it is empty, of any.
	Referrers(ctx context.Context, d ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error)
}

// Subject is what is to be verified: the index, or the manifest that was
// pinned.
type Subject struct {
	// Ref is the reference that the user named, for policies and messages.
	Ref    string
	Target Target
	// Descriptor has the digest and the size that Ref was resolved to. All that
	// is fetched afterwards is reached from here.
	Descriptor ocispec.Descriptor
}

// Verifier decides whether a subject may be used. It returns a Verification or
// an error, never neither.
type Verifier interface {
	Verify(ctx context.Context, s Subject) (*Verification, error)
}

// Verification is what a Verifier found.
type Verification struct {
	// Digest of what was verified.
	Digest string `json:"digest"`
	// Skipped says that nothing was checked, because the user said so.
	Skipped bool `json:"skipped,omitempty"`
	// Signers are those whose signatures the policy accepts.
	Signers []Signer `json:"signers,omitempty"`
	// Attestations are those that the policy asks for.
	Attestations []Attestation `json:"attestations,omitempty"`
	// Policy names the rule that accepted them.
	Policy string `json:"policy,omitempty"`
}

// Signer is who signed: an identity with its issuer, or a key. All that it says
// was checked.
type Signer struct {
	Identity string `json:"identity,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	Key      string `json:"key,omitempty"` // a fingerprint
	// Authority is what the policy calls the signer, if it has a name for it.
	Authority string `json:"authority,omitempty"`
	// Time is when it was signed, nil where nothing that was checked tells, and
	// TimeSource who says so: "log" or "time stamp authority".
	Time       *time.Time `json:"time,omitempty"`
	TimeSource string     `json:"timeSource,omitempty"`
	// LogIndex is that of the entry in the transparency log, nil where none was
	// checked.
	LogIndex *int64 `json:"logIndex,omitempty"`
	// Checked lists what was checked.
	Checked []string `json:"checked,omitempty"`
	// Claims are what the signature says of the image besides its digest.
	Claims *Claims `json:"claims,omitempty"`
}

// Claims are what a signature says of an image besides its digest; what it does
// not say is empty.
type Claims struct {
	Repository string `json:"repository,omitempty"` // host/path, without tag
	Version    string `json:"version,omitempty"`    // "8.0.2"
	Build      string `json:"build,omitempty"`      // "22380479"
	Role       string `json:"role,omitempty"`       // "index" or "manifest"
}

// Attestation is a signed statement about an image.
type Attestation struct {
	PredicateType string `json:"predicateType"`
	Signer        Signer `json:"signer"`
}

// VerificationError says that a subject was not verified, and so not used.
type VerificationError struct {
	Ref    string
	Digest string
	Err    error
}

func (e *VerificationError) Error() string {
	return fmt.Sprintf("%s (%s): not verified: %v", e.Ref, e.Digest, e.Err)
}
func (e *VerificationError) Unwrap() error { return e.Err }

// UndecidedError says that a verifier could not find out: a registry, a service
// or a file failed. The subject is as little verified as with any other error.
type UndecidedError struct{ Err error }

func (e *UndecidedError) Error() string { return e.Err.Error() }
func (e *UndecidedError) Unwrap() error { return e.Err }

// Errors of a verification that did not take place.
var (
	// ErrNoVerifier says that nobody was there to verify.
	ErrNoVerifier = errors.New("no verifier was given")
	// ErrNoVerification says that a Verifier returned nothing.
	ErrNoVerification = errors.New("the verifier returned neither a verification nor an error")
)

// Verify asks the verifier, and fails closed: without one, without an answer,
// or with an answer about something else, the subject is not verified. The
// error is a *VerificationError, unless the context ended or the verifier could
// not find out, which is an *UndecidedError.
func Verify(ctx context.Context, v Verifier, s Subject) (*Verification, error) {
	result, err := askVerifier(ctx, v, s)
	if err == nil {
		return result, nil
	}
	var (
		already   *VerificationError
		undecided *UndecidedError
	)
	if errors.As(err, &already) || errors.As(err, &undecided) || ctx.Err() != nil {
		return nil, err
	}
	return nil, &VerificationError{Ref: s.Ref, Digest: s.Descriptor.Digest.String(), Err: err}
}

func askVerifier(ctx context.Context, v Verifier, s Subject) (*Verification, error) {
	if v == nil {
		return nil, ErrNoVerifier
	}
	result, err := v.Verify(ctx, s)
	switch {
	case err != nil:
		return nil, err
	case result == nil:
		return nil, ErrNoVerification
	case result.Digest != s.Descriptor.Digest.String():
		return nil, fmt.Errorf("the verifier answered about %s", result.Digest)
	default:
		return result, nil
	}
}

// InsecureSkip is the Verifier that checks nothing: what it lets pass is
// whatever the registry sent.
type InsecureSkip struct{}

// Verify returns a Verification that says that there was none.
func (InsecureSkip) Verify(_ context.Context, s Subject) (*Verification, error) {
	return &Verification{Digest: s.Descriptor.Digest.String(), Skipped: true}, nil
}
