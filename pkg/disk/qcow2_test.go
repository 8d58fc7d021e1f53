package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

const cluster = 64 << 10

// qcow2File reads a QCOW2 file by what QEMU's docs/interop/qcow2.txt says, and
// nothing that the writer knows.
type qcow2File struct {
	r        io.ReaderAt
	size     int64
	clusters map[int64]int64 // of the disk → offset in the file
}

func bigEndian64(t *testing.T, r io.ReaderAt, off int64) int64 {
	t.Helper()
	var b [8]byte
	if _, err := r.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	return int64(binary.BigEndian.Uint64(b[:]) &^ (1 << 63))
}

// openQCOW2 reads the tables and checks that every cluster of the file is used
// exactly once and counted so.
func openQCOW2(t *testing.T, r io.ReaderAt, fileSize int64) *qcow2File {
	t.Helper()
	h := make([]byte, cluster)
	if _, err := r.ReadAt(h, 0); err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	if string(h[:4]) != "QFI\xfb" || be.Uint32(h[4:]) != 3 || be.Uint32(h[20:]) != 16 || be.Uint32(h[96:]) != 4 || be.Uint32(h[100:]) != 104 {
		t.Fatalf("header % x", h[:104])
	}
	// Backing file, encryption, snapshots, features, extensions.
	for _, field := range [][2]int{{8, 20}, {32, 36}, {60, 96}, {104, cluster}} {
		if !bytes.Equal(h[field[0]:field[1]], make([]byte, field[1]-field[0])) {
			t.Errorf("header bytes %d to %d are not zero", field[0], field[1])
		}
	}
	q := &qcow2File{r: r, size: int64(be.Uint64(h[24:])), clusters: map[int64]int64{}}
	used := map[int64]string{}
	use := func(off int64, what string) {
		if off%cluster != 0 || off < 0 || off >= fileSize || used[off] != "" {
			t.Fatalf("%s at %d of %d, where there is %q", what, off, fileSize, used[off])
		}
		used[off] = what
	}
	use(0, "header")
	l1, counts := int64(be.Uint64(h[40:])), int64(be.Uint64(h[48:]))
	use(l1, "L1")
	use(counts, "refcount table")
	if n := int64(be.Uint32(h[36:])); n != (q.size+cluster*8192-1)/(cluster*8192) || be.Uint32(h[56:]) != 1 {
		t.Errorf("%d L1 entries", n)
	}
	for n := range int64(be.Uint32(h[36:])) {
		l2 := bigEndian64(t, r, l1+8*n)
		if l2 == 0 {
			continue
		}
		use(l2, "L2")
		table := make([]byte, cluster)
		if _, err := r.ReadAt(table, l2); err != nil {
			t.Fatal(err)
		}
		for i := range int64(8192) {
			e := be.Uint64(table[8*i:])
			if e == 0 {
				continue
			}
			if e>>63 != 1 || e&(1<<62|0x1ff) != 0 {
				t.Fatalf("L2 entry %x", e)
			}
			use(int64(e&^(1<<63)), "data")
			q.clusters[n*8192+i] = int64(e &^ (1 << 63))
		}
	}
	for n := range int64(8192) {
		if block := bigEndian64(t, r, counts+8*n); block != 0 {
			use(block, "refcounts")
		}
	}
	checkCounts(t, r, counts, used, fileSize)
	return q
}

func checkCounts(t *testing.T, r io.ReaderAt, table int64, used map[int64]string, fileSize int64) {
	t.Helper()
	if fileSize%cluster != 0 || int64(len(used)) != fileSize/cluster {
		t.Errorf("%d clusters are used of %d bytes", len(used), fileSize)
	}
	for n := range int64(8192) {
		block := bigEndian64(t, r, table+8*n)
		if block == 0 {
			continue
		}
		b := make([]byte, cluster)
		if _, err := r.ReadAt(b, block); err != nil {
			t.Fatal(err)
		}
		for i := range int64(cluster / 2) {
			off := (n*cluster/2 + i) * cluster
			count := binary.BigEndian.Uint16(b[2*i:])
			if want := used[off] != ""; count > 1 || (count == 1) != want {
				t.Fatalf("the cluster at %d is counted %d times, in use for %q", off, count, used[off])
			}
			delete(used, off)
		}
	}
	if len(used) != 0 {
		t.Errorf("clusters without a count: %v", used)
	}
}

