package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/catalog/page"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// defaultListen is the address of a registry that only this machine reaches.
const defaultListen = "127.0.0.1:5000"

// serveFlags are what serve is told.
type serveFlags struct {
	listen   string
	name     string
	readOnly bool
	verbose  bool
	cert     string
	key      string
	ui       bool
	public   string
	verify   option.Verify
}

func newServe(a *app) *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve DIR",
		Short: "Serve a folder as an OCI registry",
		Long: `serve is an OCI registry over OCI image layouts in folders: for labs, for sites
that are cut off, and for trying things out. It keeps nothing beside the layouts,
which other commands may read and write at the same time.

If DIR is a layout, as build writes it, it is one repository with the folder's
name, or that of --name. In any other folder the layout in DIR/a/b is the
repository a/b; a push makes those that are not there.

It knows no users: whoever reaches the address may pull, and push unless it is
--read-only. So it listens on this machine alone, unless --listen says
otherwise. ESXi's licence does not allow to give its files away.

With --ui it also shows the images to a browser, at /ui/: a table, a page for
each image, and what differs between any two. Signers are verified there as the
flags or the policy file say, and else claimed. A policy knows the images by
their folders, as oci:/srv/images/esxi; with --public-name by the name that
clients pull them by, so that its scope for that registry applies.

It prints where it listens, and runs until INT or TERM ends it; what clients
have asked for already is still answered, for at most 10 s. The exit code is 0
then. It removes nothing: what no tag reaches any more goes when build writes to
the layout again.

` + exitCodeHelp,
		Example: `  esxi-img build esxi.iso && esxi-img serve esxi-img.oci
  esxi-img serve /srv/images --listen :5000 --tls-cert cert.pem --tls-key key.pem
  esxi-img serve /srv/images --ui --policy policy.yaml --public-name registry.example:5000
  esxi-img serve esxi-img.oci --listen 192.0.2.1:5000 --read-only --verbose`,
		Args: exactArgs("DIR"),
		RunE: func(c *cobra.Command, args []string) error { return a.serve(c.Context(), args[0], &flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.listen, "listen", defaultListen, "listen on `ADDRESS:PORT`; an empty address is all of them, port 0 a free one")
	f.StringVar(&flags.name, "name", "", "the repository's `NAME`, if DIR is a layout")
	f.BoolVar(&flags.readOnly, "read-only", false, "refuse pushes")
	f.BoolVarP(&flags.verbose, "verbose", "v", false, "tell of each request on standard error")
	f.StringVar(&flags.cert, "tls-cert", "", "speak HTTPS with the certificates in `FILE` (PEM)")
	f.StringVar(&flags.key, "tls-key", "", "the certificate's key is in `FILE` (PEM)")
	f.BoolVar(&flags.ui, "ui", false, "show the images as pages for a browser, at /ui/")
	f.StringVar(&flags.public, "public-name", "", "with --ui: clients reach this registry at `HOST[:PORT]`; verify and show the images under that name")
	flags.verify.AddCheckFlags(f)
	return cmd
}

// serve serves until the context ends.
func (a *app) serve(ctx context.Context, dir string, flags *serveFlags) (err error) {
	config, err := flags.tls()
	if err != nil {
		return err
	}
	status := a.status()
	pages, shown, err := a.pages(flags, status)
	if err != nil {
		return err
	}
	s, err := server.New(dir, server.Options{ReadOnly: flags.readOnly, Name: flags.name, Pages: pages, Log: requestLog(status, flags.verbose)})
	var name *server.NameError
	if errors.As(err, &name) {
		return usagef("give another --name", "%w", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", flags.listen)
	if err != nil {
		return serveFailure(flags.listen, err)
	}
	if shown != nil {
		shown.layouts, shown.address = s.Layouts, listener.Addr().String()
	}
	if err := a.showServe(dir, s, listener.Addr(), flags); err != nil {
		return errors.Join(err, listener.Close())
	}
	if isOpen(listener.Addr()) && !flags.readOnly {
		status.Warn("whoever reaches %s may push and pull; there is --read-only", listener.Addr())
	}
	return s.Serve(ctx, listener, config)
}

func serveFailure(address string, err error) error {
	return &failure{exitIO, fmt.Errorf("--listen %s: %w", address, err), "choose an address of this machine and a free port, such as 127.0.0.1:0"}
}

// tls reads certificate and key; nil without them.
func (f *serveFlags) tls() (*tls.Config, error) {
	if f.cert == "" && f.key == "" {
		return nil, nil //nolint:nilnil // no TLS is a way to serve
	}
	if f.cert == "" || f.key == "" {
		return nil, usagef("give both", "--tls-cert and --tls-key: one without the other")
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, inputError(fmt.Errorf("--tls-cert %s, --tls-key %s: %w", f.cert, f.key, err), "both are PEM files, and the key is the certificate's")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// isOpen says whether others than this machine reach an address.
func isOpen(addr net.Addr) bool {
	host, err := netip.ParseAddrPort(addr.String())
	return err != nil || !host.Addr().Unmap().IsLoopback()
}

// serveResult is what serve prints before it serves.
type serveResult struct {
	URL        string `json:"url"`
	Folder     string `json:"folder"`
	ReadOnly   bool   `json:"readOnly"`
	Repository string `json:"repository,omitempty"` // the only one
	Pages      string `json:"pages,omitempty"`      // with --ui
}

func (a *app) showServe(dir string, s *server.Server, addr net.Addr, flags *serveFlags) error {
	scheme := "http"
	if flags.cert != "" {
		scheme = "https"
	}
	out := serveResult{URL: scheme + "://" + addr.String(), Folder: dir, ReadOnly: flags.readOnly, Repository: s.Repository()}
	if flags.ui {
		out.Pages = out.URL + page.Prefix
	}
	if a.output.JSON {
		return display.JSON(a.Stdout, out)
	}
	var f display.Fields
	f.Add("listening", out.URL)
	f.Add("pages", out.Pages)
	if out.Repository != "" {
		f.Addf("repository", "%s/%s", addr, out.Repository)
	} else {
		f.Addf("repositories", "%s/…, as the folders in %s", addr, dir)
	}
	return f.Write(a.Stdout)
}

// requestLog tells of requests: of all, or of those that failed here.
func requestLog(status *display.Status, verbose bool) func(server.Request) {
	return func(r server.Request) {
		if verbose && r.Status != 0 {
			status.Log("%s %s %s: %d, %s in %s", r.Remote, r.Method, r.Path, r.Status, quantity.Bytes(r.Bytes), r.Duration.Round(100*time.Microsecond))
		}
		if r.Err != nil {
			status.Warn("%s %s: %v", r.Method, r.Path, r.Err)
		}
	}
}
