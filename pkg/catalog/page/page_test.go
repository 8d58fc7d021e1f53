package page_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/catalog/page"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// evil would run, were it not escaped in each of the places where texts stand.
const evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)></style></textarea>{{.}}\x1b[31m\u202e\u2028`${alert(1)}`"

func digestOf(s string) digest.Digest { return digest.FromString(s) }

// entries are two releases, a variant of one, a second tag and a broken one.
func entries() []catalog.Entry {
	created := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	entry := func(tag, release, build, of string) catalog.Entry {
		e := catalog.Entry{Repository: "registry.example/esxi", Tag: tag, Digest: digestOf(tag), Version: tag, Release: release, Build: build, Size: 1 << 20, Created: &created, Signed: catalog.StateNone}
		if of != "" {
			e.Variant, e.Base = true, &catalog.Base{Digest: digestOf(of)}
		}
		return e
	}
	moving := entry("9.0.0-2", "9.0.0", "2", "")
	moving.Tag = "9.0"
	return []catalog.Entry{
		entry("8.0.2-1", "8.0.2", "1", ""), moving, entry("9.0.0-2", "9.0.0", "2", ""), entry("lab", "8.0.2", "1", "8.0.2-1"),
		{Repository: "registry.example/esxi", Tag: "broken", Problem: "index: has 2 image manifests, not 1"},
	}
}

// image is an image with a text in every place where one can be.
func image(row *page.Row, text string) *page.Image {
	sum := artifact.SHA256(sha256.Sum256([]byte(row.Tag)))
	c := &artifact.Config{
		ESXi: artifact.ESXi{Version: "8.0.2", Update: "U2", Build: "1", Profile: text, Vendor: text, Architecture: "amd64"},
		ISO:  artifact.ISO{Name: text, Size: 1, SHA256: sum, VolumeID: text},
		Disk: artifact.Disk{Size: 1 << 20, SectorSize: 512, SHA256: sum, Label: text},
		Extents: []artifact.Extent{
			{Offset: 0, Length: 4096, SHA256: []artifact.SHA256{sum}}, {Offset: 4096, Length: 1<<20 - 4096},
		},
		Files:      []artifact.File{{Path: "A/" + text, Size: 100, SHA256: sum, Role: plan.RolePayload}},
		KernelOpts: []string{text},
		Modules:    []artifact.Module{{Path: text, Size: 1}},
		VIBs:       []artifact.VIB{{Name: text, Version: row.Release + text, Vendor: text, Acceptance: text, Files: []string{"A/" + text}}},
		Builder:    artifact.Builder{Version: text},
	}
	d := func(name string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: text, Digest: digestOf(name), Size: 10, Annotations: map[string]string{artifact.AnnotationDiskType: text}}
	}
	now := time.Date(2025, 6, 2, 0, 0, 0, 0, time.UTC)
	img := &page.Image{
		Row: *row, Locator: "registry.example/esxi", Kickstart: []byte("# " + text + "\nrootpw secret\n" + text + " --x=" + text + "\n%pre " + text + "\n" + text + row.Tag + "\n"),
		Loaded:     &artifact.Image{Config: c, Manifest: d("m"), ConfigBlob: d("c"), Disk: d("d"), Module: d("i"), Kickstart: d("k"), Entries: []ocispec.Descriptor{d("e")}},
		Boot:       []catalog.BootConfig{{Path: text, Title: text, Kernel: text, KernelOpts: []string{text}, Modules: []string{text + row.Tag}}},
		Statements: []page.Statement{{Referrer: digestOf("s"), Kind: text, Signer: catalog.Signer{Identity: text}, Time: &now, Problem: text}},
		Provenance: fmt.Appendf(nil, "{%q: %q}", "a", "</script>"+strings.Repeat("x", 10)),
	}
	return img
}

func site() *page.Site {
	rows := page.Rows(entries())
	return &page.Site{Rows: rows, Signers: true, Repositories: []page.Repository{{Name: "registry.example/esxi", Foreign: 1}}}
}

