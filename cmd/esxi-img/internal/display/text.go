package display

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Printable makes text from outside fit for a terminal: control characters
// and what is not UTF-8 are shown escaped, line breaks and tabs stay.
func Printable(s string) string {
	clean := func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) || r == unicode.ReplacementChar }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case clean(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// JSON writes v indented, with a line break at its end.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Fields are the lines of a result: a name and a value each.
type Fields [][2]string

// Add adds a line unless its value is empty.
func (f *Fields) Add(name, value string) {
	if value != "" {
		*f = append(*f, [2]string{name, value})
	}
}

// Addf adds a line with a formatted value.
func (f *Fields) Addf(name, format string, args ...any) { f.Add(name, fmt.Sprintf(format, args...)) }

// Write writes the names in one column and the values in another. A value of
// many lines continues under itself.
func (f Fields) Write(w io.Writer) error {
	width := 0
	for _, l := range f {
		width = max(width, len(l[0]))
	}
	for _, l := range f {
		value := strings.ReplaceAll(Printable(l[1]), "\n", "\n"+strings.Repeat(" ", width+2))
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, l[0], value); err != nil {
			return err
		}
	}
	return nil
}
