package kickstart

import (
	"bytes"
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
