//go:build !windows

package outfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// noFollow refuses a symbolic link in the temporary file's place.
	noFollow = unix.O_NOFOLLOW
	// renameOpen says that a file can be renamed and removed while it is open.
	renameOpen = true
)

// tryLock locks a file for as long as it is open, and says whether it could:
// not if another process has locked it. File systems without locks pass.
func tryLock(f *os.File) (bool, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		for {
			result = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
			if !errors.Is(result, unix.EINTR) {
				return
			}
		}
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(result, unix.EWOULDBLOCK):
		return false, nil
	case errors.Is(result, unix.ENOSYS), errors.Is(result, unix.EOPNOTSUPP), errors.Is(result, unix.ENOLCK):
		return true, nil
	default:
		return result == nil, result
	}
}
