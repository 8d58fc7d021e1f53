package customize_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// larger makes a file larger, as truncate and qemu-img resize do.
func larger(t testing.TB, name string, size int64) {
	t.Helper()
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
}

// sameDisk holds that a file is that disk with nothing but zeros behind it, up
// to a size, of which it reads no holes.
func sameDisk(t testing.TB, name string, want []byte, size int64) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	from, n, _, err := disk.OpenDisk(f, fileSize(t, f), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n != size {
		t.Errorf("%d bytes, want %d", n, size)
	}
	if !bytes.Equal(held(t, from, int64(len(want))), want) {
		t.Error("another disk than without the room")
	}
	for at := disk.NextData(from, int64(len(want)), n); at < n; at = disk.NextData(from, at+1<<20, n) {
		b := make([]byte, min(1<<20, n-at))
		if _, err := from.ReadAt(b, at); err != nil || !disk.AllZero(b) {
			t.Fatalf("something behind the disk, at %d (%v)", at, err)
		}
	}
}

func fileSize(t testing.TB, f *os.File) int64 {
	t.Helper()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// room is how large images are made: a size that nobody would read for long,
// where holes cost nothing.
func room() int64 {
	if runtime.GOOS == "linux" {
		return 40 << 30
	}
	return 300 << 20
}

// TestRoomStays holds that an image which was made larger keeps its size, that
// it comes to the same whether it is made larger before or afterwards, and that
// its digest is that of the image as it was built.
func TestRoomStays(t *testing.T) {
	c := customize.Changes{Hostname: "esx1", KernelOpts: []string{"a=b"}}
	for name, p := range map[string]imager.Profile{"512": {Headroom: 1 << 20}, "4096": {Headroom: 1 << 20, SectorSize: 4096}} {
		t.Run(name, func(t *testing.T) {
			b := image(t, p)
			built := write(t, b)
			writeFile(t, built, c, customize.WriteOptions{Output: built})
			want := read(t, built)

			name, size := write(t, b), room()
			larger(t, name, size)
			dry := writeFile(t, name, c, customize.WriteOptions{Output: name, DryRun: true})
			for _, to := range []customize.WriteOptions{
				{Output: filepath.Join(t.TempDir(), "other.img")},
				{Output: filepath.Join(t.TempDir(), "other.qcow2"), Format: disk.QCOW2},
				{Output: name},
			} {
				done := writeFile(t, name, c, to)
				sameDisk(t, to.Output, want, size)
				if s := done.Source; s.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(b)) || s.Size != int64(len(b)) || done.Step().Source != s {
					t.Errorf("source %+v", s)
				}
				if done.Grown != 0 || done.Differs != dry.Differs || done.Differs > 1<<20 {
					t.Errorf("grown by %d, %d bytes differ, in a dry run %d", done.Grown, done.Differs, dry.Differs)
				}
			}
		})
	}
}

// A QCOW2 file that was made larger keeps its size, too.
func TestRoomOfQCOW2Stays(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	raw, name, size := write(t, b), filepath.Join(t.TempDir(), "esxi.qcow2"), room()
	larger(t, raw, size)
	// Without a change it is the same disk.
	writeFile(t, raw, customize.Changes{}, customize.WriteOptions{Output: name, Format: disk.QCOW2, Convert: true})
	sameDisk(t, name, b, size)
	done := writeFile(t, name, customize.Changes{Hostname: "esx1"}, customize.WriteOptions{Output: name})
	r, err := open(t, b).Customize(customize.Changes{Hostname: "esx1"}, done.Source)
	if err != nil {
		t.Fatal(err)
	}
	sameDisk(t, name, bytesOf(t, r.Plan), size)
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(b)); done.Source.Digest != want {
		t.Errorf("source %s, want %s", done.Source.Digest, want)
	}
}

// TestRoomOfHosts holds that the images of hosts, and overlays, have the room of
// the image.
func TestRoomOfHosts(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	built, name, size := write(t, b), write(t, b), room()
	larger(t, name, size)
	for kind, opts := range map[string]customize.HostsOptions{
		"raw":      {},
		"overlays": {Format: disk.QCOW2, Backing: &customize.HostsBacking{Path: name}},
		"behind":   {Format: disk.QCOW2, Backing: &customize.HostsBacking{Path: filepath.Join(t.TempDir(), "behind.qcow2"), Write: disk.QCOW2}},
	} {
		dir := t.TempDir()
		results, err := writeHosts(t, t.Context(), name, []customize.Host{host(dir, "esx1"), host(dir, "esx2")}, opts)
		if err != nil {
			t.Fatal(kind, err)
		}
		for _, r := range results {
			if r.Err != nil || r.Size != size || r.Grown != 0 || r.Differs > 2<<20 {
				t.Errorf("%s: %+v", kind, r)
			}
		}
		if kind == "raw" {
			one := filepath.Join(t.TempDir(), "one")
			writeFile(t, built, customize.Changes{Hostname: "esx2"}, customize.WriteOptions{Output: one})
			sameDisk(t, filepath.Join(dir, "esx2"), read(t, one), size)
		}
	}
}

