package fat32

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

func TestFS(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		files := installer()
		l := mustNew(t, files, []string{"EMPTY/DIR"}, Options{SectorSize: sector, Label: "esxi", VolumeID: 42, Time: testTime(), HiddenSectors: 8})
		fsys := mustOpen(t, l.Plan, l.Plan.Size)
		expected := []string{"EMPTY/DIR"}
		for _, f := range l.Plan.Files {
			expected = append(expected, f.Path)
			got, err := fs.ReadFile(fsys, f.Path)
			if err != nil || !bytes.Equal(got, contentOf(t, f)) {
				t.Errorf("%s reads as %d other bytes, %v", f.Path, len(got), err)
			}
		}
		if err := fstest.TestFS(fsys, expected...); err != nil {
			t.Error(err)
		}
		if fsys.Label() != "ESXI" || fsys.VolumeID() != 42 {
			t.Errorf("label %q, id %d", fsys.Label(), fsys.VolumeID())
		}
		free, err := fsys.FreeClusters()
		if err != nil || free != l.FreeClusters {
			t.Errorf("%d free clusters, %v; want %d", free, err, l.FreeClusters)
		}
		if n, next, ok := fsys.FSInfo(); !ok || int(n) != free || int(next) != l.Clusters-free+2 {
			t.Errorf("FSInfo %d, %d, %v", n, next, ok)
		}
		sameFiles(t, fsys.Files(), l.Plan.Files)
	}
}

// sameFiles compares what was read with what was planned.
func sameFiles(t testing.TB, got, want []plan.File) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	for _, list := range [][]plan.File{got, want} {
		slices.SortFunc(list, func(a, b plan.File) int { return strings.Compare(a.Path, b.Path) })
	}
	if len(got) != len(want) {
		t.Fatalf("%d files, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Path != w.Path || g.Size != w.Size || g.Offset != w.Offset {
			t.Fatalf("file %q of %d bytes at %d, want %q of %d at %d", g.Path, g.Size, g.Offset, w.Path, w.Size, w.Offset)
		}
		if !bytes.Equal(contentOf(t, g), contentOf(t, w)) {
			t.Fatalf("%s has other bytes", g.Path)
		}
	}
}

func TestLookup(t *testing.T) {
	l := mustNew(t, []plan.File{bytesFile("EFI/Boot/Long Name.txt", 10), bytesFile("EFI/Boot/LONGNA~2.TXT", 5)}, nil, Options{Time: testTime()})
	fsys := mustOpen(t, l.Plan, l.Plan.Size)
	for _, tt := range []struct{ path, want string }{
		{"EFI/Boot/Long Name.txt", "EFI/Boot/Long Name.txt"},
		{"efi/BOOT/long name.TXT", "EFI/Boot/Long Name.txt"},
		{"efi/boot/longna~1.txt", "EFI/Boot/Long Name.txt"},
		{"efi/boot/longna~2.txt", "EFI/Boot/LONGNA~2.TXT"},
		{"efi", "EFI"},
		{".", "."},
	} {
		st, err := fsys.Stat(tt.path)
		if err != nil {
			t.Error(err)
			continue
		}
		entry := st.Sys().(Entry)
		if entry.Path != tt.want {
			t.Errorf("%s is %s, want %s", tt.path, entry.Path, tt.want)
		}
	}
	st, _ := fsys.Stat("efi/boot/long name.txt")
	if e := st.Sys().(Entry); e.Alias != "LONGNA~1.TXT" || e.Attributes != 0x20 || e.FirstCluster != 5 || e.Fragments != 1 ||
		!e.Created.Equal(testTime()) || !e.Modified.Equal(testTime().Truncate(2e9)) || !e.Modified.Equal(st.ModTime()) {
		t.Errorf("entry %+v", e)
	}
	for _, tt := range []struct {
		path string
		want error
	}{
		{"none", fs.ErrNotExist}, {"EFI/Boot/Long Name.txt/x", fs.ErrNotExist}, {"/EFI", fs.ErrInvalid}, {"EFI/", fs.ErrInvalid}, {"", fs.ErrInvalid}, {"EFI/../EFI", fs.ErrInvalid},
	} {
		if _, err := fsys.Open(tt.path); !errors.Is(err, tt.want) {
			t.Errorf("%q: error %v, want %v", tt.path, err, tt.want)
		}
	}
	if _, err := fsys.ReadFile("EFI"); err == nil {
		t.Error("ReadFile reads a directory")
	}
	if _, err := fsys.ReadDir("efi/boot/longna~2.txt"); err == nil {
		t.Error("ReadDir lists a file")
	}
}

