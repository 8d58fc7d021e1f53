package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Counted says how many changes there are of each kind, "" if there are none.
// Kind is that of one of them.
func Counted[T any](list []T, kind func(T) Change) string {
	var parts []string
	for _, k := range []Change{Added, Removed, Upgraded, Downgraded, Changed} {
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

// SplitFiles tells the files whose change follows from their VIB's from all
// others.
func (d *Difference) SplitFiles() (ofVIBs, others []FileChange) {
	for i := range d.Files {
		f := d.Files[i]
		if f.VIB != "" && slices.ContainsFunc(d.VIBs, func(v VIBChange) bool { return v.Name == f.VIB }) {
			ofVIBs = append(ofVIBs, f)
		} else {
			others = append(others, f)
		}
	}
	return ofVIBs, others
}

// VIBLine is a VIB that differs, to be shown.
type VIBLine struct {
	Name   string
	Change Change
	A, B   string // versions
	// Vendor and Acceptance are what it has, and what it had if that was
	// something else.
	Vendor, Acceptance string
}

// VIBLines has a line for each VIB. None is what stands where there is nothing.
func VIBLines(list []VIBChange, none string) []VIBLine {
	lines := make([]VIBLine, len(list))
	for i := range list {
		c := &list[i]
		var a, b VIB
		if c.A != nil {
			a = *c.A
		}
		if c.B != nil {
			b = *c.B
		}
		lines[i] = VIBLine{
			c.Name, c.Change, cmp.Or(a.Version, none), cmp.Or(b.Version, none),
			c.turned(a.Vendor, b.Vendor, none), c.turned(a.Acceptance, b.Acceptance, none),
		}
	}
	return lines
}

func (c *VIBChange) turned(a, b, none string) string {
	a, b = cmp.Or(a, none), cmp.Or(b, none)
	switch {
	case c.B == nil:
		return a
	case c.A == nil || a == b:
		return b
	default:
		return b + " (was " + a + ")"
	}
}

// Sizes are those of both sides in bytes, to be shown. None is what stands
// where the file is not there.
func (c *FileChange) Sizes(none string) (a, b string) {
	a, b = fmt.Sprint(c.SizeA), fmt.Sprint(c.SizeB)
	switch c.Change {
	case Added:
		a = none
	case Removed:
		b = none
	}
	return a, b
}

// BootLine is one option or module that differs.
type BootLine struct {
	What   string // "title", "kernel", "kernelopt", "module", or "file" for all of it
	Change string // a Change, or "reordered"
	Value  string // "" for none
	In     []string
}

// BootLines has a line for each option and module. Both copies of boot.cfg
// mostly change alike, and then share it.
func BootLines(list []BootChange) []BootLine {
	var lines []BootLine
	add := func(path, what, change, value string) {
		i := slices.IndexFunc(lines, func(l BootLine) bool { return l.What == what && l.Change == change && l.Value == value })
		if i < 0 {
			lines = append(lines, BootLine{what, change, value, []string{path}})
			return
		}
		lines[i].In = append(lines[i].In, path)
	}
	for i := range list {
		c := &list[i]
		if c.Change != Changed {
			add(c.Path, "file", string(c.Change), "")
			continue
		}
		for _, p := range []*PropertyChange{c.Title, c.Kernel} {
			if p != nil {
				add(c.Path, p.Name, string(Removed), p.A)
				add(c.Path, p.Name, string(Added), p.B)
			}
		}
		for _, l := range []struct {
			name string
			list *ListChange
		}{{"kernelopt", c.KernelOpts}, {"module", c.Modules}} {
			if l.list == nil {
				continue
			}
			for _, v := range l.list.Removed {
				add(c.Path, l.name, string(Removed), v)
			}
			for _, v := range l.list.Added {
				add(c.Path, l.name, string(Added), v)
			}
			if l.list.Reordered {
				add(c.Path, l.name, "reordered", "")
			}
		}
	}
	return lines
}
