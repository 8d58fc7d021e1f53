// Package cli is the command line: one file a command, each turning flags
// into an options struct, one library call, and a result to show.
package cli

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// BuildInfo says which build of the program this is.
type BuildInfo struct {
	Version string
	Commit  string
	Date    string
}

// System is what the program touches besides files.
type System struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Build          BuildInfo
}

// app is what the commands share.
type app struct {
	System
	output option.Output
}

func (a *app) status() *display.Status { return display.NewStatus(a.Stderr, a.output.Quiet) }

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, args []string, sys System) int {
	a := &app{System: sys}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errDifferent) {
		return exitOther // what differs was told
	}
	f := classify(ctx, err)
	report(sys.Stderr, f, a.output.JSON)
	return f.code
}

// Root returns the command tree, for generating its documents.
func Root() *cobra.Command {
	return newRoot(&app{System: System{Getenv: func(string) string { return "" }}})
}

func newRoot(a *app) *cobra.Command {
	cmd := newBuild(a)
	cmd.Use = "esxi-img [--output FILE ISO]"
	cmd.Short = "Build, ship and trust VMware ESXi disk images"
	cmd.Long = `esxi-img turns a VMware ESXi installer ISO into a disk image that installs ESXi
unattended. It needs no root, no loop device and no other program.

Given --output and an ISO it builds; see "esxi-img build --help" for all flags
of that. Results go to standard output, everything else to standard error.

` + exitCodeHelp
	cmd.Example = `  esxi-img --output esxi.img VMware-VMvisor-Installer-8.0U2-22380479.x86_64.iso
  esxi-img inspect esxi.img`
	cmd.SuggestionsMinimumDistance = 2
	cmd.SilenceErrors = true
	cmd.SilenceUsage = true
	cmd.Version = a.Build.Version
	cmd.SetVersionTemplate("esxi-img {{.Version}}\n")
	cmd.CompletionOptions.HiddenDefaultCmd = false
	if a.Stdout != nil {
		cmd.SetIn(a.Stdin)
		cmd.SetOut(a.Stdout)
		cmd.SetErr(a.Stderr)
	}
	asRoot(cmd)

	a.output.AddFlags(cmd.PersistentFlags())
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef(seeHelp(c), "%w", err)
	})
	cmd.AddCommand(
		newBuild(a), newCustomize(a), newPush(a), newPull(a), newCopy(a), newInspect(a), newCatalog(a), newPrune(a), newDiff(a), newDoctor(a), newKickstart(a), newInstallerModule(a), newMetadata(a),
		newGenImg(a), newKSTemplate(a), newInstallerHelper(a), newServe(a), newLogin(a), newLogout(a), newSign(a), newAttest(a), newVerify(a), newVersion(a),
	)
	return cmd
}

// asRoot lets the build command serve as the root: its flags but --output stay
// out of the root's help, and a word that is no ISO is taken for a mistyped
// command.
func asRoot(cmd *cobra.Command) {
	hideAllBut(cmd, "output")
	build := cmd.RunE
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 && c.Flags().NFlag() == 0:
			return c.Help()
		case len(args) > 0 && !c.Flags().Changed("output") && !strings.ContainsAny(args[0], "./\\"):
			return unknownCommand(c, args[0])
		}
		if err := maxArgs(1)(c, args); err != nil {
			return err
		}
		return build(c, args)
	}
}

func unknownCommand(c *cobra.Command, name string) error {
	advice := seeHelp(c)
	if near := c.SuggestionsFor(name); len(near) > 0 {
		advice = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef(advice, "there is no command %q", name)
}

func seeHelp(c *cobra.Command) string { return "see \"" + c.CommandPath() + " --help\"" }

// maxArgs is cobra.MaximumNArgs with our exit code, and says which is too many.
func maxArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		takes := "no argument"
		if n > 0 {
			takes = quantity.Count(n, "argument", "arguments")
		}
		return usagef(seeHelp(c), "%q is one too many: %s takes %s", args[n], c.CommandPath(), takes)
	}
}

// minArgs is for commands that take any number of something.
func minArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch missing := names[min(len(args), len(names)):]; len(missing) {
		case 0:
			return nil
		case 1:
			return usagef(seeHelp(c), "%s is missing", missing[0])
		default:
			return usagef(seeHelp(c), "%s are missing", strings.Join(missing, " and "))
		}
	}
}

// exactArgs is cobra.ExactArgs with our exit code and the names of what is missing.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := minArgs(names...)(c, args); err != nil {
			return err
		}
		return maxArgs(len(names))(c, args)
	}
}

// group runs a command that only has subcommands.
func group(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(c, args[0])
	}
	return errors.Join(c.Help(), usagef("name one of its commands", "%s does nothing by itself", c.CommandPath()))
}

// exitCodeHelp stands in every help page.
const exitCodeHelp = `Exit codes: 0 done; 1 other; 2 usage; 3 input not usable; 4 registry or
network; 5 input/output; 10 verification failed; 130 interrupted.`

// hideAllBut hides every flag of the command itself but one from its help.
func hideAllBut(cmd *cobra.Command, name string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = f.Name != name })
}
