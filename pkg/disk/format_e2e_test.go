//go:build e2e

package disk_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestQEMUReadsWhatWeWrite holds odd disks in every format against the raw ones.
func TestQEMUReadsWhatWeWrite(t *testing.T) {
	plans := map[string]*plan.Plan{"even": even(t), "planned": planned(t, 4096), "repeated": repeated(t, 8<<10)}
	for seed := range uint64(4) {
		plans[fmt.Sprint("scattered ", seed)] = scattered(t, seed, cluster)
	}
	for name, p := range plans {
		dir := t.TempDir()
		raw := filepath.Join(dir, "raw")
		if err := disk.WriteFile(t.Context(), raw, p, disk.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		for file, opts := range map[string]disk.WriteOptions{
			"plain.qcow2": {Format: disk.QCOW2}, "small.qcow2": {Format: disk.QCOW2, Compress: true},
			"stream.vmdk": {Format: disk.VMDK}, "sparse.vmdk": {Format: disk.VMDKSparse},
		} {
			path, format := filepath.Join(dir, file), filepath.Ext(file)[1:]
			if err := disk.WriteFile(t.Context(), path, p, opts); err != nil {
				t.Fatal(err)
			}
			if out := qemuImg(t, "check", "-f", format, path); !strings.Contains(out, "No errors were found") {
				t.Errorf("%s, %s: %s", name, file, out)
			}
			qemuImg(t, "compare", "-f", "raw", "-F", format, raw, path)
		}
	}
}

// TestQEMUReadsOverlays over a raw file and over a qcow2 one.
func TestQEMUReadsOverlays(t *testing.T) {
	base := even(t)
	p, _ := another(t)
	for _, format := range []disk.Format{disk.Raw, disk.QCOW2} {
		dir := t.TempDir()
		b := disk.Backing{Path: filepath.Join(dir, "base"), Format: format, Disk: base, Size: base.Size}
		raw, over := filepath.Join(dir, "raw"), filepath.Join(dir, "over.qcow2")
		if err := disk.WriteFile(t.Context(), b.Path, base, disk.WriteOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
		if err := disk.WriteFile(t.Context(), raw, p, disk.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.WriteOverlay(t.Context(), over, p, b, nil, disk.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if out := qemuImg(t, "check", "-f", "qcow2", over); !strings.Contains(out, "No errors were found") {
			t.Error(out)
		}
		qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw, over)
		if out := qemuImg(t, "info", over); !strings.Contains(out, "backing file format: "+string(format)) {
			t.Error(out)
		}
	}
}

// TestWeReadWhatQEMUWrites: files of every kind that we claim to read.
func TestWeReadWhatQEMUWrites(t *testing.T) {
	p := scattered(t, 3, cluster)
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	if err := disk.WriteFile(t.Context(), raw, p, disk.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{
		"", "compat=0.10", "cluster_size=512", "cluster_size=4096", "cluster_size=2M", "compression_type=zstd", "lazy_refcounts=on", "refcount_bits=1", "preallocation=metadata",
	} {
		for _, compress := range []string{"", "-c"} {
			if compress != "" && options == "preallocation=metadata" {
				continue
			}
			name := options + compress
			path := filepath.Join(dir, "q")
			args := []string{"convert", "-f", "raw", "-O", "qcow2"}
			if compress != "" {
				args = append(args, compress)
			}
			if options != "" {
				args = append(args, "-o", options)
			}
			qemuImg(t, append(args, raw, path)...)
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			d, err := disk.OpenQCOW2(f, info.Size(), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			sameDisk(t, name, p, d)
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestWeRefuseWhatWeDoNotRead as QEMU makes it.
func TestWeRefuseWhatWeDoNotRead(t *testing.T) {
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"subclusters":      {"-o", "extended_l2=on"},
		"in another file":  {"-o", "data_file=" + filepath.Join(dir, "data")},
		"encrypted":        {"--object", "secret,id=s,data=0123456789abcdef", "-o", "encrypt.format=aes,encrypt.key-secret=s"},
		"lies over anothe": {"-b", filepath.Join(dir, "base"), "-F", "raw"},
	} {
		path := filepath.Join(dir, "q")
		if err := os.WriteFile(filepath.Join(dir, "base"), make([]byte, cluster), 0o600); err != nil {
			t.Fatal(err)
		}
		qemuImg(t, append(append([]string{"create", "-q", "-f", "qcow2"}, args...), path, "1M")...)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	// Snapshots are passed over: the disk is what it is now.
	path := filepath.Join(dir, "s")
	qemuImg(t, "create", "-q", "-f", "qcow2", path, "1M")
	qemuImg(t, "snapshot", "-c", "one", path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), nil)
	if err != nil || d.Snapshots != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if n, err := io.Copy(io.Discard, io.NewSectionReader(d, 0, d.Size)); n != 1<<20 || err != nil {
		t.Error(n, err)
	}
}
