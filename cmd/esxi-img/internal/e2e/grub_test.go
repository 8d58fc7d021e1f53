//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// grubSerial lets GRUB speak on the first serial port.
const grubSerial = `
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set pager=0
`

// grubModules are what any of our scripts needs of GRUB.
const grubModules = "hashsum gcry_sha256 serial terminal echo test regexp halt normal "

// standalone makes a boot program that isn't ours: GRUB with a script and the
// modules that it needs besides grubModules.
func standalone(t *testing.T, efi, script, modules string) {
	t.Helper()
	cfg := filepath.Join(t.TempDir(), "grub.cfg")
	writeText(t, cfg, grubSerial+script, 0o600)
	modules = grubModules + modules
	run(t, "grub-mkstandalone", "-O", "x86_64-efi", "-o", efi, "--modules="+modules, "--install-modules="+modules,
		"--fonts=", "--locales=", "--themes=", "boot/grub/grub.cfg="+cfg)
}

// grubOverHTTP makes a GRUB that reads files over HTTP, after the lines of
// begin.
func grubOverHTTP(t *testing.T, efi, port string, names []string, begin ...string) {
	t.Helper()
	script := begin
	for _, name := range names {
		script = append(script, fmt.Sprintf("sha256sum (http,10.0.2.2:%s)/%s", port, name))
	}
	script = append(script, `echo "E2E-END"`, "halt", "")
	standalone(t, efi, strings.Join(script, "\n"), "efinet tftp http")
}

// bootFloppy is the FAT image that firmware starts a CD from, with a boot
// program.
func bootFloppy(t *testing.T, efi string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "efiboot.img")
	run(t, "mkfs.vfat", "-C", image, "16384") // KiB
	run(t, "mmd", "-i", image, "::/EFI", "::/EFI/BOOT")
	run(t, "mcopy", "-i", image, efi, "::/EFI/BOOT/BOOTX64.EFI")
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
