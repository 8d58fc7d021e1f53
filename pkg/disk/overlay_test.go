package disk_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// overBase writes a raw file of the plan, and an overlay of another plan in a
// folder beside it.
func overBase(t *testing.T, base, p *plan.Plan, zeros *disk.Zeros, same func(plan.Extent) bool) (string, *disk.Overlay) {
	t.Helper()
	dir := t.TempDir()
	b := disk.Backing{Path: filepath.Join(dir, "base.img"), Format: disk.Raw, Disk: base, Size: base.Size, Zeros: zeros}
	if err := disk.WriteFile(t.Context(), b.Path, base, disk.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	over := filepath.Join(dir, "hosts", "one.qcow2")
	if err := os.Mkdir(filepath.Dir(over), 0o700); err != nil {
		t.Fatal(err)
	}
	o, err := disk.WriteOverlay(t.Context(), over, p, b, same, disk.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	onlyFile(t, over)
	return over, o
}

// overlaid reads an overlay over its base, by what QEMU's
// docs/interop/qcow2.txt says; and returns how many clusters it has itself.
func overlaid(t *testing.T, path string, base *plan.Plan) (whole []byte, own int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	at, length := be.Uint64(b[8:]), uint64(be.Uint32(b[16:]))
	if name := string(b[at : at+length]); name != "../base.img" {
		t.Errorf("backed by %q", name)
	}
	if want := "\xe2\x79\x2a\xca\x00\x00\x00\x03raw\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"; string(b[104:at]) != want[:at-104] || len(want) < int(at)-104 {
		t.Errorf("extensions % x", b[104:at])
	}
	size := int64(be.Uint64(b[24:]))
	whole = make([]byte, size)
	for off := int64(0); off < size; off += cluster {
		part := whole[off:min(off+cluster, size)]
		entry := uint64(0)
		if l2 := be.Uint64(b[be.Uint64(b[40:])+uint64(off/cluster/8192*8):]) &^ (1 << 63); l2 != 0 {
			entry = be.Uint64(b[l2+uint64(off/cluster%8192*8):])
		}
		switch {
		case entry == 1: // zeros
			own++
		case entry != 0:
			own++
			copy(part, b[entry&^(1<<63):])
		case off < base.Size:
			if n, err := base.ReadAt(part, off); err != nil && (!errors.Is(err, io.EOF) || off+int64(n) != base.Size) {
				t.Fatal(err)
			}
		}
	}
	return whole, own
}

// another is a disk of which some is changed, some gone, and some new behind
// the base's end.
func another(t *testing.T) (p *plan.Plan, moved int) {
	t.Helper()
	p = even(t)
	p.Files[2].Content, p.Files[2].Expect = pattern(99), nil
	gone := len(p.Extents) - 2
	for n, e := range p.Extents {
		if e.Kind == plan.Content && p.Files[e.File].Path == "F" {
			gone = n
		}
	}
	p.Extents[gone] = plan.Extent{Offset: p.Extents[gone].Offset, Length: p.Extents[gone].Length}
	p.Files = p.Files[:5]
	p.Extents = append(p.Extents,
		plan.Extent{Offset: p.Size, Length: 3 * cluster},
		plan.Extent{Offset: p.Size + 3*cluster, Length: 512, Kind: plan.Literal, Data: bytes.Repeat([]byte{7}, 512)})
	p.Size += 3*cluster + 512
	return p, gone
}

func TestOverlayHasWhatDiffers(t *testing.T) {
	base := even(t)
	p, _ := another(t)
	want, err := io.ReadAll(p.Reader())
	if err != nil {
		t.Fatal(err)
	}
	have, err := io.ReadAll(base.Reader())
	if err != nil {
		t.Fatal(err)
	}
	have = append(have, make([]byte, len(want)-len(have))...)
	differ, gone := 0, 0
	for off := 0; off < len(want); off += cluster {
		end := min(off+cluster, len(want))
		if !bytes.Equal(want[off:end], have[off:end]) {
			differ++
			if disk.AllZero(want[off:end]) {
				gone++
			}
		}
	}
	zeros := &disk.Zeros{}
	if _, err := io.CopyBuffer(struct{ io.Writer }{zeros}, base.Reader(), make([]byte, 10_007)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		zeros *disk.Zeros
		same  func(plan.Extent) bool
	}{
		"compared": {}, "known zeros": {zeros: zeros}, "partly known": {zeros: &disk.Zeros{}},
		"known files": {zeros, func(e plan.Extent) bool { return e.Kind == plan.Content && e.File != 2 }},
	} {
		path, o := overBase(t, base, p, c.zeros, c.same)
		got, own := overlaid(t, path, base)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: another disk", name)
		}
		if own != differ || o.Differs != int64(differ)*cluster {
			t.Errorf("%s: %d clusters are there, %d bytes told, %d clusters differ", name, own, o.Differs, differ)
		}
		// Header, refcount table, L1, refcounts, L2; what is zero needs no cluster.
		if gone == 0 || o.Size != int64(5+differ-gone)*cluster {
			t.Errorf("%s: %d bytes for %d clusters that differ, %d of them zero", name, o.Size, differ, gone)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != o.Size {
			t.Errorf("%s: %v, %v, told %d", name, info, err, o.Size)
		}
	}
}

// What same says is not read.
func TestOverlayReadsOnlyWhatItMust(t *testing.T) {
	base, p := even(t), even(t)
	zeros := &disk.Zeros{}
	if _, err := io.Copy(zeros, base.Reader()); err != nil {
		t.Fatal(err)
	}
	for i := range p.Files {
		p.Files[i].Content = broken{}
	}
	dir := t.TempDir()
	b := disk.Backing{Path: dir, Format: disk.QCOW2, Disk: base, Size: base.Size, Zeros: zeros}
	o, err := disk.WriteOverlay(t.Context(), dir+"/o.qcow2", p, b, func(plan.Extent) bool { return true }, disk.WriteOptions{})
	if err != nil || o.Differs != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	_, err = disk.WriteOverlay(t.Context(), dir+"/p.qcow2", p, b, nil, disk.WriteOptions{})
	var read *plan.ReadError
	if !errors.As(err, &read) {
		t.Errorf("unreadable: %v", err)
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("broken") }

func TestOverlayFails(t *testing.T) {
	base := even(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "base.img")
	if err := disk.WriteFile(t.Context(), path, base, disk.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	good := disk.Backing{Path: path, Format: disk.Raw, Disk: base, Size: base.Size}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for want, c := range map[string]struct {
		ctx  context.Context
		path string
		edit func(*disk.Backing)
	}{
		"over itself":          {path: path},
		"raw or qcow2":         {edit: func(b *disk.Backing) { b.Format = disk.VMDK }},
		"no such file":         {edit: func(b *disk.Backing) { b.Path += "x" }},
		"unexpected EOF":       {edit: func(b *disk.Backing) { b.Disk = bytes.NewReader(nil) }},
		"context canceled":     {ctx: cancelled},
		"bytes, more than 10":  {path: filepath.Join(deep(t, dir), "over.qcow2")},
		"no such file or dire": {path: filepath.Join(dir, "none", "over.qcow2")},
	} {
		b := good
		if c.edit != nil {
			c.edit(&b)
		}
		ctx, over := t.Context(), filepath.Join(dir, "over.qcow2")
		if c.ctx != nil {
			ctx = c.ctx
		}
		if c.path != "" {
			over = c.path
		}
		if _, err := disk.WriteOverlay(ctx, over, base, b, nil, disk.WriteOptions{Replace: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "over.qcow2")); err == nil {
			t.Fatalf("%s: a file was left", want)
		}
	}
}

// deep is a folder from which the way back takes over a thousand bytes.
func deep(t *testing.T, dir string) string {
	t.Helper()
	for range 345 {
		dir = filepath.Join(dir, "d")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A name with a colon is none of a protocol's.
func TestOverlayNamesItsBase(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("has no such names")
	}
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	base := even(t)
	b := disk.Backing{Path: filepath.Join(link, "nbd:base"), Format: disk.Raw, Disk: base, Size: base.Size}
	if err := os.WriteFile(b.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	over := filepath.Join(dir, "over.qcow2")
	if _, err := disk.WriteOverlay(t.Context(), over, base, b, nil, disk.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if h, err := os.ReadFile(over); err != nil || !bytes.Contains(h[:200], []byte("./nbd:base\x00")) {
		t.Errorf("% x, %v", h[:200], err)
	}
}