// TestRoomIsUsed holds that a volume which has to grow grows into the room, and
// that what lay there does not go on to the next host.
func TestRoomIsUsed(t *testing.T) {
	b := image(t, imager.Profile{})
	name, size := write(t, b), int64(len(b))+256<<20
	larger(t, name, size)
	put(t, name, []byte("somebody's"), int64(len(b))+200<<20)
	files := fstest.MapFS{"openstack/latest/meta_data.json": {Data: []byte("{}")}}
	for i := range 34 {
		files[fmt.Sprintf("openstack/content/%04d", i)] = &fstest.MapFile{Data: bytes.Repeat([]byte("0123456789abcdef"), 1<<16)}
	}
	drive, err := customize.ReadDrive("large", files)
	if err != nil {
		t.Fatal(err)
	}
	done := writeFile(t, name, customize.Changes{Drive: drive}, customize.WriteOptions{Output: name})
	if done.Grown != 0 || done.Layout.VolumeSize <= open(t, b).Layout.VolumeSize {
		t.Errorf("grown by %d, the volume has %d bytes", done.Grown, done.Layout.VolumeSize)
	}
	r, err := open(t, b).Customize(customize.Changes{Drive: drive}, done.Source)
	if err != nil {
		t.Fatal(err)
	}
	sameDisk(t, name, bytesOf(t, r.Plan), size)
}

func put(t testing.TB, name string, data []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// moveTable puts the backup of the partition table at the end of a disk that was
// made larger, as pull to a device does, and sgdisk -e.
func moveTable(t testing.TB, name string, size int64, l disk.Layout) {
	t.Helper()
	head, tail, err := disk.Tables(size, l.VolumeSize, l.SectorSize, disk.Options{DiskGUID: l.DiskGUID, PartitionGUID: l.PartitionGUID, PartitionName: l.PartitionName})
	if err != nil {
		t.Fatal(err)
	}
	larger(t, name, size)
	put(t, name, make([]byte, len(tail)), l.Least()-int64(len(tail)))
	put(t, name, head, 0)
	put(t, name, tail, size-int64(len(tail)))
}

// TestTableStaysAtTheEnd holds that a disk whose table has all of it keeps that.
func TestTableStaysAtTheEnd(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		b := image(t, imager.Profile{Headroom: 1 << 20, SectorSize: sector})
		name, size := write(t, b), int64(len(b))+77<<20+4096
		moveTable(t, name, size, open(t, b).Layout)
		before := read(t, name)
		if again, err := open(t, before).Plan(); err != nil || !bytes.Equal(bytesOf(t, again), before) {
			t.Errorf("%d: planned again it is another disk (%v)", sector, err)
		}
		done := writeFile(t, name, customize.Changes{Hostname: "x"}, customize.WriteOptions{Output: name})
		after := read(t, name)
		table, err := disk.ReadTable(bytes.NewReader(after), int64(len(after)))
		if err != nil || table.End != size || int64(len(after)) != size || done.Grown != 0 || done.Differs > 1<<20 {
			t.Errorf("%d: %+v, %v; grown by %d, %d bytes differ", sector, table, err, done.Grown, done.Differs)
		}
		clear(after[:sector*2])
		if table, err := disk.ReadTable(bytes.NewReader(after), int64(len(after))); err != nil || !table.FromBackup {
			t.Errorf("%d: the backup is not at the end: %v", sector, err)
		}
		if want := fmt.Sprintf("sha256:%x", sha256.Sum256(before)); done.Source.Digest != want || done.Source.Size != size {
			t.Errorf("%d: source %+v", sector, done.Source)
		}
	}
}

// An odd end is cut to whole sectors; and there is a largest disk.
func TestOddRoom(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	name := write(t, b)
	larger(t, name, int64(len(b))+1<<20+100)
	writeFile(t, name, customize.Changes{Hostname: "x"}, customize.WriteOptions{Output: name})
	if got := len(read(t, name)); got != len(b)+1<<20 {
		t.Errorf("%d bytes, want %d", got, len(b)+1<<20)
	}
	_, err := customize.Open(bytes.NewReader(b), plan.MaxSize+512)
	if err == nil || !strings.Contains(err.Error(), "has a disk of 1099511628288 bytes") {
		t.Errorf("%v", err)
	}
}
