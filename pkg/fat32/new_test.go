package fat32

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// TestGolden holds every byte of two volumes: a change here changes what users
// get from the same input.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		sectorSize int
		want       string
	}{
		{512, "5711887e7b5747ed18c566ae93bc6a62ac2d0a0c32fe27d9a9eb69351c208983"},
		{4096, "e9949b4d0c0cdf23333fecd0664bdea9bfbc7d44383681a93306a5e396cd65cf"},
	} {
		l := mustNew(t, installer(), []string{"EMPTY DIR"}, Options{
			SectorSize: tt.sectorSize, HiddenSectors: 2048, Label: "esxi", VolumeID: 0xCAFEF00D, Time: testTime(),
		})
		if got := digest(t, l.Plan, l.Plan.Size); got != tt.want {
			t.Errorf("sectors of %d: digest %s, want %s", tt.sectorSize, got, tt.want)
		}
	}
}

// TestBytes compares what is on the volume with offsets and values that are
// written down from the specification, not taken from the code.
func TestBytes(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		l := mustNew(t, []plan.File{bytesFile("A/B/X.TXT", 5000), {Path: "A/NONE"}}, nil, Options{
			SectorSize: int(sector), HiddenSectors: 2048, Label: "my label", VolumeID: 0x11223344, Time: testTime(),
		})
		cluster := int64(l.ClusterSize)
		data := l.FirstDataOffset
		fat := int64(l.ReservedSectors) * sector
		used := 3 + (5000+cluster-1)/cluster
		at := func(c int64) int64 { return data + (c-2)*cluster }
		for _, tt := range []struct {
			what   string
			offset int64
			want   string
		}{
			{"BS_jmpBoot", 0, "\xEB\x58\x90"},
			{"BPB_BytsPerSec", 11, string([]byte{byte(sector), byte(sector >> 8)})},
			{"BPB_NumFATs to BPB_FATSz16", 16, "\x02\x00\x00\x00\x00\xF8\x00\x00"},
			{"BPB_HiddSec", 28, "\x00\x08\x00\x00"},
			{"BPB_ExtFlags to BPB_BkBootSec", 40, "\x00\x00\x00\x00\x02\x00\x00\x00\x01\x00\x06\x00"},
			{"BS_BootSig to BS_FilSysType", 66, "\x29\x44\x33\x22\x11MY LABEL   FAT32   "},
			{"signature", 510, "\x55\xAA"},
			{"signature at the sector's end", sector - 2, "\x55\xAA"},
			{"FSI_LeadSig", sector, "RRaA"},
			{"FSI_StrucSig", sector + 484, "rrAa"},
			{"FSI_TrailSig", sector + 508, "\x00\x00\x55\xAA"},
			{"backup BS_VolID", 6*sector + 67, "\x44\x33\x22\x11"},
			{"backup signature", 6*sector + 510, "\x55\xAA"},
			{"backup FSI_StrucSig", 7*sector + 484, "rrAa"},
			{"FAT[0] to FAT[4]", fat, "\xF8\xFF\xFF\x0F" + strings.Repeat("\xFF\xFF\xFF\x0F", 4)},
			{"FAT[5]", fat + 20, map[int64]string{512: "\x06\x00\x00\x00", 4096: "\x06\x00\x00\x00"}[sector]},
			{"the file's last FAT entry", fat + (used+1)*4, "\xFF\xFF\xFF\x0F\x00\x00\x00\x00"},
			{"label", at(2), "MY LABEL   \x08"},
			{"A", at(2) + 32, "A          \x10\x00"},
			{"DIR_CrtTimeTenth to DIR_LstAccDate", at(2) + 32 + 13, "\x64\x14\x89\x24\x57\x24\x57"},
			{"DIR_WrtTime, DIR_WrtDate, DIR_FstClusLO", at(2) + 32 + 22, "\x14\x89\x24\x57\x03\x00"},
			{"end of the root", at(2) + 64, "\x00"},
			{"A/.", at(3), ".          \x10"},
			{"A/. cluster", at(3) + 26, "\x03\x00\x00\x00\x00\x00"},
			{"A/..", at(3) + 32, "..         \x10"},
			{"A/.. cluster is 0, for the root", at(3) + 32 + 26, "\x00\x00"},
			{"A/B", at(3) + 64, "B          \x10"},
			{"A/NONE", at(3) + 96, "NONE       \x20"},
			{"A/NONE has no cluster", at(3) + 96 + 26, "\x00\x00\x00\x00\x00\x00"},
			{"A/B/.. cluster", at(4) + 32 + 26, "\x03\x00"},
			{"A/B/X.TXT", at(4) + 64, "X       TXT\x20"},
			{"A/B/X.TXT cluster, size", at(4) + 64 + 26, "\x05\x00\x88\x13\x00\x00"},
		} {
			if got := string(read(t, l.Plan, tt.offset, len(tt.want))); got != tt.want {
				t.Errorf("sectors of %d: %s is %q, want %q", sector, tt.what, got, tt.want)
			}
		}
		boot := read(t, l.Plan, 0, 2*int(sector))
		if !bytes.Equal(boot, read(t, l.Plan, 6*sector, 2*int(sector))) {
			t.Errorf("sectors of %d: the backup sectors differ", sector)
		}
		fatBytes := int(l.SectorsPerFAT * sector)
		if !bytes.Equal(read(t, l.Plan, fat, fatBytes), read(t, l.Plan, fat+int64(fatBytes), fatBytes)) {
			t.Errorf("sectors of %d: the FATs differ", sector)
		}
		free := uint32(int64(l.Clusters) - used)
		if got := le32(boot, int(sector)+488); got != free || l.FreeClusters != int(free) {
			t.Errorf("sectors of %d: FSI_Free_Count %d, FreeClusters %d, want %d", sector, got, l.FreeClusters, free)
		}
		if got := le32(boot, int(sector)+492); int64(got) != used+2 {
			t.Errorf("sectors of %d: FSI_Nxt_Free %d, want %d", sector, got, used+2)
		}
		if got, want := l.Plan.Files[0].Offset, at(5); got != want {
			t.Errorf("sectors of %d: the file lies at %d, want %d", sector, got, want)
		}
	}
}

