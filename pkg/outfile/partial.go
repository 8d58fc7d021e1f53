package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrBusy says that another process is writing the output.
var ErrBusy = errors.New("is being written by another process")

// maxReopen bounds how often a partial file is opened anew because its writer
// has just finished.
const maxReopen = 10

// Partial is an output that may take more than one run. Until Commit it has a
// temporary name, the same each time, under which the next run finds what an
// earlier one left. One process at a time may write it.
type Partial struct {
	*os.File
	// Found is how many bytes an earlier run left, in bytes; what they are is
	// not known.
	Found   int64
	path    string
	replace bool
}

// OpenPartial begins the file of that name, or goes on with it. With replace an
// existing regular file is replaced at Commit, in one step; without, it is
// ErrExists. ErrBusy says that another process is at it.
func OpenPartial(path string, replace bool) (*Partial, error) {
	path = followLink(path)
	if err := checkTarget(path, replace); err != nil {
		return nil, err
	}
	return openPartial(path, replace)
}

// OpenBeside is OpenPartial for a file that is a step on the way to the file or
// the folder of that name: it is never committed.
func OpenBeside(path string) (*Partial, error) {
	return openPartial(followLink(filepath.Clean(path)), false)
}

func openPartial(path string, replace bool) (*Partial, error) {
	name := partialName(path)
	for range maxReopen {
		f, err := openLocked(name, path)
		if err != nil {
			return nil, finalName(err, name, path)
		}
		if f == nil {
			continue // it was finished, and so has another name, since we opened it
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &Partial{File: f, Found: info.Size(), path: path, replace: replace}, nil
	}
	return nil, &fs.PathError{Op: "write", Path: path, Err: ErrBusy}
}

func partialName(path string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base[:min(len(base), maxTempBase)]+".partial")
}

// openLocked opens and locks the temporary file. It is nil if the name is
// another file's, or nobody's, by then.
func openLocked(name, path string) (*os.File, error) {
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "write", Path: name, Err: fmt.Errorf("is %s, not a regular file", describe(info.Mode()))}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|noFollow, 0o666)
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f)
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: name, Err: err}, f.Close())
	}
	if !ok {
		return nil, errors.Join(&fs.PathError{Op: "write", Path: path, Err: ErrBusy}, f.Close())
	}
	now, nowErr := os.Lstat(name)
	own, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if nowErr != nil || !os.SameFile(now, own) {
		return nil, f.Close()
	}
	return f, nil
}

// Path is the final name.
func (p *Partial) Path() string { return p.path }

// Commit syncs the file and gives it its name.
func (p *Partial) Commit() error {
	err := p.commit()
	return finalName(err, p.Name(), p.path)
}

func (p *Partial) commit() error {
	if err := p.Sync(); err != nil {
		return err
	}
	// The name may have been taken since the first look.
	if err := checkTarget(p.path, p.replace); err != nil {
		return err
	}
	if !renameOpen {
		if err := p.Close(); err != nil {
			return err
		}
	}
	if err := os.Rename(p.Name(), p.path); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(p.path)); err != nil {
		return err
	}
	if !renameOpen {
		return nil
	}
	// The lock goes last: who waits for it finds that the name is gone.
	return p.Close()
}

// Keep closes the file and leaves it for the next run, and returns why, with
// the error speaking of the output that the user asked for.
func (p *Partial) Keep(why error) error {
	why = finalName(why, p.Name(), p.path)
	if err := p.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		why = errors.Join(why, err)
	}
	return why
}

// Discard removes the temporary file and returns why.
func (p *Partial) Discard(why error) error {
	why = finalName(why, p.Name(), p.path)
	if !renameOpen {
		if err := p.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			why = errors.Join(why, err)
		}
	}
	if err := os.Remove(p.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		why = errors.Join(why, err)
	}
	if err := p.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		why = errors.Join(why, err)
	}
	return why
}
