package fat32

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	kiB = 1 << 10
	miB = 1 << 20
	giB = 1 << 30
)

func testTime() time.Time { return time.Date(2023, 9, 4, 17, 8, 41, 0, time.UTC) }

// bytesFile is a file of random bytes, the same for a path and size each time.
func bytesFile(path string, size int) plan.File {
	seed := sha256.Sum256([]byte(path))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data)
	return plan.File{Path: path, Size: int64(size), Content: bytes.NewReader(data)}
}

// hollow is the content of a file of any size, without its bytes.
type hollow struct{}

func (hollow) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

func hollowFile(path string, size int64) plan.File {
	return plan.File{Path: path, Size: size, Content: hollow{}}
}

func mustNew(t testing.TB, files []plan.File, dirs []string, opts Options) *Layout {
	t.Helper()
	l, err := New(files, dirs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustOpen(t testing.TB, r io.ReaderAt, size int64) *FS {
	t.Helper()
	fsys, err := Open(r, size)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// volume is a plan with bytes replaced.
type volume struct {
	*Layout
	patches []patch
}

type patch struct {
	offset int64
	data   []byte
}

func (v *volume) patch(offset int64, data ...byte) {
	v.patches = append(v.patches, patch{offset, data})
}

func (v *volume) ReadAt(b []byte, off int64) (int, error) {
	n, err := v.Plan.ReadAt(b, off)
	for _, p := range v.patches {
		from, to := max(p.offset, off), min(p.offset+int64(len(p.data)), off+int64(n))
		if from < to {
			copy(b[from-off:to-off], p.data[from-p.offset:])
		}
	}
	return n, err
}

// set16 and set32 patch a number.
func (v *volume) set16(offset int64, n uint16) { v.patch(offset, byte(n), byte(n>>8)) }

func (v *volume) set32(offset int64, n uint32) {
	v.patch(offset, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

// link sets a cluster's entry in the first FAT.
func (v *volume) link(cluster, next uint32) {
	v.set32(v.fatOffset(0)+int64(cluster)*fatEntrySize, next)
}

// entryAt returns the offset of the entry with that alias, as DIR_Name has it.
func (v *volume) entryAt(t testing.TB, dirCluster uint32, alias string) int64 {
	t.Helper()
	at := v.ClusterOffset(dirCluster)
	b := read(t, v, at, v.ClusterSize)
	for i := 0; i < len(b); i += dirEntrySize {
		if string(b[i:i+11]) == alias {
			return at + int64(i)
		}
	}
	t.Fatalf("no entry %q in cluster %d", alias, dirCluster)
	return 0
}

func read(t testing.TB, r io.ReaderAt, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if err := readFull(r, b, off); err != nil {
		t.Fatal(err)
	}
	return b
}

// digest hashes everything that a reader has.
func digest(t testing.TB, r io.ReaderAt, size int64) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func contentOf(t testing.TB, f plan.File) []byte {
	t.Helper()
	if f.Size == 0 {
		return nil
	}
	b := make([]byte, f.Size)
	if err := f.ReadContent(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// installer is a list of files like that of an installer.
func installer() []plan.File {
	files := []plan.File{
		bytesFile("EFI/BOOT/BOOTX64.EFI", 150_001),
		bytesFile("B.B00", 70_000),
		bytesFile("EFI/BOOT/BOOT.CFG", 3_000),
		bytesFile("jumpstrt.gz", 20),
		bytesFile("Some Long Name.tar.gz", 5_000),
		{Path: "EMPTY.V00"},
		bytesFile("UPGRADE/PROFILE.XML", 9_999),
		bytesFile("some long name.zip", 4_096),
		bytesFile("Grüße aus dem Süden.txt", 512),
		bytesFile("upgrade/metadata.zip", 513),
	}
	for i := range 12 {
		files = append(files, bytesFile(fmt.Sprintf("Some Long Name %d.txt", i), i))
	}
	return append(files, bytesFile(strings.Repeat("n", MaxNameLength), 1), bytesFile("BOOT.CFG", 2_900))
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
