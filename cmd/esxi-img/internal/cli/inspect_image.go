package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// shownTags bounds the tags of a repository that are listed.
const shownTags = 1000

// imageReference tells references from files. What is there is a file, unless
// it is the folder of a layout; a registry is a host name with a dot or a port,
// or localhost, as for docker.
func imageReference(text string) (ref registry.Reference, ok bool, err error) {
	if strings.HasPrefix(text, registry.SchemeLayout+":") || strings.HasPrefix(text, registry.SchemeArchive+":") {
		ref, err = registry.Parse(text)
		return ref, err == nil, err
	}
	if info, statErr := os.Stat(text); statErr == nil {
		if _, statErr := os.Stat(filepath.Join(text, ocispec.ImageLayoutFile)); statErr != nil || !info.IsDir() {
			return ref, false, nil
		}
		return registry.Reference{Scheme: registry.SchemeLayout, Path: text}, true, nil
	}
	host, _, slash := strings.Cut(text, "/")
	isHost := strings.ContainsAny(host, ".:") && !strings.HasPrefix(host, ".") || host == "localhost"
	if !slash || !isHost || slices.Contains([]string{".iso", ".img", ".raw"}, strings.ToLower(path.Ext(text))) {
		return ref, false, nil
	}
	ref, err = registry.Parse(text)
	return ref, err == nil, err
}

// imageReport is what inspect finds out of an image in a registry or a layout.
type imageReport struct {
	ref  registry.Reference
	top  ocispec.Descriptor // what the reference names
	img  *artifact.Image
	boot []bootCfgResult
	// tags are those of the repository, of a layout those that name the image.
	tags      []string
	referrers []artifact.ReferrerCount
	// claims is what is attached to top, as it says of itself.
	claims    *signing.Listing
	kickstart []byte
	warnings  []string
}

