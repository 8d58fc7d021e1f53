//go:build e2e

package kickstart

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The installer splits with shlex, so Python judges ours.
func TestSplitAsPython(t *testing.T) {
	const program = `
import json, shlex, sys
out = []
for line in json.load(sys.stdin):
    try:
        out.append(shlex.split(line, True))
    except ValueError:
        out.append(None)
json.dump(out, sys.stdout)
`
	cases := splitCases()
	// Every line of up to five of the characters that matter.
	alphabet := `a '"\#` + "\n"
	level := []string{""}
	for range 5 {
		var next []string
		for _, prefix := range level {
			for _, c := range alphabet {
				if !strings.HasSuffix(prefix, "\n") {
					next = append(next, prefix+string(c))
				}
			}
		}
		cases = append(cases, next...)
		level = next
	}
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-c", program)
	cmd.Stdin = strings.NewReader(string(in))
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal("python3:", err)
	}
	var want [][]string
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	for i, line := range cases {
		got, err := split(line)
		if (err != nil) != (want[i] == nil) {
			t.Errorf("split(%q): %v, Python says %q", line, err, want[i])
		} else if err == nil && !slices.Equal(got.list, want[i]) {
			t.Errorf("split(%q) = %q, Python says %q", line, got.list, want[i])
		}
	}
	t.Logf("%d lines compared", len(cases))
}
