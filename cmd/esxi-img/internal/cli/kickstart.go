package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
)

func newKickstart(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kickstart",
		Short: "Render or check a kickstart",
		Long:  "Commands for the installer's script: what build would put on a disk, and what\nthe installer would make of one.",
		RunE:  group,
	}
	cmd.AddCommand(newKickstartRender(a), newKickstartLint(a))
	return cmd
}

func newKickstartRender(a *app) *cobra.Command {
	var (
		flags  option.ProfileFlags
		output string
		force  bool
	)
	cmd := &cobra.Command{
		Use:   "render [FILE]",
		Short: "Print the kickstart that build would put on the disk",
		Long: `Render prints the whole kickstart: the built-in commands, or those of FILE, then
the built-in scripts and the user's.

` + exitCodeHelp,
		Example: `  esxi-img kickstart render
  esxi-img kickstart render my.cfg --post 20-agent.py --output KS.CFG`,
		Args: maxArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			profile, err := flags.Resolve(c.Flags())
			if err != nil {
				return unresolved(err)
			}
			if len(args) > 0 {
				profile.Kickstart = args[0]
			}
			text, err := a.renderKickstart(profile.Content)
			if err != nil {
				return err
			}
			return a.writeOutput(output, text, force)
		},
	}
	flags.AddKickstartFlags(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "-", "write to `FILE` instead of standard output")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace the output if it is there")
	return cmd
}

// renderKickstart renders a kickstart and shows the warnings.
func (a *app) renderKickstart(p option.Content) ([]byte, error) {
	var (
		profile imager.Profile
		err     error
	)
	if profile.Kickstart, profile.Snippets, err = loadKickstart(p); err != nil {
		return nil, err
	}
	text, warnings, err := imager.Kickstart(profile)
	if err != nil {
		return nil, err
	}
	status := a.status()
	for _, w := range warnings {
		status.Warn("%s", w)
	}
	return text, nil
}

func newKickstartLint(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "lint FILE",
		Short: "Tell what the installer would refuse, ignore or misread",
		Long: `Lint checks a kickstart as ESXi's installer reads it, which is not how
Anaconda does. Each finding has its line, a rule, the reason and a cure.

Exit code 3 if there is an error among the findings.

` + exitCodeHelp,
		Example: "  esxi-img kickstart lint my.cfg\n  esxi-img kickstart lint --json my.cfg",
		Args:    exactArgs("FILE"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.lintKickstart(args[0]) },
	}
}

func (a *app) lintKickstart(path string) error {
	text, err := readInput(path, kickstart.MaxSize)
	if err != nil {
		return err
	}
	findings := kickstart.Lint(text, kickstart.LintOptions{})
	if err := a.showFindings(path, findings); err != nil {
		return err
	}
	if worst, ok := kickstart.Worst(findings); ok && worst == kickstart.Error {
		return inputError(fmt.Errorf("%s: the installer would stop at this kickstart", path), "mend the errors above")
	}
	return nil
}

func (a *app) showFindings(path string, findings []kickstart.Finding) error {
	if a.output.JSON {
		if findings == nil {
			findings = []kickstart.Finding{}
		}
		return display.JSON(a.Stdout, map[string]any{"file": path, "findings": findings})
	}
	for _, f := range findings {
		if _, err := fmt.Fprintln(a.Stdout, display.Printable(findingText(path, f))); err != nil {
			return err
		}
	}
	if len(findings) == 0 {
		_, err := fmt.Fprintf(a.Stdout, "%s: nothing to mend\n", path)
		return err
	}
	return nil
}

// findingText is a finding as compilers write theirs.
func findingText(path string, f kickstart.Finding) string {
	return fmt.Sprintf("%s: %s: %s", findingPlace(path, f), f.Severity, findingCause(f))
}

func findingPlace(path string, f kickstart.Finding) string {
	if f.Line > 0 {
		return fmt.Sprintf("%s:%d", path, f.Line)
	}
	return path
}

func findingCause(f kickstart.Finding) string {
	text := fmt.Sprintf("%s [%s]: %s", f.Message, f.Rule, f.Reason)
	if f.Cure != "" {
		text += ". " + f.Cure
	}
	return text
}

// tellFindings tells what goes to a registry with an image.
func tellFindings(status *display.Status, findings []kickstart.Finding) {
	for _, f := range findings {
		tell := status.Warn
		if f.Severity == kickstart.Note {
			tell = status.Note
		}
		tell("%s: %s", findingPlace("kickstart", f), findingCause(f))
	}
}
