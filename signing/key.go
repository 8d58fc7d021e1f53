package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// maxKeyFile bounds a file with a key, in bytes.
const maxKeyFile = 64 << 10

// Types of PEM blocks with encrypted private keys: cosign's now and before.
const (
	pemSigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign   = "ENCRYPTED COSIGN PRIVATE KEY"
)

// ErrPassword says that an encrypted key needs a password, or another one.
var ErrPassword = errors.New("the private key is encrypted")

// PublicKey is a key whose signatures count.
type PublicKey struct {
	key  crypto.PublicKey
	spki []byte
}

// ParsePublicKey reads a PEM public key (SubjectPublicKeyInfo): ECDSA on P-256,
// P-384 or P-521, Ed25519, or RSA of at least 2048 bits.
func ParsePublicKey(text []byte) (*PublicKey, error) {
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("a public key of %d bytes is over the limit of %d", len(text), maxKeyFile)
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("is no PEM file")
	case block.Type != string(cryptoutils.PublicKeyPEMType):
		return nil, fmt.Errorf("holds a %s, not a PUBLIC KEY", short(block.Type))
	}
	if again, _ := pem.Decode(rest); again != nil {
		return nil, errors.New("holds more than one key")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return newPublicKey(key)
}

func newPublicKey(key crypto.PublicKey) (*PublicKey, error) {
	if err := checkPublicKey(key); err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return &PublicKey{key, spki}, nil
}

// checkPublicKey takes the kinds of keys that Sigstore knows.
func checkPublicKey(key crypto.PublicKey) error {
	const minRSA, maxRSA = 2048, 8192 // bits
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
		return fmt.Errorf("is an ECDSA key on %s: P-256, P-384 and P-521 are supported", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return fmt.Errorf("is an RSA key of %d bits: %d to %d are supported", n, minRSA, maxRSA)
		}
		return nil
	default:
		return fmt.Errorf("is a %T: ECDSA, Ed25519 and RSA keys are supported", key)
	}
}

// Fingerprint names the key: the SHA-256 of its SubjectPublicKeyInfo.
func (k *PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.spki)
	return "SHA256:" + hex.EncodeToString(sum[:])
}

// PEM returns the key as ParsePublicKey reads it.
func (k *PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: string(cryptoutils.PublicKeyPEMType), Bytes: k.spki})
}

// hint is what bundles name the key by.
func (k *PublicKey) hint() string {
	sum := sha256.Sum256(k.spki)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// PrivateKey signs.
type PrivateKey struct {
	signer crypto.Signer
	public *PublicKey
}

// ParsePrivateKey reads a PEM private key: PKCS#8 in clear, or encrypted as
// cosign does. The password is asked for only where it is needed; nil is the
// empty one, and a wrong one is an ErrPassword. Keys are ECDSA on P-256 or P-384, or Ed25519.
func ParsePrivateKey(text []byte, password func() ([]byte, error)) (*PrivateKey, error) {
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("a private key of %d bytes is over the limit of %d", len(text), maxKeyFile)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("is no PEM file")
	}
	var (
		key crypto.PrivateKey
		err error
	)
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case pemSigstore, pemCosign:
		key, err = decrypt(text, password)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("is a PKCS#8 key that is encrypted, which is not supported: use one that cosign encrypted, or one in clear that only you can read")
	default:
		return nil, fmt.Errorf("holds a %s, not a private key", short(block.Type))
	}
	if err != nil {
		return nil, err
	}
	return newPrivateKey(key)
}

// decrypt opens a key that cosign encrypted, which may be with no password.
func decrypt(text []byte, password func() ([]byte, error)) (crypto.PrivateKey, error) {
	var secret []byte
	if password != nil {
		var err error
		if secret, err = password(); err != nil {
			return nil, err
		}
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(text, cryptoutils.StaticPasswordFunc(secret))
	switch {
	case err == nil:
		return key, nil
	case password == nil:
		return nil, fmt.Errorf("%w, and no password was given", ErrPassword)
	default:
		return nil, fmt.Errorf("%w with another password, or damaged", ErrPassword)
	}
}

// LoadPrivateKey reads a file with a private key, as ParsePrivateKey does. The
// error is an *InputError.
func LoadPrivateKey(file string, password func() ([]byte, error)) (*PrivateKey, error) {
	text, err := readInput(file, maxKeyFile)
	if err != nil {
		return nil, err
	}
	key, err := ParsePrivateKey(text, password)
	if err != nil {
		return nil, &InputError{file, err}
	}
	return key, nil
}

func newPrivateKey(key crypto.PrivateKey) (*PrivateKey, error) {
	var signer crypto.Signer
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return nil, fmt.Errorf("is an ECDSA key on %s: use P-256 or P-384", k.Curve.Params().Name)
		}
		signer = k
	case ed25519.PrivateKey:
		signer = k
	default:
		return nil, fmt.Errorf("is a %T: use an ECDSA key on P-256 or P-384, or an Ed25519 key", key)
	}
	public, err := newPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{signer, public}, nil
}

// GenerateKey makes a new ECDSA key on P-256, which every part of Sigstore
// takes.
func GenerateKey() (*PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newPrivateKey(key)
}

// Public is the key that verifies what this one signs.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// PEM returns the private key, encrypted as cosign does, or in clear (PKCS#8)
// where the password is empty.
func (k *PrivateKey) PEM(password []byte) ([]byte, error) {
	if len(password) == 0 {
		der, err := x509.MarshalPKCS8PrivateKey(k.signer)
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(k.signer, cryptoutils.StaticPasswordFunc(password))
	if err != nil {
		return nil, fmt.Errorf("encrypt the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSigstore, Bytes: der}), nil
}
