package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// signFlags are what sign is told.
type signFlags struct {
	sign        option.Sign
	registry    option.Registry
	verify      option.Verify
	base        string
	repository  string
	generateKey string
}

func newSign(a *app) *cobra.Command {
	var flags signFlags
	cmd := &cobra.Command{
		Use:   "sign REF",
		Short: "Sign an image",
		Long: `Sign signs an image in a registry or a layout (oci:DIR): the index, and each
manifest in it, so that whoever pulls one of them by its digest finds a signature
too. It makes what cosign 3 makes and verifies: Sigstore bundles, attached as
referrers.

With --key a private key signs, and no service is asked unless one is named.
Without it an identity signs: the one of the token in --identity-token, of the
job in GitHub Actions or GitLab, or of whoever logs in with a browser at a
terminal. A certificate authority, a time stamp authority and a log vouch for
it: those of the public Sigstore instance, or those that --signing-config or
--fulcio-url, --timestamp-url and --rekor-url name. The log is public for ever,
with the identity's name in it.

A signature also says for which repository, release and build it is made, which
policies can ask for. --repository names another repository than that of REF:
where the image is going to be copied to.

Of what is signed everything is signed before anything is attached. A variant is
signed only if its base verifies: --policy and --base-… say whom to trust.

` + exitCodeHelp,
		Example: `  esxi-img sign --generate-key cosign
  esxi-img sign registry.example/esxi:8.0 --key cosign.key
  esxi-img sign ghcr.io/org/esxi:8.0
  esxi-img sign oci:esxi-img.oci --repository ghcr.io/org/esxi --key cosign.key
  esxi-img sign registry.example/esxi:8.0 --identity-token token.jwt \
    --signing-config signing_config.json --trusted-root trusted_root.json`,
		Args: func(c *cobra.Command, args []string) error {
			if flags.generateKey != "" {
				return maxArgs(0)(c, args)
			}
			return exactArgs("REF")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if flags.generateKey != "" {
				return a.generateKey(flags.generateKey)
			}
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			return a.sign(c.Context(), args[0], &flags, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.generateKey, "generate-key", "", "sign nothing, but make the key `PREFIX`.key and its public half PREFIX.pub")
	f.StringVar(&flags.repository, "repository", "", "sign for `HOST/PATH` (default: that of REF; for a layout: none)")
	f.StringVar(&flags.base, "base", "", "a variant's base lies in the repository `REF` (default: where the variant lies)")
	flags.sign.AddFlags(f)
	flags.verify.AddBaseFlags(f)
	flags.registry.AddFlags(f)
	return cmd
}

func (a *app) sign(ctx context.Context, text string, flags *signFlags, opts registry.Options) (err error) {
	ref, repository, err := signTarget(text, flags.repository)
	if err != nil {
		return err
	}
	// 1. Who signs.
	signer, err := a.signer(ctx, &flags.sign)
	if err != nil {
		return err
	}
	// 2. What.
	to, d, release, err := openResolved(ctx, ref, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	subjects, err := signing.FindSubjects(ctx, to, d, repository)
	if err != nil {
		return err
	}
	// 3. Whether what it builds on may be used.
	if subjects.Base() != "" {
		if err := a.checkBase(ctx, subjects, to, flags, opts); err != nil {
			return err
		}
	}
	// 4. All signatures, and then their places.
	signed, err := a.signSubjects(ctx, signer, to, subjects)
	if err != nil {
		return err
	}
	if err := markSigned(ctx, to, signed); err != nil {
		return err
	}
	return a.showSigned(ref, d, signed)
}

// signTarget reads what is signed, and the repository that its signatures are
// for.
func signTarget(text, asked string) (ref registry.Reference, repository string, err error) {
	if ref, err = registry.Parse(text); err != nil {
		return ref, "", err
	}
	if repository, err = claimedRepository(ref, asked); err != nil {
		return ref, "", err
	}
	return ref, repository, notArchive(ref)
}

// claimedRepository is the repository that a signature is made for: HOST/PATH,
// or "" for none.
func claimedRepository(ref registry.Reference, asked string) (string, error) {
	if asked == "" {
		if ref.Scheme != "" {
			return "", nil
		}
		return ref.Locator(), nil
	}
	r, err := registry.Parse(asked)
	if err != nil {
		return "", fmt.Errorf("--repository: %w", err)
	}
	if r.Scheme != "" || r.Tag != "" || r.Digest != "" {
		return "", usagef("name a host and a path", "--repository %s: is not a repository of a registry", asked)
	}
	return r.Locator(), nil
}

func notArchive(ref registry.Reference) error {
	if ref.Scheme == registry.SchemeArchive {
		return usagef("sign in a registry or a layout, and copy it from there to the archive", "%s: nothing can be added to an archive", ref)
	}
	return nil
}

// signer returns who signs. What the user has to be asked is asked now, but for
// a login: that lasts for minutes only.
func (a *app) signer(ctx context.Context, flags *option.Sign) (*signing.Signer, error) {
	s, err := flags.Signer(ctx, a.signEnvironment())
	if err == nil {
		return s, nil
	}
	f := signFailure(err)
	if f == nil {
		f = verifyFailure(err)
	}
	switch {
	case ctx.Err() != nil:
		return nil, err
	case f != nil:
		return nil, f
	default:
		return nil, usagef("see --help for the flags that say who signs", "%w", err)
	}
}

// checkBase verifies what a variant builds on, by the policy.
func (a *app) checkBase(ctx context.Context, s *signing.Subjects, to *registry.Repository, flags *signFlags, opts registry.Options) (err error) {
	from, ref := to, to.Reference()
	if flags.base != "" {
		if ref, err = registry.Parse(flags.base); err != nil {
			return fmt.Errorf("--base: %w", err)
		}
		var release func() error
		if from, release, err = openHeld(ctx, ref, opts, registry.Open); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	name := ref.WithDigest(s.Base()).String()
	verifier, err := a.baseVerifier(&flags.verify, name)
	if err != nil {
		return err
	}
	d, err := from.Resolve(ctx, s.Base().String())
	if errors.Is(err, registry.ErrNotFound) && flags.base == "" {
		return inputError(fmt.Errorf("%s is a variant, and its base is not there: %w", to.Reference(), err), "say with --base REF where it is")
	}
	if err != nil {
		return err
	}
	if _, err := artifact.Verify(ctx, verifier, artifact.Subject{Ref: name, Target: from, Descriptor: d}); err != nil {
		return baseFailure(err)
	}
	return s.CheckBase(ctx, from, d)
}

// baseVerifier is verifier where the flags begin with "base-".
func (a *app) baseVerifier(flags *option.Verify, ref string) (artifact.Verifier, error) {
	v, err := a.verifier(flags, ref)
	return v, baseFailure(err)
}

// baseFailure gives the advice that goes with flags that begin with "base-".
func baseFailure(err error) error {
	if !errors.Is(err, signing.ErrNoRule) {
		return err
	}
	return &failure{exitVerification, err, strings.NewReplacer("--key", "--base-key", "--certificate", "--base-certificate").Replace(threeWays)}
}

// signSubjects signs and attaches.
func (a *app) signSubjects(ctx context.Context, signer *signing.Signer, to *registry.Repository, s *signing.Subjects) ([]signing.Signed, error) {
	status := a.status()
	for _, d := range s.Unchecked {
		status.Warn("the disk of %s was not compared with the image's: it has another format", d)
	}
	signed, err := signer.Sign(ctx, to, s.Statements...)
	if err != nil {
		if len(signed) > 0 {
			err = fmt.Errorf("%d of %d signatures are attached: %w", len(signed), len(s.Statements), err)
		}
		return nil, err
	}
	return signed, nil
}

// markSigned tells cosign which image a layout is about: the one that was signed
// last.
func markSigned(ctx context.Context, to *registry.Repository, signed []signing.Signed) error {
	if l, ok := to.Layout(); ok && len(signed) > 0 {
		return signing.MarkForCosign(ctx, l, signed[0].Subject.Digest)
	}
	return nil
}

// signatureResult is what sign prints of one signature.
type signatureResult struct {
	Digest   string          `json:"digest"` // of what is signed
	Role     string          `json:"role"`
	Referrer string          `json:"referrer"`
	Signer   artifact.Signer `json:"signer"`
	LogIndex *int64          `json:"logIndex,omitempty"`
	Time     *time.Time      `json:"time,omitempty"`
}

func signatureResults(signed []signing.Signed) []signatureResult {
	out := make([]signatureResult, len(signed))
	for i := range signed {
		s := &signed[i]
		out[i] = signatureResult{
			Digest: s.Subject.Digest.String(), Role: string(s.Claims.Role), Referrer: s.Referrer.Digest.String(), Signer: s.Signer,
		}
		if s.LogIndex >= 0 {
			out[i].LogIndex = &s.LogIndex
		}
		if !s.Time.IsZero() {
			out[i].Time = &s.Time
		}
	}
	return out
}

func (a *app) showSigned(ref registry.Reference, d ocispec.Descriptor, signed []signing.Signed) error {
	results := signatureResults(signed)
	if a.output.JSON {
		return display.JSON(a.Stdout, struct {
			Ref        string            `json:"ref"`
			Signatures []signatureResult `json:"signatures"`
		}{ref.WithDigest(d.Digest).String(), results})
	}
	var f display.Fields
	f.Add("signed", ref.WithDigest(d.Digest).String())
	addSignatures(&f, results)
	return f.Write(a.Stdout)
}

// addSignatures shows who signed, and what was attached to what.
func addSignatures(f *display.Fields, results []signatureResult) {
	f.Add("by", signerText(&results[0].Signer))
	for _, r := range results {
		text := r.Digest + ", signature " + r.Referrer
		if r.LogIndex != nil {
			text += fmt.Sprintf(", log index %d", *r.LogIndex)
		}
		if r.Time != nil {
			text += ", " + r.Time.UTC().Format(time.RFC3339)
		}
		f.Add(r.Role, text)
	}
}
