//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// image is a built disk image and where foreign programs find its volume.
type image struct {
	path   string
	sector int64 // bytes
	offset int64 // of the volume, bytes
	length int64 // of the volume, bytes
}

// judgeTable lets sgdisk or fdisk find fault with the partition table, and
// returns where they see the volume. sgdisk takes every file for a disk of
// 512-byte sectors; fdisk can be told otherwise.
func judgeTable(t *testing.T, path string, sector int64) image {
	t.Helper()
	return judgeTables(t, path, sector, 1)
}

// judgeTables is judgeTable for a disk of so many partitions.
func judgeTables(t *testing.T, path string, sector int64, partitions int) image {
	t.Helper()
	img := image{path: path, sector: sector}
	var first, last int64
	if sector == 512 {
		out := run(t, "sgdisk", "-v", path)
		if !strings.Contains(out, "No problems found.") || strings.Contains(out, "Warning") {
			t.Errorf("sgdisk -v:\n%s", out)
		}
		info := run(t, "sgdisk", "-i", "1", path)
		first, last = number(t, info, `First sector: (\d+)`), number(t, info, `Last sector: (\d+)`)
		if n := strings.Count(run(t, "sgdisk", "-p", path), "\n   "); n != partitions {
			t.Errorf("sgdisk sees %d partitions, want %d", n, partitions)
		}
		if !strings.Contains(info, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B") {
			t.Errorf("partition 1 is no EFI system partition:\n%s", info)
		}
	} else {
		b := strconv.FormatInt(sector, 10)
		out := runInput(t, "v\nq\n", "fdisk", "-b", b, path)
		// A broken backup is not among its "errors", but it says so first.
		if !strings.Contains(out, "No errors detected.") || !strings.Contains(out, fmt.Sprintf("Using %d out of 128 partitions.", partitions)) ||
			strings.Contains(out, "corrupt") || strings.Contains(out, "mismatch") {
			t.Errorf("fdisk -b %s, command v:\n%s", b, out)
		}
		list := run(t, "fdisk", "-b", b, "-o", "Start,End,Type", "-l", path)
		line := regexp.MustCompile(`(?m)^\s*(\d+)\s+(\d+)\s+EFI System$`).FindStringSubmatch(list)
		if line == nil {
			t.Fatalf("fdisk sees no EFI system partition:\n%s", list)
		}
		first, _ = strconv.ParseInt(line[1], 10, 64)
		last, _ = strconv.ParseInt(line[2], 10, 64)
	}
	img.offset, img.length = first*sector, (last-first+1)*sector
	if img.offset%(1<<20) != 0 {
		t.Errorf("the partition starts at byte %d, not on a MiB", img.offset)
	}
	return img
}

func number(t *testing.T, text, pattern string) int64 {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in:\n%s", pattern, text)
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// judgeVolume lets fsck.vfat find fault with the file system.
func (img image) judgeVolume(t *testing.T) {
	t.Helper()
	volume := filepath.Join(t.TempDir(), "volume.fat")
	run(t, "dd", "if="+img.path, "of="+volume, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
		fmt.Sprintf("skip=%d", img.offset), fmt.Sprintf("count=%d", img.length))
	out := run(t, "fsck.vfat", "-n", "-v", volume)
	for _, fault := range []string{"Warning", "wrong", "differences", "dirty", "Bad", "bad"} {
		if strings.Contains(out, fault) {
			t.Errorf("fsck.vfat -n -v exits 0 but says %q:\n%s", fault, out)
		}
	}
	if err := os.Remove(volume); err != nil {
		t.Error(err)
	}
}

// read takes all files off the volume with mtools.
func (img image) read(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "read")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-s", "-n", "-i", fmt.Sprintf("%s@@%d", img.path, img.offset), "::/*", dir+"/")
	return dir
}

// compare says in what the files on the volume differ from those on the
// medium. Only boot.cfg may, in two lines; files that the medium lacks must be
// modules that boot.cfg loads.
func compare(t *testing.T, onISO, onVolume string) {
	t.Helper()
	want, got := hashes(t, onISO), hashes(t, onVolume)
	modules := map[string]bool{}
	for path, sum := range want {
		switch {
		case got[path] == "":
			t.Errorf("%s is on the medium, not on the volume", path)
		case filepath.Base(path) == "boot.cfg":
			for _, m := range compareBootCfg(t, path, find(t, onISO, path), find(t, onVolume, path)) {
				modules[m] = true
			}
		case got[path] != sum:
			t.Errorf("%s differs: %s on the medium, %s on the volume", path, sum, got[path])
		}
	}
	added := 0
	for path := range got {
		if want[path] != "" {
			continue
		}
		added++
		if !modules["/"+path] && !modules[path] {
			t.Errorf("%s is only on the volume, and no boot.cfg loads it", path)
		}
	}
	if added == 0 || added != len(modules) {
		t.Errorf("%d files added, boot.cfg loads %d more modules: %v", added, len(modules), modules)
	}
}

// compareBootCfg returns the modules that the edited one loads in addition, in
// lower case.
func compareBootCfg(t *testing.T, path, before, after string) (added []string) {
	t.Helper()
	old, edited := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	if len(old) != len(edited) {
		t.Errorf("%s has %d lines, had %d", path, len(edited), len(old))
		return nil
	}
	for i := range old {
		switch {
		case strings.HasPrefix(old[i], "modules="):
			rest, ok := strings.CutPrefix(strings.TrimSpace(edited[i]), strings.TrimSpace(old[i]))
			if !ok {
				t.Errorf("%s: the modules no longer begin with those of the medium:\n%s", path, edited[i])
			}
			added = strings.Fields(strings.ToLower(strings.ReplaceAll(rest, " --- ", " ")))
		case strings.HasPrefix(old[i], "kernelopt="):
			if !strings.Contains(edited[i], "cdromBoot") || !strings.Contains(edited[i], "ks=") {
				t.Errorf("%s: %s", path, edited[i])
			}
		case old[i] != edited[i]:
			t.Errorf("%s line %d: %q became %q", path, i+1, old[i], edited[i])
		}
	}
	return added
}

// find reads the file of that path, whatever its case.
func find(t *testing.T, dir, path string) string {
	t.Helper()
	for _, element := range strings.Split(path, "/") {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.EqualFold(e.Name(), element) {
				dir = filepath.Join(dir, e.Name())
				break
			}
		}
	}
	text, err := os.ReadFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
