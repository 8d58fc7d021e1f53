//go:build e2e

package registrytest

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// startEmbedded runs our own registry in this process. It knows no users: for
// Htpasswd it gets somebody before it who does.
func startEmbedded(t testing.TB, r *Registry, opts Options) {
	t.Helper()
	s, err := server.New(r.Root, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var config *tls.Config
	if opts.TLS {
		config = serverTLS(t, r, opts.ClientCert)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", r.Host)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	if opts.Htpasswd {
		go func() { ended <- serveUsers(ctx, l, config, s) }()
	} else {
		go func() { ended <- s.Serve(ctx, l, config) }()
	}
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
}

func serverTLS(t testing.TB, r *Registry, askClient bool) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(r.CAFile, r.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if !askClient {
		return config
	}
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	return config
}

// serveUsers serves those who know the password.
func serveUsers(ctx context.Context, l net.Listener, config *tls.Config, truth http.Handler) error {
	h := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != Username || subtle.ConstantTimeCompare([]byte(password), []byte(Password)) == 0 {
			w.Header().Set("Www-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
			return
		}
		truth.ServeHTTP(w, r)
	})}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	stop := context.AfterFunc(ctx, func() { _ = h.Close() }) // the end of a test
	defer stop()
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
