// Package outfile writes files that appear under their name complete and
// synced, or not at all.
package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxTempBase leaves room for what a temporary name adds, in bytes: file
// systems allow 255.
const maxTempBase = 200

// ErrNotFile says that what is there cannot be replaced by a file.
var ErrNotFile = errors.New("not a regular file")

// ErrExists says that the output is there and was not to be replaced.
var ErrExists = errors.New("already exists")

// File is an output on its way. Until Commit it has a temporary name, beside
// the final one so that the rename stays within a file system.
type File struct {
	*os.File
	path    string
	replace bool
}

// Create begins the file of that name. With replace an existing regular file
// is replaced at Commit, in one step; without, it is ErrExists.
func Create(path string, replace bool) (*File, error) {
	path = followLink(path)
	if err := checkTarget(path, replace); err != nil {
		return nil, err
	}
	tmp, err := createTemp(path)
	if err != nil {
		return nil, err
	}
	return &File{File: tmp, path: path, replace: replace}, nil
}

// followLink returns what a symbolic link names, so that the link stays one.
func followLink(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// Commit syncs the file and gives it its name.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// The name may have been taken since the first look.
	if err := checkTarget(f.path, f.replace); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

// Discard removes the temporary file and returns why, with the error speaking
// of the output that the user asked for.
func (f *File) Discard(why error) error {
	why = finalName(why, f.Name(), f.path)
	if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		why = errors.Join(why, err)
	}
	return errors.Join(why, os.Remove(f.Name()))
}

// Write writes a small file whole.
func Write(path string, data []byte, replace bool) error {
	f, err := Create(path, replace)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return f.Discard(err)
	}
	if err := f.Commit(); err != nil {
		return f.Discard(err)
	}
	return nil
}

// CheckFile says what Create would object to at that name.
func CheckFile(path string, replace bool) error { return checkTarget(followLink(path), replace) }

// checkTarget refuses an output that must not be replaced.
func checkTarget(path string, replace bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return &fs.PathError{Op: "write", Path: path, Err: fmt.Errorf("is %s, %w", describe(info.Mode()), ErrNotFile)}
	case !replace:
		return &fs.PathError{Op: "write", Path: path, Err: ErrExists}
	default:
		return nil
	}
}

func describe(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeCharDevice != 0:
		return "a character device"
	case m&fs.ModeDevice != 0:
		return "a block device"
	default:
		return "special"
	}
}

// createTemp makes the temporary file with the mode that a new file gets.
func createTemp(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	base = base[:min(len(base), maxTempBase)]
	for i := range 10_000 {
		name := filepath.Join(dir, fmt.Sprintf(".%s.%d-%d.tmp", base, os.Getpid(), i))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, finalName(err, name, path)
		}
		return f, nil
	}
	return nil, &fs.PathError{Op: "create temporary file for", Path: path, Err: fs.ErrExist}
}

// finalName lets an error speak of the output that the user asked for.
func finalName(err error, tmp, path string) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) && pathErr.Path == tmp {
		return &fs.PathError{Op: pathErr.Op, Path: path, Err: pathErr.Err}
	}
	return err
}
