package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekortiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
	f_log "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
)

// logHost is the origin of the instances' logs, version 2.
const logHost = "rekor.test"

// instance is a Sigstore instance in memory: it certifies whomever and whenever
// it is told to.
type instance struct {
	root.BaseTrustedMaterial
	fulcio *root.FulcioCertificateAuthority
	issuer *ecdsa.PrivateKey // of the intermediate
	tsa    *root.SigstoreTimestampingAuthority
	stamps *ecdsa.PrivateKey // of the time stamp authority
	log    *ecdsa.PrivateKey // version 2
	ctLog  *ecdsa.PrivateKey
	old    *ca.VirtualSigstore // has a log of version 1
}

func (i *instance) FulcioCertificateAuthorities() []root.CertificateAuthority {
	return []root.CertificateAuthority{i.fulcio}
}

func (i *instance) TimestampingAuthorities() []root.TimestampingAuthority {
	return []root.TimestampingAuthority{i.tsa}
}

func (i *instance) CTLogs() map[string]*root.TransparencyLog {
	return map[string]*root.TransparencyLog{hex.EncodeToString(keyID(&i.ctLog.PublicKey)): {PublicKey: &i.ctLog.PublicKey}}
}

func (i *instance) RekorLogs() map[string]*root.TransparencyLog {
	id := keyID(&i.log.PublicKey)
	logs := map[string]*root.TransparencyLog{hex.EncodeToString(id): {
		BaseURL: "https://" + logHost, ID: id, PublicKey: &i.log.PublicKey, HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
	}}
	for id, l := range i.old.RekorLogs() {
		logs[id] = l
	}
	return logs
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newECKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func keyID(key crypto.PublicKey) []byte {
	sum := sha256.Sum256(must(x509.MarshalPKIXPublicKey(key)))
	return sum[:]
}

// newInstance makes an instance that is valid from a year ago for two years.
func newInstance(tb testing.TB) *instance {
	tb.Helper()
	i := &instance{
		fulcio: &root.FulcioCertificateAuthority{}, tsa: &root.SigstoreTimestampingAuthority{URI: "https://tsa.test"},
		log: newECKey(), ctLog: newECKey(), old: must(ca.NewVirtualSigstore()),
	}
	rootKey := newECKey()
	rootCert := newCert(certTemplate("root"), nil, &rootKey.PublicKey, rootKey)
	i.fulcio.Root, i.tsa.Root = rootCert, rootCert
	i.issuer = newECKey()
	intermediate := certTemplate("fulcio")
	intermediate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	i.fulcio.Intermediates = []*x509.Certificate{newCert(intermediate, rootCert, &i.issuer.PublicKey, rootKey)}
	i.stamps = newECKey()
	leaf := certTemplate("tsa")
	leaf.IsCA, leaf.BasicConstraintsValid, leaf.KeyUsage = false, false, x509.KeyUsageDigitalSignature
	leaf.ExtraExtensions = []pkix.Extension{{
		Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true,
		Value: must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})),
	}}
	i.tsa.Leaf = newCert(leaf, rootCert, &i.stamps.PublicKey, rootKey)
	return i
}

// certTemplate is that of a certificate authority.
func certTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

func newCert(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	if parent == nil {
		parent = template
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, key, signer))))
}

// who is whom a certificate names.
type who struct {
	name, issuer string
	ci           CIClaims
	at           time.Time // of the certificate; zero: a minute ago
	key          *ecdsa.PrivateKey
}

// fulcioOID is Sigstore's number for an extension of a certificate.
func fulcioOID(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}
}

