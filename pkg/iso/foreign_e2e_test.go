//go:build e2e

package iso

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// run runs a tool that must be there.
func run(t *testing.T, tool string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
}

// sourceTree writes what the images are made of.
func sourceTree(t *testing.T, lower, deep bool) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	write := func(name string, size int) {
		if !lower {
			name = strings.ToUpper(name)
		}
		p := filepath.Join(dir, filepath.FromSlash(name))
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range map[string]int{
		"boot.cfg": 700, "isolinux.bin": 24 << 10, "efiboot.img": 1 << 20, "b.b00": 100_000, "empty": 0, "one.v00": 1,
		"block.v00": 2048, "block.v01": 2049, "efi/boot/bootx64.efi": 90_000, "efi/boot/boot.cfg": 700,
		"upgrade/metadata.xml": 5000, "upgrade/profile.xml": 3000, "tools.t00": 3 << 20,
	} {
		write(name, size)
	}
	for i := range 150 {
		write(fmt.Sprintf("m%06d.v00", i), 20+i)
	}
	if deep {
		for i := range 120 {
			write(fmt.Sprintf("Many/a name that is rather long for ISO 9660 %03d.v00", i), i)
		}
		write("Many/ü – non-ASCII.txt", 10)
		write("Many/"+strings.Repeat("long", 25), 10)
		write("a/b/c/d/e/f/g/h/i/j/k/l/deep.txt", 4000)
		write("a/b/c/d/e/f/g/h/middle.txt", 2000)
		write("a/b/c/d/e/f/g2/h/second.txt", 3000)
	}
	return dir
}

