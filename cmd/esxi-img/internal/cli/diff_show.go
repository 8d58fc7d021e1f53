package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/pkg/catalog"
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
		f.Addf("to fetch", "%s of %s, with a at hand; and %s of manifests", display.Bytes(x.Fetched), display.Bytes(x.Size), display.Bytes(x.Manifests))
		if x.InPlace != nil {
			f.Addf("in place", "%s, on a device with a on it", display.Bytes(*x.InPlace))
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

// bootTable has a row for each option and module. Both copies of boot.cfg mostly
// change alike, and then share it.
func bootTable(list []catalog.BootChange) display.Table {
	t := display.Table{Header: []string{"BOOT.CFG", "CHANGE", "WHAT", "IN"}}
	row := func(path, what, change, value string) {
		i := slices.IndexFunc(t.Rows, func(r []string) bool { return r[0] == what && r[1] == change && r[2] == value })
		if i < 0 {
			t.Rows = append(t.Rows, []string{what, change, value, path})
			return
		}
		t.Rows[i][3] += ", " + path
	}
	for i := range list {
		c := &list[i]
		if c.Change != catalog.Changed {
			row(c.Path, "file", string(c.Change), "-")
			continue
		}
		for _, p := range []*catalog.PropertyChange{c.Title, c.Kernel} {
			if p != nil {
				row(c.Path, p.Name, string(catalog.Removed), orDash(p.A))
				row(c.Path, p.Name, string(catalog.Added), orDash(p.B))
			}
		}
		for _, l := range []struct {
			name string
			list *catalog.ListChange
		}{{"kernelopt", c.KernelOpts}, {"module", c.Modules}} {
			if l.list == nil {
				continue
			}
			for _, v := range l.list.Removed {
				row(c.Path, l.name, string(catalog.Removed), v)
			}
			for _, v := range l.list.Added {
				row(c.Path, l.name, string(catalog.Added), v)
			}
			if l.list.Reordered {
				row(c.Path, l.name, "reordered", "-")
			}
		}
	}
	return t
}
