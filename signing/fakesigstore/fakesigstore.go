// Package fakesigstore is a Sigstore instance in this process, for tests: a
// certificate authority, a time stamp authority and a log on loopback, and the
// trust root and signing config that go with them. What they give verifies;
// the real servers judge in the e2e tests.
package fakesigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// Issuer is who issues the tokens that Token makes.
const Issuer = "https://issuer.example"

// Paths of the services.
const (
	PathFulcio    = "/api/v2/signingCert"
	PathTimestamp = "/api/v1/timestamp"
	PathRekor     = "/api/v2/log/entries"
	// PathGitHub gives tokens as GitHub Actions do, to whoever shows
	// GitHubSecret.
	PathGitHub = "/github"
)

// GitHubSecret is what GitHub Actions have in ACTIONS_ID_TOKEN_REQUEST_TOKEN.
const GitHubSecret = "github-secret"

// GitHubSubject is whom such a token names.
const GitHubSubject = "workflow@github.example"

// Sigstore is an instance that runs.
type Sigstore struct {
	URL     string // of all services
	TUFRoot []byte // what clients of its TUF repository begin with
	server  *httptest.Server

	issuer         authority
	rootCert       *x509.Certificate
	timestamper    authority
	tsIntermediate *x509.Certificate
	ct             *ecdsa.PrivateKey
	logKey         ed25519.PrivateKey

	mu       sync.Mutex
	requests map[string]int
	fail     map[string][]int
	entries  int64
}

// authority is a certificate with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Start starts an instance. Close ends it.
func Start() (*Sigstore, error) {
	s := &Sigstore{requests: map[string]int{}, fail: map[string][]int{}}
	if err := s.keys(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{PathFulcio: s.fulcio, PathTimestamp: s.timestamp, PathRekor: s.rekor} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if status := s.count(path); status != 0 {
				// Servers have been seen to repeat what they were sent.
				http.Error(w, "told to fail; "+r.Header.Get("Authorization"), status)
				return
			}
			h(w, r)
		})
	}
	mux.HandleFunc("GET "+PathGitHub, s.gitHub)
	s.server = httptest.NewServer(mux)
	s.URL = s.server.URL
	files, tufRoot, err := s.tuf()
	if err != nil {
		s.Close()
		return nil, err
	}
	s.TUFRoot = tufRoot
	mux.Handle("GET "+PathTUF+"/", http.StripPrefix(PathTUF, serveTUF(files)))
	return s, nil
}

// Close ends the instance.
func (s *Sigstore) Close() { s.server.Close() }

// Fail makes the next requests to a path fail with these statuses, one each; 0
// is one that succeeds.
func (s *Sigstore) Fail(path string, statuses ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[path] = statuses
}

// Requests is how many requests a path has had.
func (s *Sigstore) Requests(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

// count counts a request, and returns the status with which it is to fail.
func (s *Sigstore) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[path]++
	if len(s.fail[path]) == 0 {
		return 0
	}
	status := s.fail[path][0]
	s.fail[path] = s.fail[path][1:]
	return status
}

func (s *Sigstore) keys() (err error) {
	var rootKey *ecdsa.PrivateKey
	if s.rootCert, rootKey, err = ca.GenerateRootCa(); err != nil {
		return err
	}
	if s.issuer.cert, s.issuer.key, err = ca.GenerateFulcioIntermediate(s.rootCert, rootKey); err != nil {
		return err
	}
	tsIntermediate, tsKey, err := ca.GenerateTSAIntermediate(s.rootCert, rootKey)
	if err != nil {
		return err
	}
	s.tsIntermediate = tsIntermediate
	if s.timestamper.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	if s.timestamper.cert, err = ca.GenerateTSALeafCert(time.Now().Add(-time.Minute), s.timestamper.key, tsIntermediate, tsKey); err != nil {
		return err
	}
	if s.ct, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	_, s.logKey, err = ed25519.GenerateKey(rand.Reader)
	return err
}

