package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestNotISO(t *testing.T) {
	udf := make([]byte, 100*BlockSize)
	copy(udf[systemArea+1:], "BEA01")
	for name, img := range map[string][]byte{
		"empty": {}, "short": make([]byte, systemArea+100), "zeros": make([]byte, 100*BlockSize),
		"text": bytes.Repeat([]byte("text"), 20000), "udf": udf,
	} {
		_, err := Open(bytes.NewReader(img), int64(len(img)))
		if !errors.Is(err, ErrNotISO) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "udf" && !strings.Contains(err.Error(), "UDF") {
			t.Error(err)
		}
	}
	if _, err := Open(bytes.NewReader(nil), -1); !errors.Is(err, ErrNotISO) {
		t.Error(err)
	}
}

// wantDamage expects Open to refuse the image as the format's own error.
func wantDamage(t *testing.T, img []byte, want string) {
	t.Helper()
	_, err := Open(bytes.NewReader(img), int64(len(img)))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("error is %v\nwant     %s", err, want)
	}
	var format *FormatError
	var outside *OutsideError
	if !errors.As(err, &format) && !errors.As(err, &outside) {
		t.Errorf("%T is no error of the format", err)
	}
}

// TestDamage changes one thing in a sound image and expects to be told which.
func TestDamage(t *testing.T) {
	type parts struct {
		img             []byte
		a, d, sub, last *item
	}
	set := func(b []byte, n uint32) { binary.LittleEndian.PutUint32(b, n) }
	at := func(p parts, i *item, field int) []byte { return p.img[i.recordOffset+field:] }
	for _, test := range []struct {
		name   string
		change func(p parts)
		want   string
	}{
		{"file outside", func(p parts) { set(at(p, p.a, 2), 100000) }, "iso: A.V00: extent of 5 bytes at block 100000 is outside the image (24 blocks)"},
		{"file's end outside", func(p parts) { set(at(p, p.a, 10), 1<<31) }, "iso: A.V00: extent of 2147483648 bytes at block 21"},
		{"extent that wraps", func(p parts) { copy(at(p, p.a, 1), "\xff\xff\xff\xff\xff") }, "A.V00: extent of 5 bytes at block 4294967550"},
		{"directory outside", func(p parts) { set(at(p, p.d, 2), 100000) }, "iso: D: extent of 2048 bytes at block 100000"},
		{"directory's end outside", func(p parts) { set(at(p, p.d, 10), 1<<30) }, "iso: D: extent of 1073741824 bytes"},
		{"root outside", func(p parts) { set(p.img[systemArea+156+2:], 1<<30) }, "iso: .: extent of 2048 bytes at block 1073741824"},
		{"root empty", func(p parts) { set(p.img[systemArea+156+10:], 0) }, "iso: .: root directory has no bytes"},
		{"root's record", func(p parts) { p.img[systemArea+156+32] = 9 }, "root directory record: name length is 9"},
		{"cycle to the root", func(p parts) { set(at(p, p.sub, 2), 18) }, "iso: D/SUB: directory's extent at block 18 is that of . too"},
		{"cycle to itself", func(p parts) { set(at(p, p.sub, 2), p.d.lba) }, "iso: D/SUB: directory's extent at block 19 is that of D too"},
		{"directory of zeros", func(p parts) { clear(p.img[p.d.lba*BlockSize:][:BlockSize]) }, "iso: D: directory does not begin with a record of itself"},
		{"directory of other records", func(p parts) { p.img[p.d.lba*BlockSize+33] = 1 }, "iso: D: directory does not begin with a record of itself"},
		{"directory of something else", func(p parts) { set(at(p, p.d, 2), p.a.lba) }, "iso: D: directory does not begin with a record of itself"},
		{"record too short", func(p parts) { at(p, p.a, 0)[0] = 33 }, "iso: .: record at byte 68: record length is 33, with 1980 bytes left in the block"},
		{"record over the block's end", func(p parts) {
			for b := at(p, p.last, 0); ; b = b[b[0]:] { // repeat the record to the end
				if next := b[b[0]:]; (len(p.img)-cap(next))%BlockSize < int(b[0]) {
					break
				}
				copy(b[b[0]:], b[:b[0]])
			}
		}, "bytes left in the block"},
		{"empty name", func(p parts) { at(p, p.a, 32)[0] = 0 }, "name length is 0 in a record of 40 bytes"},
		{"name too long", func(p parts) { at(p, p.a, 32)[0] = 8 }, "name length is 8 in a record of 40 bytes"},
		{"interleaved", func(p parts) { at(p, p.a, 26)[0] = 1 }, "interleaved (unit size 1, gap size 0)"},
		{"slash", func(p parts) { copy(at(p, p.a, 33), "../xx;1") }, `record at byte 68: name "../xx" has a slash`},
		{"backslash", func(p parts) { copy(at(p, p.a, 33), `..\xx;1`) }, "has a slash, a backslash or a NUL"},
		{"NUL", func(p parts) { at(p, p.a, 34)[0] = 0 }, `name "A\x00V00"`},
		{"dot dot", func(p parts) { copy(at(p, p.a, 33), "...;111") }, `name is ".."`},
		{"dot", func(p parts) { copy(at(p, p.a, 33), "..;1111") }, `name is "."`},
		{"no name but a version", func(p parts) { copy(at(p, p.a, 33), ".;11111") }, "name is empty"},
		{"escape sequence", func(p parts) {
			copy(at(p, p.a, 33), "\x1b[2J;11")
			set(at(p, p.a, 2), 100000)
		}, `iso: "\x1b[2J": extent`},
		{"twice", func(p parts) { copy(at(p, p.last, 33), "A") }, "iso: A.V00: the directory has two entries of this name"},
		{"unfinished extents", func(p parts) { at(p, p.a, 25)[0] |= 0x80 }, "iso: A.V00: the last of its extents is missing"},
		{"extents of two files", func(p parts) {
			at(p, p.a, 25)[0] |= 0x80
			at(p, p.d, 25)[0] = 0 // now a file
		}, "iso: A.V00: the last of its extents is missing"},
		{"unfinished extents at the end", func(p parts) { at(p, p.last, 25)[0] |= 0x80 }, "iso: Z.V00: the last of its extents is missing"},
		{"directory of extents", func(p parts) { at(p, p.d, 25)[0] |= 0x80 }, "iso: D: directory has several extents"},
		{"block size", func(p parts) { p.img[systemArea+129] = 2 }, "volume descriptor at block 16: logical block size is 512, not 2048"},
		{"no primary", func(p parts) { p.img[systemArea] = 3 }, "volume descriptors: there is no primary one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, z, sub := file("A.V00;1", "aaaaa"), file("Z.V00;1", "z"), dir("SUB", file("F.;1", "f"))
			d := dir("D", sub)
			f := fixture{root: dir("\x00", a, d, z)}
			img := f.build()
			open(t, img)
			test.change(parts{img: img, a: a, d: d, sub: sub, last: z})
			wantDamage(t, img, test.want)
		})
	}
}

