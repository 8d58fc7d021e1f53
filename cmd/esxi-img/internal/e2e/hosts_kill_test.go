//go:build e2e && !windows

package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilledHosts stops customising for many hosts at moments of chance: every
// image that is there is whole, and a folder for network boot is there as a whole
// or not at all.
func TestKilledHosts(t *testing.T) {
	dir := t.TempDir()
	run(t, "cp", "--sparse=always", build(t, plain.iso(t, small, "")), filepath.Join(dir, "esxi.img"))
	var list strings.Builder
	list.WriteString("version: 1\nhosts:\n")
	for n := range 24 {
		fmt.Fprintf(&list, "  - {name: esx%d, mac: '52:54:00:00:00:%02x', hostname: esx%d.example.com}\n", n, n, n)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.yaml"), []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"customize", "esxi.img", "--quiet", "--hosts", "hosts.yaml", "--output", "out"}
	for name, c := range map[string]struct {
		args  []string
		whole bool // the folder
	}{
		"raw":      {},
		"overlays": {args: []string{"--format", "qcow2", "--backing"}},
		"netboot":  {args: []string{"--format", "netboot", "--prefix", "http://192.0.2.1/esxi"}, whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := stopped{dir: dir, args: append(args[:len(args):len(args)], c.args...)}
			out := filepath.Join(dir, "out")
			empty := func() {
				if err := os.RemoveAll(out); err != nil {
					t.Fatal(err)
				}
			}
			empty()
			began := time.Now()
			if cmd := s.start(t); cmd.Wait() != nil {
				t.Fatal(cmd.Stderr)
			}
			took, want, stops, some := time.Since(began), sums(t, out), 0, 0
			for n := range kills {
				empty()
				there := s.names(t)
				kill := n%2 == 0
				cmd, err := s.stop(t, took, kill)
				if err != nil {
					stops++
				}
				got := sums(t, out)
				maps.DeleteFunc(got, func(name, _ string) bool { return kill && strings.HasPrefix(filepath.Base(name), ".") })
				for name, sum := range got {
					if want[name] != sum {
						t.Errorf("stop %d: %s is not what it is to be", n, name)
					}
				}
				if n := len(got); n > 0 && n < len(want) {
					some++
				}
				if (c.whole && len(got) > 0 || err == nil) && len(got) != len(want) {
					t.Errorf("stop %d: %d files of %d (%v)", n, len(got), len(want), err)
				}
				if !kill && err != nil {
					s.output = "out"
					s.judgeInterrupt(t, cmd, there, false)
				}
				run(t, "sh", "-c", "rm -rf "+dir+"/.out.*")
			}
			t.Logf("%d of %d were stopped within %v, %d with a part of the images", stops, kills, took, some)
			if stops == 0 {
				t.Error("none was stopped: this test shows nothing")
			}
		})
	}
}

// sums are the digests of the files below a folder, by their path.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		out[strings.TrimPrefix(path, dir)] = sum(t, path, fileSize(t, path))
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return out
}