// TrustedRoot is the instance's trust root, the JSON of trusted_root.json.
func (s *Sigstore) TrustedRoot() ([]byte, error) {
	start, end := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	ctID, err := logID(s.ct.Public())
	if err != nil {
		return nil, err
	}
	// Rekor 2 names its log by the key of its checkpoints (C2SP signed-note).
	keyHash := s.noteKey()
	logs := map[string]*root.TransparencyLog{hex.EncodeToString(keyHash): {
		BaseURL: s.URL, ID: keyHash, ValidityPeriodStart: start, ValidityPeriodEnd: end, HashFunc: crypto.SHA256, PublicKey: s.logKey.Public(),
	}}
	ctLogs := map[string]*root.TransparencyLog{hex.EncodeToString(ctID): {
		BaseURL: s.URL, ID: ctID, ValidityPeriodStart: start, ValidityPeriodEnd: end, HashFunc: crypto.SHA256, PublicKey: s.ct.Public(), SignatureHashFunc: crypto.SHA256,
	}}
	t, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: s.rootCert, Intermediates: []*x509.Certificate{s.issuer.cert}, ValidityPeriodStart: start, ValidityPeriodEnd: end, URI: s.URL,
		}},
		ctLogs,
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: s.rootCert, Intermediates: []*x509.Certificate{s.tsIntermediate}, Leaf: s.timestamper.cert, ValidityPeriodStart: start, ValidityPeriodEnd: end, URI: s.URL,
		}},
		logs)
	if err != nil {
		return nil, err
	}
	return t.MarshalJSON()
}

// SigningConfig names the services, the JSON of signing_config.json.
func (s *Sigstore) SigningConfig() ([]byte, error) {
	service := func(path string, version uint32) []root.Service {
		return []root.Service{{URL: s.URL + path, MajorAPIVersion: version, ValidityPeriodStart: time.Now().Add(-time.Hour), Operator: "fake"}}
	}
	any1 := root.ServiceConfiguration{Selector: prototrustroot.ServiceSelector_ANY}
	c, err := root.NewSigningConfig(root.SigningConfigMediaType02, service("", 1), nil, service("", 2), any1, service(PathTimestamp, 1), any1)
	if err != nil {
		return nil, err
	}
	return c.MarshalJSON()
}

// Token is an identity token. Nobody signed it, and Fulcio does not look.
func (s *Sigstore) Token(email string, expires time.Time) string {
	part := func(v any) string {
		b, _ := json.Marshal(v) // maps of text and numbers
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]string{"alg": "none"}) + "." + part(map[string]any{
		"iss": Issuer, "aud": "sigstore", "sub": "sub of " + email, "email": email, "email_verified": true, "exp": expires.Unix(),
	}) + ".c2lnbmF0dXJl"
}

// gitHub gives a token to a job.
func (s *Sigstore) gitHub(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+GitHubSecret || r.URL.Query().Get("audience") != "sigstore" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	b, err := json.Marshal(map[string]any{"count": 1, "value": s.Token(GitHubSubject, time.Now().Add(time.Minute))})
	answer(w, http.StatusOK, "application/json", b, err)
}

// claims reads such a token, as its owner shows it.
func claims(header string) (email string, err error) {
	const parts = 3
	fields := strings.Split(strings.TrimPrefix(header, "Bearer "), ".")
	if len(fields) != parts {
		return "", fmt.Errorf("no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(fields[1])
	if err != nil {
		return "", err
	}
	var c struct {
		Email string `json:"email"`
		Exp   int64  `json:"exp"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", err
	}
	if time.Now().After(time.Unix(c.Exp, 0)) {
		return "", fmt.Errorf("the token has expired")
	}
	return c.Email, nil
}

func logID(key any) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

// origin is the log's name in its checkpoints.
func (s *Sigstore) origin() string {
	u, _ := url.Parse(s.URL) // httptest's
	return u.Hostname()
}
