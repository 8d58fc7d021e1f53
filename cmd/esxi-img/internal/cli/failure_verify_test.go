package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// TestVerdictsAndFailures tells a refusal from what could not be found out.
func TestVerdictsAndFailures(t *testing.T) {
	down := &registry.Error{Op: "fetch", Ref: "registry.example/esxi", Status: 503}
	refused := func(err error) error { return fmt.Errorf("base: %w", &artifact.VerificationError{Ref: "x", Err: err}) }
	undecided := func(err error) error { return &artifact.UndecidedError{Err: err} }
	for name, c := range map[string]struct {
		err    error
		code   int
		advice string
	}{
		"no signature":           {refused(&signing.RefusedError{What: "a signature"}), exitVerification, "have it signed"},
		"bad signature":          {refused(errors.New("bad")), exitVerification, "--explain"},
		"rejected":               {refused(signing.ErrRejected), exitVerification, "use another image"},
		"no scope":               {refused(&signing.ScopeError{Place: "x", Policy: "y"}), exitVerification, "--insecure-skip-verify"},
		"no policy":              {&option.NoPolicyError{}, exitVerification, "--insecure-skip-verify"},
		"wrong content":          {refused(&registry.Error{Err: &registry.MismatchError{}}), exitVerification, ""},
		"not one truth":          {refused(&artifact.FormatError{What: "config", Err: errors.New("x")}), exitVerification, "it is not what it says"},
		"registry is down":       {undecided(down), exitRegistry, "the registry"},
		"trust root not there":   {undecided(&signing.TrustError{Err: errors.New("x")}), exitRegistry, "--trusted-root"},
		"trust root not fetched": {undecided(&signing.TrustError{Err: errors.New("x"), Offline: true}), exitInput, "--trusted-root"},
		"no such key":            {undecided(&signing.InputError{File: "x", Err: errors.New("x")}), exitInput, "put the file right"},
	} {
		f := classify(t.Context(), c.err)
		if f.code != c.code || name != "registry is down" && !strings.Contains(f.advice, c.advice) {
			t.Errorf("%s: %d, %q", name, f.code, f.advice)
		}
	}
}
