package registrytest

import "testing"

// Allocated is not known: NTFS has holes only in files that are marked so.
func Allocated(testing.TB, string) (int64, bool) { return 0, false }
