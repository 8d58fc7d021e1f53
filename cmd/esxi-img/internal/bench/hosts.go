package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// hostCount is how many hosts the figures of hosts have.
const hostCount = 100

func hostsFigures() []Figure {
	return []Figure{
		{
			Name: "100 hosts to overlays", Unit: "s",
			Ours: overlaysTime, Limit: 5,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "100 overlays, on the disk", Unit: "MiB",
			Ours: overlaysSize, Limit: 200,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "100 hosts to netboot", Unit: "s",
			Ours: netbootHostsTime, Limit: 5,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "100 netboot hosts, their own", Unit: "MiB",
			Ours: netbootHostsSize, Limit: 200,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "100 hosts, peak memory", Unit: "MiB",
			Ours: hostsMemory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
	}
}

// hosts writes a list of hosts, each with a config drive of its own, and an
// image for them, both once.
func (b *bench) hosts(ctx context.Context) (image, list string, err error) {
	dir := filepath.Join(b.dir, "hosts")
	image, list = filepath.Join(dir, "esxi.img"), filepath.Join(dir, "hosts.yaml")
	if _, err := os.Stat(image); err == nil {
		return image, list, nil
	}
	text := strings.Builder{}
	text.WriteString("version: 1\ndefaults:\n  hostname: \"{name}.example.com\"\n  configDrive: drives/{name}\n  installDisk: smallest\nhosts:\n")
	for n := range hostCount {
		name := fmt.Sprintf("esx%d", n)
		fmt.Fprintf(&text, "  - {name: %s, mac: \"00:25:b5:00:00:%02x\"}\n", name, n)
		drive := filepath.Join(dir, "drives", name, "openstack", "latest")
		if err := os.MkdirAll(drive, 0o755); err != nil {
			return "", "", err
		}
		network := fmt.Sprintf(`{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "00:25:b5:00:00:%02x"}], "networks": [{"id": "n", "link": "a", "type": "ipv4", "ip_address": "192.0.2.%d", "netmask": "255.255.255.0"}]}`, n, n+1)
		for file, data := range map[string]string{"meta_data.json": fmt.Sprintf(`{"uuid": "%d"}`, n), "network_data.json": network} {
			if err := os.WriteFile(filepath.Join(drive, file), []byte(data), 0o600); err != nil {
				return "", "", err
			}
		}
	}
	if err := os.WriteFile(list, []byte(text.String()), 0o600); err != nil {
		return "", "", err
	}
	return image, list, b.command(ctx, b.program, "build", b.iso, "--output", image, "--quiet").run()
}

// customizeHosts makes images for all of them, and hands the folder to look
// before it is deleted.
func (b *bench) customizeHosts(ctx context.Context, look func(dir string) error, args ...string) (command, error) {
	image, list, err := b.hosts(ctx)
	if err != nil {
		return command{}, err
	}
	out := filepath.Join(b.dir, "out")
	remove(out)
	defer remove(out)
	c := b.command(ctx, b.program, append([]string{"customize", image, "--hosts", list, "--output", out, "--quiet"}, args...)...)
	if err := c.run(); err != nil {
		return *c, err
	}
	return *c, look(out)
}

var (
	asOverlays = []string{"--format", "qcow2", "--backing"}
	asNetboot  = []string{"--format", "netboot", "--prefix", "http://boot.example/esxi/", "--install-disk", "smallest"}
)

func unseen(string) error { return nil }

func overlaysTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.customizeHosts(ctx, unseen, asOverlays...)
	return c.took.Seconds(), err
}

func netbootHostsTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.customizeHosts(ctx, unseen, asNetboot...)
	return c.took.Seconds(), err
}

// hostsMemory is that of the two ways which takes more.
func hostsMemory(ctx context.Context, b *bench) (float64, error) {
	overlays, err := b.customizeHosts(ctx, unseen, asOverlays...)
	if err != nil {
		return 0, err
	}
	netboot, err := b.customizeHosts(ctx, unseen, asNetboot...)
	return float64(max(overlays.maxRSS, netboot.maxRSS)) / (1 << 20), err
}

func overlaysSize(ctx context.Context, b *bench) (float64, error) {
	var size int64
	_, err := b.customizeHosts(ctx, func(dir string) (err error) {
		size, err = treeSize(dir)
		return err
	}, asOverlays...)
	return float64(size) / (1 << 20), err
}

// netbootHostsSize is what is in the hosts' own folders.
func netbootHostsSize(ctx context.Context, b *bench) (float64, error) {
	var size int64
	_, err := b.customizeHosts(ctx, func(dir string) error {
		folders, err := filepath.Glob(filepath.Join(dir, "01-*"))
		for _, f := range folders {
			own, walkErr := treeSize(f)
			if walkErr != nil {
				return walkErr
			}
			size += own
		}
		return err
	}, asNetboot...)
	return float64(size) / (1 << 20), err
}

// treeSize is how many bytes the files in a folder have.
func treeSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
