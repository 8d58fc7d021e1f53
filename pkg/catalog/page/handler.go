package page

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/catalog"
)

// maxAnswers is how many pages are made at once: one may take all of a large
// image's config.
const maxAnswers = 4

// ErrNotFound says that there is no such image any more.
var ErrNotFound = errors.New("there is no such image")

// Source is what a Handler shows.
type Source interface {
	// Site lists all images, newly for each page: Answered is set.
	Site(r *http.Request) (*Site, error)
	// Load returns an image with all that its page shows, or ErrNotFound.
	Load(r *http.Request, row *Row) (*Image, error)
}

// Handler answers with the pages that Write writes, for what its source has at
// that moment. It answers below Prefix, and with a way there at "/".
type Handler struct {
	source Source
	failed func(r *http.Request, err error)
	making chan struct{}
}

// Prefix is where the pages are.
const Prefix = "/ui/"

// NewHandler shows a source. failed is told what went wrong with it; clients are
// not. It may be nil.
func NewHandler(source Source, failed func(r *http.Request, err error)) *Handler {
	if failed == nil {
		failed = func(*http.Request, error) {}
	}
	return &Handler{source, failed, make(chan struct{}, maxAnswers)}
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", Policy+"; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		h.message(w, http.StatusMethodNotAllowed, "This can only be read.")
		return
	}
	if r.URL.Path == "/" || r.URL.Path == strings.TrimSuffix(Prefix, "/") {
		header.Set("Location", Prefix)
		w.WriteHeader(http.StatusFound)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, Prefix)
	if !ok {
		h.message(w, http.StatusNotFound, "There is no such page.")
		return
	}
	if file, ok := strings.CutPrefix(name, "assets/"); ok {
		h.asset(w, file)
		return
	}
	select {
	case h.making <- struct{}{}:
		defer func() { <-h.making }()
	case <-r.Context().Done():
		return
	}
	h.page(w, r, name)
}

// types of the files beside the pages.
var types = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func (h *Handler) asset(w http.ResponseWriter, name string) {
	b, err := asset(name)
	kind := types[path.Ext(name)]
	if err != nil || kind == "" {
		h.message(w, http.StatusNotFound, "There is no such page.")
		return
	}
	send(w, http.StatusOK, kind, b)
}

func (h *Handler) page(w http.ResponseWriter, r *http.Request, name string) {
	site, err := h.source.Site(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	id, isImage := strings.CutPrefix(strings.TrimSuffix(name, ".html"), "image/")
	switch {
	case name == "" || name == "index.html":
		h.send(w, "index", site.index())
	case name == "compare.html":
		h.compare(w, r, site)
	case isImage && path.Ext(name) == ".html":
		h.image(w, r, site, id)
	default:
		h.message(w, http.StatusNotFound, "There is no such page.")
	}
}

// find returns the row of an image that has a page.
func (s *Site) find(id string) *Row {
	for i := range s.Rows {
		if r := &s.Rows[i]; r.ID == id && !r.Broken() {
			return r
		}
	}
	return nil
}

func (h *Handler) load(r *http.Request, site *Site, id string) (*Image, error) {
	if row := site.find(id); isID(id) && row != nil {
		img, err := h.source.Load(r, row)
		if err == nil {
			img.prepare()
		}
		return img, err
	}
	return nil, ErrNotFound
}

func (h *Handler) image(w http.ResponseWriter, r *http.Request, site *Site, id string) {
	img, err := h.load(r, site, id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	v := site.image(img)
	v.Nearby = site.nearby(id, site.pairs())
	h.send(w, "image", v)
}

func (h *Handler) compare(w http.ResponseWriter, r *http.Request, site *Site) {
	query := r.URL.Query()
	a, b := query.Get("a"), query.Get("b")
	if a == "" && b == "" {
		h.send(w, "compare", site.comparison(nil, site.pairs()))
		return
	}
	imgA, err := h.load(r, site, a)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	imgB, err := h.load(r, site, b)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if imgA.Loaded == nil || imgB.Loaded == nil {
		v := site.comparison(nil, site.pairs())
		v.Problem = unreadable
		h.send(w, "compare", v)
		return
	}
	d, err := compareImages(r.Context(), imgA, imgB)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.send(w, "compare", site.comparison(d, site.pairs()))
}

func compareImages(ctx context.Context, a, b *Image) (*Difference, error) {
	d, err := catalog.Compare(ctx, a.contents, b.contents)
	if err != nil {
		return nil, err
	}
	veiled := d.Kickstart == "" && !bytes.Equal(a.Kickstart, b.Kickstart)
	return &Difference{&a.Row, &b.Row, d, veiled}, nil
}

// send makes a page whole before any of it is sent.
func (h *Handler) send(w http.ResponseWriter, name string, view any) {
	h.sendAs(w, http.StatusOK, name, view)
}

func (h *Handler) sendAs(w http.ResponseWriter, status int, name string, view any) {
	var b bytes.Buffer
	if err := render(&b, name, view); err != nil {
		h.failed(nil, err)
		http.Error(w, "This page cannot be made.", http.StatusInternalServerError)
		return
	}
	send(w, status, "text/html; charset=utf-8", b.Bytes())
}

func send(w http.ResponseWriter, status int, kind string, b []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) //nolint:gosec // what html/template made; an error is a client that went away
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		h.message(w, http.StatusNotFound, "There is no such image, or not any more.")
	case r.Context().Err() != nil:
	default:
		h.failed(r, err)
		h.message(w, http.StatusInternalServerError, "The images cannot be read. The server’s log says why.")
	}
}

func (h *Handler) message(w http.ResponseWriter, status int, text string) {
	h.sendAs(w, status, "message", messageView{frame{Title: http.StatusText(status), Root: Prefix}, text})
}
