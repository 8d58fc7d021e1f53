//go:build !windows

package server_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// allocated is how many bytes a file takes on the disk.
func allocated(t *testing.T, path string) (int64, bool) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512, true
}
