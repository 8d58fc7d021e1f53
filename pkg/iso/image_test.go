package iso

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

func open(t testing.TB, img []byte) *Image {
	t.Helper()
	im, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// contents reads every file through its ReaderAt.
func contents(im *Image) (map[string]string, error) {
	all := map[string]string{}
	for _, f := range im.Files() {
		b, err := io.ReadAll(io.NewSectionReader(f.ReaderAt(), 0, f.Size))
		if err != nil {
			return nil, err
		}
		if int64(len(b)) != f.Size {
			return nil, fmt.Errorf("%s: %d of %d bytes", f.Path, len(b), f.Size)
		}
		all[f.Path] = string(b)
	}
	return all, nil
}

func wantContents(t *testing.T, im *Image, want map[string]string) {
	t.Helper()
	got, err := contents(im)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("files are %q\nwant      %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		for p, w := range want {
			if g, ok := got[p]; ok && g != w {
				t.Errorf("%s: %d bytes differ from the %d wanted", p, len(g), len(w))
			}
		}
	}
}

// tree is an installer in miniature; every name source calls things otherwise.
func tree() *item {
	named := func(i *item, nm, jn string) *item { i.nm, i.jn = nm, jn; return i }
	return dir("\x00",
		named(file("BOOT.CFG;1", "kernel=/b.b00\n"), "boot.cfg", "Boot.cfg"),
		named(dir("EFI", named(dir("BOOT",
			named(file("BOOTX64.EFI;1", strings.Repeat("M", 6000)), "bootx64.efi", "BootX64.efi")), "boot", "Boot")), "efi", "Efi"),
		named(file("EMPTY.;1", ""), "empty", "Empty"),
		named(file("K.B00;1", strings.Repeat("k", 2048)), "k.b00", "K.b00"),
		named(file("README.;1", "read me"), "readme – ü", "ReadMe – ü 😀"),
	)
}

func TestNameSources(t *testing.T) {
	plain := map[string]string{
		"BOOT.CFG": "kernel=/b.b00\n", "EFI/BOOT/BOOTX64.EFI": strings.Repeat("M", 6000),
		"EMPTY": "", "K.B00": strings.Repeat("k", 2048), "README": "read me",
	}
	rename := func(names map[string]string) map[string]string {
		m := map[string]string{}
		for p, n := range names {
			m[n] = plain[p]
		}
		return m
	}
	rr := rename(map[string]string{
		"BOOT.CFG": "boot.cfg", "EFI/BOOT/BOOTX64.EFI": "efi/boot/bootx64.efi",
		"EMPTY": "empty", "K.B00": "k.b00", "README": "readme – ü",
	})
	joliet := rename(map[string]string{
		"BOOT.CFG": "Boot.cfg", "EFI/BOOT/BOOTX64.EFI": "Efi/Boot/BootX64.efi",
		"EMPTY": "Empty", "K.B00": "K.b00", "README": "ReadMe – ü 😀",
	})
	rrTime := time.Date(2023, 6, 7, 7, 9, 10, 0, time.UTC) // 08:09:10+01:00
	for _, test := range []struct {
		name   string
		f      fixture
		source NameSource
		dirs   []string
		files  map[string]string
		time   time.Time
	}{
		{"plain", fixture{}, Plain, []string{"EFI", "EFI/BOOT"}, plain, fixtureTime},
		{"rock ridge", fixture{rr: true}, RockRidge, []string{"efi", "efi/boot"}, rr, rrTime},
		{"rock ridge with skip", fixture{rr: true, skip: 6}, RockRidge, []string{"efi", "efi/boot"}, rr, rrTime},
		{"rock ridge after XA", fixture{rr: true, xa: true, skip: 14}, RockRidge, []string{"efi", "efi/boot"}, rr, rrTime},
		{"rock ridge without ER", fixture{rr: true, noER: true}, RockRidge, []string{"efi", "efi/boot"}, rr, rrTime},
		{"joliet", fixture{joliet: true}, Joliet, []string{"Efi", "Efi/Boot"}, joliet, fixtureTime},
		{"both", fixture{rr: true, joliet: true}, RockRidge, []string{"efi", "efi/boot"}, rr, rrTime},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.f.root = tree()
			im := open(t, test.f.build())
			if im.NameSource() != test.source {
				t.Errorf("names come from %s, want %s", im.NameSource(), test.source)
			}
			wantContents(t, im, test.files)
			if !slices.Equal(im.Dirs(), test.dirs) {
				t.Errorf("directories are %q, want %q", im.Dirs(), test.dirs)
			}
			if err := fstest.TestFS(im, append(test.dirs, slices.Collect(maps.Keys(test.files))...)...); err != nil {
				t.Error(err)
			}
			for _, f := range im.Files() {
				if !f.ModTime.Equal(test.time) {
					t.Errorf("%s is of %v, want %v", f.Path, f.ModTime, test.time)
				}
			}
			if w := im.Warnings(); len(w) != 0 {
				t.Errorf("warnings: %q", w)
			}
		})
	}
}

