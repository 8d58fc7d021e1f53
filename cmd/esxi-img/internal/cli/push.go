package cli

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// pushFlags are what push is told.
type pushFlags struct {
	registry option.Registry
	verify   option.Verify
	sign     option.Sign
	profile  option.ProfileFlags
	layout   string
	base     string
	qcow2    bool
	force    bool
	secrets  bool
	signs    bool
	sbom     bool
}

// kickstartFlags make up a variant's kickstart.
var kickstartFlags = []string{"kickstart", "pre", "post", "firstboot"}

func newPush(a *app) *cobra.Command {
	var flags pushFlags
	cmd := &cobra.Command{
		Use:   "push REF",
		Short: "Push an image to a registry",
		Long: `Push copies the image that build left in an OCI image layout to a registry, or to
another layout (oci:DIR). What is there already is not sent again, and all that
is sent is hashed again on its way.

Besides the tag of REF (without one: latest) the image gets the tag
VERSION-BUILD, unless that names another image already. A tag of REF that names
another image is moved with --force only.

A kickstart with secrets in plain text is refused: everybody who can pull the
image can read it. ESXi's licence does not allow to give its files away, so push
to a private repository.

With --qcow2 the image gets another disk manifest, over the disk as a QEMU qcow2
file, for tools that want one: OpenStack Ironic takes it where a conductor
converts images. It is made on the way, from the layout's disk, and takes about
as much room in the registry again.

With --base and --kickstart it pushes a variant: an image that is another one
with another kickstart. Only some kilobytes are sent; the disk stays the base's.

With --sign it signs what it pushed, as "esxi-img sign" does, with the same flags:
the index, and each manifest in it. With them it attests which VIBs and files the
image has, as "esxi-img attest --sbom" does, unless told not to by --sbom=false.
No tag is set before that is done.

` + exitCodeHelp,
		Example: `  esxi-img build esxi.iso && esxi-img push registry.example/esxi:8.0
  esxi-img push registry.example/esxi:8.0 --layout other.oci:8.0
  esxi-img push registry.example/esxi:8.0-lab --base registry.example/esxi:8.0 \
    --kickstart lab.cfg --base-key cosign.pub
  esxi-img push registry.example/esxi:8.0 --sign --key cosign.key`,
		Args: exactArgs("REF"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			if name := flags.sign.Given(); name != "" && !flags.signs {
				return usagef("add --sign", "--%s: push signs with --sign only", name)
			}
			if c.Flags().Changed("sbom") && flags.sbom && !flags.signs {
				return usagef("add --sign", "--sbom: nobody would vouch for it")
			}
			if flags.base != "" {
				if flags.qcow2 {
					return usagef("leave --qcow2 out, or build the image with that kickstart", "--qcow2: a variant has no disk of its own to make one of")
				}
				return a.pushVariant(c, args[0], &flags, opts)
			}
			for _, name := range kickstartFlags {
				if c.Flags().Changed(name) {
					return usagef("add --base REF, or build the image with that kickstart", "--%s: push changes the kickstart of a --base only", name)
				}
			}
			return a.push(c.Context(), args[0], &flags, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.layout, "layout", option.DefaultLayout, "push from the layout `DIR[:TAG]`; without a TAG: latest")
	f.StringVar(&flags.base, "base", "", "push a variant of the image `REF`")
	f.BoolVar(&flags.qcow2, "qcow2", false, "add the disk as a qcow2 file")
	f.BoolVarP(&flags.force, "force", "f", false, "move the tag if it names another image")
	f.BoolVar(&flags.secrets, "allow-secrets", false, "push a kickstart with secrets in plain text")
	f.BoolVar(&flags.signs, "sign", false, "sign what was pushed")
	f.BoolVar(&flags.sbom, "sbom", true, "with --sign, attest which VIBs and files the image has (SPDX 2.3)")
	flags.sign.AddFlags(f)
	flags.profile.AddKickstartFlags(f)
	flags.verify.AddBaseFlags(f)
	flags.registry.AddFlags(f)
	return cmd
}

// push copies an image from a layout.
func (a *app) push(ctx context.Context, refText string, flags *pushFlags, opts registry.Options) (err error) {
	ref, tag, err := pushTarget(refText)
	if err != nil {
		return err
	}
	signer, err := a.pushSigner(ctx, ref, flags)
	if err != nil {
		return err
	}
	fromRef, err := layoutReference(flags.layout)
	if err != nil {
		return err
	}
	from, d, release, err := openResolved(ctx, fromRef, registry.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return a.pushTo(ctx, ref, opts, signer, a.pushOptions(flags, tag), func(to *registry.Repository, o artifact.PushOptions) (*artifact.Pushed, error) {
		return artifact.Push(ctx, from, d, to, o)
	})
}

// pushVariant pushes an image with another kickstart than its base.
func (a *app) pushVariant(c *cobra.Command, refText string, flags *pushFlags, opts registry.Options) (err error) {
	ctx := c.Context()
	ref, tag, err := pushTarget(refText)
	if err != nil {
		return err
	}
	baseRef, err := registry.Parse(flags.base)
	if err != nil {
		return err
	}
	if err := oneRegistry(baseRef, ref, opts); err != nil {
		return err
	}
	verifier, err := a.baseVerifier(&flags.verify, flags.base)
	if err != nil {
		return err
	}
	signer, err := a.pushSigner(ctx, ref, flags)
	if err != nil {
		return err
	}
	text, err := a.variantKickstart(c, flags)
	if err != nil {
		return err
	}
	base, d, release, err := openResolved(ctx, baseRef, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	v := artifact.VariantOptions{Verifier: verifier, Builder: a.Build.Version}
	localRef, err := layoutReference(flags.layout)
	if err != nil {
		return err
	}
	// A layout that has the base's disk saves fetching it; none need be there.
	if local, releaseLocal, openErr := openHeld(ctx, localRef, registry.Options{}, registry.Open); openErr == nil {
		defer func() { err = errors.Join(err, releaseLocal()) }()
		v.Local = local
	}
	return a.pushTo(ctx, ref, opts, signer, a.pushOptions(flags, tag), func(to *registry.Repository, o artifact.PushOptions) (*artifact.Pushed, error) {
		v.PushOptions = o
		return artifact.PushVariant(ctx, base, d, text, to, v)
	})
}

// variantKickstart renders the kickstart that the flags ask for.
func (a *app) variantKickstart(c *cobra.Command, flags *pushFlags) ([]byte, error) {
	profile, err := flags.profile.Resolve(c.Flags())
	if err != nil {
		return nil, unusable(err)
	}
	if profile.Kickstart == "" && len(profile.Pre)+len(profile.Post)+len(profile.Firstboot) == 0 {
		return nil, usagef("add --kickstart FILE", "a variant of %s needs a kickstart of its own", flags.base)
	}
	return a.renderKickstart(profile.Content)
}

func (a *app) pushOptions(flags *pushFlags, tag string) artifact.PushOptions {
	return artifact.PushOptions{Tag: tag, Force: flags.force, AllowSecrets: flags.secrets, QCOW2: flags.qcow2, Progress: a.status()}
}

// pushTarget reads the reference that is pushed to, and its tag.
func pushTarget(text string) (registry.Reference, string, error) {
	ref, err := registry.Parse(text)
	if err != nil {
		return ref, "", err
	}
	if ref.Digest != "" {
		return ref, "", usagef("name a tag, or none", "%s: a digest follows from what is pushed", text)
	}
	return ref, ref.Name(), nil
}

// layoutReference reads a layout that is named DIR[:TAG].
func layoutReference(text string) (registry.Reference, error) {
	return registry.Parse(registry.SchemeLayout + ":" + text)
}

// pushSigner returns who signs what is pushed, nil for nobody.
func (a *app) pushSigner(ctx context.Context, ref registry.Reference, flags *pushFlags) (*pushSigner, error) {
	if !flags.signs {
		return nil, nil
	}
	if err := notArchive(ref); err != nil {
		return nil, err
	}
	s, err := a.signer(ctx, &flags.sign)
	if err != nil {
		return nil, err
	}
	return &pushSigner{signer: s, sbom: flags.sbom}, nil
}

// pushSigner signs what is pushed, and keeps what it made.
type pushSigner struct {
	signer *signing.Signer
	sbom   bool
	// signatures and attestations are of the same subjects, in that order.
	signatures   []signing.Signed
	attestations []signing.Signed
}

// signPushed signs what was pushed and no tag names yet: all of it before any of
// it is attached.
func (a *app) signPushed(ctx context.Context, s *pushSigner, to *registry.Repository, d ocispec.Descriptor) error {
	repository, err := claimedRepository(to.Reference(), "")
	if err != nil {
		return err
	}
	subjects, err := signing.FindSubjects(ctx, to, d, repository)
	if err != nil {
		return err
	}
	signatures := len(subjects.Statements)
	if s.sbom {
		text, err := signing.SBOM(subjects.Image.Config, a.Build.Version)
		if err != nil {
			return err
		}
		more, err := subjects.Attestations(signing.PredicateSPDX, text)
		if err != nil {
			return err
		}
		subjects.Statements = append(subjects.Statements, more...)
	}
	signed, err := a.signSubjects(ctx, s.signer, to, subjects)
	if err != nil {
		return err
	}
	s.signatures, s.attestations = signed[:signatures], signed[signatures:]
	return nil
}

// pushTo opens what is pushed to, pushes, signs, and shows what was done.
func (a *app) pushTo(ctx context.Context, ref registry.Reference, opts registry.Options, signer *pushSigner, o artifact.PushOptions,
	push func(*registry.Repository, artifact.PushOptions) (*artifact.Pushed, error),
) (err error) {
	to, release, err := openHeld(ctx, ref, opts, registry.Create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	status := a.status()
	if ref.Scheme == "" {
		status.Note("ESXi's licence does not allow to give its files away: keep %s private", ref.Locator())
	}
	if signer == nil {
		signer = &pushSigner{}
	} else {
		o.BeforeTags = func(ctx context.Context, d ocispec.Descriptor) error {
			if err := a.signPushed(ctx, signer, to, d); err != nil {
				return fmt.Errorf("%s is pushed, but neither signed nor tagged: %w", ref.WithDigest(d.Digest), err)
			}
			return nil
		}
	}
	p, err := push(to, o)
	if err != nil {
		return baseFailure(err)
	}
	if err := markSigned(ctx, to, signer.signatures); err != nil {
		return err
	}
	tellFindings(status, p.Findings)
	return a.showPush(ref, p, signer)
}

// pushResult is what push prints.
type pushResult struct {
	Ref string `json:"ref"` // the repository
	*artifact.Pushed
	Signatures   []signatureResult   `json:"signatures,omitempty"`
	Attestations []attestationResult `json:"attestations,omitempty"`
}

func (a *app) showPush(ref registry.Reference, p *artifact.Pushed, signed *pushSigner) error {
	result := pushResult{ref.Locator(), p, signatureResults(signed.signatures), nil}
	for _, r := range signatureResults(signed.attestations) {
		result.Attestations = append(result.Attestations, attestationResult{signing.PredicateSPDX, r})
	}
	if a.output.JSON {
		return display.JSON(a.Stdout, result)
	}
	tags := a.tagsSet(p.Tags)
	var f display.Fields
	f.Add("pushed", ref.WithDigest(p.Index).String())
	if p.QCOW2 != "" {
		f.Add("qcow2", p.QCOW2.String())
	}
	f.Add("tags", tags)
	f.Addf("sent", "%s; mounted %s, already there %s", quantity.Bytes(p.Sent), quantity.Bytes(p.Mounted), quantity.Bytes(p.Present))
	if len(result.Signatures) > 0 {
		addSignatures(&f, result.Signatures)
	}
	addAttestations(&f, result.Attestations)
	return f.Write(a.Stdout)
}
