package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// medium is a disk that is zero but for what was written to it.
type medium struct {
	size  int64
	base  io.ReaderAt // what was there before, if not nil
	parts []part
	// bad is an offset that cannot be read, if it is positive.
	bad int64
}

type part struct {
	off  int64
	data []byte
}

var errBad = errors.New("medium error")

func (m *medium) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= m.size {
		return 0, io.EOF
	}
	if m.bad > 0 && off <= m.bad && m.bad < off+int64(len(b)) {
		return 0, errBad
	}
	n := int(min(int64(len(b)), m.size-off))
	clear(b[:n])
	if m.base != nil {
		if _, err := m.base.ReadAt(b[:n], off); err != nil {
			return 0, err
		}
	}
	for _, p := range m.parts {
		from, to := max(p.off, off), min(p.off+int64(len(p.data)), off+int64(n))
		if from < to {
			copy(b[from-off:to-off], p.data[from-p.off:])
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// put writes to the medium; a negative offset is one from its end.
func (m *medium) put(off int64, data string) *medium {
	if off < 0 {
		off += m.size
	}
	m.parts = append(m.parts, part{off, []byte(data)})
	return m
}

func blank(size int64) *medium { return &medium{size: size} }

// image is a disk of ours.
func image(t testing.TB, sector int) *medium {
	t.Helper()
	return imageWith(t, sector, nil)
}

// imageWith is one with a partition for a config drive.
func imageWith(t testing.TB, sector int, drive *disk.Drive) *medium {
	t.Helper()
	layout := disk.Layout{
		SectorSize: sector, DiskGUID: uuid.New(), PartitionGUID: uuid.New(), PartitionName: disk.PartitionName, Drive: drive,
		Label: "ESXI-IMG", VolumeID: 1, Time: time.Unix(1e9, 0).UTC(),
	}
	content := bytes.Repeat([]byte("payload "), 1<<15)
	p, _, _, err := layout.Plan([]plan.File{{Path: "A.B00", Size: int64(len(content)), Content: bytes.NewReader(content)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &medium{size: p.Size, base: p}
}

const mib = 1 << 20

// zeros overwrites what was written before.
func zeros(n int64) string { return strings.Repeat("\x00", int(n)) }

// entry is one of a GPT.
type entry struct {
	typ         string
	name        string
	first, last int64 // sectors
}

const efi = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

// withGPT puts a table of 512-byte sectors at the start of a medium.
func withGPT(m *medium, entries ...entry) *medium {
	array := make([]byte, gptEntries*gptEntry)
	for i, e := range entries {
		b := array[i*gptEntry:]
		putGUID(b, uuid.MustParse(e.typ))
		putGUID(b[16:], uuid.New())
		binary.LittleEndian.PutUint64(b[32:], uint64(e.first))
		binary.LittleEndian.PutUint64(b[40:], uint64(e.last))
		for j, c := range []byte(e.name) {
			b[gptEntryName+2*j] = c
		}
	}
	return m.put(512, string(header(m.size/512, array))).put(1024, string(array))
}

func putGUID(b []byte, id uuid.UUID) {
	copy(b, []byte{id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6]})
	copy(b[8:16], id[8:])
}

func TestProbe(t *testing.T) {
	ours := entry{efi, disk.PartitionName, 2048, 4095}
	gpt := func(entries ...entry) *medium { return withGPT(blank(16*mib), entries...) }
	plain := func() *medium { return blank(16 * mib) }
	mbr := func(m *medium, partitions string) *medium { return m.put(446, partitions).put(510, "\x55\xaa") }

	for _, c := range []struct {
		name string
		on   *medium
		kind Kind
		says string
	}{
		{"new", plain(), Empty, "nothing"},
		{"tiny", blank(512), Empty, "nothing"},
		{"no bytes", blank(0), Empty, "nothing"},
		{"zeros, then data", plain().put(5*mib, "old data"), Empty, "nothing"},
		{"data at the start", plain().put(0, "?"), Foreign, "data of an unknown kind"},
		{"data before 1 MiB", plain().put(mib-1, "?"), Foreign, "data of an unknown kind"},

		{"ours", image(t, 512), OurImage, "an image of esxi-img"},
		{"ours, 4096", image(t, 4096), OurImage, "an image of esxi-img"},
		{"ours, MBR gone", image(t, 512).put(0, zeros(512)), OurImage, "an image of esxi-img"},
		{"ours, primary gone", image(t, 512).put(0, zeros(34*512)), OurImage, "an image of esxi-img"},
		{"ours, primary header gone", image(t, 512).put(512, zeros(512)), OurImage, "an image of esxi-img"},
		{"ours, backup gone", image(t, 512).put(-33*512, zeros(33*512)), OurImage, "an image of esxi-img"},
		{"ours, headers gone", image(t, 512).put(512, zeros(512)).put(-512, zeros(512)), OurImage, "a damaged image of esxi-img"},
		{"ours and its drive, headers gone", imageWith(t, 512, &disk.Drive{Size: 1 << 20}).put(512, zeros(512)).put(-512, zeros(512)), OurImage, "a damaged image of esxi-img"},
		{"ours, 4096, headers gone", image(t, 4096).put(4096, zeros(4096)).put(-4096, zeros(4096)), OurImage, "a damaged image of esxi-img"},
		{"ours, entries torn", image(t, 512).put(1024+512, "?").put(-32*512, "?").put(-512, zeros(512)), Foreign, "a damaged GPT"},
		{"ours, both tables gone", image(t, 512).put(0, zeros(34*512)).put(-33*512, zeros(33*512)), Empty, "nothing"},
		{"ours, tables gone, MBR there", image(t, 512).put(512, zeros(33*512)).put(-33*512, zeros(33*512)), Empty, "nothing"},
		{"ours, boot sectors and tables gone", image(t, 512).put(0, zeros(34*512)).put(-33*512, zeros(33*512)).put(mib, zeros(512)), Empty, "nothing"},
		{"ours and a config drive", gpt(ours, entry{efi, "", 4096, 30000}).put(4096*512+isoVolumeID, "config-2  "), OurImage, "an image of esxi-img and a config drive"},
		{"ours and a FAT config drive", gpt(ours, entry{efi, "", 4096, 30000}).put(4096*512+fat16Label, "CONFIG-2  "), OurImage, "an image of esxi-img and a config drive"},
		{"ours and an unknown one", gpt(ours, entry{efi, "mine", 4096, 30000}), Foreign, `GPT: EFI system partition "esxi-img installer", EFI system partition "mine"`},
		{"ours with NoCloud's files", gpt(ours, entry{efi, "config-2", 4096, 30000}).put(4096*512+isoVolumeID, "cidata  "), OurImage, "an image of esxi-img and a config drive"},
		{"a config drive alone", gpt(entry{efi, "", 4096, 30000}).put(4096*512+isoVolumeID, "config-2"), Foreign, "GPT: EFI system partition"},
		{"our name, another place", gpt(entry{efi, disk.PartitionName, 4096, 30000}), Foreign, "GPT:"},
		{"our name, another type", gpt(entry{"AA31E02A-400F-11DB-9590-000C2911D1B8", disk.PartitionName, 2048, 4095}), Foreign, "VMFS"},

		{"ours and a large one with such a label", withGPT(blank(100*mib), ours, entry{efi, "", 4096, 4096 + 66*2048}).put(4096*512+isoVolumeID, "config-2"), Foreign, "GPT: EFI"},
		{"Btrfs over ours", image(t, 512).put(64<<10+64, "_BHRfS_M"), Foreign, "Btrfs over an image of esxi-img"},
		{"XFS over ours", image(t, 512).put(0, "XFSB"+zeros(2048)), Foreign, "XFS over an image of esxi-img"},
		{"ext4 over ours", image(t, 512).put(0, zeros(34*512)).put(1080, "\x53\xef"), Foreign, "ext4 over an image of esxi-img"},
		{"LVM over a damaged one", image(t, 512).put(512, "LABELONE").put(-512, zeros(512)), Foreign, "LVM over an image of esxi-img"},
		{"MBR over ours", mbr(image(t, 512), "\x00\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00"), Foreign, "MBR: Linux (FAT32) over an image of esxi-img"},
		{"unknown over ours", image(t, 4096).put(2*4096+16<<10, "?"), Foreign, "data of an unknown kind over an image of esxi-img"},
		{"unknown before 1 MiB over ours", image(t, 512).put(mib-1, "?"), Foreign, "data of an unknown kind over an image of esxi-img"},
		{"the table's last byte", image(t, 4096).put(2*4096+16<<10-1, "?"), OurImage, "an image of esxi-img"},

		{"GPT without partitions", gpt(), Foreign, "GPT without partitions"},
		{"GPT of ESXi", gpt(entry{efi, "BOOT", 64, 2047}, entry{"4EB2EA39-7855-4790-A79E-FAE495E21F8D", "OSDATA", 2048, 4095}), Foreign, `GPT: EFI system partition "BOOT", VMFS-L "OSDATA"`},
		{"GPT of vSAN", gpt(entry{"77719A0C-A4A0-11E3-A47E-000C29745A24", "", 64, 2047}, entry{"381CFCCC-7288-11E0-92EE-000C2911D0B2", "", 2048, 4095}), Foreign, "GPT: vSAN metadata, vSAN"},
		{"unknown type", gpt(entry{"00000000-0000-0000-0000-000000000001", "", 64, 2047}), Foreign, "partition of type 00000000-0000-0000-0000-000000000001"},
		{"evil name", gpt(entry{efi, "a\x1b[2Jb\nc", 64, 2047}), Foreign, `"a [2Jb c"`},
		{"a file system in a partition", gpt(entry{efi, "", 64, 20000}).put(64*512, "XFSB"), Foreign, "EFI system partition (XFS)"},
		{"many partitions", gpt(slicesOf(20)...), Foreign, "and 12 more"},

		{"Windows' MBR", mbr(plain(), "\x80\x00\x00\x00\x07\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00"), Foreign, "MBR: NTFS or exFAT"},
		{"MBR of an unknown type", mbr(plain(), "\x00\x00\x00\x00\x99\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00"), Foreign, "MBR: type 0x99"},
		{"MBR with a file system", mbr(plain(), "\x00\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00").put(mib+1080, "\x53\xef"), Foreign, "MBR: Linux (ext2, ext3 or ext4)"},
		{"protective MBR", mbr(plain(), "\x00\x00\x02\x00\xee\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff"), Empty, "nothing"},
		{"protective MBR and code", mbr(plain(), "\x00\x00\x02\x00\xee\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff").put(0, "\xfa"), Foreign, "data of an unknown kind"},
		{"protective MBR of two", mbr(plain(), "\x00\x00\x02\x00\xee\x00\x00\x00\x01\x00\x00\x00\xff\x00\x00\x00\x00\x00\x00\x00\x0c\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00"), Foreign, "MBR: GPT without its tables, FAT32"},
		{"boot code where partitions would be", mbr(plain(), "\x33\x00\x00\x00\x07"), Foreign, "data of an unknown kind"},

		{"a lost file system", plain().put(mib, "XFSB"), Foreign, "XFS at 1 MiB, without a partition table"},
		{"what a pull leaves", plain().put(mib+82, "FAT32   "), Empty, "nothing"},
		{"two of them", plain().put(32769, "CD001").put(0, "XFSB"), Foreign, "XFS"},
	} {
		t.Run(c.name, func(t *testing.T) { wantContent(t, c.on, c.kind, c.says) })
	}
}

func wantContent(t *testing.T, m *medium, kind Kind, says string) {
	t.Helper()
	got, err := Probe(m, m.size, 512)
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != kind || !strings.Contains(got.Description, says) || kind == Empty && got.Description != says {
		t.Errorf("got %d, %q; want %d, %q", got.Kind, got.Description, kind, says)
	}
}

func slicesOf(n int64) []entry {
	var list []entry
	for i := range n {
		list = append(list, entry{efi, "", 64 + 8*i, 64 + 8*i + 7})
	}
	return list
}

// TestSignatures puts each signature on a disk, alone.
func TestSignatures(t *testing.T) {
	for _, size := range []int64{16 * mib, 16*mib + 512*7} {
		for _, s := range append(atEnd(size), signatures...) {
			wantContent(t, blank(size).put(s.at, s.magic), Foreign, s.name)
		}
	}
}

// TestRAID puts superblocks of md where blkid finds them.
func TestRAID(t *testing.T) {
	for _, c := range []struct{ size, version090, version10 int64 }{
		{536870912, 536805376, 536862720},
		{536874496, 536805376, 536862720},
		{104869888, 104792064, 104861696},
	} {
		for _, at := range []int64{c.version090, c.version10} {
			wantContent(t, blank(c.size).put(at, "\xfc\x4e\x2b\xa9"), Foreign, "Linux RAID")
		}
	}
}

func TestProbeSmall(t *testing.T) {
	// No signature's place may be outside the disk.
	for size := range int64(4096) {
		m := blank(size)
		if got, err := Probe(m, size, 512); err != nil || got.Kind != Empty {
			t.Fatalf("%d bytes: %+v, %v", size, got, err)
		}
	}
}

// TestProbeUnreadable wants an error where something may lie that cannot be
// read: never "empty".
func TestProbeUnreadable(t *testing.T) {
	for _, bad := range []int64{1, 513, 1080, 40000, mib - 1, 16*mib - 510} {
		m := blank(16 * mib)
		m.bad = bad
		if got, err := Probe(m, m.size, 512); !errors.Is(err, errBad) {
			t.Errorf("at %d: %+v, %v", bad, got, err)
		}
	}
	// A disk that is shorter than it says.
	m := blank(8 * mib)
	if got, err := Probe(m, 16*mib, 512); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short: %+v, %v", got, err)
	}
}

// counter counts what is read.
type counter struct {
	io.ReaderAt
	bytes int64
}

func (c *counter) ReadAt(b []byte, off int64) (int, error) {
	c.bytes += int64(len(b))
	return c.ReaderAt.ReadAt(b, off)
}

// FuzzProbe takes an input for the start, the first partition and the end of a
// disk.
func FuzzProbe(f *testing.F) {
	head := func(m *medium, off, n int64) []byte {
		b := make([]byte, n)
		_, _ = m.ReadAt(b, off)
		return b
	}
	ours := image(f, 512)
	f.Add(head(ours, 0, 34*512), head(ours, mib, 1024), head(ours, ours.size-33*512, 33*512))
	many := withGPT(blank(16*mib), slicesOf(100)...)
	f.Add(head(many, 0, 34*512), []byte("XFSB"), []byte{})
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, start, partition, end []byte) {
		for _, size := range []int64{0, 4096, 4 * mib, 1 << 42} {
			m := blank(size).put(0, string(start)).put(mib, string(partition))
			m.parts = append(m.parts, part{size - int64(len(end)), end})
			c := &counter{ReaderAt: m}
			got, err := Probe(c, size, 4096)
			if err != nil {
				t.Fatal(err) // nothing here cannot be read
			}
			if c.bytes > 4*mib {
				t.Errorf("%d bytes were read", c.bytes)
			}
			if got.Description == "" || len(got.Description) > 4096 || strings.ContainsFunc(got.Description, func(r rune) bool { return r < ' ' || r == 0x7F }) {
				t.Errorf("description %q", got.Description)
			}
		}
	})
}
