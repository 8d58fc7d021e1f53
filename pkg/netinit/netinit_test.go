package netinit

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plain checks what holds for every file that goes to a host.
func plain(t *testing.T, name string, data []byte) {
	t.Helper()
	if len(data) == 0 || data[len(data)-1] != '\n' {
		t.Errorf("%s: does not end in a line feed", name)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		for _, r := range strings.TrimSuffix(line, "\n") {
			if r > '~' || r < ' ' {
				t.Errorf("%s:%d: %q is not printable ASCII", name, n, r)
			}
		}
	}
}

func TestSnippets(t *testing.T) {
	// Order and interpreter come from the name.
	pattern := regexp.MustCompile(`^(pre|post|firstboot)/[0-9]{2}-[a-z-]+\.(sh|py)$`)
	// A section of a kickstart ends at such a line.
	ends := regexp.MustCompile(`(?m)^(%|include)`)
	var names []string
	for _, folder := range []string{"pre", "post", "firstboot"} {
		entries, err := fs.ReadDir(Snippets(), folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			name := path.Join(folder, entry.Name())
			names = append(names, name)
			data, err := fs.ReadFile(Snippets(), name)
			if err != nil {
				t.Fatal(err)
			}
			plain(t, name, data)
			if !pattern.MatchString(name) {
				t.Errorf("%s: bad name", name)
			}
			if loc := ends.FindIndex(data); loc != nil {
				t.Errorf("%s: %q would end the section", name, data[loc[0]:min(loc[0]+20, len(data))])
			}
		}
	}
	want := []string{
		"pre/00-defaults.sh", "pre/20-metadata.py", "pre/30-rootpw.py", "pre/40-network.py", "pre/50-install.py", "pre/90-report.py",
		"post/10-guard.py", "post/20-bootbank.py", "post/90-report.py", "firstboot/20-host.sh", "firstboot/90-finish.sh",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestModule(t *testing.T) {
	files, err := Module()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
		plain(t, f.Path, f.Data)
	}
	if !slices.IsSorted(paths) || !slices.Contains(paths, "esxiimg/esxi_netinit/__init__.py") || !slices.Contains(paths, "esxiimg/esxi_netinit/main.py") {
		t.Errorf("got %q", paths)
	}
}
