package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/blockdev"
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// pullFlags are what pull is told.
type pullFlags struct {
	registry option.Registry
	verify   option.Verify
	output   string
	only     string
	format   string
	prefix   string
	compress bool
	force    bool
	serial   string
	wwn      string
	progress string
	pull     artifact.PullOptions
	custom   option.CustomizeFlags
	changed  string // one of custom's flags, "" for none
	driveAs  customize.Carriage
	// customized is what became of them, media what the disk became with
	// --format iso or netboot.
	customized *customize.Result
	media      *imager.Image
}

func newPull(a *app) *cobra.Command {
	var flags pullFlags
	cmd := &cobra.Command{
		Use:   "pull REF --output FILE|DEVICE",
		Short: "Pull an image from a registry to a file or a disk",
		Long: `Pull writes an image's disk to a file or to a block device. It fetches only what
is not at hand, and writes only what is not in its place already: in the output
itself (what a pull that was killed or an earlier version left there), in a
--seed, in a --cache. Every piece is checked before it is written, wherever it
comes from.

A file appears under its name complete and synced, or not at all; until then it
is a hidden file beside it, from which the next pull goes on.

With --format the file is one for QEMU or VMware, an ISO, or a folder for network
boot, as "esxi-img build" makes them. It is made of the disk, which comes to lie
beside it first and takes that room until then.

First of all the image is verified: somebody whom the flags or a policy file
name has to have signed it. Nothing is touched before.

A device is opened alone. One that is mounted or in use, that is not as
--expect-serial or --expect-wwn say, or that holds other data than an image of
ours (see --force) is refused. What it boots by is zeroed first and written
last: a pull that stops half-way leaves a disk that does not boot. For sectors
of another size the disk is planned again, and the partition tables go to the
ends of a larger one.

The image is customised on the way, as "esxi-img customize" does it, with
--kickstart, --hostname, --config-drive and the like.

` + exitCodeHelp,
		Example: `  esxi-img pull registry.example/esxi:8.0 -o esxi.img --key esxi.pub
  esxi-img pull registry.example/esxi:8.0 -o esxi.img --seed VMware-VMvisor-Installer-8.0U2.iso \
    --certificate-identity release@example.org --certificate-oidc-issuer https://accounts.example.org
  esxi-img pull registry.example/esxi:8.0 -o /dev/disk/by-id/nvme-eui.0025388b710116a1 \
    --expect-build 22380479 --check --policy site.yaml
  esxi-img pull registry.example/esxi:8.0 -o esxi.qcow2 --format qcow2 --key esxi.pub
  esxi-img pull oci:esxi-img.oci -o KS.CFG --only kickstart --insecure-skip-verify`,
		Args: exactArgs("REF"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			if flags.changed = flags.custom.Given(c.Flags()); flags.changed != "" {
				if err := flags.loadCustom(c.Flags(), args[0]); err != nil {
					return err
				}
			}
			return a.pull(c.Context(), args[0], &flags, opts)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&flags.output, "output", "o", "", "write to `FILE` or to a block device")
	f.StringArrayVar(&flags.pull.Seeds, "seed", nil, "take what fits from `FILE`: an image, an installer ISO, a device (repeatable)")
	f.StringVar(&flags.pull.Cache, "cache", "", "keep pieces in the folder `DIR`, and take them from there")
	f.StringVar(&flags.only, "only", string(artifact.PartDisk), "pull the `PART` disk, module or kickstart")
	f.StringVar(&flags.format, "format", string(disk.Raw), "`FORMAT` of a file: raw, qcow2, vmdk, vmdk-sparse, iso or netboot, as build has them")
	f.StringVar(&flags.prefix, "prefix", "", "`URL` or path of the folder, for boot.cfg, with --format netboot")
	f.BoolVar(&flags.compress, "compress", false, "compress a qcow2 file")
	f.BoolVarP(&flags.force, "force", "f", false, "overwrite what is no image of ours")
	f.BoolVar(&flags.pull.Check, "check", false, "read the output again when it is written")
	f.BoolVar(&flags.pull.UniqueIDs, "unique-ids", false, "give the disk identifiers of its own: for two such disks in one host")
	f.StringVar(&flags.pull.ExpectBuild, "expect-build", "", "refuse an image of another build than `N`")
	f.StringVar(&flags.serial, "expect-serial", "", "refuse a device whose serial number is not `S`")
	f.StringVar(&flags.wwn, "expect-wwn", "", "refuse a device whose world wide name is not `S`")
	f.StringVar(&flags.progress, "progress", "auto", "show progress as `FORMAT`: auto, or json (lines on standard error)")
	flags.custom.AddFlags(f)
	flags.verify.AddFlags(f)
	flags.registry.AddFlags(f)
	flags.registry.AddMirrorFlag(f)
	return cmd
}

// check finds what is wrong with the flags before anything is done.
func (f *pullFlags) check(ref string) error {
	switch artifact.Part(f.only) {
	case artifact.PartDisk:
	case artifact.PartModule, artifact.PartKickstart:
		if f.pull.UniqueIDs || f.pull.Check || len(f.pull.Seeds) > 0 {
			return usagef("leave --only out", "--only %s: --unique-ids, --check and --seed are for disks", f.only)
		}
		if f.format != string(disk.Raw) || f.compress {
			return usagef("leave --only out", "--only %s: --format and --compress are for disks", f.only)
		}
		if f.changed != "" {
			return usagef("leave --only out", "--only %s: --%s customises a disk", f.only, f.changed)
		}
	default:
		return usagef("use disk, module or kickstart", "--only %s: there is no such part", f.only)
	}
	if err := f.checkFormat(); err != nil {
		return err
	}
	if f.progress != "auto" && f.progress != "json" {
		return usagef("use auto or json", "--progress %s: not known", f.progress)
	}
	if f.output == "" {
		return usagef("add --output FILE, or --output DEVICE to write a disk", "nothing says where %s is to be written", ref)
	}
	if (f.serial != "" || f.wwn != "") && !blockdev.Meant(f.output) {
		return usagef("name a device, or leave them out", "--expect-serial and --expect-wwn: %s is not a device", f.output)
	}
	return nil
}

func (f *pullFlags) checkFormat() error {
	raw := f.format == string(disk.Raw)
	switch {
	case !isMedia(f.format) && !slices.Contains(disk.Formats(), disk.Format(f.format)):
		return usagef("use raw, qcow2, vmdk, vmdk-sparse, iso or netboot", "--format %s: there is no such format", f.format)
	case !raw && blockdev.Meant(f.output):
		return usagef("leave --format out, or name a file", "--format %s: a device holds a disk as it is", f.format)
	case !raw && f.pull.Check:
		return usagef("leave --check out", "--check: only a raw file is read again")
	}
	if err := checkCompress(f.compress, f.format); err != nil {
		return err
	}
	return f.checkMedia()
}

func (a *app) pull(ctx context.Context, refText string, flags *pullFlags, opts registry.Options) (err error) {
	ref, err := registry.Parse(refText)
	if err != nil {
		return err
	}
	if err := flags.check(refText); err != nil {
		return err
	}
	if flags.pull.Verifier, err = a.verifier(&flags.verify, refText); err != nil {
		return err
	}
	from, release, err := openHeld(ctx, ref, opts, registry.Open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	status := a.status()
	flags.pull.Progress = a.pullProgress(flags, status)
	began := time.Now()
	result := pullResult{Output: flags.output, Part: flags.only}
	if artifact.Part(flags.only) == artifact.PartDisk && !blockdev.Meant(flags.output) {
		result.Format = flags.format
	}
	if part := artifact.Part(flags.only); part != artifact.PartDisk {
		result.Pulled, err = a.pullPart(ctx, from, part, flags)
	} else {
		result.Pulled, result.Device, err = a.pullDisk(ctx, from, flags, status)
	}
	if err != nil {
		var kept *artifact.KeptError
		if errors.As(err, &kept) {
			where := "there"
			if kept.Path != "" {
				where = "in " + kept.Path
			}
			status.Note("what was pulled so far is kept %s: the next pull to %s goes on from it", where, flags.output)
		}
		return err
	}
	result.Ref = ref.WithDigest(result.Pulled.Digest).String()
	result.Release = imageRelease(result.Config)
	result.Seconds = time.Since(began).Seconds()
	for _, n := range result.Notes {
		status.Warn("%s", n)
	}
	if done := flags.customized; done != nil {
		result.Customized = done.Step().Edits
		for _, w := range done.Warnings {
			status.Warn("%s", w)
		}
	}
	if img := flags.media; img != nil {
		result.pulledMedia = newPulledMedia(img)
		for _, w := range img.Warnings {
			status.Warn("%s", w)
		}
	}
	return a.showPull(result)
}

func (a *app) pullProgress(flags *pullFlags, status *display.Status) progress.Reporter {
	if flags.progress == "json" {
		return display.NewJSONProgress(a.Stderr)
	}
	return status
}

func (a *app) pullPart(ctx context.Context, from *registry.Repository, part artifact.Part, flags *pullFlags) (*artifact.Pulled, error) {
	if blockdev.Meant(flags.output) {
		return nil, usagef("name a file", "--only %s: %s is a device", part, flags.output)
	}
	return artifact.PullPart(ctx, from, "", part, flags.output, flags.force, flags.pull)
}

// pullDisk opens what is written to, and pulls.
func (a *app) pullDisk(ctx context.Context, from *registry.Repository, flags *pullFlags, status *display.Status) (p *artifact.Pulled, device *deviceResult, err error) {
	var to artifact.Destination
	switch {
	case isMedia(flags.format):
		to, err = flags.toMedia()
	case blockdev.Meant(flags.output):
		to, err = artifact.ToDevice(flags.output, artifact.DeviceOptions{
			Serial: flags.serial, WWN: flags.wwn, Force: flags.force,
			Opened: func(info blockdev.Info) {
				device = newDeviceResult(info)
				status.Note("%s: %s", flags.output, device)
			},
		})
	default:
		to, err = artifact.ToFile(flags.output, artifact.FileOptions{Force: flags.force, Format: disk.Format(flags.format), Compress: flags.compress})
	}
	if err != nil {
		return nil, nil, err
	}
	p, err = artifact.Pull(ctx, from, "", to, flags.pull)
	return p, device, errors.Join(err, to.Close())
}

// pullResult is what pull prints.
type pullResult struct {
	Ref     string        `json:"ref"`
	Output  string        `json:"output"`
	Part    string        `json:"part"`
	Format  string        `json:"format,omitempty"` // of a disk in a file
	Device  *deviceResult `json:"device,omitempty"`
	Release releaseResult `json:"release"`
	*artifact.Pulled
	Customized []customize.Edit `json:"customised,omitempty"`
	*pulledMedia
	Seconds float64 `json:"seconds"`
}

// deviceResult is the device that was written to.
type deviceResult struct {
	Kernel     string `json:"kernel"`
	Model      string `json:"model,omitempty"`
	Serial     string `json:"serial,omitempty"`
	WWN        string `json:"wwn,omitempty"`
	Size       int64  `json:"size"`
	SectorSize int    `json:"sectorSize"`
}

func newDeviceResult(i blockdev.Info) *deviceResult {
	return &deviceResult{i.Kernel, i.Model, i.Serial, i.WWN, i.Size, i.SectorSize}
}

// String is the device in a line.
func (d *deviceResult) String() string {
	parts := []string{d.Kernel}
	if d.Model != "" {
		parts = append(parts, d.Model)
	}
	if d.Serial != "" {
		parts = append(parts, "serial "+d.Serial)
	}
	if d.WWN != "" {
		parts = append(parts, "wwn "+d.WWN)
	}
	return strings.Join(append(parts, quantity.Bytes(d.Size)), ", ")
}

func (a *app) showPull(r pullResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	f.Add("pulled", r.Ref)
	f.Add("release", r.Release.String())
	f.Add("verified", vouchedText(r.Verification))
	f.Addf("fetched", "%s; reused %s, generated %s", quantity.Bytes(r.Fetched), quantity.Bytes(r.Reused), quantity.Bytes(r.Generated))
	f.Add("changed", strings.Join(r.Changed, "; "))
	for _, e := range r.Customized {
		f.Add("change", e.String())
	}
	written := quantity.Bytes(r.Written) + " written"
	if r.Written == 0 {
		written = "nothing written, all of it was at hand"
	}
	if r.Checked {
		written += ", read again"
	}
	if r.pulledMedia != nil {
		r.show(&f, r.Output, r.Format, r.Seconds)
		return f.Write(a.Stdout)
	}
	format := ""
	if r.Format != "" && r.Format != string(disk.Raw) {
		format = r.Format + ", "
	}
	f.Addf(r.Part, "%s: %s%s, %s, in %.1f s", r.Output, format, quantity.Bytes(r.Size), written, r.Seconds)
	return f.Write(a.Stdout)
}
