package customize

import (
	"os"

	"golang.org/x/sys/unix"
)

// inUse says whether somebody holds a lock on the file: QEMU does, on the disks
// of virtual machines that run.
func inUse(f *os.File) bool {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	locked := false
	_ = raw.Control(func(fd uintptr) {
		err := unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lock)
		locked = err == nil && lock.Type != unix.F_UNLCK
	})
	return locked
}
