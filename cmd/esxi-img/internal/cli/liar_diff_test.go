package cli_test

import (
	"encoding/json"
	"strings"
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
