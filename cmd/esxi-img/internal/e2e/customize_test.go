//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
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