// TestRockRidgeDamage gives one file odd Rock Ridge entries. The root is at
// block 18, D at 19, the data of LOOP at 20 and that of CHAIN at 21.
func TestRockRidgeDamage(t *testing.T) {
	ce := func(block, offset, length uint32) string {
		return string(susp("CE", both32(block), both32(offset), both32(length)))
	}
	cl := func(block uint32) string { return string(susp("CL", both32(block))) }
	nm := func(flags byte, name string) string { return string(susp("NM", []byte{flags}, []byte(name))) }
	for _, test := range []struct{ name, su, want string }{
		{"current", nm(2, ""), "NM entry 02 is not the name of an entry"},
		{"parent", nm(4, ""), "NM entry 04 is not the name of an entry"},
		{"no flags", "NM\x04\x01", "NM entry  is not the name of an entry"},
		{"dot dot", nm(0, ".."), `record at byte 184: name is ".."`},
		{"dots in parts", nm(1, ".") + nm(0, "."), `name is ".."`},
		{"empty", nm(0, ""), "name is empty"},
		{"slash", nm(0, "../../x"), `name "../../x" has a slash`},
		{"NUL", nm(0, "a\x00b"), "has a slash, a backslash or a NUL"},
		{"entry too long", "NM\xc8\x01\x00x", `system use entry "NM" has length 200, with 7 bytes left`},
		{"entry too short", "NM\x03\x01\x00x", `system use entry "NM" has length 3`},
		{"PX too short", "PX\x07\x01\x00\x00\x00", "PX entry is too short"},
		{"CE too short", "CE\x08\x01\x00\x00\x00\x00", "CE entry is too short"},
		{"CL too short", "CL\x08\x01\x00\x00\x00\x00", "CL entry is too short"},
		{"zisofs", "ZF\x04\x01", "compressed or sparse (ZF entry)"},
		{"CE outside", ce(100000, 0, 10), "iso: .: record at byte 184: continuation area: extent of 10 bytes at block 100000"},
		{"CE offset", ce(20, 2048, 10), "continuation area has offset 2048"},
		{"CE length", ce(16, 0, 1<<20), "length 1048576"},
		{"CE of rubbish", ce(16, 1, 40), `system use entry "CD" has length 48, with 40 bytes left`},
		{"CE to itself", ce(20, 0, 28), "continuation areas loop"},
		{"CE without end", ce(21, 0, 56), "continuation areas loop, or are more than 32"},
		{"CL outside", cl(100000), "iso: X: extent of 2048 bytes at block 100000"},
		{"CL to a file", cl(20), "iso: X: directory does not begin with a record of itself"},
		{"CL to the root", cl(18), "iso: X: directory's extent at block 18 is that of . too"},
		{"CL to another directory", cl(19), "iso: X: directory's extent at block 19 is that of D too"},
	} {
		t.Run(test.name, func(t *testing.T) {
			chain := ""
			for i := range uint32(64) {
				chain += ce(21, 28*(i+1), 28)
			}
			f := fixture{rr: true, root: dir("\x00", dir("D"), &item{id: "X", su: test.su})}
			f.root.kids = append([]*item{file("L", ce(20, 0, 28)), file("M", chain)}, f.root.kids...)
			f.root.kids[0].data = []byte(ce(20, 0, 28))
			img := f.build()
			if f.root.lba != 18 || f.root.kids[0].lba != 20 || f.root.kids[1].lba != 21 {
				t.Fatalf("blocks are %d, %d, %d", f.root.lba, f.root.kids[0].lba, f.root.kids[1].lba)
			}
			test.want = strings.ReplaceAll(test.want, "byte 184", fmt.Sprintf("byte %d", f.root.kids[3].recordOffset-18*BlockSize))
			wantDamage(t, img, test.want)
		})
	}
}

