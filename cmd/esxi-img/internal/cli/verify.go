package cli

import (
	"context"
	"errors"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// verifyFlags are what verify is told.
type verifyFlags struct {
	registry option.Registry
	verify   option.Verify
	explain  bool
	deep     bool
}

func newVerify(a *app) *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Tell whether an image is signed by somebody to trust",
		Long: `Verify looks at the signatures of an image in a registry, a layout (oci:DIR) or
an archive (oci-archive:FILE), and tells who signed it, when, and what of that was
checked. It ends with exit code 10 if none of them counts.

Whose count say the flags, else the policy file: --policy, or the first one there
is of $XDG_CONFIG_HOME/esxi-img/policy.yaml (~/.config/esxi-img/policy.yaml) and
/etc/esxi-img/policy.yaml. Its scope with the longest prefix of the image's place
applies, and no other.

The trust root of identities is that of the public Sigstore instance, which is
fetched and kept for a day ($XDG_CACHE_HOME/esxi-img/sigstore), unless
--trusted-root or the policy names a file.

What is verified is the index that a tag names, or the manifest that a digest
names, and with it all that is reached from there by digest. --deep reads that
too: whether disk, module and kickstart are what the config says.

` + exitCodeHelp,
		Example: `  esxi-img verify --key cosign.pub registry.example/esxi:8.0
  esxi-img verify registry.example/esxi:8.0 \
    --certificate-identity https://github.com/org/repo/.github/workflows/image.yml@refs/heads/main \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com
  esxi-img verify --explain --policy policy.yaml registry.example/esxi:8.0
  esxi-img verify --deep --key cosign.pub oci:esxi-img.oci`,
		Args: exactArgs("REF"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			return a.verify(c.Context(), args[0], &flags, opts)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.explain, "explain", false, "tell which scope of the policy applies and why, and what becomes of each signature")
	f.BoolVar(&flags.deep, "deep", false, "read all of the image, and check that its parts agree")
	flags.verify.AddCheckFlags(f)
	flags.registry.AddFlags(f)
	flags.registry.AddMirrorFlag(f)
	return cmd
}

func (a *app) verify(ctx context.Context, text string, flags *verifyFlags, opts registry.Options) (err error) {
	ref, err := registry.Parse(text)
	if err != nil {
		return err
	}
	// 1. Whom to trust.
	policy, err := flags.verify.Policy(a.environment())
	if err != nil {
		return verifierFailure(text, err)
	}
	// 2. What it is about.
	from, d, release, err := openResolved(ctx, ref, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	result := verifyResult{Ref: ref.WithDigest(d.Digest).String()}
	// 3. Its signatures.
	subject := artifact.Subject{Ref: text, Target: from, Descriptor: d}
	look := &examiner{policy: policy}
	result.Verification, err = artifact.Verify(ctx, look, subject)
	if flags.explain {
		result.Explanation = explain(policy, subject, look.found, err)
	}
	// 4. All of it.
	if err == nil && flags.deep {
		result.Deep, err = a.deep(ctx, text, from, d)
	}
	if err != nil {
		result.Verification = nil
	}
	if err == nil || flags.explain {
		err = errors.Join(err, a.showVerify(&result))
	}
	return err
}

// examiner is a verifier that looks at every signature, and remembers what it
// saw.
type examiner struct {
	policy *signing.PolicyVerifier
	found  *signing.Examination
}

func (e *examiner) Verify(ctx context.Context, s artifact.Subject) (v *artifact.Verification, err error) {
	if e.found, err = e.policy.Examine(ctx, s); err != nil {
		return nil, err
	}
	return e.found.Verification, nil
}

// deepResult is what was read of an image besides its signatures.
type deepResult struct {
	*artifact.Content
	// Unchecked are manifests whose disk is not the image's byte for byte.
	Unchecked []string `json:"unchecked,omitempty"`
}

// deep holds that there is one truth. What is wrong is a refusal, as a wrong
// signature is.
func (a *app) deep(ctx context.Context, text string, from *registry.Repository, d ocispec.Descriptor) (*deepResult, error) {
	refuse := func(err error) error {
		var format *artifact.FormatError
		if errors.As(err, &format) || errors.Is(err, registry.ErrMismatch) {
			return &artifact.VerificationError{Ref: text, Digest: d.Digest.String(), Err: err}
		}
		return err
	}
	s, err := signing.FindSubjects(ctx, from, d, "")
	if err != nil {
		return nil, refuse(err)
	}
	content, err := s.Image.CheckContent(ctx, from, a.status())
	if err != nil {
		return nil, refuse(err)
	}
	out := &deepResult{Content: content}
	for _, u := range s.Unchecked {
		out.Unchecked = append(out.Unchecked, u.String())
	}
	return out, nil
}
