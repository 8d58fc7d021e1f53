package cli

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// The formats that are no disks.
const (
	formatISO     = "iso"
	formatNetboot = "netboot"
)

func isMedia(format string) bool { return format == formatISO || format == formatNetboot }

// buildMedia is build for what a host is started from without a disk of ours.
func (a *app) buildMedia(ctx context.Context, p option.Profile, args []string, force bool) (err error) {
	if err := checkMedia(p); err != nil {
		return err
	}
	isoPath, profile, err := buildInput(args, p)
	if err != nil {
		return err
	}
	source, file, err := a.openSource(isoPath, p.Output, &profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()

	img, err := planMedia(source, p, profile)
	if err != nil {
		return named(isoPath, err)
	}
	status := a.status()
	for _, w := range img.Warnings {
		status.Warn("%s", w)
	}
	began := time.Now()
	if err := writeMedia(ctx, p.Format, p.Output, img, disk.WriteOptions{Replace: force, Progress: status}); err != nil {
		return named(isoPath, img.Explain(err))
	}
	return a.showMedia(newMediaResult(isoPath, p, img, time.Since(began)))
}

func checkMedia(p option.Profile) error {
	switch {
	case p.Layout != "" || p.Tag != "":
		return usagef("leave --layout and --tag out", "--format %s: a layout holds a disk", p.Format)
	case p.Output == "":
		return usagef("add --output", "--format %s needs an output", p.Format)
	case p.SectorSize != option.Defaults().SectorSize:
		return usagef("leave --sector-size out", "--format %s: only a disk has sectors of %d bytes", p.Format, p.SectorSize)
	case p.Headroom != option.Defaults().Headroom:
		return usagef("leave --headroom out", "--format %s: only a disk has free space", p.Format)
	case p.Compress:
		return checkCompress(p.Compress, p.Format)
	case p.Format == formatISO && p.Prefix != "":
		return usagef("add --format netboot, or leave it out", "--prefix: an ISO has no boot.cfg that is served")
	}
	return checkMetadata(p)
}

func planMedia(source *iso.Image, p option.Profile, profile imager.Profile) (*imager.Image, error) {
	if p.Format == formatNetboot {
		return imager.NewNetboot(source, p.Prefix, profile)
	}
	return imager.NewISO(source, profile)
}

// mediaResult is what build prints of an ISO or a folder.
type mediaResult struct {
	ISO       string           `json:"iso"`
	Output    string           `json:"output"`
	Format    string           `json:"format"`
	Size      int64            `json:"size"` // of a folder: of its files
	Files     int              `json:"files"`
	Release   releaseResult    `json:"release"`
	Payload   imager.Payload   `json:"payload"`
	KernelOpt string           `json:"kernelopt"`
	Modules   []string         `json:"modules"`
	Kickstart string           `json:"kickstart,omitempty"` // its path in the output
	Host      hostResult       `json:"host"`
	Warnings  []imager.Warning `json:"warnings,omitempty"`
	Seconds   float64          `json:"seconds"`
}

func newMediaResult(isoPath string, p option.Profile, img *imager.Image, took time.Duration) mediaResult {
	r := mediaResult{
		ISO: isoPath, Output: p.Output, Format: p.Format, Size: img.Plan.Size, Files: len(img.Plan.Files),
		Release: newReleaseResult(img.Release), Payload: img.Payload,
		KernelOpt: img.KernelOpt, Modules: append([]string{}, img.Modules...), Host: newHostResult(img.Host),
		Warnings: img.Warnings, Seconds: took.Seconds(),
	}
	if p.Format == formatISO {
		r.Kickstart = imager.ISOKickstart
	}
	return r
}

func (a *app) showMedia(r mediaResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	f.Add("release", r.Release.String())
	f.Add("payload", payloadText(r.Payload))
	f.Add("kernelopt", r.KernelOpt)
	f.Add("modules added", noneIfEmpty(r.Modules))
	r.Host.addTo(&f)
	start := ""
	if r.Format == formatNetboot {
		start = ", start " + filepath.Join(r.Output, "mboot.efi")
	}
	f.Addf("image", "%s: %s, %s, %s, written in %.1f s%s",
		r.Output, r.Format, quantity.Count(r.Files, "file", "files"), quantity.Bytes(r.Size), r.Seconds, start)
	return f.Write(a.Stdout)
}
