package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// defaultRetryWait is the first pause before a retry; each is twice as long
	// as the one before.
	defaultRetryWait = 250 * time.Millisecond
	// maxRetryWait bounds a pause that we choose.
	maxRetryWait = 15 * time.Second
	// maxRetryAfter bounds a pause that the server asks for. One that wants
	// more time gets no further request.
	maxRetryAfter = 2 * time.Minute
)

// retryPolicy says whether and when a request is sent again. It is the Policy
// of oras's retry.Transport.
type retryPolicy struct {
	retries int
	wait    time.Duration
	// reached: something has answered, so that a refused connection is a
	// server that is being restarted, rather than a wrong name.
	reached atomic.Bool
}

func newRetryPolicy(opts Options) *retryPolicy {
	p := &retryPolicy{retries: opts.Retries, wait: opts.RetryWait}
	if p.retries == 0 {
		p.retries = DefaultRetries
	}
	if p.wait <= 0 {
		p.wait = defaultRetryWait
	}
	return p
}

// Retry returns how long to wait before the next try, or a negative duration.
func (p *retryPolicy) Retry(attempt int, resp *http.Response, err error) (time.Duration, error) {
	if err == nil {
		p.reached.Store(true)
	}
	if attempt >= p.retries {
		return -1, nil
	}
	if err != nil {
		if !p.retryable(err) {
			return -1, nil
		}
		return p.pause(attempt), nil
	}
	if !temporaryStatus(resp.StatusCode) {
		return -1, nil
	}
	// There the fall-back is better than waiting.
	if resp.StatusCode == http.StatusTooManyRequests && resp.Request != nil && isReferrersPath(resp.Request.URL.Path) {
		return -1, nil
	}
	after := retryAfter(resp.Header, time.Now())
	if after > maxRetryAfter {
		return -1, nil
	}
	return max(after, p.pause(attempt)), nil
}

func (p *retryPolicy) retryable(err error) bool {
	if errors.Is(err, errRefused) {
		return p.reached.Load()
	}
	return temporaryError(err)
}

// pause doubles from try to try; half of it is chance, so that many clients
// that failed together do not come back together.
func (p *retryPolicy) pause(attempt int) time.Duration {
	d := min(p.wait<<min(attempt, 16), maxRetryWait)
	return d/2 + rand.N(d/2+1) //nolint:gosec // not a secret
}

// sleep waits before another try of something larger than a request, for as
// long as the server asks where err tells that.
func (p *retryPolicy) sleep(ctx context.Context, attempt int, err error) error {
	pause := p.pause(attempt)
	if e := (*Error)(nil); errors.As(err, &e) && e.after <= maxRetryAfter {
		pause = max(pause, e.after)
	}
	return Pause(ctx, pause)
}

// Pause waits, for a registry to settle. The error is ctx's, if that ends
// before.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// retryAfter reads the header Retry-After (RFC 9110, 10.2.3): seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// temporaryError says whether a broken connection is worth another try.
func temporaryError(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		name        *net.DNSError
		timeout     net.Error
	)
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, ErrMismatch),
		errors.As(err, &certificate), errors.As(err, &authority):
		return false
	case errors.As(err, &name):
		return name.IsTemporary || name.IsTimeout
	case errors.As(err, &timeout) && timeout.Timeout():
		return true
	default:
		return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || isConnectionError(err)
	}
}

// isConnectionError says whether a connection was broken, or could not be made
// just now.
func isConnectionError(err error) bool {
	for _, errno := range connectionErrors {
		if errors.Is(err, errno) {
			return true
		}
	}
	return errors.Is(err, net.ErrClosed)
}
