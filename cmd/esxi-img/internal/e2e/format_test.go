//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// formatOf is QEMU's name for the format of a file that is named for it.
func formatOf(path string) string {
	switch ext := filepath.Ext(path); ext {
	case ".qcow2", ".vmdk":
		return ext[1:]
	default:
		return "raw"
	}
}

// formats are those besides raw, and what qemu-img says of a file of each.
var formats = map[string]string{"qcow2": `"compat": "1.1"`, "vmdk": `"create-type": "streamOptimized"`}

// TestFormats lets QEMU judge each format: the file is sound, the disk in it is
// the raw one, and it takes no more room than what QEMU makes itself.
func TestFormats(t *testing.T) {
	for _, c := range []struct {
		size   size
		sector int64
	}{{small, 512}, {small, 4096}, {full, 512}} {
		t.Run(fmt.Sprintf("%s/%d", c.size, c.sector), func(t *testing.T) {
			iso := plain.iso(t, c.size, "")
			raw := build(t, iso, "--sector-size", fmt.Sprint(c.sector))
			for format, says := range formats {
				judgeFormat(t, raw, buildFormat(t, iso, format, c.sector), says)
			}
		})
	}
}

func buildFormat(t *testing.T, iso, format string, sector int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "esxi."+format)
	run(t, program, "build", iso, "--output", path, "--format", format, "--sector-size", fmt.Sprint(sector), "--quiet")
	return path
}

// judgeFormat holds a file against the raw image that it has to hold.
func judgeFormat(t *testing.T, raw, path, says string) {
	t.Helper()
	format := formatOf(path)
	if out := run(t, "qemu-img", "check", "-f", format, path); !strings.Contains(out, "No errors were found") {
		t.Errorf("qemu-img check %s:\n%s", path, out)
	}
	var info struct {
		Format string `json:"format"`
		Size   int64  `json:"virtual-size"`
	}
	text := run(t, "qemu-img", "info", "--output=json", path)
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(raw)
	if err != nil {
		t.Fatal(err)
	}
	if info.Format != format || info.Size != stat.Size() || !strings.Contains(text, says) {
		t.Errorf("qemu-img info of a disk of %d bytes:\n%s", stat.Size(), text)
	}
	run(t, "qemu-img", "compare", "-f", "raw", "-F", format, raw, path)
	back := filepath.Join(t.TempDir(), "back.img")
	run(t, "qemu-img", "convert", "-f", format, "-O", "raw", path, back)
	want, errWant := hashFile(raw)
	got, errGot := hashFile(back)
	if errWant != nil || errGot != nil || got != want {
		t.Errorf("%s gives the disk %s, want %s (%v, %v)", path, got, want, errGot, errWant)
	}
	// QEMU leaves out what is zero, too.
	theirs := filepath.Join(t.TempDir(), "theirs.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, theirs)
	a, errA := os.Stat(path)
	b, errB := os.Stat(theirs)
	if errA != nil || errB != nil || a.Size() > b.Size()+b.Size()/50 {
		t.Errorf("%s has %d bytes, QEMU's has %d (%v, %v)", path, a.Size(), b.Size(), errA, errB)
	}
}

// TestFormatsBoot boots from a file of each format, and lets GRUB's FAT driver
// read every file of it.
func TestFormatsBoot(t *testing.T) {
	iso := plain.iso(t, small, grub(t))
	img := judgeTable(t, build(t, iso), 512)
	for format := range formats {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			bootFrom(t, iso, img, buildFormat(t, iso, format, 512), buses[1], bootTimeout)
		})
	}
}
