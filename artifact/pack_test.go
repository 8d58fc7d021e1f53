package artifact_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// The digests of whole images: the same inputs give the same index on every
// machine, on every day, by every user. A change here is a change of the format
// that all who signed an image will see.
const goldenIndex = "sha256:2180df838fc070b89bbe5a7d83a39cd1cfa2a9bf8c876662e314cce218728b8d"

func TestImagesAreTheSameEverywhere(t *testing.T) {
	for _, workers := range []int{1, 3} {
		p, err := artifact.Pack(t.Context(), source(t, fixed(t)), newLayout(t), artifact.PackOptions{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Index.Digest.String(); got != goldenIndex {
			t.Errorf("%d workers: the index is %s, want %s", workers, got, goldenIndex)
		}
	}
}

func TestAPackedImageIsWhatItSays(t *testing.T) {
	s := source(t, imager.Profile{Headroom: 1 << 20, KernelOpts: []string{"debug"}})
	l, p := pack(t, imager.Profile{Headroom: 1 << 20, KernelOpts: []string{"debug"}})
	img, err := artifact.Load(t.Context(), l, p.Index)
	if err != nil {
		t.Fatal(err)
	}
	disk := blobOf(t, l, img.Disk)
	if want := readAll(t, s.Plan.Reader()); !bytes.Equal(disk, want) {
		t.Error("the disk blob is not the planned disk")
	}
	checkPieces(t, img.Config, disk)
	if got := assemble(t, l, img); !bytes.Equal(got, disk) {
		t.Error("the config's extents do not make the disk")
	}

	c := img.Config
	module, text := blobOf(t, l, img.Module), blobOf(t, l, img.Kickstart)
	if want, err := imager.InstallerModule(); err != nil || !bytes.Equal(module, want) {
		t.Errorf("layer 1 is not the installer module (%v)", err)
	}
	if !bytes.Equal(text, s.Kickstart) {
		t.Error("layer 2 is not the kickstart")
	}
	if c.ISO.Name != "esxi.iso" || c.ISO.Size != int64(len(small())) || c.ISO.SHA256 != sum(small()) || c.ISO.VolumeID != "ESXI-8.0U2-22380479-STANDARD" {
		t.Errorf("iso: %+v", c.ISO)
	}
	if e := c.ESXi; e.Version != "8.0.2" || e.Update != "U2" || e.Build != "22380479" || e.Architecture != "amd64" {
		t.Errorf("esxi: %+v", e)
	}
	if !slices.Equal(c.KernelOpts, []string{"debug"}) || c.Builder.Version != "v1.2.3" {
		t.Errorf("kernelopts %q, builder %+v", c.KernelOpts, c.Builder)
	}
	checkVIBs(t, c)
}

// checkVIBs holds that the files' owners are those that the medium was made
// with.
func checkVIBs(t *testing.T, c *artifact.Config) {
	t.Helper()
	owners := esxitest.Owners()
	got := map[string]string{}
	for _, v := range c.VIBs {
		for _, f := range v.Files {
			got[f] = v.Name
		}
	}
	for path, owner := range owners {
		if got[path] != owner.VIB {
			t.Errorf("%s belongs to %q, want %q", path, got[path], owner.VIB)
		}
	}
	if len(got) != len(owners) {
		t.Errorf("%d files have an owner, want %d", len(got), len(owners))
	}
}

// What tools that know nothing of us rely on.
func TestManifestsForOtherTools(t *testing.T) {
	l, p := pack(t, fixed(t))
	var index ocispec.Index
	unmarshal(t, blobOf(t, l, p.Index), &index)
	if index.ArtifactType != artifact.TypeIndex || index.MediaType != ocispec.MediaTypeImageIndex || len(index.Manifests) != 2 {
		t.Fatalf("index %+v", index)
	}
	for key, want := range map[string]string{
		"org.opencontainers.image.version": "8.0.2-22380479",
		"org.opencontainers.image.created": "2023-09-04T14:59:10Z",
		"org.opencontainers.image.title":   "VMware ESXi 8.0.2 U2 build 22380479",
		artifact.AnnotationRelease:         "8.0.2",
		artifact.AnnotationBuild:           "22380479",
		artifact.AnnotationProfile:         "ESXi-8.0U2-22380479-standard",
		artifact.AnnotationDiskSize:        "36700160",
	} {
		if index.Annotations[key] != want {
			t.Errorf("annotation %s is %q, want %q", key, index.Annotations[key], want)
		}
	}
	var layers [2][]json.RawMessage
	for i, e := range index.Manifests {
		if e.Platform == nil || e.Platform.OS != "linux" || e.Platform.Architecture != "amd64" {
			t.Errorf("entry %d: platform %+v", i, e.Platform)
		}
		var m struct {
			ArtifactType string            `json:"artifactType"`
			Layers       []json.RawMessage `json:"layers"`
		}
		unmarshal(t, blobOf(t, l, e), &m)
		if m.ArtifactType != e.ArtifactType || m.ArtifactType == "" {
			t.Errorf("entry %d: artifact type %q, its manifest has %q", i, e.ArtifactType, m.ArtifactType)
		}
		layers[i] = m.Layers
	}
	if d := index.Manifests[0].Annotations["disktype"]; d != "esxi-img" {
		t.Errorf("disktype of the image manifest is %q", d)
	}
	// Ironic: disktype raw on the descriptor, one layer.
	if d := index.Manifests[1].Annotations["disktype"]; d != "raw" || len(layers[1]) != 1 {
		t.Errorf("disktype %q, %d layers", d, len(layers[1]))
	}
	// oras pull: the same name only for the same descriptor.
	if len(layers[0]) != 3 || !bytes.Equal(layers[0][0], layers[1][0]) {
		t.Error("the disk's descriptors differ")
	}
	var titles []string
	for _, raw := range layers[0] {
		var d ocispec.Descriptor
		unmarshal(t, raw, &d)
		titles = append(titles, d.Annotations["org.opencontainers.image.title"])
	}
	if want := []string{"esxi-8.0.2-22380479.img", "ESXIIMG.TGZ", "KS.CFG"}; !slices.Equal(titles, want) {
		t.Errorf("titles %q, want %q", titles, want)
	}
}

func unmarshal(tb testing.TB, b []byte, into any) {
	tb.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		tb.Fatal(err)
	}
}

func TestTheSameDiskCanBePlannedFromTheConfig(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		profile := fixed(t)
		profile.SectorSize = sector
		l, p := pack(t, profile)
		disk := blobOf(t, l, p.Disk)
		c := p.Config
		if !c.KnownPlanner() {
			t.Fatalf("planner %+v is not known", c.Planner)
		}
		files := c.PlanFiles(func(f *artifact.File) io.ReaderAt { return bytes.NewReader(disk[f.Offset : f.Offset+f.Size]) })
		again, _, geometry, err := c.Layout().Plan(files, c.Directories)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readAll(t, again.Reader()), disk) {
			t.Errorf("sectors of %d bytes: the disk that is planned again differs", sector)
		}
		if at := c.Disk.PartitionOffset + geometry.FirstDataOffset; at != c.Disk.FirstDataOffset {
			t.Errorf("data begin at %d, the config says %d", at, c.Disk.FirstDataOffset)
		}
		sparse, err := c.BlobPlan(bytes.NewReader(disk))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readAll(t, sparse.Reader()), disk) {
			t.Errorf("sectors of %d bytes: the disk that is copied differs", sector)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	wrong := errors.New("the ISO is on fire")
	for name, c := range map[string]struct {
		change func(*artifact.Source)
		check  func(error) bool
	}{
		"no kickstart":      {func(s *artifact.Source) { s.Kickstart = nil }, says("without a kickstart")},
		"another kickstart": {func(s *artifact.Source) { s.Kickstart = []byte("reboot\n") }, says("the kickstart's tar is")},
		"damaged payload": {func(s *artifact.Source) { s.Plan.Files[5].Expect = []plan.Digest{{1}} }, func(err error) bool {
			var m *plan.MismatchError
			return errors.As(err, &m)
		}},
		"unreadable ISO": {func(s *artifact.Source) { s.ISOContent = failing{wrong} }, func(err error) bool {
			var r *plan.ReadError
			return errors.As(err, &r) && errors.Is(err, wrong)
		}},
		"ISO cut short": {func(s *artifact.Source) { s.ISO.Size++ }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
	} {
		t.Run(name, func(t *testing.T) {
			s, l := source(t, fixed(t)), newLayout(t)
			c.change(s)
			if _, err := artifact.Pack(t.Context(), s, l, artifact.PackOptions{}); !c.check(err) {
				t.Errorf("Pack() = %v", err)
			}
			checkNoTemporary(t, l.Dir())
		})
	}
}

func TestPackStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := newLayout(t)
	if _, err := artifact.Pack(ctx, source(t, fixed(t)), l, artifact.PackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Pack() = %v", err)
	}
	checkNoTemporary(t, l.Dir())
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func says(what string) func(error) bool {
	return func(err error) bool { return err != nil && strings.Contains(err.Error(), what) }
}

func TestReleaseTag(t *testing.T) {
	for want, e := range map[string]artifact.ESXi{
		"8.0.2-22380479": {Version: "8.0.2", Build: "22380479"},
		"8.0_x-1_2":      {Version: "8.0 x", Build: "1/2"},
		"":               {Version: "8.0.2"},
	} {
		if got := e.Tag(); got != want {
			t.Errorf("%+v has the tag %q, want %q", e, got, want)
		}
	}
	if got := (&artifact.ESXi{Version: strings.Repeat("8", 100), Build: "1"}).Tag(); got != "" {
		t.Errorf("a version that is no tag's gives %q", got)
	}
}

func TestKickstartTarIsTheImagers(t *testing.T) {
	r, packed := pack(t, fixed(t))
	img, c := source(t, fixed(t)), packed.Config
	var told imager.HostSettings
	if err := json.Unmarshal([]byte(c.Kickstart.Settings), &told); err != nil || told.Disk != c.Disk.GUID.String() {
		t.Fatalf("the settings are %q (%v)", c.Kickstart.Settings, err)
	}
	ours, err := artifact.KickstartTar(img.Kickstart, []byte(c.Kickstart.Settings))
	if err != nil {
		t.Fatal(err)
	}
	f := c.KickstartFile()
	if theirs := blobOf(t, r, packed.Disk)[f.Offset:][:f.Size]; !bytes.Equal(ours, theirs) {
		t.Error("the kickstart's tar is not what the imager puts on the disk")
	}
}
