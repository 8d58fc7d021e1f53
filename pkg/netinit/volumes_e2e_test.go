//go:build e2e

package netinit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"
)

// The library that this program and others write config drives with, read by
// the Python that runs in the installer.
func TestForeignConfigDrive(t *testing.T) {
	files := map[string]string{
		"openstack/latest/meta_data.json":    `{"hostname": "h1"}`,
		"openstack/latest/network_data.json": "{}",
		"openstack/latest/user_data":         strings.Repeat("#!/bin/sh\n", 5000),
		"openstack/latest/vendor_data2.json": "",
		"openstack/content/0000":             "x",
	}
	for i := range 100 { // a folder of more than one sector
		files[fmt.Sprintf("openstack/content/%04d", i+1)] = fmt.Sprint(i)
	}
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Cleanup(); err != nil {
			t.Error(err)
		}
	}()
	for name, text := range files {
		if err := w.AddFile(strings.NewReader(text), name); err != nil {
			t.Fatal(err)
		}
	}
	var image bytes.Buffer
	if err := w.WriteTo(&image, "config-2"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "image"), image.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	const program = `
import sys
sys.path.insert(0, "files")
from esxi_netinit import finder, isofs, rawdev
with rawdev.Device(sys.argv[1]) as device:
    tree, kind = finder.open_volume(device)
    print(kind, tree.labels)
    for path, data in sorted(finder.collect(None, tree, kind, "test").items()):
        print(path, len(data), data[:1])
`
	for _, python := range pythons(t) {
		out, code := run(t, []string{"PYTHONDONTWRITEBYTECODE=1"}, "", python, "-c", program, filepath.Join(dir, "image"))
		if code != 0 || !strings.HasPrefix(out, "openstack ['config-2']\n") {
			t.Fatal(code, out)
		}
		for name, text := range files {
			want := fmt.Sprintf("%s %d b%q\n", name, len(text), text[:min(1, len(text))])
			if !strings.Contains(strings.ReplaceAll(out, "'", `"`), want) {
				t.Errorf("%s: %q is missing from\n%s", python, want, out)
			}
		}
	}
}
