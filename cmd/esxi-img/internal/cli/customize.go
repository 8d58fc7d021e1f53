package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// customizeFlags are customize's own.
type customizeFlags struct {
	option.CustomizeFlags
	output, format, prefix string
	force, dryRun          bool
}

func newCustomize(a *app) *cobra.Command {
	var flags customizeFlags
	cmd := &cobra.Command{
		Use:     "customize IMAGE",
		Aliases: []string{"customise"},
		Short:   "Make a disk image another one: for one host, or with another kickstart",
		Long: `Customize takes a raw disk image that esxi-img made, and plans its disk again
with what is to be different. The payload stays where it is; a volume that is
too small grows.

Without --output the image itself is replaced, in one step: whatever happens
there is the old or the new image. Where the file system can (XFS, Btrfs) both
share what stays the same.

What --config-drive, --network-data, --meta-data, --user-data, --hostname and
--ssh-key give is carried in the image, for a host that has no config drive of
its own. Another --config-drive replaces all of it, single files replace those
of their name. Whoever has the image can read it.

What an image was made from, and how, it tells itself: see "esxi-img inspect".

` + exitCodeHelp,
		Example: `  esxi-img customize esxi.img --hostname esx1.example.com --ssh-key ~/.ssh/id_ed25519.pub
  esxi-img customize esxi.img -o esx1.img --config-drive esx1/ --root-password-file <(pass show esx1)
  esxi-img customize esxi.img -o lab.img --kickstart lab.cfg --serial-console
  esxi-img customize esxi.img --kernelopt allowLegacyCPU=true --dry-run`,
		Args: exactArgs("IMAGE"),
		RunE: func(c *cobra.Command, args []string) error {
			given, err := flags.Resolve(c.Flags())
			if err != nil {
				return unresolved(err)
			}
			return a.customize(c.Context(), args[0], given, &flags)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&flags.output, "output", "o", "", "write to `FILE` and leave the image as it is")
	f.StringVar(&flags.format, "format", string(disk.Raw), "`FORMAT` of the output: raw, qcow2, vmdk, iso or netboot, as build has them")
	f.StringVar(&flags.prefix, "prefix", "", "`URL` or path of the folder, for boot.cfg, with --format netboot")
	f.BoolVarP(&flags.force, "force", "f", false, "replace the output if it is there")
	f.BoolVar(&flags.dryRun, "dry-run", false, "tell what would change, and write nothing")
	flags.AddFlags(f)
	return cmd
}

func (f *customizeFlags) check() error {
	if !slices.Contains(disk.Formats(), disk.Format(f.format)) {
		return usagef("use raw, qcow2, vmdk, iso or netboot", "--format %s is not a disk format", f.format)
	}
	if f.prefix != "" {
		return usagef("add --format netboot, or leave it out", "--prefix: a disk has no boot.cfg that is served")
	}
	if f.format != string(disk.Raw) && f.output == "" {
		return usagef("add --output FILE", "--format %s: the image itself stays raw", f.format)
	}
	return nil
}

func (a *app) customize(ctx context.Context, path string, given option.Customize, flags *customizeFlags) error {
	if isMedia(flags.format) {
		return a.customizeMedia(ctx, path, given, flags)
	}
	if err := flags.check(); err != nil {
		return err
	}
	changes, err := loadChanges(given)
	if err != nil {
		return err
	}
	output := flags.output
	if output == "" {
		output = path
	}
	if flags.output != "" && flags.format != string(disk.Raw) && sameFile(path, output) {
		return usagef("choose another --output", "%s is the image itself, which stays raw", output)
	}
	file, _, err := openInput(path)
	if err != nil {
		return err
	}
	began := time.Now()
	status := a.status()
	done, err := customize.WriteFile(ctx, file, changes, customize.WriteOptions{
		Output: output, Replace: flags.force, Format: disk.Format(flags.format), DryRun: flags.dryRun, Progress: status,
	})
	if err != nil {
		return customizeFailure(path, err)
	}
	for _, w := range done.Warnings {
		status.Warn("%s", w)
	}
	return a.showCustomize(newCustomizeResult(path, output, flags, done, time.Since(began)))
}

// loadCustom reads what the image is to become on the way.
func (f *pullFlags) loadCustom(set *pflag.FlagSet, ref string) error {
	given, err := f.custom.Resolve(set)
	if err != nil {
		return unresolved(err)
	}
	changes, err := loadChanges(given)
	if err != nil {
		return err
	}
	f.pull.Customize = func(source digest.Digest, p plan.Plan) (plan.Plan, error) {
		img, err := customize.Open(&p, p.Size)
		if err != nil {
			return plan.Plan{}, err
		}
		f.customized, err = img.Customize(changes, customize.Source{Name: ref, Digest: source.String(), Size: p.Size})
		if err != nil {
			return plan.Plan{}, err
		}
		return *f.customized.Plan, nil
	}
	return nil
}

// customizeFailure adds the image's name and what to do.
func customizeFailure(path string, err error) error {
	switch {
	case errors.Is(err, customize.ErrNoChange):
		return usagef("give one of the flags that \"esxi-img customize --help\" lists", "%s: %w", path, err)
	case errors.Is(err, customize.ErrInUse):
		return &failure{exitIO, err, "stop the virtual machine that uses it, or customize a copy"}
	case errors.Is(err, customize.ErrChanged):
		return &failure{exitIO, err, "let nothing else write to it, and run the command again"}
	default:
		return named(path, err)
	}
}

// loadChanges reads the files that the flags name.
func loadChanges(o option.Customize) (c customize.Changes, err error) {
	if c.Host, err = loadHost(o.Host); err != nil {
		return c, err
	}
	c.InstallerConsole = o.Host.SerialConsole
	text, snippets, err := loadKickstart(option.Profile{Kickstart: o.Kickstart, Pre: o.Pre, Post: o.Post, Firstboot: o.Firstboot})
	if err != nil {
		return c, err
	}
	c.Snippets, c.KernelOpts, c.Hostname = snippets, o.KernelOpts, o.Hostname
	if o.Kickstart != "" {
		c.Kickstart = &customize.File{Name: filepath.Base(o.Kickstart), Data: text}
	}
	if c.MetadataRequired, err = metadataMode(o.Metadata); err != nil {
		return c, err
	}
	for _, path := range o.Modules {
		data, err := readInput(path, imager.MaxModule)
		if err != nil {
			return c, err
		}
		c.Modules = append(c.Modules, imager.Module{Name: filepath.Base(path), Data: data})
	}
	return c, loadMetadata(o, &c)
}

func metadataMode(mode string) (*bool, error) {
	required := mode == "required"
	switch mode {
	case "":
		return nil, nil //nolint:nilnil // as it is
	case "required", "optional":
		return &required, nil
	default:
		return nil, usagef("use required or optional", "--metadata %s: not known", mode)
	}
}

// maxMetadataFile bounds what is read of a file of metadata, in bytes; the host
// takes less.
const maxMetadataFile = 4 << 20

// loadMetadata reads what the image is to carry for its host.
func loadMetadata(o option.Customize, c *customize.Changes) error {
	if o.ConfigDrive != "" {
		var err error
		if c.Drive, err = readDrive(o.ConfigDrive); err != nil {
			return err
		}
	}
	for _, f := range []struct{ path, to string }{
		{o.NetworkData, customize.NetworkDataPath}, {o.MetaData, customize.MetaDataPath}, {o.UserData, customize.UserDataPath},
	} {
		if f.path == "" {
			continue
		}
		data, err := readInput(f.path, maxMetadataFile)
		if err != nil {
			return err
		}
		if c.Files == nil {
			c.Files = map[string]customize.File{}
		}
		c.Files[f.to] = customize.File{Name: filepath.Base(f.path), Data: data}
	}
	for _, path := range o.SSHKeys {
		data, err := readInput(path, maxMetadataFile)
		if err != nil {
			return err
		}
		keys, err := customize.ParseSSHKeys(path, data)
		if err != nil {
			return err
		}
		c.SSHKeys = append(c.SSHKeys, keys...)
	}
	return nil
}

// readDrive reads a config drive from a folder or an ISO.
func readDrive(path string) (_ *customize.Drive, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unusable(err)
	}
	if info.IsDir() {
		return customize.ReadDrive(path, os.DirFS(path))
	}
	f, size, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	img, err := iso.Open(io.NewSectionReader(f, 0, size), size)
	if err != nil {
		return nil, inputError(fmt.Errorf("%s: %w", path, err), "give the config drive as a folder or as an ISO")
	}
	return customize.ReadDrive(path, img)
}

