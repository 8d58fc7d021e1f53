//go:build e2e && linux

package sigstoretest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
)

// ctLog promises to log certificates (RFC 6962), and logs none: nobody who
// verifies a certificate asks for more than the promise.
type ctLog struct {
	URL string // with the log's prefix
	key *ecdsa.PrivateKey
	id  [sha256.Size]byte
}

// newCTLog runs a log until the test ends.
func newCTLog(t testing.TB) *ctLog {
	t.Helper()
	l := &ctLog{key: newKey(t)}
	spki, err := x509.MarshalPKIXPublicKey(&l.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	l.id = sha256.Sum256(spki) // RFC 6962, 3.2
	mux := http.NewServeMux()
	mux.HandleFunc("POST /test/ct/v1/add-pre-chain", func(w http.ResponseWriter, r *http.Request) {
		var request ct.AddChainRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sct, err := l.promise(request.Chain, time.Now())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		signature, err := tls.Marshal(sct.Signature)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(ct.AddChainResponse{SCTVersion: ct.V1, ID: l.id[:], Timestamp: sct.Timestamp, Signature: signature})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	l.URL = server.URL + "/test"
	return l
}

// promise signs a precertificate that stands before its issuers (RFC 6962,
// 3.2).
func (l *ctLog) promise(chain [][]byte, at time.Time) (*ct.SignedCertificateTimestamp, error) {
	parsed := make([]*ctx509.Certificate, len(chain))
	for i, der := range chain {
		var err error
		if parsed[i], err = ctx509.ParseCertificate(der); ctx509.IsFatal(err) {
			return nil, err
		}
	}
	sct := &ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: l.id}, Timestamp: uint64(at.UnixMilli())}
	leaf, err := ct.MerkleTreeLeafFromChain(parsed, ct.PrecertLogEntryType, sct.Timestamp)
	if err != nil {
		return nil, err
	}
	input, err := ct.SerializeSCTSignatureInput(*sct, ct.LogEntry{Leaf: *leaf})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(input)
	signature, err := ecdsa.SignASN1(rand.Reader, l.key, sum[:])
	if err != nil {
		return nil, err
	}
	sct.Signature = ct.DigitallySigned{Algorithm: tls.SignatureAndHashAlgorithm{Hash: tls.SHA256, Signature: tls.ECDSA}, Signature: signature}
	return sct, nil
}
