package option

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/signing"
)

// Names of the environment's variables from which a signature may come.
const (
	// keyPasswordVar holds the password of a private key, as for cosign.
	keyPasswordVar = "COSIGN_PASSWORD"
	// GitHub Actions give a job's token to whoever asks at this address and
	// shows that token, if the workflow has the permission "id-token: write".
	gitHubAddressVar = "ACTIONS_ID_TOKEN_REQUEST_URL"
	gitHubSecretVar  = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
	// GitLab puts a job's token there, if the pipeline says so (id_tokens).
	gitLabTokenVar = "SIGSTORE_ID_TOKEN" //nolint:gosec // as above
)

// Sign says who signs, and with which services.
type Sign struct {
	key           string
	identityToken string
	signingConfig string
	trustedRoot   string
	fulcio        string
	logs          []string
	timestamps    []string

	flags *pflag.FlagSet
}

// signFlags are the group's flags.
var signFlags = []string{"key", "identity-token", "signing-config", "trusted-root", "fulcio-url", "rekor-url", "timestamp-url"}

// AddFlags adds the group's flags.
func (s *Sign) AddFlags(f *pflag.FlagSet) {
	s.flags = f
	f.StringVar(&s.key, "key", "", "sign with the private key in `FILE` (PEM, or as cosign encrypts it; password in $"+keyPasswordVar+")")
	f.StringVar(&s.identityToken, "identity-token", "", "sign as whom the token in `FILE` (a JWT for the audience sigstore) names")
	f.StringVar(&s.signingConfig, "signing-config", "", "use the services that `FILE` (signing_config.json) names")
	f.StringVar(&s.trustedRoot, "trusted-root", "", "check what was signed against `FILE` (trusted_root.json) before it is attached")
	f.StringVar(&s.fulcio, "fulcio-url", "", "get the certificate from `URL`")
	f.StringArrayVar(&s.logs, "rekor-url", nil, "put signatures into the log (Rekor, API version 2) at `URL` (repeatable)")
	f.StringArrayVar(&s.timestamps, "timestamp-url", nil, "get time stamps (RFC 3161) from `URL` (repeatable)")
}

// Given returns the first of the group's flags that the user gave, or "".
func (s *Sign) Given() string {
	for _, name := range signFlags {
		if s.flags.Changed(name) {
			return name
		}
	}
	return ""
}

// SignEnvironment is what signing takes from around the program.
type SignEnvironment struct {
	Environment
	// Password asks for the password of a private key; nil where there is
	// nobody to ask.
	Password func() ([]byte, error)
	// Login gets an identity token from whoever sits at the terminal, by an
	// issuer; nil where nobody does.
	Login func(ctx context.Context, issuer string) (string, error)
}

// NoTokenError says that there is nothing to sign with.
type NoTokenError struct{}

func (*NoTokenError) Error() string {
	return "nothing to sign with: no --key, no --identity-token, no token of GitHub Actions or GitLab, and no terminal to log in at"
}

// Signer returns what the flags and the environment ask for. What it does not
// need to ask anybody, it finds out: a password, whether a token has expired.
// Errors are of package signing, *NoTokenError, or else of usage.
func (s *Sign) Signer(ctx context.Context, env SignEnvironment) (*signing.Signer, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var (
		opts signing.SignerOptions
		err  error
	)
	if s.key != "" {
		if opts.Key, err = signing.LoadPrivateKey(s.key, s.password(env)); err != nil {
			return nil, err
		}
	}
	if s.key == "" {
		if opts.Token, err = s.token(env, &opts.Services); err != nil {
			return nil, err
		}
	}
	if err := s.services(ctx, env.Environment, &opts); err != nil {
		return nil, err
	}
	if s.key == "" && s.login(env) && opts.Services.TokenIssuer == "" {
		return nil, errors.New("the services name nobody to log in at: give --identity-token, or --signing-config with one")
	}
	return signing.NewSigner(opts)
}

