//go:build unix

package customize_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// zeroed is memory of the system's, not Go's: of that the race detector would
// note each byte when it is allocated.
func zeroed(t testing.TB, size int64) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return b
}
