package kickstart_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/netinit"
)

// What the program renders by default must satisfy its own lint.
func TestDefaultWithBuiltins(t *testing.T) {
	builtin, err := kickstart.SnippetsFrom(netinit.Snippets())
	if err != nil {
		t.Fatal(err)
	}
	out, findings, err := kickstart.Render(kickstart.Options{Builtin: builtin})
	if err != nil {
		t.Fatal(err)
	}
	if worst, _ := kickstart.Worst(findings); worst != kickstart.Note {
		t.Errorf("worst finding is %q, want note: %v", worst, findings)
	}
	if got := strings.Count(string(out), "--interpreter="); got != len(builtin) {
		t.Errorf("%d sections, want %d", got, len(builtin))
	}
	for _, want := range []string{
		"\n%include /tmp/rootpw\n", "\n%include /tmp/network\n", "\n%include /tmp/install\n",
		"# pre/00-defaults.sh", "# writes: /tmp/rootpw", "# writes: /tmp/network", "# writes: /tmp/install",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if i := bytes.IndexFunc(out, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }); i >= 0 {
		t.Errorf("byte %d is not plain ASCII: %q", i, out[max(0, i-20):i+1])
	}
	for _, f := range kickstart.Secrets(out) {
		if f.Severity != kickstart.Note {
			t.Errorf("secret: %s", f)
		}
	}
}
