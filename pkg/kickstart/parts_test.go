package kickstart

import (
	"bytes"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/netinit"
)

// TestPartsRenderAgain holds that what Parts takes apart Render puts together.
func TestPartsRenderAgain(t *testing.T) {
	builtin, err := SnippetsFrom(netinit.Snippets())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Options{
		"default":     {Builtin: builtin},
		"scripts":     {Builtin: builtin, User: []Snippet{snippet(t, Firstboot, "50-a.sh", "echo a\n"), snippet(t, Pre, "10-b.py", "print()"), snippet(t, Post, "c.sh", "\n\n")}},
		"own":         {Builtin: builtin, Kickstart: []byte("vmaccepteula\n%include /tmp/rootpw\ninstall --firstdisk\nreboot\n\n%post --interpreter=busybox\necho own\n")},
		"no newline":  {Builtin: builtin, Kickstart: []byte("vmaccepteula\n%include /tmp/rootpw\ninstall --firstdisk\nreboot")},
		"just a user": {Kickstart: []byte("reboot\n"), User: []Snippet{snippet(t, Firstboot, "a.sh", "x\n")}},
	} {
		t.Run(name, func(t *testing.T) {
			text, _, err := Render(c)
			if err != nil {
				t.Fatal(err)
			}
			own, snippets := Parts(text)
			isBuiltin := func(s Snippet) bool {
				for _, b := range builtin {
					if b.Section == s.Section && b.Name == s.Name {
						return true
					}
				}
				return false
			}
			again := Options{Kickstart: own}
			for _, s := range snippets {
				if isBuiltin(s) {
					again.Builtin = append(again.Builtin, s)
				} else {
					again.User = append(again.User, s)
				}
			}
			if len(again.User) != len(c.User) {
				t.Errorf("%d scripts of the user's, want %d", len(again.User), len(c.User))
			}
			got, _, err := Render(again)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%v\n%s\nis not\n%s", err, got, text)
			}
		})
	}
}

func TestPartsOfOthers(t *testing.T) {
	for _, text := range []string{"", "reboot\n", "%pre --interpreter=busybox\necho\n", "reboot\n\n%pre --interpreter=python\n# post/a.py\nx\n"} {
		if own, snippets := Parts([]byte(text)); string(own) != text || len(snippets) > 0 {
			t.Errorf("%q: %q, %v", text, own, snippets)
		}
	}
}
