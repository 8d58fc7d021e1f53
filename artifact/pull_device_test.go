package artifact_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/blockdev"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// errPower is what a device says whose power has failed.
var errPower = errors.New("the power has failed")

// fakeDevice is a disk in memory with a cache for writes: what was not synced
// may be lost when the power fails, in any order.
type fakeDevice struct {
	info blockdev.Info

	mu       sync.Mutex
	medium   []byte
	cached   []write // since the last sync, in order
	now      []byte  // medium with all that is cached
	writes   int
	failAt   int // that write and all that follows fail; 0: never
	rereads  int
	flushed  bool
	damageAt int64 // byte that the medium does not keep, -1 for none
}

type write struct {
	off  int64
	data []byte
}

func newDevice(size int64, sector int) *fakeDevice {
	return &fakeDevice{
		info:   blockdev.Info{Path: "/dev/test", Kernel: "test", Size: size, SectorSize: sector, Serial: "S1", WWN: "naa.5000c500a1b2c3d4"},
		medium: make([]byte, size), now: make([]byte, size), damageAt: -1,
	}
}

func (d *fakeDevice) Info() blockdev.Info { return d.info }
func (d *fakeDevice) Close() error        { return nil }

func (d *fakeDevice) ReadAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.NewReader(d.now).ReadAt(b, off)
}

func (d *fakeDevice) WriteAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off+int64(len(b)) > d.info.Size {
		return 0, io.ErrShortWrite
	}
	if d.writes++; d.failAt > 0 && d.writes >= d.failAt {
		return 0, errPower
	}
	d.cached = append(d.cached, write{off, bytes.Clone(b)})
	copy(d.now[off:], b)
	return len(b), nil
}

func (d *fakeDevice) Zero(off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

func (d *fakeDevice) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failAt > 0 && d.writes >= d.failAt {
		return errPower
	}
	copy(d.medium, d.now)
	if d.damageAt >= 0 {
		d.medium[d.damageAt] ^= 1
	}
	d.cached = nil
	return nil
}

func (d *fakeDevice) FlushRead() error {
	err := d.Sync()
	copy(d.now, d.medium)
	d.flushed = true
	return err
}

func (d *fakeDevice) Reread() error { d.rereads++; return nil }

// crash keeps some of what was not synced, sector by sector, and brings the
// power back.
func (d *fakeDevice) crash(random *rand.Rand) {
	sector := int64(d.info.SectorSize)
	for _, w := range d.cached {
		for at := w.off / sector * sector; at < w.off+int64(len(w.data)); at += sector {
			if random.IntN(2) == 0 {
				from, to := max(at, w.off), min(at+sector, w.off+int64(len(w.data)))
				copy(d.medium[from:to], w.data[from-w.off:])
			}
		}
	}
	copy(d.now, d.medium)
	d.cached, d.failAt, d.writes = nil, 0, 0
}

// mayBoot says whether firmware could find something to start: a partition
// table at either end, and a volume where it or the first one would be.
func (d *fakeDevice) mayBoot() bool {
	size := d.info.Size
	at, n := int64(disk.PartitionStart), size-disk.PartitionStart
	table, err := disk.ReadTable(bytes.NewReader(d.medium), size)
	mbr := d.medium[510] == 0x55 && d.medium[511] == 0xAA
	if err != nil && !mbr {
		return false
	}
	if err == nil && len(table.Partitions) > 0 {
		at, n = table.Partitions[0].Offset, table.Partitions[0].Size
	}
	_, err = fat32.Open(io.NewSectionReader(bytes.NewReader(d.medium), at, n), n)
	return err == nil
}

// sameContent compares all that does not make a disk boot.
func sameContent(a, b *fakeDevice) bool {
	from, to := int64(disk.PartitionStart)+8*512, a.info.Size-disk.TableSize-512
	return bytes.Equal(a.medium[from:to], b.medium[from:to])
}

func pullToDevice(tb testing.TB, from *registry.Repository, d *fakeDevice, opts artifact.PullOptions) (*artifact.Pulled, error) {
	tb.Helper()
	to, err := artifact.ToTestDevice(d, artifact.DeviceOptions{})
	if err != nil {
		return nil, err
	}
	p, err := artifact.Pull(tb.Context(), from, artifact.LatestTag, to, opts)
	if closeErr := to.Close(); closeErr != nil {
		tb.Error(closeErr)
	}
	return p, err
}

