package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of main.py --plan.
const (
	planUnusable = 3 // metadata or NICs that cannot be read
	planProblems = 4 // a plan, and things that it leaves out
)

func newMetadataPlan(a *app) *cobra.Command {
	var (
		nics       string
		secureBoot bool
	)
	cmd := &cobra.Command{
		Use:   "plan DIR --nics FILE",
		Short: "Print what a host would do with its metadata",
		Long: `Plan prints the commands that the installer is given for the metadata in DIR
(root password without its hash, management network, disk), and those that a
freshly installed host would run on its first boot. Nothing is run or written.

FILE lists the host's network cards: what "esxcli network nic list" prints
there, or JSON such as [{"name": "vmnic0", "mac": "00:11:22:33:44:55"}].

With UEFI Secure Boot there is no first boot: --secure-boot tells what the
installer does by itself, and what is then left undone.

A problem is about something that the host would not become, a note about what
is done differently or not supported; both have a file with a JSON path, or the
place in the host's links and networks. What an image carries for all hosts
("esxi-img build --root-password-hash", --install-disk and the like) is not
known here.

Exit code 3 if the metadata cannot be used, or asks for something that cannot
be done on that host.

` + exitCodeHelp,
		Example: `  esxi-img metadata plan config-drive --nics nics.txt
  esxi-img metadata plan config-drive --nics nics.json --secure-boot --json`,
		Args: exactArgs("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			if nics == "" {
				return usagef("save what \"esxcli network nic list\" prints on the host", "--nics is missing")
			}
			return a.planMetadata(c.Context(), args[0], nics, secureBoot)
		},
	}
	f := cmd.Flags()
	f.StringVar(&nics, "nics", "", "the host's network cards are listed in `FILE`")
	f.BoolVar(&secureBoot, "secure-boot", false, "tell what is left undone under UEFI Secure Boot")
	return cmd
}

func (a *app) planMetadata(ctx context.Context, dir, nics string, secureBoot bool) error {
	if err := metadataFolder(dir); err != nil {
		return err
	}
	args := []string{"--plan", "--metadata", dir, "--nics", nics}
	if secureBoot {
		args = append(args, "--secure-boot")
	}
	if a.output.JSON {
		args = append(args, "--json")
	}
	code, said, err := hostPython(ctx, a.Stdout, "main.py", args...)
	switch {
	case err != nil:
		return err
	case code == 0:
		return nil
	case code == planUnusable:
		advice := fmt.Sprintf("\"esxi-img metadata validate %s\" tells all that is wrong with it", dir)
		if strings.HasPrefix(said, nics) {
			advice = "save what \"esxcli network nic list\" prints on the host, or JSON as --help shows"
		}
		return inputError(errors.New(said), advice)
	case code == planProblems:
		return inputError(fmt.Errorf("%s: the host would not become all that it asks for", dir), "mend what is listed as a problem")
	default:
		return fmt.Errorf("%s: the planner ended with exit code %d: %s", dir, code, said)
	}
}
