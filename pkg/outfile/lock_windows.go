package outfile

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

const (
	noFollow = 0
	// renameOpen says that a file can be renamed and removed while it is open.
	renameOpen = false
	// lockOffset is where the locked byte lies: locks keep others, and other
	// handles of this process, from reading and writing what they cover, so it
	// lies beyond any content.
	lockOffset = 1 << 30 // in units of 4 GiB
)

// tryLock locks a file for as long as it is open, and says whether it could.
func tryLock(f *os.File) (bool, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		result = windows.LockFileEx(windows.Handle(fd), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
			0, 1, 0, &windows.Overlapped{OffsetHigh: lockOffset})
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(result, windows.ERROR_LOCK_VIOLATION), errors.Is(result, windows.ERROR_IO_PENDING):
		return false, nil
	default:
		return result == nil, result
	}
}
