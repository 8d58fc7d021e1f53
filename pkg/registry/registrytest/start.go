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
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/foreigntest"
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

const distribution foreigntest.Program = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"

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
	r := &Registry{Host: foreigntest.FreeAddress(t), Root: filepath.Join(dir, "root")}
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
	server := foreigntest.Server{Program: program(t, kind), Args: []string{"serve", filepath.Join(dir, "config.yml")}, Dir: dir, Ready: foreigntest.Listens(r.Host)}
	server.Run(t)
	return r
}

// Prepare builds distribution, for tests that have no network later.
func Prepare(ctx context.Context) error {
	_, err := distribution.Path(ctx)
	return err
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
	return distribution.Find(t)
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
