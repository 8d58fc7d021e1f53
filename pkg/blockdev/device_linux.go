package blockdev

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// zeroStep is how much is zeroed by one call, in bytes: a call cannot be
	// interrupted, and on a device that has to write the zeros it takes long.
	zeroStep = 256 << 20
	// zeroBuffer is how many zeros are written at a time, in bytes.
	zeroBuffer = 1 << 20

	// patience is for what looks at a disk that has just changed (udev, blkid)
	// and is done with it in an instant.
	patience = 5 * time.Second
	interval = 50 * time.Millisecond
)

// Device is a block device that this program alone has open. Reads and writes
// may be parallel.
type Device struct {
	file *os.File
	info Info
	dev  uint64
}

// Open opens a whole disk for reading and writing, alone: nobody can mount it,
// make another device of it, or open it this way until Close. What is refused
// is an *Error: see Info.Refusal, and ErrBusy.
func Open(path string) (*Device, error) { return host().open(path) }

func (s *system) open(path string) (*Device, error) {
	info, node, err := s.describe(path)
	if err != nil {
		return nil, err
	}
	if err := info.Refusal(); err != nil {
		return nil, err
	}
	// The kernel lets one opener have a disk with O_EXCL, and none while it, or
	// a partition of it, is mounted or a part of another device: open(2).
	f, err := os.OpenFile(node.path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return nil, refusedOpen(path, err)
	}
	d := &Device{file: f, info: *info, dev: node.dev}
	if err := d.confirm(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

func refusedOpen(path string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return &Error{Path: path, Err: ErrBusy, Advice: "wait for it to end, or find it: lsblk, fuser -v " + path}
	case errors.Is(err, unix.EROFS):
		return &Error{Path: path, Err: ErrReadOnly, Advice: "remove the write protection (blockdev --setrw), or name another disk"}
	case errors.Is(err, unix.ENOMEDIUM):
		return &Error{Path: path, Err: ErrNoMedium, Advice: "insert one, or name another disk"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Path: path, Err: fs.ErrPermission, Advice: "writing to a disk needs root's rights: run it with sudo"}
	default:
		return err
	}
}

// confirm checks that the device that was opened is the one that was described,
// asks it what it knows best itself, and keeps udev off.
func (d *Device) confirm() error {
	var stat unix.Stat_t
	err := d.control(func(fd int) error { return unix.Fstat(fd, &stat) })
	if err != nil {
		return &fs.PathError{Op: "stat", Path: d.info.Path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFBLK || uint64(stat.Rdev) != d.dev { //nolint:unconvert // 32 bits wide on MIPS
		return &Error{Path: d.info.Path, Err: errors.New("became another device while it was being opened"), Advice: "run the command again"}
	}
	if d.info.Size, err = d.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	var sector int
	err = d.control(func(fd int) error {
		n, err := unix.IoctlGetUint32(fd, unix.BLKSSZGET)
		sector = int(n)
		return err
	})
	if err != nil {
		return &fs.PathError{Op: "ask for the sector size of", Path: d.info.Path, Err: err}
	}
	d.info.SectorSize = sector
	if err := d.info.Refusal(); err != nil {
		return err
	}
	return d.lock()
}

// lock asks udev to leave the device alone until Close:
// https://systemd.io/BLOCK_DEVICE_LOCKING.
func (d *Device) lock() error {
	err := persist(unix.EWOULDBLOCK, func() error {
		return d.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &Error{Path: d.info.Path, Err: ErrBusy, Detail: "it holds a lock (flock)", Advice: "wait for it to end, or find it: fuser -v " + d.info.Path}
	}
	return nil // without locks there is O_EXCL
}

// persist repeats what fails in that one way, for a while.
func persist(way error, do func() error) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(interval) {
		if err := do(); !errors.Is(err, way) || time.Now().After(deadline) {
			return err
		}
	}
}

// control calls the kernel with the file's descriptor.
func (d *Device) control(call func(fd int) error) error {
	conn, err := d.file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		for {
			if result = call(int(fd)); !errors.Is(result, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, result)
}

// Info describes the device.
func (d *Device) Info() Info { return d.info }

// ReadAt reads from the device.
func (d *Device) ReadAt(b []byte, off int64) (int, error) { return d.file.ReadAt(b, off) }

// WriteAt writes to the device. What does not fit on it is an error, and then
// nothing is written.
func (d *Device) WriteAt(b []byte, off int64) (int, error) {
	if err := d.inside(off, int64(len(b))); err != nil {
		return 0, err
	}
	return d.file.WriteAt(b, off)
}

func (d *Device) inside(off, n int64) error {
	if off < 0 || n < 0 || off > d.info.Size || n > d.info.Size-off {
		return &fs.PathError{Op: "write", Path: d.info.Path, Err: fmt.Errorf("%d bytes at %d do not lie on a device of %d", n, off, d.info.Size)}
	}
	return nil
}

// Zero makes n bytes at off read as zeros, in the way that is the cheapest for
// the device. What was written there is forgotten.
func (d *Device) Zero(off, n int64) error {
	if err := d.inside(off, n); err != nil {
		return err
	}
	// The kernel zeroes whole sectors only.
	sector := int64(d.info.SectorSize)
	first, last := (off+sector-1)/sector*sector, (off+n)/sector*sector
	if first >= last {
		return d.writeZeros(off, n)
	}
	if err := d.writeZeros(off, first-off); err != nil {
		return err
	}
	for at := first; at < last; at += zeroStep {
		if err := d.zeroSectors(at, min(zeroStep, last-at)); err != nil {
			return err
		}
	}
	return d.writeZeros(last, off+n-last)
}

// zeroSectors lets the device forget the sectors if they read as zeros then,
// else lets the kernel zero them, else writes zeros.
func (d *Device) zeroSectors(off, n int64) error {
	for _, mode := range []uint32{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE} {
		err := d.control(func(fd int) error { return unix.Fallocate(fd, mode, off, n) })
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV):
			// Neither the device nor, before Linux 4.9, the kernel can.
		default:
			return &fs.PathError{Op: "zero", Path: d.info.Path, Err: err}
		}
	}
	return d.writeZeros(off, n)
}

func (d *Device) writeZeros(off, n int64) error {
	zeros := make([]byte, min(n, zeroBuffer))
	for n > 0 {
		b := zeros[:min(n, zeroBuffer)]
		if _, err := d.file.WriteAt(b, off); err != nil {
			return err
		}
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	return nil
}

// Sync waits until all that was written is on the medium.
func (d *Device) Sync() error { return d.file.Sync() }

// FlushRead syncs, and forgets what was read and written, so that reads come
// from the medium.
func (d *Device) FlushRead() error {
	if err := d.Sync(); err != nil {
		return err
	}
	// Where BLKFLSBUF is not allowed (it needs CAP_SYS_ADMIN), advice has the
	// same effect on pages that nobody else uses.
	if d.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.BLKFLSBUF, 0) }) == nil {
		return nil
	}
	err := d.control(func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
	if err != nil {
		return &fs.PathError{Op: "flush", Path: d.info.Path, Err: err}
	}
	return nil
}

// Reread makes the kernel look at the partition table again. Devices that have
// no partitions, such as plain loop devices, have nothing to look at: that is
// no error.
func (d *Device) Reread() error {
	err := persist(unix.EBUSY, func() error {
		return d.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.BLKRRPART, 0) })
	})
	switch {
	case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTTY):
		return nil
	default:
		return &fs.PathError{Op: "read the partition table of", Path: d.info.Path, Err: err}
	}
}

// Close gives the device free. What was not synced may be lost.
func (d *Device) Close() error { return d.file.Close() }
