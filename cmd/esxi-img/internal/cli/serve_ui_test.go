package cli_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With --ui serve answers a browser beside the clients of the registry, and
// shows what is there at that moment; without it does not.
func TestServePages(t *testing.T) {
	get := func(url string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	dir := t.TempDir()
	s := serve(t, dir, "--ui")
	if status, body := get(s.url + "/ui/"); status != http.StatusOK || !strings.Contains(body, "There is no image here yet") {
		t.Errorf("an empty folder: %d, %s", status, body)
	}
	for _, name := range []string{"org/esxi", "v2/ui"} {
		r := command(t.Context(), "push", "-q", s.host+"/"+name+":8.0", "--layout", buildImage(t).layout)
		r.ended(t, done, "")
	}
	// Others write what is none.
	if err := os.MkdirAll(filepath.Join(dir, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "broken", "oci-layout"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // newly, and from what is kept
		_, body := get(s.url + "/ui/")
		for _, want := range []string{"2 images in 3 repositories", s.host + "/org/esxi", s.host + "/v2/ui", s.host + "/broken: cannot be read"} {
			if !strings.Contains(body, want) {
				t.Errorf("the table lacks %q: %s", want, body)
			}
		}
	}
	if status, body := get(s.url + "/v2/org/esxi/tags/list"); status != http.StatusOK || !strings.Contains(body, `"8.0"`) {
		t.Errorf("the registry answers %d, %s", status, body)
	}
	if status, _ := get(s.url + "/v2/v2/ui/tags/list"); status != http.StatusOK {
		t.Errorf("the registry answers %d", status)
	}
	// Who takes an image away finds that it is gone.
	if err := os.RemoveAll(filepath.Join(dir, "v2")); err != nil {
		t.Fatal(err)
	}
	if _, body := get(s.url + "/ui/"); !strings.Contains(body, "1 image in 2 repositories") {
		t.Error(body)
	}
	s.stop()
	if code := <-s.ended; code != done {
		t.Errorf("it ended with %d: %s", code, s.stderr)
	}
	plain := serve(t, dir)
	if status, body := get(plain.url + "/ui/"); status != http.StatusNotFound || !strings.Contains(body, "errors") {
		t.Errorf("without --ui: %d, %s", status, body)
	}
}
