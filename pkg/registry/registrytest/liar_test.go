package registrytest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

const mib = 1 << 20

// blob is what the true registry sends.
var blob = bytes.Repeat([]byte("0123456789abcdef"), mib/16)

var truth = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob))
})

// answer is the head of a response.
type answer struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// get asks for a blob, and says how the answer ended.
func get(t *testing.T, l *registrytest.Liar, header ...string) (head *answer, body []byte, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.URL+"/v2/a/blobs/sha256:x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err = io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, resp.ContentLength}, body, errors.Join(err, resp.Body.Close())
}

// Each lie is one.
func TestLies(t *testing.T) {
	l := registrytest.NewLiar(truth)
	defer l.Close()
	length := func(r *answer) string { return strconv.FormatInt(r.ContentLength, 10) }
	for _, c := range []struct {
		name string
		lie  registrytest.Lie
		ask  []string // headers
		ok   func(r *answer, body []byte, err error) bool
	}{
		{"break", registrytest.Break(100_000), nil, func(_ *answer, b []byte, err error) bool { return err != nil && len(b) == 100_000 }},
		{"damage", registrytest.Damage(500_000), nil, func(_ *answer, b []byte, err error) bool {
			return err == nil && b[500_000] != blob[500_000] && bytes.Equal(b[500_001:], blob[500_001:]) && bytes.Equal(b[:500_000], blob[:500_000])
		}},
		{"longer", registrytest.Longer(false), nil, func(r *answer, b []byte, err error) bool {
			return err == nil && len(b) == mib+1 && length(r) == "-1"
		}},
		{"longer, announced", registrytest.Longer(true), nil, func(r *answer, b []byte, err error) bool {
			return err == nil && len(b) == mib+1 && length(r) == strconv.Itoa(mib+1)
		}},
		{"shorter", registrytest.Shorter(false), nil, func(r *answer, b []byte, err error) bool {
			return err == nil && len(b) == mib-1 && length(r) == "-1"
		}},
		{"shorter, announced", registrytest.Shorter(true), nil, func(r *answer, b []byte, err error) bool {
			return err == nil && len(b) == mib-1 && length(r) == strconv.Itoa(mib-1)
		}},
		{"ignore range", registrytest.IgnoreRange(), []string{"Range", "bytes=1-2"}, func(r *answer, b []byte, _ error) bool {
			return r.StatusCode == http.StatusOK && len(b) == mib
		}},
		{"off by one", registrytest.RangeOffByOne(false), []string{"Range", "bytes=4-5"}, func(r *answer, b []byte, _ error) bool {
			return string(b) == "34" && strings.HasPrefix(r.Header.Get("Content-Range"), "bytes 3-4/")
		}},
		{"off by one, hidden", registrytest.RangeOffByOne(true), []string{"Range", "bytes=0-1"}, func(r *answer, b []byte, _ error) bool {
			return string(b) == "12" && strings.HasPrefix(r.Header.Get("Content-Range"), "bytes 0-1/")
		}},
		{"redirect", registrytest.Redirect("http://other"), nil, func(r *answer, _ []byte, _ error) bool {
			return r.Header.Get("Location") == "http://other/v2/a/blobs/sha256:x"
		}},
		{"other manifest", registrytest.OtherManifest("x/y", []byte("z")), nil, func(r *answer, b []byte, _ error) bool {
			return string(b) == "z" && r.Header.Get("Docker-Content-Digest") == "sha256:x"
		}},
		{"large manifest", registrytest.LargeManifest(5<<20, false), nil, func(r *answer, b []byte, _ error) bool {
			return len(b) == 5<<20 && length(r) == "-1"
		}},
		{"endless referrers", registrytest.EndlessReferrers("x"), nil, func(r *answer, _ []byte, _ error) bool {
			return strings.Contains(r.Header.Get("Link"), "next")
		}},
		{"refuse", registrytest.Refuse(429, "7"), nil, func(r *answer, _ []byte, _ error) bool {
			return r.StatusCode == 429 && r.Header.Get("Retry-After") == "7"
		}},
		{"slow", registrytest.Slow(10 << 20), nil, func(_ *answer, b []byte, err error) bool { return err == nil && len(b) == mib }},
		{"not for blobs", registrytest.On(http.MethodGet, registrytest.Manifests, registrytest.Refuse(500, "")), nil, func(r *answer, _ []byte, _ error) bool {
			return r.StatusCode == http.StatusOK
		}},
	} {
		l.Tell(c.lie)
		l.Forget()
		began := time.Now()
		resp, body, err := get(t, l, c.ask...)
		if !c.ok(resp, body, err) {
			t.Errorf("%s: %d, %v, %d bytes, %v", c.name, resp.StatusCode, resp.Header, len(body), err)
		}
		if c.name == "slow" && time.Since(began) < 90*time.Millisecond {
			t.Errorf("a MiB at 10 MiB/s took %s", time.Since(began))
		}
		if sent := l.Counts().Sent; sent != int64(len(body)) {
			t.Errorf("%s: %d bytes were counted, %d came", c.name, sent, len(body))
		}
	}
	l.Tell(registrytest.First(2, registrytest.Refuse(503, "")))
	for i, want := range []int{503, 503, 200} {
		if resp, _, _ := get(t, l); resp.StatusCode != want {
			t.Errorf("request %d: %d", i, resp.StatusCode)
		}
	}
	l.Tell()
	l.Forget()
	if _, body, err := get(t, l, "Authorization", "Basic eA=="); err != nil || !bytes.Equal(body, blob) {
		t.Errorf("the truth: %d bytes, %v", len(body), err)
	}
	if c := l.Counts(); c.Requests["GET blobs"] != 1 || c.Sent != mib || len(l.Credentials()) != 1 {
		t.Errorf("%+v, %q", c, l.Credentials())
	}
}

// What clients send is counted, and can be cut.
func TestBreakUpload(t *testing.T) {
	upstream := registrytest.NewLiar(truth)
	defer upstream.Close()
	proxy, err := registrytest.Proxy(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	l := registrytest.NewLiar(proxy)
	defer l.Close()
	put := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, l.URL+"/v2/a/blobs/uploads/x", bytes.NewReader(blob))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := put(); err != nil || l.Counts().Received != mib || upstream.Counts().Received != mib {
		t.Errorf("%v, %+v, %+v", err, l.Counts(), upstream.Counts())
	}
	l.Tell(registrytest.BreakUpload(1000))
	if err := put(); err == nil {
		t.Error("it did not break")
	}
}
