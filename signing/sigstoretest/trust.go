//go:build e2e && linux

package sigstoretest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	protoroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// Trust is what a trust root is made of; parts can be left out or come from
// elsewhere.
type Trust struct {
	Authorities []root.CertificateAuthority
	Timestamps  []root.TimestampingAuthority
	CT, Logs    map[string]*root.TransparencyLog
}

// Trust returns what the instance's trust root says.
func (s *Stack) Trust() Trust {
	from := time.Now().Add(-year)
	f, ts := s.fulcio.certificates, s.timestamp.certificates
	// The name of a log of version 2 is that of its host (c2sp.org/signed-note,
	// key ID of Ed25519 keys, not cut to four bytes).
	id := sha256.Sum256(append([]byte("127.0.0.1\n\x01"), s.rekor...))
	return Trust{
		Authorities: []root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: f[len(f)-1], Intermediates: f[:len(f)-1], URI: s.Fulcio, ValidityPeriodStart: from,
		}},
		Timestamps: []root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Leaf: ts[0], Intermediates: ts[1 : len(ts)-1], Root: ts[len(ts)-1], URI: s.Timestamp, ValidityPeriodStart: from,
		}},
		CT:   logs(s.ct.URL, s.ct.id[:], &s.ct.key.PublicKey, crypto.SHA256, from),
		Logs: logs(s.Rekor, id[:], s.rekor, crypto.Hash(0), from),
	}
}

func logs(url string, id []byte, key crypto.PublicKey, hash crypto.Hash, from time.Time) map[string]*root.TransparencyLog {
	return map[string]*root.TransparencyLog{hex.EncodeToString(id): {
		BaseURL: url, ID: id, PublicKey: key, SignatureHashFunc: hash, HashFunc: crypto.SHA256, ValidityPeriodStart: from,
	}}
}

// Write writes a trust root, and returns its file.
func (u *Trust) Write(t testing.TB, file string) string {
	t.Helper()
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, u.Authorities, u.CT, u.Timestamps, u.Logs)
	if err != nil {
		t.Fatal(err)
	}
	writeJSON(t, file, tr)
	return file
}

func (s *Stack) writeTrust(t testing.TB) {
	t.Helper()
	u := s.Trust()
	s.TrustedRoot = u.Write(t, filepath.Join(s.dir, "trusted_root.json"))
	s.SigningConfig = s.writeConfig(t, "signing_config.json", s.service(s.Rekor, 2))
	s.WithoutLog = s.writeConfig(t, "signing_config_tsa.json")
}

func (s *Stack) service(url string, version uint32) root.Service {
	return root.Service{URL: url, MajorAPIVersion: version, ValidityPeriodStart: time.Now().Add(-year), Operator: "test"}
}

func (s *Stack) writeConfig(t testing.TB, name string, logs ...root.Service) string {
	t.Helper()
	anyOf := root.ServiceConfiguration{Selector: protoroot.ServiceSelector_ANY}
	c, err := root.NewSigningConfig(root.SigningConfigMediaType02,
		[]root.Service{s.service(s.Fulcio, 1)}, []root.Service{s.service(s.Issuer.URL, 1)},
		logs, anyOf, []root.Service{s.service(s.Timestamp, 1)}, anyOf)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, name)
	writeJSON(t, file, c)
	return file
}

func writeJSON(t testing.TB, file string, v json.Marshaler) {
	t.Helper()
	b, err := v.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, b)
}

// Elsewhere is the trust root of an instance that is not there.
func Elsewhere(t testing.TB) Trust {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	s := &Stack{
		fulcio: fulcioChain(t), timestamp: timestampChain(t), rekor: public, Rekor: "http://127.0.0.1:1",
		ct: &ctLog{key: key, id: sha256.Sum256(key.X.Bytes())},
	}
	return s.Trust()
}
