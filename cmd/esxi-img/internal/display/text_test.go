package display_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
)

func TestPrintableLeavesNothingThatATerminalObeys(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, naïve ✓": "plain text, naïve ✓",
		"two\nlines\tand tab": "two\nlines\tand tab",
		"\x1b[31mred":         `\x1b[31mred`,
		"bell\a":              `bell\a`,
		"C1\u009bJ":           `C1\u009bJ`,
		"\xff\xfe":            `\xff\xfe`,
		"right\u202eleft":     `right\u202eleft`,
		"real \uFFFD":         "real \uFFFD",
	} {
		if got := display.Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFieldsAlign(t *testing.T) {
	var f display.Fields
	f.Add("a", "one")
	f.Add("empty", "")
	f.Add("longer", "two\nlines")
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	if want := "a       one\nlonger  two\n        lines\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestStatusOffATerminal(t *testing.T) {
	var b bytes.Buffer
	s := display.NewStatus(&b, false)
	s.Start("write x", 10)
	s.Add(10)
	s.Done()
	s.Warn("it is %s", "hot\x1b[2J")
	if got := b.String(); got != "warning: it is hot\\x1b[2J\n" {
		t.Errorf("status wrote %q", got)
	}
	b.Reset()
	quiet := display.NewStatus(&b, true)
	quiet.Start("write x", 10)
	quiet.Done()
	quiet.Warn("unheard")
	if b.Len() > 0 {
		t.Errorf("a quiet status wrote %q", b.String())
	}
}

func TestTableKeepsItsRows(t *testing.T) {
	var b bytes.Buffer
	table := display.Table{Header: []string{"A", "B"}, Rows: [][]string{{"1\n2", "x"}, {"long one", "y"}}}
	if err := table.Write(&b); err != nil {
		t.Fatal(err)
	}
	if want := "\nA         B\n1 2       x\nlong one  y\n"; strings.ReplaceAll(b.String(), "  \n", "\n") != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
