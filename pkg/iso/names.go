package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// entry is what a directory record and its system use area say.
type entry struct {
	name      string
	mode      fs.FileMode
	time      time.Time
	child     int64 // block of a relocated directory that belongs here, or -1
	relocated bool  // a directory that belongs elsewhere
}

// decode reads a record as the name source has it.
func (w *walker) decode(rec record) (entry, error) {
	e := entry{mode: 0o444, time: rec.time, child: -1}
	if rec.isDir() {
		e.mode = fs.ModeDir | 0o555
	}
	var err error
	switch w.source {
	case Joliet:
		e.name, err = jolietName(rec.id, rec.isDir())
	case RockRidge:
		err = w.decodeRockRidge(rec, &e)
	default:
		e.name = plainName(rec.id, rec.isDir())
	}
	if err != nil || e.relocated {
		return e, err
	}
	return e, checkName(e.name)
}

// checkName refuses what is not the name of one entry on every system: the
// name may end up in a path there.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("name is %q", name)
	case strings.ContainsAny(name, "/\\\x00"):
		return fmt.Errorf("name %q has a slash, a backslash or a NUL", name)
	case len(name) > MaxNameLen:
		return fmt.Errorf("name has %d bytes, more than %d", len(name), MaxNameLen)
	}
	return nil
}

// plainName takes the version, and the dot of an empty extension, off an
// identifier (ECMA-119 7.5). Case is kept.
func plainName(id []byte, isDir bool) string {
	name := text(id)
	if isDir {
		return name // has neither
	}
	return strings.TrimSuffix(withoutVersion(name), ".")
}

// withoutVersion takes ";" and a number off the end.
func withoutVersion(name string) string {
	i := strings.LastIndexByte(name, ';')
	if i < 0 || strings.Trim(name[i+1:], "0123456789") != "" {
		return name
	}
	return name[:i]
}

// jolietName decodes UCS-2, big-endian; surrogates are accepted, since Windows
// writes them.
func jolietName(id []byte, isDir bool) (string, error) {
	if len(id)%2 != 0 {
		return "", fmt.Errorf("joliet name has an odd length of %d", len(id))
	}
	units := make([]uint16, len(id)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(id[2*i:])
	}
	name := string(utf16.Decode(units))
	if isDir {
		return name, nil
	}
	return withoutVersion(name), nil
}

// text reads bytes of no stated encoding: as UTF-8 if they are that, else as
// Latin-1, which every byte string is.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

// paddedText reads an identifier that spaces or NULs fill up.
func paddedText(b []byte) string { return text(bytes.TrimRight(b, " \x00")) }
