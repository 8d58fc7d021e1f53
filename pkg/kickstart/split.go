package kickstart

import (
	"errors"
	"strings"
)

// Errors of split. They are findings, not failures.
var (
	errOpenQuote  = errors.New("a quotation is not closed")
	errOpenEscape = errors.New("nothing follows the backslash")
	errManyWords  = errors.New("too many words")
)

// words is one command line, split.
type words struct {
	list []string
	// cut tells that a "#" ended a word instead of standing before one.
	cut bool
	// newline tells that a backslash stands at the end of the line.
	newline bool
}

const (
	blanks  = " \t\r\n"
	comment = '#'
	escape  = '\\'
)

// split takes a line, with its line feed where it has one, apart as the
// installer does: the rules of Python's shlex.split in POSIX mode with
// comments. It never looks past the line.
func split(line string) (words, error) {
	var (
		w      words
		word   strings.Builder
		quoted bool // the word may be empty and still be one
		inWord bool
	)
	flush := func() {
		if word.Len() > 0 || quoted {
			w.list = append(w.list, word.String())
		}
		word.Reset()
		quoted, inWord = false, false
	}
	for i := 0; i < len(line); i++ {
		if len(w.list) > maxWords {
			return w, errManyWords
		}
		switch c := line[i]; {
		case strings.IndexByte(blanks, c) >= 0:
			flush()
		case c == comment:
			w.cut = inWord
			flush()
			for i < len(line) && line[i] != '\n' {
				i++
			}
		case c == escape:
			if i+1 == len(line) {
				return w, errOpenEscape
			}
			i++
			w.newline = w.newline || line[i] == '\n'
			word.WriteByte(line[i])
			inWord = true
		case c == '\'' || c == '"':
			inWord, quoted = true, true
			next, err := quotation(line, i, &word)
			if err != nil {
				return w, err
			}
			i = next
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	flush()
	return w, nil
}

// quotation copies what stands between the quotation marks that open at i to
// word and returns the index of the closing one. A backslash means something
// only in double quotes, and only before a double quote or a backslash.
func quotation(line string, i int, word *strings.Builder) (int, error) {
	mark := line[i]
	for i++; i < len(line); i++ {
		c := line[i]
		switch {
		case c == mark:
			return i, nil
		case c == escape && mark == '"':
			if i+1 == len(line) {
				return 0, errOpenEscape
			}
			i++
			if line[i] != escape && line[i] != mark {
				word.WriteByte(escape)
			}
			word.WriteByte(line[i])
		default:
			word.WriteByte(c)
		}
	}
	return 0, errOpenQuote
}
