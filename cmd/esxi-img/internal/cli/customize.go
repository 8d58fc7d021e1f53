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
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// customizeFlags are customize's own.
type customizeFlags struct {
	option.CustomizeFlags
	output, format, prefix string
	hosts, backingFile     string
	force, dryRun, backing bool
	compress, readBacking  bool
	// formatGiven tells --format from its default.
	formatGiven bool
}

func newCustomize(a *app) *cobra.Command {
	var flags customizeFlags
	cmd := &cobra.Command{
		Use:     "customize IMAGE",
		Aliases: []string{"customise"},
		Short:   "Make a disk image another one: for one host, or with another kickstart",
		Long: `Customize takes a disk image that esxi-img made, raw or qcow2, and plans its
disk again with what is to be different. The payload stays where it is; a volume
that is too small grows.

Without --output the image itself is replaced, in one step: whatever happens
there is the old or the new image. Where the file system can (XFS, Btrfs) both
share what stays the same.

What --config-drive, --network-data, --meta-data, --user-data, --hostname and
--ssh-key give is carried in the image, for a host that has no config drive of
its own. Another --config-drive replaces all of it, single files replace those
of their name. Whoever has the image can read it.

With --format and --output and nothing to change it only writes the same disk in
another format.

With --hosts it makes an image for each host that a YAML file lists, several at
once; all flags are for all of them. With --format netboot they share one folder
with the payload, and have one each for what is their own. docs/customize.md says
what stands in the file.

What an image was made from, and how, it tells itself: see "esxi-img inspect".

` + exitCodeHelp,
		Example: `  esxi-img customize esxi.img --hostname esx1.example.com --ssh-key ~/.ssh/id_ed25519.pub
  esxi-img customize esxi.img -o esx1.img --config-drive esx1/ --root-password-file <(pass show esx1)
  esxi-img customize esxi.img -o lab.img --kickstart lab.cfg --serial-console
  esxi-img customize esxi.img --hosts hosts.yaml -o images/ --format qcow2 --backing
  esxi-img customize esxi.img --kernelopt allowLegacyCPU=true --dry-run`,
		Args: exactArgs("IMAGE"),
		RunE: func(c *cobra.Command, args []string) error {
			given, err := flags.Resolve(c.Flags())
			if err != nil {
				return unresolved(err)
			}
			flags.formatGiven = c.Flags().Changed("format")
			if err := flags.checkCompress(); err != nil {
				return err
			}
			if flags.hosts != "" {
				return a.customizeHosts(c.Context(), args[0], given, &flags)
			}
			return a.customize(c.Context(), args[0], given, &flags)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&flags.output, "output", "o", "", "write to `FILE` and leave the image as it is")
	f.StringVar(&flags.format, "format", string(disk.Raw), "`FORMAT` of the output: raw, qcow2, vmdk, vmdk-sparse, iso or netboot, as build has them (an image that is replaced keeps its own)")
	f.BoolVar(&flags.compress, "compress", false, "compress a qcow2 file")
	f.BoolVar(&flags.readBacking, "read-backing", false, readBackingHelp)
	f.StringVar(&flags.prefix, "prefix", "", "`URL` or path of the folder, for boot.cfg, with --format netboot")
	f.BoolVarP(&flags.force, "force", "f", false, "replace the output if it is there")
	f.StringVar(&flags.hosts, "hosts", "", "make an image for each host that this `FILE` lists; --output is a folder, or a name with {name} in it")
	f.BoolVar(&flags.backing, "backing", false, "with --format qcow2: write overlays, which have only what differs from the image")
	f.StringVar(&flags.backingFile, "backing-file", "", "with --format qcow2: copy the image to `FILE` first, as qcow2 if its name ends so, else raw, and write overlays over that")
	f.BoolVar(&flags.dryRun, "dry-run", false, "tell what would change, and write nothing")
	flags.AddFlags(f)
	return cmd
}

func (f *customizeFlags) check() error {
	if !slices.Contains(disk.Formats(), disk.Format(f.format)) {
		return usagef(adviceFormats, "--format %s is not a disk format", f.format)
	}
	if f.prefix != "" {
		return usagef("add --format netboot, or leave it out", "--prefix: a disk has no boot.cfg that is served")
	}
	return nil
}

// checkCompress refuses --compress where it would mean nothing.
func (f *customizeFlags) checkCompress() error {
	switch {
	case !f.compress:
		return nil
	case f.backed():
		return usagef("leave --compress out", "--compress: an overlay has only what differs")
	case f.format != string(disk.QCOW2) && (f.formatGiven || f.output != ""):
		return usagef("add --format qcow2, or leave it out", "--compress: only a qcow2 file is compressed")
	}
	return nil
}

// checkInPlace holds the format against that of an image that is replaced.
func (f *customizeFlags) checkInPlace(path string, as disk.Format) error {
	switch {
	case f.output != "" && !sameFile(path, f.output):
		return nil
	case f.formatGiven && f.format != string(as):
		if f.output != "" {
			return usagef("choose another --output", "%s is the image itself, which stays %s", f.output, as)
		}
		return usagef("add --output FILE", "--format %s: the image itself stays %s", f.format, as)
	case f.compress && as != disk.QCOW2:
		return usagef("add --format qcow2 and --output FILE", "--compress: the image itself stays %s", as)
	}
	return nil
}

func (a *app) customize(ctx context.Context, path string, given option.Customize, flags *customizeFlags) (err error) {
	if isMedia(flags.format) {
		return a.customizeMedia(ctx, path, given, flags)
	}
	if err := flags.check(); err != nil {
		return err
	}
	if flags.backed() {
		return a.customizeOverlay(ctx, path, given, flags)
	}
	changes, err := loadChanges(given)
	if err != nil {
		return err
	}
	output := flags.output
	if output == "" {
		output = path
	}
	file, _, err := openInput(path)
	if err != nil {
		return err
	}
	if err := flags.checkInPlace(path, disk.FormatOf(file)); err != nil {
		return errors.Join(err, file.Close())
	}
	opts := customize.WriteOptions{Output: output, Replace: flags.force, Compress: flags.compress, DryRun: flags.dryRun, Convert: true}
	if flags.formatGiven {
		opts.Format = disk.Format(flags.format)
	} else {
		opts.Convert = disk.FormatOf(file) != disk.Raw
	}
	var others behind
	defer func() { err = errors.Join(err, others.Close()) }()
	if flags.readBacking {
		opts.Backing = others.opener(path)
	}
	began := time.Now()
	status := a.status()
	opts.Progress = status
	done, err := customize.WriteFile(ctx, file, changes, opts)
	if err != nil {
		return customizeFailure(path, err)
	}
	for _, w := range done.Warnings {
		status.Warn("%s", w)
	}
	return a.showCustomize(newCustomizeResult(path, output, flags.dryRun, done, time.Since(began)))
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
	f.driveAs = changes.DriveAs
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
	text, snippets, err := loadKickstart(o.Content)
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
	if c.Modules, err = loadModules(o.Modules); err != nil {
		return c, err
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

// loadCarriage says how the image is to carry its metadata.
func loadCarriage(o option.Customize, c *customize.Changes) error {
	c.DriveAs, c.DriveSize = customize.Carriage(o.ConfigDriveAs), int64(o.ConfigDriveSize)
	switch {
	case c.DriveAs != "" && c.DriveAs != customize.AsModule && c.DriveAs != customize.AsPartition:
		return usagef("use module or partition", "--config-drive-as %s: not known", o.ConfigDriveAs)
	case c.DriveSize != 0 && c.DriveAs != customize.AsPartition:
		return usagef("add --config-drive-as partition", "--config-drive-size is that of a partition")
	case c.DriveSize%disk.DriveUnit != 0 || c.DriveSize > disk.MaxDriveSize:
		return usagef("use 1M to 64M", "--config-drive-size %s: is not a whole number of MiB up to 64", o.ConfigDriveSize)
	}
	return nil
}

// loadMetadata reads what the image is to carry for its host.
func loadMetadata(o option.Customize, c *customize.Changes) error {
	if err := loadCarriage(o, c); err != nil {
		return err
	}
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

func newCustomizeResult(path, output string, dryRun bool, w *customize.Written, took time.Duration) customizeResult {
	step := customize.Step{Source: w.Source, Edits: []customize.Edit{}}
	if !w.Converted() {
		step = w.Step()
	}
	r := customizeResult{
		Image: path, Output: output, Format: string(w.Format), DryRun: dryRun, Source: step.Source,
		Changes: step.Edits, Inputs: step.Inputs, Files: append([]customize.FileChange{}, w.Files...), Size: w.Plan.Size, Grown: w.Grown, Differs: w.Differs,
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
	if r.Source.Digest == "" {
		f.Add("source", r.Image)
	} else {
		f.Addf("source", "%s, %s", r.Image, r.Source.Digest)
	}
	for _, e := range r.Changes {
		f.Add("change", e.String())
	}
	for _, c := range r.Files {
		size := quantity.Bytes(c.Size)
		if c.Change == "changed" && c.Before != c.Size {
			size = quantity.Bytes(c.Before) + " to " + size
		}
		f.Addf("file", "%s %s, %s", c.Change, c.Path, size)
	}
	if r.Grown != 0 {
		f.Addf("size", "%+d bytes", r.Grown)
	}
	switch {
	case len(r.Changes) == 0:
		did := fmt.Sprintf("in %.1f s", r.Seconds)
		if r.DryRun {
			did = "nothing was written"
		}
		f.Addf("image", "%s: %s, the same %s, %s", r.Output, r.Format, quantity.Bytes(r.Size), did)
	case r.DryRun:
		f.Addf("image", "%s: %s of %s would differ; nothing was written", r.Output, quantity.Bytes(r.Differs), quantity.Bytes(r.Size))
	default:
		f.Addf("image", "%s: %s, %s, of which %s differ, in %.1f s", r.Output, r.Format, quantity.Bytes(r.Size), quantity.Bytes(r.Differs), r.Seconds)
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
