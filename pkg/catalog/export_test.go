package catalog

import "time"

// SetStale changes for how long what is known of tags is acted upon.
func SetStale(d time.Duration) (reset func()) {
	old := stale
	stale = d
	return func() { stale = old }
}
