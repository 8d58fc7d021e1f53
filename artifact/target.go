package artifact

import "fmt"

// TargetError says why something may not be written to.
type TargetError struct {
	Path   string
	Err    error
	Advice string
}

func (e *TargetError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }
func (e *TargetError) Unwrap() error { return e.Err }

// KeptError says that a pull did not come to its end and that what it brought
// so far is kept: the next one to the same target goes on from there.
type KeptError struct {
	// Path is the file that holds it; "" where that is the target itself.
	Path string
	Err  error
}

func (e *KeptError) Error() string { return e.Err.Error() }
func (e *KeptError) Unwrap() error { return e.Err }
