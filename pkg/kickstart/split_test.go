package kickstart

import (
	"errors"
	"slices"
	"testing"
)

// splitCases are also given to Python's shlex in the e2e test.
func splitCases() []string {
	return []string{
		"", "\n", "   \t\n", "# comment\n", "a b  c\n", "a b", "a 'b c' d\n", `a "b c" d`, `a "b \"c\" \\ \x" d`, `a 'b \' c`,
		`a\ b c`, "a \\\n", "a b\\\n", "a \\", `a 'b`, `a "b`, `a "b\`, `''`, `"" x`, `a''b`, `'a'"b"c`, "a#b c\n", "a #b c\n", "'a#b' c", `\#a b`,
		"rootpw 'it'\"'\"'s # $x \\ \"q\"'\n", "x=1 --opt=a,b\r\n", "%pre --interpreter=python", "a\vb\fc", "é 'ü' b\n", `a"b c"d'e f'g`, `"a'b"'c"d'`,
		"'a\n", "a\x00b c",
	}
}

func TestSplit(t *testing.T) {
	tests := []struct {
		in   string
		want []string
		err  error
		cut  bool
		glue bool
	}{
		{in: "", want: nil},
		{in: "a b  c\n", want: []string{"a", "b", "c"}},
		{in: `a 'b c' "d e"`, want: []string{"a", "b c", "d e"}},
		{in: `a "b \"c\" \\ \x"`, want: []string{"a", `b "c" \ \x`}},
		{in: `'it'"'"'s'`, want: []string{"it's"}},
		{in: `'' ""`, want: []string{"", ""}},
		{in: `a\ b`, want: []string{"a b"}},
		{in: "a # b\n", want: []string{"a"}},
		{in: "a#b c\n", want: []string{"a"}, cut: true},
		{in: "'a#b' c\n", want: []string{"a#b", "c"}},
		{in: "a \\\n", want: []string{"a", "\n"}, glue: true},
		{in: "a \\", err: errOpenEscape},
		{in: "a 'b\n", err: errOpenQuote},
		{in: `a "b\`, err: errOpenEscape},
	}
	for _, tt := range tests {
		got, err := split(tt.in)
		if !errors.Is(err, tt.err) {
			t.Errorf("split(%q): error %v, want %v", tt.in, err, tt.err)
			continue
		}
		if err == nil && (!slices.Equal(got.list, tt.want) || got.cut != tt.cut || got.newline != tt.glue) {
			t.Errorf("split(%q) = %+v, want %q", tt.in, got, tt.want)
		}
	}
}
