package server

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// kind is what a path of the API names (OCI distribution-spec 1.1,
// "Endpoints").
type kind string

const (
	kindBase      kind = "base"
	kindBlob      kind = "blobs"
	kindUploads   kind = "begin"
	kindUpload    kind = "uploads"
	kindManifest  kind = "manifests"
	kindTags      kind = "tags"
	kindReferrers kind = "referrers"
)

// route is a path of the API: /v2/NAME/KIND/REFERENCE.
type route struct {
	kind      kind
	name      string // of the repository
	reference string // tag, digest, or an upload's id
}

// isAPI says whether a path is the registry's.
func isAPI(path string) bool { return path == "/v2" || strings.HasPrefix(path, "/v2/") }

// parseRoute reads a path from its end: a name may have any word in it.
func parseRoute(path string) (route, error) {
	rest, ok := strings.CutPrefix(path, "/v2")
	if !ok || rest != "" && rest[0] != '/' {
		return route{}, fail(http.StatusNotFound, codeUnsupported, "this is an OCI registry: its paths begin with /v2/")
	}
	if rest = strings.TrimPrefix(rest, "/"); rest == "" {
		return route{kind: kindBase}, nil
	}
	rt, ok := splitRoute(rest)
	if !ok {
		return route{}, fail(http.StatusNotFound, codeUnsupported, "%.300q is no path of a registry", path)
	}
	if !isName(rt.name) {
		return route{}, nameInvalid(rt.name)
	}
	return rt, nil
}

func splitRoute(rest string) (route, bool) {
	if name, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads"); ok {
		return route{kind: kindUploads, name: name}, true
	}
	rest, reference, ok := cutLast(rest)
	if !ok || reference == "" {
		return route{}, false
	}
	name, word, ok := cutLast(rest)
	if !ok {
		return route{}, false
	}
	rt := route{kind(word), name, reference}
	switch rt.kind {
	case kindBlob, kindManifest, kindReferrers:
		return rt, true
	case kindTags:
		return rt, reference == "list"
	case kindUpload:
		rt.name, ok = strings.CutSuffix(name, "/blobs")
		return rt, ok
	default:
		return route{}, false
	}
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// tagRegexp is a tag (OCI distribution-spec 1.1, "Pulling manifests").
var tagRegexp = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// parseDigest reads a digest of a kind that is computed here.
func parseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil || d.Algorithm() != digest.SHA256 && d.Algorithm() != digest.SHA512 {
		return "", fail(http.StatusBadRequest, codeDigestInvalid, "%.300q is no SHA-256 or SHA-512 digest", text)
	}
	return d, nil
}

// handler answers one kind of request.
type handler func(s *Server, w http.ResponseWriter, r *http.Request, rt route) error

// handlers are what there is to be asked for. HEAD is GET without a body.
var handlers = map[kind]map[string]handler{
	kindBase:      {http.MethodGet: (*Server).base},
	kindBlob:      {http.MethodGet: (*Server).getBlob},
	kindUploads:   {http.MethodPost: (*Server).beginUpload},
	kindUpload:    {http.MethodGet: (*Server).uploadStatus, http.MethodPatch: (*Server).continueUpload, http.MethodPut: (*Server).endUpload, http.MethodDelete: (*Server).cancelUpload},
	kindManifest:  {http.MethodGet: (*Server).getManifest, http.MethodPut: (*Server).putManifest, http.MethodDelete: (*Server).deleteTag},
	kindTags:      {http.MethodGet: (*Server).listTags},
	kindReferrers: {http.MethodGet: (*Server).listReferrers},
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	rec := newRecorder(w, s.stall)
	r.Body = &watched{r.Body, rec.control, s.stall}
	err := s.route(rec, r)
	defer rec.end()
	var a *answer
	if err != nil {
		if a = answerTo(err); rec.status == 0 {
			a.write(rec)
		}
	}
	if s.opts.Log == nil {
		return
	}
	told := Request{
		Remote: r.RemoteAddr, Method: r.Method, Path: r.URL.RequestURI(),
		Status: rec.status, Bytes: rec.bytes, Duration: time.Since(began),
	}
	if told.Status == 0 {
		told.Status = http.StatusOK
	}
	if r.Method == http.MethodHead {
		told.Bytes = 0
	}
	if a != nil {
		told.Err = a.err
	}
	s.opts.Log(told)
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	if s.opts.Pages != nil && !isAPI(r.URL.Path) {
		s.opts.Pages.ServeHTTP(w, r)
		return nil
	}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	rt, err := parseRoute(r.URL.Path)
	if err != nil {
		return err
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h := handlers[rt.kind][method]
	switch {
	case h == nil:
		return fail(http.StatusMethodNotAllowed, codeUnsupported, "%.20q cannot be done here", r.Method)
	case s.opts.ReadOnly && method != http.MethodGet:
		return fail(http.StatusMethodNotAllowed, codeUnsupported, "this registry is read-only")
	default:
		return h(s, w, r, rt)
	}
}

func (s *Server) base(w http.ResponseWriter, _ *http.Request, _ route) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write([]byte("{}"))
	return gone(err)
}

// gone is the error for a client that does not read its answer: nothing of
// ours went wrong.
func gone(err error) error {
	if err == nil {
		return nil
	}
	return fail(http.StatusBadRequest, codeUnknown, "the client went away: %v", err)
}