func TestGeometry(t *testing.T) {
	for _, tt := range []struct {
		opts     Options
		payload  int64 // bytes of one file
		cluster  int
		size     int64 // 0: not checked
		clusters int   // 0: not checked
	}{
		{opts: Options{}, cluster: 512, clusters: 65541},
		{opts: Options{SectorSize: 4096}, cluster: 4096, clusters: 65541},
		{opts: Options{Size: 34 * miB}, cluster: 512, size: 34 * miB},
		{opts: Options{HiddenSectors: 8}, payload: 100 * miB, cluster: 512},
		{opts: Options{}, payload: 255 * miB, cluster: 512},
		{opts: Options{}, payload: 257 * miB, cluster: 4096, size: 260*miB + 512}, // 261 MiB with small clusters, less with large ones
		{opts: Options{}, payload: 600 * miB, cluster: 4096},
		{opts: Options{Headroom: 600 * miB}, payload: 1, cluster: 4096},
		{opts: Options{SectorSize: 4096}, payload: 2000 * miB, cluster: 4096},
		{opts: Options{SectorSize: 4096}, payload: 2100 * miB, cluster: 32768},
		{opts: Options{Size: 260 * miB}, cluster: 512, size: 260 * miB},
		{opts: Options{Size: 260*miB + 512}, cluster: 4096, size: 260*miB + 512},
		{opts: Options{Size: 16 * giB}, cluster: 8192, size: 16 * giB},
		{opts: Options{SectorSize: 4096, Size: 16 * giB}, cluster: 32768, size: 16 * giB},
		{opts: Options{ClusterSize: 32768}, cluster: 32768, clusters: 65541},
		{opts: Options{ClusterSize: 512, Size: 16 * giB}, cluster: 512, size: 16 * giB},
		{opts: Options{ClusterSize: 65536}, cluster: 65536},
	} {
		t.Run(fmt.Sprintf("%+v-%d", tt.opts, tt.payload), func(t *testing.T) {
			var files []plan.File
			if tt.payload > 0 {
				files = append(files, hollowFile("F", tt.payload))
			}
			l := mustNew(t, files, nil, tt.opts)
			checkGeometry(t, l, tt.opts)
			if l.ClusterSize != tt.cluster {
				t.Errorf("clusters of %d, want %d", l.ClusterSize, tt.cluster)
			}
			if tt.size != 0 && l.Plan.Size != tt.size {
				t.Errorf("size %d, want %d", l.Plan.Size, tt.size)
			}
			if tt.clusters != 0 && l.Clusters != tt.clusters {
				t.Errorf("%d clusters, want %d", l.Clusters, tt.clusters)
			}
			if int64(l.FreeClusters)*int64(l.ClusterSize) < tt.opts.Headroom {
				t.Errorf("%d free clusters of %d for a headroom of %d", l.FreeClusters, l.ClusterSize, tt.opts.Headroom)
			}
			if got := mustOpen(t, l.Plan, l.Plan.Size).Geometry(); got != l.Geometry {
				t.Errorf("read back as %+v\nplanned as   %+v", got, l.Geometry)
			}
		})
	}
}

