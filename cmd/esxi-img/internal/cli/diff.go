package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// errDifferent ends diff --exit-code: nothing failed, and nothing is told.
var errDifferent = errors.New("different")

// diffFlags are what diff is told.
type diffFlags struct {
	registry option.Registry
	exitCode bool
	files    bool
	// readBacking is openImage's.
	readBacking bool
}

func newDiff(a *app) *cobra.Command {
	var flags diffFlags
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Tell what differs between two images or ISOs",
		Long: `Diff tells what changes from A to B: VIBs that are added, removed, up- or
downgraded, files, the boot loader's configuration, the kickstart, and what the
images tell their hosts. Each of the two may be an installer ISO, a disk image,
an image in a registry (REF), a layout (oci:DIR) or an archive
(oci-archive:FILE).

Where B is an image in a registry, a layout or an archive, it also tells how much
of its disk a host has to fetch that has A: with A as a seed of "esxi-img pull",
and on a device on which A lies, where only what stays in its place counts.

Files that belong to a VIB that changes are listed with --files only. Nothing is
written, nothing but digests is verified, and of images in a registry some
kilobytes are fetched.

` + exitCodeHelp + `
With --exit-code 1 also says that A and B differ.`,
		Example: `  esxi-img diff registry.example/esxi:8.0.2 registry.example/esxi:8.0.3
  esxi-img diff old.iso new.iso
  esxi-img diff --exit-code esxi.img registry.example/esxi:8.0
  esxi-img diff --json oci:esxi-img.oci:8.0 oci:esxi-img.oci:lab`,
		Args: exactArgs("A", "B"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			different, err := a.diff(c.Context(), args[0], args[1], &flags, opts)
			if err == nil && different && flags.exitCode {
				return errDifferent
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.exitCode, "exit-code", false, "end with the exit code 1 if anything differs")
	f.BoolVar(&flags.files, "files", false, "list the files of VIBs that change too")
	f.BoolVar(&flags.readBacking, "read-backing", false, readBackingHelp)
	flags.registry.AddFlags(f)
	flags.registry.AddMirrorFlag(f)
	return cmd
}

func (a *app) diff(ctx context.Context, nameA, nameB string, flags *diffFlags, opts registry.Options) (different bool, err error) {
	sideA, err := openSide(ctx, nameA, flags.readBacking, opts)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, sideA.close()) }()
	sideB, err := openSide(ctx, nameB, flags.readBacking, opts)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, sideB.close()) }()
	difference, err := catalog.Compare(ctx, sideA.contents, sideB.contents)
	if err != nil {
		return false, err
	}
	result := diffResult{A: sideA.result(), B: sideB.result(), Difference: difference}
	if result.Fetch, err = sideB.fetchedWith(ctx, sideA); err != nil {
		return false, err
	}
	status := a.status()
	for _, side := range []*diffSide{sideA, sideB} {
		for _, w := range side.warnings {
			status.Warn("%s: %s", side.name, w)
		}
	}
	if a.output.JSON {
		return difference.Different, display.JSON(a.Stdout, result)
	}
	return difference.Different, a.showDiff(&result, flags.files)
}

// diffSide is one of the two that are compared.
type diffSide struct {
	name     string // as the user gave it
	kind     string // "iso", "disk", "image" or "variant"
	release  releaseResult
	contents *catalog.Contents
	// Of an image in a registry, a layout or an archive.
	digest    string
	image     *artifact.Image
	kickstart []byte

	warnings []string
	close    func() error
}

// openSide reads all but the content of one of the two.
func openSide(ctx context.Context, name string, readBacking bool, opts registry.Options) (*diffSide, error) {
	ref, ok, err := imageReference(name)
	if err != nil {
		return nil, err
	}
	if ok {
		return openImageSide(ctx, name, ref, opts)
	}
	return openFileSide(name, readBacking)
}

func openFileSide(name string, readBacking bool) (_ *diffSide, err error) {
	f, err := openImage(name, readBacking)
	if err != nil {
		return nil, err
	}
	report, err := inspectFile(name, f.disk, f.size)
	if err != nil {
		return nil, errors.Join(named(name, err), f.Close())
	}
	s := &diffSide{
		name: name, kind: newInspectResult(name, report).Kind, release: newReleaseResult(report.Release),
		contents: catalog.ContentsOfReport(report), close: f.Close,
	}
	s.release.Evidence = nil
	for _, w := range report.Warnings {
		s.warnings = append(s.warnings, w.String())
	}
	return s, nil
}

func openImageSide(ctx context.Context, name string, ref registry.Reference, opts registry.Options) (_ *diffSide, err error) {
	from, release, err := openHeld(ctx, ref, opts, registry.Open)
	if err != nil {
		return nil, err
	}
	s := &diffSide{name: name, close: release}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	r, err := reportOn(ctx, from, true)
	if err != nil {
		return nil, err
	}
	if err := r.img.Config.CheckKickstart(r.kickstart); err != nil {
		return nil, err
	}
	if err := r.readBootCfgs(ctx, from); err != nil {
		return nil, err
	}
	var boot []catalog.BootConfig
	for _, b := range r.boot {
		boot = append(boot, bootConfig(b))
	}
	s.kind, s.release, s.digest, s.warnings = imageKind(r.img.Config), imageRelease(r.img.Config), r.top.Digest.String(), r.warnings
	s.image, s.kickstart = r.img, r.kickstart
	s.contents = catalog.ContentsOfImage(r.img, r.kickstart, boot)
	return s, nil
}

func bootConfig(b bootCfgResult) catalog.BootConfig {
	report := imager.BootReport(b)
	return catalog.BootConfigOf(&report)
}

// fetchedWith says what a pull of the side takes where the other is at hand; nil
// where it is nothing that is pulled.
func (s *diffSide) fetchedWith(ctx context.Context, other *diffSide) (*fetchResult, error) {
	if s.image == nil {
		return nil, nil
	}
	have := artifact.AtHand{Image: other.image}
	if other.image == nil {
		have.File = other.name
	}
	e, err := s.image.Estimate(ctx, s.kickstart, have)
	if err != nil {
		return nil, err
	}
	img := s.image
	out := &fetchResult{Size: img.Config.Disk.Size, Manifests: img.Manifest.Size + img.ConfigBlob.Size + img.Kickstart.Size, Estimate: e}
	if img.Index != nil {
		out.Manifests += img.Index.Size
	}
	return out, nil
}

// diffResult is what diff prints.
type diffResult struct {
	A sideResult `json:"a"`
	B sideResult `json:"b"`
	*catalog.Difference
	Fetch *fetchResult `json:"fetch,omitempty"`
}

type sideResult struct {
	Name    string        `json:"name"`
	Kind    string        `json:"kind"` // "iso", "disk", "image" or "variant"
	Digest  string        `json:"digest,omitempty"`
	Release releaseResult `json:"release"`
}

func (s *diffSide) result() sideResult { return sideResult{s.name, s.kind, s.digest, s.release} }

// fetchResult says what a host has to fetch, in bytes.
type fetchResult struct {
	Size int64 `json:"size"` // of the disk
	// Manifests are fetched in any case: with the config and the kickstart, and
	// without signatures.
	Manifests int64 `json:"manifests"`
	*artifact.Estimate
}
