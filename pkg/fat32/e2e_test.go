//go:build e2e

package fat32

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// tool runs a foreign program; that it is missing is a failure.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fsck wants a volume without a complaint: nothing but its known report.
func fsck(t *testing.T, image string) {
	t.Helper()
	out := tool(t, "fsck.vfat", "-n", "-v", image)
	report := regexp.MustCompile(`^(fsck\.fat 4.*|Checking we can access the last sector of the filesystem|Boot sector contents:` +
		`|System ID ".*"|Media byte 0xf8 \(hard disk\)| *\d+ (bytes per logical sector|bytes per cluster|reserved sectors)` +
		`|First FAT starts at byte .*| *2 FATs, 32 bit entries| *\d+ bytes per FAT .*|Root directory start at cluster 2 .*` +
		`|Data area starts at byte .*| *\d+ data clusters .*|\d+ sectors/track, \d+ heads| *\d+ hidden sectors| *\d+ sectors total` +
		`|Checking for unused clusters\.|Checking free cluster summary\.|/.*: \d+ files, \d+/\d+ clusters)$`)
	for line := range strings.Lines(out) {
		if !report.MatchString(strings.TrimRight(line, "\n")) {
			t.Errorf("fsck.vfat says: %s", line)
		}
	}
}

// writeImage writes a plan as a sparse file.
func writeImage(t *testing.T, p *plan.Plan) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "volume.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	if err := f.Truncate(p.Size); err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Extents {
		if e.Kind == plan.Zero {
			continue
		}
		if _, err := io.Copy(io.NewOffsetWriter(f, e.Offset), io.NewSectionReader(p, e.Offset, e.Length)); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func TestJudges(t *testing.T) {
	for _, opts := range []Options{
		{Label: "ESXI-8", VolumeID: 0x12345678, Time: testTime()},
		{SectorSize: 4096, Label: "ESXI-8", HiddenSectors: 256, Time: testTime()},
		{HiddenSectors: 2048, Size: 300 * miB, Headroom: 16 * miB, DirHeadroom: 200, Label: "L"},
		{Size: 9 * giB, DirHeadroom: 1},
		{SectorSize: 4096, Size: 3 * giB},
	} {
		t.Run(fmt.Sprintf("%d-%d", opts.SectorSize, opts.Size), func(t *testing.T) {
			files, dirs := installer(), []string{"Lower/deep/er", "EMPTYDIR"}
			l := mustNew(t, files, dirs, opts)
			image := writeImage(t, l.Plan)
			fsck(t, image)
			judgeMtools(t, image, l)
			judge7z(t, image, l)

			// Another tool can go on from here.
			tool(t, "mcopy", "-i", image, "helper_test.go", "::/EFI/A new long name.go")
			tool(t, "mdel", "-i", image, "::/Some Long Name 3.txt")
			fsck(t, image)
			changed := openImage(t, image)
			b, err := changed.ReadFile("EFI/A new long name.go")
			if want, _ := os.ReadFile("helper_test.go"); err != nil || !bytes.Equal(b, want) {
				t.Errorf("what mcopy added reads as %d other bytes, %v", len(b), err)
			}
		})
	}
}

// judgeMtools lists and reads every file back.
func judgeMtools(t *testing.T, image string, l *Layout) {
	var want []string
	for _, f := range l.Plan.Files {
		want = append(want, "::/"+f.Path)
	}
	want = append(want, "::/Lower/", "::/EFI/", "::/EFI/BOOT/", "::/UPGRADE/", "::/EMPTYDIR/", "::/Lower/deep/", "::/Lower/deep/er/")
	got := strings.Split(strings.TrimSpace(tool(t, "mdir", "-i", image, "-/", "-b", "-a", "::")), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("mdir lists\n%q\nwant\n%q", got, want)
	}
	out := t.TempDir()
	for i, f := range l.Plan.Files {
		to := filepath.Join(out, fmt.Sprint(i))
		tool(t, "mcopy", "-n", "-i", image, "::/"+f.Path, to)
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, contentOf(t, f)) {
			t.Errorf("mcopy reads other bytes of %s", f.Path)
		}
	}
}

// judge7z lists paths and sizes.
func judge7z(t *testing.T, image string, l *Layout) {
	list := tool(t, "7z", "l", "-slt", "-tFAT", image)
	sizes := map[string]string{}
	for _, block := range strings.Split(list, "\n\n") {
		var path, size string
		for line := range strings.Lines(block) {
			if v, ok := strings.CutPrefix(line, "Path = "); ok {
				path = strings.TrimSpace(v)
			}
			if v, ok := strings.CutPrefix(line, "Size = "); ok {
				size = strings.TrimSpace(v)
			}
		}
		sizes[path] = size
	}
	for _, f := range l.Plan.Files {
		if got := sizes[f.Path]; got != fmt.Sprint(f.Size) {
			t.Errorf("7z: %s has %q bytes, want %d", f.Path, got, f.Size)
		}
	}
	tool(t, "7z", "t", "-tFAT", image)
}

func openImage(t *testing.T, name string) *FS {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, f, st.Size())
}

