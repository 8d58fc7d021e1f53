package cli_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Lies to some requests only: for ranges of disks, for any blob, for manifests.

func onRanges(lie registrytest.Lie) registrytest.Lie {
	return onBlobs(registrytest.Where(func(r *http.Request) bool { return r.Header.Get("Range") != "" }, lie))
}

func onBlobs(lie registrytest.Lie) registrytest.Lie {
	return registrytest.On(http.MethodGet, registrytest.Blobs, lie)
}

func onManifests(lie registrytest.Lie) registrytest.Lie {
	return registrytest.On(http.MethodGet, registrytest.Manifests, lie)
}

// onDigests is onManifests but for tags.
func onDigests(lie registrytest.Lie) registrytest.Lie {
	return onManifests(registrytest.Where(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "sha256:") }, lie))
}

// pullLies are lies, and how a pull ends with them.
var pullLies = []struct {
	name  string
	lie   registrytest.Lie
	code  int
	says  string
	least time.Duration // that it takes
}{
	{"429, come back in a second", onRanges(registrytest.First(1, registrytest.Refuse(429, "1"))), done, "", time.Second},
	{"429 for ever", onRanges(registrytest.Refuse(429, "0")), badRegistry, "429 Too Many Requests", 0},
	{"429, come back tomorrow", onBlobs(registrytest.Refuse(429, "86400")), badRegistry, "come back in 24h0m0s", 0},
	{"503 twice", onBlobs(registrytest.First(2, registrytest.Refuse(503, ""))), done, "", 0},
	{"500 for ever", onRanges(registrytest.Refuse(500, "")), badRegistry, "500 Internal Server Error", 0},
	{"500 for a manifest", onManifests(registrytest.Refuse(500, "")), badRegistry, "500 Internal Server Error", 0},
	{"reset in the middle of a blob", onRanges(registrytest.First(2, registrytest.Break(3_000_000))), done, "", 0},
	{"reset at once, for ever", onRanges(registrytest.Break(0)), badRegistry, "EOF", 0},
	{"a wrong byte", onRanges(registrytest.Damage(1_000_000)), notVerified, "are sha256:", 0},
	{"a wrong byte in the config", onBlobs(registrytest.Damage(100)), notVerified, "the content has another digest", 0},
	{"a wrong byte in a manifest", onDigests(registrytest.Damage(100)), notVerified, "", 0},
	{"a byte more, announced", onRanges(registrytest.Longer(true)), badRegistry, "the server sent another range", 0},
	{"a byte more, which nobody reads", onRanges(registrytest.Longer(false)), done, "", 0},
	{"a byte fewer, announced", onRanges(registrytest.Shorter(true)), badRegistry, "the server sent another range", 0},
	{"a byte fewer", onRanges(registrytest.Shorter(false)), badRegistry, "the server sent another range", 0},
	{"config: a byte more", onBlobs(registrytest.Longer(false)), notVerified, "the content is longer", 0},
	{"config: a byte fewer", onBlobs(registrytest.Shorter(true)), notVerified, "the registry sends", 0},
	{"range ignored", onRanges(registrytest.IgnoreRange()), done, "", 0},
	{"range ignored, and a wrong byte", both(onBlobs(registrytest.Damage(9_000_000)), onRanges(registrytest.IgnoreRange())), notVerified, "are sha256:", 0},
	{"range off by one", onRanges(registrytest.RangeOffByOne(false)), badRegistry, "the server sent another range", 0},
	{"range off by one, hidden", onRanges(registrytest.RangeOffByOne(true)), notVerified, "are sha256:", 0},
	{"redirects without end", onRanges(registrytest.Redirect("")), badRegistry, "stopped after 10 redirects", 0},
	{"redirects without end, manifests", onManifests(registrytest.Redirect("")), badRegistry, "stopped after 10 redirects", 0},
	{"another manifest", onDigests(registrytest.OtherManifest(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{}}`))), notVerified, "", 0},
	{"another manifest for the tag", onManifests(registrytest.OtherManifest(ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))), badInput, "", 0},
	{"a manifest of 5 MiB", onManifests(registrytest.LargeManifest(5<<20, true)), badRegistry, "over the limit of 4194304", 0},
	{"a manifest of 5 MiB, not announced", onManifests(registrytest.LargeManifest(5<<20, false)), badRegistry, "over the limit of 4194304", 0},
	{"a manifest of 5 MiB by digest", onDigests(registrytest.LargeManifest(5<<20, false)), badRegistry, "over the limit", 0},
}

func both(a, b registrytest.Lie) registrytest.Lie {
	return func(truth http.Handler) http.Handler { return a(b(truth)) }
}

// Whatever a registry does, a pull ends well or says what was wrong, in time,
// and writes nothing wrong.
func TestLiesToPull(t *testing.T) { testLiesToPull(t, liar(t)) }

func testLiesToPull(t *testing.T, l *registrytest.Liar) {
	t.Helper()
	disk := buildImage(t).disk
	for _, c := range pullLies {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "got.img")
			pull := []string{"pull", l.Host + "/liar/esxi:8.0", "-o", out, "--insecure-skip-verify", "--retries", "2", "--quiet"}
			l.Tell(c.lie)
			r := command(t.Context(), pull...)
			r.ended(t, c.code, c.says)
			if r.took < c.least {
				t.Errorf("it took %s only", r.took)
			}
			if c.code != done {
				nothingWrong(t, dir, disk)
			}
			// With the truth the next one makes it good.
			l.Tell()
			if c.code != done {
				r = command(t.Context(), pull...)
				r.ended(t, done, "")
			}
			if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, disk) {
				t.Errorf("the disk is another: %v", err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// What was fetched before a connection broke is not fetched again, in the same
// pull or in the next one.
func TestBrokenPullGoesOn(t *testing.T) {
	l := liar(t)
	pull := func(dir string) ran {
		return command(t.Context(), "pull", l.Host+"/liar/esxi:8.0", "-o", filepath.Join(dir, "got.img"), "--insecure-skip-verify", "--retries", "2", "--concurrency", "1")
	}
	r := pull(t.TempDir())
	r.ended(t, done, "")
	all := l.Counts().Sent

	l.Forget()
	l.Tell(onRanges(registrytest.First(1, registrytest.Break(6_000_000))))
	r = pull(t.TempDir())
	r.ended(t, done, "")
	if sent := l.Counts().Sent; sent > all+1<<20 {
		t.Errorf("%d bytes were sent, without a break %d", sent, all)
	}

	l.Forget()
	dir := t.TempDir()
	l.Tell(onRanges(both(
		registrytest.First(1, registrytest.Break(9_000_000)),
		registrytest.Where(notFirst(), registrytest.Refuse(500, "")),
	)))
	r = pull(dir)
	r.ended(t, badRegistry, "500")
	first := l.Counts().Sent
	l.Tell()
	r = pull(dir)
	r.ended(t, done, "")
	// Of what came, at most the piece of 4 MiB that was not whole is lost, and
	// the small blobs come again.
	if sent := l.Counts().Sent; first < 9_000_000 || sent > all+5<<20 {
		t.Errorf("%d bytes were sent before the break, %d in all; without one %d", first, sent, all)
	}
}

func notFirst() func(*http.Request) bool {
	n := 0
	return func(*http.Request) bool { n++; return n > 1 }
}

// Passwords stay with the registry that they are for, wherever it sends us.
func TestRedirectToAnotherHost(t *testing.T) {
	disk := buildImage(t).disk
	l := liar(t)
	askPassword := func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); !ok && !strings.Contains(r.Host, "other") {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
			truth.ServeHTTP(w, r)
		})
	}
	proxy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "other" // the truth does not ask here
		l.Config.Handler.ServeHTTP(w, r)
	})
	store := registrytest.NewLiar(proxy)
	defer store.Close()
	for _, kind := range []func(registrytest.Lie) registrytest.Lie{onRanges, onBlobs, onManifests} {
		// A Liar forwards to itself under the name "other", and redirects others.
		away := registrytest.Where(func(r *http.Request) bool { return r.Host != "other" }, registrytest.Redirect(store.URL))
		l.Tell(askPassword, kind(away))
		store.Forget()
		out := filepath.Join(t.TempDir(), "got.img")
		r := command(t.Context(), "pull", l.Host+"/liar/esxi:8.0", "-o", out, "--insecure-skip-verify", "--retries", "2")
		r.ended(t, done, "")
		if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, disk) {
			t.Errorf("the disk is another: %v", err)
		}
		if c := store.Counts(); len(c.Requests) == 0 {
			t.Error("nobody was redirected")
		}
		if got := store.Credentials(); len(got) > 0 {
			t.Errorf("the other host was shown %q", got)
		}
	}
	if len(l.Credentials()) == 0 {
		t.Error("the registry was shown no password")
	}
	// What lies elsewhere is not believed either.
	l.Tell(onRanges(registrytest.Where(func(r *http.Request) bool { return r.Host != "other" }, registrytest.Redirect(store.URL))))
	store.Tell(registrytest.Damage(5))
	dir := t.TempDir()
	r := command(t.Context(), "pull", l.Host+"/liar/esxi:8.0", "-o", filepath.Join(dir, "got.img"), "--insecure-skip-verify", "--retries", "2")
	r.ended(t, notVerified, "are sha256:")
	nothingWrong(t, dir, disk)
}
