package kickstart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Snippet is a script that becomes a section of its own.
type Snippet struct {
	Section Section
	// Name is the file's name, such as 20-configdrive.sh. Built-in snippets
	// are rendered in the order of their names.
	Name        string
	Interpreter string // Busybox or Python
	// Body ends in a line feed and has no carriage returns.
	Body string
	// Writes are the files that the script writes for %include, as told by a
	// line "# writes: /tmp/rootpw" among its first lines. A built-in snippet
	// that says so does nothing else: it is left out where no %include asks
	// for any of the files.
	Writes []string
}

// SnippetError tells why a snippet can't be part of a kickstart.
type SnippetError struct {
	Section Section
	Name    string
	Line    int // 0: the snippet as a whole
	Reason  string
}

func (e *SnippetError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("kickstart: snippet %s/%s: %s", e.Section, e.Name, e.Reason)
	}
	return fmt.Sprintf("kickstart: snippet %s/%s: line %d: %s", e.Section, e.Name, e.Line, e.Reason)
}

const (
	maxSnippetName = 100 // bytes, as for names in module tar files
	writesLines    = 10  // the lines in which "# writes:" is looked for
	writesMark     = "# writes:"
)

// NewSnippet makes a snippet of a file. The suffix of its name says which
// interpreter runs it: .sh busybox, .py Python. Errors are *SnippetError, and
// wrap ErrTooLarge for a file over MaxSnippetSize.
func NewSnippet(section Section, fileName string, body []byte) (Snippet, error) {
	s := Snippet{Section: section, Name: path.Base(strings.ReplaceAll(fileName, `\`, "/"))}
	switch path.Ext(s.Name) {
	case ".sh":
		s.Interpreter = Busybox
	case ".py":
		s.Interpreter = Python
	default:
		return Snippet{}, s.err(0, "the name must end in .sh (busybox) or .py (Python), which says how to run it")
	}
	if len(body) > MaxSnippetSize {
		return Snippet{}, fmt.Errorf("%w: snippet %s/%s has %d bytes, at most %d are taken", ErrTooLarge, section, s.Name, len(body), MaxSnippetSize)
	}
	s.Body = normalize(body)
	s.Writes = writes(s.Body)
	if err := s.check(); err != nil {
		return Snippet{}, err
	}
	return s, nil
}

// SnippetsFrom reads the folders pre, post and firstboot of fsys. A folder may
// be absent. Other files than *.sh and *.py in them are errors, so that a
// script with a misspelt name isn't silently left out.
func SnippetsFrom(fsys fs.FS) ([]Snippet, error) {
	var out []Snippet
	for _, section := range sections() {
		entries, err := fs.ReadDir(fsys, string(section))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("kickstart: snippets: %w", err)
		}
		for _, entry := range entries {
			if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			if len(out) == MaxSnippets {
				return nil, fmt.Errorf("%w: more than %d snippets", ErrTooLarge, MaxSnippets)
			}
			s, err := readSnippet(fsys, section, entry.Name())
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func readSnippet(fsys fs.FS, section Section, name string) (_ Snippet, err error) {
	f, err := fsys.Open(path.Join(string(section), name))
	if err != nil {
		return Snippet{}, fmt.Errorf("kickstart: snippets: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	body, err := io.ReadAll(io.LimitReader(f, MaxSnippetSize+1))
	if err != nil {
		return Snippet{}, fmt.Errorf("kickstart: snippet %s/%s: %w", section, name, err)
	}
	return NewSnippet(section, name, body)
}

// check tells whether the snippet can be rendered. Callers may have filled in
// the fields themselves, so nothing is taken for granted.
func (s Snippet) check() error {
	if !slices.Contains(sections(), s.Section) {
		return s.err(0, fmt.Sprintf("%q is not a section: pre, post or firstboot", s.Section))
	}
	if s.Interpreter != Busybox && s.Interpreter != Python {
		return s.err(0, fmt.Sprintf("%q is not an interpreter: busybox or python", s.Interpreter))
	}
	if !goodName(s.Name) {
		return s.err(0, fmt.Sprintf("the name must be 1 to %d printable ASCII characters", maxSnippetName))
	}
	if len(s.Body) > MaxSnippetSize {
		return fmt.Errorf("%w: snippet %s/%s has %d bytes, at most %d are taken", ErrTooLarge, s.Section, s.Name, len(s.Body), MaxSnippetSize)
	}
	n := 0
	for line := range strings.Lines(s.Body) {
		n++
		if reason := badScriptLine(line); reason != "" {
			return s.err(n, reason)
		}
	}
	return nil
}

// badScriptLine says why a line can't be part of a script in a kickstart, or
// nothing.
func badScriptLine(line string) string {
	if word, ok := endsSection(line); ok {
		return fmt.Sprintf("begins with %q, which ends the section: the rest of the script would be taken for kickstart commands; indent the line", word)
	}
	if strings.TrimSpace(line) == "%end" {
		return "%end is not known to ESXi: it would be run as a command of the script; remove it"
	}
	if strings.ContainsRune(line, 0) {
		return "holds a zero byte"
	}
	if !utf8.ValidString(line) {
		return "is not UTF-8: the installer stops on reading it"
	}
	return ""
}

// endsSection tells whether a line ends the section that it stands in, and
// with which word. The installer compares prefixes, nothing else.
func endsSection(line string) (string, bool) {
	for _, word := range []string{"%post", "%pre", "%packages", "%vmlicense_text", "%firstboot", "%include", "include"} {
		if strings.HasPrefix(line, word) {
			return word, true
		}
	}
	return "", false
}

func (s Snippet) err(line int, reason string) error {
	name := s.Name
	if !goodName(name) {
		name = fmt.Sprintf("%.40q", name)
	}
	return &SnippetError{Section: s.Section, Name: name, Line: line, Reason: reason}
}

func goodName(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return name != "" && name != "." && len(name) <= maxSnippetName && !strings.ContainsAny(name, `/\`)
}

// writes reads the "# writes:" line.
func writes(body string) []string {
	n := 0
	for line := range strings.Lines(body) {
		if n++; n > writesLines {
			break
		}
		if list, ok := strings.CutPrefix(line, writesMark); ok {
			return strings.Fields(list)
		}
	}
	return nil
}

// lineEnd takes in \r\r\n, which careless conversions leave: made \r\n, it would
// be converted again.
var lineEnd = regexp.MustCompile(`\r+\n`)

// normalize drops a byte order mark, which the installer would take for a part
// of the first word, makes CRLF line feeds, as the installer does, and ends the
// last line.
func normalize(text []byte) string {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	s := string(text)
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return lineEnd.ReplaceAllString(s, "\n")
}
