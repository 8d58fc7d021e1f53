package registrytest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
)

// Liar is a server before a registry. It tells the truth until it is told to
// lie, and counts what goes through it.
type Liar struct {
	*httptest.Server
	// Host is 127.0.0.1:port, as references have it.
	Host string

	upstream http.Handler
	mu       sync.Mutex // of all below
	told     http.Handler
	counts   Counts
	credits  []string
}

// Counts are what went through a Liar.
type Counts struct {
	Sent     int64 // bytes of blobs to clients
	Received int64 // bytes of blobs from clients
	// Requests by method and kind, such as "GET blobs", "PUT manifests", "POST
	// uploads" and "GET referrers".
	Requests map[string]int
}

// Lie changes what a registry does, as a handler before it.
type Lie func(truth http.Handler) http.Handler

// NewLiar starts a Liar before a registry in this process. Close it at the end.
func NewLiar(upstream http.Handler) *Liar {
	l := &Liar{upstream: upstream, told: upstream}
	l.counts.Requests = map[string]int{}
	l.Server = httptest.NewServer(l)
	l.Host = strings.TrimPrefix(l.URL, "http://")
	return l
}

// Proxy is a registry elsewhere as an upstream.
func Proxy(registryURL string) (http.Handler, error) {
	target, err := url.Parse(registryURL)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			// The registry's redirects come back here.
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
	}, nil
}

// Tell makes it tell these lies, the first one outermost, instead of those of
// before. None: the truth.
func (l *Liar) Tell(lies ...Lie) {
	h := l.upstream
	for i := len(lies) - 1; i >= 0; i-- {
		h = lies[i](h)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = h
}

// Counts returns what went through since the last Forget.
func (l *Liar) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.counts
	out.Requests = map[string]int{}
	for k, v := range l.counts.Requests {
		out.Requests[k] = v
	}
	return out
}

// Credentials returns the Authorization headers that came.
func (l *Liar) Credentials() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.credits...)
}

// Forget begins to count anew.
func (l *Liar) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts = Counts{Requests: map[string]int{}}
	l.credits = nil
}

// maxCredits bounds what is remembered.
const maxCredits = 1000

// ServeHTTP counts, and lies as it was told.
func (l *Liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := KindOf(r)
	l.mu.Lock()
	told := l.told
	l.counts.Requests[r.Method+" "+string(kind)]++
	if a := r.Header.Get("Authorization"); a != "" && len(l.credits) < maxCredits {
		l.credits = append(l.credits, a)
	}
	l.mu.Unlock()
	if kind == Uploads {
		r.Body = &countedBody{r.Body, l}
	}
	if kind == Blobs {
		w = &countedAnswer{w, l}
	}
	told.ServeHTTP(w, r)
}

type countedBody struct {
	io.ReadCloser
	l *Liar
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.counts.Received += int64(n)
	return n, err
}

type countedAnswer struct {
	http.ResponseWriter
	l *Liar
}

func (c *countedAnswer) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *countedAnswer) Write(p []byte) (int, error) {
	// Before, so that a client that has it all finds it counted.
	c.count(len(p))
	n, err := c.ResponseWriter.Write(p)
	c.count(n - len(p))
	return n, err
}

func (c *countedAnswer) count(n int) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.counts.Sent += int64(n)
}

// RequestKind is what a request is about.
type RequestKind string

// Kinds of requests.
const (
	Blobs     RequestKind = "blobs"
	Uploads   RequestKind = "uploads"
	Manifests RequestKind = "manifests"
	Referrers RequestKind = "referrers"
	Tags      RequestKind = "tags"
	Other     RequestKind = "other"
)

// KindOf tells the kind of a request, whatever host it was meant for.
func KindOf(r *http.Request) RequestKind {
	p := strings.TrimSuffix(r.URL.Path, "/")
	if strings.HasSuffix(p, "/blobs/uploads") {
		return Uploads
	}
	switch word := RequestKind(path.Base(path.Dir(p))); word {
	case Blobs, Uploads, Manifests, Referrers, Tags:
		return word
	default:
		return Other
	}
}
