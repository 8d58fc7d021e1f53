package esxitest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// readISO lists the files of a plain image, with code of its own.
func readISO(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	pvd := b[16*blockSize:]
	if string(pvd[:7]) != "\x01CD001\x01" {
		t.Fatalf("no primary volume descriptor: %q", pvd[:7])
	}
	if n := binary.LittleEndian.Uint32(pvd[80:]); int(n)*blockSize != len(b) {
		t.Errorf("the volume says %d blocks, the image has %d bytes", n, len(b))
	}
	files := map[string][]byte{}
	var walk func(path string, dir []byte)
	walk = func(path string, dir []byte) {
		last := ""
		for at := 0; at < len(dir); {
			length := int(dir[at])
			if length == 0 {
				at = (at/blockSize + 1) * blockSize
				continue
			}
			r := dir[at : at+length]
			at += length
			if (at-1)/blockSize != (at-length)/blockSize {
				t.Errorf("a record of /%s crosses a block's end", path)
			}
			id := string(r[33 : 33+int(r[32])])
			start := int(binary.LittleEndian.Uint32(r[2:])) * blockSize
			data := b[start : start+int(binary.LittleEndian.Uint32(r[10:]))]
			switch {
			case id == "\x00" || id == "\x01":
			case r[25]&2 != 0:
				walk(path+id+"/", data)
			case !strings.HasSuffix(id, ";1"):
				t.Errorf("%s%s has no version", path, id)
			default:
				files[path+strings.TrimSuffix(strings.TrimSuffix(id, ";1"), ".")] = data
			}
			if id <= last {
				t.Errorf("%q after %q", id, last)
			}
			last = id
		}
	}
	root := int(binary.LittleEndian.Uint32(pvd[156+2:])) * blockSize
	walk("", b[root:root+int(binary.LittleEndian.Uint32(pvd[156+10:]))])
	return files
}

func TestImageHoldsTheTree(t *testing.T) {
	b, err := os.ReadFile(ISO(t))
	if err != nil {
		t.Fatal(err)
	}
	got := readISO(t, b)
	tree := Tree()
	if len(got) != len(tree)+1 {
		t.Errorf("%d files, want %d and the catalog", len(got), len(tree))
	}
	for _, f := range tree {
		if !bytes.Equal(got[f.Path], f.Bytes()) {
			t.Errorf("%s: %d bytes, want %d, or other content", f.Path, len(got[f.Path]), f.Size)
		}
	}
	if label := string(b[16*blockSize+40:][:32]); label != "ESXI-8.0U2-22380479-STANDARD    " {
		t.Errorf("volume id %q", label)
	}
	if id := string(b[16*blockSize+574:][:9]); id != "ESXIMAGE " {
		t.Errorf("application id %q", id)
	}
	checkCatalog(t, b, got)
}

func checkCatalog(t *testing.T, b []byte, files map[string][]byte) {
	t.Helper()
	catalog := files["BOOT.CAT"]
	at := binary.LittleEndian.Uint32(b[17*blockSize+71:])
	if !bytes.Equal(catalog, b[at*blockSize:][:blockSize]) {
		t.Error("the boot record does not point at BOOT.CAT")
	}
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(catalog[i:])
	}
	if sum != 0 {
		t.Errorf("the validation entry sums up to %d", sum)
	}
	for off, name := range map[int]string{32: "ISOLINUX.BIN", 96: "EFIBOOT.IMG"} {
		block := binary.LittleEndian.Uint32(catalog[off+8:])
		if catalog[off] != 0x88 || !bytes.HasPrefix(b[block*blockSize:], files[name]) {
			t.Errorf("entry at %d does not boot %s", off, name)
		}
	}
	if catalog[64] != 0x91 || catalog[65] != 0xef {
		t.Errorf("section header % x", catalog[64:68])
	}
}

func TestManyFilesAndDeepFolders(t *testing.T) {
	var files []File
	for i := range 500 {
		files = append(files, File{
			Path: fmt.Sprintf("D%d/E/F/FILE%04d.BIN", i%3, i), Size: int64(i * 13), Content: newNoise(0, fmt.Sprint(i), int64(i*13)),
		})
	}
	var b bytes.Buffer
	if err := WriteISO(&b, files, ISOOptions{}); err != nil {
		t.Fatal(err)
	}
	got := readISO(t, b.Bytes())
	for _, f := range files {
		if !bytes.Equal(got[f.Path], f.Bytes()) {
			t.Errorf("%s differs", f.Path)
		}
	}
}

func TestWriteISORefuses(t *testing.T) {
	one := func(path string, size int64) []File {
		return []File{{Path: path, Size: size, Content: bytes.NewReader(nil)}}
	}
	for name, c := range map[string]struct {
		files []File
		opts  ISOOptions
		want  string
	}{
		"empty name": {one("A//B", 0), ISOOptions{}, `"" can't be a name`},
		"long name":  {one(strings.Repeat("A", 40), 0), ISOOptions{}, "can't be a name"},
		"character":  {one("A;1", 0), ISOOptions{}, "has the character"},
		"deep":       {one("A/B/C/D/E/F/G/H", 0), ISOOptions{}, "levels"},
		"large":      {one("A", 1<<32), ISOOptions{}, "one extent"},
		"negative":   {one("A", -1), ISOOptions{}, "one extent"},
		"twice":      {append(one("A", 0), one("A", 0)...), ISOOptions{}, "there twice"},
		"file as folder": {
			append(one("A", 0), one("A/B", 0)...), ISOOptions{}, "there twice",
		},
		"no boot image": {one("A", 0), ISOOptions{EFIImage: "B"}, "there is no boot image B"},
		"year":          {nil, ISOOptions{Time: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)}, "the year 2300"},
		"label":         {nil, ISOOptions{VolumeID: strings.Repeat("A", 33)}, "too long"},
	} {
		if err := WriteISO(io.Discard, c.files, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := WriteISO(io.Discard, one("A", 5), ISOOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short content: %v", err)
	}
}
