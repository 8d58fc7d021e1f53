package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/vib"
)

// Source is what an image is packed from.
type Source struct {
	// Plan is the disk, made by Layout of its files and of Directories.
	Plan        *plan.Plan
	Layout      disk.Layout
	Directories []string
	// FirstDataOffset is where the volume's cluster 2 lies, in bytes from the
	// start of the volume.
	FirstDataOffset int64
	Release         ESXi
	// ISO without its digest, which is made of ISOContent in the same pass.
	ISO        ISO
	ISOContent io.ReaderAt
	VIBs       *vib.Database // nil if there is none
	Kickstart  []byte
	// Settings lie beside the kickstart in its module; may be empty.
	Settings   []byte
	KernelOpts []string
	Builder    string // the version of the program
}

// PackOptions say how an image is packed.
type PackOptions struct {
	Workers  int // 0 for as many as help
	Progress progress.Reporter
}

// Packed is an image in a layout: the descriptors as the index and the manifest
// have them.
type Packed struct {
	Index        ocispec.Descriptor
	Manifest     ocispec.Descriptor
	DiskManifest ocispec.Descriptor
	Config       *Config
	Disk         ocispec.Descriptor
}

// Pack writes an image into a layout: the disk, in the pass that hashes it,
// then what names it. Nothing in the layout has a tag of it yet, so that the
// caller has to hold the layout (registry.Layout.Hold) until it gave one. Errors
// of the content are *plan.MismatchError and *plan.ReadError.
func Pack(ctx context.Context, s *Source, to *registry.Layout, opts PackOptions) (_ *Packed, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	// 1. The disk blob and all digests.
	raw, err := to.CreateBlob()
	if err != nil {
		return nil, err
	}
	defer func() { err = raw.Discard(err) }() // nothing is left to discard after Commit
	sums, isoSum, err := s.write(ctx, raw.File, opts)
	if err != nil {
		return nil, err
	}
	// 2. The config, which has to be sound before anything is kept.
	config, err := s.config(sums, isoSum)
	if err != nil {
		return nil, err
	}
	encoded, err := config.Encode()
	if err != nil {
		return nil, err
	}
	// 3. Blobs.
	l := layers{disk: ocispec.Descriptor{MediaType: MediaTypeRaw, Digest: config.Disk.SHA256.Digest(), Size: config.Disk.Size}}
	if err := raw.Commit(l.disk); err != nil {
		return nil, err
	}
	module, err := s.module()
	if err != nil {
		return nil, err
	}
	blobs := []blob{newBlob(MediaTypeModule, module), newBlob(MediaTypeKickstart, s.Kickstart), newBlob(MediaTypeConfig, encoded), emptyJSON}
	for _, b := range blobs {
		if err := push(ctx, to, b); err != nil {
			return nil, err
		}
	}
	// 4. Manifests over them.
	l.disk = titled(l.disk, diskTitle(&config.ESXi, ".img"))
	l.module = titled(blobs[0].Descriptor, TitleModule)
	l.kickstart = titled(blobs[1].Descriptor, TitleKickstart)
	return packManifests(ctx, to, config, blobs[2], l)
}

