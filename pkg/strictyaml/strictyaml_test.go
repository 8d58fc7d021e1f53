package strictyaml_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/esxi-img/esxi-img/pkg/strictyaml"
)

type file struct {
	Version int    `yaml:"version"`
	Hosts   []host `yaml:"hosts"`
}

type host struct {
	Name string `yaml:"name"`
}

func TestDecode(t *testing.T) {
	var f file
	n, err := strictyaml.Decode([]byte("version: 1\nhosts:\n  - name: a\n"), &f)
	if err != nil || f.Version != 1 || len(f.Hosts) != 1 || f.Hosts[0].Name != "a" {
		t.Fatalf("%+v, %v", f, err)
	}
	if hosts := n.Content[0].Content[3]; hosts.Content[0].Line != 3 {
		t.Errorf("the first host is in line %d", hosts.Content[0].Line)
	}
}

func TestWhatIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "is empty",
		"# nothing\n":             "is empty",
		"version: 1\n---\na: b\n": "holds more than one YAML document",
		"version: 1\n---\n\t[":    "line 3: found character",
		"[]":                      "line 1: cannot unmarshal !!seq",
		"hosts: [a]\n":            "line 1: cannot unmarshal !!str `a`",
		"version:\n":              "line 1: nothing stands there",
		"hosts:\n - name: ~\n":    "line 2: nothing stands there",
		"vresion: 1\n":            "line 1: field vresion not found",
		"version: [a]\n":          "line 1: cannot unmarshal !!seq into int",
		"version: 1\nversion: 1":  "line 2: mapping key \"version\" already defined at line 1",
		"\t[":                     "found character that cannot start any token",
	} {
		_, err := strictyaml.Decode([]byte(text), &file{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
			continue
		}
		if said := err.Error(); strings.Contains(said, "strictyaml") || strings.Contains(said, "yaml:") {
			t.Errorf("%q: %v names what a user does not know", text, err)
		}
	}
}

func TestComplaintsAreShort(t *testing.T) {
	text := "\"é\\n\": 1\n" + strings.Repeat("ü", 4000) + ": 1\n"
	_, err := strictyaml.Decode([]byte(text), &file{})
	if err == nil || len(err.Error()) > 520 || strings.Contains(err.Error(), "\n") || !utf8.ValidString(err.Error()) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("version: 1\nhosts: [{name: a}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := strictyaml.Decode(text, &file{}); err != nil && (len(err.Error()) > 520 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q", err)
		}
	})
}
