package page_test

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esxi-img/esxi-img/pkg/catalog/page"
)

// policy is what a page may load and do, as docs/catalog.md says: a word more
// has to be meant.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types esxi-img"

// TestPolicy holds it in each page and each answer, in pages before anything that
// is loaded.
func TestPolicy(t *testing.T) {
	for name, text := range write(t, site(), loader("plain")) {
		if !strings.HasSuffix(name, ".html") {
			continue
		}
		head, _, _ := strings.Cut(html.UnescapeString(text), "<link")
		if !strings.Contains(head, `<meta http-equiv="Content-Security-Policy" content="`+policy+`">`) || strings.Contains(head, "<script") {
			t.Errorf("%s begins with %s", name, head)
		}
	}
	h := page.NewHandler(source{}, nil)
	for _, path := range []string{"/ui/", "/ui/assets/catalog.js", "/ui/image/x.html", "/"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		for name, want := range map[string]string{
			"Content-Security-Policy":      policy + "; frame-ancestors 'none'",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
	}
}

// TestLongTexts holds that no text makes a page endless.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	for name, text := range write(t, site(), func(_ context.Context, r *page.Row) (*page.Image, error) {
		img := image(r, long)
		img.Kickstart = []byte(strings.Repeat("# "+strings.Repeat("a comment ", 20)+"\n", 1<<12))
		return img, nil
	}) {
		if len(text) > 1<<20 || strings.Contains(text, long[:2000]) {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		if strings.HasPrefix(name, "image/") && !strings.Contains(text, "It goes on:") {
			t.Errorf("%s does not say that the kickstart goes on", name)
		}
	}
}

// TestVeil holds that neither passwords nor keys are shown, and that what differs
// in them alone is told.
func TestVeil(t *testing.T) {
	ks := func(secret string) []byte {
		return []byte("vmaccepteula\nrootpw " + secret + "\n%post\ncat > /key <<END\n-----BEGIN PRIVATE KEY-----\n" + secret + "MORE\n-----END PRIVATE KEY-----\nEND\nlastline\n")
	}
	files := write(t, site(), func(_ context.Context, r *page.Row) (*page.Image, error) {
		img := image(r, "plain")
		img.Kickstart = ks("Geheim" + r.Tag)
		return img, nil
	})
	for name, text := range files {
		if strings.Contains(text, "Geheim") || strings.Contains(text, "MORE") {
			t.Errorf("%s tells a secret", name)
		}
		if strings.HasPrefix(name, "image/") && (strings.Count(text, "[not shown: ") < 2 || !strings.Contains(text, "lastline")) {
			t.Errorf("%s: %s", name, text)
		}
		if strings.HasPrefix(name, "diff/") && !strings.Contains(text, "The kickstarts differ in passwords or keys, which are not shown.") {
			t.Errorf("%s does not tell that they differ: %s", name, text)
		}
	}
}

// TestCommandsAreQuoted holds that a command that is copied does what it says,
// whatever a repository or a signer is called.
func TestCommandsAreQuoted(t *testing.T) {
	files := write(t, site(), func(_ context.Context, r *page.Row) (*page.Image, error) {
		img := image(r, "plain")
		img.Locator = "registry.example/a'b $(id)"
		return img, nil
	})
	text := html.UnescapeString(files["image/"+page.Rows(entries())[0].ID+".html"])
	if !strings.Contains(text, `'registry.example/a'\''b $(id)`) || strings.Contains(text, ` registry.example/a'b`) {
		t.Error(text)
	}
}

// slow lists images only when it is told to.
type slow struct {
	source
	now, most *atomic.Int64
	goOn      chan struct{}
}

func (s slow) Site(r *http.Request) (*page.Site, error) {
	n := s.now.Add(1)
	for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
	}
	<-s.goOn
	s.now.Add(-1)
	return s.source.Site(r)
}

// TestPagesAtOnce makes few pages at once, and lets go of whoever does not wait.
func TestPagesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slow{now: new(atomic.Int64), most: new(atomic.Int64), goOn: make(chan struct{})}
		h := page.NewHandler(s, nil)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/", http.NoBody))
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/ui/", http.NoBody))
		close(s.goOn)
		wg.Wait()
		if n := s.most.Load(); n != 4 {
			t.Errorf("%d pages were made at once", n)
		}
	})
}
