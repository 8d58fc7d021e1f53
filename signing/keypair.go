package signing

import (
	"context"
	"crypto"
	"crypto/rand"
	"net/http"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"
)

// keypair is a private key as sigstore-go wants it.
type keypair struct {
	key     *PrivateKey
	details signature.AlgorithmDetails
}

func newKeypair(key *PrivateKey) (*keypair, error) {
	details, err := signature.GetDefaultAlgorithmDetails(key.public.key)
	if err != nil {
		return nil, err
	}
	return &keypair{key, details}, nil
}

func (k *keypair) GetHashAlgorithm() common.HashAlgorithm { return k.details.GetProtoHashType() }

func (k *keypair) GetSigningAlgorithm() common.PublicKeyDetails {
	return k.details.GetSignatureAlgorithm()
}

func (k *keypair) GetHint() []byte { return []byte(k.key.public.hint()) }

func (k *keypair) GetKeyAlgorithm() string {
	if k.details.GetKeyType() == signature.ED25519 {
		return "ED25519"
	}
	return "ECDSA"
}

func (k *keypair) GetPublicKey() crypto.PublicKey { return k.key.public.key }

func (k *keypair) GetPublicKeyPem() (string, error) { return string(k.key.public.PEM()), nil }

// SignData returns the signature and what was signed: the data's hash, or with
// Ed25519 the data.
func (k *keypair) SignData(_ context.Context, data []byte) (sig, signed []byte, err error) {
	signed = data
	hash := k.details.GetHashType()
	if hash != crypto.Hash(0) {
		h := hash.New()
		h.Write(data)
		signed = h.Sum(nil)
	}
	sig, err = k.key.signer.Sign(rand.Reader, signed, hash)
	return sig, signed, err
}

// certificateOnce asks a certificate authority once: the certificate is good
// for everything that one key signs within its minutes.
type certificateOnce struct {
	url       string
	transport http.RoundTripper
	der       []byte
}

// GetCertificate implements sign.CertificateProvider.
func (c *certificateOnce) GetCertificate(ctx context.Context, k sign.Keypair, opts *sign.CertificateProviderOptions) ([]byte, error) {
	if c.der != nil {
		return c.der, nil
	}
	der, err := sign.NewFulcio(&sign.FulcioOptions{BaseURL: c.url, Transport: c.transport}).GetCertificate(ctx, k, opts)
	if err != nil {
		return nil, &ServiceError{Service: "the certificate authority " + redacted(c.url), Err: err}
	}
	c.der = der
	return der, nil
}

// logWriter asks a log for an entry, and tells by the error that it was the log
// that failed.
type logWriter struct {
	log   Log
	rekor sign.Transparency
}

// GetTransparencyLogEntry implements sign.Transparency.
func (l *logWriter) GetTransparencyLogEntry(ctx context.Context, keyOrCert []byte, b *protobundle.Bundle) error {
	if err := l.rekor.GetTransparencyLogEntry(ctx, keyOrCert, b); err != nil {
		return &logError{l.log.URL, err}
	}
	return nil
}

// logError says that a log failed.
type logError struct {
	url string
	err error
}

func (e *logError) Error() string { return e.err.Error() }
func (e *logError) Unwrap() error { return e.err }