// diskFiles reads a disk as an installer would: by its tables and its volume.
func diskFiles(tb testing.TB, d *fakeDevice) (*disk.Table, *fat32.FS) {
	tb.Helper()
	r := bytes.NewReader(d.medium)
	table, err := disk.ReadTable(r, d.info.Size)
	if err != nil {
		tb.Fatal(err)
	}
	if len(table.Partitions) != 1 || table.FromBackup || table.SectorSize != d.info.SectorSize {
		tb.Fatalf("%+v", table)
	}
	backup := make([]byte, 8)
	if _, err := r.ReadAt(backup, d.info.Size-int64(d.info.SectorSize)); err != nil || string(backup) != "EFI PART" {
		tb.Errorf("the last sector begins with %q, %v", backup, err)
	}
	p := table.Partitions[0]
	volume, err := fat32.Open(io.NewSectionReader(r, p.Offset, p.Size), p.Size)
	if err != nil {
		tb.Fatal(err)
	}
	return table, volume
}

// hasFiles holds that a disk has the files of an image but the kickstart's.
func hasFiles(tb testing.TB, volume *fat32.FS, c *artifact.Config) {
	tb.Helper()
	found := map[string][]byte{}
	for _, f := range volume.Files() {
		b := make([]byte, f.Size)
		if f.Size > 0 {
			if _, err := f.Content.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
				tb.Fatal(err)
			}
		}
		found[f.Path] = b
	}
	for _, f := range c.Files {
		if b, ok := found[f.Path]; !ok || f.Role != plan.RoleKickstart && sum(b) != f.SHA256 {
			tb.Errorf("%s is missing or another", f.Path)
		}
	}
	if len(found) != len(c.Files) {
		tb.Errorf("%d files, not %d", len(found), len(c.Files))
	}
}

// A device of the image's size becomes the image; another pull writes nothing.
func TestPullToDevice(t *testing.T) {
	layout, packed := pack(t, imager.Profile{})
	want := diskOf(t, layout)
	d := newDevice(packed.Config.Disk.Size, 512)
	p, err := pullToDevice(t, layout, d, skip)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.medium, want) || len(d.cached) != 0 || d.rereads != 1 || len(p.Changed) != 0 {
		t.Errorf("another disk, or not synced: %d, %d, %v", len(d.cached), d.rereads, p.Changed)
	}
	d.writes = 0
	opts := skip
	opts.Check = true
	if p, err = pullToDevice(t, layout, d, opts); err != nil || d.writes != 0 || p.Written != 0 || p.Fetched != 0 || !d.flushed {
		t.Errorf("again: %d writes, %+v, %v", d.writes, p, err)
	}
	d.medium[disk.PartitionStart+600_000] ^= 1
	d.medium[d.info.Size-1_000_000] = 1 // zeros by rights
	copy(d.now, d.medium)
	if p, err = pullToDevice(t, layout, d, skip); err != nil || !bytes.Equal(d.medium, want) || p.Fetched > 4<<20 {
		t.Errorf("mended: %+v, %v", p, err)
	}
}