func TestReadFileLimit(t *testing.T) {
	l := mustNew(t, []plan.File{hollowFile("OVER", MaxReadFile+1), hollowFile("MAX", MaxReadFile)}, nil, Options{})
	fsys := mustOpen(t, l.Plan, l.Plan.Size)
	if _, err := fsys.ReadFile("OVER"); err == nil || !strings.Contains(err.Error(), "67108865 bytes are more than 67108864") {
		t.Errorf("error %v", err)
	}
	if b, err := fsys.ReadFile("MAX"); err != nil || len(b) != MaxReadFile {
		t.Errorf("%d bytes, error %v", len(b), err)
	}
}

// foreign returns a volume as other tools leave it behind: files in pieces,
// deleted entries, a directory in two pieces, lower-case flags. Its clusters
// are of 512 bytes: 2 the root, 3 SUB, 4–6 ONE.BIN, 7–9 TWO.BIN, 10 SUB/IN.TXT,
// 11 LOWER.TXT, 12 DELETED.TXT, 13 Long Name.txt.
func foreign(t testing.TB) (*volume, map[string][]byte) {
	t.Helper()
	one, two := bytesFile("ONE.BIN", 1300), bytesFile("TWO.BIN", 1400)
	in, lower, long := bytesFile("SUB/IN.TXT", 100), bytesFile("LOWER.TXT", 11), bytesFile("Long Name.txt", 12)
	v := &volume{Layout: mustNew(t, []plan.File{one, two, in, lower, bytesFile("DELETED.TXT", 13), long}, nil, Options{Time: testTime()})}
	// Pieces: ONE is 4, 8, 6 and TWO is 7, 5, 9.
	for _, link := range [][2]uint32{{4, 0xF0000008}, {8, 6}, {60, 0x10000000}, {7, 5}, {5, 9}, {9, 0x1FFFFFF8}, {6, 0xFFFFFFFF}} {
		v.link(link[0], link[1]) // the top four bits do not count
	}
	// SUB continues at cluster 40, where its file's entry is; in 3 all others
	// are deleted.
	entry := read(t, v, v.entryAt(t, 3, "IN      TXT"), dirEntrySize)
	for at := int64(64); at < 512; at += dirEntrySize {
		v.patch(v.ClusterOffset(3)+at, append([]byte{nameDeleted}, "LD     TXT"...)...)
	}
	v.link(3, 40)
	v.link(40, fatEOC)
	v.patch(v.ClusterOffset(40), entry...)
	v.patch(v.entryAt(t, 2, "LOWER   TXT")+dirNTRes, ntLowerBase|ntLowerExt)
	v.patch(v.entryAt(t, 2, "DELETED TXT"), nameDeleted)
	v.link(12, 0)
	a, b := contentOf(t, one), contentOf(t, two)
	return v, map[string][]byte{
		"ONE.BIN":       slices.Concat(a[:512], b[512:1024], a[1024:]),
		"TWO.BIN":       slices.Concat(b[:512], a[512:1024], b[1024:]),
		"SUB/IN.TXT":    contentOf(t, in),
		"lower.txt":     contentOf(t, lower),
		"Long Name.txt": contentOf(t, long),
	}
}