// certify issues a certificate for ten minutes, with a promise of the CT log.
func (i *instance) certify(w who) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), NotBefore: w.at, NotAfter: w.at.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		URIs: []*url.URL{must(url.Parse(w.name))},
	}
	for n, value := range map[int]string{8: w.issuer, 12: w.ci.Repository, 14: w.ci.Ref, 18: w.ci.Workflow, 20: w.ci.Trigger} {
		if value != "" {
			t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: fulcioOID(n), Value: must(asn1.MarshalWithParams(value, "utf8"))})
		}
	}
	slices.SortFunc(t.ExtraExtensions, func(a, b pkix.Extension) int { return a.Id[8] - b.Id[8] })
	parent := i.fulcio.Intermediates[0]
	plain := t.ExtraExtensions
	// RFC 6962, 3.1: the poison, instead of which the certificate has promises.
	t.ExtraExtensions = append(slices.Clone(plain), pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, Critical: true, Value: []byte{5, 0}})
	pre := newCert(t, parent, &w.key.PublicKey, i.issuer)
	t.ExtraExtensions = append(slices.Clone(plain), pkix.Extension{
		Id:    asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2},
		Value: must(asn1.Marshal(i.promise(w.at, pre.Raw, parent.Raw))),
	})
	return newCert(t, parent, &w.key.PublicKey, i.issuer)
}

// promise is the list of the CT log's one promise.
func (i *instance) promise(at time.Time, chain ...[]byte) []byte {
	var parsed []*ctx509.Certificate
	for _, der := range chain {
		c, err := ctx509.ParseCertificate(der)
		if ctx509.IsFatal(err) {
			panic(err)
		}
		parsed = append(parsed, c)
	}
	sct := &ct.SignedCertificateTimestamp{SCTVersion: ct.V1, Timestamp: uint64(at.UnixMilli())}
	copy(sct.LogID.KeyID[:], keyID(&i.ctLog.PublicKey))
	leaf := must(ct.MerkleTreeLeafFromChain(parsed, ct.PrecertLogEntryType, sct.Timestamp))
	sum := sha256.Sum256(must(ct.SerializeSCTSignatureInput(*sct, ct.LogEntry{Leaf: *leaf})))
	sct.Signature = ct.DigitallySigned{
		Algorithm: cttls.SignatureAndHashAlgorithm{Hash: cttls.SHA256, Signature: cttls.ECDSA},
		Signature: must(ecdsa.SignASN1(rand.Reader, i.ctLog, sum[:])),
	}
	list := must(x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{sct}))
	return must(cttls.Marshal(*list))
}

// stamp is a time stamp of a signature.
func (i *instance) stamp(sig []byte, at time.Time) []byte {
	request := must(timestamp.ParseRequest(must(timestamp.CreateRequest(bytes.NewReader(sig), &timestamp.RequestOptions{Hash: crypto.SHA256}))))
	t := timestamp.Timestamp{
		HashAlgorithm: request.HashAlgorithm, HashedMessage: request.HashedMessage, Time: at,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
	}
	return must(t.CreateResponseWithOpts(i.tsa.Leaf, i.stamps, crypto.SHA256))
}

// logged is an entry in the log of version 2, the second of two.
func (i *instance) logged(payload, sig []byte, verifier *rekortiles.Verifier) *protorekor.TransparencyLogEntry {
	sum := sha256.Sum256(dsse.PAE(payloadType, payload))
	verifier.KeyDetails = protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
	body := must(protojson.Marshal(&rekortiles.Entry{ApiVersion: "0.0.2", Kind: "hashedrekord", Spec: &rekortiles.Spec{Spec: &rekortiles.Spec_HashedRekordV002{
		HashedRekordV002: &rekortiles.HashedRekordLogEntryV002{
			Data:      &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature: &rekortiles.Signature{Content: sig, Verifier: verifier},
		},
	}}}))
	// Canonical JSON: Go writes the members of a map in order.
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		panic(err)
	}
	body = must(json.Marshal(value))
	other := rfc6962.DefaultHasher.HashLeaf([]byte("another entry"))
	top := rfc6962.DefaultHasher.HashChildren(other, rfc6962.DefaultHasher.HashLeaf(body))
	signer := must(rekornote.NewNoteSigner(context.Background(), logHost, must(signature.LoadECDSASignerVerifier(i.log, crypto.SHA256))))
	checkpoint := must(note.Sign(&note.Note{Text: string(f_log.Checkpoint{Origin: logHost, Size: 2, Hash: top}.Marshal())}, signer))
	return &protorekor.TransparencyLogEntry{
		LogIndex: 1, LogId: &protocommon.LogId{KeyId: keyID(&i.log.PublicKey)},
		KindVersion:       &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		CanonicalizedBody: body,
		InclusionProof: &protorekor.InclusionProof{
			LogIndex: 1, TreeSize: 2, RootHash: top, Hashes: [][]byte{other},
			Checkpoint: &protorekor.Checkpoint{Envelope: string(checkpoint)},
		},
	}
}

