package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextData asks the file system for the end of a hole. It moves the file's
// offset, which nobody here reads or writes by.
func nextData(f *os.File, at, end int64) int64 {
	conn, err := f.SyscallConn()
	if err != nil {
		return at
	}
	next := at
	_ = conn.Control(func(fd uintptr) {
		off, err := unix.Seek(int(fd), at, unix.SEEK_DATA)
		switch {
		case err == nil:
			next = off
		case errors.Is(err, unix.ENXIO): // up to the end of the file
			next = end
		}
	})
	return min(max(next, at), end)
}

// dropCache lets the kernel forget what it keeps of a part of a file.
func dropCache(f *os.File, off, n int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED) })
}