// TestLimits has images that are sound but for their measure.
func TestLimits(t *testing.T) {
	t.Run("depth", func(t *testing.T) {
		chain := func(n int) []byte {
			d := dir("D")
			for range n - 1 {
				d = dir("D", d)
			}
			f := fixture{root: dir("\x00", d)}
			return f.build()
		}
		if n := len(open(t, chain(MaxDepth)).Dirs()); n != MaxDepth {
			t.Errorf("%d directories", n)
		}
		wantDamage(t, chain(MaxDepth+1), fmt.Sprintf("directory is more than %d levels deep", MaxDepth))
	})
	t.Run("entries", func(t *testing.T) {
		many := func(n int) []byte {
			root := dir("\x00")
			for i := range n {
				root.kids = append(root.kids, file(fmt.Sprintf("%07d", i), ""))
			}
			f := fixture{root: root}
			return f.build()
		}
		if n := len(open(t, many(MaxEntries-2)).Files()); n != MaxEntries-2 {
			t.Errorf("%d files", n)
		}
		wantDamage(t, many(MaxEntries-1), fmt.Sprintf("the image has more than %d directory records", MaxEntries))
	})
	t.Run("directory bytes", func(t *testing.T) {
		f := fixture{root: dir("\x00")}
		img := append(f.build(), make([]byte, MaxDirBytes)...)
		binary.LittleEndian.PutUint32(img[systemArea+156+10:], MaxDirBytes)
		open(t, img) // zeros are free
		binary.LittleEndian.PutUint32(img[systemArea+156+10:], MaxDirBytes+1)
		wantDamage(t, img, fmt.Sprintf("directories have more than %d bytes in all", MaxDirBytes))
	})
	t.Run("continuation bytes", func(t *testing.T) {
		root := dir("\x00", file("0", strings.Repeat("\x00", maxContinuationLen)))
		for i := range MaxDirBytes/maxContinuationLen + 1 {
			root.kids = append(root.kids, &item{id: fmt.Sprintf("%d", i+1), su: string(susp("CE", both32(0), both32(0), both32(maxContinuationLen)))})
		}
		f := fixture{rr: true, root: root}
		wantDamage(t, f.build(), "continuation area: directories have more than")
	})
	t.Run("name", func(t *testing.T) {
		f := fixture{rr: true, root: dir("\x00", &item{id: "A", nm: strings.Repeat("n", MaxNameLen+1), pieces: 2})}
		wantDamage(t, f.build(), "record at byte 130: name has more than 255 bytes")
		f = fixture{joliet: true, root: dir("\x00", &item{id: "A", jn: strings.Repeat("–", 86)})}
		wantDamage(t, f.build(), "name has 258 bytes, more than 255")
	})
	t.Run("path", func(t *testing.T) {
		long := strings.Repeat("n", 150)
		d := dir(long)
		for range 6 {
			d = dir(long, d)
		}
		f := fixture{root: dir("\x00", d)}
		wantDamage(t, f.build(), "path has 1056 bytes, more than 1024")
	})
	t.Run("paths", func(t *testing.T) {
		root := dir("\x00")
		d := root
		for range 6 {
			d.kids = []*item{dir(strings.Repeat("n", 160))}
			d = d.kids[0]
		}
		for i := range 20000 {
			d.kids = append(d.kids, file(fmt.Sprintf("%05d", i), ""))
		}
		f := fixture{root: root}
		wantDamage(t, f.build(), fmt.Sprintf("paths have more than %d bytes in all", MaxPathBytes))
	})
	t.Run("warnings", func(t *testing.T) {
		root := dir("\x00")
		for i := range 100 {
			root.kids = append(root.kids, file(fmt.Sprintf("%05d", i), "x"))
		}
		f := fixture{root: root}
		img := f.build()
		for _, k := range root.kids {
			img[k.recordOffset+9]++
		}
		if w := open(t, img).Warnings(); len(w) != maxWarnings+1 || w[maxWarnings] != "and 84 more" {
			t.Errorf("%q", w)
		}
	})
}