// loggedOld is an entry in the log of version 1, which gives a time.
func (i *instance) loggedOld(payload, sig []byte, cert *x509.Certificate, at time.Time) *protorekor.TransparencyLogEntry {
	envelope := &dsse.Envelope{PayloadType: payloadType, Payload: b64(payload), Signatures: []dsse.Signature{{Sig: b64(sig)}}}
	e := must(i.old.GenerateTlogEntry(cert, envelope, sig, at.Unix(), true)).TransparencyLogEntry()
	e.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: must(i.old.RekorSignPayload(tlog.RekorPayload{
		Body: b64(e.CanonicalizedBody), IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex, LogID: must(i.old.RekorLogID()),
	}))}
	return e
}

// parts are what a test makes a bundle of.
type parts struct {
	key     *ecdsa.PrivateKey
	cert    *x509.Certificate // nil where a key signs
	payload []byte
	sig     []byte
	bundle  *protobundle.Bundle
}

// signs makes a bundle by an identity, or by a key where the name is empty,
// without log entry and time stamp.
func (i *instance) signs(w who, payload []byte) *parts {
	if w.at.IsZero() {
		w.at = time.Now().Add(-time.Minute)
	}
	if w.key == nil {
		w.key = newECKey()
	}
	p := &parts{key: w.key, payload: payload}
	sum := sha256.Sum256(dsse.PAE(payloadType, payload))
	p.sig = must(ecdsa.SignASN1(rand.Reader, p.key, sum[:]))
	material := &protobundle.VerificationMaterial{}
	if w.name == "" {
		material.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: must(newPublicKey(&p.key.PublicKey)).hint()}}
	} else {
		p.cert = i.certify(w)
		material.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: p.cert.Raw}}
	}
	p.bundle = &protobundle.Bundle{
		MediaType: MediaTypeBundle, VerificationMaterial: material,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: payload, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: p.sig}},
		}},
	}
	return p
}

// stamped adds a time stamp.
func (p *parts) stamped(i *instance, at time.Time) *parts {
	p.bundle.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: i.stamp(p.sig, at)}},
	}
	return p
}

// logged adds an entry in the log of version 2.
func (p *parts) logged(i *instance) *parts {
	v := &rekortiles.Verifier{Verifier: &rekortiles.Verifier_PublicKey{PublicKey: &rekortiles.PublicKey{RawBytes: must(x509.MarshalPKIXPublicKey(&p.key.PublicKey))}}}
	if p.cert != nil {
		v.Verifier = &rekortiles.Verifier_X509Certificate{X509Certificate: &protocommon.X509Certificate{RawBytes: p.cert.Raw}}
	}
	p.bundle.VerificationMaterial.TlogEntries = append(p.bundle.VerificationMaterial.TlogEntries, i.logged(p.payload, p.sig, v))
	return p
}

// loggedOld adds an entry in the log of version 1.
func (p *parts) loggedOld(i *instance, at time.Time) *parts {
	p.bundle.VerificationMaterial.TlogEntries = append(p.bundle.VerificationMaterial.TlogEntries, i.loggedOld(p.payload, p.sig, p.cert, at))
	return p
}

func (p *parts) json() []byte { return must(protojson.Marshal(p.bundle)) }
