//go:build !windows

package registrytest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Allocated is how many bytes a file takes on the disk, if that is known.
func Allocated(t testing.TB, path string) (int64, bool) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512, true
}
