package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// compressed writes a plan as a compressed qcow2 file.
func compressed(t *testing.T, p *plan.Plan, workers int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{Format: disk.QCOW2, Compress: true, Workers: workers}); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameDisk(t *testing.T, name string, p *plan.Plan, d *disk.QCOW2Disk) {
	t.Helper()
	if d.Size != p.Size {
		t.Errorf("%s: a disk of %d bytes, not %d", name, d.Size, p.Size)
	}
	a, b := make([]byte, 1<<20+77), make([]byte, 1<<20+77)
	for _, e := range p.Extents {
		for at := max(0, e.Offset-100); at < min(e.End(), e.Offset+4<<20); at += int64(len(a)) {
			n, errN := p.ReadAt(a, at)
			m, errM := d.ReadAt(b, at)
			if n != m || !errors.Is(errN, errM) || !bytes.Equal(a[:n], b[:m]) {
				t.Fatalf("%s: at %d other bytes: %d %v, %d %v", name, at, n, errN, m, errM)
			}
		}
	}
}

func TestOpenQCOW2(t *testing.T) {
	for name, p := range plans(t) {
		file, err := disk.PlanQCOW2(p)
		if err != nil {
			t.Fatal(err)
		}
		d, err := disk.OpenQCOW2(file, file.Size, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sameDisk(t, name, p, d)
		b := compressed(t, p, 0)
		if !bytes.Equal(b, compressed(t, p, 1)) {
			t.Errorf("%s: compressed again it is another file", name)
		}
		if int64(len(b)) > file.Size {
			t.Errorf("%s: compressed it has %d bytes, not %d", name, len(b), file.Size)
		}
		if d, err = disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), nil); err != nil {
			t.Fatalf("%s, compressed: %v", name, err)
		}
		sameDisk(t, name+", compressed", p, d)
	}
}

// What can be deflated takes less room, neighbours lie side by side, and every
// cluster of the file is counted as often as it is used.
func TestCompressedQCOW2(t *testing.T) {
	var b plan.Builder
	text := bytes.Repeat([]byte("text, and text again. "), 200<<10/22)
	b.Literal(text)
	for i := range 4 {
		b.File(plan.File{Path: fmt.Sprint(i), Size: 300_000, Content: pattern(i)})
		b.Literal(text)
	}
	b.Zero(200 << 20)
	b.Literal(text)
	b.Pad(512)
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	file := compressed(t, p, 0)
	be := binary.BigEndian
	l1, counts := be.Uint64(file[40:]), be.Uint64(file[be.Uint64(file[48:]):])
	want := map[uint64]uint16{}
	var packed int
	for n := range uint64(p.Size+cluster-1) / cluster {
		l2 := be.Uint64(file[l1:]) &^ (1 << 63)
		entry := be.Uint64(file[l2+8*n:])
		at := entry & (1<<54 - 1)
		switch {
		case entry == 0:
		case entry>>62 == 1:
			packed++
			end := at/512*512 + (entry>>54&0xff+1)*512
			for c := at / cluster; c <= (end-1)/cluster; c++ {
				want[c]++
			}
		default:
			want[at&^(1<<63)/cluster]++
		}
	}
	for c, n := range want {
		if got := be.Uint16(file[counts+2*c:]); got != n {
			t.Errorf("the cluster %d is used %d times and counted %d times", c, n, got)
		}
	}
	if size := 6*300_000 + 12*cluster; packed < 15 || len(file)%cluster != 0 || len(file) > size {
		t.Errorf("%d clusters are compressed, the file has %d bytes, more than %d", packed, len(file), size)
	}
	if err := disk.WriteFile(t.Context(), filepath.Join(t.TempDir(), "f"), p, disk.WriteOptions{Compress: true}); err == nil || !strings.Contains(err.Error(), "only qcow2 is compressed") {
		t.Errorf("raw, compressed: %v", err)
	}
}