func TestVolume(t *testing.T) {
	f := fixture{volumeID: "ESXI-8.0U2-22380479-STANDARD", root: tree()}
	img := f.build()
	im := open(t, img)
	if im.VolumeID() != f.volumeID || im.ApplicationID() != "ESXIMAGE" {
		t.Errorf("volume id %q, application id %q", im.VolumeID(), im.ApplicationID())
	}
	if want := time.Date(2024, 2, 29, 11, 34, 56, 0, time.UTC); !im.Created().Equal(want) || im.Created().Location() != time.UTC {
		t.Errorf("created %v, want %v", im.Created(), want)
	}
	if im.Size() != int64(len(img)) || im.VolumeSize() != im.Size() {
		t.Errorf("size %d, volume size %d, want %d", im.Size(), im.VolumeSize(), len(img))
	}
	copy(img[systemArea+813:], "0000000000000000\x00")
	if at := open(t, img).Created(); !at.IsZero() {
		t.Errorf("created %v without a date", at)
	}
}

// TestSecondPrimary has a copy of the primary descriptor that points elsewhere.
func TestSecondPrimary(t *testing.T) {
	f := fixture{joliet: true, root: tree()}
	img := f.build()
	img[systemArea+BlockSize] = descPrimary
	if im := open(t, img); im.NameSource() != Plain || len(im.Files()) != 5 {
		t.Errorf("%s, %v", im.NameSource(), im.Files())
	}
}

// TestExtendedAttributes has a record before a file's data (ECMA-119 9.5).
func TestExtendedAttributes(t *testing.T) {
	f := fixture{root: dir("\x00", file("A.;1", strings.Repeat("x", BlockSize)+"data"))}
	img := f.build()
	img[f.root.kids[0].recordOffset+1] = 1
	copy(img[f.root.kids[0].recordOffset+10:], both32(4))
	wantContents(t, open(t, img), map[string]string{"A": "data"})
}

func TestFilesInDiskOrder(t *testing.T) {
	f := fixture{root: dir("\x00", file("A.;1", "a"), file("B.;1", "b"), file("C.;1", "c"), file("D.;1", ""))}
	img := f.build()
	a, c := f.root.kids[0], f.root.kids[2]
	copy(img[a.recordOffset+2:], both32(c.lba)) // A is where C is
	var order []string
	for _, file := range open(t, img).Files() {
		order = append(order, fmt.Sprint(file.Path, file.Offset/BlockSize))
	}
	want := []string{"D0", fmt.Sprint("B", f.root.kids[1].lba), fmt.Sprint("A", c.lba), fmt.Sprint("C", c.lba)}
	if !slices.Equal(order, want) {
		t.Errorf("order is %q, want %q", order, want)
	}
}