// check finds what contradicts itself.
func (s *Sign) check() error {
	for _, name := range signFlags {
		if f := s.flags.Lookup(name); f.Changed && (f.Value.String() == "" || f.Value.String() == "[]") {
			return fmt.Errorf("--%s: is empty", name)
		}
	}
	urls := s.fulcio != "" || len(s.logs)+len(s.timestamps) > 0
	switch {
	case s.key != "" && s.identityToken != "":
		return errors.New("--key and --identity-token: either a key signs or an identity")
	case s.key != "" && s.fulcio != "":
		return errors.New("--key and --fulcio-url: a key needs no certificate")
	case s.signingConfig != "" && urls:
		return errors.New("--signing-config and --…-url: services are named in one way")
	case s.key == "" && urls && s.fulcio == "":
		return errors.New("where --rekor-url or --timestamp-url is given and no --key, --fulcio-url says who gives the certificate")
	case s.key != "" && s.trustedRoot != "" && !urls && s.signingConfig == "":
		return errors.New("--key and --trusted-root: without a log and time stamps there is nothing to check against it")
	case strings.Contains(s.key, "://"):
		return fmt.Errorf("--key %s: is no file", s.key)
	default:
		return nil
	}
}

// services finds the services, and the trust root that goes with them. A key
// asks nobody unless it is told to; without one the public instance is asked.
func (s *Sign) services(ctx context.Context, env Environment, opts *signing.SignerOptions) error {
	var (
		public   = &signing.PublicInstance{Cache: TrustCache(env.Getenv), Offline: s.offline()}
		isPublic = false
	)
	switch {
	case s.signingConfig != "":
		services, err := signing.LoadSigningConfig(s.signingConfig, time.Now())
		if err != nil {
			return err
		}
		opts.Services = *services
	case s.fulcio != "" || len(s.logs)+len(s.timestamps) > 0:
		opts.Services = signing.Services{Fulcio: s.fulcio, Timestamps: s.timestamps}
		for _, u := range s.logs {
			opts.Services.Logs = append(opts.Services.Logs, signing.Log{URL: u, Version: 2})
		}
	case s.key == "":
		services, err := public.Services(ctx, time.Now())
		if err != nil {
			return err
		}
		opts.Services, isPublic = *services, true
	}
	var err error
	switch {
	case s.trustedRoot != "":
		opts.Trust, err = signing.LoadTrustedRoot(s.trustedRoot)
	case isPublic:
		opts.Trust, err = public.Trust(ctx)
	}
	return err
}

// offline says whether the command has the flag, and it is given.
func (s *Sign) offline() bool {
	f := s.flags.Lookup("offline")
	return f != nil && f.Value.String() == "true"
}

// password is where a private key's password comes from.
func (s *Sign) password(env SignEnvironment) func() ([]byte, error) {
	if p := env.Getenv(keyPasswordVar); p != "" {
		return func() ([]byte, error) { return []byte(p), nil }
	}
	return env.Password
}

// token is where an identity token comes from: a file, the CI, or whoever sits
// at the terminal. A file is read again when the token is needed, since
// something may keep it fresh.
func (s *Sign) token(env SignEnvironment, services *signing.Services) (func(context.Context) (string, error), error) {
	gitLab, address, secret := strings.TrimSpace(env.Getenv(gitLabTokenVar)), env.Getenv(gitHubAddressVar), env.Getenv(gitHubSecretVar)
	switch {
	case s.identityToken != "":
		if _, err := signing.LoadToken(s.identityToken, time.Now()); err != nil {
			return nil, err
		}
		return func(context.Context) (string, error) { return signing.LoadToken(s.identityToken, time.Now()) }, nil
	case gitLab != "":
		if _, err := signing.ParseToken(gitLab, time.Now()); err != nil {
			return nil, fmt.Errorf("$%s: %w", gitLabTokenVar, err)
		}
		return func(context.Context) (string, error) { return gitLab, nil }, nil
	case address != "" && secret != "":
		return func(ctx context.Context) (string, error) { return signing.GitHubToken(ctx, address, secret, nil) }, nil
	case env.Login != nil:
		return func(ctx context.Context) (string, error) { return env.Login(ctx, services.TokenIssuer) }, nil
	default:
		return nil, &NoTokenError{}
	}
}

// login says whether somebody has to log in.
func (s *Sign) login(env SignEnvironment) bool {
	return s.identityToken == "" && env.Getenv(gitLabTokenVar) == "" && (env.Getenv(gitHubAddressVar) == "" || env.Getenv(gitHubSecretVar) == "")
}

// KeyPassword is the password for a key that is made: what the environment
// says, else what the user is asked for. Empty is none.
func KeyPassword(env SignEnvironment) ([]byte, error) {
	if p := env.Getenv(keyPasswordVar); p != "" || env.Password == nil {
		return []byte(p), nil
	}
	return env.Password()
}
