package fakesigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekortiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

const maxRequest = 1 << 20

// answer writes what a handler made, or why it made nothing.
func answer(w http.ResponseWriter, status int, contentType string, body []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// fulcio gives a certificate to whoever shows a token and has the key.
func (s *Sigstore) fulcio(w http.ResponseWriter, r *http.Request) {
	body, err := s.certificate(r)
	answer(w, http.StatusOK, "application/json", body, err)
}

func (s *Sigstore) certificate(r *http.Request) ([]byte, error) {
	email, err := claims(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	var req struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Content string }
			ProofOfPossession []byte
		}
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&req); err != nil {
		return nil, err
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(req.PublicKeyRequest.PublicKey.Content))
	if err != nil {
		return nil, err
	}
	v, err := signature.LoadDefaultVerifier(key)
	if err != nil {
		return nil, err
	}
	if err := v.VerifySignature(bytes.NewReader(req.PublicKeyRequest.ProofOfPossession), bytes.NewReader([]byte(email))); err != nil {
		return nil, fmt.Errorf("proof of possession: %w", err)
	}
	leaf, err := s.issue(email, key)
	if err != nil {
		return nil, err
	}
	var chain []string
	for _, der := range [][]byte{leaf, s.issuer.cert.Raw, s.rootCert.Raw} {
		chain = append(chain, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	return json.Marshal(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}})
}

// Object identifiers: Fulcio's extension with the issuer of the token, and RFC
// 6962's with certificate time stamps.
var (
	oidIssuer = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidSCTs   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
)

// issue makes a certificate with a time stamp of the certificate log: what is
// stamped is the certificate without that extension (RFC 6962, 3.2).
func (s *Sigstore) issue(email string, key any) ([]byte, error) {
	const lifetime = 10 * time.Minute
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), EmailAddresses: []string{email},
		NotBefore: now.Add(-time.Second), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: oidIssuer, Value: []byte(Issuer)}},
	}
	bare, err := x509.CreateCertificate(rand.Reader, template, s.issuer.cert, key, s.issuer.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(bare)
	if err != nil {
		return nil, err
	}
	scts, err := s.stamp(parsed.RawTBSCertificate, now)
	if err != nil {
		return nil, err
	}
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSCTs, Value: scts})
	return x509.CreateCertificate(rand.Reader, template, s.issuer.cert, key, s.issuer.key)
}

// stamp makes the extension's value: a list of one signed certificate time
// stamp (RFC 6962, 3.2 and 3.3).
func (s *Sigstore) stamp(tbs []byte, now time.Time) ([]byte, error) {
	const (
		version1, certificateTimestamp = 0, 0
		precertEntry                   = 1
		sha256ECDSA                    = 0x0403
	)
	millis := uint64(now.UnixMilli())
	issuerKey := sha256.Sum256(s.issuer.cert.RawSubjectPublicKeyInfo)
	signed := []byte{version1, certificateTimestamp}
	signed = binary.BigEndian.AppendUint64(signed, millis)
	signed = binary.BigEndian.AppendUint16(signed, precertEntry)
	signed = append(signed, issuerKey[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs))) //nolint:gosec // three bytes of a length
	signed = append(signed, tbs...)
	signed = append(signed, 0, 0) // no extensions
	sum := sha256.Sum256(signed)
	sig, err := ecdsa.SignASN1(rand.Reader, s.ct, sum[:])
	if err != nil {
		return nil, err
	}
	id, err := logID(s.ct.Public())
	if err != nil {
		return nil, err
	}
	sct := append([]byte{version1}, id...)
	sct = binary.BigEndian.AppendUint64(sct, millis)
	sct = append(sct, 0, 0)
	sct = binary.BigEndian.AppendUint16(sct, sha256ECDSA)
	sct = binary.BigEndian.AppendUint16(sct, uint16(len(sig))) //nolint:gosec // some 70 bytes
	sct = append(sct, sig...)
	list := binary.BigEndian.AppendUint16(nil, uint16(len(sct)+2)) //nolint:gosec // some 120 bytes
	list = binary.BigEndian.AppendUint16(list, uint16(len(sct)))   //nolint:gosec // as above
	return asn1.Marshal(append(list, sct...))
}

