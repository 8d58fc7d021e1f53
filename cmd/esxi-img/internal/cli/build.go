package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/outfile"
)

func newBuild(a *app) *cobra.Command {
	var (
		flags option.ProfileFlags
		force bool
	)
	cmd := &cobra.Command{
		Use:   "build --output FILE [ISO]",
		Short: "Build a disk image from an installer ISO",
		Long: `Build writes a disk image with a GPT and one EFI system partition, which holds
the ISO's content, a module with the scripts that run on the host, and the
kickstart. Its firmware boots it, and it installs ESXi unattended.

Without an ISO it takes the one that esxi-img.yaml names, else the only one in
the folder. The same inputs give the same bytes; SOURCE_DATE_EPOCH sets the
time stamp of the files, which otherwise is the ISO's own date. A password of
--root-password-file is hashed with a random salt: the reproducible way is
--root-password-hash.

What the image tells all its hosts (root's password, the disk, kernel options)
is for those whose metadata does not say it. Whoever has the image can read it.

Every file of the ISO that belongs to a VIB is checked against the VIB's
SHA-256 while it is copied. The image appears under its name complete and
synced, or not at all.

` + exitCodeHelp,
		Example: `  esxi-img build --output esxi.img VMware-VMvisor-Installer-8.0U2-22380479.x86_64.iso
  esxi-img build -o esxi.img --kickstart my.cfg --firstboot 50-agent.sh esxi.iso
  esxi-img build -o esxi.img --root-password-file <(pass show esxi) --install-disk smallest esxi.iso
  esxi-img build -o esxi.img --kernelopt allowLegacyCPU=true --sector-size 4096 esxi.iso`,
		Args: maxArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			profile, err := flags.Resolve(c.Flags())
			if err != nil {
				return unresolved(err)
			}
			return a.build(c.Context(), profile, args, force)
		},
	}
	flags.AddFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace the output if it is there")
	return cmd
}

// build is the whole way from a profile to a written image.
func (a *app) build(ctx context.Context, p option.Profile, args []string, force bool) error {
	if err := checkFormat(p); err != nil {
		return err
	}
	isoPath, err := chooseISO(args, p)
	if err != nil {
		return err
	}
	profile, err := loadProfile(p)
	if err != nil {
		return err
	}
	return a.buildImage(ctx, isoPath, p.Output, profile, force)
}

// buildImage plans the image of an ISO, writes it, and shows what it is.
func (a *app) buildImage(ctx context.Context, isoPath, output string, profile imager.Profile, force bool) (err error) {
	if profile.Time, err = sourceDate(a.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	if sameFile(isoPath, output) {
		return usagef("choose another --output", "%s is the ISO itself", output)
	}
	source, closer, err := openISO(isoPath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()

	img, err := imager.New(source, profile)
	if err != nil {
		return named(isoPath, err)
	}
	status := a.status()
	for _, w := range img.Warnings {
		status.Warn("%s", w)
	}
	began := time.Now()
	err = disk.WriteFile(ctx, output, img.Plan, disk.WriteOptions{Replace: force, Progress: status})
	if err != nil {
		return named(isoPath, img.Explain(err))
	}
	return a.showBuild(newBuildResult(isoPath, output, img, time.Since(began)))
}

// sameFile says whether two names are of one file.
func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// named adds the ISO's name to an error about something in it.
func named(isoPath string, err error) error {
	var input *imager.InputError
	if errors.As(err, &input) {
		return &imager.InputError{Input: isoPath, Err: err, Advice: input.Advice}
	}
	return err
}

func checkFormat(p option.Profile) error {
	switch p.Format {
	case "raw":
	case "qcow2", "vmdk":
		return usagef("build raw, then: qemu-img convert -O "+p.Format+" IMAGE OUT", "--format %s: this version writes raw images only", p.Format)
	default:
		return usagef("use --format raw", "--format %s is not a disk format", p.Format)
	}
	if p.SectorSize != 512 && p.SectorSize != 4096 {
		return usagef("use 512, or 4096 for a 4K-native disk", "--sector-size %d is not a sector size", p.SectorSize)
	}
	if p.Metadata != "required" && p.Metadata != "optional" {
		return usagef("use required or optional", "--metadata %s: not known", p.Metadata)
	}
	if p.Output == "" {
		return usagef("name the image: esxi-img build --output esxi.img ISO", "--output is missing; this version does not write OCI layouts")
	}
	return nil
}

// sourceDate reads SOURCE_DATE_EPOCH as reproducible-builds.org defines it;
// unset gives the zero time.
func sourceDate(value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, usagef("set it to seconds since 1970, or unset it", "SOURCE_DATE_EPOCH is %q", value)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// buildResult is what build prints.
type buildResult struct {
	ISO        string           `json:"iso"`
	Output     string           `json:"output"`
	Format     string           `json:"format"`
	Size       int64            `json:"size"`
	SectorSize int              `json:"sectorSize"`
	DiskGUID   string           `json:"diskGUID"`
	Release    releaseResult    `json:"release"`
	Payload    imager.Payload   `json:"payload"`
	KernelOpt  string           `json:"kernelopt"`
	Modules    []string         `json:"modules"`
	Host       hostResult       `json:"host"`
	Warnings   []imager.Warning `json:"warnings,omitempty"`
	Seconds    float64          `json:"seconds"`
}

func newBuildResult(isoPath, output string, img *imager.Image, took time.Duration) buildResult {
	return buildResult{
		ISO: isoPath, Output: output, Format: "raw",
		Size: img.Plan.Size, SectorSize: img.Plan.SectorSize, DiskGUID: img.DiskGUID.String(),
		Release: newReleaseResult(img.Release), Payload: img.Payload,
		KernelOpt: img.KernelOpt, Modules: img.Modules, Host: newHostResult(img.Host), Warnings: img.Warnings,
		Seconds: took.Seconds(),
	}
}

func (a *app) showBuild(r buildResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	f.Add("release", r.Release.String())
	f.Add("payload", payloadText(r.Payload))
	f.Add("kernelopt", r.KernelOpt)
	f.Add("modules added", strings.Join(r.Modules, " "))
	r.Host.addTo(&f)
	f.Addf("image", "%s: %s, %s, sectors of %d bytes, written in %.1f s",
		r.Output, r.Format, display.Bytes(r.Size), r.SectorSize, r.Seconds)
	return f.Write(a.Stdout)
}

func payloadText(p imager.Payload) string {
	text := display.Count(p.Files, "file", "files") + ", " + display.Bytes(p.Bytes)
	if p.Checked == 0 {
		return text + "; not checked against the VIBs"
	}
	return fmt.Sprintf("%s; %d checked against their VIB, %d belong to none", text, p.Checked, p.Files-p.Checked)
}

// writeOutput writes a small file, or standard output for "-".
func (a *app) writeOutput(path string, data []byte, force bool) error {
	if path == "-" {
		_, err := a.Stdout.Write(data)
		return err
	}
	return outfile.Write(path, data, force)
}
