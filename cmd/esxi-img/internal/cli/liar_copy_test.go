package cli_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// onlyRight holds that every blob of a layout is what it is called.
func onlyRight(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if sum := sha256.Sum256(b); err == nil && hex.EncodeToString(sum[:]) != e.Name() {
			t.Errorf("the blob %s has the digest %x", e.Name(), sum)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
}

// named says whether a layout has the tag 8.0.
func named(t *testing.T, dir string) bool {
	t.Helper()
	l, err := registry.OpenLayout(dir)
	if err != nil {
		return false
	}
	for tag, err := range l.Tags(t.Context()) {
		if err == nil && tag == "8.0" {
			return true
		}
	}
	return false
}

// Whatever a registry does, a copy from it ends well or says what was wrong, in
// time; what is not right gets no name, and the next copy goes on.
func TestLiesToCopy(t *testing.T) {
	l := liar(t)
	ref := l.Host + "/liar/esxi:8.0"
	for _, c := range pullLies {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy.oci")
			args := []string{"copy", ref, "oci:" + dir, "--retries", "2", "--quiet", "--insecure-skip-verify"}
			l.Tell(c.lie)
			r := command(t.Context(), args...)
			// Whole blobs travel: what is a lie about ranges need not be met.
			if !slices.Contains([]int{done, badInput, badRegistry, notVerified}, r.code) {
				t.Errorf("exit code %d", r.code)
			}
			r.ended(t, r.code, "")
			if named(t, dir) != (r.code == done) {
				t.Errorf("exit code %d, and the tag is there: %v", r.code, named(t, dir))
			}
			onlyRight(t, dir)
			l.Tell()
			r = command(t.Context(), append(args, "--force")...)
			r.ended(t, done, "")
			onlyRight(t, dir)
		})
	}
}

// A copy to a registry that lies ends likewise.
func TestLiesToCopyThere(t *testing.T) {
	from := "oci:" + buildImage(t).layout
	for _, c := range pushLies {
		t.Run(c.name, func(t *testing.T) {
			l := registrytest.ServeLiar(t)
			l.Tell(c.lie)
			r := command(t.Context(), "copy", from, l.Host+"/liar/esxi:8.0", "--retries", "2", "--quiet", "--insecure-skip-verify")
			if !slices.Contains([]int{done, badInput, badRegistry, notVerified}, r.code) {
				t.Errorf("exit code %d", r.code)
			}
			r.ended(t, r.code, "")
			l.Tell()
			r = command(t.Context(), "copy", from, l.Host+"/liar/esxi:8.0", "--quiet", "--insecure-skip-verify")
			r.ended(t, done, "")
		})
	}
}

// So do those that only look.
func TestLiesToThoseWhoLook(t *testing.T) {
	l := liar(t)
	ref := l.Host + "/liar/esxi:8.0"
	for _, c := range slices.Concat(pullLies, []struct {
		name  string
		lie   registrytest.Lie
		code  int
		says  string
		least time.Duration
	}{
		{name: "no tags", lie: registrytest.On(http.MethodGet, registrytest.Tags, registrytest.Refuse(403, ""))},
		{name: "referrers forbidden", lie: registrytest.On(http.MethodGet, registrytest.Referrers, registrytest.Refuse(403, ""))},
	}) {
		for name, args := range map[string][]string{
			"inspect": {"inspect", ref}, "doctor": {"doctor", ref},
			"SBOM": {"inspect", "--sbom", ref}, "diff": {"diff", "oci:" + buildImage(t).layout, ref},
		} {
			t.Run(name+", "+c.name, func(t *testing.T) {
				l.Tell(c.lie)
				r := command(t.Context(), append(args, "--retries", "1", "--quiet")...)
				if !slices.Contains([]int{done, badInput, badRegistry, notVerified}, r.code) {
					t.Errorf("exit code %d", r.code)
				}
				r.ended(t, r.code, "")
				if r.code == done && !strings.Contains(r.stdout, "ok") && !strings.Contains(r.stdout, "sha256:") && !strings.Contains(r.stdout, "SPDXRef-") {
					t.Errorf("it says nothing: %q", r.stdout)
				}
				l.Tell()
			})
		}
	}
}
