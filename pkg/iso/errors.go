package iso

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ErrNotISO says that the input does not begin as an ISO 9660 image does.
var ErrNotISO = errors.New("not an ISO 9660 image")

// ErrAmbiguous says that a name matches no entry exactly and several without
// regard to case.
var ErrAmbiguous = errors.New("several names match when case is ignored")

// ErrTooLarge says that a file has more than [MaxReadFile] bytes.
var ErrTooLarge = fmt.Errorf("file has more than %d bytes", int64(MaxReadFile))

// ErrIrregular says that an entry is neither a file nor a directory: a Rock
// Ridge symbolic link, device, pipe or socket.
var ErrIrregular = errors.New("not a regular file")

// ErrNoRelease says that nothing on the image tells which ESXi release it is.
var ErrNoRelease = errors.New("nothing identifies an ESXi release")

// FormatError says that the image breaks the format, or a limit of this
// package.
type FormatError struct {
	// Path of the file, directory or structure, slash separated; "." is the
	// root directory.
	Path string
	// Problem names the field and its value.
	Problem string
}

func (e *FormatError) Error() string { return fmt.Sprintf("iso: %s: %s", printable(e.Path), e.Problem) }

func formatErrorf(path, format string, args ...any) error {
	return &FormatError{Path: path, Problem: fmt.Sprintf(format, args...)}
}

// OutsideError says that an extent does not lie inside the image: the image is
// truncated or damaged. It unwraps to [io.ErrUnexpectedEOF].
type OutsideError struct {
	Path   string // of the file, directory or structure
	Block  int64  // where the extent begins, in blocks
	Length int64  // of the extent, in bytes
	Size   int64  // of the image, in bytes
}

func (e *OutsideError) Error() string {
	return fmt.Sprintf("iso: %s: extent of %d bytes at block %d is outside the image (%d blocks), which is truncated or damaged",
		printable(e.Path), e.Length, e.Block, e.Size/BlockSize)
}

func (e *OutsideError) Unwrap() error { return io.ErrUnexpectedEOF }

// printable returns s so that a terminal shows it and does not obey it.
func printable(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// readError says that reading the input failed, so that nothing is known about
// the image.
type readError struct {
	off int64 // in bytes
	n   int
	err error
}

func (e *readError) Error() string { return fmt.Sprintf("read %d bytes at %d: %v", e.n, e.off, e.err) }
func (e *readError) Unwrap() error { return e.err }

// recordError puts what is wrong with one record into its place: at bytes into
// the directory.
func recordError(dir string, at int64, err error) error {
	where := fmt.Sprintf("record at byte %d", at)
	var outside *OutsideError
	var format *FormatError
	var read *readError
	switch {
	case errors.As(err, &outside):
		outside.Path = fmt.Sprintf("%s: %s: %s", dir, where, outside.Path)
		return outside
	case errors.As(err, &format):
		return err
	case errors.As(err, &read):
		return fmt.Errorf("iso: %s: %s: %w", printable(dir), where, err)
	default:
		return &FormatError{Path: dir, Problem: fmt.Sprintf("%s: %v", where, err)}
	}
}
