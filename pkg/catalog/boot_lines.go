package catalog

import "slices"

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
