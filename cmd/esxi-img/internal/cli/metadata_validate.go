package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// validateInvalid is the exit code of validate.py when there are errors.
const validateInvalid = 3

func newMetadataValidate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "validate DIR",
		Short: "Tell what a host would not take of its metadata",
		Long: `Validate reads the metadata in DIR as the installer does: a config drive with
openstack/latest, or NoCloud's meta-data, user-data, vendor-data and
network-config. Each finding has its file with a JSON path or a line.

An error is about something that a host leaves out; it uses the rest. A note is
about what is not supported, or is done differently. What is left for the host
to use follows. Passwords are never shown.

Exit code 3 if there is an error among the findings.

` + exitCodeHelp,
		Example: "  esxi-img metadata validate config-drive\n  esxi-img metadata validate --json config-drive",
		Args:    exactArgs("DIR"),
		RunE:    func(c *cobra.Command, args []string) error { return a.validateMetadata(c.Context(), args[0]) },
	}
}

func (a *app) validateMetadata(ctx context.Context, dir string) error {
	if err := metadataFolder(dir); err != nil {
		return err
	}
	var args []string
	if a.output.JSON {
		args = append(args, "--json")
	}
	args = append(args, dir)
	code, said, err := hostPython(ctx, a.Stdout, "validate.py", args...)
	switch {
	case err != nil:
		return err
	case code == 0:
		return nil
	case code == validateInvalid:
		return inputError(fmt.Errorf("%s: has metadata that a host would leave out", dir), "mend what is listed as an error")
	default:
		return fmt.Errorf("%s: the validator ended with exit code %d: %s", dir, code, said)
	}
}