// TestDamagePlace has the damage in a directory's second block.
func TestDamagePlace(t *testing.T) {
	root := dir("\x00")
	for i := range 60 {
		root.kids = append(root.kids, file(fmt.Sprintf("%07d", i), "x"))
	}
	f := fixture{root: root}
	img := f.build()
	at := root.kids[59].recordOffset
	img[at+32] = 0
	wantDamage(t, img, fmt.Sprintf("iso: .: record at byte %d: name length is 0", at-18*BlockSize))
}

func TestOddLengthJoliet(t *testing.T) {
	f := fixture{joliet: true, root: dir("\x00", file("A", "a"))}
	img := f.build()
	img[int(f.root.jlba)*BlockSize+68+32] = 3
	wantDamage(t, img, "record at byte 68: joliet name has an odd length of 3")
	clear(img[int(f.root.jlba)*BlockSize:][:BlockSize])
	wantDamage(t, img, "does not begin with a record of itself")
}

// TestTruncated cuts images at every block boundary, and one byte before it:
// what opens has everything.
func TestTruncated(t *testing.T) {
	for name, f := range map[string]fixture{
		"plain": {}, "rock ridge": {rr: true}, "joliet": {joliet: true}, "both": {rr: true, joliet: true},
		"boot": {boot: []bootItem{{0, nil, 16}}},
	} {
		f.root = tree()
		img := f.build()
		want, err := contents(open(t, img))
		if err != nil {
			t.Fatal(err)
		}
		opened := 0
		for cut := len(img) - 1; cut >= 0; cut-- {
			if cut%BlockSize > 1 && cut%BlockSize < BlockSize-1 {
				continue
			}
			im, err := Open(bytes.NewReader(img[:cut]), int64(cut))
			if err != nil {
				tooShort := cut < systemArea+BlockSize && errors.Is(err, ErrNotISO)
				if !errors.Is(err, io.ErrUnexpectedEOF) && !tooShort {
					t.Errorf("%s cut at %d: %v", name, cut, err)
				}
				continue
			}
			opened++
			if got, err := contents(im); err != nil || !maps.Equal(got, want) {
				t.Errorf("%s cut at %d opens, but differs: %v", name, cut, err)
			}
			if im.VolumeSize() <= im.Size() {
				t.Errorf("%s cut at %d: volume size %d shows nothing missing", name, cut, im.VolumeSize())
			}
		}
		// The last block holds 7 bytes of a file, so two cuts lose nothing.
		if name != "boot" && opened != 1 {
			t.Errorf("%s: %d truncated images open", name, opened)
		}
	}
}

