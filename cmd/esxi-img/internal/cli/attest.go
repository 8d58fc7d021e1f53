package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// attestFlags are what attest is told.
type attestFlags struct {
	sign          option.Sign
	registry      option.Registry
	repository    string
	sbom          bool
	provenance    bool
	builderID     string
	predicate     string
	predicateType string
}

func newAttest(a *app) *cobra.Command {
	var flags attestFlags
	cmd := &cobra.Command{
		Use:   "attest REF --sbom|--provenance|--predicate FILE --type URI",
		Short: "Sign what is said of an image",
		Long: `Attest signs statements about an image in a registry or a layout (oci:DIR), and
attaches them to the index and to each manifest in it, as cosign 3 does:

  --sbom        which VIBs and files are in it, as an SPDX document
  --provenance  from which ISO and with which parameters it was built, as a SLSA
                provenance
  --predicate   what stands in a JSON file, of the type that --type names

SBOM and provenance are made of what the image says of itself: whoever attests
stands for it, so attest only what you built or verified. Several of them may be
given at once. An attestation is no signature: sign the image too.

Who signs is told as to "esxi-img sign": --key, or an identity.

` + exitCodeHelp,
		Example: `  esxi-img attest registry.example/esxi:8.0 --sbom --provenance --key cosign.key
  esxi-img attest ghcr.io/org/esxi:8.0 --provenance \
    --builder-id https://github.com/org/repo/.github/workflows/image.yml@refs/heads/main
  esxi-img attest registry.example/esxi:8.0 --key cosign.key \
    --predicate scan.json --type https://example.com/scan/v1`,
		Args: exactArgs("REF"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			return a.attest(c.Context(), args[0], &flags, opts)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.sbom, "sbom", false, "attest which VIBs and files the image has (SPDX 2.3)")
	f.BoolVar(&flags.provenance, "provenance", false, "attest what the image was built from (SLSA 1)")
	f.StringVar(&flags.builderID, "builder-id", "", "the provenance's builder is `URI` (default: one that says nothing of it)")
	f.StringVar(&flags.predicate, "predicate", "", "attest the JSON object in `FILE`")
	f.StringVar(&flags.predicateType, "type", "", "the predicate's type is `URI`")
	f.StringVar(&flags.repository, "repository", "", "attest for `HOST/PATH` (default: that of REF; for a layout: none)")
	flags.sign.AddFlags(f)
	flags.registry.AddFlags(f)
	return cmd
}

// check finds what contradicts itself.
func (f *attestFlags) check() error {
	switch {
	case !f.sbom && !f.provenance && f.predicate == "" && f.predicateType == "":
		return usagef("add --sbom, --provenance, or --predicate FILE --type URI", "there is nothing to attest")
	case f.builderID != "" && !f.provenance:
		return usagef("add --provenance", "--builder-id: only a provenance names the builder")
	case f.predicate == "" && f.predicateType != "":
		return usagef("add --predicate FILE", "--type: is the type of nothing")
	case f.predicate != "" && f.predicateType == "":
		return usagef("add --type URI: a predicate means what its type says", "--predicate %s: has no type", f.predicate)
	}
	if f.builderID != "" {
		if err := signing.CheckURI(f.builderID); err != nil {
			return usagef("name what ran the build, such as the workflow's URL", "--builder-id: %w", err)
		}
	}
	if f.predicateType != "" {
		if err := signing.CheckPredicateType(f.predicateType); err != nil {
			return usagef("name the predicate's type, such as https://spdx.dev/Document", "--type: %w", err)
		}
	}
	return nil
}

func (a *app) attest(ctx context.Context, text string, flags *attestFlags, opts registry.Options) (err error) {
	ref, repository, err := signTarget(text, flags.repository)
	if err != nil {
		return err
	}
	// 1. Who signs, and what the user brings.
	var given *predicate
	if flags.predicate != "" {
		raw, err := signing.LoadPredicate(flags.predicate)
		if err != nil {
			return err
		}
		given = &predicate{flags.predicateType, raw}
	}
	signer, err := a.signer(ctx, &flags.sign)
	if err != nil {
		return err
	}
	// 2. Of what.
	to, d, release, err := openResolved(ctx, ref, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	subjects, err := signing.FindSubjects(ctx, to, d, repository)
	if err != nil {
		return err
	}
	// 3. The statements.
	if err := a.addStatements(subjects, flags, given); err != nil {
		return err
	}
	// 4. All signatures, and then their places.
	signed, err := a.signSubjects(ctx, signer, to, subjects)
	if err != nil {
		return err
	}
	return a.showAttested(ref, d.Digest, subjects.Statements, signed)
}

// predicate is what is said of an image.
type predicate struct {
	kind string // URI
	text []byte // JSON
}

// addStatements puts what the flags ask for in the place of the signatures.
func (a *app) addStatements(s *signing.Subjects, flags *attestFlags, given *predicate) error {
	var predicates []predicate
	config := s.Image.Config
	if flags.sbom {
		text, err := signing.SBOM(config, a.Build.Version)
		if err != nil {
			return err
		}
		predicates = append(predicates, predicate{signing.PredicateSPDX, text})
	}
	if flags.provenance {
		text, err := signing.Provenance(config, flags.builderID)
		if err != nil {
			return err
		}
		predicates = append(predicates, predicate{signing.PredicateProvenance, text})
	}
	if given != nil {
		predicates = append(predicates, *given)
	}
	var all []signing.Statement
	for _, p := range predicates {
		statements, err := s.Attestations(p.kind, p.text)
		if err != nil {
			return err
		}
		all = append(all, statements...)
	}
	s.Statements = all
	return nil
}

// attestationResult is what attest prints of one attestation.
type attestationResult struct {
	PredicateType string `json:"predicateType"`
	signatureResult
}

func (a *app) showAttested(ref registry.Reference, d digest.Digest, statements []signing.Statement, signed []signing.Signed) error {
	results := make([]attestationResult, len(signed))
	for i, r := range signatureResults(signed) {
		results[i] = attestationResult{statements[i].PredicateType, r}
	}
	if a.output.JSON {
		return display.JSON(a.Stdout, struct {
			Ref          string              `json:"ref"`
			Attestations []attestationResult `json:"attestations"`
		}{ref.WithDigest(d).String(), results})
	}
	var f display.Fields
	f.Add("attested", ref.WithDigest(d).String())
	f.Add("by", signerText(&results[0].Signer))
	addAttestations(&f, results)
	return f.Write(a.Stdout)
}

// addAttestations shows what was attached to what, of each type.
func addAttestations(f *display.Fields, results []attestationResult) {
	for i, r := range results {
		if i == 0 || r.PredicateType != results[i-1].PredicateType {
			f.Add("type", r.PredicateType)
		}
		text := r.Digest + ", attestation " + r.Referrer
		if r.LogIndex != nil {
			text += fmt.Sprintf(", log index %d", *r.LogIndex)
		}
		if r.Time != nil {
			text += ", " + r.Time.UTC().Format(time.RFC3339)
		}
		f.Add("  "+r.Role, text)
	}
}
