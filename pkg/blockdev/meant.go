package blockdev

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Meant says whether a path is meant as a device: it is one, or it lies under
// /dev (or Windows' \\.\), where a file would be a mistake. /dev/shm is for
// files.
func Meant(path string) bool {
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeDevice != 0 {
		return true
	}
	if strings.HasPrefix(path, `\\.\`) {
		return true
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if target, err := filepath.EvalSymlinks(abs); err == nil {
		abs = target
	}
	abs = filepath.ToSlash(abs)
	return strings.HasPrefix(abs, "/dev/") && !strings.HasPrefix(abs, "/dev/shm/")
}
