package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Whatever an image says, a terminal obeys none of it, and no row breaks.
func TestShowDiffIsPlain(t *testing.T) {
	evil := "x\x1b[2J\u009b31m\u202e\xff"
	row := evil + "\n"
	list := &catalog.ListChange{Added: []string{row}, Removed: []string{row}, Reordered: true}
	r := &diffResult{
		A: sideResult{Name: "a", Kind: "image", Release: releaseResult{Product: "VMware ESXi", Version: evil}},
		B: sideResult{Name: "b", Kind: "image", Digest: evil},
		Difference: &catalog.Difference{
			Different:  true,
			Properties: []catalog.PropertyChange{{Name: "profile", A: row, B: row}},
			VIBs: []catalog.VIBChange{{
				Change: catalog.Upgraded, Name: row,
				A: &catalog.VIB{Version: row, Vendor: row, Acceptance: row}, B: &catalog.VIB{Version: row, Vendor: "v" + row, Acceptance: "a" + row},
			}},
			Files:     []catalog.FileChange{{Change: catalog.Changed, Path: row, Role: plan.Role(row), VIB: evil}},
			Boot:      []catalog.BootChange{{Change: catalog.Changed, Path: row, Title: &catalog.PropertyChange{Name: "title", A: row, B: row}, KernelOpts: list, Modules: list}},
			Kickstart: "--- a\n+++ b\n-" + evil + "\n",
		},
	}
	var out bytes.Buffer
	a := &app{System: System{Stdout: &out, Stderr: &out}}
	if err := a.showDiff(r, true); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexAny(out.String(), "\x1b\u009b\u202e"); i >= 0 || !strings.Contains(out.String(), `\x1b[2J`) {
		t.Errorf("at %d of %q", i, out.String())
	}
	// 5 lines of summary, 4 tables with an empty line and a header, their rows, the kickstart.
	if n, want := strings.Count(out.String(), "\n"), 5+4*2+(1+1+1+8)+1+3; n != want {
		t.Errorf("%d lines, want %d:\n%s", n, want, out.String())
	}
}

func TestPlainJSON(t *testing.T) {
	in := "{\n  \"naïve ✓\": \"\u009b\u202e\U000e0041\xff\U0001f600\"\n}"
	got := plainJSON(in)
	want := "{\n  \"naïve ✓\": \"\\u009b\\u202e\\udb40\\udc41\\ufffd\U0001f600\"\n}"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var a, b any
	if err := json.Unmarshal([]byte(in), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got), &b); err != nil {
		t.Fatal(err)
	}
	if x, y := a.(map[string]any)["naïve ✓"], b.(map[string]any)["naïve ✓"]; x != y {
		t.Errorf("%q became %q", x, y)
	}
}