func TestForeign(t *testing.T) {
	v, want := foreign(t)
	fsys := mustOpen(t, v, v.Plan.Size)
	var paths []string
	for _, f := range fsys.Files() {
		paths = append(paths, f.Path)
		if !bytes.Equal(contentOf(t, f), want[f.Path]) {
			t.Errorf("%s has other bytes", f.Path)
		}
		// In pieces that match no cluster.
		file, err := fsys.Open(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < f.Size; off += 100 {
			got := make([]byte, min(333, f.Size-off))
			if _, err := file.(io.ReaderAt).ReadAt(got, off); err != nil || !bytes.Equal(got, want[f.Path][off:off+int64(len(got))]) {
				t.Errorf("%s at %d: other bytes, %v", f.Path, off, err)
			}
		}
	}
	if got := fmt.Sprint(paths); got != "[ONE.BIN TWO.BIN SUB/IN.TXT lower.txt Long Name.txt]" {
		t.Errorf("files %s", got)
	}
	st, err := fsys.Stat("one.bin")
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Sys().(Entry).Fragments; got != 3 {
		t.Errorf("%d fragments", got)
	}
	content := fsys.Files()[0].Content
	if n, err := content.ReadAt(make([]byte, 10), 1295); n != 5 || err != io.EOF {
		t.Errorf("a read across the end: %d, %v", n, err)
	}
	if n, err := content.ReadAt(make([]byte, 10), 1300); n != 0 || err != io.EOF {
		t.Errorf("a read after the end: %d, %v", n, err)
	}
	if _, err := content.ReadAt(make([]byte, 10), -1); err == nil {
		t.Error("a read before the start is no error")
	}
	// DELETED.TXT's is free, SUB has one more.
	if free, err := fsys.FreeClusters(); err != nil || free != v.FreeClusters {
		t.Errorf("%d free clusters, %v, want %d", free, err, v.FreeClusters)
	}
	// What was read can be planned.
	l := mustNew(t, fsys.Files(), fsys.Dirs(), Options{})
	for _, f := range mustOpen(t, l.Plan, l.Plan.Size).Files() {
		if !bytes.Equal(contentOf(t, f), want[f.Path]) {
			t.Errorf("planned again, %s has other bytes", f.Path)
		}
	}
}

// TestDiskOrder: what has no place of its own comes after its neighbour.
func TestDiskOrder(t *testing.T) {
	v := &volume{Layout: mustNew(t, []plan.File{bytesFile("A/X", 1), bytesFile("B/Y", 1), {Path: "B/Z"}}, nil, Options{})}
	// A (3) and B (4) swap places, and so do X (5) and Y (6).
	a, b := read(t, v, v.ClusterOffset(3), 512), read(t, v, v.ClusterOffset(4), 512)
	a[26], b[26], a[64+26], b[64+26] = 4, 3, 6, 5
	v.patch(v.ClusterOffset(4), a...)
	v.patch(v.ClusterOffset(3), b...)
	v.patch(v.entryAt(t, 2, "A          ")+dirFstClusLO, 4)
	v.patch(v.entryAt(t, 2, "B          ")+dirFstClusLO, 3)
	fsys := mustOpen(t, v, v.Plan.Size)
	var paths []string
	for _, f := range fsys.Files() {
		paths = append(paths, f.Path)
	}
	if got := fmt.Sprint(fsys.Dirs(), paths); got != "[B A] [B/Y B/Z A/X]" {
		t.Errorf("disk order %s", got)
	}
}

// TestOddities are volumes that are unusual, but right.
func TestOddities(t *testing.T) {
	for _, tt := range []struct {
		name  string
		patch func(v *volume, entry func(alias string) int64)
		want  string // label and paths
	}{
		{"as it is", func(*volume, func(string) int64) {}, "NO LABEL? [D/IN F.TXT Long Name.txt]"},
		{"orphaned long name: checksum", func(v *volume, e func(string) int64) {
			v.patch(e("LONGNA~1TXT")-32+ldirChksum, 1)
		}, "NO LABEL? [D/IN F.TXT LONGNA~1.TXT]"},
		{"orphaned long name: order", func(v *volume, e func(string) int64) { v.patch(e("LONGNA~1TXT")-32, 0x42) }, "NO LABEL? [D/IN F.TXT LONGNA~1.TXT]"},
		{"orphaned long name: no last part", func(v *volume, e func(string) int64) { v.patch(e("LONGNA~1TXT")-32, 1) }, "NO LABEL? [D/IN F.TXT LONGNA~1.TXT]"},
		{"orphaned long name: part 0", func(v *volume, e func(string) int64) { v.patch(e("LONGNA~1TXT")-32, 0x40) }, "NO LABEL? [D/IN F.TXT LONGNA~1.TXT]"},
		{"orphaned long name: part 21", func(v *volume, e func(string) int64) { v.patch(e("LONGNA~1TXT")-32, 0x55) }, "NO LABEL? [D/IN F.TXT LONGNA~1.TXT]"},
		{"long name of another type", func(v *volume, e func(string) int64) { v.patch(e("LONGNA~1TXT")-32+ldirType, 1) }, "NO LABEL? [D/IN F.TXT LONGNA~1.TXT]"},
		{"long name with half a surrogate", func(v *volume, e func(string) int64) { v.set16(e("LONGNA~1TXT")-32+1, 0xD800) }, "NO LABEL? [D/IN F.TXT LONGNA~1.TXT]"},
		{"long name with a surrogate pair", func(v *volume, e func(string) int64) {
			v.set16(e("LONGNA~1TXT")-32+1, 0xD83D)
			v.set16(e("LONGNA~1TXT")-32+3, 0xDE00)
		}, "NO LABEL? [D/IN F.TXT 😀ng Name.txt]"},
		{"lower-case base", func(v *volume, e func(string) int64) { v.patch(e("F       TXT")+dirNTRes, 0x08) }, "NO LABEL? [D/IN Long Name.txt f.TXT]"},
		{"lower-case extension", func(v *volume, e func(string) int64) { v.patch(e("F       TXT")+dirNTRes, 0x10) }, "NO LABEL? [D/IN F.txt Long Name.txt]"},
		{"code page, kanji lead byte", func(v *volume, e func(string) int64) { v.patch(e("F       TXT"), 0x05, 0x80, 0xE1, 0xFF) }, "NO LABEL? [D/IN Long Name.txt σÇß\u00a0.TXT]"},
		{"end mark", func(v *volume, e func(string) int64) { v.patch(e("F       TXT"), 0) }, "NO LABEL? [D/IN]"},
		{"label in the root", func(v *volume, e func(string) int64) { v.patch(e("F       TXT")+dirAttr, attrVolumeID) }, "F       TXT [D/IN Long Name.txt]"},
		{"label in another directory", func(v *volume, _ func(string) int64) { v.patch(v.ClusterOffset(3)+64+dirAttr, attrVolumeID) }, "NO LABEL? [F.TXT Long Name.txt]"},
		{"'..' leads to the root's number", func(v *volume, _ func(string) int64) { v.patch(v.ClusterOffset(3)+32+dirFstClusLO, 2) }, "NO LABEL? [D/IN F.TXT Long Name.txt]"},
		{"no '.' and '..'", func(v *volume, _ func(string) int64) {
			v.patch(v.ClusterOffset(3), nameDeleted)
			v.patch(v.ClusterOffset(3)+32, nameDeleted)
		}, "NO LABEL? [D/IN F.TXT Long Name.txt]"},
		{"no FSInfo", func(v *volume, _ func(string) int64) { v.set16(bpbFSInfo, 0) }, "NO LABEL? [D/IN F.TXT Long Name.txt]"},
		{"FSInfo far away", func(v *volume, _ func(string) int64) { v.set16(bpbFSInfo, 0xFFFF) }, "NO LABEL? [D/IN F.TXT Long Name.txt]"},
		{"FSInfo of something else", func(v *volume, _ func(string) int64) { v.set32(512, 1) }, "NO LABEL? [D/IN F.TXT Long Name.txt]"},
		{"no label and no id", func(v *volume, _ func(string) int64) { v.patch(bsBootSig, 0) }, " [D/IN F.TXT Long Name.txt]"},
		{"second FAT is active", func(v *volume, _ func(string) int64) {
			v.set16(bpbExtFlags, 0x81)
			v.set32(v.fatOffset(0)+8, 0)
		}, "NO LABEL? [D/IN F.TXT Long Name.txt]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := &volume{Layout: mustNew(t, []plan.File{bytesFile("D/IN", 5), bytesFile("F.TXT", 5), bytesFile("Long Name.txt", 5)}, nil, Options{})}
			v.patch(bsVolLab, []byte("NO LABEL?  ")...)
			tt.patch(v, func(alias string) int64 { return v.entryAt(t, 2, alias) })
			fsys := mustOpen(t, v, v.Plan.Size)
			var paths []string
			for _, f := range fsys.Files() {
				paths = append(paths, f.Path)
			}
			slices.Sort(paths)
			if got := fmt.Sprintf("%s %v", fsys.Label(), paths); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestCorrupt changes one thing each of a volume with 512-byte clusters: 2 the
// root, 3 D, 4 D/E, 5–7 A.BIN, 8–10 B.BIN; and EMPTY.
func TestCorrupt(t *testing.T) {
	for _, tt := range []struct {
		name  string
		patch func(v *volume, entry func(alias string) int64)
		want  string
	}{
		{"signature", func(v *volume, _ func(string) int64) { v.patch(510, 0) }, "boot sector signature is 0xaa00"},
		{"sector size 0", func(v *volume, _ func(string) int64) { v.set16(bpbBytsPerSec, 0) }, "BPB_BytsPerSec is 0"},
		{"sector size 513", func(v *volume, _ func(string) int64) { v.set16(bpbBytsPerSec, 513) }, "BPB_BytsPerSec is 513"},
		{"sector size 8192", func(v *volume, _ func(string) int64) { v.set16(bpbBytsPerSec, 8192) }, "BPB_BytsPerSec is 8192"},
		{"no sectors per cluster", func(v *volume, _ func(string) int64) { v.patch(bpbSecPerClus, 0) }, "BPB_SecPerClus is 0"},
		{"three sectors per cluster", func(v *volume, _ func(string) int64) { v.patch(bpbSecPerClus, 3) }, "BPB_SecPerClus is 3"},
		{"large clusters", func(v *volume, _ func(string) int64) { v.set16(bpbBytsPerSec, 1024); v.patch(bpbSecPerClus, 128) }, "BPB_SecPerClus is 128"},
		{"too few clusters", func(v *volume, _ func(string) int64) { v.patch(bpbSecPerClus, 2) }, "32770 clusters make it FAT12 or FAT16"},
		{"no reserved sectors", func(v *volume, _ func(string) int64) { v.set16(bpbRsvdSecCnt, 0) }, "BPB_RsvdSecCnt is 0"},
		{"no FAT", func(v *volume, _ func(string) int64) { v.patch(bpbNumFATs, 0) }, "BPB_NumFATs is 0"},
		{"many FATs", func(v *volume, _ func(string) int64) { v.patch(bpbNumFATs, 255) }, "BPB_NumFATs is 255"},
		{"root entries", func(v *volume, _ func(string) int64) { v.set16(bpbRootEntCnt, 512) }, "BPB_RootEntCnt is 512, as in FAT12 or FAT16"},
		{"FAT size of 16 bits", func(v *volume, _ func(string) int64) { v.set16(bpbFATSz16, 9) }, "BPB_FATSz16 is 9, as in FAT12 or FAT16"},
		{"sectors of 16 bits", func(v *volume, _ func(string) int64) { v.set16(bpbTotSec16, 9) }, "BPB_TotSec16 is 9, as in FAT12 or FAT16"},
		{"version", func(v *volume, _ func(string) int64) { v.set16(bpbFSVer, 1) }, "BPB_FSVer is 0x0001"},
		{"FAT size 0", func(v *volume, _ func(string) int64) { v.set32(bpbFATSz32, 0) }, "BPB_FATSz32 is 0"},
		{"FAT of 2 TiB", func(v *volume, _ func(string) int64) { v.set32(bpbFATSz32, 0xFFFFFFFF) }, "the FATs end at sector"},
		{"FAT of 128 GiB, and the volume to it", func(v *volume, _ func(string) int64) {
			v.set32(bpbFATSz32, 128<<30/512)
			v.set32(bpbTotSec32, 0xFFFFFFFF)
			v.patch(bpbNumFATs, 1)
			v.patch(bpbSecPerClus, 64)
		}, "claims a volume of 2199023255040 bytes"},
		{"FAT too small", func(v *volume, _ func(string) int64) { v.set32(bpbFATSz32, 500) }, "a FAT of 64000 entries for"},
		{"no sectors", func(v *volume, _ func(string) int64) { v.set32(bpbTotSec32, 0) }, "of 0"},
		{"one sector too many", func(v *volume, _ func(string) int64) { v.set32(bpbTotSec32, uint32(v.TotalSectors)+1) }, "claims a volume of"},
		{"root cluster 0", func(v *volume, _ func(string) int64) { v.set32(bpbRootClus, 0) }, "BPB_RootClus is 0"},
		{"root cluster outside", func(v *volume, _ func(string) int64) { v.set32(bpbRootClus, 65543) }, "BPB_RootClus is 65543"},
		{"active FAT", func(v *volume, _ func(string) int64) { v.set16(bpbExtFlags, 0x82) }, "BPB_ExtFlags names FAT 2 of 2"},

		{"root without a chain", func(v *volume, _ func(string) int64) { v.link(2, 0) }, `".": the chain leads to a free cluster`},
		{"root loops", func(v *volume, _ func(string) int64) { v.link(2, 2) }, `".": the chain loops back to cluster 2`},
		{"root is endless", func(v *volume, _ func(string) int64) {
			v.link(2, 100)
			for c := range uint32(5000) {
				v.link(100+c, 101+c)
			}
		}, `".": the chain has more than the 4096 clusters it should have`},
		{"file loops", func(v *volume, _ func(string) int64) { v.link(7, 5) }, `"A.BIN": the chain loops back to cluster 5`},
		{"file loops early", func(v *volume, _ func(string) int64) { v.link(6, 6) }, `"A.BIN": the chain loops back to cluster 6`},
		{"cross-link", func(v *volume, _ func(string) int64) { v.link(8, 6) }, `"B.BIN": cluster 6 belongs to another file, too`},
		{"same start", func(v *volume, e func(string) int64) { v.patch(e("B       BIN")+dirFstClusLO, 5) }, `"B.BIN": cluster 5 belongs to another file, too`},
		{"file in a directory's cluster", func(v *volume, e func(string) int64) { v.patch(e("A       BIN")+dirFstClusLO, 2) }, `"A.BIN": cluster 2 belongs to another file, too`},
		{"directory in itself", func(v *volume, _ func(string) int64) { v.patch(v.ClusterOffset(3)+64+dirFstClusLO, 3) }, `"D/E": cluster 3 belongs to another file, too`},
		{"directory is the root", func(v *volume, e func(string) int64) { v.patch(e("D          ")+dirFstClusLO, 2) }, `"D": cluster 2 belongs to another file, too`},
		{"directory without a cluster", func(v *volume, e func(string) int64) { v.patch(e("D          ")+dirFstClusLO, 0) }, `"D": the chain leads to a free cluster`},
		{"chain leaves the volume", func(v *volume, _ func(string) int64) { v.link(6, 65543) }, `"A.BIN": the chain leads to cluster 65543, where clusters 2 to 65542 are`},
		{"start outside", func(v *volume, e func(string) int64) { v.set16(e("A       BIN")+dirFstClusHI, 0xFFFF) }, `"A.BIN": the chain leads to cluster 4294901765`},
		{"bad cluster", func(v *volume, _ func(string) int64) { v.link(6, fatBad) }, `"A.BIN": the chain leads to a bad cluster`},
		{"cluster 1", func(v *volume, _ func(string) int64) { v.link(6, 1) }, `"A.BIN": the chain leads to cluster 1,`},
		{"chain too short", func(v *volume, _ func(string) int64) { v.link(6, fatEOC) }, `"A.BIN": 1300 bytes in a chain of 2 clusters of 512 bytes`},
		{"chain too long", func(v *volume, _ func(string) int64) { v.link(7, 20); v.link(20, fatEOC) }, `"A.BIN": the chain has more than the 3 clusters`},
		{"size too large", func(v *volume, e func(string) int64) { v.set32(e("A       BIN")+dirFileSize, 0xFFFFFFFF) }, `"A.BIN": 4294967295 bytes in a chain of 3`},
		{"size 0", func(v *volume, e func(string) int64) { v.set32(e("A       BIN")+dirFileSize, 0) }, `"A.BIN": an empty file starts at cluster 5`},
		{"size without a start", func(v *volume, e func(string) int64) { v.set32(e("EMPTY      ")+dirFileSize, 1) }, `"EMPTY": the chain leads to a free cluster`},

		{"'.' elsewhere", func(v *volume, _ func(string) int64) { v.patch(v.ClusterOffset(3)+dirFstClusLO, 9) }, `"D": entry 0 leads to cluster 9, it should be 3`},
		{"'..' elsewhere", func(v *volume, _ func(string) int64) { v.patch(v.ClusterOffset(4)+32+dirFstClusLO, 0) }, `"D/E": entry 1 leads to cluster 0, it should be 3`},
		{"'..' in the root", func(v *volume, e func(string) int64) { v.patch(e("A       BIN"), []byte("..         ")...) }, `".": entry 1 is named ".."`},
		{"third '..'", func(v *volume, _ func(string) int64) { v.patch(v.ClusterOffset(3)+64, []byte("..         ")...) }, `"D": entry 2 is named ".."`},
		{"name '.X'", func(v *volume, _ func(string) int64) { v.patch(v.ClusterOffset(3)+32, []byte(".X         ")...) }, `"D": entry 1 is named ".X"`},
		{"slash", func(v *volume, e func(string) int64) { v.patch(e("A       BIN"), '/') }, `".": entry 1 is named "/       BIN"`},
		{"control character", func(v *volume, e func(string) int64) { v.patch(e("A       BIN")+1, 7) }, `".": entry 1 is named "A\a      BIN"`},
		{"blank", func(v *volume, e func(string) int64) { v.patch(e("A       BIN"), ' ') }, `".": entry 1 is named "        BIN"`},
		{"slash in a long name", func(v *volume, e func(string) int64) { v.patch(e("LONG       ")-32+3, '/') }, `is named "l/ng"`},
		{"long name '..'", func(v *volume, e func(string) int64) {
			v.patch(e("LONG       ")-32+1, '.', 0, '.', 0, 0, 0)
		}, `is named ".."`},
		{"same name twice", func(v *volume, e func(string) int64) { v.patch(e("B       BIN"), 'A') }, `".": two entries are named "A.BIN"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := corruptible(t)
			tt.patch(v, func(alias string) int64 { return v.entryAt(t, 2, alias) })
			_, err := Open(v, v.Plan.Size)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			var damage *CorruptError
			if !errors.Is(err, ErrNotFAT32) && !errors.As(err, &damage) {
				t.Errorf("error of type %T", err)
			}
		})
	}
}

func corruptible(t testing.TB) *volume {
	t.Helper()
	files := []plan.File{bytesFile("A.BIN", 1300), bytesFile("B.BIN", 1300), {Path: "EMPTY"}, {Path: "long"}}
	v := &volume{Layout: mustNew(t, files, []string{"D/E"}, Options{})}
	mustOpen(t, v, v.Plan.Size)
	return v
}

// TestTruncated: a volume that ends early is refused at once, one whose reader
// ends early when that is read.
func TestTruncated(t *testing.T) {
	v := corruptible(t)
	for _, size := range []int64{0, 1, 511, 512, 513, 4096, v.fatOffset(0) + 8, v.FirstDataOffset, v.FirstDataOffset + 100, v.Plan.Size - 1} {
		if _, err := Open(v, size); err == nil {
			t.Errorf("%d of %d bytes are accepted", size, v.Plan.Size)
		}
		short := io.NewSectionReader(v, 0, size)
		fsys, err := Open(short, v.Plan.Size)
		if size < v.FirstDataOffset+512 {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a reader that ends at %d: error %v", size, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("a reader that ends at %d: error %v", size, err)
			continue
		}
		if _, err := fs.ReadFile(fsys, "A.BIN"); err != nil {
			t.Errorf("a reader that ends at %d: error %v", size, err)
		}
	}
	// Within the file: never a short file.
	fsys := mustOpen(t, io.NewSectionReader(v, 0, v.ClusterOffset(6)), v.Plan.Size)
	if b, err := fsys.ReadFile("A.BIN"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, error %v", len(b), err)
	}
}

// TestLongNameParts: a long name of three entries counts only whole.
func TestLongNameParts(t *testing.T) {
	const long, alias = "A long name in three entries.txt", "ALONGN~1.TXT"
	for _, tt := range []struct {
		ords [3]byte
		want string
	}{
		{[3]byte{0x43, 2, 1}, long},
		{[3]byte{0x43, 1, 1}, alias},
		{[3]byte{0x43, 2, 2}, alias},
		{[3]byte{0x43, 1, 2}, alias},
		{[3]byte{0x43, 0x42, 1}, long[:26]},
		{[3]byte{0x43, nameDeleted, 1}, alias},
		{[3]byte{3, 2, 1}, alias},
	} {
		v := &volume{Layout: mustNew(t, []plan.File{{Path: long}}, nil, Options{})}
		at := v.ClusterOffset(2)
		for i, ord := range tt.ords {
			v.patch(at+int64(i)*dirEntrySize, ord)
		}
		if got := mustOpen(t, v, v.Plan.Size).Files()[0].Path; got != tt.want {
			t.Errorf("%#x: %q, want %q", tt.ords, got, tt.want)
		}
	}
}

// TestLimits: one file more than a volume may have, or one path.
func TestLimits(t *testing.T) {
	many := make([]plan.File, 0, MaxNodes)
	for i := range MaxNodes - 4 {
		many = append(many, plan.File{Path: fmt.Sprintf("%d/%d", i%4, i)})
	}
	long := make([]plan.File, 0, 1100)
	for i := range 1000 {
		long = append(long, plan.File{Path: fmt.Sprintf("%s%07d", strings.Repeat(strings.Repeat("N", 255)+"/", 63), i)})
	}
	for _, tt := range []struct {
		files []plan.File
		want  string
	}{
		{many, "more than 65536 files and directories"},
		{long, "the paths take more than 16777216 bytes"},
	} {
		v := &volume{Layout: mustNew(t, tt.files, nil, Options{ClusterSize: 4096, DirHeadroom: 100})}
		mustOpen(t, v, v.Plan.Size)
		// The directory of the first file gets more, in its spare entries.
		fsys := mustOpen(t, v, v.Plan.Size)
		dir := fsys.files[0].parent
		w := dirWriter{}
		for i := range 64 {
			w.short(shortName([]byte(fmt.Sprintf("MORE%-7d", i))), attrArchive, 0, 0)
		}
		used := 2 + len(dir.items)
		v.patch(v.ClusterOffset(dir.first())+int64(used)*dirEntrySize, w.data...)
		if _, err := Open(v, v.Plan.Size); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

// TestDeep: directories in directories end at MaxDepth.
func TestDeep(t *testing.T) {
	deepest := strings.Repeat("D/", MaxDepth-1) + "D"
	v := &volume{Layout: mustNew(t, nil, []string{deepest}, Options{})}
	mustOpen(t, v, v.Plan.Size)
	// One more, by hand: the last directory has cluster MaxDepth+2.
	last, next := uint32(MaxDepth+2), uint32(MaxDepth+3)
	v.link(next, fatEOC)
	w := dirWriter{}
	w.short(shortName([]byte("D          ")), attrDirectory, next, 0)
	v.patch(v.ClusterOffset(last)+64, w.data...)
	if _, err := Open(v, v.Plan.Size); err == nil || !strings.Contains(err.Error(), "is more than 64 directories deep") {
		t.Errorf("error %v", err)
	}
}

// scattered is a FAT in which no cluster of a chain follows the one before it.
type scattered struct {
	*Layout
	first, clusters uint32
}

func (s scattered) ReadAt(b []byte, off int64) (int, error) {
	n, err := s.Plan.ReadAt(b, off)
	start := s.fatOffset(0) + int64(s.first)*fatEntrySize
	for at := max(off, start) &^ 3; at+4 <= off+int64(n) && at < start+int64(s.clusters)*fatEntrySize; at += 4 {
		c := uint32((at - s.fatOffset(0)) / fatEntrySize)
		// All even ones from the start on, then all odd ones.
		next := c + 2
		if next >= s.first+s.clusters {
			next = s.first + 1
			if (c-s.first)%2 == 1 {
				next = fatEOC
			}
		}
		p := b[at-off:]
		p[0], p[1], p[2], p[3] = byte(next), byte(next>>8), byte(next>>16), byte(next>>24)
	}
	return n, err
}

// TestPieces: the memory for pieces is bounded.
func TestPieces(t *testing.T) {
	for _, tt := range []struct {
		clusters uint32
		want     string
	}{{maxRuns - 2, ""}, {maxRuns + 2, "in more than 1048576 pieces"}} {
		l := mustNew(t, []plan.File{hollowFile("F", int64(tt.clusters)*512)}, nil, Options{ClusterSize: 512})
		_, err := Open(scattered{l, 3, tt.clusters}, l.Plan.Size)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%d clusters: error %v, want %q", tt.clusters, err, tt.want)
		}
	}
}

// TestOpenMemory: a volume that claims much takes no memory for it.
func TestOpenMemory(t *testing.T) {
	l := mustNew(t, []plan.File{bytesFile("F", 100)}, nil, Options{})
	v := &volume{Layout: l}
	v.set32(bpbTotSec32, 0xFFFFFFFF)
	v.set32(bpbFATSz32, 0x0FFFFFF5*4/512+100)
	v.patch(bpbSecPerClus, 16)
	if got := allocated(func() {
		if _, err := Open(v, 34111488); err == nil {
			t.Error("a volume of 2 TiB in 34 MB is accepted")
		}
	}); got > 64*kiB {
		t.Errorf("refusing takes %d bytes", got)
	}
	// The same in a sparse file of 2 TiB, all of it zeros but for the start.
	data := v.fatOffset(0) + 2*(0x0FFFFFF5*4/512+100)*512
	if got := allocated(func() { mustOpen(t, sparse{v, data}, 2<<40) }); got > 2*miB {
		t.Errorf("opening takes %d bytes", got)
	}
}

// sparse has zeros from where the data begins.
type sparse struct {
	io.ReaderAt
	data int64
}

func (s sparse) ReadAt(b []byte, off int64) (int, error) {
	if off >= s.data {
		clear(b)
		return len(b), nil
	}
	return s.ReaderAt.ReadAt(b, off)
}