// repeated is a disk of one cluster, random bytes again and again.
func repeated(t *testing.T, length int64) *plan.Plan {
	t.Helper()
	b := make([]byte, length)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	var p plan.Builder
	p.Literal(bytes.Repeat(b, int(cluster/length)))
	out, err := p.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// QEMU looks back 4 KiB when it inflates a cluster, and no further.
func TestCompressedQCOW2LooksBackAsFarAsQEMU(t *testing.T) {
	for length, tables := range map[int64]int{2 << 10: 5, 8 << 10: 5} {
		file := compressed(t, repeated(t, length), 0)
		l2 := binary.BigEndian.Uint64(file[binary.BigEndian.Uint64(file[binary.BigEndian.Uint64(file[40:]):])&^(1<<63):])
		if len(file) != (tables+1)*cluster || (l2>>62 == 1) != (length < 4<<10) {
			t.Errorf("every %d bytes the same: %d bytes, entry %#x", length, len(file), l2)
		}
	}
}

// The last cluster of a file need not fill its last sector.
func TestOpenQCOW2ThatEndsWithinASector(t *testing.T) {
	p := repeated(t, 2<<10)
	file := bytes.TrimRight(compressed(t, p, 0), "\x00")
	d, err := disk.OpenQCOW2(bytes.NewReader(file), int64(len(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	sameDisk(t, "cut", p, d)
}

// The format of the file behind is found among other extensions.
func TestOpenQCOW2FindsTheBackingFormat(t *testing.T) {
	base := even(t)
	path, _ := overBase(t, base, base, nil, nil)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for want, extensions := range map[string]string{
		"raw":   "\x12\x34\x56\x78\x00\x00\x00\x03odd\x00\x00\x00\x00\x00\xe2\x79\x2a\xca\x00\x00\x00\x03raw\x00\x00\x00\x00\x00",
		"":      "\x12\x34\x56\x78\xff\xff\xff\xff\xe2\x79\x2a\xca\x00\x00\x00\x03raw",
		"qcow2": "\xe2\x79\x2a\xca\x00\x00\x00\x05qcow2\x00\x00\x00",
	} {
		file := bytes.Clone(b)
		binary.BigEndian.PutUint64(file[8:], 1000)
		copy(file[1000:], "../base.img")
		clear(file[104:1000])
		copy(file[104:], extensions)
		_, err := disk.OpenQCOW2(bytes.NewReader(file), int64(len(file)), func(name, format string) (io.ReaderAt, int64, error) {
			if format != want || name != "../base.img" {
				t.Errorf("%q of format %q, want %q", name, format, want)
			}
			return base, base.Size, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestOpenQCOW2InParallel(t *testing.T) {
	p := even(t)
	b := compressed(t, p, 0)
	d, err := disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { sameDisk(t, "parallel", p, d) })
	}
	wg.Wait()
}

func TestOpenQCOW2ReadsOverlays(t *testing.T) {
	base := even(t)
	p, _ := another(t)
	path, _ := overBase(t, base, p, nil, nil)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), nil)
	var refused *disk.QCOW2Error
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), `"../base.img"`) || refused.Advice == "" {
		t.Errorf("not asked for: %v", err)
	}
	d, err := disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), func(name, format string) (io.ReaderAt, int64, error) {
		if name != "../base.img" || format != "raw" {
			t.Errorf("%q of format %q", name, format)
		}
		return base, base.Size, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sameDisk(t, "overlay", p, d)
	gone := errors.New("gone")
	if _, err := disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), func(string, string) (io.ReaderAt, int64, error) { return nil, 0, gone }); !errors.Is(err, gone) {
		t.Errorf("no such file: %v", err)
	}
}

// edited is a qcow2 file of which something is other than it was.
func edited(t *testing.T, file []byte, edit func([]byte) []byte) error {
	t.Helper()
	b := edit(bytes.Clone(file))
	d, err := disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.NewSectionReader(d, 0, d.Size))
	return err
}

