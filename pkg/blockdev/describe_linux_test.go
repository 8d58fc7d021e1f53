package blockdev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// machine is a system made of files.
type machine struct {
	*system
	t     *testing.T
	nodes map[string]uint64
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{t: t, nodes: map[string]uint64{}}
	m.system = &system{
		dev: filepath.Join(root, "dev"), sys: filepath.Join(root, "sys"),
		proc: filepath.Join(root, "proc"), run: filepath.Join(root, "run"),
		node: func(path string) (uint64, error) {
			if dev, ok := m.nodes[path]; ok {
				return dev, nil
			}
			return 0, ErrNotDevice
		},
	}
	m.write("proc/self/mountinfo", "22 27 0:21 / /proc rw,relatime - proc proc rw\n")
	m.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
	return m
}

func (m *machine) root() string { return filepath.Dir(m.dev) }

func (m *machine) write(name, content string) {
	m.t.Helper()
	path := filepath.Join(m.root(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// add makes a device: its node and, at dir under /sys/devices, its attributes.
func (m *machine) add(name, dir string, major, minor uint32, attributes map[string]string) {
	m.t.Helper()
	dev := unix.Mkdev(major, minor)
	for file, content := range attributes {
		m.write("sys/devices/"+dir+"/"+file, content)
	}
	m.write("sys/devices/"+dir+"/dev", number(dev)+"\n")
	link := filepath.Join(m.sys, "dev", "block", number(dev))
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink("../../devices/"+dir, link); err != nil {
		m.t.Fatal(err)
	}
	m.write("dev/"+name, "")
	m.nodes[filepath.Join(m.dev, name)] = dev
}

func disk0(more map[string]string) map[string]string {
	all := map[string]string{
		"size": "4194304\n", "ro": "0\n",
		"queue/logical_block_size": "512\n", "queue/physical_block_size": "4096\n",
	}
	for k, v := range more {
		all[k] = v
	}
	return all
}

func TestDescribe(t *testing.T) {
	m := newMachine(t)
	m.add("sda", "pci/host0/block/sda", 8, 0, disk0(map[string]string{
		"device/model": "SAMSUNG MZ7LH480\n", "device/wwid": "naa.5002538e40a1b2c3\n",
		"device/vpd_pg80":       "\x00\x80\x00\x14      S45RNC0R123456\x00\x00",
		"holders/dm-0/dm/name":  "vg0-root\n",
		"sda2/holders/md0/size": "1\n",
	}))
	m.add("sda1", "pci/host0/block/sda/sda1", 8, 1, map[string]string{"partition": "1\n", "size": "2048\n", "ro": "0\n"})
	m.add("sda2", "pci/host0/block/sda/sda2", 8, 2, map[string]string{"partition": "2\n", "size": "2048\n", "ro": "0\n"})
	m.add("nvme0n1", "pci/nvme/nvme0/nvme0n1", 259, 0, disk0(map[string]string{
		"size": "1953125\n", "queue/logical_block_size": "4096\n",
		"device/model": "KXG60ZNV1T02 TOSHIBA                    \n", "device/serial": "  X9AS1\x00\x00", "wwid": "eui.8ce38e0500a1b2c3\n",
	}))
	m.add("vda", "virtio/block/vda", 254, 0, disk0(map[string]string{"serial": "e2e", "ro": "1\n"}))
	m.add("sdb", "usb/block/sdb", 8, 16, disk0(map[string]string{"device/model": "evil\x1b[2J\xff\nname", "device/vpd_pg80": "\x00\x80\xff\xffshort"}))
	m.add("sdc", "raid/block/sdc", 8, 32, disk0(map[string]string{"device/vpd_pg80": "?"}))
	m.write("run/udev/data/b8:32", "S:disk/by-id/x\nE:ID_MODEL=PERC_H740P\nE:ID_SERIAL=long\nE:ID_SERIAL_SHORT=64cd98f0\nE:ID_WWN=0x64cd98f0\n")

	for _, c := range []struct {
		path string
		want Info
	}{
		{"sda", Info{
			Kernel: "sda", Size: 2 << 30, SectorSize: 512, PhysicalSectorSize: 4096,
			Model: "SAMSUNG MZ7LH480", Serial: "S45RNC0R123456", WWN: "naa.5002538e40a1b2c3", Holders: []string{"dm-0 (vg0-root)", "md0"},
		}},
		{"sda1", Info{
			Kernel: "sda1", Size: 1 << 20, SectorSize: 512, PhysicalSectorSize: 4096, Partition: true, Whole: filepath.Join(m.dev, "sda"),
			Model: "SAMSUNG MZ7LH480", Serial: "S45RNC0R123456", WWN: "naa.5002538e40a1b2c3",
		}},
		{"nvme0n1", Info{
			Kernel: "nvme0n1", Size: 1000000000, SectorSize: 4096, PhysicalSectorSize: 4096,
			Model: "KXG60ZNV1T02 TOSHIBA", Serial: "X9AS1", WWN: "eui.8ce38e0500a1b2c3",
		}},
		{"vda", Info{Kernel: "vda", Size: 2 << 30, SectorSize: 512, PhysicalSectorSize: 4096, Serial: "e2e", ReadOnly: true}},
		{"sdb", Info{Kernel: "sdb", Size: 2 << 30, SectorSize: 512, PhysicalSectorSize: 4096, Model: "evil [2J name", Serial: "short"}},
		{"sdc", Info{
			Kernel: "sdc", Size: 2 << 30, SectorSize: 512, PhysicalSectorSize: 4096,
			Model: "PERC H740P", Serial: "64cd98f0", WWN: "0x64cd98f0",
		}},
	} {
		path := filepath.Join(m.dev, c.path)
		c.want.Path = path
		got, _, err := m.describe(path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.path, *got, c.want)
		}
	}
}

// TestUsers looks for what is mounted, by number and by source, as swap, and on
// partitions.
func TestUsers(t *testing.T) {
	m := newMachine(t)
	m.add("sda", "block/sda", 8, 0, disk0(nil))
	m.add("sda1", "block/sda/sda1", 8, 1, map[string]string{"partition": "1\n", "size": "1\n", "ro": "0\n"})
	m.add("sda2", "block/sda/sda2", 8, 2, map[string]string{"partition": "2\n", "size": "1\n", "ro": "0\n"})
	m.add("sdb", "block/sdb", 8, 16, disk0(nil))
	m.write("proc/self/mountinfo", strings.Join([]string{
		"22 27 0:21 / /proc rw,relatime - proc proc rw",
		`30 1 8:1 / /mnt/a\040b rw shared:1 master:2 - ext4 /dev/root rw`,
		"31 1 0:45 /@ /data rw - btrfs " + m.dev + "/sda2 rw",
		"32 1 0:45 /@home /home rw - btrfs " + m.dev + "/sda2 rw",
		"33 1 8:1 / /again rw - ext4 /dev/root rw",
		"34 1 8:100 / /other rw - ext4 /dev/other rw", "", "garbage", "- -", " - ",
	}, "\n"))
	m.write("proc/swaps", "Filename Type\n"+m.dev+"/sda2 partition 1 0 -2\n/swapfile file 1 0 -2\n")

	for name, want := range map[string][]string{
		"sda":  {"/mnt/a b", "/data", "/home", "/again", "swap"},
		"sda1": {"/mnt/a b", "/again"},
		"sdb":  nil,
	} {
		got, _, err := m.describe(filepath.Join(m.dev, name))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Mounts, want) {
			t.Errorf("%s: %q, want %q", name, got.Mounts, want)
		}
	}

	// Without a table of mounts nothing is known: that is not "unused".
	if err := os.Remove(filepath.Join(m.proc, "self", "mountinfo")); err != nil {
		t.Fatal(err)
	}
	if got, _, err := m.describe(filepath.Join(m.dev, "sdb")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without mountinfo: %+v, %v", got, err)
	}
}

func TestDescribeNot(t *testing.T) {
	m := newMachine(t)
	m.add("sda", "block/sda", 8, 0, disk0(nil))
	m.write("dev/null", "")
	m.write("file", "")
	m.write("made/by-hand", "")
	m.nodes[filepath.Join(m.root(), "made", "by-hand")] = unix.Mkdev(8, 0)
	m.write("dev/ghost", "")
	m.nodes[filepath.Join(m.dev, "ghost")] = unix.Mkdev(9, 9)
	for from, to := range map[string]string{"link-in": "dev/sda", "dev/link-out": "../made/by-hand"} {
		if err := os.Symlink(to, filepath.Join(m.root(), from)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]error{
		"dev/null":     ErrNotDevice,
		"file":         ErrNotDevice,
		"dev":          ErrNotDevice,
		"made/by-hand": ErrNotDevice,
		"dev/link-out": ErrNotDevice,
		"dev/sdz":      fs.ErrNotExist,
		"dev/ghost":    fs.ErrNotExist,
	} {
		_, _, err := m.describe(filepath.Join(m.root(), path))
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		var typed *Error
		if path != "dev/ghost" && (!errors.As(err, &typed) || typed.Advice == "") {
			t.Errorf("%s: no advice: %v", path, err)
		}
	}
	if _, _, err := m.describe(filepath.Join(m.root(), "link-in")); err != nil {
		t.Errorf("a link to a device: %v", err)
	}
}

func TestRefusal(t *testing.T) {
	good := Info{Path: "/dev/sda", Kernel: "sda", Size: 1 << 30, SectorSize: 512}
	with := func(change func(*Info)) Info {
		i := good
		change(&i)
		return i
	}
	for _, c := range []struct {
		info Info
		want error
		says string
	}{
		{good, nil, ""},
		{with(func(i *Info) { i.SectorSize = 4096 }), nil, ""},
		{with(func(i *Info) { i.SectorSize = 520 }), ErrSector, "520"},
		{with(func(i *Info) { i.Size = 0 }), ErrNoMedium, ""},
		{with(func(i *Info) { i.ReadOnly = true }), ErrReadOnly, ""},
		{with(func(i *Info) { i.Mounts = []string{"/", "swap"} }), ErrMounted, "/, swap"},
		{with(func(i *Info) { i.Holders = []string{"dm-0 (root)"} }), ErrHeld, "dm-0 (root)"},
		{with(func(i *Info) { i.Partition, i.Whole = true, "/dev/sd" }), ErrPartition, "is a partition"},
	} {
		err := c.info.Refusal()
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%+v: %v, want %v", c.info, err, c.want)
		}
		if err != nil && (!strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "/dev/sda: ")) {
			t.Errorf("says %q, want %q in it", err, c.says)
		}
	}
}
