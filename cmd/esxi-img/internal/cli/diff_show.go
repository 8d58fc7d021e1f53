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
	var listed []catalog.FileChange
	hidden := 0
	for i := range r.Files {
		if !allFiles && hiddenBy(r.VIBs, &r.Files[i]) {
			hidden++
			continue
		}
		listed = append(listed, r.Files[i])
	}
	f := r.summary(hidden)
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
	f.Add("VIBs", counted(r.VIBs, func(c catalog.VIBChange) catalog.Change { return c.Change }))
	files := counted(r.Files, func(c catalog.FileChange) catalog.Change { return c.Change })
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

// counted says how many changes there are of each kind.
func counted[T any](list []T, kind func(T) catalog.Change) string {
	var parts []string
	for _, k := range []catalog.Change{catalog.Added, catalog.Removed, catalog.Upgraded, catalog.Downgraded, catalog.Changed} {
		n := 0
		for _, x := range list {
			if kind(x) == k {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k))
		}
	}
	return strings.Join(parts, ", ")
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
	for _, c := range list {
		var a, b catalog.VIB
		if c.A != nil {
			a = *c.A
		}
		if c.B != nil {
			b = *c.B
		}
		t.Rows = append(t.Rows, []string{
			c.Name, string(c.Change), orDash(a.Version), orDash(b.Version), turned(&c, a.Vendor, b.Vendor), turned(&c, a.Acceptance, b.Acceptance),
		})
	}
	return t
}

// turned shows what a VIB has, and what it had if that was something else.
func turned(c *catalog.VIBChange, a, b string) string {
	switch {
	case c.B == nil:
		return orDash(a)
	case c.A == nil || a == b:
		return orDash(b)
	default:
		return orDash(b) + " (was " + orDash(a) + ")"
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func fileTable(list []catalog.FileChange) display.Table {
	t := display.Table{Header: []string{"FILE", "CHANGE", "SIZE A", "SIZE B", "ROLE", "VIB"}}
	for _, c := range list {
		a, b := fmt.Sprint(c.SizeA), fmt.Sprint(c.SizeB)
		switch c.Change {
		case catalog.Added:
			a = "-"
		case catalog.Removed:
			b = "-"
		}
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
