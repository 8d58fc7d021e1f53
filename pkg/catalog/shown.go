package catalog

import (
	"strings"
	"unicode"
)

// Shown makes a text from outside fit to be shown, as entries have theirs: one
// line of printable characters, within bounds.
func Shown(s string) string { return text(s) }

// text makes a text from outside fit to be shown: one line of printable
// characters, within bounds.
func text(s string) string {
	const most = 4 * MaxText // bytes
	cut := len(s) > most
	s = strings.ToValidUTF8(s[:min(len(s), most)], "\uFFFD")
	runes := []rune(strings.Map(printable, s))
	if len(runes) > MaxText {
		runes, cut = runes[:MaxText], true
	}
	if cut {
		return string(runes) + "…"
	}
	return string(runes)
}

// word is text without spaces: in a table they could pass for other columns.
func word(s string) string { return strings.ReplaceAll(text(s), " ", "\uFFFD") }

// printable replaces what a terminal could take for a command, or what hides
// text: control characters, directions and the like (Unicode's C categories).
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '\uFFFD'
}
