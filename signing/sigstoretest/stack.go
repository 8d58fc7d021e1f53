//go:build e2e && linux

package sigstoretest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/foreigntest"
)

// Stack is a Sigstore instance that runs.
type Stack struct {
	Fulcio, Rekor, Timestamp string // URLs, the last with its path
	// Issuer and Other vouch for people, Actions for runs of a CI, as GitHub's
	// issuer does.
	Issuer, Other, Actions *Issuer

	// TrustedRoot is a file with the trust root. SigningConfig is one with all
	// services, WithoutLog one with all but the log.
	TrustedRoot, SigningConfig, WithoutLog string

	fulcio, timestamp chain
	rekor             ed25519.PublicKey
	ct                *ctLog
	dir               string
}

// Start runs a Sigstore instance until the test ends. Only one runs at a time
// in a network namespace: the time stamp authority wants port 2112.
func Start(t testing.TB) *Stack {
	t.Helper()
	// A test's own folder may have too long a name for Fulcio's socket.
	dir, err := os.MkdirTemp("", "sigstore")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &Stack{
		dir: dir, fulcio: fulcioChain(t), timestamp: timestampChain(t), ct: newCTLog(t),
		Issuer: newIssuer(t), Other: newIssuer(t), Actions: newIssuer(t),
	}
	s.runFulcio(t)
	s.runRekor(t)
	s.runTimestamp(t)
	s.writeTrust(t)
	return s
}

func (s *Stack) runFulcio(t testing.TB) {
	issuers := map[string]any{}
	for kind, of := range map[string][]*Issuer{"email": {s.Issuer, s.Other}, "github-workflow": {s.Actions}} {
		for _, i := range of {
			issuers[i.URL] = map[string]string{"IssuerURL": i.URL, "ClientID": "sigstore", "Type": kind}
		}
	}
	// Its names in YAML are others.
	config, err := json.Marshal(map[string]any{"OIDCIssuers": issuers})
	if err != nil {
		t.Fatal(err)
	}
	configFile := filepath.Join(s.dir, "fulcio.json")
	writeFile(t, configFile, config)
	certs, key := s.fulcio.write(t, s.dir, "fulcio")
	port := freePort(t)
	s.Fulcio = "http://127.0.0.1:" + port
	s.run(t, Fulcio, s.Fulcio+"/healthz", "serve",
		"--ca=fileca", "--fileca-cert="+certs, "--fileca-key="+key, "--fileca-key-passwd=", "--fileca-watch=false",
		"--config-path="+configFile, "--ct-log-url="+s.ct.URL,
		"--ct-log-public-key-path="+writePublic(t, s.dir, "ct", &s.ct.key.PublicKey),
		"--host=127.0.0.1", "--port="+port, "--grpc-host=127.0.0.1", "--grpc-port="+freePort(t), "--metrics-port="+freePort(t),
		"--legacy-unix-domain-socket="+filepath.Join(s.dir, "fulcio.sock"))
}

func (s *Stack) runRekor(t testing.TB) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.rekor = public
	port := freePort(t)
	s.Rekor = "http://127.0.0.1:" + port
	s.run(t, Rekor, s.Rekor+"/healthz", "serve",
		"--hostname=127.0.0.1", "--http-address=127.0.0.1", "--http-port="+port,
		"--grpc-address=127.0.0.1", "--grpc-port="+freePort(t), "--http-metrics-port="+freePort(t),
		"--storage-dir="+filepath.Join(s.dir, "log"), "--signer-filepath="+writeKey(t, s.dir, "rekor", key),
		"--checkpoint-interval=100ms", "--batch-max-age=50ms")
}

func (s *Stack) runTimestamp(t testing.TB) {
	certs, key := s.timestamp.write(t, s.dir, "tsa")
	port := freePort(t)
	s.Timestamp = "http://127.0.0.1:" + port + "/api/v1/timestamp"
	s.run(t, Timestamp, "http://127.0.0.1:"+port+"/ping", "serve",
		"--host=127.0.0.1", "--port="+port, "--scheme=http",
		"--timestamp-signer=file", "--file-signer-key-path="+key, "--file-signer-passwd=", "--certificate-chain-path="+certs,
		"--disable-ntp-monitoring")
}

// run starts a server, and waits until it is well.
func (s *Stack) run(t testing.TB, p foreigntest.Program, health string, args ...string) {
	t.Helper()
	server := foreigntest.Server{
		Program: p.Find(t), Args: args, Dir: s.dir,
		Ready: func(ctx context.Context) error { return well(ctx, health) },
	}
	server.Run(t)
}

func well(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func freePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(foreigntest.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
