package artifact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// ErrVersion says that something was made by a later version of the format.
var ErrVersion = errors.New("made by a later version of esxi-img")

// checkVersion refuses another major version.
func checkVersion(v string) error {
	major, minor, ok := strings.Cut(v, ".")
	if !ok || !decimal(major) || !decimal(minor) {
		return fmt.Errorf("%q is not a version such as %q", cut(v), FormatVersion)
	}
	if own, _, _ := strings.Cut(FormatVersion, "."); major != own {
		return fmt.Errorf("%s is not %s.x: %w", v, own, ErrVersion)
	}
	return nil
}

// decimal says whether s is a number as version numbers are written.
func decimal(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// Validate reports the first thing that a config says wrongly of itself. The
// error is a *FormatError.
func (c *Config) Validate() error {
	for _, check := range []struct {
		what string
		do   func() error
	}{
		{"version", func() error { return checkVersion(c.Version) }},
		{"esxi", c.checkESXi},
		{"iso", c.checkISO},
		{"disk", c.checkDisk},
		{"base", c.checkBase},
		{"extents", c.checkExtents},
		{"directories", c.checkDirectories},
		{"files", c.checkFiles},
		{"extents", c.checkOrigins},
		{"kickstart", c.checkKickstart},
		{"modules", c.checkModules},
		{"kernelopts", c.checkKernelOpts},
		{"vibs", c.checkVIBs},
		{"planner", c.checkPlanner},
		{"builder", func() error { return text("version", c.Builder.Version) }},
	} {
		if err := check.do(); err != nil {
			return malformed("config: "+check.what, "%w", err)
		}
	}
	return nil
}

func (c *Config) checkESXi() error {
	e := &c.ESXi
	if e.Architecture != "amd64" && e.Architecture != "arm64" {
		return fmt.Errorf("architecture %q is neither amd64 nor arm64", cut(e.Architecture))
	}
	return texts("version", e.Version, "update", e.Update, "build", e.Build, "profile", e.Profile, "vendor", e.Vendor)
}

func (c *Config) checkISO() error {
	if c.ISO.Size <= 0 {
		return fmt.Errorf("size %d", c.ISO.Size)
	}
	if strings.ContainsAny(c.ISO.Name, `/\`) {
		return fmt.Errorf("name %q has a folder", cut(c.ISO.Name))
	}
	return texts("name", c.ISO.Name, "volumeID", c.ISO.VolumeID)
}

func (c *Config) checkDisk() error {
	d := &c.Disk
	sector := int64(d.SectorSize)
	if sector != 512 && sector != 4096 {
		return fmt.Errorf("sectorSize %d is neither 512 nor 4096", d.SectorSize)
	}
	if d.Size <= 0 || d.Size > MaxDisk || d.Size%sector != 0 {
		return fmt.Errorf("size %d is not a positive multiple of %d up to %d", d.Size, sector, int64(MaxDisk))
	}
	if d.GUID == uuid.Nil || d.PartitionGUID == uuid.Nil {
		return errors.New("a GUID is missing")
	}
	if d.PartitionOffset <= 0 || d.PartitionOffset%sector != 0 || d.PartitionSize <= 0 || d.PartitionSize%sector != 0 ||
		d.PartitionOffset > d.Size || d.PartitionSize > d.Size-d.PartitionOffset {
		return fmt.Errorf("a partition of %d bytes at %d is not on a disk of %d", d.PartitionSize, d.PartitionOffset, d.Size)
	}
	if s := d.ClusterSize; s < d.SectorSize || s > 64<<10 || s&(s-1) != 0 {
		return fmt.Errorf("clusterSize %d is not a power of two from %d to 65536", s, sector)
	}
	if d.FirstDataOffset <= d.PartitionOffset || d.FirstDataOffset >= d.partitionEnd() {
		return fmt.Errorf("firstDataOffset %d is not in the partition", d.FirstDataOffset)
	}
	if _, offset := d.Time.Zone(); offset != 0 || d.Time.Nanosecond() != 0 || d.Time.Year() < 1 || d.Time.Year() > 9999 {
		return fmt.Errorf("time %v is not one of whole seconds in UTC", d.Time)
	}
	return texts("label", d.Label, "partitionName", d.PartitionName)
}

func (d *Disk) partitionEnd() int64 { return d.PartitionOffset + d.PartitionSize }

func (c *Config) checkBase() error {
	b := c.Base
	if b == nil {
		return nil
	}
	if b.Index != "" {
		if _, err := parseDigest(b.Index); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	if _, err := parseDigest(b.Manifest); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if _, err := parseDigest(b.Disk); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if b.DiskSize <= 0 || b.DiskSize > MaxDisk {
		return fmt.Errorf("diskSize %d is not a positive number up to %d", b.DiskSize, int64(MaxDisk))
	}
	return nil
}

// checkExtents holds that the extents tile the disk and that each has the
// digests that it should.
func (c *Config) checkExtents() error {
	if len(c.Extents) > MaxExtents {
		return fmt.Errorf("%d are over the limit of %d", len(c.Extents), MaxExtents)
	}
	var at, given int64
	for i := range c.Extents {
		e := &c.Extents[i]
		if e.Offset != at {
			return fmt.Errorf("%d starts at %d, the one before it ends at %d", i, e.Offset, at)
		}
		if e.Length <= 0 || e.Length > c.Disk.Size-at {
			return fmt.Errorf("%d has length %d with %d bytes of the disk left", i, e.Length, c.Disk.Size-at)
		}
		if n := pieces(e.Length); !e.Zero() && len(e.SHA256) != n {
			return fmt.Errorf("%d has %d digests for %d pieces", i, len(e.SHA256), n)
		}
		if given += int64(len(e.Data)); given > MaxGiven {
			return fmt.Errorf("more than %d bytes are given", MaxGiven)
		}
		if err := e.checkData(); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
		at = e.End()
	}
	if at != c.Disk.Size {
		return fmt.Errorf("end at %d of %d", at, c.Disk.Size)
	}
	return nil
}

// pieces is how many pieces so many bytes are.
func pieces(length int64) int { return int((length + PieceSize - 1) / PieceSize) }

// checkData holds that an extent has bytes of its own where it says so, and
// that they are those of the digests.
func (e *Extent) checkData() error {
	if e.From != FromGiven {
		if len(e.Data) > 0 {
			return errors.New("has data that are not said to be given")
		}
		return nil
	}
	if e.Zero() || int64(len(e.Data)) != e.Length {
		return fmt.Errorf("gives %d bytes for a length of %d", len(e.Data), e.Length)
	}
	for i, want := range e.SHA256 {
		piece := e.Data[i*PieceSize : min((i+1)*PieceSize, len(e.Data))]
		if got := SHA256(sha256.Sum256(piece)); got != want {
			return fmt.Errorf("piece %d is %s, not %s", i, got, want)
		}
	}
	return nil
}

// checkOrigins holds that bytes come from where they can.
func (c *Config) checkOrigins() error {
	for i := range c.Extents {
		e := &c.Extents[i]
		switch {
		case e.From == FromDisk:
			if c.Base != nil && !e.Zero() && e.End() > c.Base.DiskSize {
				return fmt.Errorf("%d ends at %d of a disk layer of %d bytes", i, e.End(), c.Base.DiskSize)
			}
		case c.Base == nil || e.Zero():
			return fmt.Errorf("%d is from %q, but only a variant's data have an origin", i, cut(string(e.From)))
		case e.From == FromGiven:
		case e.From == FromKickstart:
			if f := c.KickstartFile(); f == nil || e.Offset < f.Offset || e.End() > f.Offset+f.Size {
				return fmt.Errorf("%d is from the kickstart, but does not lie in its file", i)
			}
		default:
			return fmt.Errorf("%d is from %q, which is unknown", i, cut(string(e.From)))
		}
	}
	return nil
}

func (c *Config) checkDirectories() error {
	if len(c.Directories) > MaxDirectories {
		return fmt.Errorf("%d are over the limit of %d", len(c.Directories), MaxDirectories)
	}
	seen := map[string]bool{}
	for i, d := range c.Directories {
		if err := checkPath(d); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
		key := strings.ToUpper(d)
		if seen[key] {
			return fmt.Errorf("%d: %q stands there twice", i, cut(d))
		}
		seen[key] = true
	}
	return nil
}

// checkFiles holds that files lie on the volume, in order and apart, on data.
func (c *Config) checkFiles() error {
	if len(c.Files) > MaxFiles {
		return fmt.Errorf("%d are over the limit of %d", len(c.Files), MaxFiles)
	}
	seen := map[string]bool{}
	for _, d := range c.Directories {
		seen[strings.ToUpper(d)] = true
	}
	at := c.Disk.FirstDataOffset
	next := 0 // extent
	for i := range c.Files {
		f := &c.Files[i]
		if err := c.checkFile(f, at); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
		key := strings.ToUpper(f.Path)
		if seen[key] {
			return fmt.Errorf("%d: %q stands there twice", i, cut(f.Path))
		}
		seen[key] = true
		if f.Size == 0 {
			continue
		}
		for c.Extents[next].End() <= f.Offset {
			next++
		}
		if err := c.checkOnData(f, next); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
		at = f.Offset + f.Size
	}
	return nil
}

// checkFile looks at one file, which has to lie at or after at.
func (c *Config) checkFile(f *File, at int64) error {
	if err := checkPath(f.Path); err != nil {
		return err
	}
	switch f.Role {
	case plan.RolePayload, plan.RoleBootCfg, plan.RoleModule, plan.RoleKickstart:
	default:
		return fmt.Errorf("%s: role %q is unknown", f.Path, cut(string(f.Role)))
	}
	if f.Size == 0 {
		if f.Offset != 0 || f.SHA256 != sha256.Sum256(nil) {
			return fmt.Errorf("%s: is empty, but has an offset or a digest of something else", f.Path)
		}
		return nil
	}
	end := c.Disk.partitionEnd()
	if f.Size < 0 || f.Offset < at || f.Offset > end || f.Size > end-f.Offset {
		return fmt.Errorf("%s: %d bytes at %d do not lie between %d and %d", f.Path, f.Size, f.Offset, at, end)
	}
	return nil
}

// checkOnData holds that a file, which begins in extent i, covers no zeros,
// and that its digest is that of the one piece that is the whole file.
func (c *Config) checkOnData(f *File, i int) error {
	first := &c.Extents[i]
	for end := f.Offset + f.Size; i < len(c.Extents) && c.Extents[i].Offset < end; i++ {
		if c.Extents[i].Zero() {
			return fmt.Errorf("%s: lies on extent %d, which is zeros", f.Path, i)
		}
	}
	if first.Offset == f.Offset && first.Length == f.Size && len(first.SHA256) == 1 && first.SHA256[0] != f.SHA256 {
		return fmt.Errorf("%s: is %s, but its extent is %s", f.Path, f.SHA256, first.SHA256[0])
	}
	return nil
}

// KickstartFile returns the file that holds the kickstart, or nil.
func (c *Config) KickstartFile() *File {
	for i := range c.Files {
		if c.Files[i].Role == plan.RoleKickstart {
			return &c.Files[i]
		}
	}
	return nil
}

func (c *Config) checkKickstart() error {
	if c.Kickstart.Size <= 0 || c.Kickstart.Size > MaxKickstart {
		return fmt.Errorf("size %d is not a positive number up to %d", c.Kickstart.Size, MaxKickstart)
	}
	if n := len(c.Kickstart.Settings); n > MaxSettings {
		return fmt.Errorf("settings of %d bytes are over the limit of %d", n, MaxSettings)
	}
	if !utf8.ValidString(c.Kickstart.Settings) {
		return errors.New("settings are not UTF-8")
	}
	n := 0
	for i := range c.Files {
		if c.Files[i].Role == plan.RoleKickstart {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%d files have its role, not 1", n)
	}
	return nil
}

// checkModules holds that the modules are the files with that role, in order.
func (c *Config) checkModules() error {
	if len(c.Modules) == 0 || len(c.Modules) > MaxModules {
		return fmt.Errorf("%d are not from 1 to %d", len(c.Modules), MaxModules)
	}
	byPath := map[string]*Module{}
	for i := range c.Modules {
		byPath[c.Modules[i].Path] = &c.Modules[i]
	}
	n := 0
	for i := range c.Files {
		f := &c.Files[i]
		if f.Role != plan.RoleModule {
			continue
		}
		n++
		m := byPath[f.Path]
		if m == nil {
			return fmt.Errorf("the file %s is missing", f.Path)
		}
		if m.Size != f.Size || m.SHA256 != f.SHA256 {
			return fmt.Errorf("%s is not the file of that name", f.Path)
		}
	}
	if n != len(c.Modules) || n != len(byPath) {
		return fmt.Errorf("%d are named, %d files have their role", len(c.Modules), n)
	}
	if s := c.Modules[0].Size; s <= 0 || s > MaxModule {
		return fmt.Errorf("%s has %d bytes", c.Modules[0].Path, s)
	}
	return nil
}

func (c *Config) checkKernelOpts() error {
	if len(c.KernelOpts) > MaxKernelOpts {
		return fmt.Errorf("%d are over the limit of %d", len(c.KernelOpts), MaxKernelOpts)
	}
	for i, o := range c.KernelOpts {
		if err := text(strconv.Itoa(i), o); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkVIBs() error {
	if len(c.VIBs) > MaxVIBs {
		return fmt.Errorf("%d are over the limit of %d", len(c.VIBs), MaxVIBs)
	}
	known := map[string]bool{}
	for i := range c.Files {
		known[c.Files[i].Path] = true
	}
	files := 0
	for i := range c.VIBs {
		v := &c.VIBs[i]
		if err := texts("name", v.Name, "version", v.Version, "vendor", v.Vendor, "acceptance", v.Acceptance); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
		if files += len(v.Files); files > MaxVIBFiles {
			return fmt.Errorf("more than %d files", MaxVIBFiles)
		}
		for _, f := range v.Files {
			if !known[f] {
				return fmt.Errorf("%d: %q is not among the files", i, cut(f))
			}
		}
	}
	return nil
}

func (c *Config) checkPlanner() error {
	if c.Planner.Name == "" || c.Planner.Version < 1 {
		return errors.New("has no name or no version")
	}
	return text("name", c.Planner.Name)
}

// checkPath refuses what is not a path on a volume.
func checkPath(p string) error {
	if err := text("path", p); err != nil {
		return err
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, '\\') {
			return fmt.Errorf("%q is not a path on the volume", cut(p))
		}
	}
	return nil
}

// texts checks pairs of a name and a text.
func texts(pairs ...string) error {
	for pair := range slices.Chunk(pairs, 2) {
		if err := text(pair[0], pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// text refuses what cannot be shown on one line.
func text(name, s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%s has %d bytes, over the limit of %d", name, len(s), MaxText)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s %q has characters that are not text", name, cut(s))
	}
	return nil
}

// cut shortens what goes into a message.
func cut(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
