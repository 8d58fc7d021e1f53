package catalog_test

import (
	"slices"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/catalog"
)

func TestVIBLines(t *testing.T) {
	a := &catalog.VIB{Version: "1", Vendor: "VMware", Acceptance: "certified"}
	b := &catalog.VIB{Version: "2", Vendor: "Broadcom"}
	got := catalog.VIBLines([]catalog.VIBChange{
		{Change: catalog.Upgraded, Name: "x", A: a, B: b},
		{Change: catalog.Removed, Name: "y", A: a},
		{Change: catalog.Added, Name: "z", B: b},
		{Change: catalog.Changed, Name: "w", A: a, B: a},
	}, "-")
	want := []catalog.VIBLine{
		{"x", catalog.Upgraded, "1", "2", "Broadcom (was VMware)", "- (was certified)"},
		{"y", catalog.Removed, "1", "-", "VMware", "certified"},
		{"z", catalog.Added, "-", "2", "Broadcom", "-"},
		{"w", catalog.Changed, "1", "1", "VMware", "certified"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

func TestFilesOfVIBs(t *testing.T) {
	d := &catalog.Difference{
		VIBs: []catalog.VIBChange{{Change: catalog.Added, Name: "x"}},
		Files: []catalog.FileChange{
			{Change: catalog.Added, Path: "A", SizeB: 1, VIB: "x"},
			{Change: catalog.Removed, Path: "B", SizeA: 2, VIB: "y"},
			{Change: catalog.Changed, Path: "C", SizeA: 0, SizeB: 3},
		},
	}
	ofVIBs, others := d.SplitFiles()
	if !slices.Equal(ofVIBs, d.Files[:1]) || !slices.Equal(others, d.Files[1:]) {
		t.Errorf("%+v and %+v", ofVIBs, others)
	}
	for i, want := range [][2]string{{"–", "1"}, {"2", "–"}, {"0", "3"}} {
		if a, b := d.Files[i].Sizes("–"); a != want[0] || b != want[1] {
			t.Errorf("%s: %s and %s", d.Files[i].Path, a, b)
		}
	}
	if got := catalog.Counted(d.Files, func(c catalog.FileChange) catalog.Change { return c.Change }); got != "1 added, 1 removed, 1 changed" {
		t.Error(got)
	}
}
