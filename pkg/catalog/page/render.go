package page

import (
	"embed"
	"html/template"
	"io"
	"io/fs"
)

//go:embed files
var embedded embed.FS

// Policy is what a page may load and do: its own style sheet, programs and icon,
// and nothing of anybody else's. Texts do not become programs or elements
// either.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types esxi-img"

// assets are the files beside the pages.
var assets = []string{"style.css", "catalog.js", "compare.js", "icon.svg"}

func asset(name string) ([]byte, error) { return fs.ReadFile(embedded, "files/"+name) }

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"policy": func() string { return Policy },
	"inc":    func(n int) int { return n + 1 },
}).ParseFS(embedded, "files/*.tmpl"))

func render(w io.Writer, name string, view any) error {
	return templates.ExecuteTemplate(w, name, view)
}

// compareView is the page that compares any two.
type compareView struct {
	frame
	Site       *Site
	Choices    []choice
	Difference *differenceView
	Pairs      []pairView
	Command    string
	Problem    string
	// Others is the query by which compare.html takes two others; "" where they
	// are chosen here.
	Others string
}

type pairView struct{ A, B, Href string }

func (s *Site) comparison(d *Difference, pairs []pair) compareView {
	v := compareView{frame: frame{Title: "Compare images", Here: "compare"}, Site: s}
	v.Compare = !s.Answered && d == nil
	a, b := "", ""
	if d != nil {
		view := d.view()
		a, b, v.Difference = d.A.ID, d.B.ID, &view
		v.Title = d.A.name() + " and " + d.B.name() + " compared"
	}
	v.Choices = s.choices(a, b)
	for _, p := range pairs {
		v.Pairs = append(v.Pairs, p.view(s.Answered))
	}
	return v
}

func (p pair) view(answered bool) pairView {
	return pairView{p.A.name() + suffix(p.A), p.B.name() + suffix(p.B), p.href(answered)}
}

// difference is the page of one pair of a folder; d is nil where one of the two
// cannot be read. It names no more than some of the other pairs: there are as
// many of these pages as there are images.
func (s *Site) difference(p pair, d *Difference, pairs []pair) compareView {
	v := compareView{frame: frame{Title: p.A.name() + " and " + p.B.name() + " compared", Here: "compare", Root: "../"}, Site: s, Others: "?a=" + p.A.ID + "&b=" + p.B.ID}
	if d == nil {
		v.Problem = unreadable
	} else {
		view := d.view()
		v.Difference = &view
	}
	for _, o := range pairs {
		if o != p && (o.has(p.A) || o.has(p.B)) && len(v.Pairs) < maxOthers {
			v.Pairs = append(v.Pairs, o.view(false))
		}
	}
	return v
}

func (p pair) has(r *Row) bool { return p.A.ID == r.ID || p.B.ID == r.ID }

// messageView is a page that says why there is no other.
type messageView struct {
	frame
	Text string
}
