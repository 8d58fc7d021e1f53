package disk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// even is a smaller plan, whose size every format takes.
func even(t *testing.T) *plan.Plan {
	t.Helper()
	var b plan.Builder
	b.Literal([]byte("head"))
	b.Pad(4096)
	for i, size := range []int64{1, 4096, 1<<20 - 1, 1 << 20, 2<<20 + 3, 4<<20 + 1} {
		content := pattern(i)
		b.File(plan.File{Path: string(rune('A' + i)), Size: size, Content: content, Expect: []plan.Digest{*digestOf(t, content, size)}})
		b.Pad(4096)
	}
	b.Zero(2 << 20)
	b.Literal(bytes.Repeat([]byte("tail"), 1024))
	b.Pad(cluster)
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The bytes are those of any other build of the program.
func TestFormatsAreStable(t *testing.T) {
	const compressed disk.Format = "compressed qcow2"
	for format, want := range map[disk.Format]string{
		disk.Raw:        "sha256:f7c9b4f0e47429ff1b58e8266cc3350abb4f5d48fc993611466ce0be2a7cfbc4",
		disk.QCOW2:      "sha256:c6c37c569e3edf4f60f57e27c88de8f9703559243b5a991f6d303db450d6ad42",
		disk.VMDK:       "sha256:7870c1c56df4d139f76b73d890c0c541d8118bb092f6b293a71393e37be8c41a",
		disk.VMDKSparse: "sha256:00c788edea318fac87612ce84e9667d9b5bb8f6a1d323b09d9186083e6f561f7",
		compressed:      "sha256:4c810ba8d0ae9eb772f088e79f2d7885a959ddc9e8a79c19c097ceaccea9f97f",
	} {
		for _, workers := range []int{0, 1} {
			path := filepath.Join(t.TempDir(), "disk")
			opts, told := disk.WriteOptions{Format: format, Workers: workers}, format
			switch format {
			case compressed:
				opts.Format, opts.Compress, told = disk.QCOW2, true, disk.QCOW2
			case disk.VMDKSparse:
				told = disk.VMDK
			}
			if err := disk.WriteFile(t.Context(), path, even(t), opts); err != nil {
				t.Fatal(err)
			}
			onlyFile(t, path)
			if b, err := os.ReadFile(path); err != nil || disk.FormatOf(bytes.NewReader(b)) != told || disk.FormatOf(bytes.NewReader(b[:3])) != disk.Raw {
				t.Errorf("%s is not told from other formats (%v)", format, err)
			}
			if got := fileDigest(t, path); got != want {
				t.Errorf("%s is %s, want %s", format, got, want)
			}
		}
	}
}

func fileDigest(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return digestOf(t, bytes.NewReader(b), int64(len(b))).String()
}

// odd is a plan as no planner of ours makes it: a file in two parts, and
// zeros beside zeros.
func odd(t *testing.T, parts bool) *plan.Plan {
	t.Helper()
	p := &plan.Plan{SectorSize: 512, Size: 8 * cluster, Files: []plan.File{{Path: "A", Size: 3000, Content: pattern(1)}}}
	p.Extents = []plan.Extent{
		{Length: 100},
		{Offset: 100, Length: cluster},
		{Offset: cluster + 100, Length: 3000, Kind: plan.Content},
		{Offset: cluster + 3100, Length: 2 * cluster},
		{Offset: 3*cluster + 3100, Length: cluster},
		{Offset: 4*cluster + 3100, Length: 4*cluster - 3100},
	}
	if parts {
		two := []plan.Extent{
			{Offset: cluster + 100, Length: 2000, Kind: plan.Content},
			{Offset: cluster + 2100, Length: 1000, Kind: plan.Content, FileOffset: 2000},
		}
		p.Extents = slices.Concat(p.Extents[:2], two, p.Extents[3:])
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFormatsOfOddPlans(t *testing.T) {
	p := odd(t, true)
	planOf, err := disk.PlanQCOW2(p)
	if err != nil {
		t.Fatal(err)
	}
	q := openQCOW2(t, planOf, planOf.Size)
	if got, want := digestOf(t, q, p.Size), digestOf(t, p, p.Size); len(q.clusters) != 1 || *got != *want {
		t.Errorf("qcow2: %d clusters, disk %s", len(q.clusters), got)
	}
	if got, want := planOf.Files[0].Offset, q.clusters[1]+100; got != want {
		t.Errorf("qcow2: the file begins at %d, want %d", got, want)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{Format: disk.VMDK}); err == nil || !strings.Contains(err.Error(), "A does not lie in one run") {
		t.Errorf("vmdk of a file in parts: %v", err)
	}
	p = odd(t, false)
	_, grains := readVMDK(t, writeVMDK(t, p, 0))
	if b := make([]byte, cluster); len(grains) != 1 || !bytes.Equal(grains[1], readSome(t, p, b, 1)) {
		t.Errorf("vmdk: %d grains", len(grains))
	}
}

func TestFormatsRefuse(t *testing.T) {
	wrong := errors.New("the ISO is on fire")
	for _, format := range disk.Formats() {
		for name, c := range map[string]struct {
			change func(*plan.Plan)
			check  func(error) bool
		}{
			"wrong digest, small": {func(p *plan.Plan) { p.Files[0].Expect = []plan.Digest{{1}} }, func(err error) bool {
				var m *plan.MismatchError
				return errors.As(err, &m) && m.Path == "A"
			}},
			"wrong digest, large": {func(p *plan.Plan) { p.Files[5].Expect = []plan.Digest{{1}} }, func(err error) bool {
				var m *plan.MismatchError
				return errors.As(err, &m) && m.Path == "F"
			}},
			"unreadable": {func(p *plan.Plan) { p.Files[4].Content = failing{wrong} }, func(err error) bool { return errors.Is(err, wrong) }},
			"no plan":    {func(p *plan.Plan) { p.Size++ }, func(err error) bool { return err != nil }},
		} {
			p := even(t)
			c.change(p)
			path := filepath.Join(t.TempDir(), "disk")
			if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{Format: format}); !c.check(err) {
				t.Errorf("%s, %s: %v", format, name, err)
			}
			onlyFile(t, path)
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s, %s: left a file", format, name)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := disk.WriteFile(t.Context(), path, even(t), disk.WriteOptions{Format: "vhd"}); err == nil || !strings.Contains(err.Error(), `"vhd"`) {
		t.Errorf("an unknown format: %v", err)
	}
}

// A copy of a raw disk in another format is what a plan of it gives.
func TestCopyFileToFormats(t *testing.T) {
	p := even(t)
	raw := filepath.Join(t.TempDir(), "raw")
	if err := disk.WriteFile(t.Context(), raw, p, disk.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := from.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, format := range disk.Formats() {
		direct := filepath.Join(t.TempDir(), "direct")
		if err := disk.WriteFile(t.Context(), direct, p, disk.WriteOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
		f := temp(t)
		if err := disk.CopyFile(t.Context(), f, from, p, disk.WriteOptions{Format: format, Name: "direct"}, "copy"); err != nil {
			t.Fatal(err)
		}
		if fileDigest(t, f.Name()) != fileDigest(t, direct) {
			t.Errorf("%s: the copy is another file", format)
		}
	}
}
