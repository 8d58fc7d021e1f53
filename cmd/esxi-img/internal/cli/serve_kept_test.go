package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// TestServedListsAreKept as long as nothing changes, whatever times say: they are
// the same again where a layout was unpacked.
func TestServedListsAreKept(t *testing.T) {
	dir := t.TempDir()
	index := filepath.Join(dir, "index.json")
	when := time.Now().Add(-time.Hour)
	write := func(foreign int) {
		text := `{"schemaVersion":2,"manifests":[`
		for n := range foreign {
			if n > 0 {
				text += ","
			}
			text += fmt.Sprintf(`{"mediaType":"application/x","digest":"sha256:%064d","size":%d,"annotations":{"org.opencontainers.image.ref.name":"t%d"}}`, n, n, n)
		}
		err := errors.Join(
			os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600),
			os.WriteFile(index, []byte(text+"]}"), 0o600), os.Chtimes(index, when, when),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	layout := server.Served{Name: "x", Dir: dir}
	p := &servedPages{kept: map[string]keptList{}}
	list := func() *catalog.Listing {
		t.Helper()
		l, err := p.list(t.Context(), layout)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	write(0)
	if first := list(); list() != first || len(p.kept) != 1 {
		t.Error("what does not change is not kept")
	}
	write(2)
	if l := list(); l.Foreign+l.Gone+len(l.Entries) != 2 {
		t.Errorf("it is the old list: %+v", l)
	}
	p.forget([]server.Served{layout})
	if len(p.kept) != 1 {
		t.Error("what is served is forgotten")
	}
	p.forget(nil)
	if len(p.kept) != 0 {
		t.Error("what is not served any more is kept")
	}
}

// TestServedListsAreBounded: many large lists are made anew each time.
func TestServedListsAreBounded(t *testing.T) {
	p := &servedPages{kept: map[string]keptList{}}
	of := func(n int) keptList {
		return keptList{list: &catalog.Listing{Entries: make([]catalog.Entry, n)}}
	}
	p.keep("a", of(maxKeptEntries+1))
	if len(p.kept) != 0 {
		t.Error("one that is too large is kept")
	}
	p.keep("b", of(maxKeptEntries-1))
	p.keep("c", of(2))
	p.keep("b", of(maxKeptEntries)) // in place of the other
	if len(p.kept) != 1 || len(p.kept["b"].list.Entries) != maxKeptEntries {
		t.Errorf("%d are kept", len(p.kept))
	}
}

// TestServedHost takes the registry's name from whoever asks, if it is one.
func TestServedHost(t *testing.T) {
	p := &servedPages{address: "127.0.0.1:5000"}
	for host, want := range map[string]string{
		"registry.example": "registry.example", "registry.example:5000": "registry.example:5000", "[::1]:80": "[::1]:80",
		"": p.address, "x'$(id)": p.address, "x y": p.address, "user@x": p.address, "x/y": p.address, "\"><script>": p.address,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/", http.NoBody)
		r.Host = host
		if got := p.host(r); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

// TestServedPageTimeout: a page that takes for ever is given up.
func TestServedPageTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &servedPages{layouts: func(ctx context.Context) ([]server.Served, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/", http.NoBody)
		began := time.Now()
		if _, err := p.Site(r); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		if _, err := p.Load(r, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
