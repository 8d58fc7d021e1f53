package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func newBuild(a *app) *cobra.Command {
	var (
		flags option.ProfileFlags
		force bool
	)
	cmd := &cobra.Command{
		Use:   "build [ISO]",
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

Without --output the image goes into an OCI image layout, from which "esxi-img
push" takes it: a folder that keeps the image under the tag latest, the one of
--tag too, and other images only as long as a tag names them. With --output and
--layout it goes to both.

The output is raw, or with --format qcow2 a file for QEMU, with vmdk one of the
kind (streamOptimized) that vSphere, govc and ovftool import, with vmdk-sparse
one (monolithicSparse) that VMware Workstation and Fusion run. Such files leave
out what is zero. Their content is not compressed, for an installer's is already;
--compress does it for qcow2.

With --format iso it is the installer's ISO again, with a kickstart on it: for
servers that are started from a CD, such as Redfish virtual media. It boots as
the ISO does. The host scripts are in the kickstart, so no module is added that
Secure Boot may not tolerate.

With --format netboot it is a folder for HTTP or PXE boot: mboot.efi, boot.cfg,
and what that names. Without --prefix the boot loader looks for the files where
boot.cfg is, which does for UEFI.

` + exitCodeHelp,
		Example: `  esxi-img build esxi.iso && esxi-img push registry.example/esxi:8.0
  esxi-img build --output esxi.img VMware-VMvisor-Installer-8.0U2-22380479.x86_64.iso
  esxi-img build -o esxi.img --kickstart my.cfg --firstboot 50-agent.sh esxi.iso
  esxi-img build -o esxi.vmdk --format vmdk esxi.iso
  esxi-img build -o esxi.qcow2 --format qcow2 --compress esxi.iso
  esxi-img build -o unattended.iso --format iso --install-disk smallest esxi.iso
  esxi-img build -o /srv/http/esxi --format netboot --prefix http://boot.example/esxi esxi.iso
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
	if isMedia(p.Format) {
		return a.buildMedia(ctx, p, args, force)
	}
	if err := checkFormat(p, adviceFormats); err != nil {
		return err
	}
	to, err := outputsOf(p, force)
	if err != nil {
		return err
	}
	isoPath, profile, err := buildInput(args, p)
	if err != nil {
		return err
	}
	return a.buildImage(ctx, isoPath, to, profile)
}

// buildInput finds out what an image is made of.
func buildInput(args []string, p option.Profile) (isoPath string, profile imager.Profile, err error) {
	if isoPath, err = chooseISO(args, p); err != nil {
		return "", profile, err
	}
	profile, err = loadProfile(p)
	return isoPath, profile, err
}

// outputs are where an image goes: to a file, a layout, or both.
type outputs struct {
	file   string
	format disk.Format // of the file
	// compress deflates a qcow2 file.
	compress bool
	replace  bool
	layout   string
	tag      string
}

func outputsOf(p option.Profile, force bool) (outputs, error) {
	to := outputs{file: p.Output, format: disk.Format(p.Format), compress: p.Compress, replace: force, layout: p.Layout, tag: p.Tag}
	if to.file == "" && to.layout == "" {
		to.layout = option.DefaultLayout
	}
	if to.tag == "" {
		return to, nil
	}
	if to.layout == "" {
		return to, usagef("add --layout DIR, or leave --tag out", "--tag %s: without a layout there is nothing to tag", to.tag)
	}
	if _, err := registry.Parse("localhost/layout:" + to.tag); err != nil {
		return to, usagef("use letters, digits, dots, dashes and underscores", "--tag %s cannot be a tag", to.tag)
	}
	return to, nil
}

// buildImage plans the image of an ISO, writes it, and shows what it is.
func (a *app) buildImage(ctx context.Context, isoPath string, to outputs, profile imager.Profile) (err error) {
	source, file, err := a.openSource(isoPath, to.file, &profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()

	img, err := imager.New(source, profile)
	if err != nil {
		return named(isoPath, err)
	}
	status := a.status()
	for _, w := range img.Warnings {
		status.Warn("%s", w)
	}
	began := time.Now()
	result := newBuildResult(isoPath, to, img)
	if to.layout == "" {
		err = disk.WriteFile(ctx, to.file, img.Plan, disk.WriteOptions{Format: to.format, Compress: to.compress, Replace: to.replace, Progress: status})
	} else {
		src := artifact.SourceOf(img, source, filepath.Base(isoPath), file)
		src.Builder = a.Build.Version
		result.Layout, err = buildLayout(ctx, src, to, status)
	}
	if err != nil {
		return named(isoPath, img.Explain(err))
	}
	result.Seconds = time.Since(began).Seconds()
	return a.showBuild(result)
}

// openSource opens the ISO that an output is made of, and sets the time that
// its files get.
func (a *app) openSource(isoPath, output string, profile *imager.Profile) (_ *iso.Image, _ *os.File, err error) {
	if profile.Time, err = sourceDate(a.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return nil, nil, err
	}
	if sameFile(isoPath, output) {
		return nil, nil, usagef("choose another --output", "%s is the ISO itself", output)
	}
	return openISO(isoPath)
}

// buildLayout packs the image.
func buildLayout(ctx context.Context, src *artifact.Source, to outputs, status *display.Status) (*layoutResult, error) {
	p, err := artifact.Build(ctx, src, to.layout, artifact.BuildOptions{
		Tag: to.tag, Output: to.file, Format: to.format, Compress: to.compress, Replace: to.replace, Progress: status,
	})
	if err != nil {
		return nil, err
	}
	r := &layoutResult{
		Path: to.layout, Tags: []string{artifact.LatestTag},
		Digest: p.Index.Digest.String(), Manifest: p.Manifest.Digest.String(), Disk: p.Disk.Digest.String(),
	}
	if to.tag != "" && to.tag != artifact.LatestTag {
		r.Tags = append(r.Tags, to.tag)
	}
	return r, nil
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

// named adds the name of an ISO or an image to an error about something in it.
func named(isoPath string, err error) error {
	var (
		input  *imager.InputError
		packed *disk.QCOW2Error
	)
	// Whatever it was that could not be read for it.
	if errors.As(err, &packed) {
		return inputError(fmt.Errorf("%s: %w", isoPath, err), packed.Advice)
	}
	if errors.As(err, &input) {
		return &imager.InputError{Input: isoPath, Err: err, Advice: input.Advice}
	}
	return err
}

func checkFormat(p option.Profile, advice string) error {
	if !slices.Contains(disk.Formats(), disk.Format(p.Format)) {
		return usagef(advice, "--format %s is not a disk format", p.Format)
	}
	if p.Prefix != "" {
		return usagef("add --format netboot, or leave it out", "--prefix: a disk has no boot.cfg that is served")
	}
	if p.Output == "" && p.Format != string(disk.Raw) {
		return usagef("add --output FILE; or push with --qcow2", "--format %s: a layout holds the disk raw", p.Format)
	}
	if err := checkCompress(p.Compress, p.Format); err != nil {
		return err
	}
	if p.SectorSize != 512 && p.SectorSize != 4096 {
		return usagef("use 512, or 4096 for a 4K-native disk", "--sector-size %d is not a sector size", p.SectorSize)
	}
	return checkMetadata(p)
}

// adviceFormats is what to do about a format that is none.
const adviceFormats = "use raw, qcow2, vmdk, vmdk-sparse, iso or netboot"

// checkCompress refuses --compress where it would mean nothing.
func checkCompress(compress bool, format string) error {
	if compress && format != string(disk.QCOW2) {
		return usagef("add --format qcow2, or leave --compress out", "--compress: only a qcow2 file is compressed")
	}
	return nil
}

func checkMetadata(p option.Profile) error {
	if p.Metadata != "required" && p.Metadata != "optional" {
		return usagef("use required or optional", "--metadata %s: not known", p.Metadata)
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
	Output     string           `json:"output,omitempty"`
	Layout     *layoutResult    `json:"layout,omitempty"`
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

// layoutResult is an image in an OCI image layout.
type layoutResult struct {
	Path     string   `json:"path"`
	Tags     []string `json:"tags"`
	Digest   string   `json:"digest"`   // of the index, which the tags name
	Manifest string   `json:"manifest"` // of the image manifest
	Disk     string   `json:"disk"`     // of the raw disk
}

func newBuildResult(isoPath string, to outputs, img *imager.Image) buildResult {
	return buildResult{
		ISO: isoPath, Output: to.file, Format: string(to.format),
		Size: img.Plan.Size, SectorSize: img.Plan.SectorSize, DiskGUID: img.Layout.DiskGUID.String(),
		Release: newReleaseResult(img.Release), Payload: img.Payload,
		KernelOpt: img.KernelOpt, Modules: img.Modules, Host: newHostResult(img.Host), Warnings: img.Warnings,
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
	if l := r.Layout; l != nil {
		f.Addf("layout", "oci:%s: %s", l.Path, strings.Join(l.Tags, ", "))
		f.Add("digest", l.Digest)
	}
	output := ""
	if r.Output != "" {
		output = r.Output + ": "
	}
	f.Addf("image", "%s%s, %s, sectors of %d bytes, written in %.1f s",
		output, r.Format, quantity.Bytes(r.Size), r.SectorSize, r.Seconds)
	return f.Write(a.Stdout)
}

func payloadText(p imager.Payload) string {
	text := quantity.Count(p.Files, "file", "files") + ", " + quantity.Bytes(p.Bytes)
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
