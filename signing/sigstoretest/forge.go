//go:build e2e && linux

package sigstoretest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// Forgery is a bundle that no honest client makes. The zero value is signed
// with a certificate of Fulcio's, without log entry and time stamp.
type Forgery struct {
	Statement []byte
	// Email and Issuer are whom the certificate names; From and To are when it
	// is valid.
	Email, Issuer string
	From, To      time.Time
	// OtherCA issues the certificate elsewhere; NoCT leaves out the promise of
	// a certificate transparency log.
	OtherCA, NoCT bool
	// Timestamp and Log ask the servers. TimestampAt is a time stamp with the
	// authority's key, as if its clock were so.
	Timestamp, Log bool
	TimestampAt    time.Time
}

// Forge makes a bundle.
func (s *Stack) Forge(t testing.TB, f Forgery) *protobundle.Bundle {
	t.Helper()
	pair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		t.Fatal(err)
	}
	opts := sign.BundleOptions{Context: t.Context(), CertificateProvider: provider(func(key crypto.PublicKey) ([]byte, error) {
		return s.certify(t, f, key)
	})}
	if f.Timestamp {
		opts.TimestampAuthorities = []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: s.Timestamp})}
	}
	if f.Log {
		opts.TransparencyLogs = []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: s.Rekor, Version: 2})}
	}
	b, err := sign.Bundle(&sign.DSSEData{Data: f.Statement, PayloadType: "application/vnd.in-toto+json"}, pair, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !f.TimestampAt.IsZero() {
		b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{
				SignedTimestamp: s.stamp(t, b.GetDsseEnvelope().GetSignatures()[0].GetSig(), f.TimestampAt),
			}},
		}
	}
	return b
}

// provider is a sign.CertificateProvider.
type provider func(crypto.PublicKey) ([]byte, error)

func (p provider) GetCertificate(_ context.Context, pair sign.Keypair, _ *sign.CertificateProviderOptions) ([]byte, error) {
	return p(pair.GetPublicKey())
}

// Extensions of certificates.
var (
	// oidIssuer is Fulcio's issuer, version 2 (fulcio/docs/oid-info.md).
	oidIssuer = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
	// oidPoison and oidSCTs are RFC 6962's, 3.1 and 3.3.
	oidPoison = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}
	oidSCTs   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
)

// certify issues a certificate as Fulcio does.
func (s *Stack) certify(t testing.TB, f Forgery, key crypto.PublicKey) ([]byte, error) {
	t.Helper()
	ca := s.fulcio
	if f.OtherCA {
		ca = fulcioChain(t)
	}
	issuer, err := asn1.MarshalWithParams(f.Issuer, "utf8")
	if err != nil {
		return nil, err
	}
	leaf := template("", f.From, f.To)
	leaf.Subject = pkix.Name{}
	leaf.EmailAddresses = []string{f.Email}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	base := []pkix.Extension{{Id: oidIssuer, Value: issuer}}
	leaf.ExtraExtensions = base
	if !f.NoCT {
		leaf.ExtraExtensions = append(base[:1:1], pkix.Extension{Id: oidPoison, Critical: true, Value: asn1.NullBytes})
		precert := issue(t, leaf, ca.certificates[0], key, ca.key)
		promise, err := s.ct.promise([][]byte{precert.Raw, ca.certificates[0].Raw}, time.Now())
		if err != nil {
			return nil, err
		}
		scts, err := sctExtension(promise)
		if err != nil {
			return nil, err
		}
		leaf.ExtraExtensions = append(base[:1:1], scts)
	}
	return issue(t, leaf, ca.certificates[0], key, ca.key).Raw, nil
}

func sctExtension(promise *ct.SignedCertificateTimestamp) (pkix.Extension, error) {
	var none pkix.Extension
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{promise})
	if err != nil {
		return none, err
	}
	raw, err := tls.Marshal(ctx509.SignedCertificateTimestampList{SCTList: list.SCTList})
	if err != nil {
		return none, err
	}
	value, err := asn1.Marshal(raw)
	if err != nil {
		return none, err
	}
	return pkix.Extension{Id: oidSCTs, Value: value}, nil
}

// stamp is what the time stamp authority would answer at another time (RFC
// 3161, 2.4.2).
func (s *Stack) stamp(t testing.TB, signature []byte, at time.Time) []byte {
	t.Helper()
	request, err := timestamp.CreateRequest(bytes.NewReader(signature), &timestamp.RequestOptions{Hash: crypto.SHA256, Certificates: true})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := timestamp.ParseRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	answer := timestamp.Timestamp{
		HashAlgorithm: parsed.HashAlgorithm, HashedMessage: parsed.HashedMessage, Time: at,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: true,
	}
	out, err := answer.CreateResponseWithOpts(s.timestamp.certificates[0], s.timestamp.key, crypto.SHA256)
	if err != nil {
		t.Fatal(fmt.Errorf("make a time stamp: %w", err))
	}
	return out
}
