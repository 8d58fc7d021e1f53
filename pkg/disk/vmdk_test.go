package disk_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// readVMDK reads a streamOptimized VMDK by what VMware's "Virtual Disk Format
// 5.0" says, and returns the disk and which grains are there.
func readVMDK(t *testing.T, b []byte) (size int64, grains map[int64][]byte) {
	t.Helper()
	le := binary.LittleEndian
	u64 := func(off int64) int64 { return int64(le.Uint64(b[off:])) }
	if string(b[:4]) != "KDMV" || le.Uint32(b[4:]) != 3 || le.Uint32(b[8:]) != 0x30001 || le.Uint16(b[77:]) != 1 || string(b[73:77]) != "\n \r\n" {
		t.Fatalf("header % x", b[:80])
	}
	if u64(20) != 128 || le.Uint32(b[44:]) != 512 || u64(48) != 0 || b[72] != 0 || !bytes.Equal(b[79:512], make([]byte, 433)) {
		t.Errorf("header % x", b[:512])
	}
	size = u64(12) * 512
	checkDescriptor(t, string(bytes.TrimRight(b[u64(28)*512:(u64(28)+u64(36))*512], "\x00")), size/512)
	if len(b)%512 != 0 {
		t.Errorf("%d bytes are no sectors", len(b))
	}
	grains = map[int64][]byte{}
	tables := (size/65536 + 511) / 512
	directory, next := u64(56), u64(64) // grains lie one behind the other from here
	for n := range tables {
		table := int64(le.Uint32(b[directory*512+4*n:]))
		if table == 0 || table+4 > u64(64) {
			t.Fatalf("grain table %d at sector %d", n, table)
		}
		for i := range int64(512) {
			at := int64(le.Uint32(b[table*512+4*i:]))
			if at == 0 {
				continue
			}
			number, length := n*512+i, int64(le.Uint32(b[at*512+8:]))
			if at != next || u64(at*512) != number*128 {
				t.Fatalf("grain %d at sector %d says sector %d, want it at %d", number, at, u64(at*512), next)
			}
			// VMware's readers have room for a grain and a sector.
			if length+12 > 129*512 {
				t.Errorf("grain %d has %d bytes", number, length)
			}
			next = at + (12+length+511)/512
			grains[number] = inflate(t, b[at*512+12:at*512+12+length])
		}
	}
	// The end of the stream.
	if next*512+512 != int64(len(b)) || !bytes.Equal(b[next*512:], make([]byte, 512)) {
		t.Errorf("after the last grain, at sector %d, there are %d bytes", next, int64(len(b))-next*512)
	}
	return size, grains
}

// inflate checks that nothing follows the stream, too.
func inflate(t *testing.T, b []byte) []byte {
	t.Helper()
	src := bytes.NewReader(b)
	z, err := zlib.NewReader(src)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil || len(data) != 65536 || src.Len() != 0 {
		t.Fatalf("a grain of %d bytes, %d follow: %v", len(data), src.Len(), err)
	}
	return data
}

var descriptor = regexp.MustCompile(`^# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=([0-9a-f]{8})
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW (\d+) SPARSE "esxi.vmdk"

# The Disk Data Base
#DDB

(?:ddb\.[a-zA-Z.]+ = "[^"]+"\n)+$`)

func checkDescriptor(t *testing.T, text string, sectors int64) {
	t.Helper()
	m := descriptor.FindStringSubmatch(text)
	if len(m) < 3 {
		t.Fatalf("descriptor:\n%s", text)
	}
	if m[2] != fmt.Sprint(sectors) || strings.HasPrefix(m[1], "ff") {
		t.Errorf("descriptor of %d sectors:\n%s", sectors, text)
	}
	if !regexp.MustCompile(`longContentID = "[0-9a-f]{24}` + m[1] + `"`).MatchString(text) {
		t.Errorf("the content's names do not go together:\n%s", text)
	}
}

func writeVMDK(t *testing.T, p *plan.Plan, workers int) []byte {
	t.Helper()
	path := t.TempDir() + "/disk.vmdk"
	if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{Format: disk.VMDK, Workers: workers}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVMDKHasTheDisk(t *testing.T) {
	plans := map[string]*plan.Plan{"mixed": even(t), "planned": planned(t, 4096)}
	for seed := range uint64(8) {
		plans[fmt.Sprint("scattered ", seed)] = scattered(t, seed, cluster)
	}
	for name, p := range plans {
		size, grains := readVMDK(t, writeVMDK(t, p, 0))
		if size != p.Size {
			t.Errorf("%s: a disk of %d bytes, not %d", name, size, p.Size)
		}
		kept := map[int64]bool{}
		for _, e := range p.Extents {
			for n := e.Offset / cluster; e.Kind != plan.Zero && n*cluster < e.End(); n++ {
				kept[n] = true
			}
		}
		b := make([]byte, cluster)
		for n := range kept {
			if !bytes.Equal(grains[n], readSome(t, p, b, n)) {
				t.Errorf("%s: grain %d differs", name, n)
			}
		}
		if len(kept) != len(grains) {
			t.Errorf("%s: %d grains are kept, want %d", name, len(grains), len(kept))
		}
	}
}

// The name of the content is another one if a byte is.
func TestVMDKNamesItsContent(t *testing.T) {
	name := func(p *plan.Plan) string {
		return regexp.MustCompile(`longContentID = "(.*)"`).FindString(string(writeVMDK(t, p, 0)[:8192]))
	}
	other := even(t)
	other.Files[1].Content, other.Files[1].Expect = pattern(77), nil
	if first := name(even(t)); first != name(even(t)) || first == name(other) {
		t.Error("content and name do not go together")
	}
}

func TestVMDKFails(t *testing.T) {
	var b plan.Builder
	b.Literal(make([]byte, 512))
	odd, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/disk.vmdk"
	if err := disk.WriteFile(t.Context(), path, odd, disk.WriteOptions{Format: disk.VMDK}); err == nil || !strings.Contains(err.Error(), "multiple of 65536") {
		t.Errorf("a disk of 512 bytes: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := disk.WriteFile(ctx, path, even(t), disk.WriteOptions{Format: disk.VMDK}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	closed := temp(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := disk.CopyFile(t.Context(), closed, closed, even(t), disk.WriteOptions{Format: disk.VMDK}, ""); !errors.Is(err, os.ErrClosed) {
		t.Errorf("unwritable: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was left")
	}
}
