package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// serviceTries is how often a request to a service is sent that answers
	// with an error of its own, or not at all.
	serviceTries = 3
	// servicePause is the pause before the second try, doubled for the next.
	servicePause = 500 * time.Millisecond
	// maxAnswer bounds what of a service's answer a message shows, in bytes.
	maxAnswer = 300
)

// ServiceError says that a service that was asked while signing failed: the
// certificate authority, a time stamp authority, a log, an issuer of tokens.
type ServiceError struct {
	Service string
	Err     error
	// secrets are left out of the message: services may repeat what they got.
	secrets []string
}

func (e *ServiceError) Error() string {
	text := e.Err.Error()
	for _, s := range e.secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxAnswer {
		text = strings.ToValidUTF8(text[:maxAnswer], "") + "…"
	}
	return e.Service + ": " + text
}
func (e *ServiceError) Unwrap() error { return e.Err }

// retries is a transport that tries again what went wrong on the way or at the
// other side. What is sent here may be sent twice.
type retries struct {
	base  http.RoundTripper
	pause time.Duration
}

// newRetries makes one; nil is http.DefaultTransport.
func newRetries(base http.RoundTripper) *retries {
	if base == nil {
		base = http.DefaultTransport
	}
	return &retries{base, servicePause}
}

// RoundTrip implements http.RoundTripper.
func (r *retries) RoundTrip(req *http.Request) (*http.Response, error) {
	pause := r.pause
	for try := 1; ; try++ {
		attempt := req
		if try > 1 {
			attempt = req.Clone(req.Context())
			if req.GetBody != nil {
				body, err := req.GetBody()
				if err != nil {
					return nil, err
				}
				attempt.Body = body
			}
		}
		resp, err := r.base.RoundTrip(attempt)
		if err == nil {
			if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < http.StatusInternalServerError {
				return resp, nil
			}
			err = unwilling(resp)
		}
		if try == serviceTries || req.Context().Err() != nil || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
			return nil, err
		}
		select {
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// unwilling makes an error of an answer that is one, with the beginning of what
// it says.
func unwilling(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return errors.Join(fmt.Errorf("it answers %s: %s", resp.Status, body), err, resp.Body.Close())
}

// roundTripper is a transport made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// withContext ends requests with the context: sigstore-go gives them none.
func withContext(ctx context.Context, base http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		// The client's own time limit stays: it is in the request's context.
		bound, cancel := context.WithCancelCause(r.Context())
		stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
		resp, err := base.RoundTrip(r.WithContext(bound)) //nolint:contextcheck // both contexts end it
		if err != nil {
			stop()
			cancel(nil)
			return nil, err
		}
		resp.Body = &boundBody{resp.Body, func() { stop(); cancel(nil) }}
		return resp, nil
	})
}

// boundBody lets go of a request's context when its answer was read.
type boundBody struct {
	io.ReadCloser
	done func()
}

// Close implements io.Closer.
func (b *boundBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
