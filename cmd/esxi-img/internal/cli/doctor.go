package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact/interop"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func newDoctor(a *app) *cobra.Command {
	var flags option.Registry
	var tools []string
	cmd := &cobra.Command{
		Use:   "doctor REF",
		Short: "Tell whether other tools take an image",
		Long: `Doctor holds an image in a registry, a layout (oci:DIR) or an archive
(oci-archive:FILE) against what OpenStack Ironic, oras, skopeo, podman, cosign,
Tinkerbell and esxi-img itself want of it: one line a rule, with the reason. It
reads manifests and the first kilobytes of the disk, and writes nothing.

It ends with exit code 3 if a rule fails. Tinkerbell cannot take what the others
take: its rule counts only where it is asked for with --for.

` + exitCodeHelp,
		Example: `  esxi-img doctor registry.example/esxi:8.0
  esxi-img doctor --for ironic --for oras registry.example/esxi:8.0
  esxi-img doctor --json oci:esxi-img.oci`,
		Args: exactArgs("REF"),
		RunE: func(c *cobra.Command, args []string) error {
			for _, t := range tools {
				if !slices.Contains(interop.Tools, t) {
					return usagef("the tools are "+strings.Join(interop.Tools, ", "), "--for %s: no rules are known", t)
				}
			}
			opts, err := a.registryOptions(&flags, c.Flags())
			if err != nil {
				return err
			}
			return a.doctor(c.Context(), args[0], tools, opts)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&tools, "for", nil, "ask for `TOOL` only: "+strings.Join(interop.Tools, ", ")+" (repeatable)")
	flags.AddFlags(f)
	return cmd
}

func (a *app) doctor(ctx context.Context, text string, tools []string, opts registry.Options) (err error) {
	ref, err := registry.Parse(text)
	if err != nil {
		return err
	}
	observer := &interop.Observer{}
	opts.Observe = observer.Observe
	from, d, release, err := openResolved(ctx, ref, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	findings, err := interop.Examine(ctx, from, d, interop.Options{Tools: tools, Observer: observer})
	if err != nil {
		return err
	}
	if err := a.showRules(ref, d.Digest.String(), findings); err != nil {
		return err
	}
	return verdict(ref, findings)
}

// verdict fails for the tools that cannot use the image.
func verdict(ref registry.Reference, findings []interop.Finding) error {
	var bad []string
	for _, f := range findings {
		if f.Verdict == interop.Fails && !slices.Contains(bad, f.Tool) {
			bad = append(bad, f.Tool)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return inputError(fmt.Errorf("%s is not fit for %s", ref, strings.Join(bad, ", ")), "see the rules that fail; --for TOOL asks for some tools only")
}

// doctorResult is what doctor prints.
type doctorResult struct {
	Ref      string            `json:"ref"`
	Digest   string            `json:"digest"`
	Findings []interop.Finding `json:"findings"`
}

func (a *app) showRules(ref registry.Reference, digest string, findings []interop.Finding) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, doctorResult{ref.String(), digest, findings})
	}
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Tool)+1+len(f.Rule))
	}
	for _, f := range findings {
		// A reason may hold what a registry said.
		reason := strings.Join(strings.Fields(display.Printable(f.Reason)), " ")
		if _, err := fmt.Fprintf(a.Stdout, "%-5s  %-*s  %s\n", f.Verdict, width, f.Tool+" "+f.Rule, reason); err != nil {
			return err
		}
	}
	return nil
}
