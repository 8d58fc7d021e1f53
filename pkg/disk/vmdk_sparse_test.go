package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

func sparseVMDK(t *testing.T, p *plan.Plan, name string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{Format: disk.VMDKSparse}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The file is read by what VMware's "Virtual Disk Format 5.0" says.
func TestVMDKSparseHasTheDisk(t *testing.T) {
	plans := map[string]*plan.Plan{"mixed": even(t), "planned": planned(t, 4096)}
	for seed := range uint64(6) {
		plans[fmt.Sprint("scattered ", seed)] = scattered(t, seed, cluster)
	}
	for name, p := range plans {
		file, err := disk.PlanVMDKSparse(p, "esxi.vmdk")
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 1<<20)
		if _, err := file.ReadAt(head, 0); err != nil && file.Size > int64(len(head)) {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		u64 := func(off int64) int64 { return int64(le.Uint64(head[off:])) }
		if string(head[:4]) != "KDMV" || le.Uint32(head[4:]) != 1 || le.Uint32(head[8:]) != 3 || le.Uint16(head[77:]) != 0 || string(head[73:77]) != "\n \r\n" {
			t.Fatalf("%s: header % x", name, head[:80])
		}
		if u64(12)*512 != p.Size || u64(20) != 128 || le.Uint32(head[44:]) != 512 || u64(64)%128 != 0 {
			t.Errorf("%s: header % x", name, head[:80])
		}
		kept := map[int64]bool{}
		for _, e := range p.Extents {
			for n := e.Offset / cluster; e.Kind != plan.Zero && n*cluster < e.End(); n++ {
				kept[n] = true
			}
		}
		seen := map[int64]bool{}
		a, b := make([]byte, cluster), make([]byte, cluster)
		for n := range p.Size / cluster {
			var at [2]int64
			for i, directory := range []int64{u64(48), u64(56)} {
				table := int64(le.Uint32(head[directory*512+n/512*4:]))
				at[i] = int64(le.Uint32(head[table*512+n%512*4:]))
			}
			if at[0] != at[1] || (at[0] != 0) != kept[n] || at[0]%128 != 0 || at[0] != 0 && (at[0] < u64(64) || seen[at[0]]) {
				t.Fatalf("%s: grain %d lies at %d and %d", name, n, at[0], at[1])
			}
			if seen[at[0]] = true; at[0] == 0 {
				continue
			}
			if !bytes.Equal(readSome(t, file, a, at[0]*512/cluster), readSome(t, p, b, n)) {
				t.Errorf("%s: grain %d differs", name, n)
			}
		}
		if want := u64(64)*512 + int64(len(kept))*cluster; file.Size != want {
			t.Errorf("%s: %d bytes, want %d", name, file.Size, want)
		}
	}
}

func TestVMDKSparseNamesItself(t *testing.T) {
	text := func(b []byte) string { return string(bytes.TrimRight(b[512:21*512], "\x00")) }
	first := text(sparseVMDK(t, even(t), "ESXi 8 ü.vmdk"))
	for _, want := range []string{"createType=\"monolithicSparse\"\n", " SPARSE \"ESXi 8 ü.vmdk\"\n", "parentCID=ffffffff\n", "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID="} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	for _, name := range []string{"a\"b", "a\nb", strings.Repeat("x", 300), "", "/"} {
		p, err := disk.PlanVMDKSparse(even(t), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(p.Extents[0].Data); !strings.Contains(got, " SPARSE \"esxi.vmdk\"\n") {
			t.Errorf("%q:\n%s", name, got)
		}
	}
	var b plan.Builder
	b.Literal(make([]byte, 512))
	odd, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.PlanVMDKSparse(odd, "a"); err == nil || !strings.Contains(err.Error(), "multiple of 65536") {
		t.Errorf("a disk of 512 bytes: %v", err)
	}
}

// The id of the content is another one when the content is, as long as that is
// where images of ours differ.
func TestVMDKSparseContentID(t *testing.T) {
	id := func(change int64) string {
		content := make([]byte, 40<<20)
		if change >= 0 {
			content[change] = 1
		}
		var b plan.Builder
		b.Zero(3 * cluster)
		b.File(plan.File{Path: "a", Size: int64(len(content)), Content: bytes.NewReader(content)})
		p, err := b.Build(512)
		if err != nil {
			t.Fatal(err)
		}
		file, err := disk.PlanVMDKSparse(p, "a")
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(file.Extents[0].Data[512:]), "CID=")
		return after[:8]
	}
	same := id(-1)
	if id(-1) != same {
		t.Error("it is never the same")
	}
	for _, at := range []int64{0, 3 << 20, 10<<20 + 511, 24 << 20, 40<<20 - 1} {
		if id(at) == same {
			t.Errorf("a byte at %d makes no other id", at)
		}
	}
	var b plan.Builder
	b.File(plan.File{Path: "a", Size: cluster, Content: unread{errors.New("unreadable")}})
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.PlanVMDKSparse(p, "a"); err == nil || !strings.Contains(err.Error(), "unreadable") {
		t.Errorf("unreadable: %v", err)
	}
}
