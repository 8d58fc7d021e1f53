package page

import (
	"strings"

	"github.com/esxi-img/esxi-img/pkg/catalog"
)

// What is shown of a difference is made twice: here, and in compare.js for two
// images of a folder that nobody serves. A test holds the two against each
// other.

// differenceView is a difference as tables.
type differenceView struct {
	A, B      sideView
	Same      bool
	Summary   []string
	Tables    []tableView
	Kickstart []line
	// Veiled says that the kickstarts differ in what is not shown alone.
	Veiled bool
	// Boot says that boot.cfg could not be read.
	BootUnknown bool
}

type sideView struct{ Name, Href, Release string }

// tableView is a table. One that is folded follows from another.
type tableView struct {
	Caption string
	Heads   []string
	Rows    [][]cell
	Folded  bool
	More    int // rows that are not shown
}

// cell of a table. Change is set where it says how something differs.
type cell struct {
	Text   string
	Change string
}

func (d *Difference) view() differenceView {
	v := differenceView{A: d.A.side(), B: d.B.side(), Same: !d.Different && !d.Veiled, Veiled: d.Veiled, BootUnknown: d.BootUnknown}
	v.Summary = d.summary()
	hidden, shown := d.SplitFiles()
	for _, t := range []tableView{
		properties(d.Properties), vibs(d.VIBs), files("Files", shown), files("Files of VIBs that change", hidden), boot(d.Boot),
	} {
		if len(t.Rows) > 0 {
			v.Tables = append(v.Tables, t.bounded())
		}
	}
	v.Kickstart = changed(cleanLines(d.Kickstart))
	return v
}

func (r *Row) side() sideView { return sideView{r.name(), r.href(), r.release()} }

func (t tableView) bounded() tableView {
	if len(t.Rows) > maxRows {
		t.Rows, t.More = t.Rows[:maxRows], len(t.Rows)-maxRows
	}
	return t
}

func (d *Difference) summary() []string {
	var out []string
	add := func(name, text string) {
		if text != "" {
			out = append(out, name+": "+text)
		}
	}
	add("VIBs", catalog.Counted(d.VIBs, func(c catalog.VIBChange) catalog.Change { return c.Change }))
	add("Files", catalog.Counted(d.Files, func(c catalog.FileChange) catalog.Change { return c.Change }))
	add("boot.cfg", catalog.Counted(d.Boot, func(c catalog.BootChange) catalog.Change { return c.Change }))
	if d.Kickstart != "" {
		add("Kickstart", string(catalog.Changed))
	}
	return out
}

func plain(text string) cell                { return cell{Text: orDash(text)} }
func changeCell(change catalog.Change) cell { return cell{string(change), string(change)} }

func properties(list []catalog.PropertyChange) tableView {
	t := tableView{Caption: "Properties", Heads: []string{"Property", "A", "B"}}
	for _, p := range list {
		t.Rows = append(t.Rows, []cell{plain(p.Name), plain(p.A), plain(p.B)})
	}
	return t
}

func vibs(list []catalog.VIBChange) tableView {
	t := tableView{Caption: "VIBs", Heads: []string{"VIB", "Change", "Version in A", "Version in B", "Vendor", "Acceptance"}}
	for _, l := range catalog.VIBLines(list, orDash("")) {
		t.Rows = append(t.Rows, []cell{plain(l.Name), changeCell(l.Change), plain(l.A), plain(l.B), plain(l.Vendor), plain(l.Acceptance)})
	}
	return t
}

func files(caption string, list []catalog.FileChange) tableView {
	t := tableView{Caption: caption, Heads: []string{"File", "Change", "Size in A", "Size in B", "Role", "VIB"}, Folded: caption != "Files"}
	for i := range list {
		c := &list[i]
		a, b := c.Sizes(orDash(""))
		t.Rows = append(t.Rows, []cell{plain(c.Path), changeCell(c.Change), plain(a), plain(b), plain(string(c.Role)), plain(c.VIB)})
	}
	return t
}

func boot(list []catalog.BootChange) tableView {
	t := tableView{Caption: "boot.cfg", Heads: []string{"What", "Change", "Value", "In"}}
	for _, l := range catalog.BootLines(list) {
		t.Rows = append(t.Rows, []cell{plain(l.What), {l.Change, l.Change}, plain(l.Value), plain(strings.Join(l.In, ", "))})
	}
	return t
}