// write writes a folder into memory.
func write(t *testing.T, s *page.Site, load func(context.Context, *page.Row) (*page.Image, error)) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := page.Write(t.Context(), s, 3, load, func(name string, b []byte) error {
		if _, twice := out[name]; twice {
			t.Errorf("%s is written twice", name)
		}
		out[name] = string(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func loader(text string) func(context.Context, *page.Row) (*page.Image, error) {
	return func(_ context.Context, r *page.Row) (*page.Image, error) { return image(r, text), nil }
}

func TestRows(t *testing.T) {
	rows := page.Rows(entries())
	var got []string
	for i := range rows {
		got = append(got, strings.Join(rows[i].Tags, "+"))
	}
	if want := "8.0.2-1 9.0.0-2+9.0 lab broken"; strings.Join(got, " ") != want {
		t.Errorf("rows %q, want %q", got, want)
	}
	if rows[3].ID == rows[0].ID || !rows[3].Broken() {
		t.Error("a broken image is taken for another")
	}
}

// The same images make the same files, and what they link to is there.
func TestWrite(t *testing.T) {
	files := write(t, site(), loader("plain"))
	again := write(t, site(), loader("plain"))
	for name, text := range files {
		if again[name] != text {
			t.Errorf("%s is another the second time", name)
		}
	}
	pages, differences := 0, 0
	href := regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	for name, text := range files {
		if strings.HasPrefix(name, "diff/") {
			differences++
		}
		if !strings.HasSuffix(name, ".html") {
			continue
		}
		pages++
		if strings.Contains(text, "secret") {
			t.Errorf("%s shows a password", name)
		}
		for _, m := range href.FindAllStringSubmatch(text, -1) {
			target := m[1]
			if strings.HasPrefix(target, "#") {
				continue
			}
			if strings.HasPrefix(target, "../") {
				target = target[3:]
			} else if strings.Contains(name, "/") {
				t.Errorf("%s links to %s, from its own folder", name, m[1])
			}
			target, _, _ = strings.Cut(target, "?")
			if _, ok := files[target]; !ok {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
	if pages != 3+2+2 || differences != 2 {
		t.Errorf("%d pages, %d of differences", pages, differences)
	}
	if strings.Contains(files["data/"+page.Rows(entries())[0].ID+".js"], "secret") {
		t.Error("the data tells a password")
	}
}

// Nothing that a registry says becomes an element, an attribute, a program or a
// character that hides others.
func TestHostileTexts(t *testing.T) {
	s := site()
	for i := range s.Rows {
		r := &s.Rows[i]
		r.Tags[0], r.Tag = evil, evil
		r.Release, r.Update, r.Build, r.Version, r.Repository = evil, evil, evil, evil, evil
		r.Signed, r.Refused = catalog.StateClaimed, evil
		r.Signers = []catalog.Signer{{Identity: evil, Issuer: evil, Key: evil, Name: evil}}
		if r.Problem != "" {
			r.Problem = evil
		}
	}
	s.Repositories[0].Name = evil
	s.Repositories = append(s.Repositories, page.Repository{Name: evil, Problem: evil})
	load := func(_ context.Context, r *page.Row) (*page.Image, error) {
		img := image(r, evil)
		img.Locator = evil
		return img, nil
	}
	for name, text := range write(t, s, load) {
		if strings.HasPrefix(name, "assets/") {
			continue
		}
		for _, bad := range []string{"<script>alert", "<img", "</style>", "</textarea>", "\x1b", "\u202e", "\u2028", "onerror=alert(1)>"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
		switch {
		case strings.HasSuffix(name, ".html"):
			if n := strings.Count(text, "<script"); n != 1 && n != 2 {
				t.Errorf("%s has %d programs", name, n)
			}
		case strings.HasSuffix(name, ".js"):
			_, data, _ := strings.Cut(text, ", ")
			if !json.Valid([]byte(strings.TrimSuffix(data, ");\n"))) {
				t.Errorf("%s is no data: %s", name, text)
			}
		}
	}
}

// An image that turns out to be broken has a page that says so, and so have the
// differences from it.
func TestBrokenImage(t *testing.T) {
	s := site()
	files := write(t, s, func(_ context.Context, r *page.Row) (*page.Image, error) {
		img := image(r, "plain")
		if r.Tag == "8.0.2-1" {
			img.Loaded, img.Problem = nil, "config: extents overlap"
		}
		return img, nil
	})
	if text := files["image/"+s.Rows[0].ID+".html"]; !strings.Contains(text, "config: extents overlap") {
		t.Error(text)
	}
	for name, text := range files {
		if strings.HasPrefix(name, "diff/") && !strings.Contains(text, "cannot be read") {
			t.Errorf("%s: %s", name, text)
		}
	}
	gone := errors.New("gone")
	err := page.Write(t.Context(), s, 1, func(context.Context, *page.Row) (*page.Image, error) { return nil, gone }, func(string, []byte) error { return nil })
	if !errors.Is(err, gone) {
		t.Errorf("a registry that fails: %v", err)
	}
}

func TestTooMany(t *testing.T) {
	s := &page.Site{}
	for i := range page.MaxImages + 1 {
		s.Rows = append(s.Rows, page.Row{ID: fmt.Sprint(i), Entry: catalog.Entry{Digest: digestOf(fmt.Sprint(i))}, Tags: []string{"x"}})
	}
	var many *page.TooManyError
	if err := page.Write(t.Context(), s, 1, nil, nil); !errors.As(err, &many) {
		t.Error(err)
	}
}

// source serves what the tests have.
type source struct{ err error }

func (s source) Site(*http.Request) (*page.Site, error) {
	x := site()
	x.Answered = true
	return x, s.err
}

func (source) Load(_ *http.Request, r *page.Row) (*page.Image, error) { return image(r, "plain"), nil }

func TestHandler(t *testing.T) {
	rows := page.Rows(entries())
	var told []error
	h := page.NewHandler(source{}, func(_ *http.Request, err error) { told = append(told, err) })
	get := func(h http.Handler, method, path string) (*httptest.ResponseRecorder, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
		return w, w.Body.String()
	}
	for path, c := range map[string]struct {
		status int
		says   string
	}{
		"/":                                 {http.StatusFound, ""},
		"/ui":                               {http.StatusFound, ""},
		"/ui/":                              {http.StatusOK, "one of them a variant"},
		"/ui/index.html":                    {http.StatusOK, "9.0.0-2"},
		"/ui/compare.html":                  {http.StatusOK, "From release to release"},
		"/ui/image/" + rows[0].ID + ".html": {http.StatusOK, "Who vouches for it"},
		"/ui/compare.html?a=" + rows[0].ID + "&b=" + rows[1].ID: {http.StatusOK, "What changes"},
		"/ui/compare.html?a=" + rows[0].ID:                      {http.StatusNotFound, "no such image"},
		"/ui/image/" + rows[3].ID + ".html":                     {http.StatusNotFound, "no such image"},
		"/ui/image/" + rows[0].ID:                               {http.StatusNotFound, "no such page"},
		"/ui/image/../index.html":                               {http.StatusNotFound, "no such"},
		"/ui/assets/style.css":                                  {http.StatusOK, "color-scheme"},
		"/ui/assets/image.tmpl":                                 {http.StatusNotFound, "no such page"},
		"/ui/assets/../handler.go":                              {http.StatusNotFound, "no such page"},
		"/elsewhere":                                            {http.StatusNotFound, "no such page"},
	} {
		res, body := get(h, http.MethodGet, path)
		if res.Code != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d, %.300s", path, res.Code, body)
		}
		if policy := res.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s has the policy %q", path, policy)
		}
	}
	if res, _ := get(h, http.MethodPost, "/ui/"); res.Code != http.StatusMethodNotAllowed {
		t.Error(res.Code)
	}
	if len(told) > 0 {
		t.Error(told)
	}
	secret := errors.New("open /srv/secret: permission denied")
	res, body := get(page.NewHandler(source{secret}, func(_ *http.Request, err error) { told = append(told, err) }), http.MethodGet, "/ui/")
	if res.Code != http.StatusInternalServerError || strings.Contains(body, "secret") || len(told) != 1 {
		t.Errorf("%d %s %v", res.Code, body, told)
	}
}

// Whatever stands in a kickstart, its secrets do not, and its lines are as many.
func FuzzVeil(f *testing.F) {
	f.Add([]byte("vmaccepteula\nrootpw secret\nrootpw --iscrypted $6$aaaaaaaa$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n"))
	f.Add([]byte("%post\n-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte("%pre \"\nx='\n=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		veiled := page.Veil(text)
		again := page.Veil(veiled)
		if !bytes.Equal(veiled, again) {
			t.Errorf("%q: %q and then %q", text, veiled, again)
		}
		page.Colored(veiled)
	})
}

// The page of an image, and that of a difference, has no more in it where there
// are more images: a folder of many would be as large as their square.
func TestPagesDoNotGrowWithTheList(t *testing.T) {
	largest := func(n int) map[string]int {
		s := &page.Site{Repositories: []page.Repository{{Name: "registry.example/esxi"}}}
		var entries []catalog.Entry
		for i := range n {
			e := catalog.Entry{Repository: "registry.example/esxi", Tag: fmt.Sprintf("t%03d", i), Release: "8.0.2", Build: fmt.Sprintf("%03d", i)}
			e.Digest = digestOf(e.Tag)
			if i%2 == 1 { // half of them are variants of the first one
				e.Variant, e.Base = true, &catalog.Base{Digest: digestOf("t000")}
			}
			entries = append(entries, e)
		}
		s.Rows = page.Rows(entries)
		out := map[string]int{}
		first := ""
		for i := range s.Rows {
			if s.Rows[i].Tag == "t000" {
				first = "image/" + s.Rows[i].ID + ".html" // names its variants
			}
		}
		for name, text := range write(t, s, loader("plain")) {
			if folder, _, ok := strings.Cut(name, "/"); ok && name != first {
				out[folder] = max(out[folder], len(text))
			}
		}
		return out
	}
	few, many := largest(60), largest(240)
	for _, folder := range []string{"image", "diff", "data"} {
		if few[folder] == 0 || many[folder] > few[folder]+100 {
			t.Errorf("%s: a page has %d bytes where there are 60 images, and %d where there are 240", folder, few[folder], many[folder])
		}
	}
}