func TestOpenQCOW2Refuses(t *testing.T) {
	be := binary.BigEndian
	u32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint32(b[at:], v); return b }
	}
	u64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint64(b[at:], v); return b }
	}
	l2 := func(v uint64) func([]byte) []byte {
		return func(b []byte) []byte {
			be.PutUint64(b[be.Uint64(b[be.Uint64(b[40:]):])&^(1<<63):], v)
			return b
		}
	}
	file := compressed(t, even(t), 0)
	for want, edit := range map[string]func([]byte) []byte{
		"no such file":                   u32(0, 0),
		"version 4":                      u32(4, 4),
		"clusters of 2^8":                u32(20, 8),
		"clusters of 2^22":               u32(20, 22),
		"a disk of 0 bytes":              u64(24, 0),
		"a disk of 1099511627777 bytes":  u64(24, 1<<40+1),
		"encrypted (method 2)":           u32(32, 2),
		"an L1 table of 0 bytes":         u32(36, 0),
		"L1 table, 8 bytes at 9":         u64(40, 9e18),
		"name of the file behind it has": u64(8, 104),
		"1024 bytes, 1 to 1023 are":      func(b []byte) []byte { return u32(16, 1024)(u64(8, 104)(b)) },
		"corrupt":                        u64(72, 2),
		"data are in another file":       u64(72, 4),
		"compression type 0":             u64(72, 8),
		"subclusters":                    u64(72, 16),
		"not known: 0x20":                u64(72, 32),
		"header of 96 bytes":             u32(100, 96),
		"header of 65536 bytes":          u32(100, 65536),
		"within a cluster of the file":   l2(3 * 512),
		"cluster 0, 8192 bytes at 1":     l2(1 << 40),
		"compressed cluster, 1 bytes at": l2(1<<62 | 1<<50),
		"cannot be read":                 l2(1 << 62),
		"first bytes are":                func(b []byte) []byte { return b[:3] },
		"less than its header":           func(b []byte) []byte { return b[:80] },
		"is outside the file":            func(b []byte) []byte { return b[:len(b)-2*cluster] },
	} {
		err := edited(t, file, edit)
		var refused *disk.QCOW2Error
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || refused.Advice == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
	// What changes nothing in the disk is no obstacle: it was not closed, and has
	// snapshots.
	if err := edited(t, file, func(b []byte) []byte { return u32(60, 2)(u64(72, 1)(b)) }); err != nil {
		t.Error(err)
	}
	if err := edited(t, file, func(b []byte) []byte { return u32(16, 3)(u64(8, 1)(b)) }); err == nil || !strings.Contains(err.Error(), `"FI\xfb"`) {
		t.Errorf("a file behind it: %v", err)
	}
	unreadable := errors.New("unreadable")
	if _, err := disk.OpenQCOW2(unread{unreadable}, 1<<20, nil); !errors.Is(err, unreadable) {
		t.Errorf("unreadable: %v", err)
	}
}

type unread struct{ err error }

func (f unread) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func FuzzOpenQCOW2(f *testing.F) {
	var b plan.Builder
	b.Literal([]byte("head"))
	b.Zero(100_000)
	b.Literal(bytes.Repeat([]byte("x"), 1000))
	b.Pad(512)
	p, err := b.Build(512)
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "f")
	for _, compress := range []bool{false, true} {
		if err := disk.WriteFile(f.Context(), path, p, disk.WriteOptions{Format: disk.QCOW2, Compress: compress, Replace: true}); err != nil {
			f.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file[:qcowHeader(file)], file[2*cluster:2*cluster+16], file[4*cluster:4*cluster+32], []byte("data"))
	}
	f.Fuzz(func(t *testing.T, header, l1, l2, data []byte) {
		// Small clusters, so that small inputs reach far.
		const size = 512
		file := make([]byte, 8*size)
		for i, part := range [][]byte{header, l1, l2, data} {
			copy(file[2*i*size:], part[:min(len(part), 2*size)])
		}
		if len(header) >= 64 {
			binary.BigEndian.PutUint32(file[20:], binary.BigEndian.Uint32(file[20:])%13+9)
			binary.BigEndian.PutUint64(file[40:], 2*size)
			binary.BigEndian.PutUint64(file[24:], binary.BigEndian.Uint64(file[24:])%(4<<20))
		}
		if len(l1) >= 8 && l1[0] == 0 {
			binary.BigEndian.PutUint64(file[2*size:], 4*size)
		}
		open := func(name, _ string) (io.ReaderAt, int64, error) {
			return strings.NewReader(name), int64(len(name)), nil
		}
		d, err := disk.OpenQCOW2(bytes.NewReader(file), int64(len(file)), open)
		if err != nil {
			return
		}
		n, err := io.Copy(io.Discard, io.NewSectionReader(d, 0, d.Size))
		var refused *disk.QCOW2Error
		if err == nil && n != d.Size || err != nil && !errors.As(err, &refused) {
			t.Errorf("%d of %d bytes: %v", n, d.Size, err)
		}
	})
}

func qcowHeader(file []byte) int { return int(binary.BigEndian.Uint32(file[100:])) + 16 }

// TestCompressedBesideOthers: what is compressed goes on in the next cluster only
// where that is free, not where one lies that could not be made smaller.
func TestCompressedBesideOthers(t *testing.T) {
	noise := make([]byte, 24*cluster)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	for n := 0; n < 24; n += 2 {
		clear(noise[n*cluster+(40<<10) : (n+1)*cluster]) // takes more than half of a cluster
	}
	var b plan.Builder
	b.Literal(noise)
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	file := compressed(t, p, 0)
	d, err := disk.OpenQCOW2(bytes.NewReader(file), int64(len(file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	sameDisk(t, "mixed", p, d)
}
