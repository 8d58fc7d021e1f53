package vib

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Where the database lies in the tar.
const (
	vibsDir     = "var/db/esximg/vibs"
	profilesDir = "var/db/esximg/profiles"
)

// ErrTooLarge says that a database breaks one of this package's limits.
var ErrTooLarge = errors.New("too large")

// FileError says what is wrong with a file of the database.
type FileError struct {
	File string // its path in the tar, "" for the tar itself
	Err  error
}

func (e *FileError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("vib: image database: %v", e.Err)
	}
	return fmt.Sprintf("vib: image database: %s: %v", e.File, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// Read reads an IMGDB.TGZ. Files that are no descriptors and no profiles are
// passed over; one that cannot be read is a *FileError.
func Read(r io.Reader) (*Database, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, &FileError{Err: fmt.Errorf("gzip: %w", err)}
	}
	archive := &limited{r: zr, left: MaxDatabase}
	db := &Database{}
	if err := db.readTar(tar.NewReader(archive)); err != nil {
		return nil, err
	}
	// To the end, so that gzip's checksum is verified.
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return nil, &FileError{Err: err}
	}
	if err := zr.Close(); err != nil {
		return nil, &FileError{Err: err}
	}
	db.index()
	return db, nil
}

func (db *Database) readTar(tr *tar.Reader) error {
	for n := 1; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &FileError{Err: fmt.Errorf("entry %d: %w", n, err)}
		}
		if n > MaxFiles {
			return &FileError{Err: fmt.Errorf("more than %d entries: %w", MaxFiles, ErrTooLarge)}
		}
		if err := db.readFile(h, tr); err != nil {
			return &FileError{File: clip(h.Name), Err: err}
		}
	}
}

// readFile takes a descriptor or a profile in.
func (db *Database) readFile(h *tar.Header, r io.Reader) error {
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	switch dir := path.Dir(name); {
	case dir == vibsDir && strings.HasSuffix(name, ".xml"):
		if len(db.VIBs) == MaxVIBs {
			return fmt.Errorf("more than %d VIBs: %w", MaxVIBs, ErrTooLarge)
		}
		v, err := readVIB(r)
		if err != nil {
			return err
		}
		db.VIBs = append(db.VIBs, *v)
	// Profiles are named after themselves, and not always with a suffix.
	case dir == profilesDir && !strings.HasSuffix(name, ".sig"):
		if len(db.Profiles) == MaxProfiles {
			return fmt.Errorf("more than %d profiles: %w", MaxProfiles, ErrTooLarge)
		}
		p, err := readProfile(r, path.Base(name))
		if err != nil {
			return err
		}
		db.Profiles = append(db.Profiles, *p)
	}
	return nil
}

// limited is an io.LimitedReader that says so when the limit is passed.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, fmt.Errorf("it is %w", ErrTooLarge)
	}
	// One byte more than allowed, to see whether there is one.
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, nil
	}
	return n, err
}

// clip shortens a name for a message.
func clip(s string) string {
	const most = 120
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