// A medium that does not keep what is written to it is found out, in files and
// in zeros.
func TestPullChecksDevice(t *testing.T) {
	layout, packed := pack(t, imager.Profile{})
	largest := &packed.Config.Files[0]
	for i := range packed.Config.Files {
		if f := &packed.Config.Files[i]; f.Size > largest.Size {
			largest = f
		}
	}
	for name, at := range map[string]int64{"content": largest.Offset + largest.Size/2, "zeros": packed.Config.Disk.Size - 1<<20} {
		d := newDevice(packed.Config.Disk.Size, 512)
		d.damageAt = at
		if _, err := pullToDevice(t, layout, d, skip); err != nil {
			t.Fatal(err)
		}
		d = newDevice(packed.Config.Disk.Size, 512)
		d.damageAt = at
		opts := skip
		opts.Check = true
		_, err := pullToDevice(t, layout, d, opts)
		var wrong *artifact.CheckError
		if !errors.As(err, &wrong) || wrong.Offset > at || wrong.Offset+wrong.Length <= at {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// On a larger device the backup tables are at its end.
func TestPullToLargerDevice(t *testing.T) {
	layout, packed := pack(t, imager.Profile{})
	want := diskOf(t, layout)
	d := newDevice(packed.Config.Disk.Size+10<<20+512, 512)
	for i := range d.medium {
		d.medium[i] = 0xFF
	}
	copy(d.now, d.medium)
	to, err := artifact.ToTestDevice(d, artifact.DeviceOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := artifact.Pull(t.Context(), layout, artifact.LatestTag, to, skip)
	if err != nil || len(p.Changed) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	table, volume := diskFiles(t, d)
	hasFiles(t, volume, packed.Config)
	if table.GUID != packed.Config.Disk.GUID || table.Partitions[0].GUID != packed.Config.Disk.PartitionGUID {
		t.Errorf("%+v", table)
	}
	from, end := packed.Config.Disk.PartitionOffset, packed.Config.Disk.PartitionOffset+packed.Config.Disk.PartitionSize
	if !bytes.Equal(d.medium[from:end], want[from:end]) || bytes.ContainsFunc(d.medium[end:len(want)], func(r rune) bool { return r != 0 }) {
		t.Error("the volume, or what follows it, is another")
	}
	d.writes = 0
	if p, err = pullToDevice(t, layout, d, skip); err != nil || p.Written != 0 || d.writes != 0 {
		t.Errorf("again: %+v, %v", p, err)
	}
	var small *artifact.PlanError
	if _, err := pullToDevice(t, layout, newDevice(packed.Config.Disk.Size-512, 512), skip); !errors.As(err, &small) {
		t.Errorf("to a smaller one: %v", err)
	}
}

// A device with larger sectors gets a disk that is planned for them; unknown
// planners do not.
func TestPullToLargerSectors(t *testing.T) {
	layout, packed := pack(t, imager.Profile{})
	d := newDevice(300<<20, 4096)
	p, err := pullToDevice(t, layout, d, skip)
	if err != nil {
		t.Fatal(err)
	}
	table, volume := diskFiles(t, d)
	hasFiles(t, volume, packed.Config)
	if table.GUID != packed.Config.Disk.GUID || !strings.Contains(strings.Join(p.Changed, ";"), "4096") {
		t.Errorf("%+v, %v", table, p.Changed)
	}
	rewrite(t, layout, func(c *artifact.Config) { c.Planner.Version = 99 })
	var refused *artifact.PlanError
	if _, err := pullToDevice(t, layout, newDevice(300<<20, 4096), skip); !errors.As(err, &refused) || refused.Advice == "" {
		t.Errorf("unknown planner: %v", err)
	}
	// With sectors of its own size only the tables are made anew.
	larger := newDevice(packed.Config.Disk.Size+1<<20, 512)
	if _, err := pullToDevice(t, layout, larger, skip); err != nil {
		t.Fatal(err)
	}
	_, volume = diskFiles(t, larger)
	hasFiles(t, volume, packed.Config)
}

// A planner that is not known may cut the metadata in another way: what a
// larger device has in another place is then in the midst of what is fetched.
func TestPullUnknownPlannerToLargerDevice(t *testing.T) {
	layout, packed := pack(t, imager.Profile{})
	want := diskOf(t, layout)
	rewrite(t, layout, func(c *artifact.Config) {
		c.Planner.Name = "another"
		first := c.Disk.FirstDataOffset
		merged := []artifact.Extent{{Offset: 0, Length: first, SHA256: []artifact.SHA256{sum(want[:first])}}}
		for _, e := range c.Extents {
			if e.Offset >= first {
				merged = append(merged, e)
			}
		}
		last := &merged[len(merged)-1] // the backup tables, with zeros before them
		zeros := &merged[len(merged)-2]
		const before = 1000
		zeros.Length -= before
		last.Offset, last.Length = last.Offset-before, last.Length+before
		last.SHA256[0] = sum(want[last.Offset:])
		c.Extents = merged
	})
	d := newDevice(packed.Config.Disk.Size+1<<20, 512)
	for range 2 { // and again, over itself
		opts := skip
		opts.Check = true
		if _, err := pullToDevice(t, layout, d, opts); err != nil {
			t.Fatal(err)
		}
		table, volume := diskFiles(t, d)
		hasFiles(t, volume, packed.Config)
		from, end := packed.Config.Disk.PartitionOffset, int64(len(want))
		if table.GUID != packed.Config.Disk.GUID || !bytes.Equal(d.medium[from:end-1<<20], want[from:end-1<<20]) || bytes.ContainsFunc(d.medium[end-disk.TableSize-512:end], func(r rune) bool { return r != 0 }) {
			t.Errorf("another disk: %+v", table)
		}
	}
	// On one of its own size it is the image.
	d = newDevice(packed.Config.Disk.Size, 512)
	if _, err := pullToDevice(t, layout, d, skip); err != nil || !bytes.Equal(d.medium, want) {
		t.Errorf("another disk, or %v", err)
	}
}

// Two disks of one image can be told apart, also by the scripts on the host.
func TestPullUniqueIDs(t *testing.T) {
	layout, packed := pack(t, imager.Profile{})
	opts := skip
	opts.UniqueIDs = true
	seen := map[string]bool{packed.Config.Disk.GUID.String(): true}
	for range 2 {
		d := newDevice(packed.Config.Disk.Size, 512)
		if _, err := pullToDevice(t, layout, d, opts); err != nil {
			t.Fatal(err)
		}
		table, volume := diskFiles(t, d)
		hasFiles(t, volume, packed.Config)
		id := fmt.Sprintf("%08x", volume.VolumeID())
		for _, s := range []string{table.GUID.String(), table.Partitions[0].GUID.String(), id} {
			if seen[s] {
				t.Errorf("%s was there before", s)
			}
			seen[s] = true
		}
		b, err := volume.ReadFile(packed.Config.KickstartFile().Path)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := tardisk.Read(bytes.NewReader(b))
		if err != nil || len(entries) != 2 {
			t.Fatal(err, len(entries))
		}
		told := string(entries[1].Data)
		if !strings.Contains(told, `"disk": "`+table.GUID.String()+`"`) || !strings.Contains(told, `"partition": "`+table.Partitions[0].GUID.String()+`"`) ||
			strings.Contains(told, packed.Config.Disk.GUID.String()) {
			t.Errorf("the host is told %s", told)
		}
	}
}

// A device that is not the one, or holds something else.
func TestPullRefusesDevices(t *testing.T) {
	for name, opts := range map[string]artifact.DeviceOptions{
		"serial": {Serial: "S2"}, "wwn": {WWN: "0x5000c500a1b2c3d5"},
	} {
		var other *artifact.ExpectationError
		if _, err := artifact.ToTestDevice(newDevice(1<<20, 512), opts); !errors.As(err, &other) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := artifact.ToTestDevice(newDevice(1<<20, 512), artifact.DeviceOptions{Serial: "s1", WWN: "0x5000C500A1B2C3D4"}); err != nil {
		t.Error(err)
	}
	d := newDevice(1<<20, 512)
	copy(d.now[0x438:], "\x53\xEF") // the magic number of ext2, ext3 and ext4
	for i := range 1024 {
		d.now[2048+i] = byte(i)
	}
	var foreign *artifact.TargetError
	if _, err := artifact.ToTestDevice(d, artifact.DeviceOptions{}); !errors.As(err, &foreign) {
		t.Errorf("ext4: %v", err)
	}
}

// Whenever the power fails, the disk does not boot before it is whole, and the
// next pull makes it so.
func TestPullToDeviceLosesPower(t *testing.T) {
	older, _ := pack(t, imager.Profile{KernelOpts: []string{"a=1"}})
	newer, packed := pack(t, imager.Profile{Headroom: 2 << 20})
	size := packed.Config.Disk.Size + 1<<20
	whole := newDevice(size, 512)
	old := newDevice(size, 512)
	for layout, d := range map[*registry.Repository]*fakeDevice{older: old, newer: whole} {
		if _, err := pullToDevice(t, layout, d, skip); err != nil {
			t.Fatal(err)
		}
	}
	try := func(failAt int, seed uint64) (finished bool) {
		d := newDevice(size, 512)
		copy(d.medium, old.medium)
		copy(d.now, old.medium)
		d.failAt = failAt
		_, err := pullToDevice(t, newer, d, skip)
		if err == nil {
			return true
		}
		if !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		d.crash(rand.New(rand.NewPCG(seed, uint64(failAt))))
		if d.mayBoot() && !sameContent(d, old) && !sameContent(d, whole) {
			t.Errorf("after %d writes the disk boots, and is neither the old one nor the new one", failAt-1)
		}
		if _, err := pullToDevice(t, newer, d, skip); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.medium, whole.medium) {
			t.Errorf("after %d writes and another pull the disk is not whole", failAt-1)
		}
		return false
	}
	n := 1
	for ; !try(n, 1); n++ {
		if n > 12 {
			n += 4 // the middle is all alike
		}
	}
	if n < 20 {
		t.Errorf("only %d writes: the test tests nothing", n)
	}
	// What the disk boots by is written in the end: whatever of it is lost.
	for last := n; last > n-8; last-- {
		for seed := range uint64(4) {
			try(last, 2+seed)
		}
	}
}
