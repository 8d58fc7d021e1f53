package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

var (
	diskGUID      = uuid.MustParse("0b0c0d0e-1111-8222-8333-444455556666")
	partitionGUID = uuid.MustParse("9b0c0d0e-1111-8222-8333-444455556666")
)

// planned is a disk around a volume of some MiB with a little in it.
func planned(t *testing.T, sector int) *plan.Plan {
	t.Helper()
	var b plan.Builder
	b.Literal([]byte("boot sector"))
	b.Zero(4096 - b.Offset())
	b.File(plan.File{Path: "A.V00", Size: 11, Content: strings.NewReader("the payload")})
	b.Zero(3<<20 - b.Offset())
	volume, err := b.Build(sector)
	if err != nil {
		t.Fatal(err)
	}
	p, err := disk.New(volume, disk.Options{DiskGUID: diskGUID, PartitionGUID: partitionGUID, PartitionName: "esxi-img"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func image(t *testing.T, sector int) []byte {
	t.Helper()
	b, err := io.ReadAll(planned(t, sector).Reader())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTableReadsBack(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		img := image(t, sector)
		table, err := disk.ReadTable(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			t.Fatal(err)
		}
		if table.GUID != diskGUID || table.SectorSize != sector || table.FromBackup || len(table.Partitions) != 1 {
			t.Fatalf("sector %d: %+v", sector, table)
		}
		p := table.Partitions[0]
		if !p.EFISystem() || p.GUID != partitionGUID || p.Name != "esxi-img" || p.Offset != disk.PartitionStart || p.Size != 3<<20 {
			t.Errorf("sector %d: partition %+v", sector, p)
		}
		if got := img[p.Offset : p.Offset+11]; string(got) != "boot sector" {
			t.Errorf("the partition begins with %q", got)
		}
	}
}

// The rules that OpenStack's image inspector has for a protective MBR.
func TestProtectiveMBR(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		img := image(t, sector)
		entry := img[446:462]
		want := []byte{0x00, 0x00, 0x02, 0x00, 0xEE}
		if !bytes.Equal(entry[:5], want) {
			t.Errorf("sector %d: entry begins with % x, want % x", sector, entry[:5], want)
		}
		if start := binary.LittleEndian.Uint32(entry[8:]); start != 1 {
			t.Errorf("sector %d: starts at LBA %d", sector, start)
		}
		if n := int(binary.LittleEndian.Uint32(entry[12:])); n != len(img)/sector-1 {
			t.Errorf("sector %d: has %d sectors, the disk %d", sector, n, len(img)/sector)
		}
		if rest := img[462:510]; !bytes.Equal(rest, make([]byte, 48)) {
			t.Errorf("sector %d: the other entries are % x", sector, rest)
		}
		if img[510] != 0x55 || img[511] != 0xAA {
			t.Errorf("sector %d: no boot signature", sector)
		}
	}
}

func TestDiskIsAFunctionOfItsInputs(t *testing.T) {
	if !bytes.Equal(image(t, 512), image(t, 512)) {
		t.Error("two plans of the same disk differ")
	}
}

func TestDamagedTables(t *testing.T) {
	const backup = -512
	for name, c := range map[string]struct {
		damage     func(img []byte)
		fromBackup bool
		want       string
	}{
		"primary signature":  {func(b []byte) { b[512] ^= 1 }, true, ""},
		"primary checksum":   {func(b []byte) { b[512+60] ^= 1 }, true, ""},
		"primary entries":    {func(b []byte) { b[1024] ^= 1 }, true, ""},
		"primary asks a lot": {func(b []byte) { hostileCount(b[512:]) }, true, ""},
		"backup asks a lot":  {func(b []byte) { hostileCount(b[len(b)+backup:]) }, false, ""},
		"both ask a lot":     {func(b []byte) { hostileCount(b[512:]); hostileCount(b[len(b)+backup:]) }, false, disk.ErrNoGPT.Error()},
		"entries and backup": {func(b []byte) { b[1024] ^= 1; hostileCount(b[len(b)+backup:]) }, false, "backup GPT also invalid"},
		"both signatures":    {func(b []byte) { b[512] ^= 1; b[len(b)+backup] ^= 1 }, false, disk.ErrNoGPT.Error()},
		"partition off disk": {func(b []byte) { moveEnd(b, 1<<40) }, false, "are not on a disk of"},
		"partition inverted": {func(b []byte) { moveEnd(b, 3) }, false, "are not on a disk of"},
	} {
		t.Run(name, func(t *testing.T) {
			img := image(t, 512)
			c.damage(img)
			table, err := disk.ReadTable(bytes.NewReader(img), int64(len(img)))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if table.FromBackup != c.fromBackup || table.GUID != diskGUID {
				t.Errorf("%+v", table)
			}
		})
	}
}

// hostileCount makes a header ask for 2^31 entries, with a right checksum.
func hostileCount(h []byte) {
	binary.LittleEndian.PutUint32(h[80:], 1<<31)
	seal(h)
}

// moveEnd moves the partition's last sector, with right checksums.
func moveEnd(b []byte, lba uint64) {
	binary.LittleEndian.PutUint64(b[1024+40:], lba)
	binary.LittleEndian.PutUint32(b[512+88:], crc32.ChecksumIEEE(b[1024:1024+128*128]))
	seal(b[512:])
}

func seal(h []byte) {
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestNoTable(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 1024, 4096, 1 << 16} {
		_, err := disk.ReadTable(bytes.NewReader(make([]byte, size)), int64(size))
		if !errors.Is(err, disk.ErrNoGPT) {
			t.Errorf("%d zero bytes: %v", size, err)
		}
	}
}

func TestNewNeedsIdentifiers(t *testing.T) {
	var b plan.Builder
	b.Zero(512)
	volume, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.New(volume, disk.Options{DiskGUID: diskGUID}); err == nil {
		t.Error("a disk without a partition GUID was planned: it would not be reproducible")
	}
}

func FuzzReadTable(f *testing.F) {
	var b plan.Builder
	b.Zero(4096)
	volume, err := b.Build(512)
	if err != nil {
		f.Fatal(err)
	}
	p, err := disk.New(volume, disk.Options{DiskGUID: diskGUID, PartitionGUID: partitionGUID})
	if err != nil {
		f.Fatal(err)
	}
	img, err := io.ReadAll(p.Reader())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(img[:34*512], img[len(img)-33*512:])
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		b := append(append([]byte{}, head...), tail...)
		table, err := disk.ReadTable(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Offset < 0 || p.Size <= 0 || p.Offset+p.Size > int64(len(b)) {
				t.Errorf("partition %+v is not on a disk of %d bytes", p, len(b))
			}
		}
	})
}
