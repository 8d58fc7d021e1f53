package cli

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumentedCommands holds that each command that is shown has the flags and
// takes the arguments. What docs/recipes.md shows is run by a test besides.
func TestDocumentedCommands(t *testing.T) {
	for file, names := range map[string][]string{
		"README.md":       {"build", "push", "pull", "sign", "customize", "inspect", "kickstart"},
		"docs/signing.md": {"sign", "push", "verify", "attest"}, "docs/pull.md": {"pull"}, "docs/customize.md": {"customize", "pull"},
		"docs/formats.md": {"build", "pull", "customize"}, "docs/catalog.md": {"catalog", "serve", "copy", "prune", "login"}, "docs/diff.md": {"diff"},
		"docs/recipes.md": {"build", "push", "doctor", "customize", "pull"}, "docs/ironic.md": nil, "docs/host.md": nil,
	} {
		text, err := os.ReadFile("../../../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		joined := strings.ReplaceAll(string(text), "\\\n", " ")
		seen := map[string]int{}
		for _, m := range regexp.MustCompile("(?s)\n```[a-z]*\n(.*?)\n```\n").FindAllStringSubmatch(joined, -1) {
			for line := range strings.Lines(m[1]) {
				if words := shownCommand(line); words != nil {
					seen[words[0]]++
					checkCommand(t, file, words)
				}
			}
		}
		for _, name := range names {
			if seen[name] == 0 {
				t.Errorf("%s: %s is not shown", file, name)
			}
		}
	}
}

// shownWord is a word of a command line: quoted, what a shell puts there, or plain.
var shownWord = regexp.MustCompile(`'[^']*'|"[^"]*"|[<$]\([^)]*\)|[^\s]+`)

// shownCommand is the command in a line, without the program's name; nil for any
// other line.
func shownCommand(line string) []string {
	before, rest, ok := strings.Cut(line, "esxi-img ")
	if before = strings.TrimSpace(before); !ok || strings.Contains(before, "#") || strings.Contains(line, "cosign ") || before != "" && !strings.HasSuffix(before, "|") && !slices.Contains([]string{"$", "-", "sudo"}, before) {
		return nil
	}
	var words []string
	for _, w := range shownWord.FindAllString(rest, -1) {
		if w == ">" || w == "|" || w == "&&" || w == "#" {
			break
		}
		words = append(words, strings.Trim(w, `'"[]`))
	}
	return words
}

func checkCommand(t *testing.T, file string, words []string) {
	t.Helper()
	c, rest, err := Root().Find(words)
	if err != nil || !c.HasParent() && !strings.HasPrefix(words[0], "-") {
		t.Errorf("%s: %q: there is no such command (%v)", file, words, err)
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("%s: %q: %v", file, words, err)
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Errorf("%s: %q: %v", file, words, err)
	}
}
