package display

import (
	"io"
	"strings"
)

// WriteMarkdown writes the table as GitHub-flavoured Markdown. Nothing in a
// cell counts as Markdown or HTML.
func (t Table) WriteMarkdown(w io.Writer) error {
	rule := make([]string, len(t.Header))
	for i := range rule {
		rule[i] = "---"
	}
	var b strings.Builder
	writeMarkdownRow(&b, markdownCells(t.Header))
	writeMarkdownRow(&b, rule)
	for _, row := range t.Rows {
		writeMarkdownRow(&b, markdownCells(row))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeMarkdownRow(b *strings.Builder, cells []string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// markdownSpecial are the characters that mean something in a line of
// CommonMark 0.31, or of GitHub's tables, strike-through and mentions.
const markdownSpecial = "\\`*_[]<>|~$&#!@"

func markdownCells(row []string) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		var b strings.Builder
		for _, r := range strings.Map(oneLine, Printable(cell)) {
			switch {
			case r == '&', r == '<', r == '>', r == '@':
				b.WriteString(map[rune]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '@': "&#64;"}[r])
			case strings.ContainsRune(markdownSpecial, r):
				b.WriteByte('\\')
				b.WriteRune(r)
			default:
				b.WriteRune(r)
			}
		}
		// A URL would become a link by itself.
		out[i] = strings.ReplaceAll(b.String(), "://", ":&#47;&#47;")
	}
	return out
}