// TestReadErrors fails one read after the other: the error comes through, and
// is not taken for one of the format.
func TestReadErrors(t *testing.T) {
	deeper := dir("DEEPER", file("F.;1", "deep"))
	deeper.re = true
	f := fixture{rr: true, boot: []bootItem{{0, nil, 16}}, root: dir("\x00", dir("RR_MOVED", deeper),
		&item{id: "A.;1", nm: "long name", pieces: 2}, &item{id: "DEEPER", cl: deeper},
		dir("UPGRADE", file("METADATA.XML;1", metadataFixture)))}
	img := f.build()
	broken := errors.New("broken cable")
	for n := 0; ; n++ {
		r := &failingReader{r: bytes.NewReader(img), left: n, err: broken}
		im, err := Open(r, int64(len(img)))
		if err == nil {
			_, err = im.Release()
		}
		if r.left > 0 {
			if n < 10 {
				t.Errorf("all is done after %d reads", n)
			}
			return
		}
		var format *FormatError
		var outside *OutsideError
		if r.failed && (!errors.Is(err, broken) || errors.As(err, &format) || errors.As(err, &outside)) {
			t.Errorf("read %d failed: %v", n, err)
		}
	}
}

type failingReader struct {
	r      io.ReaderAt
	left   int
	err    error
	failed bool
}

func (f *failingReader) ReadAt(b []byte, off int64) (int, error) {
	if f.left == 0 {
		f.failed = true
		return 0, f.err
	}
	f.left--
	return f.r.ReadAt(b, off)
}

// exercise opens an image and reads everything, within bounds of time and
// bytes read.
func exercise(t testing.TB, data []byte) {
	t.Helper()
	r := &countingReader{r: withoutSystemArea(data)}
	begin := time.Now()
	im, err := Open(r, withoutSystemArea(data).size())
	if took := time.Since(begin); took > 2*time.Second {
		t.Fatalf("Open took %v", took)
	}
	if limit := int64(MaxDirBytes + MaxEntries*64 + 1<<20); r.n > limit {
		t.Fatalf("Open read %d bytes", r.n)
	}
	if err != nil {
		if err.Error() == "" {
			t.Fatal("error without text")
		}
		return
	}
	checkImage(t, im)
}

// checkImage checks what holds for every image that opens.
func checkImage(t testing.TB, im *Image) {
	t.Helper()
	seen := map[string]bool{".": true}
	parentSeen := func(p string) {
		parent := "."
		if i := strings.LastIndexByte(p, '/'); i >= 0 {
			parent = p[:i]
		}
		if seen[p] || !seen[parent] {
			t.Fatalf("%q occurs twice, or before its parent", p)
		}
	}
	for _, d := range im.Dirs() {
		parentSeen(d)
		seen[d] = true
		if _, err := im.ReadDir(d); err != nil {
			t.Fatal(err)
		}
	}
	budget := int64(8 << 20)
	last := int64(0)
	for _, f := range im.Files() {
		parentSeen(f.Path)
		if f.Offset < last || f.Offset > im.Size() {
			t.Fatalf("%q is at %d, after %d", f.Path, f.Offset, last)
		}
		last = f.Offset
		n := min(f.Size, budget)
		budget -= n
		b := make([]byte, n)
		if got, err := f.ReaderAt().ReadAt(b, f.Size-n); got < len(b) {
			t.Fatalf("%q: %v", f.Path, err)
		}
		if again, err := im.Lookup(f.Path); err != nil || again.Offset != f.Offset {
			t.Fatalf("%q: %v", f.Path, err)
		}
	}
	_ = im.BootImages()
	_ = im.Warnings()
	if _, err := im.Release(); err != nil && !errors.Is(err, ErrNoRelease) {
		t.Fatal(err)
	}
}

type countingReader struct {
	r io.ReaderAt
	n int64
}

func (c *countingReader) ReadAt(b []byte, off int64) (int, error) {
	c.n += int64(len(b))
	return c.r.ReadAt(b, off)
}

