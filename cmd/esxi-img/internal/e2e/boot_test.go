//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Debian's OVMF: firmware that is as good as a server's, and not ours.
const (
	firmwareCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// Emulated machines are slow: a boot takes about five seconds here, hashing a
// full-size image half a minute; these bound them on a busy CI machine.
const (
	bootTimeout     = 4 * time.Minute
	fullBootTimeout = 8 * time.Minute
)

// bus is how the disk is attached: QEMU's arguments for the drive "disk".
type bus struct {
	name   string
	sector int64
	args   []string
}

var buses = []bus{
	{"ahci", 512, []string{"-device", "ide-hd,drive=disk,bus=ide.0"}},
	{"nvme", 512, []string{"-device", "nvme,drive=disk,serial=e2e"}},
	{"usb", 512, []string{"-device", "qemu-xhci", "-device", "usb-storage,drive=disk"}},
	{"nvme", 4096, []string{"-device", "nvme,drive=disk,serial=e2e,logical_block_size=4096,physical_block_size=4096"}},
	{"virtio", 4096, []string{"-device", "virtio-blk-pci,drive=disk,logical_block_size=4096,physical_block_size=4096"}},
	{"scsi", 4096, []string{
		"-device", "virtio-scsi-pci",
		"-device", "scsi-hd,drive=disk,logical_block_size=4096,physical_block_size=4096",
	}},
}

// grubConfig finds the volume that GRUB was started from, and lets GRUB's own
// FAT driver read every file of it.
const grubConfig = `
regexp --set=1:volume '^(\(.*\))' "$cmdpath"
echo "E2E-BEGIN $volume"
for f in $volume/* $volume/.* $volume/*/* $volume/*/*/*; do
  if test -f "$f"; then sha256sum "$f"; fi
done
echo "E2E-END"
halt
`

// grub makes a boot program that isn't ours: GRUB's standalone image.
func grub(t *testing.T) string {
	t.Helper()
	efi := filepath.Join(t.TempDir(), "grub.efi")
	standalone(t, efi, grubConfig, "part_gpt fat")
	return efi
}

// TestBoots lets firmware start GRUB from our image, on every kind of disk,
// and compares each file as GRUB's FAT driver reads it with the medium's.
func TestBoots(t *testing.T) {
	efi := grub(t)
	for _, b := range buses {
		t.Run(fmt.Sprintf("%s/%d", b.name, b.sector), func(t *testing.T) {
			t.Parallel()
			bootGRUB(t, plain.iso(t, small, efi), b, bootTimeout)
		})
	}
}

// TestBootsFull does so once with an image of the size of a real one.
func TestBootsFull(t *testing.T) {
	bootGRUB(t, plain.iso(t, full, grub(t)), buses[1], fullBootTimeout)
}

func bootGRUB(t *testing.T, iso string, b bus, timeout time.Duration) {
	t.Helper()
	img := judgeTable(t, build(t, iso, "--sector-size", fmt.Sprint(b.sector)), b.sector)
	bootFrom(t, iso, img, img.path, b, timeout)
}

// bootFrom boots from a file that holds the image.
func bootFrom(t *testing.T, iso string, img image, file string, b bus, timeout time.Duration) {
	t.Helper()
	console := boot(t, file, "E2E-END", timeout, b.args...)
	seen := map[string]string{}
	// GRUB breaks lines at 80 columns, always between the two words.
	for _, m := range regexp.MustCompile(`([0-9a-f]{64})\s+\(hd\d,gpt1\)/(\S+)`).FindAllStringSubmatch(console, -1) {
		seen[strings.ToLower(m[2])] = m[1]
	}
	compareSums(t, expected(t, iso, img), seen, console)
}

// expected returns what a FAT driver has to read: the medium's files, and
// those that differ on purpose (TestJudges holds them) as mtools reads them.
func expected(t *testing.T, iso string, img image) map[string]string {
	t.Helper()
	want := hashes(t, extract(t, iso))
	for path, sum := range hashes(t, img.read(t)) {
		if want[path] == "" || filepath.Base(path) == "boot.cfg" {
			want[path] = sum
		}
	}
	return want
}

func compareSums(t *testing.T, want, seen map[string]string, console string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if seen[path] != want[path] {
			t.Errorf("%s: read as %q, is %s", path, seen[path], want[path])
		}
	}
	for path := range seen {
		if want[path] == "" {
			t.Errorf("%s should not be there", path)
		}
	}
	if t.Failed() {
		t.Logf("console:\n%s", console)
	}
}

