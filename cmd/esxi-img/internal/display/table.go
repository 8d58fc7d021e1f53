package display

import (
	"io"
	"strings"
	"text/tabwriter"
)

// Table is rows of text under a header.
type Table struct {
	Header []string
	Rows   [][]string
}

// Write writes the table after an empty line, its columns aligned.
func (t Table) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := append([][]string{{""}, t.Header}, t.Rows...)
	for _, row := range lines {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.Map(oneLine, Printable(cell))
		}
		if _, err := io.WriteString(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t")+"\n"); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// oneLine keeps a cell from breaking its row.
func oneLine(r rune) rune {
	if r == '\n' || r == '\t' {
		return ' '
	}
	return r
}
