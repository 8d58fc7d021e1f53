package cli

import (
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// listings are what inspect prints in full when asked to.
type listings struct {
	files, vibs, kickstart, sbom bool
	readBacking                  bool // openImage's
}

func newInspect(a *app) *cobra.Command {
	var show listings
	var flags option.Registry
	cmd := &cobra.Command{
		Use:   "inspect FILE|REF",
		Short: "Tell what an installer ISO, a disk image or an image in a registry is",
		Long: `Inspect tells the release, VIBs, boot options, modules and kickstart of an
installer ISO, of a disk image, or of an image in a registry (REF), a layout
(oci:DIR) or an archive (oci-archive:FILE); of these also layers, tags, and what
refers to them. Nothing is written, nothing but digests is verified, and of an
image in a registry some kilobytes are fetched.

With --sbom it prints the SPDX document that is attached to an image in a
registry, a layout or an archive, else one that it makes of the image.

What is there as a file is taken for one; a REF begins with a host name that has
a dot or a port, or is localhost.

` + exitCodeHelp,
		Example: `  esxi-img inspect esxi.iso
  esxi-img inspect --files --vibs esxi.img
  esxi-img inspect --kickstart esxi.img > KS.CFG
  esxi-img inspect --json esxi.img
  esxi-img inspect registry.example/esxi:8.0
  esxi-img inspect --sbom registry.example/esxi:8.0 > esxi.spdx.json
  esxi-img inspect oci:esxi-img.oci`,
		Args: exactArgs("FILE or REF"),
		RunE: func(c *cobra.Command, args []string) error {
			if show.kickstart && (show.files || show.vibs) {
				return usagef("leave out --files and --vibs", "--kickstart prints the kickstart and nothing else")
			}
			if show.sbom && (show.files || show.vibs || show.kickstart) {
				return usagef("leave out the other", "--sbom prints the SBOM and nothing else")
			}
			ref, ok, err := imageReference(args[0])
			if err != nil {
				return err
			}
			if !ok && show.sbom {
				return usagef("build it into a layout, and name that: oci:DIR", "--sbom: %s is no image with a manifest, of which an SBOM could be made", args[0])
			}
			if !ok {
				return a.inspect(args[0], show)
			}
			opts, err := a.registryOptions(&flags, c.Flags())
			if err != nil {
				return err
			}
			if show.sbom {
				return a.showSBOM(c.Context(), ref, opts)
			}
			return a.inspectImage(c.Context(), ref, show, opts)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&show.files, "files", false, "list the files")
	f.BoolVar(&show.vibs, "vibs", false, "list the VIBs")
	f.BoolVar(&show.kickstart, "kickstart", false, "print the kickstart and nothing else")
	f.BoolVar(&show.readBacking, "read-backing", false, readBackingHelp)
	f.BoolVar(&show.sbom, "sbom", false, "print the SBOM (SPDX 2.3, JSON) and nothing else")
	flags.AddFlags(f)
	flags.AddMirrorFlag(f)
	return cmd
}

func (a *app) inspect(name string, show listings) (err error) {
	f, err := openImage(name, show.readBacking)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	report, err := inspectFile(name, f.disk, f.size)
	if err != nil {
		return named(name, err)
	}
	status := a.status()
	for _, w := range report.Warnings {
		status.Warn("%s", w)
	}
	switch {
	case a.output.JSON:
		return display.JSON(a.Stdout, newInspectResult(name, report))
	case show.kickstart:
		return a.showKickstart(name, report)
	default:
		return a.showReport(name, report, show)
	}
}

// inspectFile takes a file for an ISO if it begins as one, else for a disk.
func inspectFile(name string, r io.ReaderAt, size int64) (*imager.Report, error) {
	img, err := iso.Open(r, size)
	switch {
	case err == nil:
		return imager.InspectISO(img)
	case errors.Is(err, iso.ErrNotISO):
		return imager.InspectDisk(r, size)
	default:
		return nil, isoFailure(name, err)
	}
}

func (a *app) showKickstart(name string, r *imager.Report) error {
	if r.Kickstart == nil {
		return inputError(fmt.Errorf("%s: carries no kickstart", name), "")
	}
	_, err := a.Stdout.Write(r.Kickstart)
	return err
}

func (a *app) showReport(name string, r *imager.Report, show listings) error {
	if err := summary(name, r).Write(a.Stdout); err != nil {
		return err
	}
	if show.vibs && r.VIBs != nil {
		if err := a.showVIBs(r); err != nil {
			return err
		}
	}
	if show.files {
		return a.showFiles(r)
	}
	return nil
}

// summary is the report in lines.
func summary(name string, r *imager.Report) display.Fields {
	var f display.Fields
	f.Add("file", name)
	if d := r.Disk; d != nil {
		f.Addf("kind", "disk image, %s, sectors of %d bytes", quantity.Bytes(r.Size), d.SectorSize)
		f.Addf("disk", "GUID %s", d.GUID)
		if d.Room > 0 {
			f.Addf("room", "%s behind the end that the partition table has", quantity.Bytes(d.Room))
		}
		f.Addf("volume", "FAT32 %s, id %04X-%04X, clusters of %d bytes, %s free",
			d.Label, d.VolumeID>>16, d.VolumeID&0xFFFF, d.ClusterSize, quantity.Bytes(d.FreeBytes))
		if v := d.Drive; v != nil {
			f.Addf("config drive", "partition of %s, labelled %q, %s", quantity.Bytes(v.Size), v.Label, quantity.Count(len(v.Files), "file", "files"))
		}
	} else {
		f.Addf("kind", "installer ISO, %s, names by %s", quantity.Bytes(r.Size), r.ISO.NameSource)
		f.Add("volume", r.ISO.VolumeID)
	}
	f.Add("release", newReleaseResult(r.Release).String())
	f.Add("profile", r.Release.Profile)
	f.Add("vendor", r.Release.Vendor)
	f.Add("architecture", r.Release.Arch)
	if r.VIBs != nil {
		f.Add("VIBs", quantity.Count(len(r.VIBs.VIBs), "VIB", "VIBs"))
	}
	f.Addf("files", "%s, %s", quantity.Count(len(r.Files), "file", "files"), quantity.Bytes(totalSize(r)))
	for _, b := range r.BootCfg {
		f.Addf(path.Base(b.Path), "/%s: %s, kernel %s, %s", b.Path, b.Title, b.Kernel, quantity.Count(len(b.Modules), "module", "modules"))
	}
	if n := len(r.BootCfg); n > 0 {
		f.Add("kernelopt", r.BootCfg[n-1].KernelOpt)
	}
	for _, m := range r.Modules {
		f.Addf("added module", "%s, %s", m.Path, quantity.Count(len(m.Entries), "file", "files"))
	}
	if r.Host != nil {
		f.Add("metadata", r.Host.Metadata)
		newHostResult(r.Host.HostOptions).addTo(&f)
	}
	addRecord(&f, r.Record)
	if r.Kickstart != nil {
		f.Addf("kickstart", "%s, see --kickstart", quantity.Bytes(int64(len(r.Kickstart))))
	}
	return f
}

func totalSize(r *imager.Report) int64 {
	var n int64
	for _, f := range r.Files {
		n += f.Size
	}
	return n
}

func (a *app) showVIBs(r *imager.Report) error {
	t := display.Table{Header: []string{"VIB", "VERSION", "VENDOR", "ACCEPTANCE"}}
	for _, v := range r.VIBs.VIBs {
		t.Rows = append(t.Rows, []string{v.Name, v.Version, v.Vendor, v.Acceptance})
	}
	return t.Write(a.Stdout)
}

func (a *app) showFiles(r *imager.Report) error {
	t := display.Table{Header: []string{"OFFSET", "SIZE", "ROLE", "PATH", "VIB"}}
	for _, f := range r.Files {
		t.Rows = append(t.Rows, []string{fmt.Sprint(f.Offset), fmt.Sprint(f.Size), string(f.Role), f.Path, f.VIB})
	}
	return t.Write(a.Stdout)
}