// TestFirmwareReads lets the firmware's own FAT driver read every file: its
// shell, which it starts where no boot program can be run, compares them with
// copies on a volume that mkfs.vfat and mtools made.
func TestFirmwareReads(t *testing.T) {
	iso := plain.iso(t, small, "") // its boot program is noise
	for _, sector := range []int64{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			t.Parallel()
			img := judgeTable(t, build(t, iso, "--sector-size", fmt.Sprint(sector)), sector)
			firmwareReads(t, iso, img)
		})
	}
}

func firmwareReads(t *testing.T, iso string, img image) {
	t.Helper()
	copies := img.read(t)
	compare(t, extract(t, iso), copies)
	paths := slices.Sorted(maps.Keys(hashes(t, copies)))
	reference := referenceVolume(t, copies, paths)

	size := fmt.Sprint(img.sector)
	console := boot(t, img.path, "E2E-END", bootTimeout,
		"-device", "nvme,drive=disk,serial=e2e,logical_block_size="+size+",physical_block_size="+size,
		"-drive", "if=none,id=reference,format=raw,snapshot=on,file="+reference,
		"-device", "ide-hd,drive=reference,bus=ide.1")

	for i, path := range paths {
		after := console[max(0, strings.LastIndex(console, fmt.Sprintf("E2E-FILE %d.", i))):]
		verdict, _, _ := strings.Cut(after, fmt.Sprintf("E2E-FILE %d.", i+1))
		if !strings.Contains(verdict, "[no differences encountered]") {
			t.Errorf("%s: the firmware says: %.300s", path, verdict)
		}
	}
	if t.Failed() {
		t.Logf("console:\n%s", console)
	}
}

// referenceVolume makes a FAT32 volume of the files with mkfs.vfat and mtools,
// and a script that the firmware's shell runs.
func referenceVolume(t *testing.T, files string, paths []string) string {
	t.Helper()
	dir := t.TempDir()
	script := []string{"@echo -off"}
	for i, path := range paths {
		path = strings.ReplaceAll(path, "/", `\`)
		script = append(script, fmt.Sprintf("echo E2E-FILE %d.", i), fmt.Sprintf(`comp fs0:\%s fs1:\FILES\%s`, path, path))
	}
	script = append(script, fmt.Sprintf("echo E2E-FILE %d.", len(paths)), "echo E2E-END", "reset -s", "")
	nsh, volume := filepath.Join(dir, "startup.nsh"), filepath.Join(dir, "reference.fat")
	if err := os.WriteFile(nsh, []byte(strings.Join(script, "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.vfat", "-C", "-F", "32", volume, "131072") // KiB
	run(t, "mcopy", "-i", volume, nsh, "::/startup.nsh")
	run(t, "mmd", "-i", volume, "::/FILES")
	entries, err := filepath.Glob(filepath.Join(files, "*"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", append(append([]string{"-s", "-i", volume}, entries...), "::/FILES/")...)
	return volume
}

// boot starts a machine with the image as its only disk besides those in args,
// waits for the last word on its serial console and returns all that it said.
func boot(t *testing.T, img, lastWord string, timeout time.Duration, args ...string) string {
	t.Helper()
	vars := filepath.Join(t.TempDir(), "vars.fd")
	run(t, "cp", firmwareVars, vars)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{
		"-machine", "q35,accel=tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-no-reboot",
		"-display", "none", "-nic", "none", "-serial", "stdio",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + firmwareCode,
		"-drive", "if=pflash,format=raw,unit=1,file=" + vars,
		// What the firmware writes to the disk is thrown away.
		"-drive", "if=none,id=disk,format=" + formatOf(img) + ",snapshot=on,file=" + img,
	}, args...)...)
	console := &console{lastWord: lastWord, done: cancel}
	cmd.Stdout, cmd.Stderr = console, console
	start := time.Now()
	err := cmd.Run()
	text := console.text()
	if !strings.Contains(text, lastWord) {
		t.Fatalf("the machine did not get to %s in %v: %v\n%s", lastWord, time.Since(start).Round(time.Second), err, text)
	}
	t.Logf("booted and read in %v", time.Since(start).Round(100*time.Millisecond))
	return text
}
