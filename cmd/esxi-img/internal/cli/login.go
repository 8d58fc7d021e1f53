package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// registryOptions turns the registry flags of a command into options.
func (a *app) registryOptions(flags *option.Registry, f *pflag.FlagSet) (registry.Options, error) {
	opts, err := flags.Options(f, option.Environment{Getenv: a.Getenv, Stdin: a.Stdin, Version: a.Build.Version})
	if err != nil {
		return opts, usagef("", "%w", err)
	}
	return opts, nil
}

func newLogin(a *app) *cobra.Command {
	var flags option.Registry
	cmd := &cobra.Command{
		Use:   "login REGISTRY",
		Short: "Log in to a registry",
		Long: `Login shows a user name and a password to a registry and keeps them where Docker
does: in the credential helper that its configuration names, else in the file
$DOCKER_CONFIG/config.json (~/.docker/config.json), as base64 that anybody who
can read the file can read. REGISTRY_AUTH_FILE names another file.

Other commands search there and in Podman's auth.json; no login is needed for
what docker, podman, oras or skopeo have logged in to already.

` + exitCodeHelp,
		Example: `  esxi-img login ghcr.io --username octocat --password-stdin < token
  esxi-img login registry.example:5000`,
		Args: exactArgs("REGISTRY"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags, c.Flags())
			if err != nil {
				return err
			}
			if err := a.askCredentials(&opts); err != nil {
				return err
			}
			return a.login(c.Context(), args[0], opts)
		},
	}
	flags.AddLoginFlags(cmd.Flags())
	return cmd
}

// askCredentials asks who sits at the terminal for what is missing.
func (a *app) askCredentials(opts *registry.Options) error {
	if opts.Username != "" && opts.Password != "" {
		return nil
	}
	in, ok := a.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usagef("give --username NAME --password-stdin < FILE", "a user name and a password are needed, and this is no terminal to ask for them")
	}
	if opts.Username == "" {
		fmt.Fprint(a.Stderr, "Username: ")
		if _, err := fmt.Fscanln(in, &opts.Username); err != nil || opts.Username == "" {
			return usagef("", "no user name was given")
		}
	}
	fmt.Fprint(a.Stderr, "Password: ")
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.Stderr)
	if err != nil || len(b) == 0 {
		return usagef("", "no password was given")
	}
	opts.Password = string(b)
	return nil
}

func (a *app) login(ctx context.Context, host string, opts registry.Options) error {
	file, err := registry.Login(ctx, host, opts)
	if errors.Is(err, registry.ErrNoCredentialFile) {
		return usagef("set REGISTRY_AUTH_FILE to a file's name, or HOME", "%w", err)
	}
	if err != nil {
		return err
	}
	if a.output.JSON {
		return display.JSON(a.Stdout, map[string]string{"registry": host, "username": opts.Username, "file": file})
	}
	_, err = fmt.Fprintf(a.Stdout, "logged in to %s as %s (%s)\n", display.Printable(host), display.Printable(opts.Username), file)
	return err
}

func newLogout(a *app) *cobra.Command {
	var flags option.Registry
	return &cobra.Command{
		Use:   "logout REGISTRY",
		Short: "Forget the credentials of a registry",
		Long: `Logout removes the credentials of a registry from every file in which other
commands would find them, and from the credential helpers that these files name.

` + exitCodeHelp,
		Example: `  esxi-img logout ghcr.io`,
		Args:    exactArgs("REGISTRY"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags, c.Flags())
			if err != nil {
				return err
			}
			return a.logout(c.Context(), args[0], opts)
		},
	}
}

func (a *app) logout(ctx context.Context, host string, opts registry.Options) error {
	files, err := registry.Logout(ctx, host, opts)
	if err != nil {
		return err
	}
	if a.output.JSON {
		if files == nil {
			files = []string{}
		}
		return display.JSON(a.Stdout, struct {
			Registry string   `json:"registry"`
			Files    []string `json:"files"`
		}{host, files})
	}
	if len(files) == 0 {
		_, err = fmt.Fprintf(a.Stdout, "not logged in to %s\n", display.Printable(host))
		return err
	}
	_, err = fmt.Fprintf(a.Stdout, "logged out of %s (%s)\n", display.Printable(host), strings.Join(files, ", "))
	return err
}
