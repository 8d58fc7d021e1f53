// Package tardisk writes, reads and judges installer modules: gzip'd tar files
// that ESXi's boot loader takes into memory and the installer unpacks over its
// root.
//
// What works on every release, and what [Write] writes: one gzip member with
// nothing after it, holding an old GNU tar ("ustar  \0", never PAX), owned by
// user and group 0, every directory with an entry of its own before what lies
// in it (ESXi 8 needs that), names in ASCII and shorter than 100 bytes.
package tardisk

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits.
const (
	// MaxNameLength is the longest path in a module, in bytes. The tar name
	// field has 100; a name that fills it has no NUL at its end.
	MaxNameLength = 99
	// MaxArchive is the largest tar that is read or checked, in bytes without
	// compression. VMware's own largest modules have 100 to 200 MB compressed,
	// and all must fit into the host's memory.
	MaxArchive = 512 << 20
	// MaxData is how much file content Read keeps in memory, and Write takes.
	MaxData = 64 << 20
	// MaxEntries is the most entries a module may have: each costs memory to
	// check, and none made by hand comes near.
	MaxEntries = 65536
)

// maxModTime is the largest time that tar's octal field holds, in seconds.
const maxModTime = 1<<33 - 1

// Entry is a file in a module. Directories need none: they follow from the
// paths.
type Entry struct {
	Path string // slash separated, no leading slash
	Data []byte
}

// Errors to be told apart with errors.Is.
var (
	// ErrFormat says that something is not a module that can be read, or that
	// ESXi would not take it.
	ErrFormat = errors.New("not an acceptable module")
	// ErrTooLarge says that a module breaks one of this package's limits.
	ErrTooLarge = errors.New("module too large")
	// ErrVMTar says that a file is a vmtar, VMware's own format, whose content
	// Read does not know.
	ErrVMTar = errors.New("a vmtar, which is not a tar file")
)

// Error names what is wrong with an entry, or with the file as a whole.
type Error struct {
	Entry  string // its path; "" for the whole file
	Number int    // its number from 1, 0 for the whole file
	Reason string
	Cure   string // what to do about it, may be empty
	Err    error  // ErrFormat, ErrTooLarge, ErrVMTar or a read error
}

func (e *Error) Error() string {
	s := "tardisk: "
	switch {
	case e.Number > 0:
		s += fmt.Sprintf("entry %d, %q: ", e.Number, e.Entry)
	case e.Entry != "":
		s += fmt.Sprintf("%q: ", e.Entry)
	}
	s += e.Reason
	if e.Cure != "" {
		s += ": " + e.Cure
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func refuse(reason, cure string) *Error {
	return &Error{Reason: reason, Cure: cure, Err: ErrFormat}
}

// checkPath says what keeps a path out of a module, "" if nothing does.
func checkPath(name string) string {
	switch {
	case name == "":
		return "it has no name"
	case len(name) > MaxNameLength:
		return fmt.Sprintf("its name has %d bytes, at most %d are possible", len(name), MaxNameLength)
	case strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) >= 0:
		return "its name has characters other than printable ASCII"
	case strings.HasPrefix(name, "/"):
		return "its name begins with a slash"
	case strings.Contains(name, `\`):
		return "its name has a backslash"
	case path.Clean(name) != strings.TrimSuffix(name, "/") || name == "." || name == ".." || strings.HasPrefix(name, "../"):
		return "its name has empty, . or .. elements"
	}
	return ""
}

// layout returns the names of all entries in order, directories with a slash at
// the end, and the content of those that are files.
func layout(entries []Entry) (names []string, files map[string][]byte, err error) {
	files = make(map[string][]byte, len(entries))
	dirs := map[string]bool{}
	var total int64
	for _, e := range entries {
		reason := checkPath(e.Path)
		if strings.HasSuffix(e.Path, "/") {
			reason = "it is named like a directory"
		}
		if _, twice := files[e.Path]; twice {
			reason = "it is there twice"
		}
		if reason != "" {
			return nil, nil, &Error{Entry: e.Path, Reason: reason, Err: ErrFormat}
		}
		files[e.Path] = e.Data
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = true
		}
		if total += int64(len(e.Data)); total > MaxData {
			return nil, nil, &Error{Entry: e.Path, Reason: fmt.Sprintf("the files have more than %d bytes", MaxData), Err: ErrTooLarge}
		}
	}
	if n := len(files) + len(dirs); n > MaxEntries {
		return nil, nil, &Error{Reason: fmt.Sprintf("%d entries, at most %d", n, MaxEntries), Err: ErrTooLarge}
	}
	for name := range files {
		if dirs[name] {
			return nil, nil, &Error{Entry: name, Reason: "it is a file and a directory", Err: ErrFormat}
		}
		names = append(names, name)
	}
	for dir := range dirs {
		names = append(names, dir+"/")
	}
	// Byte order puts "a/" before "a/b".
	slices.Sort(names)
	return names, files, nil
}

func checkTime(t time.Time) error {
	if s := t.Unix(); s < 0 || s > maxModTime {
		return &Error{Reason: fmt.Sprintf("time %s is outside of what tar holds, 1970 to 2242", t.UTC().Format(time.RFC3339)), Err: ErrFormat}
	}
	return nil
}
