package cli_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// What cannot be read without fetching the whole disk is said not to be known,
// and not taken for a difference; and nothing of the disk is fetched.
func TestDiffWithoutRanges(t *testing.T) {
	l := liar(t)
	l.Tell(onRanges(registrytest.IgnoreRange()))
	r := command(t.Context(), "diff", "--json", "--exit-code", "oci:"+buildImage(t).layout, l.Host+"/liar/esxi:8.0")
	r.ended(t, done, "the registry ignores ranges: BOOT.CFG is not shown")
	var got struct {
		Different      bool  `json:"different"`
		BootCfgUnknown bool  `json:"bootCfgUnknown"`
		BootCfg        []any `json:"bootCfg"`
		Fetch          struct {
			Fetched, Manifests, Generated int64
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Different || !got.BootCfgUnknown || got.BootCfg == nil || got.Fetch.Fetched != 0 || got.Fetch.Manifests == 0 || got.Fetch.Generated == 0 {
		t.Errorf("%+v", got)
	}
	// What the server had sent before it learned that nobody reads is in buffers.
	if sent := l.Counts().Sent; sent > int64(len(buildImage(t).disk)/2) {
		t.Errorf("%d bytes were sent", sent)
	}
	l.Tell()
	r = command(t.Context(), "diff", "--json", "oci:"+buildImage(t).layout, l.Host+"/liar/esxi:8.0")
	r.ended(t, done, "")
	if strings.Contains(r.stdout, "bootCfgUnknown") {
		t.Error("boot.cfg is not known")
	}
}

// TestDiffCountsManifests holds that what is said to be fetched in any case is
// what a pull fetches besides the disk.
func TestDiffCountsManifests(t *testing.T) {
	l := liar(t)
	ref := l.Host + "/liar/esxi:8.0"
	var d struct{ Fetch struct{ Manifests int64 } }
	if err := json.Unmarshal([]byte(run(t, "diff", "--json", "oci:"+buildImage(t).layout, ref)), &d); err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	l.Tell(func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			counted := &counter{ResponseWriter: w}
			truth.ServeHTTP(counted, r)
			if r.Method == http.MethodGet && r.Header.Get("Range") == "" && (registrytest.KindOf(r) == registrytest.Blobs || registrytest.KindOf(r) == registrytest.Manifests) {
				sent.Add(counted.n)
			}
		})
	})
	run(t, "pull", ref, "-o", filepath.Join(t.TempDir(), "esxi.img"), "--insecure-skip-verify")
	if n := sent.Load(); n == 0 || n != d.Fetch.Manifests {
		t.Errorf("diff says %d bytes, a pull takes %d", d.Fetch.Manifests, n)
	}
}

// counter counts what is answered.
type counter struct {
	http.ResponseWriter
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}
