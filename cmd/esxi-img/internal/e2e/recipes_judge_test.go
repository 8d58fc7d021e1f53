//go:build e2e && linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// volumeStart is where the volume begins on every disk of ours, in bytes.
const volumeStart = 1 << 20

// starts boots from a file or device that holds a disk of ours, and holds what
// GRUB reads of it against what mtools reads of the raw disk.
func (s *site) starts(t *testing.T, raw, disk string, args ...string) {
	t.Helper()
	if len(args) == 0 {
		args = buses[0].args
	}
	bootFrom(t, s.medium, image{path: raw, sector: 512, offset: volumeStart}, disk, bus{args: args}, bootTimeout)
}

// rawOf turns a disk of another format into a raw one, which QEMU does.
func rawOf(t *testing.T, path string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw.img")
	run(t, "qemu-img", "convert", "-f", formatOf(path), "-O", "raw", path, raw)
	return raw
}

func judgeIronic(t *testing.T, s *site, output string) {
	if !strings.Contains(output, "nothing to mend\n") {
		t.Errorf("metadata validate finds something in the config drive:\n%s", output)
	}
	var sources []string
	for _, c := range s.callsOf(t, "baremetal") {
		switch c[2] {
		case "set":
			if c.value(t, "capabilities=") != "boot_mode:uefi" {
				t.Errorf("%q", c)
			}
			source := c.value(t, "image_source=")
			disk := filepath.Join(t.TempDir(), "disk")
			if strings.HasPrefix(source, "oci://") {
				ironicFromRegistry(t, s, source, disk)
			} else {
				if c.value(t, "image_disk_format=") != "raw" || c.value(t, "image_os_hash_algo=") != "sha256" {
					t.Errorf("%q", c)
				}
				ironicFromWeb(t, source, c.value(t, "image_os_hash_value="), disk)
			}
			s.starts(t, disk, disk)
			sources = append(sources, source)
		case "deploy":
			for _, name := range []string{"meta_data.json", "network_data.json"} {
				if _, err := os.Stat(filepath.Join(s.dir, c[len(c)-1], "openstack", "latest", name)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if len(sources) != 2 {
		t.Errorf("images %q", sources)
	}
}

// decode reads the last document of a YAML file; what the type does not know
// is an error where it is to be strict.
func decode(t *testing.T, path string, into any, strict bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(text), "\n---\n")
	d := yaml.NewDecoder(strings.NewReader(documents[len(documents)-1]))
	d.KnownFields(strict)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// bareMetalHost is what of the resource has to do with the image.
type bareMetalHost struct {
	Spec struct {
		BootMode string `yaml:"bootMode"`
		Image    metalImage
	}
}

// metalImage are the members that the resource definition has.
type metalImage struct {
	URL          string
	Format       string
	Checksum     string
	ChecksumType string `yaml:"checksumType"`
	OCIAuth      string `yaml:"ociAuthSecretName"`
}

func judgeMetal3(t *testing.T, s *site, _ string) {
	kinds := map[string]int{}
	for _, c := range s.callsOf(t, "kubectl") {
		var host bareMetalHost
		decode(t, filepath.Join(s.dir, c[len(c)-1]), &host, false)
		img, disk := host.Spec.Image, filepath.Join(t.TempDir(), "disk")
		kinds[img.Format]++
		switch {
		case strings.HasPrefix(img.URL, "oci://"): // webhook: no checksum then
			if img.Checksum != "" || host.Spec.BootMode != "UEFI" {
				t.Errorf("%+v", host)
			}
			ironicFromRegistry(t, s, img.URL, disk)
			s.starts(t, disk, disk)
		case img.Format == "live-iso":
			if img.Checksum != "" {
				t.Errorf("%+v", img)
			}
			fetch(t, img.URL, disk)
			bootCD(t, disk, cdOnUSB)
		default:
			if img.ChecksumType != "sha256" {
				t.Errorf("%+v", img)
			}
			ironicFromWeb(t, img.URL, img.Checksum, disk)
			s.starts(t, disk, disk)
		}
	}
	if kinds[""] != 1 || kinds["raw"] != 1 || kinds["live-iso"] != 1 {
		t.Errorf("formats %v", kinds)
	}
}

// judgeMAAS does with the upload what MAAS and curtin do: its file type becomes
// the type of a source, which a pipe of zcat and dd writes to the disk; then the
// partition with a folder curtin is looked for.
func judgeMAAS(t *testing.T, s *site, _ string) {
	calls := s.callsOf(t, "maas")
	create := calls[0]
	if create.value(t, "filetype=") != "ddgz" || create.value(t, "architecture=") != "amd64/generic" || create.value(t, "base_image=") == "" {
		t.Errorf("%q", create)
	}
	name, ok := strings.CutPrefix(create.value(t, "name="), "custom/")
	if !ok || calls[1].value(t, "osystem=") != "custom" || calls[1].value(t, "distro_series=") != name {
		t.Errorf("%q", calls)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	run(t, "truncate", "-s", "1G", disk)
	run(t, "sh", "-c", `cat "$1" | zcat | dd bs=4M conv=notrunc status=none of="$2"`, "--", filepath.Join(s.dir, create.value(t, "content@=")), disk)
	hook := filepath.Join(t.TempDir(), "curtin-hooks")
	run(t, "mcopy", "-i", disk+"@@1M", "::/curtin/curtin-hooks", hook)
	run(t, "sh", hook)
	image{path: filepath.Join(s.dir, "esxi.img"), sector: 512, offset: volumeStart, length: number(t, run(t, "sgdisk", "-i", "1", filepath.Join(s.dir, "esxi.img")), `Partition size: (\d+)`) * 512}.judgeVolume(t)
	s.starts(t, filepath.Join(s.dir, "esxi.img"), disk)
	run(t, program, "inspect", filepath.Join(s.dir, "esxi.img")) // is still one of ours
}

// judgeTinkerbell reads the template as Tinkerbell does, a workflow within a
// resource, and does what its first action says.
func judgeTinkerbell(t *testing.T, s *site, _ string) {
	var template struct{ Spec struct{ Data string } }
	decode(t, filepath.Join(s.dir, s.callsOf(t, "kubectl")[0][3]), &template, false)
	var workflow struct {
		Version, Name string
		GlobalTimeout int `yaml:"global_timeout"`
		Tasks         []struct {
			Name, Worker string
			Volumes      []string
			Actions      []struct {
				Name, Image, Pid string
				Timeout          int
				Command, Volumes []string
				Environment      map[string]string
			}
		}
	}
	d := yaml.NewDecoder(strings.NewReader(template.Spec.Data))
	d.KnownFields(true)
	if err := d.Decode(&workflow); err != nil {
		t.Fatal(err)
	}
	write := workflow.Tasks[0].Actions[0]
	if !strings.Contains(write.Image, "/image2disk:") || !strings.HasPrefix(write.Environment["DEST_DISK"], "/dev/") {
		t.Fatalf("%+v", write)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	imageToDisk(t, write.Environment, disk)
	s.starts(t, filepath.Join(s.dir, "esxi.img"), disk)
}

func judgeRedfish(t *testing.T, s *site, _ string) {
	started, inserted := s.bmc.started()
	if started == "" || inserted {
		t.Fatalf("started from %q, the medium is still there: %v", started, inserted)
	}
	bootCD(t, started, cdOnUSB)
	bootCD(t, filepath.Join(www, "esxi.iso"), cdOnUSB)
}

// cdOnUSB is how a controller shows a medium.
var cdOnUSB = []string{"-device", "qemu-xhci", "-device", "usb-storage,drive=disk,removable=on"}

// judgeWorkstation reads the machine's file as the products do, a name a line.
func judgeWorkstation(t *testing.T, s *site, _ string) {
	vmx := filepath.Join(s.dir, s.callsOf(t, "vmrun")[0][4])
	text, err := os.ReadFile(vmx)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]string{}
	for line := range strings.Lines(string(text)) {
		m := regexp.MustCompile(`^([A-Za-z0-9.:]+) = "([^"]*)"\n$`).FindStringSubmatch(line)
		if len(m) == 0 || set[m[1]] != "" {
			t.Errorf("%s: %q", vmx, line)
			continue
		}
		set[m[1]] = m[2]
	}
	vmdk := filepath.Join(filepath.Dir(vmx), set["sata0:0.fileName"])
	if grown := filepath.Join(s.dir, s.callsOf(t, "vmware-vdiskmanager")[0][3]); grown != vmdk || set["firmware"] != "efi" {
		t.Errorf("%s is made larger, %v", grown, set)
	}
	if info := run(t, "qemu-img", "info", "--output=json", vmdk); !strings.Contains(info, `"create-type": "monolithicSparse"`) {
		t.Errorf("qemu-img info:\n%s", info)
	}
	s.starts(t, rawOf(t, vmdk), vmdk)
}

// judgeNested reads the console of the machine that the recipe started itself.
func judgeNested(t *testing.T, s *site, output string) {
	disk := filepath.Join(s.dir, "esx1.qcow2")
	seen := map[string]string{}
	for _, m := range regexp.MustCompile(`([0-9a-f]{64})\s+\(hd\d,gpt1\)/(\S+)`).FindAllStringSubmatch(output, -1) {
		seen[strings.ToLower(m[2])] = m[1]
	}
	raw := image{path: rawOf(t, disk), sector: 512, offset: volumeStart}
	compareSums(t, expected(t, s.medium, raw), seen, output)
	if out := run(t, "qemu-img", "check", disk); !strings.Contains(out, "No errors were found") {
		t.Errorf("qemu-img check:\n%s", out)
	}
	overlay := filepath.Join(s.dir, "lab", "esx11.qcow2")
	if out := run(t, "qemu-img", "check", overlay); !strings.Contains(out, "No errors were found") {
		t.Errorf("qemu-img check:\n%s", out)
	}
	s.starts(t, rawOf(t, overlay), overlay)
	if path, _, _ := strings.Cut(s.callsOf(t, "virt-install")[0].value(t, "path="), ","); path != disk {
		t.Errorf("libvirt takes %s", path)
	}
	vmdk := filepath.Join(s.dir, s.callsOf(t, "govc")[0][2])
	if info := run(t, "qemu-img", "info", "--output=json", vmdk); !strings.Contains(info, `"create-type": "streamOptimized"`) {
		t.Errorf("qemu-img info:\n%s", info)
	}
	s.starts(t, rawOf(t, vmdk), vmdk)
}

func judgeStick(t *testing.T, s *site, output string) {
	if !strings.Contains(output, "verified") {
		t.Errorf("nothing was verified:\n%s", output)
	}
	s.starts(t, s.stick, s.stick, "-device", "qemu-xhci", "-device", "usb-storage,drive=disk")
}

// judgeNetboot starts machines in the network that dnsmasq serves: by PXE, by
// iPXE, and, where the firmware is told to leave that out, by HTTP. There GRUB
// reads every file, too.
func judgeNetboot(t *testing.T, _ *site, _ string) {
	defer stopDaemon(t, "/run/dnsmasq.pid")
	const begin, url = "E2E-BEGIN ", "http://" + webAddress + "/esxi"
	if text := bootNetwork(t, begin, ""); !strings.Contains(text, "NBP filename is mboot.efi") {
		t.Errorf("was not started by PXE:\n%s", text)
	}
	if text := bootNetwork(t, begin, "/usr/lib/ipxe/qemu/efi-virtio.rom"); !strings.Contains(text, url+"/mboot.efi... ok") {
		t.Errorf("was not started by iPXE:\n%s", text)
	}
	text := bootNetwork(t, "E2E-END", "", "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n", "-fw_cfg", "name=opt/org.tianocore/IPv6Support,string=n")
	if !strings.Contains(text, "URI: "+url+"/mboot.efi") {
		t.Errorf("was not started by HTTP:\n%s", text)
	}
	folder := filepath.Join(www, "esxi")
	sums, want, seen := hashes(t, folder), map[string]string{}, map[string]string{}
	for _, name := range namedByBootCfg(t, filepath.Join(folder, ownFolder, "boot.cfg"), url) {
		if name == "boot.cfg" {
			name = ownFolder + "/" + name
		}
		want[name] = sums[name]
	}
	if want[ownFolder+"/esxiks.tgz"] == "" || len(want) < 100 {
		t.Errorf("the host's boot.cfg names %d files, none of its own", len(want))
	}
	for _, m := range regexp.MustCompile(`([0-9a-f]{64})\s+\(http,[0-9.]+\)/esxi/(\S+)`).FindAllStringSubmatch(text, -1) {
		if want[m[2]] != "" { // GRUB reads the boot.cfg for hosts on no list, too
			seen[m[2]] = m[1]
		}
	}
	compareSums(t, want, seen, text)
}

// bootNetwork starts a machine without a disk on eth1.
func bootNetwork(t *testing.T, lastWord, rom string, args ...string) string {
	t.Helper()
	return boot(t, "/dev/null", lastWord, bootTimeout, append([]string{
		"-device", "virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,romfile=" + rom, "-device", "virtio-rng-pci",
		"-netdev", "tap,id=net,ifname=eth1,script=no,downscript=no",
	}, args...)...)
}
