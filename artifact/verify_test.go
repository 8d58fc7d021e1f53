package artifact_test

import (
	"context"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
)

type verifier func(artifact.Subject) (*artifact.Verification, error)

func (v verifier) Verify(_ context.Context, s artifact.Subject) (*artifact.Verification, error) {
	return v(s)
}

func TestVerifyFailsClosed(t *testing.T) {
	s := artifact.Subject{Ref: "host/esxi:8.0", Descriptor: ocispec.Descriptor{Digest: digest.FromString("a")}}
	refused := errors.New("not signed by anybody")
	for name, c := range map[string]struct {
		v    artifact.Verifier
		want error
	}{
		"none":         {nil, artifact.ErrNoVerifier},
		"says nothing": {verifier(func(artifact.Subject) (*artifact.Verification, error) { return nil, nil }), artifact.ErrNoVerification},
		"refuses":      {verifier(func(artifact.Subject) (*artifact.Verification, error) { return nil, refused }), refused},
		"refuses, with a result": {verifier(func(s artifact.Subject) (*artifact.Verification, error) {
			return &artifact.Verification{Digest: s.Descriptor.Digest.String()}, refused
		}), refused},
		"answers about another": {verifier(func(artifact.Subject) (*artifact.Verification, error) {
			return &artifact.Verification{Digest: digest.FromString("b").String()}, nil
		}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := artifact.Verify(t.Context(), c.v, s)
			var failed *artifact.VerificationError
			if result != nil || !errors.As(err, &failed) || failed.Ref != s.Ref || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Verify() = %v, %v", result, err)
			}
		})
	}
	if result, err := artifact.Verify(t.Context(), artifact.InsecureSkip{}, s); err != nil || !result.Skipped || result.Digest != s.Descriptor.Digest.String() {
		t.Errorf("InsecureSkip: %+v, %v", result, err)
	}
}
