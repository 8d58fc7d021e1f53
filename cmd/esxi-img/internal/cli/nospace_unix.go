//go:build !windows

package cli

import (
	"errors"
	"syscall"
)

// isNoSpace says whether the file system or the user's share of it is full.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
