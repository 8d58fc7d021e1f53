package iso

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"
)

// TestStoredImages reads images that genisoimage and xorriso made of one tree.
func TestStoredImages(t *testing.T) {
	long := strings.Repeat("n", 240)
	tree := func(cut int, rename func(string) string) map[string]string {
		m := map[string]string{
			"boot.cfg": "kernel=/b.b00\n", "efi/boot/bootx64.efi": "MZ\n", "empty": "",
			"a/b/c/d/e/f/g/h/i/deep.txt": "deep\n", long[:cut]: "x",
		}
		for i := 1; i <= 40; i++ {
			m[rename(fmt.Sprintf("a long name that fills the directory %02d.v00", i))] = fmt.Sprintf("%02d\n", i)
		}
		return m
	}
	same := func(s string) string { return s }
	for _, test := range []struct {
		name   string
		source NameSource
		files  map[string]string
	}{
		{"genisoimage-rr-joliet-deep", RockRidge, tree(240, same)},
		{"genisoimage-joliet-deep", Joliet, tree(103, same)},
		{"xorriso-rr-relocated", RockRidge, tree(240, same)},
		{"genisoimage-relaxed", Plain, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			im := open(t, stored(t, test.name))
			if im.NameSource() != test.source || len(im.Warnings()) != 0 {
				t.Errorf("%s, %q", im.NameSource(), im.Warnings())
			}
			if test.files != nil {
				wantContents(t, im, test.files)
				return
			}
			got, err := contents(im) // names were cut to 31 characters
			if err != nil || len(got) != 45 || got["a/b/c/d/e/f/g/h/i/deep.txt"] != "deep\n" || got[long[:30]] != "x" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func stored(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".iso.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestForeignWriter reads what another writer, in Go, makes.
func TestForeignWriter(t *testing.T) {
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"BOOT.CFG": "kernel=/b.b00\n", "EFI/BOOT/BOOTX64.EFI": strings.Repeat("MZ", 5000), "EMPTY": ""}
	for i := range 200 {
		want[fmt.Sprintf("M%06d.V00", i)] = strings.Repeat("x", i)
	}
	for p, content := range want {
		if err := w.AddFile(strings.NewReader(content), p); err != nil {
			t.Fatal(err)
		}
	}
	var img bytes.Buffer
	if err := w.WriteTo(&img, "ESXI-8.0U2-22380479-STANDARD"); err != nil {
		t.Fatal(err)
	}
	if err := w.Cleanup(); err != nil {
		t.Fatal(err)
	}
	im := open(t, img.Bytes())
	got := map[string]string{}
	all, err := contents(im)
	if err != nil {
		t.Fatal(err)
	}
	for p, content := range all {
		got[strings.ToUpper(p)] = content // it writes lower case
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	for p, content := range want {
		if got[p] != content {
			t.Errorf("%s: %d bytes differ from the %d wanted", p, len(got[p]), len(content))
		}
		if b, err := im.ReadFile(p); err != nil || string(b) != content {
			t.Errorf("%s: %d bytes, %v", p, len(b), err)
		}
	}
	if !strings.EqualFold(im.VolumeID(), "ESXI-8.0U2-22380479-STANDARD") {
		t.Errorf("volume id %q", im.VolumeID())
	}
	if r, err := im.Release(); err != nil || r.Build != "22380479" || r.Arch != "amd64" {
		t.Errorf("%+v, %v", r, err)
	}
}
