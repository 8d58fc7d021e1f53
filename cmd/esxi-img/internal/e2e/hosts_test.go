//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// bootMAC is that of the machine that starts over the network.
const bootMAC = "52:54:00:12:34:56"

// hostList writes a list of three hosts, the second of which has that MAC.
func hostList(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts.yaml")
	text := "version: 1\ndefaults: {hostname: \"{name}.example.com\", installDisk: smallest}\nhosts:\n" +
		"  - {name: esx1, mac: 00:25:b5:00:00:01}\n" +
		"  - {name: esx2, mac: [\"" + strings.ToUpper(bootMAC) + "\", 00:25:b5:00:00:02], serialConsole: true}\n" +
		"  - {name: esx3, mac: 00:25:b5:00:00:03}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHostsOverlays lets QEMU judge overlays, read the disks of which they are a
// part, and boot from one.
func TestHostsOverlays(t *testing.T) {
	iso := plain.iso(t, small, grub(t))
	raw := build(t, iso)
	list := hostList(t)
	want := t.TempDir()
	run(t, program, "customize", raw, "--hosts", list, "--output", want, "--quiet")
	for name, args := range map[string][]string{
		"image": {"--backing"}, "raw": {"--backing-file", "DIR/base.img"}, "qcow2": {"--backing-file", "DIR/base.qcow2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(filepath.Dir(raw), name)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "DIR", dir)
			}
			run(t, program, append([]string{"customize", raw, "--hosts", list, "--output", dir, "--format", "qcow2", "--quiet"}, args...)...)
			if name != "image" { // together they can go elsewhere
				moved := filepath.Join(t.TempDir(), "moved")
				run(t, "mv", dir, moved)
				dir = moved
			}
			for _, host := range []string{"esx1", "esx2", "esx3"} {
				path := filepath.Join(dir, host+".qcow2")
				if out := run(t, "qemu-img", "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
					t.Errorf("qemu-img check %s:\n%s", path, out)
				}
				run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", filepath.Join(want, host+".img"), path)
			}
			img := judgeTable(t, filepath.Join(want, "esx2.img"), 512)
			bootFrom(t, iso, img, filepath.Join(dir, "esx2.qcow2"), buses[1], bootTimeout)
		})
	}
}

// TestHostsNetboot starts a machine over the network that looks for its files as
// VMware's boot loader does: by its MAC address, then by the prefix.
func TestHostsNetboot(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "netboot")
	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer server.Close()
	port := server.URL[strings.LastIndex(server.URL, ":")+1:]
	prefix := "http://10.0.2.2:" + port
	raw := build(t, plain.iso(t, small, ""))
	run(t, program, "customize", raw, "--hosts", hostList(t), "--output", folder, "--format", "netboot", "--prefix", prefix, "--quiet")

	own := "01-" + strings.ReplaceAll(bootMAC, ":", "-")
	want := hashes(t, folder)
	wanted := map[string]string{}
	names := namedByBootCfg(t, filepath.Join(folder, own, "boot.cfg"), prefix)
	for i, name := range names {
		if name == "boot.cfg" {
			names[i] = "$mac/boot.cfg"
			name = own + "/boot.cfg"
		}
		wanted[name] = want[name]
		if want[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	if wanted[own+"/esxiks.tgz"] == "" {
		t.Errorf("boot.cfg names no kickstart of the host's: %v", names)
	}
	loader := filepath.Join(dir, "grub.efi")
	// $mac in the names is the folder of the card that it was started from.
	pair := "([0-9a-f][0-9a-f])"
	grubOverHTTP(t, loader, port, names,
		"regexp -s 1:a -s 2:b -s 3:c -s 4:d -s 5:e -s 6:f '"+strings.Repeat(pair+":", 5)+pair+"' $net_default_mac", "set mac=01-$a-$b-$c-$d-$e-$f")
	run(t, "cp", loader, filepath.Join(folder, "mboot.efi"))
	console := boot(t, "/dev/null", "E2E-END", bootTimeout,
		"-device", "virtio-net-pci,netdev=net,bootindex=0,romfile=,mac="+bootMAC, "-device", "virtio-rng-pci",
		"-netdev", "user,id=net,tftp="+folder+",bootfile=mboot.efi")
	seen := map[string]string{}
	for _, m := range regexp.MustCompile(`([0-9a-f]{64})\s+\(http,[0-9.]+:\d+\)/(\S+)`).FindAllStringSubmatch(console, -1) {
		seen[m[2]] = m[1]
	}
	compareSums(t, wanted, seen, console)
}
