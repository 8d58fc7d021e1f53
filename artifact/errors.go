package artifact

import "fmt"

// FormatError says that something is not of this format, or breaks one of its
// limits.
type FormatError struct {
	// What is "config", "index", "manifest" or "layer", with the field at fault.
	What string
	Err  error
}

func (e *FormatError) Error() string { return e.What + ": " + e.Err.Error() }
func (e *FormatError) Unwrap() error { return e.Err }

func malformed(what, format string, args ...any) error {
	return &FormatError{What: what, Err: fmt.Errorf(format, args...)}
}
