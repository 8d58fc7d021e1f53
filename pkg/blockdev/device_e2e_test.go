//go:build e2e && linux

package blockdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/blockdev"
	"github.com/esxi-img/esxi-img/pkg/blockdev/blockdevtest"
)

const mib = 1 << 20

func open(t *testing.T, path string) *blockdev.Device {
	t.Helper()
	d, err := blockdev.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // before the loop device goes
	return d
}

func TestLoop(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(strconv.Itoa(sector), func(t *testing.T) {
			const size = 16*mib + 4096*3
			loop := blockdevtest.New(t, size, blockdevtest.Options{SectorSize: sector})
			link := filepath.Join(t.TempDir(), "by-id")
			if err := os.Symlink(loop.Path, link); err != nil {
				t.Fatal(err)
			}
			d := open(t, link)
			info := d.Info()
			if info.Path != link || "/dev/"+info.Kernel != loop.Path || info.Size != size || info.SectorSize != sector || info.Partition || info.ReadOnly {
				t.Errorf("%+v", info)
			}

			// Nobody else may have it meanwhile.
			if _, err := blockdev.Open(loop.Path); !errors.Is(err, blockdev.ErrBusy) {
				t.Errorf("opened again: %v", err)
			}

			content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			writeAt(t, d, content, 0)
			wantBacking(t, d, loop, content)

			// Zeros: whole sectors, parts of one, and across many.
			for _, z := range [][2]int64{
				{0, int64(sector)},
				{100000, 1},
				{200000, 100},
				{3 * mib, 4 * mib},
				{8*mib + 77, mib + 1},
				{9*mib + 4095, 2},
				{size - 1, 1},
				{size - 4096, 4096},
				{5, 0},
				{12*mib - 1, int64(sector) + 2},
			} {
				clear(content[z[0] : z[0]+z[1]])
				if err := d.Zero(z[0], z[1]); err != nil {
					t.Fatalf("zero %v: %v", z, err)
				}
				got := make([]byte, size)
				if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
					t.Fatalf("after zeroing %v the device differs: %v", z, err)
				}
			}
			wantBacking(t, d, loop, content)

			// What was zeroed can be written, and not over the end.
			writeAt(t, d, []byte("again"), 3*mib+5)
			copy(content[3*mib+5:], "again")
			for _, n := range []int{2, 5000} {
				if n, err := d.WriteAt(bytes.Repeat([]byte("!"), n), size-1); err == nil || n != 0 {
					t.Errorf("wrote %d bytes over the end: %v", n, err)
				}
			}
			for _, z := range [][2]int64{{-1, 2}, {size - 1, 2}, {0, -1}, {1 << 62, 1 << 62}} {
				if err := d.Zero(z[0], z[1]); err == nil {
					t.Errorf("zeroed %v, outside the device", z)
				}
			}
			wantBacking(t, d, loop, content)

			if err := d.Reread(); err != nil {
				t.Error(err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			// Free again.
			if err := open(t, loop.Path).Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func writeAt(t *testing.T, d *blockdev.Device, b []byte, off int64) {
	t.Helper()
	if n, err := d.WriteAt(b, off); n != len(b) || err != nil {
		t.Fatal(n, err)
	}
}

// wantBacking compares what has reached the medium.
func wantBacking(t *testing.T, d *blockdev.Device, loop *blockdevtest.Loop, want []byte) {
	t.Helper()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(loop.Backing)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the medium has other bytes")
	}
}

// TestFlushRead changes the medium behind the kernel's back: what was read
// before must not be read again.
func TestFlushRead(t *testing.T) {
	loop := blockdevtest.New(t, 4*mib, blockdevtest.Options{})
	d := open(t, loop.Path)
	writeAt(t, d, []byte("before"), mib)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(loop.Backing, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("behind"), mib); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		b := make([]byte, 6)
		if _, err := d.ReadAt(b, mib); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(); got != "before" {
		t.Fatalf("the page cache has %q: this test shows nothing", got)
	}
	if err := d.FlushRead(); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "behind" {
		t.Errorf("read %q, the medium has %q", got, "behind")
	}
}

// TestZeroIsCheap wants a device that can forget to do so.
func TestZeroIsCheap(t *testing.T) {
	loop := blockdevtest.New(t, 64*mib, blockdevtest.Options{})
	d := open(t, loop.Path)
	writeAt(t, d, bytes.Repeat([]byte{1}, 64*mib), 0)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	before := allocated(t, loop.Backing)
	if err := d.Zero(77, 64*mib-100); err != nil { // in parts of sectors at both ends
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if after := allocated(t, loop.Backing); before < 60*mib || after > mib {
		t.Errorf("%d bytes were allocated, %d are after zeroing", before, after)
	}
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestUsed refuses devices that somebody uses, and says who.
func TestUsed(t *testing.T) {
	refused := func(t *testing.T, path string, want error, says ...string) {
		t.Helper()
		d, err := blockdev.Open(path)
		if err == nil {
			_ = d.Close()
		}
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("does not say %q: %v", s, err)
			}
		}
	}
	t.Run("mounted", func(t *testing.T) {
		loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{})
		blockdevtest.Run(t, "mkfs.ext4", "-q", loop.Path)
		dir := filepath.Join(t.TempDir(), "a b")
		mount(t, loop.Path, dir)
		refused(t, loop.Path, blockdev.ErrMounted, dir)
	})
	t.Run("partition mounted", func(t *testing.T) {
		loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{Partitions: true})
		addPartition(t, loop.Path)
		partition := loop.Path + "p1"
		refused(t, partition, blockdev.ErrPartition)
		info, err := blockdev.Describe(partition)
		if err != nil || !info.Partition || info.Whole != loop.Path {
			t.Errorf("%+v, %v", info, err)
		}
		blockdevtest.Run(t, "mkfs.ext4", "-q", partition)
		dir := filepath.Join(t.TempDir(), "mnt")
		mount(t, partition, dir)
		refused(t, loop.Path, blockdev.ErrMounted, dir)
	})
	t.Run("swap", func(t *testing.T) {
		loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{})
		blockdevtest.Run(t, "mkswap", loop.Path)
		blockdevtest.Run(t, "swapon", loop.Path)
		t.Cleanup(func() { blockdevtest.Run(t, "swapoff", loop.Path) })
		refused(t, loop.Path, blockdev.ErrMounted, "swap")
	})
	t.Run("read-only", func(t *testing.T) {
		loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{ReadOnly: true})
		refused(t, loop.Path, blockdev.ErrReadOnly)
	})
	t.Run("exclusively open", func(t *testing.T) {
		loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{})
		f, err := os.OpenFile(loop.Path, os.O_RDONLY|os.O_EXCL, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		refused(t, loop.Path, blockdev.ErrBusy)
	})
	t.Run("locked", func(t *testing.T) {
		loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{})
		f, err := os.Open(loop.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		fd := int(f.Fd())
		if err := syscall.Flock(fd, syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
			t.Fatal(err)
		}
		refused(t, loop.Path, blockdev.ErrBusy, "flock")
		// What looks at it for an instant is waited for.
		time.AfterFunc(300*time.Millisecond, func() { _ = syscall.Flock(fd, syscall.LOCK_UN) })
		open(t, loop.Path)
	})
	t.Run("no medium", func(t *testing.T) {
		loop := blockdevtest.New(t, 0, blockdevtest.Options{})
		refused(t, loop.Path, blockdev.ErrNoMedium)
	})
	t.Run("not a device", func(t *testing.T) {
		refused(t, "/dev/null", blockdev.ErrNotDevice)
		refused(t, "/dev/there-is-no-such-disk", fs.ErrNotExist)
		loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{})
		refused(t, loop.Backing, blockdev.ErrNotDevice)
		made := filepath.Join(t.TempDir(), "node")
		var stat syscall.Stat_t
		if err := syscall.Stat(loop.Path, &stat); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mknod(made, syscall.S_IFBLK|0o600, int(stat.Rdev)); err != nil {
			t.Fatal(err)
		}
		refused(t, made, blockdev.ErrNotDevice, "/dev")
	})
}

