package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// Site is what all pages have in common.
type Site struct {
	Rows         []Row
	Repositories []Repository
	// Signers says whether it was looked who vouches for the images.
	Signers bool
	// Answered says that a server answers which two differ in what; else a
	// program in the page does.
	Answered bool
}

// Repository counts what of a repository is no image.
type Repository struct {
	Name                    string
	Foreign, Attached, Gone int
	// Problem is why nothing of it is listed.
	Problem string
}

// frame is what each page has around it.
type frame struct {
	Title   string
	Root    string // the way to the first page: "" or "../"
	Here    string // "images", "image" or "compare"
	Compare bool   // load the program that compares
}

// rowView is a row of the table.
type rowView struct {
	ID, Href, Name       string
	Others               []string // tags
	Repository           string
	Release, Number      string // "8.0.2 U2", "8.0.2"
	Build, Size, Created string
	Digest, Short        string
	Variant              bool
	Base, BaseHref       string
	Signed, Signer       string
	Problem              string
	Rank                 int
	Bytes, Time          int64
}

// indexView is the first page.
type indexView struct {
	frame
	Rows              []rowView
	Many, Signers     bool
	Releases          []string
	SignerNames       []string
	Variants, Broken  int
	Summary           string
	Others            []string
	Where, Repository string
}

func (s *Site) index() indexView {
	v := indexView{frame: frame{Title: "ESXi images", Here: "images"}, Many: len(s.Repositories) > 1, Signers: s.Signers}
	releases, signers := map[string]bool{}, map[string]bool{}
	for i := range s.Rows {
		r := s.view(&s.Rows[i])
		v.Rows = append(v.Rows, r)
		if r.Problem != "" {
			v.Broken++
			continue
		}
		if r.Variant {
			v.Variants++
		}
		if r.Number != "" && !releases[r.Number] {
			releases[r.Number] = true
		}
		for _, name := range s.Rows[i].signers() {
			if !signers[name] {
				signers[name] = true
			}
		}
	}
	v.Releases = sortedReleases(s.Rows, releases)
	v.SignerNames = sortedKeys(signers)
	if !v.Many && len(s.Repositories) == 1 {
		v.Repository = clean(s.Repositories[0].Name)
	}
	v.Summary = quantity.Count(len(v.Rows), "image", "images")
	if v.Many {
		v.Where = fmt.Sprintf("in %d repositories", len(s.Repositories))
	}
	for _, r := range s.Repositories {
		if r.Problem != "" {
			v.Others = append(v.Others, clean(r.Name)+": "+clean(r.Problem))
		}
		for _, o := range []struct {
			n         int
			one, many string
		}{{r.Foreign, "other artifact", "other artifacts"}, {r.Attached, "tag of what is attached", "tags of what is attached"}, {r.Gone, "tag that was gone", "tags that were gone"}} {
			if o.n > 0 {
				v.Others = append(v.Others, clean(r.Name)+": "+quantity.Count(o.n, o.one, o.many))
			}
		}
	}
	return v
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// sortedReleases puts the newest first, as the rows are ranked.
func sortedReleases(rows []Row, wanted map[string]bool) []string {
	best := map[string]int{}
	for i := range rows {
		r := brief(rows[i].Release)
		if n, ok := best[r]; wanted[r] && (!ok || rows[i].rank < n) {
			best[r] = rows[i].rank
		}
	}
	out := sortedKeys(wanted)
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(best[a], best[b]) })
	return out
}

func (s *Site) view(r *Row) rowView {
	v := rowView{
		ID: r.ID, Name: r.name(), Repository: clean(r.Repository), Release: r.release(), Number: brief(r.Release), Build: brief(r.Build),
		Digest: clean(string(r.Digest)), Short: short(string(r.Digest)), Variant: r.Variant, Signed: string(r.Signed), Signer: r.signerText(),
		Problem: clean(r.Problem), Rank: r.rank, Bytes: r.Size,
	}
	if r.Digest != "" {
		v.Href = r.href()
	}
	if len(r.Tags) > 1 {
		v.Others = cleanAll(r.Tags[1:min(len(r.Tags), maxTags)])
	}
	if r.Size > 0 {
		v.Size = quantity.Bytes(r.Size)
	}
	if r.Created != nil {
		v.Created, v.Time = r.Created.Format("2006-01-02"), r.Created.Unix()
	}
	if r.Variant {
		v.Base = "an image that it does not name"
		if b := s.base(r); b != nil {
			v.Base, v.BaseHref = b.name(), b.href()
		} else if r.Base != nil {
			v.Base = short(string(r.Base.Digest))
		}
	}
	return v
}

