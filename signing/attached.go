package signing

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/artifact"
)

// ErrNotAttached says that nothing of the type that was asked for is attached.
var ErrNotAttached = errors.New("no such attestation is attached")

// Attached returns the predicate of the first attestation of that type that is
// attached to a subject, and the referrer that has it. Nothing of it was
// verified: it is what List is for one whole predicate. Errors are
// ErrNotAttached, and as for List.
func Attached(ctx context.Context, s artifact.Subject, predicateType string) (json.RawMessage, digest.Digest, error) {
	look, err := newSearch(ctx, s, nil)
	if err != nil {
		return nil, "", err
	}
	candidates := look.order(predicateType)
	for _, c := range candidates[:min(len(candidates), MaxBundles)] {
		predicate, err := look.predicate(ctx, c, predicateType)
		var undecided *artifact.UndecidedError
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case errors.As(err, &undecided):
			return nil, "", err
		case err == nil:
			return predicate, c.desc.Digest, nil
		}
	}
	return nil, "", ErrNotAttached
}

// predicate reads what a candidate says of the subject.
func (s *search) predicate(ctx context.Context, c *candidate, predicateType string) (json.RawMessage, error) {
	b, err := s.fetch(ctx, c)
	if err != nil {
		return nil, err
	}
	envelope, err := b.Envelope()
	if err != nil {
		return nil, err
	}
	payload, err := envelope.RawEnvelope().DecodeB64Payload()
	if err != nil {
		return nil, err
	}
	st, _, err := parseStatement(payload, s.subject.Descriptor.Digest, predicateType)
	if err != nil {
		return nil, err
	}
	return st.Predicate, checkPredicate(st.Predicate)
}