func (a *app) inspectImage(ctx context.Context, ref registry.Reference, show listings, opts registry.Options) (err error) {
	from, release, err := openHeld(ctx, ref, opts, registry.Open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	r, err := reportOn(ctx, from, show.kickstart)
	if err != nil {
		return err
	}
	status := a.status()
	for _, w := range r.warnings {
		status.Warn("%s", w)
	}
	switch {
	case a.output.JSON:
		return display.JSON(a.Stdout, newImageResult(r))
	case show.kickstart:
		_, err := a.Stdout.Write(r.kickstart)
		return err
	default:
		return a.showImage(r, show)
	}
}

// reportOn looks at an image, or at its kickstart alone.
func reportOn(ctx context.Context, from *registry.Repository, onlyKickstart bool) (*imageReport, error) {
	r := &imageReport{ref: from.Reference()}
	var err error
	if r.top, err = from.Resolve(ctx, ""); err != nil {
		return nil, err
	}
	if r.img, err = artifact.Load(ctx, from, r.top); err != nil {
		return nil, err
	}
	if r.kickstart, err = artifact.FetchBytes(ctx, from, r.img.Kickstart, artifact.MaxKickstart); err != nil {
		return nil, err
	}
	if onlyKickstart {
		return r, nil
	}
	if err := r.readBootCfgs(ctx, from); err != nil {
		return nil, err
	}
	if r.referrers, err = r.img.CountReferrers(ctx, from); err != nil {
		return nil, err
	}
	if r.claims, err = signing.List(ctx, artifact.Subject{Ref: r.ref.String(), Target: from, Descriptor: r.top}); err != nil {
		return nil, err
	}
	return r, r.listTags(ctx, from)
}

// readBootCfgs reads each BOOT.CFG where that takes no more than its bytes.
func (r *imageReport) readBootCfgs(ctx context.Context, from *registry.Repository) error {
	for i := range r.img.Config.Files {
		f := &r.img.Config.Files[i]
		if f.Role != plan.RoleBootCfg {
			continue
		}
		b, err := r.img.ReadFile(ctx, from, f)
		if errors.Is(err, registry.ErrRangeIgnored) {
			r.warnings = append(r.warnings, "the registry ignores ranges: BOOT.CFG is not shown")
			return nil
		}
		if err != nil {
			return err
		}
		cfg, err := bootcfg.Parse(b)
		if err != nil {
			return inputError(fmt.Errorf("%s: %w", f.Path, err), "")
		}
		out := bootCfgResult{Path: f.Path, Title: cfg.Title(), Kernel: cfg.Kernel(), KernelOpt: strings.Join(cfg.KernelOpts(), " ")}
		for _, m := range cfg.Modules() {
			out.Modules = append(out.Modules, m.Path)
		}
		r.boot = append(r.boot, out)
	}
	return nil
}

// fallbackTag is a tag under which referrers are listed where there is no
// better way, or one of cosign's: nothing that a person would name.
var fallbackTag = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64}(\.[a-z]+)?$`)

// listTags lists the tags of a registry's repository; of a layout or an archive
// those that name the image. Not every token may list them.
func (r *imageReport) listTags(ctx context.Context, from *registry.Repository) error {
	local := r.ref.Scheme != ""
	for tag, err := range from.Tags(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.warnings = append(r.warnings, err.Error())
			return nil
		}
		if fallbackTag.MatchString(tag) {
			continue
		}
		if len(r.tags) == shownTags {
			r.warnings = append(r.warnings, fmt.Sprintf("there are more than %d tags", shownTags))
			return nil
		}
		if local {
			d, err := from.Resolve(ctx, tag)
			if err != nil || d.Digest != r.top.Digest {
				continue
			}
		}
		r.tags = append(r.tags, tag)
	}
	return nil
}

func (a *app) showImage(r *imageReport, show listings) error {
	if err := r.summary().Write(a.Stdout); err != nil {
		return err
	}
	if err := r.layers().Write(a.Stdout); err != nil {
		return err
	}
	c := r.img.Config
	if show.vibs {
		t := display.Table{Header: []string{"VIB", "VERSION", "VENDOR", "ACCEPTANCE"}}
		for _, v := range c.VIBs {
			t.Rows = append(t.Rows, []string{v.Name, v.Version, v.Vendor, v.Acceptance})
		}
		if err := t.Write(a.Stdout); err != nil {
			return err
		}
	}
	if !show.files {
		return nil
	}
	t := display.Table{Header: []string{"OFFSET", "SIZE", "ROLE", "PATH", "VIB"}}
	for _, f := range imageFiles(c) {
		t.Rows = append(t.Rows, []string{fmt.Sprint(f.Offset), fmt.Sprint(f.Size), f.Role, f.Path, f.VIB})
	}
	return t.Write(a.Stdout)
}

// summary is the report in lines.
func (r *imageReport) summary() display.Fields {
	img, c := r.img, r.img.Config
	var f display.Fields
	f.Add("image", r.ref.String())
	f.Add("digest", r.top.Digest.String())
	f.Addf("kind", "%s, %s, sectors of %d bytes", imageKind(c), quantity.Bytes(c.Disk.Size), c.Disk.SectorSize)
	if c.Base != nil {
		base := c.Base.Index
		if base == "" {
			base = c.Base.Manifest
		}
		f.Addf("base", "%s", base)
	}
	f.Addf("disk", "GUID %s, sha256 %s", c.Disk.GUID, c.Disk.SHA256)
	f.Addf("volume", "FAT32 %s, id %04X-%04X, clusters of %d bytes", c.Disk.Label, c.Disk.VolumeID>>16, c.Disk.VolumeID&0xFFFF, c.Disk.ClusterSize)
	f.Add("release", imageRelease(c).String())
	f.Add("profile", c.ESXi.Profile)
	f.Add("vendor", c.ESXi.Vendor)
	f.Add("architecture", c.ESXi.Architecture)
	f.Addf("ISO", "%s, %s, sha256 %s", c.ISO.Name, quantity.Bytes(c.ISO.Size), c.ISO.SHA256)
	f.Add("VIBs", quantity.Count(len(c.VIBs), "VIB", "VIBs"))
	var total int64
	for i := range c.Files {
		total += c.Files[i].Size
	}
	f.Addf("files", "%s, %s", quantity.Count(len(c.Files), "file", "files"), quantity.Bytes(total))
	for _, b := range r.boot {
		f.Addf(path.Base(b.Path), "/%s: %s, kernel %s, %s", b.Path, b.Title, b.Kernel, quantity.Count(len(b.Modules), "module", "modules"))
	}
	if n := len(r.boot); n > 0 {
		f.Add("kernelopt", r.boot[n-1].KernelOpt)
	}
	for _, m := range c.Modules {
		f.Addf("added module", "%s, %s", m.Path, quantity.Bytes(m.Size))
	}
	f.Addf("kickstart", "%s, see --kickstart", quantity.Bytes(img.Kickstart.Size))
	if told, err := imager.ParseHostSettings([]byte(c.Kickstart.Settings)); err == nil {
		f.Add("metadata", told.Metadata)
		newHostResult(told.HostOptions).addTo(&f)
	}
	f.Add("builder", "esxi-img "+c.Builder.Version)
	f.Add("tags", tagsText(r.tags))
	f.Add("referrers", referrersText(r.referrers))
	addClaims(&f, r.claims)
	return f
}

// tagsText lists some tags in a line.
func tagsText(tags []string) string {
	const shown = 20
	if len(tags) == 0 {
		return "none"
	}
	if more := len(tags) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(tags[:shown], ", "), more)
	}
	return strings.Join(tags, ", ")
}

// layers are what the image consists of.
func (r *imageReport) layers() display.Table {
	t := display.Table{Header: []string{"BLOB", "DIGEST", "SIZE", "TYPE", "TITLE"}}
	row := func(name string, d ocispec.Descriptor) {
		kind := d.ArtifactType
		if kind == "" {
			kind = d.MediaType
		}
		t.Rows = append(t.Rows, []string{name, d.Digest.String(), quantity.Bytes(d.Size), kind, d.Annotations[ocispec.AnnotationTitle]})
	}
	for _, e := range r.entries() {
		row("manifest "+e.Annotations[artifact.AnnotationDiskType], e)
	}
	img := r.img
	row("config", img.ConfigBlob)
	row("disk", img.Disk)
	row("module", img.Module)
	row("kickstart", img.Kickstart)
	return t
}

// entries are the manifests of the index, or the one that was named.
func (r *imageReport) entries() []ocispec.Descriptor {
	if r.img.Index == nil {
		return []ocispec.Descriptor{r.img.Manifest}
	}
	return r.img.Entries
}

func imageKind(c *artifact.Config) string {
	if c.Variant() {
		return "variant"
	}
	return "image"
}

func imageRelease(c *artifact.Config) releaseResult {
	return releaseResult{
		Product: "VMware ESXi", Version: c.ESXi.Version, Update: c.ESXi.Update, Build: c.ESXi.Build,
		Profile: c.ESXi.Profile, Vendor: c.ESXi.Vendor, Arch: c.ESXi.Architecture,
	}
}

// imageFiles lists the files with the VIB that each belongs to.
func imageFiles(c *artifact.Config) []fileResult {
	owners := map[string]string{}
	for _, v := range c.VIBs {
		for _, name := range v.Files {
			owners[name] = v.Name + " " + v.Version
		}
	}
	out := []fileResult{}
	for _, f := range c.Files {
		out = append(out, fileResult{f.Path, f.Size, f.Offset, string(f.Role), owners[f.Path]})
	}
	return out
}
