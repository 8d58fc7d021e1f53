package server_test

import "testing"

// allocated is not known: NTFS has holes only in files that are marked so.
func allocated(*testing.T, string) (int64, bool) { return 0, false }
