package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// showDiff prints a difference for people.
func (a *app) showDiff(r *diffResult, allFiles bool) error {
	ofVIBs, listed := r.SplitFiles()
	if allFiles {
		ofVIBs, listed = nil, r.Files
	}
	f := r.summary(len(ofVIBs))
	if err := f.Write(a.Stdout); err != nil {
		return err
	}
	for _, t := range []display.Table{propertyTable(r.Properties), vibTable(r.VIBs), fileTable(listed), bootTable(r.Boot)} {
		if len(t.Rows) == 0 {
			continue
		}
		if err := t.Write(a.Stdout); err != nil {
			return err
		}
	}
	if r.Kickstart == "" {
		return nil
	}
	_, err := io.WriteString(a.Stdout, "\n"+display.Printable(r.Kickstart))
	return err
}

// summary is a difference in lines.
func (r *diffResult) summary(hidden int) display.Fields {
	var f display.Fields
	f.Add("a", r.A.text())
	f.Add("b", r.B.text())
	if !r.Different {
		f.Add("differs", "nothing")
	}
	f.Add("VIBs", catalog.Counted(r.VIBs, func(c catalog.VIBChange) catalog.Change { return c.Change }))
	files := catalog.Counted(r.Files, func(c catalog.FileChange) catalog.Change { return c.Change })
	if hidden > 0 {
		files += fmt.Sprintf("; %d of VIBs that change, see --files", hidden)
	}
	f.Add("files", files)
	if r.Kickstart != "" {
		f.Add("kickstart", string(catalog.Changed))
	}
	if x := r.Fetch; x != nil {
		f.Addf("to fetch", "%s of %s, with a at hand; and %s of manifests", quantity.Bytes(x.Fetched), quantity.Bytes(x.Size), quantity.Bytes(x.Manifests))
		if x.InPlace != nil {
			f.Addf("in place", "%s, on a device with a on it", quantity.Bytes(*x.InPlace))
		}
	}
	return f
}

func (s *sideResult) text() string {
	text := s.Name
	if s.Digest != "" && !strings.Contains(s.Name, s.Digest) {
		text += " (" + s.Digest + ")"
	}
	return text + ": " + s.Kind + ", " + s.Release.String()
}

func propertyTable(list []catalog.PropertyChange) display.Table {
	t := display.Table{Header: []string{"PROPERTY", "A", "B"}}
	for _, p := range list {
		t.Rows = append(t.Rows, []string{p.Name, orDash(p.A), orDash(p.B)})
	}
	return t
}

func vibTable(list []catalog.VIBChange) display.Table {
	t := display.Table{Header: []string{"VIB", "CHANGE", "A", "B", "VENDOR", "ACCEPTANCE"}}
	for _, l := range catalog.VIBLines(list, orDash("")) {
		t.Rows = append(t.Rows, []string{l.Name, string(l.Change), l.A, l.B, l.Vendor, l.Acceptance})
	}
	return t
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func fileTable(list []catalog.FileChange) display.Table {
	t := display.Table{Header: []string{"FILE", "CHANGE", "SIZE A", "SIZE B", "ROLE", "VIB"}}
	for i := range list {
		c := &list[i]
		a, b := c.Sizes(orDash(""))
		t.Rows = append(t.Rows, []string{c.Path, string(c.Change), a, b, string(c.Role), c.VIB})
	}
	return t
}

func bootTable(list []catalog.BootChange) display.Table {
	t := display.Table{Header: []string{"BOOT.CFG", "CHANGE", "WHAT", "IN"}}
	for _, l := range catalog.BootLines(list) {
		t.Rows = append(t.Rows, []string{l.What, l.Change, orDash(l.Value), strings.Join(l.In, ", ")})
	}
	return t
}