// mkfs makes an empty volume with mkfs.vfat.
func mkfs(t *testing.T, size int64, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mkfs.img")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.vfat", append(args, name)...)
	return name
}

// TestClusterSize compares our choice with that of mkfs.vfat.
func TestClusterSize(t *testing.T) {
	for _, tt := range []struct {
		sector int
		least  int64 // below it mkfs.vfat makes no FAT32
	}{{512, 34 * miB}, {4096, 257 * miB}} {
		sizes := []int64{
			34 * miB, 64 * miB, 255 * miB, 257 * miB, 512 * miB, 1000 * miB, 4 * giB, 10 * giB, 40 * giB,
		}
		for _, border := range []int64{260 * miB, 2080 * miB, 8 * giB, 16 * giB, 32 * giB} {
			sizes = append(sizes, border-int64(tt.sector), border, border+int64(tt.sector), border+miB)
		}
		for _, size := range sizes {
			if size < tt.least {
				continue
			}
			image := mkfs(t, size, "-F", "32", "-S", fmt.Sprint(tt.sector))
			theirs := openImage(t, image).Geometry()
			if got := pickClusterSize(tt.sector, size); got != theirs.ClusterSize {
				t.Errorf("%d bytes in sectors of %d: clusters of %d, mkfs.vfat makes them %d", size, tt.sector, got, theirs.ClusterSize)
			}
			if err := os.Remove(image); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestForeignTools reads volumes that mkfs.vfat and mtools made.
func TestForeignTools(t *testing.T) {
	for _, args := range [][]string{
		{"-F", "32", "-S", "512", "-n", "THEIRS", "-i", "1234abcd"},
		{"-F", "32", "-S", "512", "-n", "THEIRS", "-i", "1234abcd", "-s", "4", "-f", "1"},
		{"-F", "32", "-S", "4096", "-n", "THEIRS", "-i", "1234abcd"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			image := mkfs(t, 300*miB, args...)
			want := fillForeign(t, image)
			tool(t, "fsck.vfat", "-n", image)
			fsys := openImage(t, image)
			if fsys.Label() != "THEIRS" || fsys.VolumeID() != 0x1234ABCD {
				t.Errorf("label %q, id %x", fsys.Label(), fsys.VolumeID())
			}
			files := fsys.Files()
			if len(files) != len(want) {
				t.Errorf("%d files, want %d", len(files), len(want))
			}
			for _, f := range files {
				if data, ok := want[f.Path]; !ok || !bytes.Equal(contentOf(t, f), data) {
					t.Errorf("%q is not what was copied", f.Path)
				}
			}
			st, err := fsys.Stat("SUB/fragmented")
			if err != nil {
				t.Fatal(err)
			}
			if n := st.Sys().(Entry).Fragments; n < 10 {
				t.Errorf("only %d fragments", n)
			}
			free, err := fsys.FreeClusters()
			if n, _, ok := fsys.FSInfo(); err != nil || !ok || int(n) != free {
				t.Errorf("%d free clusters, FSInfo has %d, %v, %v", free, n, ok, err)
			}
		})
	}
}

// fillForeign copies files with mtools and returns what must be there.
func fillForeign(t *testing.T, image string) map[string][]byte {
	dir := t.TempDir()
	want := map[string][]byte{}
	copyIn := func(path string, size int) {
		f := bytesFile(path, size)
		name := filepath.Join(dir, "file")
		if err := os.WriteFile(name, contentOf(t, f), 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "mcopy", "-i", image, name, "::/"+path)
		want[path] = contentOf(t, f)
	}
	tool(t, "mmd", "-i", image, "::/SUB", "::/SUB/deeper one", "::/lower")
	copyIn("UPPER.TXT", 1000)
	copyIn("lower/lower.txt", 5000) // DIR_NTRes
	copyIn("MIXED.ext", 1)
	copyIn("SUB/deeper one/A long name, with a comma.txt", 70_000)
	copyIn("Grüße.txt", 10)
	copyIn("empty", 0)
	// Holes of one file each, until the volume is full but for them.
	for i := range 40 {
		copyIn(fmt.Sprintf("hole %d", i), 9000)
	}
	filler := openImage(t, image)
	free, err := filler.FreeClusters()
	if err != nil {
		t.Fatal(err)
	}
	rest := (free - 2) * filler.Geometry().ClusterSize
	copyIn("filler", rest)
	for i := 0; i < 40; i += 2 {
		path := fmt.Sprintf("hole %d", i)
		tool(t, "mdel", "-i", image, "::/"+path)
		delete(want, path)
	}
	copyIn("SUB/fragmented", 150_000)
	return want
}

// TestRefusesOtherFATs: FAT12 and FAT16, as mkfs.vfat makes them.
func TestRefusesOtherFATs(t *testing.T) {
	for _, tt := range []struct {
		size int64
		args []string
	}{
		{4 * miB, []string{"-F", "12"}},
		{64 * miB, []string{"-F", "16"}},
		{20 * miB, []string{"-F", "32"}}, // says FAT32, with too few clusters
	} {
		f, err := os.Open(mkfs(t, tt.size, tt.args...))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(f, tt.size); !errors.Is(err, ErrNotFAT32) {
			t.Errorf("%v: error %v", tt.args, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