// checkGeometry checks what must hold of every planned volume.
func checkGeometry(t testing.TB, l *Layout, opts Options) {
	t.Helper()
	g := l.Geometry
	sector := int64(g.SectorSize)
	if g.Clusters < MinClusters {
		t.Errorf("%d clusters", g.Clusters)
	}
	if g.FirstDataOffset%4096 != 0 || (g.FirstDataOffset+int64(opts.HiddenSectors)*sector)%4096 != 0 {
		t.Errorf("the data begins at %d, after %d hidden sectors", g.FirstDataOffset, opts.HiddenSectors)
	}
	if g.ReservedSectors < 32 || g.FirstDataOffset != (int64(g.ReservedSectors)+2*g.SectorsPerFAT)*sector {
		t.Errorf("%d reserved sectors, FATs of %d, data at %d", g.ReservedSectors, g.SectorsPerFAT, g.FirstDataOffset)
	}
	if need := (int64(g.Clusters) + 2) * 4; need > g.SectorsPerFAT*sector {
		t.Errorf("FATs of %d sectors for %d clusters", g.SectorsPerFAT, g.Clusters)
	}
	data := l.Plan.Size - g.FirstDataOffset
	if rest := data - int64(g.Clusters)*int64(g.ClusterSize); rest < 0 || rest >= int64(g.ClusterSize)+2*4096 {
		t.Errorf("%d bytes are left over", rest)
	}
	if l.Plan.Size != g.Size() || l.Plan.Size != g.TotalSectors*sector {
		t.Errorf("plan of %d bytes, volume of %d", l.Plan.Size, g.Size())
	}
	if opts.ClusterSize == 0 && g.ClusterSize != pickClusterSize(g.SectorSize, l.Plan.Size) {
		t.Errorf("clusters of %d in a volume of %d", g.ClusterSize, l.Plan.Size)
	}
}

// TestSmallest: with one sector less, the volume does not hold it all.
func TestSmallest(t *testing.T) {
	for _, opts := range []Options{{}, {SectorSize: 4096}, {Headroom: 100 * miB}, {ClusterSize: 2048}, {ClusterSize: 8192, Headroom: giB}} {
		files := []plan.File{hollowFile("F", 70*miB)}
		l := mustNew(t, files, nil, opts)
		opts.ClusterSize = l.ClusterSize
		opts.Size = l.Plan.Size
		mustNew(t, files, nil, opts)
		opts.Size -= int64(l.SectorSize)
		if l.Clusters == MinClusters+clusterMargin { // may lose its margin to FAT16
			opts.Size -= clusterMargin*int64(l.ClusterSize) + 2*dataAlign
		}
		_, err := New(files, nil, opts)
		var small *SizeError
		if !errors.As(err, &small) || small.Size != opts.Size || small.Need != l.Plan.Size {
			t.Errorf("%+v: error %v, want a SizeError that asks for %d", opts, err, l.Plan.Size)
		}
	}
}

