package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folder is a folder on its way: until Commit it has a temporary name, beside
// the final one.
type Folder struct {
	// Path is where the files go until then.
	Path    string
	path    string
	replace func(dir string) error
}

// CreateFolder begins the folder of that name. One that is there is ErrExists,
// unless replace is given and does not object to it: its whole content will be
// gone.
func CreateFolder(path string, replace func(dir string) error) (*Folder, error) {
	f := &Folder{path: filepath.Clean(followLink(path)), replace: replace}
	if _, err := f.taken(); err != nil {
		return nil, err
	}
	for i := range 10_000 {
		f.Path = f.temporary(i)
		err := os.Mkdir(f.Path, 0o777)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, finalName(err, f.Path, path)
		}
		return f, nil
	}
	return nil, &fs.PathError{Op: "create temporary folder for", Path: path, Err: fs.ErrExist}
}

// CheckFolder says what CreateFolder would object to at that name.
func CheckFolder(path string, replace func(dir string) error) error {
	_, err := (&Folder{path: filepath.Clean(followLink(path)), replace: replace}).taken()
	return err
}

func (f *Folder) temporary(i int) string {
	dir, base := filepath.Split(f.path)
	return filepath.Join(dir, fmt.Sprintf(".%s.%d-%d.tmp", base[:min(len(base), maxTempBase)], os.Getpid(), i))
}

// taken says whether a folder is there that is to be replaced.
func (f *Folder) taken() (bool, error) {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return false, &fs.PathError{Op: "write", Path: f.path, Err: errors.New("is not a folder")}
	case f.replace == nil:
		return false, &fs.PathError{Op: "write", Path: f.path, Err: ErrExists}
	}
	if err := f.replace(f.path); err != nil {
		return false, &fs.PathError{Op: "replace", Path: f.path, Err: err}
	}
	return true, nil
}

// Commit syncs the folder, whose files have to be synced already, and gives it
// its name. A folder that it replaces is moved away first, and removed when
// the new one is there: for a moment there is none, never a mixture.
func (f *Folder) Commit() error {
	if err := syncTree(f.Path); err != nil {
		return err
	}
	// The name may have been taken since the first look.
	taken, err := f.taken()
	if err != nil {
		return err
	}
	if !taken {
		if err := os.Rename(f.Path, f.path); err != nil {
			return err
		}
		return syncDir(filepath.Dir(f.path))
	}
	old := f.Path + ".old"
	if err := os.Rename(f.path, old); err != nil {
		return err
	}
	if err := os.Rename(f.Path, f.path); err != nil {
		return errors.Join(err, os.Rename(old, f.path))
	}
	return errors.Join(syncDir(filepath.Dir(f.path)), os.RemoveAll(old))
}

// syncTree syncs a folder and those in it.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

// Discard removes the folder and returns why, with the error speaking of the
// output that the user asked for.
func (f *Folder) Discard(why error) error {
	var pathErr *fs.PathError
	if errors.As(why, &pathErr) {
		if name, within := strings.CutPrefix(pathErr.Path, f.Path); within {
			why = &fs.PathError{Op: pathErr.Op, Path: f.path + name, Err: pathErr.Err}
		}
	}
	return errors.Join(why, os.RemoveAll(f.Path))
}