// packManifests writes the manifests over blobs that are there.
func packManifests(ctx context.Context, to *registry.Layout, c *Config, config blob, l layers) (*Packed, error) {
	image, err := imageManifest(c, config, l)
	if err != nil {
		return nil, err
	}
	raw, err := diskManifest(c, l.disk, DiskTypeRaw)
	if err != nil {
		return nil, err
	}
	p := &Packed{
		Config: c, Disk: l.disk,
		Manifest:     entry(c, image.Descriptor, TypeImage, DiskTypeImage),
		DiskManifest: entry(c, raw.Descriptor, TypeDisk, DiskTypeRaw),
	}
	top, err := index(c, p.Manifest, p.DiskManifest)
	if err != nil {
		return nil, err
	}
	p.Index = top.Descriptor
	p.Index.ArtifactType = TypeIndex
	for _, b := range []blob{image, raw, top} {
		if err := push(ctx, to, b); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// emptyJSON is the config of a manifest that has none (image-spec 1.1,
// "Guidance for an Empty Descriptor").
var emptyJSON = blob{ocispec.Descriptor{
	MediaType: ocispec.MediaTypeEmptyJSON, Digest: ocispec.DescriptorEmptyJSON.Digest, Size: ocispec.DescriptorEmptyJSON.Size,
}, []byte("{}")}

// push writes a blob unless it is there.
func push(ctx context.Context, to *registry.Layout, b blob) error {
	there, err := to.Exists(ctx, b.Descriptor)
	if err != nil || there {
		return err
	}
	return to.Push(ctx, b.Descriptor, bytes.NewReader(b.data))
}

func (s *Source) check() error {
	if s.Plan == nil || s.ISOContent == nil {
		return errors.New("artifact: a source has no plan or no ISO")
	}
	if len(s.Kickstart) == 0 {
		return errors.New("artifact: an image without a kickstart of its own cannot be packed")
	}
	return nil
}

// write writes the disk and hashes it, and the ISO beside it.
func (s *Source) write(ctx context.Context, f *os.File, opts PackOptions) (*disk.Digests, SHA256, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg     sync.WaitGroup
		isoSum SHA256
	)
	wg.Go(func() {
		var err error
		if isoSum, err = hashAll(ctx, s.ISOContent, s.ISO.Size); err != nil {
			cancel(&plan.ReadError{Path: s.ISO.Name, Err: err})
		}
	})
	sums, err := disk.WriteDigests(ctx, f, s.Plan, disk.DigestOptions{
		PieceSize: PieceSize, Workers: opts.Workers, Progress: opts.Progress, Phase: "pack " + s.ISO.Name,
	})
	if err != nil {
		cancel(err)
	}
	wg.Wait()
	return sums, isoSum, context.Cause(ctx)
}

// hashAll hashes size bytes of r.
func hashAll(ctx context.Context, r io.ReaderAt, size int64) (sum SHA256, err error) {
	h, buf := sha256.New(), make([]byte, 1<<20)
	for off := int64(0); off < size; {
		if err := context.Cause(ctx); err != nil {
			return sum, err
		}
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 {
			return sum, errors.Join(err, io.ErrUnexpectedEOF)
		}
		h.Write(buf[:n])
		off += int64(n)
	}
	return SHA256(h.Sum(nil)), nil
}

// config says what was written.
func (s *Source) config(sums *disk.Digests, isoSum SHA256) (*Config, error) {
	l := &s.Layout
	c := &Config{
		Version: FormatVersion, ESXi: s.Release, ISO: s.ISO,
		Disk: Disk{
			Size: s.Plan.Size, SectorSize: s.Plan.SectorSize, SHA256: SHA256(sums.Disk),
			GUID: l.DiskGUID, PartitionGUID: l.PartitionGUID, PartitionName: l.PartitionName,
			PartitionOffset: disk.PartitionStart, PartitionSize: l.VolumeSize,
			VolumeID: l.VolumeID, Label: l.Label, Time: l.Time.UTC().Truncate(time.Second),
			ClusterSize: l.ClusterSize, FirstDataOffset: disk.PartitionStart + s.FirstDataOffset,
		},
		Directories: orEmpty(s.Directories),
		Planner:     Planner{disk.PlannerName, disk.PlannerVersion},
		Kickstart:   Kickstart{int64(len(s.Kickstart)), sha256.Sum256(s.Kickstart), string(s.Settings)},
		Modules:     []Module{}, KernelOpts: orEmpty(s.KernelOpts), VIBs: []VIB{},
		Builder: Builder{s.Builder},
	}
	c.ISO.SHA256 = isoSum
	clean(&c.ISO.Name, &c.ISO.VolumeID, &c.ESXi.Version, &c.ESXi.Update, &c.ESXi.Build, &c.ESXi.Profile, &c.ESXi.Vendor)
	c.Extents = extents(s.Plan, sums)
	c.addFiles(s.Plan, sums)
	c.addVIBs(s.VIBs)
	return c, c.CheckKickstart(s.Kickstart)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// extents are the plan's, with the digests of their pieces.
func extents(p *plan.Plan, sums *disk.Digests) []Extent {
	out := make([]Extent, len(p.Extents))
	for i, e := range p.Extents {
		out[i] = Extent{Offset: e.Offset, Length: e.Length}
		for _, sum := range sums.Extents[i] {
			out[i].SHA256 = append(out[i].SHA256, SHA256(sum))
		}
	}
	return out
}

func (c *Config) addFiles(p *plan.Plan, sums *disk.Digests) {
	c.Files = make([]File, len(p.Files))
	for i := range p.Files {
		f := &p.Files[i]
		sum := SHA256(sums.Files[i])
		c.Files[i] = File{Path: f.Path, Size: f.Size, Offset: f.Offset, SHA256: sum, Role: f.Role}
		if f.Role == plan.RoleModule {
			c.Modules = append(c.Modules, Module{Path: f.Path, Size: f.Size, SHA256: sum})
		}
	}
}

// addVIBs names the VIBs and which files of the disk are theirs.
func (c *Config) addVIBs(db *vib.Database) {
	if db == nil {
		return
	}
	files := map[*vib.VIB][]string{}
	for i := range c.Files {
		f := &c.Files[i]
		if f.Role != plan.RolePayload || strings.Contains(f.Path, "/") {
			continue // payloads lie in the root
		}
		expected := db.Expect(f.Path, f.Size)
		owner, ok := expected.Owner(f.SHA256)
		if !ok && len(expected.Candidates) == 1 {
			owner, ok = expected.Candidates[0], true
		}
		if ok {
			files[owner.VIB] = append(files[owner.VIB], f.Path)
		}
	}
	for i := range db.VIBs {
		v := &db.VIBs[i]
		entry := VIB{v.Name, v.Version, v.Vendor, v.Acceptance, orEmpty(files[v])}
		clean(&entry.Name, &entry.Version, &entry.Vendor, &entry.Acceptance)
		c.VIBs = append(c.VIBs, entry)
	}
}

// clean takes out of texts that come from the ISO what a config's text cannot
// have.
func clean(texts ...*string) {
	for _, t := range texts {
		s := strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(*t, "\uFFFD"))
		*t = strings.TrimSpace(s[:min(len(s), MaxText)])
	}
}

// module returns the first module's bytes: layer 1.
func (s *Source) module() ([]byte, error) {
	for i := range s.Plan.Files {
		f := &s.Plan.Files[i]
		if f.Role != plan.RoleModule {
			continue
		}
		if f.Size > MaxModule {
			return nil, malformed("layer", "%s has %d bytes, over the limit of %d", f.Path, f.Size, MaxModule)
		}
		b := make([]byte, f.Size)
		return b, f.ReadContent(b, 0)
	}
	return nil, errors.New("artifact: an image without an installer module cannot be packed")
}