func (q *qcow2File) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && off+int64(n) < q.size {
		at := off + int64(n)
		part := b[n:min(len(b), n+int(min(cluster-at%cluster, q.size-at)))]
		if file, ok := q.clusters[at/cluster]; !ok {
			clear(part)
		} else if _, err := q.r.ReadAt(part, file+at%cluster); err != nil {
			return n, err
		}
		n += len(part)
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

// scattered is a plan whose data lie at random places of up to two GiB, without
// regard to clusters.
func scattered(t *testing.T, seed uint64, unit int64) *plan.Plan {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var b plan.Builder
	for i := range 40 {
		b.Zero(r.Int64N([]int64{1, 100, 4096, 200 << 10, 100 << 20}[r.IntN(5)]))
		switch size := r.Int64N([]int64{1, 3000, 70 << 10, 1 << 20}[r.IntN(4)]); r.IntN(3) {
		case 0:
			b.Literal(bytes.Repeat([]byte{byte(i + 1)}, int(size)))
		default:
			b.File(plan.File{Path: fmt.Sprint(i), Size: size, Content: pattern(i)})
		}
	}
	b.Pad(unit)
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plans are disks of many shapes.
func plans(t *testing.T) map[string]*plan.Plan {
	t.Helper()
	all := map[string]*plan.Plan{"mixed": mixed(t), "planned": planned(t, 4096)}
	for seed := range uint64(8) {
		all[fmt.Sprint("scattered ", seed)] = scattered(t, seed, 512)
	}
	return all
}

func TestQCOW2HasTheDisk(t *testing.T) {
	for name, p := range plans(t) {
		planOf, err := disk.PlanQCOW2(p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q := openQCOW2(t, planOf, planOf.Size)
		if q.size != p.Size {
			t.Errorf("%s: a disk of %d bytes, not %d", name, q.size, p.Size)
		}
		// All that is kept is right, and all that is left out is zero by the plan.
		kept := map[int64]bool{}
		for _, e := range p.Extents {
			for n := e.Offset / cluster; e.Kind != plan.Zero && n*cluster < e.End(); n++ {
				kept[n] = true
			}
		}
		a, b := make([]byte, cluster), make([]byte, cluster)
		for n := range kept {
			if q.clusters[n] == 0 {
				t.Errorf("%s: cluster %d is left out", name, n)
			}
			if got, want := readSome(t, q, a, n), readSome(t, p, b, n); !bytes.Equal(got, want) {
				t.Errorf("%s: cluster %d differs", name, n)
			}
		}
		if len(kept) != len(q.clusters) {
			t.Errorf("%s: %d clusters are kept, want %d", name, len(q.clusters), len(kept))
		}
		for i, f := range planOf.Files {
			if got, want := f.Size, p.Files[i].Size; got != want || f.Path != p.Files[i].Path {
				t.Errorf("%s: file %d is %s of %d bytes", name, i, f.Path, got)
			}
			if got, want := digestOf(t, io.NewSectionReader(planOf, f.Offset, f.Size), f.Size), digestOf(t, f.Content, f.Size); *got != *want {
				t.Errorf("%s: %s does not lie at %d", name, f.Path, f.Offset)
			}
		}
	}
}

// readSome reads a cluster, or what there is of the last.
func readSome(t *testing.T, r io.ReaderAt, b []byte, n int64) []byte {
	t.Helper()
	got, err := r.ReadAt(b, n*cluster)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return b[:got]
}

// More clusters than one block of reference counts has entries.
func TestALargeQCOW2(t *testing.T) {
	for _, size := range []int64{32760 * cluster, 32762 * cluster, 5<<30 + 1, plan.MaxSize - 1<<20} {
		var b plan.Builder
		b.Zero(1 << 20)
		b.File(plan.File{Path: "A", Size: size, Content: pattern(1)})
		b.Pad(512)
		p, err := b.Build(512)
		if err != nil {
			t.Fatal(err)
		}
		planOf, err := disk.PlanQCOW2(p)
		if size > 6<<30 {
			if err == nil || !strings.Contains(err.Error(), "over the limit") {
				t.Errorf("of 16 GiB: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		q := openQCOW2(t, planOf, planOf.Size)
		a, c := make([]byte, cluster), make([]byte, cluster)
		for _, n := range []int64{0, 16, 8191, 8192, (1<<20 + size) / cluster} {
			if !bytes.Equal(readSome(t, q, a, n), readSome(t, p, c, n)) {
				t.Errorf("%d bytes: cluster %d differs", size, n)
			}
		}
	}
}