func mount(t *testing.T, device, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(device, dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// addPartition makes a partition that the disk's table does not have: not every
// kernel can read one.
func addPartition(t *testing.T, path string) {
	t.Helper()
	blockdevtest.Run(t, "addpart", path, "1", "2048", "16384")
	for range 200 {
		if _, err := os.Stat(path + "p1"); err == nil {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%sp1 does not appear", path)
}

// TestReread wants the kernel to forget a partition that isn't on the disk.
func TestReread(t *testing.T) {
	loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{Partitions: true})
	addPartition(t, loop.Path)
	d := open(t, loop.Path)
	if err := d.Reread(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/class/block/" + d.Info().Kernel + "p1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the partition is there still: %v", err)
	}
}

// TestRereadBusy waits for a partition that somebody looks at, and says so if
// that does not end.
func TestRereadBusy(t *testing.T) {
	loop := blockdevtest.New(t, 16*mib, blockdevtest.Options{Partitions: true})
	addPartition(t, loop.Path)
	d := open(t, loop.Path)
	f, err := os.Open(loop.Path + "p1")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Reread(); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("%v, want that it is busy", err)
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = f.Close() })
	if err := d.Reread(); err != nil {
		t.Error(err)
	}
}

// TestProbeForeign lets foreign programs make what is to be recognised.
func TestProbeForeign(t *testing.T) {
	const size = 64 * mib
	for _, c := range []struct {
		name string
		make func(t *testing.T, disk string)
		want string
	}{
		{"ext4", func(t *testing.T, disk string) { blockdevtest.Run(t, "mkfs.ext4", "-q", disk) }, "ext2, ext3 or ext4"},
		{"FAT32", func(t *testing.T, disk string) { blockdevtest.Run(t, "mkfs.vfat", "-F", "32", disk) }, "FAT32"},
		{"swap", func(t *testing.T, disk string) { blockdevtest.Run(t, "mkswap", disk) }, "swap"},
		{"ISO 9660", func(t *testing.T, disk string) {
			if err := os.Remove(disk); err != nil {
				t.Fatal(err)
			}
			blockdevtest.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-o", disk, "content.go")
		}, "ISO 9660"},
		{"GPT", func(t *testing.T, disk string) {
			blockdevtest.Run(t, "sgdisk", "-n", "1:2048:+10M", "-t", "1:8e00", "-c", "1:data", "-n", "2:0:+1M", "-t", "2:fb00",
				"-n", "3:0:+1M", "-t", "3:fb01", "-n", "4:0:+1M", "-t", "4:fc00", "-n", "5:0:0", "-t", "5:fd00", disk)
		}, `GPT: Linux LVM "data", VMFS, VMware reserved, VMware core dumps, Linux RAID`},
		{"GPT, only the backup left", func(t *testing.T, disk string) {
			blockdevtest.Run(t, "sgdisk", "-n", "1:2048:+10M", "-t", "1:fd00", disk)
			blockdevtest.Run(t, "dd", "if=/dev/zero", "of="+disk, "bs=1M", "count=1", "conv=notrunc", "status=none")
		}, "GPT: Linux RAID"},
		{"GPT of 4096", func(t *testing.T, disk string) {
			loop := blockdevtest.Over(t, disk, blockdevtest.Options{SectorSize: 4096})
			blockdevtest.Run(t, "sgdisk", "-n", "1:256:0", loop.Path)
		}, "GPT: Linux"},
		{"MBR", func(t *testing.T, disk string) {
			blockdevtest.Run(t, "sh", "-c", fmt.Sprintf("echo ',,L' | sfdisk --quiet %q", disk))
		}, "MBR: Linux"},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(disk, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(disk, size); err != nil {
				t.Fatal(err)
			}
			c.make(t, disk)
			f, err := os.Open(disk)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			got, err := blockdev.Probe(f, info.Size(), 512)
			if err != nil || got.Kind != blockdev.Foreign || !strings.Contains(got.Description, c.want) {
				t.Errorf("%+v, %v; want %q", got, err, c.want)
			}
		})
	}
}

