package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// idleTimeout is for how long a connection may say nothing while we wait
	// for it: for an answer, for more of one, or to take more of a request.
	idleTimeout = 60 * time.Second
	// commitTimeout is for how long a registry may take to answer to a whole
	// upload: some copy it from one store to another first.
	commitTimeout = 10 * time.Minute
	dialTimeout   = 15 * time.Second
	// bodyTimeout is for how long an answer of at most MaxManifest may take.
	bodyTimeout = 2 * time.Minute
	// idleConnTimeout closes connections that are not in use.
	idleConnTimeout = 60 * time.Second
	// maxHeader bounds the headers of an answer, in bytes.
	maxHeader = 256 << 10
	// maxCertificates bounds a file of certificates or keys, in bytes.
	maxCertificates = 4 << 20
	// maxRedirects bounds a chain of redirects.
	maxRedirects = 10
)

// newTransport makes the connections. HTTP/1.1 only: HTTP/2 would put all
// parallel ranges on one TCP connection.
func newTransport(opts Options) (http.RoundTripper, error) {
	if opts.Transport != nil {
		return opts.Transport, nil
	}
	tlsConfig, err := newTLSConfig(opts)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  opts.Proxy,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    dialTimeout,
		Protocols:              protocols,
		MaxIdleConnsPerHost:    2 * max(opts.Concurrency, DefaultConcurrency),
		IdleConnTimeout:        idleConnTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeader,
		WriteBufferSize:        64 << 10,
		// What a digest is of must not be unpacked on the way.
		DisableCompression: true,
	}, nil
}

func newTLSConfig(opts Options) (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: opts.InsecureSkipTLSVerify, //nolint:gosec // what the flag of that name asks for
	}
	if opts.CAFile != "" {
		pem, err := readLimited(opts.CAFile, maxCertificates)
		if err != nil {
			return nil, err
		}
		// Without a system pool (a ramdisk may have none) there is only ours.
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &ConfigError{opts.CAFile, errors.New("holds no certificate in PEM form")}
		}
	}
	if (opts.CertFile == "") != (opts.KeyFile == "") {
		return nil, &ConfigError{opts.CertFile + opts.KeyFile, errors.New("a client's certificate and its key are needed both")}
	}
	if opts.CertFile != "" {
		cert, err := readLimited(opts.CertFile, maxCertificates)
		if err != nil {
			return nil, err
		}
		key, err := readLimited(opts.KeyFile, maxCertificates)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, &ConfigError{opts.CertFile + ", " + opts.KeyFile, err}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// ConfigError says that a file with settings or credentials is not usable.
type ConfigError struct {
	Path string
	Err  error
}

func (e *ConfigError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }
func (e *ConfigError) Unwrap() error { return e.Err }

// plainHTTP decides between HTTP and HTTPS for a host.
func (o Options) plainHTTP(host string) bool {
	if o.PlainHTTP != nil {
		return *o.PlainHTTP
	}
	wantsTLS := o.CAFile != "" || o.CertFile != "" || o.InsecureSkipTLSVerify
	return isLoopback(host) && !wantsTLS
}

// checkRedirect bounds redirects, and refuses to go from HTTPS to HTTP: what
// is fetched is checked, but what is asked for would be seen. That credentials
// stay behind is the work of oras's auth.Client.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return ErrRedirects
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected from HTTPS to %s://%s", req.URL.Scheme, req.URL.Host)
	}
	// GHCR answers so where it has no referrers API, with a page for people.
	if req.Response != nil && req.Response.StatusCode == http.StatusSeeOther && isReferrersPath(via[0].URL.Path) {
		return http.ErrUseLastResponse
	}
	return nil
}

// ErrRedirects says that a server redirects without end.
var ErrRedirects = fmt.Errorf("stopped after %d redirects", maxRedirects)

func isReferrersPath(path string) bool { return endpoint(path) == "referrers" }

// idleError says that a connection said nothing for too long. It is a
// net.Error, so that it counts as a broken connection.
type idleError struct{ after time.Duration }

func (e *idleError) Error() string {
	return fmt.Sprintf("the connection was silent for %s", e.after)
}
func (e *idleError) Timeout() bool   { return true }
func (e *idleError) Temporary() bool { return true }

// idleTransport gives up on connections that are silent: net/http bounds the
// wait for a connection, but not for the bytes of a body.
type idleTransport struct {
	base http.RoundTripper
	idle time.Duration
}

func (t *idleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	silence := &idleError{t.idle}
	timer := time.AfterFunc(t.idle, func() { cancel(silence) })
	req = req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &watchedUpload{ReadCloser: req.Body, timer: timer, idle: t.idle, left: req.ContentLength}
	}
	resp, err := t.base.RoundTrip(req)
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, silence) {
			err = silence
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer, silence: silence}
	return resp, nil
}

// CloseIdleConnections is found by http.Client.CloseIdleConnections.
func (t *idleTransport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// watchedUpload is a request's body: each read shows that the other side took
// what was read before.
type watchedUpload struct {
	io.ReadCloser
	timer *time.Timer
	idle  time.Duration
	left  int64
}

func (w *watchedUpload) Read(p []byte) (int, error) {
	// The source may be slow; that is not the connection's fault.
	running := w.timer.Stop()
	n, err := w.ReadCloser.Read(p)
	w.left -= int64(n)
	switch {
	case !running:
		// The answer came before the end, or the time is over.
	case w.left <= 0 || err != nil:
		w.timer.Reset(max(commitTimeout, w.idle))
	default:
		w.timer.Reset(w.idle)
	}
	return n, err
}

// watchedBody is an answer's body.
type watchedBody struct {
	io.ReadCloser
	ctx     context.Context //nolint:containedctx // the request's own, which ends with the body
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	silence *idleError
}

func (w *watchedBody) Read(p []byte) (int, error) {
	w.timer.Reset(w.silence.after)
	n, err := w.ReadCloser.Read(p)
	w.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(w.ctx), w.silence) {
		err = w.silence
	}
	return n, err
}

func (w *watchedBody) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}
