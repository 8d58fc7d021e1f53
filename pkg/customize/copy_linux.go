package customize

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyRange lets the kernel copy a part of a file to the same place in another.
// Not every file system can, nor between any two.
func copyRange(to, from *os.File, at, n int64) error {
	dst, err := to.SyscallConn()
	if err != nil {
		return err
	}
	src, err := from.SyscallConn()
	if err != nil {
		return err
	}
	for n > 0 {
		var done int
		var failed error
		in, out := at, at
		// Not Fd: that would make the files blocking.
		err := dst.Control(func(d uintptr) {
			if err := src.Control(func(s uintptr) {
				done, failed = unix.CopyFileRange(int(s), &in, int(d), &out, int(n), 0)
			}); err != nil {
				failed = err
			}
		})
		switch {
		case err != nil:
			return err
		case failed == unix.EINTR: //nolint:errorlint // a number
			continue
		case failed != nil:
			return os.NewSyscallError("copy_file_range", failed)
		case done == 0:
			return io.ErrUnexpectedEOF
		}
		at, n = at+int64(done), n-int64(done)
	}
	return nil
}
