package kickstart

import (
	"bytes"
	"strings"
	"testing"
)

// The script that reboots comes after the user's own, whatever those are called.
func TestRenderEndsFirstBoot(t *testing.T) {
	text, _, err := Render(Options{
		Builtin: []Snippet{
			{Section: Firstboot, Name: "90-finish.sh", Interpreter: "busybox", Body: "reboot\n"},
			{Section: Firstboot, Name: "20-host.sh", Interpreter: "busybox", Body: "host\n"},
			{Section: Post, Name: "90-report.sh", Interpreter: "busybox", Body: "report\n"},
		},
		User: []Snippet{{Section: Firstboot, Name: "99-mine.sh", Interpreter: "busybox", Body: "mine\n"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, name := range []string{"# post/90-report.sh", "# firstboot/20-host.sh", "# firstboot/99-mine.sh", "# firstboot/90-finish.sh"} {
		next := bytes.Index(text, []byte(name))
		if next <= at {
			t.Errorf("%s is out of order:\n%s", name, text)
		}
		at = next
	}
}

// The file that holds what a host without a known password needs comes before
// the scripts of the first boot, once, and only where a script writes it.
func TestRenderIncludesFirstboot(t *testing.T) {
	const include = "\n%include /tmp/firstboot\n"
	own := "vmaccepteula\nrootpw --iscrypted $6$a$b\ninstall --disk=x\nreboot\n%firstboot --interpreter=busybox\nown\n"
	host := []Snippet{
		{Section: Firstboot, Name: "20-host.sh", Interpreter: "busybox", Body: "host\n"},
		{Section: Firstboot, Name: "90-finish.sh", Interpreter: "busybox", Body: "finish\n"},
	}
	defaults := Snippet{Section: Pre, Name: "00-defaults.sh", Interpreter: "busybox", Body: "echo >/tmp/firstboot\n"}
	for _, kickstart := range [][]byte{nil, []byte(own)} {
		text, findings, err := Render(Options{Kickstart: kickstart, Builtin: append([]Snippet{defaults}, host...)})
		if err != nil {
			t.Fatal(err)
		}
		at, first := bytes.Index(text, []byte(include)), bytes.Index(text, []byte("# firstboot/20-host.sh"))
		if strings.Count(string(text), include) != 1 || at < bytes.Index(text, []byte("# pre/00-defaults.sh")) || at > first {
			t.Errorf("the include is not where it belongs:\n%s", text)
		}
		for _, f := range findings {
			if strings.Contains(f.String(), "firstboot") && f.Severity != Note {
				t.Error(f)
			}
		}
		text, _, err = Render(Options{Kickstart: kickstart, Builtin: host})
		if err != nil || bytes.Contains(text, []byte(include)) {
			t.Errorf("a file that nothing writes is included: %v\n%s", err, text)
		}
	}
}
