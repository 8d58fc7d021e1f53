//go:build !linux

package customize

import "os"

// inUse can't be told here.
func inUse(*os.File) bool { return false }
