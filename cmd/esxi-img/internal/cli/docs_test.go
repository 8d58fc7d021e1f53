package cli

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestDocumentedCommands holds that each command that docs/signing.md shows has
// the flags and takes the arguments.
func TestDocumentedCommands(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/signing.md")
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	seen := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)\n```(?:sh|yaml)\n(.*?)\n```\n").FindAllStringSubmatch(joined, -1) {
		for line := range strings.Lines(m[1]) {
			_, rest, ok := strings.Cut(line, "esxi-img ")
			if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") || strings.Contains(line, "cosign ") {
				continue
			}
			words := strings.Fields(strings.ReplaceAll(rest, `"`, ""))
			seen[words[0]]++
			checkCommand(t, words)
		}
	}
	for _, name := range []string{"sign", "push", "verify", "attest"} {
		if seen[name] == 0 {
			t.Errorf("%s is not shown", name)
		}
	}
}

func checkCommand(t *testing.T, words []string) {
	t.Helper()
	root := Root()
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == words[0] })
	if i < 0 {
		t.Errorf("%q: there is no such command", words)
		return
	}
	c := root.Commands()[i]
	if err := c.ParseFlags(words[1:]); err != nil {
		t.Errorf("%q: %v", words, err)
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Errorf("%q: %v", words, err)
	}
}
