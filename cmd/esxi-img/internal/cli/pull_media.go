package cli

import (
	"context"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// checkMedia refuses flags that contradict what the disk is to become.
func (f *pullFlags) checkMedia() error {
	switch {
	case f.format == formatISO && f.prefix != "":
		return usagef("add --format netboot, or leave it out", "--prefix: an ISO has no boot.cfg that is served")
	case !isMedia(f.format) && f.prefix != "":
		return usagef("add --format netboot, or leave it out", "--prefix: a disk has no boot.cfg that is served")
	case !isMedia(f.format):
		return nil
	case f.pull.UniqueIDs:
		return usagef("leave --unique-ids out", "--format %s: only a disk has identifiers", f.format)
	case f.driveAs == customize.AsPartition:
		return usagef("leave it out: the metadata is carried in a module", "--config-drive-as partition: only a disk has partitions")
	}
	return imager.CheckPrefix(f.prefix)
}

// toMedia is an ISO or a folder as the output.
func (f *pullFlags) toMedia() (artifact.Destination, error) {
	return artifact.ToMedia(f.output, artifact.MediaOptions{
		Force: f.force, Folder: f.format == formatNetboot,
		Make: func(ctx context.Context, disked *plan.Plan, opts disk.WriteOptions) (err error) {
			if f.format == formatNetboot {
				f.media, err = imager.NetbootOfDisk(disked, disked.Size, f.prefix)
			} else {
				f.media, err = imager.ISOOfDisk(disked, disked.Size)
			}
			if err != nil {
				return err
			}
			return writeMedia(ctx, f.format, f.output, f.media, opts)
		},
	})
}

// pulledMedia is what pull prints of an ISO or a folder.
type pulledMedia struct {
	KernelOpt  string   `json:"kernelopt"`
	Modules    []string `json:"modules"`
	Files      int      `json:"files"`
	OutputSize int64    `json:"outputSize"` // of a folder: of its files
}

func newPulledMedia(img *imager.Image) *pulledMedia {
	return &pulledMedia{img.KernelOpt, append([]string{}, img.Modules...), len(img.Plan.Files), img.Plan.Size}
}

func (m *pulledMedia) show(f *display.Fields, output, format string, seconds float64) {
	f.Add("kernelopt", m.KernelOpt)
	f.Add("modules added", noneIfEmpty(m.Modules))
	f.Addf("image", "%s: %s, %s, %s, written in %.1f s", output, format, quantity.Count(m.Files, "file", "files"), quantity.Bytes(m.OutputSize), seconds)
}