func TestMultiExtent(t *testing.T) {
	parts := [][]byte{bytes.Repeat([]byte("1"), 4096), bytes.Repeat([]byte("2"), 2048), []byte("3")}
	big := &item{id: "BIG.V00;1", nm: "big", parts: parts}
	for _, f := range []fixture{{}, {rr: true}, {joliet: true}} {
		f.root = dir("\x00", file("A;1", "a"), big, file("Z;1", "z"))
		im := open(t, f.build())
		name := map[NameSource]string{Plain: "BIG.V00", RockRidge: "big", Joliet: "big"}[im.NameSource()]
		want := string(bytes.Join(parts, nil))
		wantContents(t, im, map[string]string{"A": "a", name: want, "Z": "z"})
		got, err := im.Lookup(name)
		if err != nil || got.Contiguous {
			t.Fatalf("%+v, %v", got, err)
		}
		// Every read across a seam, at once.
		var wg sync.WaitGroup
		for off := 0; off <= len(want); off += 511 {
			wg.Go(func() {
				b := make([]byte, 2100)
				n, err := got.ReaderAt().ReadAt(b, int64(off))
				w := want[off:min(off+len(b), len(want))]
				if string(b[:n]) != w || (n < len(b)) != errors.Is(err, io.EOF) {
					t.Errorf("read at %d: %d bytes, %v", off, n, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestContiguousExtents(t *testing.T) {
	f := fixture{root: dir("\x00", &item{id: "A.;1", parts: [][]byte{make([]byte, 2048), make([]byte, 10)}})}
	img := f.build()
	a := f.root.kids[0]
	second := a.recordOffset + int(img[a.recordOffset])
	copy(img[second+2:], both32(a.lba+1))
	got := open(t, img).Files()[0]
	if !got.Contiguous || got.Size != 2058 {
		t.Errorf("%+v", got)
	}
}

// TestLargeDirectory has names that differ only in blocks after the first, in
// a directory that is longer than what is read at once.
func TestLargeDirectory(t *testing.T) {
	root := dir("\x00")
	want := map[string]string{}
	for i := range 900 {
		nm := fmt.Sprintf("a-rather-long-rock-ridge-name-%04d.v00", i)
		root.kids = append(root.kids, &item{id: fmt.Sprintf("F%07d.V00;1", i), nm: nm, data: fmt.Append(nil, i)})
		want[nm] = fmt.Sprint(i)
	}
	for _, f := range []fixture{{rr: true}, {joliet: true}} {
		f.root = root
		img := f.build()
		if max(root.size, root.jsize) <= chunkSize {
			t.Fatalf("the directory has only %d bytes", root.size)
		}
		wantContents(t, open(t, img), want)
	}
}

// TestRelocated has directories that lie in RR_MOVED and belong elsewhere.
func TestRelocated(t *testing.T) {
	deeper := dir("DEEPER", file("F.;1", "deep"))
	deeper.nm, deeper.re = "Deeper", true
	moved := dir("RR_MOVED", deeper)
	moved.nm = "rr_moved"
	link := &item{id: "DEEPER.;1", nm: "Deeper", cl: deeper}
	a := dir("A", link)
	a.nm = "a"
	f := fixture{rr: true, root: dir("\x00", moved, a)}
	im := open(t, f.build())
	wantContents(t, im, map[string]string{"a/Deeper/F": "deep"})
	if want := []string{"a", "a/Deeper", "rr_moved"}; !slices.Equal(im.Dirs(), want) {
		t.Errorf("directories are %q, want %q", im.Dirs(), want)
	}
}

func TestContinuedNames(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 16)[:255]
	for _, pieces := range []int{2, 3, 5, maxContinuations} {
		f := fixture{rr: true, root: dir("\x00", &item{id: "A.;1", nm: long, pieces: pieces, data: []byte("a")}, file("B.;1", "b"))}
		wantContents(t, open(t, f.build()), map[string]string{long: "a", "B": "b"})
	}
}

func TestIrregular(t *testing.T) {
	link := &item{id: "LINK.;1", nm: "link", mode: 0o120777, su: string(susp("SL", []byte{0, 0, 4}, []byte("file")))}
	f := fixture{rr: true, root: dir("\x00", link, &item{id: "NULL.;1", nm: "null", mode: 0o020666}, &item{id: "FILE.;1", nm: "file", data: []byte("x")})}
	im := open(t, f.build())
	wantContents(t, im, map[string]string{"file": "x"})
	for _, name := range []string{"link", "null"} {
		if fi, err := im.Stat(name); err != nil || fi.Mode().Type() != fs.ModeIrregular {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
		if _, err := im.Open(name); !errors.Is(err, ErrIrregular) {
			t.Errorf("open %s: %v", name, err)
		}
	}
	if list, err := im.ReadDir("."); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestFlagged(t *testing.T) {
	hidden, fork := file("HIDDEN.;1", "h"), file("FORK.;1", "resource")
	hidden.flags, fork.flags = 1, flagAssociated
	f := fixture{root: dir("\x00", fork, file("FORK.;1", "data"), hidden)}
	im := open(t, f.build())
	wantContents(t, im, map[string]string{"FORK": "data", "HIDDEN": "h"})
	if w := im.Warnings(); !slices.Equal(w, []string{`.: associated file "FORK.;1" is left out`}) {
		t.Errorf("warnings: %q", w)
	}
}

func TestPlainNames(t *testing.T) {
	for id, want := range map[string]string{
		"A.B;1": "A.B", "A.;1": "A", "A;1": "A", "A.": "A", "A": "A", "a.b;12": "a.b", ".DISCINFO;1": ".DISCINFO",
		"A;B": "A;B", "A;1;1": "A;1", "A..;1": "A.", "A.B;": "A.B", "\xdcBER.TXT;1": "ÜBER.TXT", "Ü.;1": "Ü", "A B.C;1": "A B.C",
	} {
		f := fixture{root: dir("\x00", file(id, "x"))}
		wantContents(t, open(t, f.build()), map[string]string{want: "x"})
	}
	f := fixture{root: dir("\x00", dir("D.;1"), dir("E."))}
	for _, joliet := range []bool{false, true} {
		f.joliet = joliet
		f.root.kids[0].jn = "D.;1"
		if got := open(t, f.build()).Dirs(); !slices.Equal(got, []string{"D.;1", "E."}) {
			t.Errorf("directories are %q", got)
		}
	}
}

func TestLookup(t *testing.T) {
	f := fixture{rr: true, root: dir("\x00",
		&item{id: "A.;1", nm: "Same", data: []byte("1")}, &item{id: "B.;1", nm: "same", data: []byte("2")},
		&item{id: "D", nm: "Dir", dir: true, kids: []*item{{id: "F.;1", nm: "File.V00", data: []byte("3")}}})}
	im := open(t, f.build())
	for _, test := range []struct {
		name, want string
		err        error
	}{
		{"Same", "1", nil},
		{"same", "2", nil},
		{"SAME", "", ErrAmbiguous},
		{"dir/file.v00", "3", nil},
		{"DIR/FILE.V00", "3", nil},
		{"Dir/File.V00", "3", nil},
		{"Dir/none", "", fs.ErrNotExist},
		{"same/x", "", fs.ErrNotExist},
		{"Dir", "", ErrIrregular},
		{"/same", "", fs.ErrInvalid},
		{"Dir/../same", "", fs.ErrInvalid},
		{"", "", fs.ErrInvalid},
	} {
		b, err := im.ReadFile(test.name)
		if string(b) != test.want || !errors.Is(err, test.err) {
			t.Errorf("%q: %q, %v", test.name, b, err)
		}
		var pathErr *fs.PathError
		if err != nil && !errors.As(err, &pathErr) {
			t.Errorf("%q: %T is not a PathError", test.name, err)
		}
	}
	if _, err := im.ReadDir("same"); err == nil {
		t.Error("a file was listed")
	}
}

func TestOpenFile(t *testing.T) {
	f := fixture{root: tree()}
	im := open(t, f.build())
	file, err := im.Open("BOOT.CFG")
	if err != nil {
		t.Fatal(err)
	}
	at, ok := file.(io.ReaderAt)
	b := make([]byte, 6)
	if !ok {
		t.Fatal("not an io.ReaderAt")
	}
	if _, err := at.ReadAt(b, 0); err != nil || string(b) != "kernel" {
		t.Errorf("%q, %v", b, err)
	}
	if pos, err := file.(io.Seeker).Seek(-6, io.SeekEnd); err != nil || pos != 8 {
		t.Errorf("%d, %v", pos, err)
	}
	if b, err := io.ReadAll(file); err != nil || string(b) != "b.b00\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := at.ReadAt(b, -1); err == nil {
		t.Error("read at -1")
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadFileLimit(t *testing.T) {
	f := fixture{root: dir("\x00", file("A.;1", "a"))}
	img := f.build()
	copy(img[f.root.kids[0].recordOffset+10:], both32(MaxReadFile+1))
	im, err := Open(bytes.NewReader(img), MaxReadFile*2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.ReadFile("A"); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// TestShorterThanStated has a reader with fewer bytes than Open was told.
func TestShorterThanStated(t *testing.T) {
	f := fixture{root: tree()}
	img := f.build()
	im, err := Open(bytes.NewReader(img[:f.root.kids[3].lba*BlockSize+5]), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	file, _ := im.Lookup("K.B00")
	b := make([]byte, 10)
	if n, err := file.ReaderAt().ReadAt(b, 0); n != 5 || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "K.B00") {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := im.ReadFile("README"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := Open(bytes.NewReader(img[:systemArea+100]), int64(len(img))); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrNotISO) {
		t.Error(err)
	}
}

func TestBootImages(t *testing.T) {
	bios, efi := file("ISOLINUX.BIN;1", "bios"), file("EFIBOOT.IMG;1", "efi")
	f := fixture{root: dir("\x00", bios, efi, file("EMPTY.;1", "")), boot: []bootItem{{0, bios, 0}, {0xEF, efi, 0}, {0xEF, nil, 16}}}
	img := f.build()
	want := []BootImage{
		{Platform: PlatformX86, Bootable: true, SectorCount: 4, LBA: bios.lba, Path: "ISOLINUX.BIN"},
		{Platform: PlatformEFI, Bootable: true, SectorCount: 4, LBA: efi.lba, Path: "EFIBOOT.IMG"},
		{Platform: PlatformEFI, Bootable: true, SectorCount: 4, LBA: 16},
	}
	im := open(t, img)
	if got := im.BootImages(); !slices.Equal(got, want) {
		t.Errorf("boot images are %+v", got)
	}
	catalog := len(img) - BlockSize
	img[catalog+5]++ // damage
	if im = open(t, img); len(im.BootImages()) != 0 || len(im.Warnings()) != 1 || !strings.Contains(im.Warnings()[0], "checksum") {
		t.Errorf("%+v, %q", im.BootImages(), im.Warnings())
	}
	img[catalog+5]--
	img[catalog+30] = 0
	if im = open(t, img); len(im.BootImages()) != 0 || !strings.Contains(fmt.Sprint(im.Warnings()), "0x1 and ends with 0x0") {
		t.Errorf("%+v, %q", im.BootImages(), im.Warnings())
	}
	img[catalog+30] = 0x55
	copy(img[catalog+32+8:], "\xff\xff\xff\x7f")
	var outside *OutsideError
	if _, err := Open(bytes.NewReader(img), int64(len(img))); !errors.As(err, &outside) || !strings.Contains(err.Error(), "entry 0") {
		t.Error(err)
	}
	copy(img[catalog+32+8:], "\x00\x00\x00\x00") // where empty files are not
	if im = open(t, img); im.BootImages()[0].Path != "" {
		t.Errorf("%+v", im.BootImages())
	}
	copy(img[catalog+32+8:], "\xff\xff\xff\x7f")
	img[catalog+32] = 0 // not bootable: only listed
	if im = open(t, img); len(im.BootImages()) != 3 || im.BootImages()[0].Bootable {
		t.Errorf("%+v", im.BootImages())
	}
}

func TestDisagreement(t *testing.T) {
	f := fixture{root: tree()}
	img := f.build()
	at := f.root.kids[0].recordOffset
	img[at+9] ^= 1
	im := open(t, img)
	if w := im.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "BOOT.CFG: extent is ") {
		t.Errorf("warnings: %q", w)
	}
	if b, err := im.ReadFile("BOOT.CFG"); string(b) != "kernel=/b.b00\n" {
		t.Errorf("%q, %v", b, err)
	}
}
