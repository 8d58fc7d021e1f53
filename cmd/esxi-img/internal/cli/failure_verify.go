package cli

import (
	"errors"
	"fmt"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/signing"
)

// threeWays is what to do where nothing says whose images to trust.
const threeWays = "say whom to trust: with --key FILE, or --certificate-identity NAME --certificate-oidc-issuer URL; or in a policy file, with a scope for it; or --insecure-skip-verify, with commands that use it, to use it whoever made it"

// verifyFailure finds the exit code and the advice for an error that has to do
// with whom to trust; nil if it has not.
func verifyFailure(err error) *failure {
	var (
		verification *artifact.VerificationError
		input        *signing.InputError
		trust        *signing.TrustError
	)
	switch {
	case errors.Is(err, signing.ErrNoRule):
		return &failure{exitVerification, err, threeWays}
	case errors.As(err, &verification):
		return &failure{exitVerification, err, adviceForRefusal(verification)}
	case errors.As(err, &input):
		return &failure{exitInput, err, "put the file right, or name another"}
	case errors.As(err, &trust) && trust.Offline:
		return &failure{exitInput, err, "give --trusted-root FILE, or run the command once without --offline where there is a network"}
	case errors.As(err, &trust):
		return &failure{exitRegistry, err, "check the network; or give --trusted-root FILE, or --offline where a copy was fetched before"}
	default:
		return nil
	}
}

func adviceForRefusal(err *artifact.VerificationError) string {
	var format *artifact.FormatError
	switch {
	case errors.Is(err, signing.ErrRejected):
		return "the policy wants it so: use another image"
	case errors.Is(err, signing.ErrNoSignature):
		return "have it signed (esxi-img sign), or do not use it"
	case errors.As(err, &format):
		return "do not use the image: it is not what it says"
	default:
		return "do not use the image, unless you know where it comes from; esxi-img verify --explain shows what was looked at"
	}
}

// verifier returns what decides whether the image that ref names may be used.
func (a *app) verifier(flags *option.Verify, ref string) (artifact.Verifier, error) {
	v, err := flags.Verifier(a.environment())
	if err != nil {
		return nil, verifierFailure(ref, err)
	}
	return v, nil
}

// verifierFailure is how a command ends that cannot tell whom to trust.
func verifierFailure(ref string, err error) error {
	err = fmt.Errorf("%s: %w", ref, err)
	if f := verifyFailure(err); f != nil {
		return f
	}
	return usagef("see --help for the flags that say whom to trust", "%w", err)
}

func (a *app) environment() option.Environment {
	return option.Environment{Getenv: a.Getenv, Stdin: a.Stdin, Version: a.Build.Version}
}
