package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/esxi-img/esxi-img/"

// root of the repository, seen from here.
const root = "../../../.."

// listed is what "go list -json" says of a package.
type listed struct {
	ImportPath string
	Deps       []string
}

func list(t *testing.T) []listed {
	t.Helper()
	// For Linux, so that every system checks the same.
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Deps", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.Bytes())
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(p.ImportPath, module); ok {
			p.ImportPath = name
			packages = append(packages, p)
		}
	}
}

// formats are the packages that know one format each.
var formats = []string{"pkg/iso", "pkg/vib", "pkg/bootcfg", "pkg/kickstart", "pkg/tardisk", "pkg/fat32"}

// mayUse says which packages of ours a format may depend on.
var mayUse = []string{"pkg/plan"}

// only says who may depend on another module.
var only = map[string][]string{
	// sigstore-go's kinds of log entries bring cobra along; the linter sees to it
	// that signing does not use it.
	"github.com/spf13/":                {"cmd/", "signing"},
	"oras.land/":                       {"artifact", "signing", "pkg/registry", "pkg/catalog", "cmd/"},
	"github.com/sigstore/sigstore-go/": {"signing", "cmd/"},
}

// TestImports follows dependencies of dependencies, which a linter that reads
// import lines does not.
func TestImports(t *testing.T) {
	packages := list(t)
	if len(packages) < len(formats) {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	for _, p := range packages {
		isFormat := slices.Contains(formats, p.ImportPath)
		for _, dep := range p.Deps {
			ours, isOurs := strings.CutPrefix(dep, module)
			if isOurs && isFormat && !slices.Contains(mayUse, ours) {
				t.Errorf("%s depends on %s: a format may use %v only", p.ImportPath, ours, mayUse)
			}
			if isOurs && strings.HasPrefix(ours, "cmd/") && !strings.HasPrefix(p.ImportPath, "cmd/") {
				t.Errorf("%s depends on %s: libraries do not know the program", p.ImportPath, ours)
			}
			for prefix, users := range only {
				if strings.HasPrefix(dep, prefix) && !anyPrefix(p.ImportPath, users) {
					t.Errorf("%s depends on %s: only %v may", p.ImportPath, dep, users)
				}
			}
		}
	}
}

func anyPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// maxLines of a source file: what is longer has more than one subject.
const maxLines = 600

func TestFileLength(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != ".." && strings.HasPrefix(name, ".") || name == "build" || name == "bin" || name == "dist" {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".sh", ".py"}, filepath.Ext(path)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, over the limit of %d", path, n, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Errorf("only %d source files found", seen)
	}
}
