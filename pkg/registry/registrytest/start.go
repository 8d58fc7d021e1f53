//go:build e2e

package registrytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Kind is which registry to run.
type Kind string

// Kinds of registries.
const (
	Distribution Kind = "distribution v3.1.2"
	Debian       Kind = "Debian's docker-registry"
	Embedded     Kind = "esxi-img serve"
)

// Kinds lists them all.
var Kinds = []Kind{Distribution, Debian, Embedded}

const distribution = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"

// Options say how the registry is reached. The zero value is plain HTTP that
// anybody may use.
type Options struct {
	TLS      bool // with a certificate that CAFile vouches for
	Htpasswd bool // Username and Password are asked for
	// ClientCert wants a client's certificate: CAFile with KeyFile. Needs TLS.
	ClientCert bool
	// Delete allows manifests and blobs to be deleted, by those that can.
	Delete bool
}

// Who may use a registry with Htpasswd.
const (
	Username = "alice"
	Password = "correct horse"
	// bcrypt of the password
	htpasswd = Username + ":$2a$05$RO3.536h0ozdx84k7p5bcuh8WbNUiGqGFxlo3lb4Qv1bYsVBEu3Du\n"
)

// Registry is a registry that runs.
type Registry struct {
	Host   string // 127.0.0.1:port
	URL    string
	Root   string // the folder where it keeps everything
	CAFile string // "" without TLS
	// KeyFile is the key of the certificate in CAFile.
	KeyFile string
}

// Start runs a registry until the test ends.
func Start(t testing.TB, kind Kind, opts Options) *Registry {
	t.Helper()
	dir := t.TempDir()
	r := &Registry{Host: freeAddress(t), Root: filepath.Join(dir, "root")}
	r.URL = "http://" + r.Host
	config := "version: 0.1\nlog: {level: warn}\nstorage:\n  filesystem: {rootdirectory: " + strconv.Quote(r.Root) + "}\n"
	if opts.Delete {
		config += "  delete: {enabled: true}\n"
	}
	config += "http:\n  addr: " + r.Host + "\n"
	if opts.TLS {
		r.URL = "https://" + r.Host
		r.CAFile, r.KeyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
		certificate(t, r.CAFile, r.KeyFile)
		config += "  tls:\n    certificate: " + strconv.Quote(r.CAFile) + "\n    key: " + strconv.Quote(r.KeyFile) + "\n"
		if opts.ClientCert {
			config += "    clientcas: [" + strconv.Quote(r.CAFile) + "]\n"
		}
	}
	if opts.Htpasswd {
		write(t, filepath.Join(dir, "htpasswd"), []byte(htpasswd))
		config += "auth:\n  htpasswd: {realm: test, path: " + strconv.Quote(filepath.Join(dir, "htpasswd")) + "}\n"
	}
	if kind == Embedded {
		startEmbedded(t, r, opts)
		return r
	}
	write(t, filepath.Join(dir, "config.yml"), []byte(config))
	run(t, program(t, kind), filepath.Join(dir, "config.yml"), filepath.Join(dir, "log"), r.Host)
	return r
}

// run starts the program and waits for it to listen.
func run(t testing.TB, program, config, logFile, addr string) {
	t.Helper()
	out, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	// It is killed at the end of the test, after what uses it has ended.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "serve", config) //nolint:gosec // a registry that was installed for this
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var how error
	go func() { how = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(logFile)
			t.Logf("the registry says:\n%s", b[max(0, len(b)-4000):])
		}
	})
	for range 400 {
		select {
		case <-ended:
			t.Fatalf("%s ended: %v", program, how)
		case <-time.After(25 * time.Millisecond):
		}
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("%s does not listen on %s", program, addr)
}

var build struct {
	once    sync.Once
	program string
	err     error
}

// Prepare builds distribution, for tests that have no network later.
func Prepare(ctx context.Context) error {
	build.once.Do(func() { build.program, build.err = install(ctx) })
	return build.err
}

// program returns the registry's program.
func program(t testing.TB, kind Kind) string {
	t.Helper()
	if kind == Debian {
		path, err := exec.LookPath("docker-registry")
		if err != nil {
			t.Fatal("docker-registry is missing: apt-get install --no-install-recommends docker-registry")
		}
		return path
	}
	if err := Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return build.program
}

// install builds distribution into a folder that later runs find again: it
// takes a minute the first time.
func install(ctx context.Context) (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("esxi-img-e2e-%d", os.Getuid()), "distribution-v3.1.2")
	path := filepath.Join(dir, "registry")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "env", "GOBIN="+tmp, "GOFLAGS=", "go", "install", distribution) //nolint:gosec // into our own folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("go install %s: %w\n%s", distribution, err, out), os.RemoveAll(tmp))
	}
	// Another test process may have been faster.
	if err := os.Rename(tmp, dir); err != nil {
		return path, os.RemoveAll(tmp)
	}
	return path, nil
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// certificate writes a certificate for 127.0.0.1 that signs itself.
func certificate(t testing.TB, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
