package page

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
)

const (
	// maxColored is how much of a kickstart is shown, in bytes. One with our
	// scripts has some 10 KiB.
	maxColored = 256 << 10
	// maxLine is the longest line that is looked at for words, in bytes.
	maxLine = 4096
)

// notShown stands for what must not be published with a page.
const notShown = "[not shown: %s]"

// veil takes passwords, hashes and keys out of a kickstart: whoever may read the
// page need not be allowed to pull the image. Line numbers stay.
func veil(text []byte) []byte {
	if text == nil {
		return nil
	}
	found := kickstart.Secrets(text)
	why := map[int]string{}
	for _, f := range found {
		if f.Line <= 0 || len(found) >= kickstart.MaxFindings {
			return fmt.Appendf(nil, notShown+"\n", "it could not be searched for secrets")
		}
		why[f.Line] = f.Message
	}
	lines := strings.SplitAfter(string(text), "\n")
	inKey := false
	var b strings.Builder
	for i, line := range lines {
		reason, secret := why[i+1]
		ends := strings.Contains(line, "-----END")
		inKey = inKey && !ends || strings.Contains(line, "PRIVATE KEY-----") && !ends
		switch {
		case secret:
			fmt.Fprintf(&b, "%s"+notShown+"\n", firstWord(line), reason)
		case inKey:
			fmt.Fprintf(&b, notShown+"\n", "a private key")
		default:
			b.WriteString(line)
		}
	}
	return []byte(b.String())
}

// firstWord is the command of a line with what stands before it, if it is one.
func firstWord(line string) string {
	word := commandWord.FindString(line)
	if word == "" {
		return ""
	}
	return word + " "
}

var commandWord = regexp.MustCompile(`^[ \t]*[A-Za-z]+\b`)

// span is a part of a line. Class is one of the style sheet's, or empty.
type span struct{ Class, Text string }

// line is a line of a kickstart.
type line struct{ Spans []span }

// colored splits a kickstart into what the style sheet knows: sections, commands
// and options, comments. More says that it goes on.
func colored(text []byte) (lines []line, more bool) {
	if len(text) > maxColored {
		text, more = text[:maxColored], true
	}
	inScript := false
	for _, s := range strings.Split(strings.TrimSuffix(cleanLines(string(text)), "\n"), "\n") {
		trimmed := strings.TrimLeft(s, " \t")
		switch {
		case strings.HasPrefix(trimmed, "#"):
			lines = append(lines, line{[]span{{"c", s}}})
		case strings.HasPrefix(trimmed, "%"):
			word, _, _ := strings.Cut(trimmed, " ")
			inScript = word == "%pre" || word == "%post" || word == "%firstboot"
			lines = append(lines, command(s, "s"))
		case inScript || len(s) > maxLine:
			lines = append(lines, line{[]span{{"", s}}})
		default:
			lines = append(lines, command(s, "k"))
		}
	}
	return lines, more
}

// word is the words of a command line, with what is between them.
var word = regexp.MustCompile(`"[^"]*"|'[^']*'|\[not shown: [^\]]*\]|[^\s=]+|\s+|=`)

// command colors a line: its first word in the given class, then options and
// texts.
func command(s, first string) line {
	var l line
	named := false
	for _, w := range word.FindAllString(s, -1) {
		class := ""
		switch {
		case strings.TrimSpace(w) == "":
		case strings.HasPrefix(w, "[not shown"):
			class = "n"
		case !named:
			class, named = first, true
		case strings.HasPrefix(w, "--"):
			class = "o"
		case w[0] == '"' || w[0] == '\'':
			class = "t"
		}
		if n := len(l.Spans); n > 0 && l.Spans[n-1].Class == class {
			l.Spans[n-1].Text += w
			continue
		}
		l.Spans = append(l.Spans, span{class, w})
	}
	return l
}

// changed splits a unified difference into lines, by what they begin with.
func changed(text string) (lines []line) {
	if text == "" {
		return nil
	}
	for _, s := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		class := ""
		switch {
		case strings.HasPrefix(s, "--- "), strings.HasPrefix(s, "+++ "):
			class = "c"
		case strings.HasPrefix(s, "@@"):
			class = "s"
		case strings.HasPrefix(s, "-"):
			class = "del"
		case strings.HasPrefix(s, "+"):
			class = "add"
		}
		lines = append(lines, line{[]span{{class, s}}})
	}
	return lines
}
