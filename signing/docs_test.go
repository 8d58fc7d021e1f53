package signing_test

import (
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/signing"
)

// examples are the blocks of a language in docs/signing.md.
func examples(tb testing.TB, language string) []string {
	tb.Helper()
	text, err := os.ReadFile("../docs/signing.md")
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```\n").FindAllSubmatch(text, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

// TestPolicyExamples reads the policies of docs/signing.md, which say what the
// text around them says.
func TestPolicyExamples(t *testing.T) {
	var all []*signing.Policy
	for _, text := range examples(t, "yaml") {
		if !strings.HasPrefix(text, "version: 1\n") {
			continue // a workflow
		}
		p, err := signing.ParsePolicy([]byte(text))
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		all = append(all, p)
	}
	if len(all) != 2 {
		t.Fatalf("found %d policies, want 2", len(all))
	}
	for _, tt := range []struct {
		policy     int
		ref, scope string
	}{
		{0, "ghcr.io/org/esxi:8.0", "ghcr.io/org/esxi"},
		{0, "ghcr.io/org/esxi/old:7.0", "ghcr.io/org/esxi/old"},
		{0, "registry.example:5000/lab/x", "registry.example:5000/lab"},
		{0, "ghcr.io/organism/esxi", ""},
		{1, "registry.example/org/esxi", "registry.example/org"},
		{1, "oci:/srv/images/esxi.oci", "oci:/srv/images"},
		{1, "oci-archive:/srv/images/esxi.tar", "oci:/srv/images"},
		{1, "oci:/tmp/esxi.oci", "oci:"},
		{1, "elsewhere.example/x", "*"},
	} {
		if runtime.GOOS == "windows" && strings.HasPrefix(tt.scope, "oci:/") {
			continue // folders have other names there
		}
		place, err := signing.PlaceOf(tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if s := all[tt.policy].For(place); s != nil {
			got = s.Prefix
		}
		if got != tt.scope {
			t.Errorf("%s: scope %q, want %q", tt.ref, got, tt.scope)
		}
	}
	s := all[0].For("ghcr.io/org/esxi")
	if !s.Match.SameRepository || s.Match.MinBuild != 22380479 || s.Match.Release != "8.0" || len(s.Attestations) != 2 ||
		s.AnyOf[0].Identity == nil || s.AnyOf[0].Identity.CI.Trigger != "push" || !s.AnyOf[0].Log {
		t.Errorf("the first scope is %+v", s)
	}
}
