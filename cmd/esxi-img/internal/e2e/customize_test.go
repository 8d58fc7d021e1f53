//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestCustomized lets foreign programs judge images that were customised: in
// place, and on a volume that had to grow.
func TestCustomized(t *testing.T) {
	iso := plain.iso(t, small, "")
	drive := filepath.Join(t.TempDir(), "drive")
	for name, size := range map[string]int{"latest/meta_data.json": 0, "content/0000": 30 << 20, "content/0001": 20 << 20} {
		path := filepath.Join(drive, "openstack", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		data := append([]byte("{}"), make([]byte, size)...)
		if err := os.WriteFile(path, data[:max(size, 2)], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, sector := range []int64{512, 4096} {
		for name, args := range map[string][]string{
			"in place": {"--hostname", "esx1", "--kernelopt", "a=b"},
			"grown":    {"--config-drive", drive},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, sector), func(t *testing.T) {
				path := build(t, iso, "--sector-size", strconv.FormatInt(sector, 10), "--headroom", "0")
				want := hashes(t, judgeTable(t, path, sector).read(t))
				run(t, program, append([]string{"customize", path, "--quiet"}, args...)...)
				img := judgeTable(t, path, sector)
				img.judgeVolume(t)
				got := hashes(t, img.read(t))
				changed := map[string]bool{}
				for file := range maps.Keys(got) {
					if got[file] != want[file] {
						changed[filepath.Base(file)] = true
					}
				}
				if len(got) != len(want) || !changed["esxiks.tgz"] || len(changed) > 2 || len(changed) == 2 && !changed["boot.cfg"] {
					t.Errorf("%d files of %d; changed: %v", len(got), len(want), changed)
				}
			})
		}
	}
}

// TestCustomizedPartition lets foreign programs judge a config drive on a
// partition of its own: they see it by its label, and read from it what went in.
func TestCustomizedPartition(t *testing.T) {
	iso := plain.iso(t, small, "")
	drive := filepath.Join(hosts, "customized", "drive")
	for _, sector := range []int64{512, 4096} {
		t.Run(strconv.FormatInt(sector, 10), func(t *testing.T) {
			path := build(t, iso, "--sector-size", strconv.FormatInt(sector, 10))
			run(t, program, "customize", path, "--quiet", "--config-drive", drive, "--config-drive-as", "partition")
			img := judgeTables(t, path, sector, 2)
			img.judgeVolume(t)
			offset := img.offset + img.length
			volume := filepath.Join(t.TempDir(), "drive.iso")
			run(t, "dd", "if="+path, "of="+volume, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
				fmt.Sprintf("skip=%d", offset), fmt.Sprintf("count=%d", 64<<20))
			if label := strings.TrimSpace(run(t, "blkid", "-p", "-s", "LABEL", "-o", "value", volume)); label != "config-2" {
				t.Errorf("blkid: label %q", label)
			}
			if out := run(t, "xorriso", "-indev", volume, "-check_media", "--"); !strings.Contains(out, "+ good") || strings.Contains(out, "- unreadable") {
				t.Errorf("xorriso -check_media: %s", out)
			}
			got := filepath.Join(t.TempDir(), "drive")
			run(t, "xorriso", "-report_about", "WARNING", "-osirrox", "on:auto_chmod_on", "-indev", volume, "-extract", "/", got)
			want := hashes(t, filepath.Join(drive, "openstack", "latest"))
			for name, sum := range hashes(t, filepath.Join(got, "openstack", "latest")) {
				if want[name] != sum {
					t.Errorf("%s is another one", name)
				}
				delete(want, name)
			}
			if len(want) > 0 {
				t.Errorf("missing: %v", want)
			}
			// Without it again, the image has no second partition.
			run(t, program, "customize", path, "--quiet", "--config-drive-as", "module")
			judgeTable(t, path, sector).judgeVolume(t)
		})
	}
}