// timestamp stamps a hash (RFC 3161).
func (s *Sigstore) timestamp(w http.ResponseWriter, r *http.Request) {
	body, err := s.timestampOf(r)
	answer(w, http.StatusCreated, "application/timestamp-reply", body, err)
}

func (s *Sigstore) timestampOf(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return nil, err
	}
	req, err := timestamp.ParseRequest(raw)
	if err != nil {
		return nil, err
	}
	t := timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Time: time.Now(),
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
	}
	return t.CreateResponseWithOpts(s.timestamper.cert, s.timestamper.key, crypto.SHA256)
}

// rekor logs an entry in a log that has but that one.
func (s *Sigstore) rekor(w http.ResponseWriter, r *http.Request) {
	body, err := s.logEntry(r)
	answer(w, http.StatusCreated, "application/json", body, err)
}

func (s *Sigstore) logEntry(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return nil, err
	}
	var req rekortiles.CreateEntryRequest
	if err := protojson.Unmarshal(raw, &req); err != nil {
		return nil, err
	}
	hashed := req.GetHashedRekordRequestV002()
	if hashed == nil {
		return nil, fmt.Errorf("only entries of the kind hashedrekord are taken")
	}
	hash := common.HashAlgorithm_SHA2_256
	if len(hashed.GetDigest()) != sha256.Size {
		hash = common.HashAlgorithm_SHA2_384
	}
	entry := &rekortiles.Entry{
		Kind: "hashedrekord", ApiVersion: "0.0.2",
		Spec: &rekortiles.Spec{Spec: &rekortiles.Spec_HashedRekordV002{HashedRekordV002: &rekortiles.HashedRekordLogEntryV002{
			Data:      &common.HashOutput{Algorithm: hash, Digest: hashed.GetDigest()},
			Signature: hashed.GetSignature(),
		}}},
	}
	body, err := canonical(entry)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.entries++
	s.mu.Unlock()
	leaf := sha256.Sum256(append([]byte{0}, body...)) // RFC 6962, 2.1
	return protojson.Marshal(&protorekor.TransparencyLogEntry{
		LogId:       &common.LogId{KeyId: s.noteKey()},
		KindVersion: &protorekor.KindVersion{Kind: entry.GetKind(), Version: entry.GetApiVersion()},
		InclusionProof: &protorekor.InclusionProof{
			TreeSize: 1, RootHash: leaf[:], Checkpoint: &protorekor.Checkpoint{Envelope: s.checkpoint(leaf[:])},
		},
		CanonicalizedBody: body,
	})
}

// canonical is an entry as JSON with sorted names (RFC 8785; it holds no
// numbers).
func canonical(entry *rekortiles.Entry) ([]byte, error) {
	b, err := protojson.Marshal(entry)
	if err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

const noteEd25519 = 1 // the algorithm's number (C2SP signed-note)

// noteKey is the log's identifier; its first four bytes name the key in notes.
func (s *Sigstore) noteKey() []byte {
	key := s.logKey.Public().(ed25519.PublicKey) //nolint:forcetypeassert // of an Ed25519 key
	sum := sha256.Sum256(append([]byte(s.origin()+"\n"), append([]byte{noteEd25519}, key...)...))
	return sum[:]
}

// checkpoint says what the log's root is (C2SP tlog-checkpoint).
func (s *Sigstore) checkpoint(rootHash []byte) string {
	text := fmt.Sprintf("%s\n1\n%s\n", s.origin(), base64.StdEncoding.EncodeToString(rootHash))
	sig := append(s.noteKey()[:4:4], ed25519.Sign(s.logKey, []byte(text))...)
	return text + "\n— " + s.origin() + " " + base64.StdEncoding.EncodeToString(sig) + "\n"
}
