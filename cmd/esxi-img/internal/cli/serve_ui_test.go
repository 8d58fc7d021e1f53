package cli_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// get asks for a page, of a server that is called host, if that is not "".
func get(t *testing.T, url, host string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
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

// With --ui serve answers a browser beside the clients of the registry, and
// shows what is there at that moment; without it does not.
func TestServePages(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "--ui")
	if status, body := get(t, s.url+"/ui/", ""); status != http.StatusOK || !strings.Contains(body, "There is no image here yet") {
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
		_, body := get(t, s.url+"/ui/", "")
		for _, want := range []string{"2 images in 3 repositories", s.host + "/org/esxi", s.host + "/v2/ui", s.host + "/broken: cannot be read"} {
			if !strings.Contains(body, want) {
				t.Errorf("the table lacks %q: %s", want, body)
			}
		}
	}
	if status, body := get(t, s.url+"/v2/org/esxi/tags/list", ""); status != http.StatusOK || !strings.Contains(body, `"8.0"`) {
		t.Errorf("the registry answers %d, %s", status, body)
	}
	if status, _ := get(t, s.url+"/v2/v2/ui/tags/list", ""); status != http.StatusOK {
		t.Errorf("the registry answers %d", status)
	}
	// Who takes an image away finds that it is gone.
	if err := os.RemoveAll(filepath.Join(dir, "v2")); err != nil {
		t.Fatal(err)
	}
	if _, body := get(t, s.url+"/ui/", ""); !strings.Contains(body, "1 image in 2 repositories") {
		t.Error(body)
	}
	s.stop()
	if code := <-s.ended; code != done {
		t.Errorf("it ended with %d: %s", code, s.stderr)
	}
	if n := strings.Count(s.stderr.String(), "pages: broken: "); n != 1 {
		t.Errorf("the log tells %d times of the broken layout: %s", n, s.stderr)
	}
	plain := serve(t, dir)
	if status, body := get(t, plain.url+"/ui/", ""); status != http.StatusNotFound || !strings.Contains(body, "errors") {
		t.Errorf("without --ui: %d, %s", status, body)
	}
}

// A policy with a rule for the registry that clients know applies where serve is
// told that name, whatever name whoever asks uses.
func TestServePagesUnderThePublicName(t *testing.T) {
	dir := t.TempDir()
	images, key, policy := filepath.Join(dir, "images"), filepath.Join(dir, "lab"), filepath.Join(dir, "policy.yaml")
	run := func(args ...string) {
		t.Helper()
		r := command(t.Context(), args...)
		r.ended(t, done, "")
	}
	run("sign", "--generate-key", key)
	writer := serve(t, images)
	run("push", "-q", writer.host+"/org/esxi:8.0", "--layout", buildImage(t).layout)
	run("sign", "-q", writer.host+"/org/esxi:8.0", "--key", key+".key")
	text := "version: 1\nscopes:\n  registry.example:5000/org:\n    anyOf: [{name: the lab, key: lab.pub}]\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for public, want := range map[string][]string{
		"":                      {`data-signed="claimed"`, "/org/esxi"},
		"registry.example:5000": {`data-signed="verified"`, "the lab", "registry.example:5000/org/esxi"},
		"other.example":         {`data-signed="claimed"`, "other.example/org/esxi"},
	} {
		s := serve(t, images, "--ui", "--policy", policy, "--public-name", public)
		_, body := get(t, s.url+"/ui/", "")
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("--public-name %q: the table lacks %q: %s", public, w, body)
			}
		}
		if !strings.Contains(want[0], "verified") && strings.Contains(body, `data-signed="verified"`) {
			t.Errorf("--public-name %q: an image is verified by another's rule", public)
		}
	}
	for _, args := range [][]string{{"--public-name", "registry.example"}, {"--ui", "--public-name", "https://registry.example"}, {"--ui", "--public-name", "registry.example/org"}} {
		r := command(t.Context(), append([]string{"serve", images}, args...)...)
		r.ended(t, badUsage, "--public-name")
	}
}
