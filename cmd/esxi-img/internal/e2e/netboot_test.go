//go:build e2e

package e2e

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNetboot lets firmware start the boot loader of a folder by PXE. The boot
// loader is GRUB, and it reads every file that boot.cfg names, with that
// name, over HTTP.
func TestNetboot(t *testing.T) {
	dir := t.TempDir()
	grub := filepath.Join(dir, "grub.efi")
	medium := plain.iso(t, small, "")
	folder := filepath.Join(dir, "netboot")
	args := []string{"build", medium, "--format", "netboot", "--output", folder, "--quiet", "--install-disk", "smallest", "--prefix"}

	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer server.Close()
	port := server.URL[strings.LastIndex(server.URL, ":")+1:]
	prefix := "http://10.0.2.2:" + port
	run(t, program, append(args, prefix)...)
	want := hashes(t, folder)

	grubOverHTTP(t, grub, port, namedByBootCfg(t, filepath.Join(folder, "boot.cfg"), prefix), `echo "E2E-BEGIN $cmdpath"`)
	run(t, "cp", grub, filepath.Join(folder, "mboot.efi"))
	console := boot(t, "/dev/null", "E2E-END", bootTimeout,
		"-device", "virtio-net-pci,netdev=net,bootindex=0,romfile=", "-device", "virtio-rng-pci",
		"-netdev", "user,id=net,tftp="+folder+",bootfile=mboot.efi")
	seen := map[string]string{}
	for _, m := range regexp.MustCompile(`([0-9a-f]{64})\s+\(http,[0-9.]+:\d+\)/(\S+)`).FindAllStringSubmatch(console, -1) {
		seen[m[2]] = m[1]
	}
	delete(want, "mboot.efi")
	for _, loader := range []string{"crypto64.efi", "mboot.c32"} { // which boot.cfg does not name
		if want[loader] == "" {
			t.Errorf("%s is missing", loader)
		}
		delete(want, loader)
	}
	compareSums(t, want, seen, console)
}

// namedByBootCfg lists what a boot loader would ask for.
func namedByBootCfg(t *testing.T, file, prefix string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"boot.cfg": true}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "prefix":
			if value != prefix {
				t.Errorf("prefix=%s", value)
			}
		case "kernel", "modules":
			for name := range strings.SplitSeq(value, " --- ") {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