// extracted is what a tool left in a directory: digests, "dir", and nothing
// for what is irregular.
func extracted(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			all[filepath.ToSlash(rel)] = "dir"
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			all[filepath.ToSlash(rel)] = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func ours(t *testing.T, img []byte) (*Image, map[string]string) {
	t.Helper()
	im := open(t, img)
	all, err := contents(im)
	if err != nil {
		t.Fatal(err)
	}
	for p, content := range all {
		all[p] = fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	}
	for _, d := range im.Dirs() {
		all[d] = "dir"
	}
	return im, all
}

func wantSame(t *testing.T, judge string, got, want map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Fatalf("%s extracted nothing", judge)
	}
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if got[p] != want[p] {
			t.Errorf("%s: %q is %.12s, we say %q", judge, p, want[p], got[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[p]; !ok {
			t.Errorf("%s has no %q", judge, p)
		}
	}
}

func byXorriso(t *testing.T, img string) map[string]string {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	run(t, "xorriso", "-osirrox", "on", "-indev", img, "-extract", "/", out)
	// Directories of an image may be read-only.
	run(t, "chmod", "-R", "u+rwX", out)
	return extracted(t, out)
}

func by7z(t *testing.T, img string) map[string]string {
	dir := t.TempDir()
	run(t, "7z", "x", "-y", "-o"+dir, img)
	all := extracted(t, dir)
	for p := range all { // 7z shows boot images as files, too
		if p == "[BOOT]" || strings.HasPrefix(p, "[BOOT]/") {
			delete(all, p)
		}
	}
	return all
}

// TestForeignImages reads what others write, and asks others what is in it.
func TestForeignImages(t *testing.T) {
	genisoimage := []string{"genisoimage", "-quiet"}
	xorriso := []string{"xorriso", "-as", "mkisofs", "-quiet"}
	boot := []string{"-b", "ISOLINUX.BIN", "-c", "BOOT.CAT", "-no-emul-boot", "-boot-load-size", "4", "-eltorito-alt-boot", "-e", "EFIBOOT.IMG", "-no-emul-boot"}
	for _, test := range []struct {
		name        string
		tool        []string
		args        []string
		lower, deep bool
		source      NameSource
		no7z        string // why 7z is no judge
		noXorriso   string
	}{
		{"plain", genisoimage, nil, false, false, Plain, "", ""},
		{"plain by xorriso", xorriso, []string{"--norock"}, false, false, Plain, "", ""},
		{"plain with boot images", genisoimage, boot, false, false, Plain, "", ""},
		{"plain from lower case", genisoimage, nil, true, false, Plain, "", ""},
		{"lower case", genisoimage, []string{"-allow-lowercase"}, true, false, Plain, "", ""},
		{"relaxed", genisoimage, []string{"-relaxed-filenames", "-allow-lowercase", "-l", "-D"}, true, true, Plain, "", ""},
		{"no versions", genisoimage, []string{"-N", "-d"}, false, false, Plain, "", ""},
		{"level 4", genisoimage, []string{"-iso-level", "4"}, true, true, Plain, "", "it mangles names that are not ASCII"},
		{"rock ridge", genisoimage, []string{"-R"}, true, false, RockRidge, "", ""},
		{"rock ridge by xorriso", xorriso, []string{"-R"}, true, false, RockRidge, "", ""},
		{"rock ridge and joliet", genisoimage, []string{"-R", "-J", "-joliet-long"}, true, false, RockRidge, "", ""},
		{"rock ridge and joliet by xorriso", xorriso, []string{"-R", "-J"}, true, false, RockRidge, "", ""},
		{"as VMware documents", genisoimage, append([]string{"-relaxed-filenames", "-J", "-R"}, boot...), false, false, RockRidge, "", ""},
		{"joliet", genisoimage, []string{"-J", "-joliet-long"}, true, false, Joliet, "", ""},
		{"joliet with deep directories", genisoimage, []string{"-J", "-joliet-long", "-D"}, true, true, Joliet, "", ""},
		{"deep", genisoimage, []string{"-R"}, true, true, RockRidge, "it does not follow relocated directories", ""},
		{"deep with joliet", genisoimage, []string{"-R", "-J", "-joliet-long"}, true, true, RockRidge, "it does not follow relocated directories", ""},
		{"deep by xorriso", xorriso, []string{"-R", "-J", "-joliet-long"}, true, true, RockRidge, "", ""},
		{"deep, relocated by xorriso", xorriso, []string{"-R", "-rr_reloc_dir", "/rr_moved"}, true, true, RockRidge, "it does not follow relocated directories", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			src := sourceTree(t, test.lower, test.deep)
			path := filepath.Join(t.TempDir(), "x.iso")
			run(t, test.tool[0], slices.Concat(test.tool[1:], test.args, []string{"-V", "ESXI-8.0U2-22380479-STANDARD", "-o", path, src})...)
			img, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			im, got := ours(t, img)
			if im.NameSource() != test.source || im.VolumeID() != "ESXI-8.0U2-22380479-STANDARD" || im.Created().IsZero() || im.VolumeSize() > im.Size() || len(im.Warnings()) > 0 {
				t.Errorf("%s, %q, %v, %d > %d, %q", im.NameSource(), im.VolumeID(), im.Created(), im.VolumeSize(), im.Size(), im.Warnings())
			}
			if slices.Contains(test.args, "BOOT.CAT") {
				if b := im.BootImages(); len(b) != 2 || b[0].Path != "ISOLINUX.BIN" || b[1].Path != "EFIBOOT.IMG" || b[1].Platform != PlatformEFI {
					t.Errorf("%+v", b)
				}
			}
			if test.noXorriso == "" {
				wantSame(t, "xorriso", got, byXorriso(t, path))
			}
			if test.no7z == "" {
				wantSame(t, "7z", got, by7z(t, path))
			}
			if test.source == RockRidge {
				want := extracted(t, src)
				delete(got, "rr_moved")
				delete(got, "BOOT.CAT")
				wantSame(t, "the source", got, want)
			}
			checkCuts(t, img)
		})
	}
}

// checkCuts opens the image cut at block boundaries: it fails, or has all.
func checkCuts(t *testing.T, img []byte) {
	t.Helper()
	want, err := contents(open(t, img))
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(img) - BlockSize; cut > 0; cut -= BlockSize {
		if im, err := Open(bytes.NewReader(img[:cut]), int64(cut)); err == nil {
			if got, err := contents(im); err != nil || !maps.Equal(got, want) {
				t.Errorf("cut at block %d it opens, but differs: %v", cut/BlockSize, err)
			}
		}
	}
}

// TestOwnImages asks others what our own test images hold: if they can't read
// them, our tests prove little.
func TestOwnImages(t *testing.T) {
	hidden := func() *item {
		i := file("HIDDEN.V00;1", "hidden")
		i.flags = 1
		return i
	}
	fork := func() []*item {
		i := file("FORK.V00;1", "resource fork")
		i.flags = flagAssociated
		return []*item{i, file("FORK.V00;1", "data fork")}
	}
	big := func() *item {
		return &item{id: "BIG.V00;1", nm: "big.v00", parts: [][]byte{bytes.Repeat([]byte("1"), 4096), bytes.Repeat([]byte("2"), 2048), []byte("3")}}
	}
	deeper := dir("DEEPER", file("F.;1", "deep"))
	deeper.nm, deeper.re = "Deeper", true
	moved := dir("RR_MOVED", deeper)
	for _, test := range []struct {
		name   string
		f      fixture
		judges string
	}{
		{"plain", fixture{root: tree()}, "xorriso 7z"},
		{"rock ridge", fixture{root: tree(), rr: true}, "xorriso 7z"},
		{"joliet", fixture{root: tree(), joliet: true}, "xorriso 7z"},
		{"both", fixture{root: tree(), rr: true, joliet: true}, "xorriso"},
		{"extents", fixture{root: dir("\x00", big())}, "xorriso 7z"},
		{"rock ridge extents", fixture{rr: true, root: dir("\x00", big())}, "xorriso 7z"},
		{"relocated", fixture{rr: true, root: dir("\x00", moved, dir("A", &item{id: "DEEPER.;1", nm: "Deeper", cl: deeper}))}, "xorriso"},
		{"continued", fixture{rr: true, root: dir("\x00", &item{id: "A.;1", nm: strings.Repeat("0123456789", 25), pieces: 5, data: []byte("a")})}, "xorriso"},
		{"hidden", fixture{root: dir("\x00", hidden())}, "xorriso 7z"},
		{"associated", fixture{root: dir("\x00", fork()...)}, "xorriso"},
	} {
		t.Run(test.name, func(t *testing.T) {
			img := test.f.build()
			path := filepath.Join(t.TempDir(), "x.iso")
			if err := os.WriteFile(path, img, 0o600); err != nil {
				t.Fatal(err)
			}
			_, got := ours(t, img)
			if strings.Contains(test.judges, "xorriso") {
				want := byXorriso(t, path)
				// xorriso shows the resource fork too, under a name that it
				// makes up; Linux does not.
				delete(want, "FORK___.V00")
				wantSame(t, "xorriso", got, want)
			}
			if strings.Contains(test.judges, "7z") {
				wantSame(t, "7z", got, by7z(t, path))
			}
		})
	}
}
