package signing_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/signing"
)

func generateKey(tb testing.TB) *signing.PrivateKey {
	tb.Helper()
	key, err := signing.GenerateKey()
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// pkcs8 is a key as PEM.
func pkcs8(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func parseKey(tb testing.TB, text []byte, password func() ([]byte, error)) *signing.PrivateKey {
	tb.Helper()
	key, err := signing.ParsePrivateKey(text, password)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func ed25519Key(tb testing.TB) *signing.PrivateKey {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return parseKey(tb, pkcs8(tb, key), nil)
}

func ecdsaKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func spki(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func x25519(tb testing.TB) *ecdh.PublicKey {
	tb.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key.PublicKey()
}

// TestKinds signs with each kind of key and verifies with its public half, as
// it is read from a file, and with no other.
func TestKinds(t *testing.T) {
	sec1, err := x509.MarshalECPrivateKey(ecdsaKey(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]*signing.PrivateKey{
		"P-256":   parseKey(t, pkcs8(t, ecdsaKey(t, elliptic.P256())), nil),
		"P-384":   parseKey(t, pkcs8(t, ecdsaKey(t, elliptic.P384())), nil),
		"Ed25519": ed25519Key(t),
		"SEC 1":   parseKey(t, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), nil),
	} {
		t.Run(name, func(t *testing.T) {
			public, err := signing.ParsePublicKey(key.Public().PEM())
			if err != nil {
				t.Fatal(err)
			}
			repo, statements := signable(t, 1)
			if _, err := newSigner(t, signing.SignerOptions{Key: key}).Sign(t.Context(), repo, statements...); err != nil {
				t.Fatal(err)
			}
			for who, trusted := range map[string]*signing.PublicKey{"": public, "another key": generateKey(t).Public()} {
				v, err := signing.NewVerifier(signing.Rule{AnyOf: []signing.Authority{{Key: trusted}}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, err = artifact.Verify(t.Context(), v, artifact.Subject{Ref: "r.example/x", Target: repo, Descriptor: statements[0].Subject})
				if (err == nil) != (who == "") {
					t.Errorf("trusting %s: %v", who, err)
				}
			}
		})
	}
}

// TestEncryptedKey opens with its password, and no other.
func TestEncryptedKey(t *testing.T) {
	key := generateKey(t)
	const password = "correct horse"
	text, err := key.PEM([]byte(password))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("ENCRYPTED SIGSTORE PRIVATE KEY")) {
		t.Errorf("it is\n%s", text)
	}
	give := func(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }
	again := parseKey(t, text, give(password))
	if again.Public().Fingerprint() != key.Public().Fingerprint() {
		t.Error("it is another key after decryption")
	}
	for name, ask := range map[string]func() ([]byte, error){"none": nil, "another": give("wrong horse"), "empty": give("")} {
		_, err := signing.ParsePrivateKey(text, ask)
		if !errors.Is(err, signing.ErrPassword) {
			t.Errorf("password %s: %v", name, err)
		} else if strings.Contains(err.Error(), "horse") {
			t.Errorf("password %s: the message holds it: %v", name, err)
		}
	}
	plain, err := key.PEM(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again := parseKey(t, plain, nil); again.Public().Fingerprint() != key.Public().Fingerprint() {
		t.Error("it is another key in clear")
	}
}

// TestBadKeys says what is wrong with what is no key that can sign.
func TestBadKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for _, tt := range []struct {
		name string
		text []byte
		want string
	}{
		{"nothing", nil, "is no PEM file"},
		{"public", generateKey(t).Public().PEM(), "holds a PUBLIC KEY, not a private key"},
		{"RSA", pkcs8(t, rsaKey), "use an ECDSA key on P-256 or P-384, or an Ed25519 key"},
		{"P-521", pkcs8(t, ecdsaKey(t, elliptic.P521())), "is an ECDSA key on P-521"},
		{"PKCS#8, encrypted", block("ENCRYPTED PRIVATE KEY", []byte("x")), "use one that cosign encrypted"},
		{"damaged", block("PRIVATE KEY", []byte("x")), "asn1"},
		{"huge", bytes.Repeat([]byte("x"), 1<<20), "over the limit"},
	} {
		if _, err := signing.ParsePrivateKey(tt.text, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, tt := range []struct {
		name string
		text []byte
		want string
	}{
		{"private", pkcs8(t, ecdsaKey(t, elliptic.P256())), "not a PUBLIC KEY"},
		{"P-224", spki(t, &ecdsaKey(t, elliptic.P224()).PublicKey), "is an ECDSA key on P-224"},
		{"RSA of 1024 bits", spki(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}), "is an RSA key of 1024 bits"},
		{"X25519", spki(t, x25519(t)), "is a *ecdh.PublicKey"},
		{"two", append(generateKey(t).Public().PEM(), generateKey(t).Public().PEM()...), "holds more than one key"},
	} {
		if _, err := signing.ParsePublicKey(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// FuzzPrivateKey reads anything as a key.
func FuzzPrivateKey(f *testing.F) {
	key, err := signing.GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	plain, err := key.PEM(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(key.Public().PEM())
	f.Add([]byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := signing.ParsePrivateKey(text, func() ([]byte, error) { return []byte("x"), nil }); err == nil {
			if _, err := signing.NewSigner(signing.SignerOptions{Key: k}); err != nil {
				t.Error(err)
			}
		}
		_, _ = signing.ParsePublicKey(text)
	})
}