// TestSizeError: the size that a SizeError asks for does, though larger volumes
// have larger clusters.
func TestSizeError(t *testing.T) {
	var small []plan.File // 20 MB in clusters of 512, 160 MB in those of 4096
	for i := range 40_000 {
		small = append(small, hollowFile(fmt.Sprintf("%d/%d", i%8, i), 500))
	}
	for _, tt := range []struct {
		files []plan.File
		opts  Options
	}{
		{small, Options{Size: 34 * miB, Headroom: 14 * miB}},
		{small, Options{Size: 259 * miB, Headroom: 240 * miB}},
		{small, Options{Size: 261 * miB, Headroom: 200 * miB}},
		{nil, Options{Size: 4096, SectorSize: 4096}},
		{nil, Options{Size: 2080*miB + 4096, SectorSize: 4096, Headroom: 2080 * miB}},
	} {
		_, err := New(tt.files, nil, tt.opts)
		var e *SizeError
		if !errors.As(err, &e) || e.Size != tt.opts.Size || e.Need <= e.Size {
			t.Errorf("%+v: error %v", tt.opts, err)
			continue
		}
		tt.opts.Size = e.Need
		mustNew(t, tt.files, nil, tt.opts)
	}
}

func TestOptionsErrors(t *testing.T) {
	big := []plan.File{hollowFile("A", MaxFileSize), hollowFile("B", MaxFileSize), hollowFile("C", MaxFileSize), hollowFile("D", MaxFileSize)}
	for _, tt := range []struct {
		opts  Options
		files []plan.File
		want  string
	}{
		{Options{SectorSize: 1024}, nil, "sector size 1024"},
		{Options{HiddenSectors: 63}, nil, "63 hidden sectors"},
		{Options{ClusterSize: 256}, nil, "cluster size 256"},
		{Options{ClusterSize: 5000}, nil, "cluster size 5000"},
		{Options{ClusterSize: -4096}, nil, "cluster size -4096"},
		{Options{ClusterSize: 1 << 17}, nil, "cluster size 131072"},
		{Options{SectorSize: 4096, ClusterSize: 512}, nil, "cluster size 512"},
		{Options{Size: 34*miB + 1}, nil, "volume size"},
		{Options{Size: -512}, nil, "volume size -512"},
		{Options{Size: plan.MaxVolume + 512}, nil, "volume size"},
		{Options{Headroom: -1}, nil, "headroom of -1"},
		{Options{Headroom: plan.MaxVolume + 1}, nil, "headroom of"},
		{Options{Headroom: plan.MaxVolume}, nil, "more than 17179869184 bytes"},
		{Options{DirHeadroom: -1}, nil, "directory headroom"},
		{Options{DirHeadroom: MaxDirEntries + 1}, nil, "directory headroom"},
		{Options{DirHeadroom: MaxDirEntries, Label: "X"}, nil, "65537 entries"},
		{Options{Label: "TWELVE CHARS"}, nil, "longer than 11"},
		{Options{Label: "8.0U2"}, nil, `'.' at 2`},
		{Options{Label: " X"}, nil, "not allowed in a label"},
		{Options{Label: "Ä"}, nil, "not allowed in a label"},
		{Options{Size: 33 * miB}, nil, ""},
		{Options{Size: 32 * miB}, nil, "too small"},
		{Options{Size: 512}, nil, "too small"},
		{Options{Size: 200 * miB, SectorSize: 4096}, nil, "too small"},
		{Options{}, big, "more than 17179869184 bytes"},
		{Options{ClusterSize: 512}, big[:1], "choose larger clusters"},
		{Options{}, big[:2], ""},
	} {
		_, err := New(tt.files, nil, tt.opts)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", tt.opts, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "fat32: ") {
			t.Errorf("%+v: error %v, want %q", tt.opts, err, tt.want)
		}
	}
}

