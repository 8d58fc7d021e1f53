package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

func masterFile(path, content string) plan.File {
	return plan.File{Path: path, Size: int64(len(content)), Content: strings.NewReader(content)}
}

// bytesOf reads a plan from end to end.
func bytesOf(t testing.TB, p *plan.Plan) []byte {
	t.Helper()
	b, err := io.ReadAll(p.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// infoTableImage is a BIOS boot image as mkisofs leaves it at a block.
func infoTableImage(block uint32) string {
	b := bytes.Repeat([]byte{7}, 3000)
	table := b[8:]
	binary.LittleEndian.PutUint32(table, 16)
	binary.LittleEndian.PutUint32(table[4:], block)
	binary.LittleEndian.PutUint32(table[8:], uint32(len(b)))
	return string(b)
}

func TestMasterReadsBack(t *testing.T) {
	made := time.Date(2023, time.September, 21, 13, 5, 7, 0, time.UTC)
	files := []plan.File{
		masterFile("b.b00", strings.Repeat("kernel", 1000)), masterFile("EMPTY", ""),
		masterFile("isolinux.bin", infoTableImage(4711)), masterFile("EFIBOOT.IMG", "a FAT volume"),
		masterFile("boot.cat", "stale"), masterFile("efi/boot/BOOTX64.EFI", "MZ"), masterFile("KS.CFG", "vmaccepteula\n"),
	}
	want := map[string]string{}
	for i := range 200 { // a directory of several blocks
		files = append(files, masterFile(fmt.Sprintf("UPGRADE/MODULE%03d.V00", i), fmt.Sprint(i)))
		want[fmt.Sprintf("UPGRADE/MODULE%03d.V00", i)] = fmt.Sprint(i)
	}
	p, err := Master(files, []string{"a", "a/none", "efi"}, MasterOptions{
		VolumeID: "ESXI-8.0U2-22380479-STANDARD", ApplicationID: "ESXIMAGE", Time: made, Catalog: "BOOT.CAT",
		Boot: []BootImage{
			{Platform: PlatformX86, Bootable: true, SectorCount: 4, Path: "ISOLINUX.BIN"},
			{Platform: PlatformEFI, Bootable: true, SectorCount: 1, Path: "EFIBOOT.IMG"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	im := open(t, bytesOf(t, p))

	for _, f := range files[:7] {
		b := make([]byte, f.Size)
		if err := f.ReadContent(b, 0); err != nil && f.Size > 0 {
			t.Fatal(err)
		}
		want[strings.ToUpper(f.Path)] = string(b)
	}
	got, err := contents(im)
	if err != nil {
		t.Fatal(err)
	}
	isolinux, err := im.Lookup("ISOLINUX.BIN")
	if err != nil {
		t.Fatal(err)
	}
	want["ISOLINUX.BIN"] = infoTableImage(uint32(isolinux.Offset / BlockSize))
	want["BOOT.CAT"] = got["BOOT.CAT"]
	wantContents(t, im, want)
	if im.VolumeID() != "ESXI-8.0U2-22380479-STANDARD" || im.ApplicationID() != "ESXIMAGE" || !im.Created().Equal(made) {
		t.Errorf("%q, %q, %v", im.VolumeID(), im.ApplicationID(), im.Created())
	}
	if im.NameSource() != Plain || len(im.Warnings()) != 0 || im.VolumeSize() != im.Size() || im.BootCatalog() != "BOOT.CAT" {
		t.Errorf("%s, %q, %d of %d bytes, catalog %q", im.NameSource(), im.Warnings(), im.Size(), im.VolumeSize(), im.BootCatalog())
	}
	if dirs := im.Dirs(); !slices.Equal(dirs, []string{"A", "A/NONE", "EFI", "EFI/BOOT", "UPGRADE"}) {
		t.Errorf("directories %q", dirs)
	}
	boot := im.BootImages()
	if len(boot) != 2 || boot[0].Path != "ISOLINUX.BIN" || boot[0].SectorCount != 4 || boot[0].Platform != PlatformX86 ||
		boot[1].Path != "EFIBOOT.IMG" || boot[1].Platform != PlatformEFI || !boot[1].Bootable {
		t.Errorf("boot images %+v", boot)
	}
	for _, f := range p.Files {
		if lies, err := im.Lookup(f.Path); err != nil || lies.Offset != f.Offset || lies.Size != f.Size {
			t.Errorf("%s is planned at %d and lies at %d: %v", f.Path, f.Offset, lies.Offset, err)
		}
	}
}

func TestMasterWithoutBootImages(t *testing.T) {
	p, err := Master([]plan.File{masterFile("A.TXT", "a")}, nil, MasterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	im := open(t, bytesOf(t, p))
	wantContents(t, im, map[string]string{"A.TXT": "a"})
	if len(im.BootImages()) != 0 || im.BootCatalog() != "" {
		t.Errorf("boot images %+v, catalog %q", im.BootImages(), im.BootCatalog())
	}
}

func TestMasterRefuses(t *testing.T) {
	boot := func(path string) MasterOptions {
		return MasterOptions{Catalog: "BOOT.CAT", Boot: []BootImage{{Path: path, Bootable: true}}}
	}
	for name, c := range map[string]struct {
		files []plan.File
		dirs  []string
		opts  MasterOptions
		want  string
	}{
		"the same name in two cases": {files: []plan.File{masterFile("a.txt", ""), masterFile("A.TXT", "")}, want: "A.TXT is there twice"},
		"a file as a directory":      {files: []plan.File{masterFile("a", ""), masterFile("a/b", "")}, want: "A is there twice"},
		"a directory as a file":      {files: []plan.File{masterFile("a/b", ""), masterFile("a", "")}, want: "A is there twice"},
		"a name beyond ASCII":        {files: []plan.File{masterFile("ä.txt", "")}, want: "can't store"},
		"a semicolon":                {files: []plan.File{masterFile("a;1", "")}, want: "can't store"},
		"a backslash":                {files: []plan.File{masterFile(`a\b`, "")}, want: "can't store"},
		"a dot at the end":           {files: []plan.File{masterFile("a.", "")}, want: "ends in a dot"},
		"no name":                    {files: []plan.File{masterFile("a//b", "")}, want: "can't be a name"},
		"a long name":                {files: []plan.File{masterFile(strings.Repeat("n", 208), "")}, want: "can't be a name"},
		"too deep":                   {dirs: []string{"1/2/3/4/5/6/7/8"}, want: "more than 8 levels"},
		"a file over 4 GiB":          {files: []plan.File{{Path: "BIG", Size: 1 << 32}}, want: "do not fit one extent"},
		"a long path":                {dirs: []string{strings.Repeat(strings.Repeat("n", 200)+"/", 6) + "n"}, want: "more than 1024"},
		"a long volume id":           {opts: MasterOptions{VolumeID: strings.Repeat("v", 33)}, want: "volume id"},
		"no such boot image":         {opts: boot("NONE"), want: "boot image NONE"},
		"boot without a catalog":     {opts: MasterOptions{Boot: []BootImage{{Path: "A"}}}, want: "need a boot catalog"},
		"the catalog as boot file":   {files: []plan.File{masterFile("a", "")}, opts: boot("a"), want: "or it is empty"},
		"a year beyond a byte":       {opts: MasterOptions{Time: time.Date(2156, 1, 1, 0, 0, 0, 0, time.UTC)}, want: "year 2156"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Master(c.files, c.dirs, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	var big []plan.File
	for i := range 5 { // more than a plan may have
		big = append(big, plan.File{Path: fmt.Sprint("BIG", i), Size: 1<<32 - 1})
	}
	if _, err := Master(big, nil, MasterOptions{}); err == nil || !strings.Contains(err.Error(), "the image would have") {
		t.Errorf("five files of 4 GiB: %v", err)
	}
}

// FuzzMaster: whatever the names are, an image is refused or reads back.
func FuzzMaster(f *testing.F) {
	f.Add("B.B00\nEFI/BOOT/BOOTX64.EFI\nUPGRADE/A", "EFI\nX/Y")
	f.Add("a\nA.B\na.c\na-b\na b", "")
	f.Add(strings.Repeat("n", 207), "a/b/c/d/e/f/g")
	f.Fuzz(func(t *testing.T, names, dirs string) {
		want := map[string]string{}
		var files []plan.File
		for name := range strings.SplitSeq(names, "\n") {
			files = append(files, masterFile(name, name))
			want[strings.ToUpper(name)] = name
		}
		p, err := Master(files, strings.Fields(dirs), MasterOptions{VolumeID: "FUZZ"})
		if err != nil {
			return
		}
		im, err := Open(bytes.NewReader(bytesOf(t, p)), p.Size)
		if err != nil {
			t.Fatal(err)
		}
		wantContents(t, im, want)
	})
}

// TestMasterRockRidge holds that names are read as they were given, whatever
// the length of a directory.
func TestMasterRockRidge(t *testing.T) {
	long := "a" + strings.Repeat("b", maxRockRidgeName-1)
	files := []plan.File{masterFile("openstack/latest/meta_data.json", "{}"), masterFile("user-data", "x"), masterFile(long, "long")}
	for i := range 100 {
		files = append(files, masterFile(fmt.Sprintf("openstack/content/File.%03d", i), fmt.Sprint(i)))
	}
	p, err := Master(files, []string{"Empty"}, MasterOptions{VolumeID: "config-2", RockRidge: true})
	if err != nil {
		t.Fatal(err)
	}
	im := open(t, bytesOf(t, p))
	if im.NameSource() != "rock-ridge" || im.VolumeID() != "config-2" {
		t.Errorf("%q: names by %s", im.VolumeID(), im.NameSource())
	}
	got, err := contents(im)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b := make([]byte, f.Size)
		if err := f.ReadContent(b, 0); err != nil || got[f.Path] != string(b) {
			t.Errorf("%s: %q, %v", f.Path, got[f.Path], err)
		}
	}
	if len(got) != len(files) || !slices.Contains(im.Dirs(), "Empty") {
		t.Errorf("%d files of %d, folders %v", len(got), len(files), im.Dirs())
	}
	if _, err := Master([]plan.File{masterFile(long+"c", "")}, nil, MasterOptions{RockRidge: true}); err == nil || !strings.Contains(err.Error(), "more than 78 bytes") {
		t.Errorf("a long name: %v", err)
	}
}

// TestMasterOrder: records lie by name, then by extension, as if both were filled
// up with blanks (ECMA-119 9.3): a dash does not come before the dot.
func TestMasterOrder(t *testing.T) {
	p, err := Master([]plan.File{masterFile("AB", "1"), masterFile("A-B", "2"), masterFile("A.C", "3"), masterFile("A.B", "4"), masterFile("A", "5")}, nil, MasterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image, last := bytesOf(t, p), 0
	for _, name := range []string{"A.;1", "A.B;1", "A.C;1", "A-B.;1", "AB.;1"} {
		at := bytes.Index(image, append([]byte{byte(len(name))}, name...))
		if at <= last {
			t.Errorf("%s is at %d, what comes before it at %d", name, at, last)
		}
		last = at
	}
}
