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

// diskFormat is a way in which a disk lies in a file.
type diskFormat struct {
	flags []string
	ext   string
	says  string // what qemu-img says of such a file
}

// formats are those besides raw.
var formats = map[string]diskFormat{
	"qcow2":       {[]string{"--format", "qcow2"}, "qcow2", `"compat": "1.1"`},
	"compressed":  {[]string{"--format", "qcow2", "--compress"}, "qcow2", `"compression-type": "zlib"`},
	"vmdk":        {[]string{"--format", "vmdk"}, "vmdk", `"create-type": "streamOptimized"`},
	"vmdk-sparse": {[]string{"--format", "vmdk-sparse"}, "vmdk", `"create-type": "monolithicSparse"`},
}

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
			for _, format := range formats {
				built := buildFormat(t, iso, format, c.sector)
				judgeFormat(t, raw, built, format.says)
				// Made of the raw image it is the same file.
				converted := filepath.Join(t.TempDir(), filepath.Base(built))
				run(t, program, append([]string{"customize", raw, "--output", converted, "--quiet"}, format.flags...)...)
				run(t, "cmp", built, converted)
			}
			if c.size == small {
				customizeFormats(t, raw)
			}
		})
	}
}

// customizeFormats holds an image that is customised to each format, from a raw
// image and from a compressed one, against one that is customised raw.
func customizeFormats(t *testing.T, raw string) {
	t.Helper()
	dir := t.TempDir()
	customize := func(image, name string, flags ...string) string {
		// Of the same name each time, which the record has.
		from, to := filepath.Join(dir, "image"), filepath.Join(dir, name)
		run(t, "cp", image, from)
		run(t, program, append([]string{"customize", from, "--output", to, "--hostname", "esx1.example.com", "--quiet", "--force"}, flags...)...)
		return to
	}
	packed := filepath.Join(dir, "packed.qcow2")
	run(t, program, "customize", raw, "--output", packed, "--format", "qcow2", "--compress", "--quiet")
	want := customize(raw, "want.img")
	for _, image := range []string{raw, packed} {
		for _, format := range formats {
			judgeFormat(t, want, customize(image, "esxi."+format.ext, format.flags...), format.says)
		}
	}
}

func buildFormat(t *testing.T, iso string, format diskFormat, sector int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "esxi."+format.ext)
	run(t, program, append([]string{"build", iso, "--output", path, "--sector-size", fmt.Sprint(sector), "--quiet"}, format.flags...)...)
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
	// 7-Zip knows these formats by itself, but for streams (QEMU's neither).
	if !strings.Contains(says, "streamOptimized") {
		run(t, "sh", "-c", `7z x -t"$1" -so "$2" 2>/dev/null | cmp - "$3"`, "sh", map[string]string{"qcow2": "qcow", "vmdk": "vmdk"}[format], path, raw)
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
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bootFrom(t, iso, img, buildFormat(t, iso, format, 512), buses[1], bootTimeout)
		})
	}
}
