//go:build e2e

package esxitest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Foreign readers must see every file of every flavour, with its bytes.
func TestForeignReaders(t *testing.T) {
	for _, how := range []Mastering{
		{Plain, Builtin},
		{Lower, Builtin},
		{RockRidge, Xorriso},
		{Joliet, Xorriso},
		{Lower, Xorriso},
		{Plain, Xorriso},
		{RockRidge, Genisoimage},
		{Joliet, Genisoimage},
		{Lower, Genisoimage},
		{Plain, Genisoimage},
	} {
		for _, arch := range []string{AMD64, ARM64} {
			t.Run(string(how.Flavour)+"/"+string(how.Tool)+"/"+arch, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "out.iso")
				if _, err := Master(t.Context(), path, how, WithArch(arch)); err != nil {
					t.Fatal(err)
				}
				sevenZip, xorriso := t.TempDir(), filepath.Join(t.TempDir(), "x")
				tool(t, "7z", "x", "-y", "-o"+sevenZip, path)
				tool(t, "xorriso", "-no_rc", "-abort_on", "WARNING", "-osirrox", "on", "-indev", path, "-extract", "/", xorriso)
				for _, f := range Tree(WithArch(arch)) {
					sameFile(t, f, sevenZip, how)
					sameFile(t, f, xorriso, how)
				}
				checkBoot(t, path, arch)
			})
		}
	}
}

// sameFile looks a file up whatever its case, since the reader decides that.
func sameFile(t *testing.T, f File, dir string, how Mastering) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, f.Path))
	if err != nil {
		got, err = os.ReadFile(filepath.Join(dir, strings.ToLower(f.Path)))
	}
	if err != nil {
		t.Error(err)
		return
	}
	want := f.Bytes()
	if f.Path == "ISOLINUX.BIN" && how.Tool != Builtin && len(got) == len(want) {
		copy(got[8:64], want[8:64]) // -boot-info-table writes there
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s in %s: %d bytes, want %d, or other content", f.Path, dir, len(got), len(want))
	}
}

func checkBoot(t *testing.T, path, arch string) {
	t.Helper()
	report := tool(t, "xorriso", "-no_rc", "-indev", path, "-report_el_torito", "plain")
	want := map[string]bool{"UEFI": true, "BIOS": arch == AMD64}
	for platform, there := range want {
		if strings.Contains(report, "  "+platform+"  y   none") != there {
			t.Errorf("El Torito, %s wanted %t:\n%s", platform, there, report)
		}
	}
	info := tool(t, "isoinfo", "-d", "-i", path)
	for _, line := range []string{"Volume id: ESXI-8.0U2-22380479-STANDARD\n", "Application id: ESXIMAGE\n"} {
		if !strings.Contains(info, line) {
			t.Errorf("isoinfo lacks %q:\n%s", line, info)
		}
	}
}

func TestPlainIsPlain(t *testing.T) {
	path := ISO(t)
	info := tool(t, "isoinfo", "-d", "-i", path)
	if !strings.Contains(info, "NO Joliet present") || !strings.Contains(info, "NO Rock Ridge present") {
		t.Errorf("not plain:\n%s", info)
	}
	names := tool(t, "isoinfo", "-f", "-i", path)
	for _, f := range Tree() {
		if !strings.Contains(names, "/"+f.Path+";1\n") {
			t.Errorf("isoinfo lists no %s", f.Path)
		}
	}
}

// Every release's image and archives as foreign programs see them.
func TestEveryRelease(t *testing.T) {
	for _, r := range Releases() {
		dir := t.TempDir()
		tool(t, "7z", "x", "-y", "-o"+dir, ISO(t, WithRelease(r)))
		for _, name := range append([]string{"b.b00"}, r.Modules...) {
			path := filepath.Join(dir, strings.ToUpper(name))
			if out := tool(t, "sh", "-c", `gzip -t <"$1"`, "sh", path); out != "" {
				t.Errorf("%s %s: %s", r.Version, name, out)
			}
			if strings.HasSuffix(name, ".tgz") {
				tool(t, "tar", "tzf", path)
			}
		}
		tool(t, "unzip", "-tq", filepath.Join(dir, "UPGRADE", "ESXIMAGE.ZIP"))
		tool(t, "fsck.vfat", "-n", filepath.Join(dir, "EFIBOOT.IMG"))
	}
}

func TestXorrisoIsDeterministic(t *testing.T) {
	var images [2][]byte
	for i := range images {
		path := filepath.Join(t.TempDir(), "out.iso")
		if _, err := Master(t.Context(), path, Mastering{RockRidge, Xorriso}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		images[i] = b
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two runs of xorriso differ")
	}
}