func TestFileErrors(t *testing.T) {
	file := func(paths ...string) (files []plan.File) {
		for _, p := range paths {
			files = append(files, plan.File{Path: p})
		}
		return files
	}
	for _, tt := range []struct {
		name  string
		files []plan.File
		dirs  []string
		want  any // *NameError, *ClashError, *FileSizeError or a string
	}{
		{"twice", file("A", "A"), nil, &ClashError{}},
		{"case", file("EFI/a.txt", "efi/A.TXT"), nil, &ClashError{}},
		{"case beyond ASCII", file("Ä.txt", "ä.TXT"), nil, &ClashError{}},
		{"file, then directory", file("efi", "EFI/x"), nil, &ClashError{}},
		{"directory, then file", file("EFI/x", "efi"), nil, &ClashError{}},
		{"named directory", file("efi"), []string{"EFI"}, &ClashError{}},
		{"4 GiB", []plan.File{hollowFile("F", 1<<32)}, nil, &FileSizeError{}},
		{"negative", []plan.File{{Path: "F", Size: -1}}, nil, "-1 bytes without content"},
		{"no content", []plan.File{{Path: "F", Size: 1}}, nil, "1 bytes without content"},
		{"directory that is a device", nil, []string{"a/nul.d/b"}, &NameError{}},
		{"too many", make([]plan.File, 0), manyDirs(MaxNodes + 1), "more than 65536 files"},
		{"too many in one", file(manyDirs(33_000)...), nil, "takes 66000 entries"},
		{"paths too long", file(longPaths(22)...), nil, "more than 16777216 bytes"},
		{"as deep as can be", file(strings.Repeat("D/", MaxDepth) + "F"), nil, nil},
		{"too deep", file(strings.Repeat("D/", MaxDepth+1) + "F"), nil, &NameError{}},
		{"too deep a directory", nil, []string{strings.Repeat("D/", MaxDepth) + "D"}, &NameError{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.files, tt.dirs, Options{})
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			if text, ok := tt.want.(string); ok {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error %v, want %q", err, text)
				}
				return
			}
			if got, want := fmt.Sprintf("%T", err), fmt.Sprintf("%T", tt.want); got != want {
				t.Errorf("%s %v, want a %s", got, err, want)
			}
		})
	}
}

func manyDirs(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("d%d", i)
	}
	return names
}

// longPaths returns paths that take n MiB.
func longPaths(n int) []string {
	deep := strings.Repeat(strings.Repeat("N", 254)+"/", 63)
	var paths []string
	for i := range n * 64 {
		paths = append(paths, fmt.Sprintf("%s%d", deep, i))
	}
	return paths
}

// TestOrder: where things lie follows from the order given alone.
func TestOrder(t *testing.T) {
	files := []plan.File{
		bytesFile("Z/Y/ONE", 700), {Path: "TWO"}, bytesFile("z/three", 1), bytesFile("FOUR", 5000), bytesFile("M/FIVE", 1),
	}
	l := mustNew(t, files, []string{"N/a", "M"}, Options{DirHeadroom: 20})
	fsys := mustOpen(t, l.Plan, l.Plan.Size)
	if got, want := fmt.Sprint(fsys.Dirs()), "[N N/a M Z Z/Y]"; got != want {
		t.Errorf("directories %s, want %s", got, want)
	}
	var paths []string
	var end int64
	for _, f := range l.Plan.Files {
		paths = append(paths, f.Path)
		if f.Size == 0 {
			continue
		}
		if end != 0 && f.Offset != end {
			t.Errorf("%s lies at %d, the one before it ends at %d", f.Path, f.Offset, end)
		}
		end = alignUp(f.Offset+f.Size, int64(l.ClusterSize))
	}
	if got, want := fmt.Sprint(paths), "[Z/Y/ONE TWO Z/three FOUR M/FIVE]"; got != want {
		t.Errorf("files %s, want %s", got, want)
	}
	// A later file that changes moves nothing before it.
	files[4] = bytesFile("M/FIVE", 60_000)
	other := mustNew(t, append(files, bytesFile("M/SIX", 1)), []string{"N/a", "M"}, Options{DirHeadroom: 20})
	for i := range 4 {
		if l.Plan.Files[i].Offset != other.Plan.Files[i].Offset {
			t.Errorf("%s moves from %d to %d", files[i].Path, l.Plan.Files[i].Offset, other.Plan.Files[i].Offset)
		}
	}
}

// TestAgain: reading a volume and planning it again gives the same bytes.
func TestAgain(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		opts := Options{SectorSize: sector, Label: "AGAIN", VolumeID: 7, Time: testTime()}
		files := append([]plan.File{{Path: "FIRST"}, {Path: "Z/FIRST"}, {Path: "Z/SECOND"}}, installer()...)
		l := mustNew(t, files, []string{"one/two", "One/Three"}, opts)
		fsys := mustOpen(t, l.Plan, l.Plan.Size)
		again := mustNew(t, fsys.Files(), fsys.Dirs(), opts)
		if digest(t, l.Plan, l.Plan.Size) != digest(t, again.Plan, again.Plan.Size) {
			t.Errorf("sectors of %d: the second volume differs", sector)
		}
	}
}

