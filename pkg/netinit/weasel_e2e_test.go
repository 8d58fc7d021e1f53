//go:build e2e

package netinit_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
)

// What the host scripts tell the installer, for any metadata, is what our own
// reading of the installer finds nothing wrong with.
func TestCommandsLint(t *testing.T) {
	// The installer invents a gateway where the metadata has none, and is told
	// of a datastore only where somebody said what is to become of it.
	expected := map[string]bool{"network-gateway": true, "vmfs": true, "overwritevsan": true}
	out, err := exec.CommandContext(t.Context(), "python3", "-B", "testdata/python/random_lines.py", "4711", "3000").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen, static := 0, 0
	for line := range strings.Lines(string(out)) {
		var c struct{ Network, Install, Rootpw string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		seen++
		if strings.Contains(c.Network, "static") {
			static++
		}
		text := "vmaccepteula\n" + c.Install + "\n" + c.Network + "\n" + c.Rootpw + "\nreboot\n"
		for _, f := range kickstart.Lint([]byte(text), kickstart.LintOptions{}) {
			if f.Severity == kickstart.Error || f.Severity == kickstart.Warning && !expected[f.Rule] {
				t.Errorf("%s\n%s", text, f)
			}
		}
	}
	if seen < 1000 || static < 100 {
		t.Errorf("only %d kickstarts, %d of them static", seen, static)
	}
}
