package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/pkg/netinit"
)

func newMetadata(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "metadata",
		Short: "Try metadata as a host would use it",
		Long: `Commands for the metadata of a host: a folder with OpenStack's or NoCloud's
files, as they lie on a config drive. They run the very Python that runs on the
host, and need Python 3.5 or later.`,
		RunE: group,
	}
	cmd.AddCommand(newMetadataPlan(a), newMetadataValidate(a))
	return cmd
}

// pythonNames are tried in this order; "py" is the launcher on Windows.
var pythonNames = []string{"python3", "python", "py"}

// hostPython runs a program of the embedded package, such as main.py, with the
// user's Python. It returns the exit code and what was said on standard error;
// the result goes to stdout.
func hostPython(ctx context.Context, stdout io.Writer, program string, args ...string) (code int, said string, err error) {
	python, err := findPython(ctx)
	if err != nil {
		return 0, "", err
	}
	dir, err := os.MkdirTemp("", "esxi-img-")
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := unpackHostFiles(dir); err != nil {
		return 0, "", err
	}
	program = filepath.Join(dir, netinit.ModuleRoot, "esxi_netinit", program)
	// -I: neither the user's environment nor the current folder is searched.
	cmd := exec.CommandContext(ctx, python, append([]string{"-I", "-B", program}, args...)...) //nolint:gosec // Python and our own program
	var problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &problem
	err = cmd.Run()
	said = strings.TrimSpace(problem.String())
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, said, context.Cause(ctx)
	case errors.As(err, &exit):
		return exit.ExitCode(), said, nil
	default:
		return 0, said, err
	}
}

// findPython looks for a Python 3.5 or later.
func findPython(ctx context.Context) (string, error) {
	for _, name := range pythonNames {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		check := exec.CommandContext(ctx, path, "-c", "import sys; sys.exit(sys.version_info < (3, 5))") //nolint:gosec // found under a fixed name
		if check.Run() == nil {
			return path, nil
		}
	}
	return "", &failure{
		code: exitOther, err: errors.New("no Python 3.5 or later is installed here"),
		advice: "install python3: this command runs the Python that runs on the host",
	}
}

func unpackHostFiles(dir string) error {
	files, err := netinit.Module()
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// metadataFolder refuses what is no folder before Python is started.
func metadataFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return unusable(err)
	}
	if !info.IsDir() {
		return inputError(fmt.Errorf("%s: is not a folder", dir), "name the folder that holds openstack/latest or meta-data")
	}
	return nil
}
