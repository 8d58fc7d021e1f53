//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/esxitest"
)

// buildISO remasters a medium with the program under test.
func buildISO(t *testing.T, iso string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.iso")
	run(t, program, append([]string{"build", iso, "--format", "iso", "--output", out, "--quiet", "--install-disk", "smallest"}, args...)...)
	return out
}

// changedOnISO are the files that differ from the medium's on purpose: the
// boot images among them are told where they lie.
var changedOnISO = regexp.MustCompile(`^(boot\.cfg|efi/boot/boot\.cfg|ks\.cfg|boot\.cat|isolinux\.bin)$`)

// TestISOJudges lets xorriso and isoinfo read a remastered medium.
func TestISOJudges(t *testing.T) {
	for _, f := range flavours {
		t.Run(f.String(), func(t *testing.T) {
			medium := f.iso(t, small, "")
			out := buildISO(t, medium)
			want, got := hashes(t, extract(t, medium)), hashes(t, extract(t, out))
			for path := range want {
				if got[path] != want[path] && !changedOnISO.MatchString(path) {
					t.Errorf("%s: read as %q, is %s", path, got[path], want[path])
				}
			}
			for path := range got {
				if want[path] == "" && path != "ks.cfg" && path != "boot.cat" {
					t.Errorf("%s should not be there", path)
				}
			}
			judgeElTorito(t, out)
			judgeInfo(t, medium, out)
		})
	}
}

// judgeElTorito lets xorriso say what firmware would start.
func judgeElTorito(t *testing.T, iso string) {
	t.Helper()
	report := run(t, "xorriso", "-indev", iso, "-report_el_torito", "plain")
	for _, want := range []string{
		`El Torito catalog  : [0-9]+  1\n`,
		`El Torito img path :\s+1  /ISOLINUX.BIN\n`,
		`El Torito img path :\s+2  /EFIBOOT.IMG\n`,
		`El Torito boot img :\s+1  BIOS  y   none  0x0000  0x00\s+4\s`,
		`El Torito boot img :\s+2  UEFI  y   none  0x0000  0x00\s`,
	} {
		if !regexp.MustCompile(want).MatchString(report) {
			t.Errorf("xorriso does not say %q:\n%s", want, report)
		}
	}
}

// TestISOInfoTable gives a boot image that reads itself by its place: xorriso
// tells such a table from others only where it is right.
func TestISOInfoTable(t *testing.T) {
	dir := t.TempDir()
	tree, medium := extract(t, plain.iso(t, small, "")), filepath.Join(dir, "medium.iso")
	run(t, "xorriso", "-as", "mkisofs", "-o", medium, "-V", "ESXI", "-b", "ISOLINUX.BIN", "-c", "BOOT.CAT", "-no-emul-boot", "-boot-load-size", "4",
		"-boot-info-table", "-eltorito-alt-boot", "-e", "EFIBOOT.IMG", "-no-emul-boot", tree)
	for _, iso := range []string{medium, buildISO(t, medium)} {
		report := run(t, "xorriso", "-indev", iso, "-report_el_torito", "plain")
		if !regexp.MustCompile(`El Torito img opts :\s+1  boot-info-table`).MatchString(report) {
			t.Errorf("%s: no boot information table, or one of another place:\n%s", iso, report)
		}
	}
}

// judgeInfo lets isoinfo read the descriptors and one file.
func judgeInfo(t *testing.T, medium, iso string) {
	t.Helper()
	id := regexp.MustCompile(`(?m)^(Volume id|Application id): .*$`)
	before, after := run(t, "isoinfo", "-d", "-i", medium), run(t, "isoinfo", "-d", "-i", iso)
	if got, want := strings.Join(id.FindAllString(after, -1), "\n"), strings.Join(id.FindAllString(before, -1), "\n"); got != want {
		t.Errorf("isoinfo says\n%s\nof the medium\n%s", got, want)
	}
	if !strings.Contains(after, "NO Joliet present\nNO Rock Ridge present") || !strings.Contains(after, "Eltorito validation header") {
		t.Errorf("isoinfo says\n%s", after)
	}
	ks := run(t, "isoinfo", "-x", "/KS.CFG;1", "-i", iso)
	if !strings.HasPrefix(ks, "# The default kickstart of esxi-img.\n") {
		t.Errorf("isoinfo reads KS.CFG as %.100q", ks)
	}
}

// grubFromCD lets GRUB's own ISO 9660 driver read every file of the CD.
const grubFromCD = `
search --no-floppy --set=volume --file /KS.CFG
echo "E2E-BEGIN $volume $cmdpath"
for f in ($volume)/* ($volume)/.* ($volume)/*/* ($volume)/*/*/*; do
  if test -f "$f"; then sha256sum "$f"; fi
done
echo "E2E-END"
halt
`

// TestISOBoots lets firmware start GRUB as a CD's boot image, and compares each
// file as GRUB reads it from the CD.
func TestISOBoots(t *testing.T) {
	dir := t.TempDir()
	efi := filepath.Join(dir, "grub.efi")
	standalone(t, efi, grubFromCD, "iso9660 fat search")
	medium := filepath.Join(dir, "medium.iso")
	if err := os.WriteFile(medium, esxitest.Bytes(esxitest.Replace("EFIBOOT.IMG", bootFloppy(t, efi))), 0o600); err != nil {
		t.Fatal(err)
	}
	out := buildISO(t, medium)
	for name, drive := range map[string][]string{
		"sata": {"-device", "ide-cd,drive=disk,bus=ide.0"},
		"usb":  {"-device", "qemu-xhci", "-device", "usb-storage,drive=disk,removable=on"}, // as BMCs show it
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bootCD(t, out, drive)
		})
	}
}

func bootCD(t *testing.T, iso string, drive []string) {
	t.Helper()
	console := boot(t, iso, "E2E-END", bootTimeout, drive...)
	seen := map[string]string{}
	for _, m := range regexp.MustCompile(`([0-9a-f]{64})\s+\((?:cd|hd)\d+\)/(\S+)`).FindAllStringSubmatch(console, -1) {
		seen[strings.ToLower(m[2])] = m[1]
	}
	compareSums(t, hashes(t, extract(t, iso)), seen, console)
}