// seeds are images of every kind, without their system areas.
func seeds() [][]byte {
	deeper := dir("DEEPER", file("F.;1", "deep"))
	deeper.nm, deeper.re = "Deeper", true
	moved := dir("RR_MOVED", deeper)
	relocated := dir("\x00", moved, dir("A", &item{id: "DEEPER.;1", nm: "Deeper", cl: deeper}))
	bios := file("ISOLINUX.BIN;1", "bios")
	var all [][]byte
	for _, f := range []fixture{
		{root: tree()},
		{root: tree(), rr: true},
		{root: tree(), joliet: true},
		{root: tree(), rr: true, joliet: true},
		{root: relocated, rr: true},
		{root: dir("\x00", &item{id: "A.;1", nm: strings.Repeat("n", 200), pieces: 3}), rr: true},
		{root: dir("\x00", &item{id: "A.;1", parts: [][]byte{make([]byte, 2048), []byte("x")}})},
		{root: dir("\x00", bios), boot: []bootItem{{0, bios, 0}, {0xEF, bios, 0}}, volumeID: "ESXI-8.0U2-22380479-STANDARD"},
		{root: dir("\x00", dir("UPGRADE", file("METADATA.XML;1", metadataFixture), file("PROFILE.XML;1", profileFixture)), file(".DISCINFO;1", "VMware ESXi 8.0.2 build-22380479\n"))},
	} {
		all = append(all, f.build()[systemArea:])
	}
	return all
}

// TestMutants sets every byte of every seed's metadata to what hurts most.
func TestMutants(t *testing.T) {
	for i, seed := range seeds() {
		for at, old := range seed {
			inRun := at > 0 && old == seed[at-1] // padding, content
			if inRun && at%61 != i {
				continue
			}
			for _, b := range []byte{0, 1, 0x7f, 0xff, old ^ 1, old + 1, old ^ 0x80} {
				seed[at] = b
				exercise(t, seed)
			}
			seed[at] = old
		}
	}
}

// FuzzOpen takes everything after the system area.
func FuzzOpen(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) { exerciseBounded(t, data) })
}

// FuzzTree takes directories alone, a block for each part: the first is the
// root, and the others are what its records and theirs point at. That leaves
// no bytes without meaning.
func FuzzTree(f *testing.F) {
	self := string(rawRecord("\x00", 18, BlockSize, 2, nil))
	parent := string(rawRecord("\x01", 18, BlockSize, 2, nil))
	rock := &fixture{rr: true}
	rrSelf := string(rawRecord("\x00", 18, BlockSize, 2, rock.selfEntries(true)))
	raw := func(id string, block, size uint32, flags byte, su ...string) string {
		return string(rawRecord(id, block, size, flags, []byte(strings.Join(su, ""))))
	}
	nm := func(flags byte, name string) string { return string(susp("NM", []byte{flags}, []byte(name))) }
	ce := func(block, offset, length uint32) string {
		return string(susp("CE", both32(block), both32(offset), both32(length)))
	}
	f.Add([]byte(self+parent+raw("A.;1", 20, 5, 0)+raw("B;1", 20, 2048, 0x80)+raw("B;1", 21, 3, 0)), []byte{}, []byte("hello"), []byte{})
	f.Add([]byte(self+parent+raw("D", 19, 2048, 2)), []byte(self+parent+raw("E", 20, 2048, 2)), []byte(self+parent+raw("F", 21, 9, 0)), []byte("file data"))
	f.Add([]byte(rrSelf+parent+raw("A", 20, 5, 0, nm(1, "long "), ce(19, 0, 40))), []byte(nm(0, "name")+ce(20, 4, 12)), []byte("    "+nm(0, "more")), []byte{})
	f.Add([]byte(rrSelf+parent+raw("A", 0, 0, 0, nm(0, "here"), string(susp("CL", both32(19))))), []byte(self+parent+raw("F", 21, 9, 0, string(px(0o120777)))), []byte{}, []byte{})
	f.Add([]byte(rrSelf+parent+raw("M", 19, 2048, 2)), []byte(self+parent+raw("R", 20, 2048, 2, "RE\x04\x01")), []byte(self), []byte{})
	f.Fuzz(func(t *testing.T, root, b, c, d []byte) {
		head := fixture{root: dir("\x00")}
		img := head.build()[systemArea : systemArea+2*BlockSize]
		for _, part := range [][]byte{root, b, c, d} {
			block := make([]byte, BlockSize)
			copy(block, part)
			img = append(img, block...)
		}
		exerciseBounded(t, img)
	})
}

// exerciseBounded bounds memory too: reading files takes 8 MiB at most, so the
// rest is what Open takes, by what the image has and not by what it says.
func exerciseBounded(t *testing.T, data []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	exercise(t, data)
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(10<<20+200*len(data)); got > limit {
		t.Fatalf("%d bytes were allocated for an image of %d", got, len(data))
	}
}
