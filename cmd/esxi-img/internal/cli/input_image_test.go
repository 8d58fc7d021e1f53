package cli_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// overlayOf writes an overlay beside base.img, and lets it name another file of
// another format ("raw" stays where it is "").
func overlayOf(t *testing.T, dir, name, format string) string {
	t.Helper()
	var b plan.Builder
	b.Zero(1 << 20)
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	base, over := filepath.Join(dir, "base.img"), filepath.Join(dir, "over.qcow2")
	if err := os.WriteFile(base, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	backing := disk.Backing{Path: base, Format: disk.Raw, Disk: bytes.NewReader(make([]byte, 1<<20)), Size: 1 << 20}
	if _, err := disk.WriteOverlay(t.Context(), over, p, backing, nil, disk.WriteOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(over)
	if err != nil {
		t.Fatal(err)
	}
	// docs/interop/qcow2.txt: the length of the name, and the first extension,
	// which has the format.
	copy(file[binary.BigEndian.Uint64(file[8:]):], name)
	binary.BigEndian.PutUint32(file[16:], uint32(len(name)))
	if format != "" {
		copy(file[112:120], format+"\x00\x00\x00\x00\x00\x00\x00\x00")
		binary.BigEndian.PutUint32(file[108:], uint32(len(format)))
	}
	if err := os.WriteFile(over, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return over
}

// TestReadBackingChoosesNoFiles: what an image names is opened only as a file
// beside it, and only when that is asked for.
func TestReadBackingChoosesNoFiles(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the secret of this machine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct{ name, format string }{
		"is not named relative":             {secret, ""},
		`"nbd:x", is not named relative`:    {"nbd:x", ""},
		`json:{}", is not named relative`:   {"json:{}", ""},
		`a format, "vmdk", that is neither`: {"base.img", "vmdk"},
		"more than 8 files away":            {"over.qcow2", "qcow2"},
		"no regular file":                   {".", ""},
		"none.img: no such file":            {"none.img", ""},
		"is no such file":                   {"base.img", "qcow2"}, // and is none
		"signature":                         {"base.img", ""},      // it is read, and nothing of ours
	} {
		over := overlayOf(t, t.TempDir(), c.name, c.format)
		for _, args := range [][]string{
			{"inspect", over}, {"diff", over, over}, {"customize", over, "--hostname", "x", "--output", over + ".img"}, {"customize", over, "--format", "iso", "--output", over + ".iso"},
		} {
			r := command(t.Context(), args...)
			if r.code != 3 || !strings.Contains(r.stderr, "which is not read") {
				t.Errorf("%s, not asked for: exit code %d, %s", args[0], r.code, r.stderr)
			}
			r = command(t.Context(), append(args, "--read-backing")...)
			if r.code != 3 || want != "signature" && !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "Advice: ") {
				t.Errorf("%s, %s: exit code %d, %s", args[0], want, r.code, r.stderr)
			}
			if strings.Contains(r.stdout+r.stderr, "the secret") {
				t.Error("it was read")
			}
		}
		if left, err := os.ReadDir(filepath.Dir(over)); err != nil || len(left) != 2 {
			t.Errorf("%v, %v", left, err)
		}
	}
}