// customizeResult is what customize prints.
type customizeResult struct {
	Image    string                 `json:"image"`
	Output   string                 `json:"output"`
	Format   string                 `json:"format"`
	DryRun   bool                   `json:"dryRun,omitempty"`
	Source   customize.Source       `json:"source"`
	Changes  []customize.Edit       `json:"changes"`
	Inputs   []customize.Digest     `json:"inputs"`
	Files    []customize.FileChange `json:"files"`
	Size     int64                  `json:"size"`
	Grown    int64                  `json:"grown"`
	Differs  int64                  `json:"differs"` // bytes
	Warnings []imager.Warning       `json:"warnings,omitempty"`
	Seconds  float64                `json:"seconds"`
}

func newCustomizeResult(path, output string, flags *customizeFlags, w *customize.Written, took time.Duration) customizeResult {
	step := w.Step()
	r := customizeResult{
		Image: path, Output: output, Format: flags.format, DryRun: flags.dryRun, Source: step.Source,
		Changes: step.Edits, Inputs: step.Inputs, Files: w.Files, Size: w.Plan.Size, Grown: w.Grown, Differs: w.Differs,
		Warnings: w.Warnings, Seconds: took.Seconds(),
	}
	if r.Inputs == nil {
		r.Inputs = []customize.Digest{}
	}
	return r
}

