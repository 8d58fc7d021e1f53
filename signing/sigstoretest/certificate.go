//go:build e2e && linux

package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// year is how long what is made here is valid, about.
const year = 365 * 24 * time.Hour

// chain is a leaf, or what stands for one, and its issuers up to the root.
type chain struct {
	certificates []*x509.Certificate
	key          *ecdsa.PrivateKey // of the first
}

// newChain makes a root and what it issues, one below the other; the last that
// is given becomes the first. The root is valid from a year ago.
func newChain(t testing.TB, name string, below ...*x509.Certificate) chain {
	t.Helper()
	root := template(name+" root", time.Now().Add(-year), time.Now().Add(9*year))
	root.IsCA, root.BasicConstraintsValid, root.MaxPathLen = true, true, len(below)
	root.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	key := newKey(t)
	c := chain{[]*x509.Certificate{issue(t, root, root, &key.PublicKey, key)}, key}
	for _, next := range below {
		key := newKey(t)
		c = chain{append([]*x509.Certificate{issue(t, next, c.certificates[0], &key.PublicKey, c.key)}, c.certificates...), key}
	}
	return c
}

func template(name string, from, to time.Time) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		panic(err) // there is no random source
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), NotBefore: from, NotAfter: to,
		Subject: pkix.Name{CommonName: name, Organization: []string{"esxi-img test"}},
	}
}

// fulcioChain is an intermediate that signs code signing certificates, and its
// root.
func fulcioChain(t testing.TB) chain {
	t.Helper()
	ca := template("fulcio intermediate", time.Now().Add(-year), time.Now().Add(year))
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	ca.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	return newChain(t, "fulcio", ca)
}

// timestampChain is a time stamp authority's certificate and its issuers. RFC
// 3161, 2.3, wants exactly one extended key usage, and that it is critical.
func timestampChain(t testing.TB) chain {
	t.Helper()
	ca := template("tsa intermediate", time.Now().Add(-year), time.Now().Add(year))
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	ca.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	leaf := template("tsa", time.Now().Add(-year), time.Now().Add(year))
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtraExtensions = []pkix.Extension{{
		Id: []int{2, 5, 29, 37}, Critical: true,
		Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}, // 1.3.6.1.5.5.7.3.8
	}}
	return newChain(t, "tsa", ca, leaf)
}

func issue(t testing.TB, what, by *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, what, by, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write writes the chain and the key to files.
func (c *chain) write(t testing.TB, dir, name string) (certs, key string) {
	t.Helper()
	var text []byte
	for _, cert := range c.certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	certs = filepath.Join(dir, name+"-chain.pem")
	writeFile(t, certs, text)
	return certs, writeKey(t, dir, name, c.key)
}

func writeKey(t testing.TB, dir, name string, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+"-key.pem")
	writeFile(t, path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return path
}

func writePublic(t testing.TB, dir, name string, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+"-pub.pem")
	writeFile(t, path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return path
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
