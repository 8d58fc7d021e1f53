package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// builds are layouts with builds of ESXi 8.0.2, signed with the key a in dir.
func builds(t testing.TB, dir string, numbers ...string) map[string]string {
	t.Helper()
	key := filepath.Join(dir, "a")
	run(t, "sign", "--generate-key", key)
	out := map[string]string{}
	for _, n := range numbers {
		medium := filepath.Join(dir, n+".iso")
		if err := os.WriteFile(medium, esxitest.Bytes(esxitest.WithRelease(esxitest.Release802().WithBuild(n))), 0o600); err != nil {
			t.Fatal(err)
		}
		out[n] = "oci:" + filepath.Join(dir, n+".oci")
		run(t, "build", "-q", medium, "--layout", filepath.Join(dir, n+".oci"))
		run(t, "sign", "-q", out[n]+":latest", "--key", key+".key", "--repository", "lab.example/esxi")
	}
	return out
}

// run runs a command line that has to succeed, and returns what it prints.
func run(t testing.TB, args ...string) string {
	t.Helper()
	r := command(t.Context(), args...)
	if r.code != done {
		t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// TestPromoteByBothPlaces asks the policy about the place that is promoted to,
// too.
func TestPromoteByBothPlaces(t *testing.T) {
	dir := t.TempDir()
	layout := builds(t, dir, "22380470")["22380470"]
	run(t, "sign", "--generate-key", filepath.Join(dir, "b"))
	to := filepath.Join(dir, "prod.oci")
	here := fmt.Sprintf("  %q:\n    anyOf: [{key: a.pub}]\n", strings.TrimSuffix(layout, ":latest"))
	for name, c := range map[string]struct {
		policy string
		code   int
		says   string
	}{
		"nothing of the place": {here, notVerified, "covers oci:" + filepath.ToSlash(to)},
		"another key":          {here + fmt.Sprintf("  %q:\n    anyOf: [{key: b.pub}]\n", "oci:"+to), notVerified, "oci:" + to + ":8.0 ("},
		"both":                 {here + fmt.Sprintf("  %q:\n    anyOf: [{key: a.pub}]\n", "oci:"+to), done, ""},
	} {
		t.Run(name, func(t *testing.T) {
			policy := filepath.Join(dir, "policy.yaml")
			if err := os.WriteFile(policy, []byte("version: 1\nscopes:\n"+c.policy), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(to); err != nil {
				t.Fatal(err)
			}
			r := command(t.Context(), "copy", "--promote", layout, "oci:"+to+":8.0", "--policy", policy)
			r.ended(t, c.code, c.says)
		})
	}
}

// TestPromoteRace lets another one promote at the same time: whoever sets the tag
// first, the later build stays.
func TestPromoteRace(t *testing.T) {
	dir := t.TempDir()
	b := builds(t, dir, "22380470", "22380471", "22380472")
	key := filepath.Join(dir, "a.pub")
	for name, c := range map[string]struct {
		mine, theirs string
		first        bool // theirs is set before mine
	}{
		"theirs is later, first":    {"22380471", "22380472", true},
		"theirs is later, second":   {"22380471", "22380472", false},
		"theirs is earlier, first":  {"22380472", "22380471", true},
		"theirs is earlier, second": {"22380472", "22380471", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := registrytest.ServeLiar(t)
			to := l.Host + "/prod/esxi:8.0"
			run(t, "copy", "--promote", b["22380470"], to, "--key", key)
			run(t, "copy", b[c.theirs], l.Host+"/prod/esxi:theirs", "--key", key)
			var sets atomic.Int32
			set, ended := make(chan struct{}), make(chan int, 1)
			promote := func() {
				ended <- command(t.Context(), "copy", "--promote", l.Host+"/prod/esxi:theirs", to, "--key", key).code
			}
			// Both have looked before either sets the tag.
			l.Tell(func(truth http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/8.0") {
						truth.ServeHTTP(w, r)
						return
					}
					n := sets.Add(1)
					if n == 1 { // mine
						go promote()
						<-set
					}
					if n == 2 && c.first {
						truth.ServeHTTP(w, r)
						close(set)
						return
					}
					if n == 2 {
						close(set)
						time.Sleep(50 * time.Millisecond)
					}
					truth.ServeHTTP(w, r)
				})
			})
			r := command(t.Context(), "copy", "--promote", b[c.mine], to, "--key", key)
			theirs := <-ended
			l.Tell()
			if shown := run(t, "inspect", to); !strings.Contains(shown, "22380472") {
				t.Errorf("the tag does not name the later build:\n%s", shown)
			}
			later := r.code
			if c.theirs > c.mine {
				later = theirs
			}
			if later != done || sets.Load() < 2 {
				t.Errorf("the later build is refused: %d, %d; the tag was set %d times\n%s", r.code, theirs, sets.Load(), r.stderr)
			}
		})
	}
}

// TestPromoteOvertaken says that a later build has come first.
func TestPromoteOvertaken(t *testing.T) {
	dir := t.TempDir()
	b := builds(t, dir, "22380470", "22380471", "22380472")
	key := filepath.Join(dir, "a.pub")
	l := registrytest.ServeLiar(t)
	to := l.Host + "/prod/esxi:8.0"
	run(t, "copy", "--promote", b["22380470"], to, "--key", key)
	run(t, "copy", b["22380472"], l.Host+"/prod/esxi:theirs", "--key", key)
	var sets atomic.Int32
	l.Tell(func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			truth.ServeHTTP(w, r)
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/8.0") && sets.Add(1) == 1 {
				run(t, "copy", "--force", l.Host+"/prod/esxi:theirs", to, "--key", key)
			}
		})
	})
	r := command(t.Context(), "copy", "--promote", b["22380471"], to, "--key", key)
	r.ended(t, badRegistry, "is 8.0.2 build 22380472, and would become 8.0.2 build 22380471, which is older")
}

// TestPromoteOverOthers moves no tag from what cannot be compared, and promotes
// an image as a whole only.
func TestPromoteOverOthers(t *testing.T) {
	dir := t.TempDir()
	layout := builds(t, dir, "22380470")["22380470"]
	key := filepath.Join(dir, "a.pub")
	l := registrytest.ServeLiar(t)
	send := func(method, path, mediaType, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Host+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s, %v", path, res.Status, err)
		}
	}
	config := digest.FromString("{}").String()
	send(http.MethodPost, "/v2/prod/esxi/blobs/uploads/?digest="+config, "application/octet-stream", "{}")
	send(http.MethodPut, "/v2/prod/esxi/manifests/8.0", ocispec.MediaTypeImageManifest, fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, ocispec.MediaTypeImageManifest, config))
	to := l.Host + "/prod/esxi:8.0"
	r := command(t.Context(), "copy", "--promote", layout, to, "--key", key)
	r.ended(t, badRegistry, "cannot be compared")
	run(t, "copy", "--promote", "--force", layout, to, "--key", key)

	var shown struct{ Manifest string }
	if err := json.Unmarshal([]byte(run(t, "inspect", "--json", layout)), &shown); err != nil || shown.Manifest == "" {
		t.Fatalf("%+v, %v", shown, err)
	}
	r = command(t.Context(), "copy", "--promote", strings.TrimSuffix(layout, ":latest")+"@"+shown.Manifest, l.Host+"/prod/esxi:other", "--key", key)
	r.ended(t, badInput, "is not an index")
}