// TestLsblk compares with what lsblk says of every disk of this machine.
func TestLsblk(t *testing.T) {
	blockdevtest.New(t, 4*mib, blockdevtest.Options{SectorSize: 4096})
	compared := 0
	for line := range strings.Lines(blockdevtest.Run(t, "lsblk", "--bytes", "--noheadings", "--raw", "--output", "PATH,SIZE,LOG-SEC,PHY-SEC,RO,TYPE")) {
		fields := strings.Fields(line)
		if len(fields) != 6 {
			continue
		}
		info, err := blockdev.Describe(fields[0])
		if err != nil {
			t.Errorf("%s: %v", fields[0], err)
			continue
		}
		compared++
		readOnly := "0"
		if info.ReadOnly {
			readOnly = "1"
		}
		got := []string{fields[0], strconv.FormatInt(info.Size, 10), strconv.Itoa(info.SectorSize), strconv.Itoa(info.PhysicalSectorSize), readOnly, fields[5]}
		if !slices.Equal(got, fields) {
			t.Errorf("described as %v, lsblk says %v", got, fields)
		}
		if info.Partition != (fields[5] == "part") {
			t.Errorf("%s: partition %v, lsblk says %s", fields[0], info.Partition, fields[5])
		}
	}
	if compared == 0 {
		t.Error("lsblk lists nothing")
	}
}
