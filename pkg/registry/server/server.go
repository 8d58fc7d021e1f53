// Package server is an OCI registry (OCI distribution-spec 1.1) over image
// layouts in folders: for labs, air gaps and tests. It keeps no state beside
// the layouts, which other programs may read and write at the same time.
//
// It knows no users: whoever reaches it may read, and write unless it is
// read-only.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits on what clients can make the server hold or wait for.
const (
	// MaxBlob is the largest blob that is taken, in bytes: twice the largest
	// disk of an image.
	MaxBlob = 32 << 30
	// MaxConnections is how many clients are heard at once; others wait.
	MaxConnections = 4096
	// MaxUploads is how many uploads may be under way at once.
	MaxUploads = 512
	// maxManifests is how many manifests and lists, of at most
	// registry.MaxManifest bytes each, are read at once. A manifest that is being
	// sent does not count: who is slow to take it must not stop the others.
	maxManifests = 16
	// maxRemembered is how much memory layouts may take for what they have read
	// while nobody asks them, in bytes: lists of some
	// 15,000 signed images.
	maxRemembered = 64 << 20
	// maxManifestCommas bounds what a manifest of few bytes makes of itself when
	// it is parsed: a descriptor has three or more.
	maxManifestCommas = 128 << 10

	// headerTimeout is for how long a request's header may take.
	headerTimeout = 15 * time.Second
	// idleTimeout closes connections that are not in use.
	idleTimeout = 2 * time.Minute
	// stallTimeout is for how long a client may take for one window.
	stallTimeout = 60 * time.Second
	// window is how much is sent or received under one deadline, in bytes: 17
	// KiB a second are enough.
	window    = 1 << 20
	maxHeader = 64 << 10
	// uploadTimeout ends uploads that nobody goes on with.
	uploadTimeout = time.Hour
	// repositoryTimeout is after how long without a request others may remove
	// what no tag reaches: from blob to manifest a client takes less.
	repositoryTimeout = 15 * time.Minute
	tidyInterval      = time.Minute
	// shutdownGrace is for how long requests under way may go on at the end.
	shutdownGrace = 10 * time.Second
)

// Options say what is served, and how.
type Options struct {
	// ReadOnly refuses whatever would change a layout.
	ReadOnly bool
	// Name is the repository's where the folder is a layout itself; "": as the
	// folder is called.
	Name string
	// Pages answers whatever is asked for outside the API, which begins with /v2.
	// Nil: nobody does.
	Pages http.Handler
	// Log is told of each request when it has been answered, from many
	// goroutines at once. Nil: nobody is.
	Log func(Request)
}

// Request is what was asked for and what became of it.
type Request struct {
	Remote   string // address of the client
	Method   string
	Path     string // with the query
	Status   int
	Bytes    int64 // of the answer's body
	Duration time.Duration
	// Err is what went wrong in the registry itself; nil where the client is to
	// blame.
	Err error
}

// Server is a registry. It is an http.Handler.
type Server struct {
	opts    Options
	store   *store
	uploads *uploads
	// manifests has one element for each manifest or list that is being read.
	manifests chan struct{}
	handler   http.Handler

	// Shorter in tests.
	stall, grace time.Duration
}

// New makes a registry of a folder. One that is an OCI image layout is one
// repository. In any other the layout in DIR/a/b is the repository a/b; pushing
// makes those that are not there. Close it at the end.
func New(dir string, opts Options) (*Server, error) {
	st, err := newStore(dir, opts)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, store: st, uploads: newUploads(), manifests: make(chan struct{}, maxManifests), stall: stallTimeout, grace: shutdownGrace}
	// A page in somebody's browser is not a client.
	s.handler = http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.serve))
	return s, nil
}

// Repository is the repository's name where there is only one, else "".
func (s *Server) Repository() string { return s.store.single }

// Close ends all uploads and lets go of the layouts. No request may be under
// way.
func (s *Server) Close() error { return errors.Join(s.uploads.close(), s.store.close()) }

// Serve answers clients until ctx ends, and then what they have asked already.
// It closes the listener; with a TLS configuration it speaks HTTPS.
func (s *Server) Serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	slots := make(chan struct{}, MaxConnections)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		Protocols:         protocols,
		ErrorLog:          log.New(io.Discard, "", 0), //nolint:forbidigo // so that net/http does not log
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				slots <- struct{}{} // whoever comes next waits
			case http.StateClosed, http.StateHijacked:
				<-slots
			}
		},
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var wg sync.WaitGroup
	stopped := make(chan struct{})
	wg.Go(func() { s.tidy(stopped) })
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(l) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
		defer cancel()
		if err = h.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
			err = h.Close()
		}
	}
	close(stopped)
	wg.Wait()
	return err
}

// tidy ends what was left lying until the server ends.
func (s *Server) tidy(stopped <-chan struct{}) {
	ticker := time.NewTicker(tidyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-stopped:
			return
		case now := <-ticker.C:
			err := errors.Join(s.uploads.expire(now.Add(-uploadTimeout)), s.store.expire(now.Add(-repositoryTimeout)))
			if err != nil && s.opts.Log != nil {
				s.opts.Log(Request{Method: "-", Path: "-", Err: err})
			}
		}
	}
}
