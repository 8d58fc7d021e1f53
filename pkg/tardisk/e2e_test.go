//go:build e2e

package tardisk_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// run fails the test if the tool is missing or fails.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out) + stderr.String()
}

// TestForeignReaders: others read what Write writes, and see what is meant.
func TestForeignReaders(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "m.tgz")
	if err := os.WriteFile(module, write(t, sample), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "-rw-r--r-- 0/0               0 2024-02-29 12:00 esxiimg-x\n" +
		"drwxr-xr-x 0/0               0 2024-02-29 12:00 esxiimg/\n" +
		"-rw-r--r-- 0/0              13 2024-02-29 12:00 esxiimg/KS.CFG\n" +
		"drwxr-xr-x 0/0               0 2024-02-29 12:00 esxiimg/pre/\n" +
		"-rw-r--r-- 0/0               9 2024-02-29 12:00 esxiimg/pre/10-net.py\n" +
		"drwxr-xr-x 0/0               0 2024-02-29 12:00 etc/\n" +
		"-rw-r--r-- 0/0          160000 2024-02-29 12:00 etc/large\n"
	if got := run(t, dir, "tar", "-tvzf", module); got != want {
		t.Errorf("GNU tar:\n%s\nwant\n%s", got, want)
	}
	want = strings.Join([]string{"esxiimg-x", "esxiimg/", "esxiimg/KS.CFG", "esxiimg/pre/", "esxiimg/pre/10-net.py", "etc/", "etc/large", ""}, "\n")
	if got := run(t, dir, "busybox", "tar", "-tzf", module); got != want {
		t.Errorf("busybox tar:\n%s\nwant\n%s", got, want)
	}
	const script = `
import sys, tarfile
with tarfile.open(sys.argv[1], "r:gz") as t:
    for m in t:
        data = t.extractfile(m).read() if m.isfile() else b""
        print(m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, repr(m.uname), m.mtime, len(data), m.pax_headers)
`
	got := run(t, dir, "python3", "-c", script, module)
	if line := "esxiimg/KS.CFG 0 0o644 0 0 '' 1709208000 13 {}\n"; !strings.Contains(got, line) || strings.Count(got, "\n") != 7 {
		t.Errorf("Python's tarfile:\n%s\nlacks\n%s", got, line)
	}
	run(t, dir, "gzip", "-t", module)
	for _, extract := range [][]string{{"tar"}, {"busybox", "tar"}} {
		to := filepath.Join(dir, strings.Join(extract, "-"))
		if err := os.Mkdir(to, 0o700); err != nil {
			t.Fatal(err)
		}
		run(t, to, extract[0], append(extract[1:], "-xzf", module)...)
		for _, e := range sample {
			if got, err := os.ReadFile(filepath.Join(to, e.Path)); err != nil || !bytes.Equal(got, e.Data) {
				t.Errorf("%v: %s differs: %v", extract, e.Path, err)
			}
		}
	}
}

// TestForeignWriters: Read takes what others write, and Check what they write
// in the old GNU format.
func TestForeignWriters(t *testing.T) {
	dir := t.TempDir()
	for _, e := range sample {
		p := filepath.Join(dir, "root", e.Path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, e.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const script = `
import sys, tarfile
with tarfile.open(sys.argv[1], "w:gz", format=getattr(tarfile, sys.argv[2])) as t:
    t.add("root", arcname=".")
`
	for _, tc := range []struct {
		name string
		ok   bool
		cmd  []string
	}{
		{"gnu", true, []string{"tar", "--format=gnu", "-C", "root", "-czf", "OUT", "."}},
		{"gnu-names", true, []string{"tar", "--format=gnu", "-C", "root", "--sort=name", "-czf", "OUT", "esxiimg", "esxiimg-x", "etc"}},
		{"gnu-posix", false, []string{"tar", "--format=posix", "-C", "root", "-czf", "OUT", "."}},
		{"gnu-ustar", false, []string{"tar", "--format=ustar", "-C", "root", "-czf", "OUT", "."}},
		{"gnu-v7", false, []string{"tar", "--format=v7", "-C", "root", "-czf", "OUT", "."}},
		{"busybox", true, []string{"busybox", "tar", "-C", "root", "-czf", "OUT", "."}},
		{"python-gnu", true, []string{"python3", "-c", script, "OUT", "GNU_FORMAT"}},
		{"python-pax", false, []string{"python3", "-c", script, "OUT", "PAX_FORMAT"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := filepath.Join(dir, tc.name+".tgz")
			args := strings.Split(strings.Replace(strings.Join(tc.cmd, "\x00"), "OUT", out, 1), "\x00")
			run(t, dir, args[0], args[1:]...)
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if err := tardisk.Check(bytes.NewReader(b)); (err == nil) != tc.ok {
				t.Errorf("Check: %v", err)
			}
			entries, err := tardisk.Read(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			got := write(t, entries)
			if !bytes.Equal(got, write(t, sample)) {
				t.Error("Read gives something else")
			}
		})
	}
}