func (a *app) showCustomize(r customizeResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	f.Addf("source", "%s, %s", r.Image, r.Source.Digest)
	for _, e := range r.Changes {
		f.Add("change", e.String())
	}
	for _, c := range r.Files {
		size := display.Bytes(c.Size)
		if c.Change == "changed" && c.Before != c.Size {
			size = display.Bytes(c.Before) + " to " + size
		}
		f.Addf("file", "%s %s, %s", c.Change, c.Path, size)
	}
	if r.Grown != 0 {
		f.Addf("size", "%+d bytes", r.Grown)
	}
	if r.DryRun {
		f.Addf("image", "%s: %s of %s would differ; nothing was written", r.Output, display.Bytes(r.Differs), display.Bytes(r.Size))
	} else {
		f.Addf("image", "%s: %s, %s, of which %s differ, in %.1f s", r.Output, r.Format, display.Bytes(r.Size), display.Bytes(r.Differs), r.Seconds)
	}
	return f.Write(a.Stdout)
}

// addRecord tells how an image was customised, if it was.
func addRecord(f *display.Fields, data []byte) {
	if data == nil {
		return
	}
	record, err := customize.ParseRecord(data)
	if err != nil {
		f.Add("customised", err.Error())
		return
	}
	for _, s := range record.Steps {
		f.Addf("customised", "from %s, %s", s.Source.Name, s.Source.Digest)
		for _, e := range s.Edits {
			f.Add("change", e.String())
		}
		for _, d := range s.Inputs {
			f.Addf("input", "%s %s, sha256:%s", d.What, d.Name, d.SHA256)
		}
	}
}

// newRecordResult is the record for JSON, nil without one that can be read.
func newRecordResult(data []byte) *customize.Record {
	if data == nil {
		return nil
	}
	record, err := customize.ParseRecord(data)
	if err != nil {
		return nil
	}
	return record
}