func TestTime(t *testing.T) {
	for _, tt := range []struct {
		in   time.Time
		want string // to two seconds
	}{
		{time.Time{}, "1980-01-01T00:00:00Z"},
		{time.Date(1979, 12, 31, 23, 59, 59, 0, time.UTC), "1980-01-01T00:00:00Z"},
		{time.Date(2024, 2, 29, 1, 2, 3, 999, time.FixedZone("", 3600)), "2024-02-29T00:02:02Z"},
		{time.Date(2107, 12, 31, 23, 59, 59, 9e8, time.UTC), "2107-12-31T23:59:58Z"},
		{time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), "2107-12-31T23:59:58Z"},
	} {
		l := mustNew(t, nil, []string{"D"}, Options{Time: tt.in})
		st, err := mustOpen(t, l.Plan, l.Plan.Size).Stat("D")
		if err != nil {
			t.Fatal(err)
		}
		if got := st.ModTime().Format(time.RFC3339); got != tt.want {
			t.Errorf("%v: stored as %s, want %s", tt.in, got, tt.want)
		}
	}
	for _, s := range []stamp{{date: 0}, {date: 1 << 5}, {date: 13<<5 | 1}, {date: 2<<5 | 30}, {date: 33, time: 24 << 11}, {date: 33, time: 60 << 5}, {date: 33, time: 30}, {date: 33, tenths: 200}} {
		if got := s.parse(); !got.IsZero() {
			t.Errorf("%+v is %v", s, got)
		}
	}
}

// TestMemory: a volume's FAT and its files are not held in memory.
func TestMemory(t *testing.T) {
	files := []plan.File{hollowFile("BIG", 3*giB), bytesFile("small", 10)}
	// 3 GiB in clusters of 8 KiB are 1.5 MiB of FAT.
	if got := allocated(func() { mustNew(t, files, nil, Options{Size: 16 * giB}) }); got > 2*miB {
		t.Errorf("planning takes %d bytes", got)
	}
	l := mustNew(t, files, nil, Options{Size: 16 * giB})
	buf := make([]byte, miB)
	allocs := testing.AllocsPerRun(20, func() {
		if _, err := l.Plan.ReadAt(buf, l.FirstDataOffset-miB/2); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
	if allocs > 4 {
		t.Errorf("a read of the plan allocates %v times", allocs)
	}
}

// BenchmarkNew170 plans what an installer has: it must take less than 5 ms.
func BenchmarkNew170(b *testing.B) {
	files := make([]plan.File, 170)
	for i := range files {
		files[i] = hollowFile(fmt.Sprintf("mod%03d.v00", i), 3_600_000+int64(i)*977)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(files, []string{"EFI/BOOT"}, Options{Headroom: 16 * miB, DirHeadroom: 64, HiddenSectors: 2048}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSizesAreRounded(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		for _, size := range []int64{1, 40 << 20, 255 << 20, 258 << 20, 260 << 20, 300 << 20} {
			files := []plan.File{{Path: "A", Size: size, Content: zeros{}}}
			exact, err := New(files, nil, Options{SectorSize: sector})
			if err != nil {
				t.Fatal(err)
			}
			rounded, err := New(files, nil, Options{SectorSize: sector, RoundTo: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if n := rounded.Plan.Size; n%(1<<20) != 0 || n < exact.Plan.Size || n >= exact.Plan.Size+2<<20 {
				t.Errorf("sectors of %d, %d bytes: a volume of %d bytes is rounded to %d", sector, size, exact.Plan.Size, n)
			}
			if want := pickClusterSize(sector, rounded.Plan.Size); rounded.ClusterSize != want {
				t.Errorf("%d bytes: clusters of %d bytes, mkfs.vfat takes %d", size, rounded.ClusterSize, want)
			}
		}
	}
	if _, err := New(nil, nil, Options{RoundTo: 1000}); err == nil {
		t.Error("rounding to 1000 bytes was accepted")
	}
}

type zeros struct{}

func (zeros) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }
