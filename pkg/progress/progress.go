// Package progress is how libraries tell how far they are, without knowing
// who listens.
package progress

// Reporter hears of work as it is done. Its methods may be called from many
// goroutines at once and must not block.
type Reporter interface {
	// Start announces a phase (a few words, such as "write esxi.img") and how
	// many bytes it will take, -1 where that is not known.
	Start(phase string, bytes int64)
	// Add counts bytes of the phase as done.
	Add(bytes int64)
	// Done ends the phase.
	Done()
}

// Discard is a Reporter that hears nothing.
var Discard Reporter = discard{}

type discard struct{}

func (discard) Start(string, int64) {}
func (discard) Add(int64)           {}
func (discard) Done()               {}

// Or returns r, or Discard where r is nil: so that an options struct's zero
// value works.
func Or(r Reporter) Reporter {
	if r == nil {
		return Discard
	}
	return r
}
