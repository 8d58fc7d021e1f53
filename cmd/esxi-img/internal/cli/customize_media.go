package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// customizeMedia is customize for what a host is started from without a disk of
// ours. Without any change it only turns the image into that.
func (a *app) customizeMedia(ctx context.Context, path string, given option.Customize, flags *customizeFlags) (err error) {
	switch {
	case flags.output == "":
		return usagef("add --output", "--format %s: the image itself stays a disk", flags.format)
	case sameFile(path, flags.output):
		return usagef("choose another --output", "%s is the image itself, which stays a disk", flags.output)
	case flags.format == formatISO && flags.prefix != "":
		return usagef("add --format netboot, or leave it out", "--prefix: an ISO has no boot.cfg that is served")
	}
	changes, err := loadChanges(given)
	if err != nil {
		return err
	}
	if changes.DriveAs == customize.AsPartition {
		return usagef("leave it out: the metadata is carried in a module", "--config-drive-as partition: only a disk has partitions")
	}
	file, err := openImage(path, flags.readBacking)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	began := time.Now()
	r := customizeMediaResult{
		Image: path, Output: flags.output, Format: flags.format, DryRun: flags.dryRun,
		Changes: []customize.Edit{}, Inputs: []customize.Digest{},
	}
	from, length, err := r.change(ctx, file.disk, file.size, changes)
	if err != nil {
		return customizeFailure(path, err)
	}
	var img *imager.Image
	if flags.format == formatNetboot {
		img, err = imager.NetbootOfDisk(from, length, flags.prefix)
	} else {
		img, err = imager.ISOOfDisk(from, length)
	}
	if err != nil {
		return named(path, err)
	}
	status := a.status()
	r.tell(img)
	for _, w := range r.Warnings {
		status.Warn("%s", w)
	}
	if !flags.dryRun {
		if err := writeMedia(ctx, flags.format, flags.output, img, disk.WriteOptions{Replace: flags.force, Progress: status}); err != nil {
			return damagedImage(path, err)
		}
	}
	r.Seconds = time.Since(began).Seconds()
	return a.showCustomizeMedia(r)
}

// writeMedia writes an ISO or a folder.
func writeMedia(ctx context.Context, format, output string, img *imager.Image, opts disk.WriteOptions) error {
	if format == formatNetboot {
		return disk.WriteFolder(ctx, output, img.Plan, opts)
	}
	return disk.WriteFile(ctx, output, img.Plan, opts)
}

// damagedImage says whose content it was that is not what its VIB says.
func damagedImage(path string, err error) error {
	var mismatch *plan.MismatchError
	if errors.As(err, &mismatch) {
		return inputError(fmt.Errorf("%s: %w", path, err), "the image is damaged: build or pull it again")
	}
	return err
}

// customizeMediaResult is what customize prints of an ISO or a folder.
type customizeMediaResult struct {
	Image     string             `json:"image"`
	Output    string             `json:"output"`
	Format    string             `json:"format"`
	DryRun    bool               `json:"dryRun,omitempty"`
	Source    *customize.Source  `json:"source,omitempty"` // with changes
	Changes   []customize.Edit   `json:"changes"`
	Inputs    []customize.Digest `json:"inputs"`
	Release   releaseResult      `json:"release"`
	KernelOpt string             `json:"kernelopt"`
	Modules   []string           `json:"modules"`
	Files     int                `json:"files"`
	Size      int64              `json:"size"` // of a folder: of its files
	Warnings  []imager.Warning   `json:"warnings,omitempty"`
	Seconds   float64            `json:"seconds"`
}

// change plans the disk with the changes, and notes them; without any it is the
// file.
func (r *customizeMediaResult) change(ctx context.Context, file io.ReaderAt, size int64, c customize.Changes) (io.ReaderAt, int64, error) {
	img, err := customize.Open(file, size)
	if err != nil {
		return nil, 0, err
	}
	// Only a disk has a partition for it.
	if drive, err := img.DriveFiles(); err != nil {
		return nil, 0, err
	} else if len(drive) > 0 {
		c.DriveAs = customize.AsModule
	}
	source := customize.Source{Name: filepath.Base(r.Image), Size: img.End, Digest: plan.Digest{}.String()}
	// What cannot be is told of before any work.
	_, err = img.Customize(c, source)
	if errors.Is(err, customize.ErrNoChange) {
		return file, size, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if source.Digest, err = img.Digest(ctx, file); err != nil {
		return nil, 0, err
	}
	done, err := img.Customize(c, source)
	if err != nil {
		return nil, 0, err
	}
	step := done.Step()
	r.Source, r.Changes, r.Inputs, r.Warnings = &step.Source, step.Edits, append(r.Inputs, step.Inputs...), done.Warnings
	return done.Plan, done.Plan.Size, nil
}

func (r *customizeMediaResult) tell(img *imager.Image) {
	r.Release, r.KernelOpt, r.Modules = newReleaseResult(img.Release), img.KernelOpt, append([]string{}, img.Modules...)
	r.Files, r.Size = len(img.Plan.Files), img.Plan.Size
	r.Warnings = append(r.Warnings, img.Warnings...)
}

func (a *app) showCustomizeMedia(r customizeMediaResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	f.Add("source", r.Image)
	f.Add("release", r.Release.String())
	for _, e := range r.Changes {
		f.Add("change", e.String())
	}
	f.Add("kernelopt", r.KernelOpt)
	f.Add("modules added", noneIfEmpty(r.Modules))
	did := fmt.Sprintf("written in %.1f s", r.Seconds)
	if r.DryRun {
		did = "nothing was written"
	}
	f.Addf("image", "%s: %s, %s, %s, %s", r.Output, r.Format, quantity.Count(r.Files, "file", "files"), quantity.Bytes(r.Size), did)
	return f.Write(a.Stdout)
}

func noneIfEmpty(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}