// base is the image that a variant is one of, if it is here.
func (s *Site) base(r *Row) *Row {
	if r.Base == nil {
		return nil
	}
	for i := range s.Rows {
		if b := &s.Rows[i]; b.Repository == r.Repository && b.Digest == r.Base.Digest && !b.Broken() {
			return b
		}
	}
	return nil
}

// name is what the image is called: its first tag.
func (r *Row) name() string { return clean(r.Tags[0]) }

func (r *Row) href() string { return "image/" + r.ID + ".html" }

func (r *Row) release() string { return strings.TrimSpace(brief(r.Release) + " " + brief(r.Update)) }

// brief is a word that others stand beside.
func brief(s string) string {
	const most = 32
	if runes := []rune(clean(s)); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return clean(s)
}

func short(digest string) string {
	const most = len("sha256:") + 12
	return clean(digest[:min(len(digest), most)])
}

func (r *Row) signers() []string {
	var names []string
	for i := range r.Signers {
		if name := clean(r.Signers[i].String()); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (r *Row) signerText() string {
	const most = 2
	names := r.signers()
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// imageView is the page of an image.
type imageView struct {
	frame
	Site     *Site
	Row      rowView
	Heading  string
	Facts    [][2]string
	Signers  []signerView
	Refused  string
	Bar      []segment
	Blobs    []blob
	Host     [][2]string
	Boot     []catalog.BootConfig
	VIBs     []artifact.VIB
	Modules  [][2]string
	Kick     []line
	KickMore bool
	KickSize string

	Statements []statementView
	More       int
	Provenance string
	Commands   []commandView
	Nearby     []nearby
	Choices    []choice
	Others     bool // there are images to compare it with, on another page
	Problem    string
}

type signerView struct{ Name, Who, Issuer, Key, Time string }

type statementView struct{ Kind, Signer, Time, Referrer, Problem string }

// nearby is a difference that has a page of its own, or an answer.
type nearby struct{ Text, Href string }

// choice is an image that another can be compared with.
type choice struct {
	ID, Text string
	A, B     bool // it is the one or the other side
}

func (s *Site) image(img *Image) imageView {
	v := imageView{frame: frame{Root: "../", Here: "image"}, Site: s, Row: s.view(&img.Row), Problem: clean(img.Problem), Refused: clean(img.Refused)}
	v.Heading = strings.TrimSpace("ESXi " + v.Row.Release)
	v.Title = v.Row.Name + " – " + v.Heading
	v.Row.Others = cleanAll(img.Tags[:min(len(img.Tags), maxTags)])
	for i := range img.Signers {
		v.Signers = append(v.Signers, viewOf(&img.Signers[i]))
	}
	for _, st := range img.Statements[:min(len(img.Statements), maxStatements)] {
		v.Statements = append(v.Statements, st.view())
	}
	v.More = img.More + max(0, len(img.Statements)-maxStatements)
	// Of a folder one page has the choices, for there are as many pages of images.
	if s.Answered {
		v.Choices = s.choices("", img.ID)
	} else {
		v.Others = slices.ContainsFunc(s.Rows, func(r Row) bool { return r.ID != img.ID && !r.Broken() })
	}
	if img.Loaded == nil {
		return v
	}
	v.Commands = img.commands()
	v.Provenance = document(img.Provenance)
	v.describe(img)
	return v
}

// describe adds what stands in the config.
func (v *imageView) describe(img *Image) {
	c := img.Loaded.Config
	d := &c.Disk
	v.Facts = [][2]string{
		{"Build", clean(c.ESXi.Build)},
		{"Profile", clean(c.ESXi.Profile)},
		{"Vendor", clean(c.ESXi.Vendor)},
		{"Architecture", clean(c.ESXi.Architecture)},
		{"Disk", fmt.Sprintf("%s, sectors of %d bytes, GPT and FAT32 (UEFI)", quantity.Bytes(d.Size), d.SectorSize)},
		{"Disk SHA-256", d.SHA256.String()},
		{"Made from", fmt.Sprintf("%s, %s", clean(c.ISO.Name), quantity.Bytes(c.ISO.Size))},
		{"ISO SHA-256", c.ISO.SHA256.String()},
		{"Made by", "esxi-img " + clean(c.Builder.Version)},
	}
	v.Facts = slices.DeleteFunc(v.Facts, func(f [2]string) bool { return f[1] == "" })
	v.Bar, v.Blobs = diskBar(c), blobs(img.Loaded)
	v.Host = hostSettings(c.Kickstart.Settings)
	for _, b := range img.Boot {
		v.Boot = append(v.Boot, catalog.BootConfig{Path: clean(b.Path), Title: clean(b.Title), Kernel: clean(b.Kernel), KernelOpts: cleanAll(b.KernelOpts), Modules: cleanAll(b.Modules)})
	}
	for _, m := range c.Modules {
		v.Modules = append(v.Modules, [2]string{clean(m.Path), quantity.Bytes(m.Size)})
	}
	for i := range c.VIBs {
		x := &c.VIBs[i]
		v.VIBs = append(v.VIBs, artifact.VIB{Name: clean(x.Name), Version: clean(x.Version), Vendor: clean(x.Vendor), Acceptance: clean(x.Acceptance)})
	}
	v.Kick, v.KickMore = colored(img.shown)
	v.KickSize = quantity.Bytes(int64(len(img.Kickstart)))
}

// hostSettings says what an image tells its hosts.
func hostSettings(text string) (out [][2]string) {
	told, err := imager.ParseHostSettings([]byte(text))
	if err != nil {
		return nil
	}
	add := func(name, value string) {
		if value != "" {
			out = append(out, [2]string{name, clean(value)})
		}
	}
	add("Metadata", told.Metadata)
	if told.HasRootPassword() {
		add("Root password", "a hash, which is not shown")
	}
	if told.Install.Disk != nil {
		add("Install disk", told.Install.Disk.String())
	}
	add("Kernel options of the host", strings.Join(told.KernelOpts, " "))
	if told.SerialConsole {
		add("Console", "first serial port")
	}
	return out
}

func viewOf(s *catalog.Signer) signerView {
	v := signerView{Name: clean(s.Name), Who: clean(s.Identity), Issuer: clean(s.Issuer), Key: clean(s.Key)}
	if s.Time != nil {
		v.Time = s.Time.UTC().Format(time.RFC3339)
	}
	return v
}

func (st *Statement) view() statementView {
	v := statementView{Kind: clean(st.Kind), Signer: orDash(clean(cmp.Or(st.Signer.Identity, st.Signer.Key, st.Signer.Name))), Referrer: short(string(st.Referrer)), Problem: clean(st.Problem), Time: "–"}
	if v.Kind == "" {
		v.Kind = "something else"
	}
	if st.Time != nil {
		v.Time = st.Time.UTC().Format(time.RFC3339)
	}
	return v
}

// document indents JSON, within bounds.
func document(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return ""
	}
	if len(b) > maxDocument {
		return cleanLines(string(b[:maxDocument])) + "\n…"
	}
	return cleanLines(string(b))
}

// choices are the images that can be compared; a and b are chosen.
func (s *Site) choices(a, b string) []choice {
	var out []choice
	for i := range s.Rows {
		r := &s.Rows[i]
		if r.Broken() {
			continue
		}
		text := r.name() + " – ESXi " + r.release()
		if r.Build != "" {
			text += ", build " + brief(r.Build)
		}
		if len(s.Repositories) > 1 {
			text += " – " + clean(r.Repository)
		}
		out = append(out, choice{r.ID, text, r.ID == a, r.ID == b})
	}
	return out
}
