package artifact

import (
	"os"

	"golang.org/x/sys/unix"
)

// punchHole makes a run of a file read as zeros that take no room, and says
// whether it could.
func punchHole(f *os.File, off, n int64) bool {
	return onFile(f, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
}

// dropCache lets what is read next of a synced file come from the disk. It is
// a hint.
func dropCache(f *os.File) {
	onFile(f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
}

// onFile does something with a file's descriptor, and says whether it could.
func onFile(f *os.File, do func(fd int) error) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	_ = conn.Control(func(fd uintptr) { ok = do(int(fd)) == nil })
	return ok
}
