package cli_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Whatever a registry does, nothing is removed that is not to be, and prune
// ends.
func TestLiesToPrune(t *testing.T) {
	l := liar(t)
	repo := l.Host + "/liar/esxi"
	endless := func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if registrytest.KindOf(r) == registrytest.Tags {
				w.Header().Set("Link", `</v2/liar/esxi/tags/list?last=x>; rel="next"`)
			}
			truth.ServeHTTP(w, r)
		})
	}
	lies := map[string]registrytest.Lie{
		"no tags":             registrytest.On(http.MethodGet, registrytest.Tags, registrytest.Refuse(403, "")),
		"referrers forbidden": registrytest.On(http.MethodGet, registrytest.Referrers, registrytest.Refuse(403, "")),
		"endless tags":        endless,
	}
	for _, c := range pullLies {
		lies[c.name] = c.lie
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			l.Tell(lie)
			r := command(t.Context(), "prune", repo, "--keep", "1", "--retries", "1", "--quiet")
			if !slices.Contains([]int{done, badInput, badRegistry, notVerified}, r.code) {
				t.Errorf("exit code %d", r.code)
			}
			r.ended(t, r.code, "")
			if n := l.Counts().Requests["DELETE manifests"]; n > 0 {
				t.Errorf("%d requests to delete", n)
			}
			l.Tell()
		})
	}
}

// TestPruneHostileTags shows what a layout calls its images, and not raw.
func TestPruneHostileTags(t *testing.T) {
	dir := t.TempDir()
	b := builds(t, dir, "22380470", "22380471")
	all := filepath.Join(dir, "all.oci")
	for n, layout := range b {
		run(t, "copy", "-q", layout, "oci:"+all+":8.0.2-"+n, "--insecure-skip-verify")
	}
	file := filepath.Join(all, "index.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	evil := strings.Replace(string(text), `"8.0.2-22380470"`, `"8.0.2-22380470-\u001b[31m\u009b31m\u202e-\u0000"`, 1)
	if err := os.WriteFile(file, []byte(evil), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--dry-run"}, {"--dry-run", "--json"}, {}} {
		r := command(t.Context(), append([]string{"prune", "oci:" + all, "--keep", "1"}, args...)...)
		r.ended(t, done, "")
		for _, c := range r.stdout + r.stderr {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Fatalf("%q in %q", c, r.stdout+r.stderr)
			}
		}
	}
	if l, err := registry.OpenLayout(all); err != nil {
		t.Error(err)
	} else if entries, err := l.Entries(); err != nil || len(entries) == 0 || strings.Contains(run(t, "catalog", "oci:"+all), "22380470") {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}
