//go:build e2e && linux

package sigstoretest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Issuer is an OpenID Connect provider that vouches for whatever it is told to.
type Issuer struct {
	URL string
	key *rsa.PrivateKey
}

// keyID names the one key of an issuer.
const keyID = "1"

// newIssuer runs an issuer until the test ends: its discovery document and its
// key are all that it serves (OpenID Connect Discovery 1.0; RFC 7517).
func newIssuer(t testing.TB) *Issuer {
	t.Helper()
	const bits = 2048
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{key: key}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.URL = server.URL
	answer := func(path string, v any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	answer("/.well-known/openid-configuration", map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys",
		"authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
	})
	answer("/keys", map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": keyID,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}}})
	return i
}

// Token makes an identity token (RFC 7519, RS256) for Sigstore that is valid
// for some minutes. Claims are added, and replace those that are there.
func (i *Issuer) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{
		"iss": i.URL, "aud": "sigstore", "sub": "test",
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(all, claims)
	signed := encode(t, map[string]string{"alg": "RS256", "typ": "JWT", "kid": keyID}) + "." + encode(t, all)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Person is a token for somebody with an e-mail address.
func (i *Issuer) Person(t testing.TB, email string) string {
	t.Helper()
	return i.Token(t, map[string]any{"sub": email, "email": email, "email_verified": true})
}

// Workflow is a token as GitHub Actions makes them, for a run of
// .github/workflows/release.yml of a repository, which is "org/name".
func (i *Issuer) Workflow(t testing.TB, repository, ref string) string {
	t.Helper()
	workflow := repository + "/.github/workflows/release.yml@" + ref
	commit := "0123456789abcdef0123456789abcdef01234567"
	return i.Token(t, map[string]any{
		"sub":        "repo:" + repository + ":ref:" + ref,
		"repository": repository, "repository_id": "1", "repository_owner": "org", "repository_owner_id": "2",
		"repository_visibility": "public", "ref": ref, "sha": commit, "event_name": "push",
		"workflow": "release", "workflow_ref": workflow, "workflow_sha": commit,
		"job_workflow_ref": workflow, "job_workflow_sha": commit,
		"runner_environment": "github-hosted", "run_id": "3", "run_attempt": "1",
	})
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
