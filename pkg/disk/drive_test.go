package disk_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// withDrive is a disk around an empty volume of 3 MiB with a drive behind it.
func withDrive(t *testing.T, sector int, d *disk.Drive) []byte {
	t.Helper()
	var b plan.Builder
	b.Zero(3 << 20)
	volume, err := b.Build(sector)
	if err != nil {
		t.Fatal(err)
	}
	p, err := disk.New(volume, disk.Options{DiskGUID: diskGUID, PartitionGUID: partitionGUID, PartitionName: disk.PartitionName, Drive: d})
	if err != nil {
		t.Fatal(err)
	}
	img, err := io.ReadAll(p.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestDriveReadsBack(t *testing.T) {
	text := []byte("what is on the drive")
	own := uuid.MustParse("77777777-1111-8222-8333-444455556666")
	for _, sector := range []int{512, 4096} {
		for _, guid := range []uuid.UUID{uuid.Nil, own} {
			d := &disk.Drive{Size: 2 << 20, GUID: guid, Extents: []plan.Extent{
				{Length: 1 << 20}, {Offset: 1 << 20, Length: int64(len(text)), Kind: plan.Literal, Data: text},
			}}
			img := withDrive(t, sector, d)
			table, err := disk.ReadTable(bytes.NewReader(img), int64(len(img)))
			if err != nil {
				t.Fatal(err)
			}
			p, ok := table.ConfigDrive()
			if !ok || p.Offset != 4<<20 || p.Size != 2<<20 || p.Index != 2 || p.GUID == uuid.Nil || guid != uuid.Nil && p.GUID != guid {
				t.Fatalf("sector %d: %+v, %v", sector, p, ok)
			}
			if got := img[p.Offset+1<<20:][:len(text)]; !bytes.Equal(got, text) {
				t.Errorf("sector %d: %q", sector, got)
			}
			again, err := disk.ReadDrive(bytes.NewReader(img), table, p)
			if err != nil || again.GUID != guid {
				t.Fatalf("%+v, %v", again, err)
			}
			if !bytes.Equal(withDrive(t, sector, again), img) {
				t.Errorf("sector %d: what was read gives another disk", sector)
			}
			// On a larger disk the tables are at the ends, and the same.
			head, tail, err := disk.Tables(64<<20, 3<<20, sector, disk.Options{DiskGUID: diskGUID, PartitionGUID: partitionGUID, PartitionName: disk.PartitionName, Drive: again})
			if err != nil {
				t.Fatal(err)
			}
			larger := make([]byte, 64<<20)
			copy(larger, head)
			copy(larger[len(larger)-len(tail):], tail)
			if table, err = disk.ReadTable(bytes.NewReader(larger), int64(len(larger))); err != nil {
				t.Fatal(err)
			}
			if moved, ok := table.ConfigDrive(); !ok || moved != p {
				t.Errorf("on a larger disk: %+v", moved)
			}
		}
	}
}

func TestDriveRefuses(t *testing.T) {
	volume := &plan.Plan{Size: 1 << 20, SectorSize: 512, Extents: []plan.Extent{{Length: 1 << 20}}}
	for name, c := range map[string]struct {
		d    disk.Drive
		want string
	}{
		"odd size":    {disk.Drive{Size: 1<<20 + 512}, "not a multiple"},
		"no size":     {disk.Drive{}, "not a multiple"},
		"too large":   {disk.Drive{Size: disk.MaxDriveSize + disk.DriveUnit}, "not a multiple"},
		"too much":    {disk.Drive{Size: 1 << 20, Extents: []plan.Extent{{Length: 2 << 20}}}, "on a partition of 1048576"},
		"a gap":       {disk.Drive{Size: 1 << 20, Extents: []plan.Extent{{Offset: 512, Length: 512}}}, "end to end"},
		"short":       {disk.Drive{Size: 1 << 20, Extents: []plan.Extent{{Length: 512, Kind: plan.Literal, Data: []byte("x")}}}, "end to end"},
		"file's data": {disk.Drive{Size: 1 << 20, Extents: []plan.Extent{{Length: 512, Kind: plan.Content}}}, "end to end"},
	} {
		_, err := disk.New(volume, disk.Options{DiskGUID: diskGUID, PartitionGUID: partitionGUID, Drive: &c.d})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A partition that looks otherwise is not one of ours.
func TestConfigDriveIsStrict(t *testing.T) {
	img := withDrive(t, 512, &disk.Drive{Size: 1 << 20})
	table, err := disk.ReadTable(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*disk.Table){
		"name":    func(t *disk.Table) { t.Partitions[1].Name = "data" },
		"type":    func(t *disk.Table) { t.Partitions[1].Type = t.Partitions[0].Type },
		"place":   func(t *disk.Table) { t.Partitions[1].Offset += 1 << 20 },
		"size":    func(t *disk.Table) { t.Partitions[1].Size += 512 },
		"a third": func(t *disk.Table) { t.Partitions = append(t.Partitions, t.Partitions[1]) },
		"alone":   func(t *disk.Table) { t.Partitions = t.Partitions[:1] },
	} {
		other := *table
		other.Partitions = append([]disk.Partition{}, table.Partitions...)
		change(&other)
		if _, ok := other.ConfigDrive(); ok {
			t.Errorf("%s: is taken for ours", name)
		}
	}
}
