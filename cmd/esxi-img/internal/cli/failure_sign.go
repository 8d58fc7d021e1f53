package cli

import (
	"errors"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/signing"
)

// signFailure finds the exit code and the advice for an error that has to do
// with signing; nil if it has not.
func signFailure(err error) *failure {
	var (
		token   *signing.TokenError
		noToken *option.NoTokenError
		service *signing.ServiceError
		check   *signing.CheckError
	)
	switch {
	case errors.Is(err, signing.ErrPassword):
		return &failure{exitInput, err, "set COSIGN_PASSWORD to the key's password, or run the command at a terminal to be asked for it"}
	case errors.As(err, &noToken):
		return &failure{exitUsage, err, "give --key FILE (esxi-img sign --generate-key PREFIX makes one) or --identity-token FILE; in GitHub Actions the job needs the permission id-token: write"}
	case errors.As(err, &token):
		return &failure{exitInput, err, "get a new token for the audience sigstore; tokens live for some minutes"}
	case errors.As(err, &service):
		return &failure{exitRegistry, err, "nothing was attached: check the service and the network, and run the command again"}
	case errors.As(err, &check):
		return &failure{exitVerification, err, "name the trust root that belongs to the services: --trusted-root FILE"}
	default:
		return nil
	}
}
