package cli

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isNoSpace says whether the file system is full.
func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
