package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// defaultUserAgent is what we call ourselves to servers.
const defaultUserAgent = "esxi-img"

// client sends requests with credentials, retries and bounds. It is the Client
// of oras's remote.Repository.
type client struct {
	auth    *auth.Client
	policy  *retryPolicy
	secrets *secrets
}

// newClient makes the client for the registry host, whose credentials are
// found for the repository.
func newClient(host, repository string, opts Options) (*client, error) {
	base, err := newTransport(opts)
	if err != nil {
		return nil, err
	}
	if opts.Observe != nil {
		base = &observed{base, opts.Observe}
	}
	hidden := &secrets{}
	credential, err := credentials(host, repository, opts, hidden)
	if err != nil {
		return nil, err
	}
	idle := opts.idle
	if idle <= 0 {
		idle = idleTimeout
	}
	policy := newRetryPolicy(opts)
	agent := opts.UserAgent
	if agent == "" {
		agent = defaultUserAgent
	}
	c := &auth.Client{
		Client: &http.Client{
			Transport: &retry.Transport{
				Base:   &idleTransport{base: base, idle: idle},
				Policy: func() retry.Policy { return policy },
			},
			CheckRedirect: checkRedirect,
		},
		Header:     http.Header{"User-Agent": {agent}},
		Cache:      auth.NewCache(),
		ClientID:   defaultUserAgent,
		Credential: credential,
	}
	return &client{auth: c, policy: policy, secrets: hidden}, nil
}

// observed is a transport whose answers somebody looks at.
type observed struct {
	base http.RoundTripper
	see  func(*http.Response)
}

// RoundTrip implements http.RoundTripper.
func (o *observed) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.base.RoundTrip(req)
	if err == nil {
		o.see(resp)
	}
	return resp, err
}

// CloseIdleConnections passes on what http.Client asks for.
func (o *observed) CloseIdleConnections() {
	if c, ok := o.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Do sends a request. Answers that tell of a failure become an *Error, but for
// "not found", which oras wants to see. Answers about manifests, tags and
// referrers are read here: whole, bounded, and again if they break off.
func (c *client) Do(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost && req.Body == nil {
		// Beginning an upload twice does no harm. net/http does not send the
		// empty header, and repeats the request if a connection that was kept
		// turns out to be closed.
		req.Header["X-Idempotency-Key"] = nil
	}
	kind := endpoint(req.URL.Path)
	for attempt := 0; ; attempt++ {
		resp, err := c.send(req)
		if err != nil || req.Method != http.MethodGet || kind == "blobs" {
			return resp, err
		}
		err = buffer(resp)
		if err == nil {
			if kind == "referrers" {
				withoutParameters(resp.Header)
			}
			return resp, nil
		}
		if attempt >= c.policy.retries || !temporaryError(err) {
			return nil, err
		}
		if err := c.policy.sleep(req.Context(), attempt, err); err != nil {
			return nil, err
		}
	}
}

func (c *client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.auth.Do(req)
	if err != nil {
		return nil, err
	}
	if sent := resp.Request.Header.Get("Authorization"); sent != "" {
		_, value, _ := strings.Cut(sent, " ")
		c.secrets.add(value)
	}
	if resp.StatusCode < http.StatusBadRequest || resp.StatusCode == http.StatusNotFound {
		return resp, nil
	}
	return nil, c.answer(resp)
}

// endpoint is the last but one element of a path of the API: "blobs",
// "manifests", "referrers" or "tags" of /v2/NAME/blobs/DIGEST and so on. A
// name may have any of these in it.
func endpoint(p string) string {
	return path.Base(path.Dir(p))
}

// buffer reads an answer's body, which nobody else bounds.
func buffer(resp *http.Response) error {
	if resp.ContentLength > MaxManifest {
		return errors.Join(&LimitError{What: "size of the answer in bytes", Value: resp.ContentLength, Limit: MaxManifest}, resp.Body.Close())
	}
	// A trickle keeps the connection busy: this bounds all of it.
	timer := time.AfterFunc(bodyTimeout, func() { _ = resp.Body.Close() }) // the read below fails then
	defer timer.Stop()
	b, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if len(b) > MaxManifest {
		return &LimitError{What: "size of the answer in bytes", Limit: MaxManifest}
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	resp.ContentLength = int64(len(b))
	return nil
}

// withoutParameters removes what follows the media type of an answer: oras
// compares all of the header.
func withoutParameters(h http.Header) {
	if mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil {
		h.Set("Content-Type", mediaType)
	}
}

// answer is the *Error for an answer that tells of a failure.
func (c *client) answer(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, redact: c.secrets.redact}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBodyRead))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil && len(b) == 0 {
		e.Err = err // the status says more than the broken body
	}
	e.Body = bounded(c.secrets.redact(message(b)))
	if e.after = retryAfter(resp.Header, time.Now()); e.after > maxRetryAfter {
		e.Body = strings.TrimSpace(fmt.Sprintf("%s (come back in %s)", e.Body, e.after))
	}
	return e
}

// message takes the words out of an error's body, in the form that registries
// use (OCI distribution-spec 1.1, "Error Codes") or another.
func message(body []byte) string {
	var known struct {
		Errors errcode.Errors `json:"errors"`
	}
	if json.Unmarshal(body, &known) == nil && len(known.Errors) > 0 {
		return known.Errors.Error()
	}
	return string(body)
}

func (c *client) close() { c.auth.Client.CloseIdleConnections() }
