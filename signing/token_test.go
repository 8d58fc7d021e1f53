package signing_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/signing"
)

// jwt makes a token that nobody signed.
func jwt(claims string) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// TestParseToken tells what is wrong with a token without showing it.
func TestParseToken(t *testing.T) {
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		text, subject, want string
	}{
		{jwt(`{"iss":"https://i.example","sub":"s","exp":1772366460}`), "s", ""},
		{jwt(`{"sub":"s","email":"a@b.c","email_verified":"true"}`), "a@b.c", ""},
		{jwt(`{"sub":"s","exp":1e300}`), "s", ""},
		{jwt(`{"sub":"s","exp":1772366400}`), "", "has expired: at 2026-03-01T12:00:00Z, and it is 2026-03-01T12:00:00Z"},
		{jwt(`{"sub":"s","exp":-1e300}`), "", "has expired"},
		{jwt(`{"sub":"s","email":"a@b.c"}`), "", "names no subject, or an e-mail address that was not verified"},
		{jwt(`{}`), "", "names no subject"},
		{jwt(`secret`), "", "its claims are not JSON"},
		{"a.s*ecret.c", "", "its claims are not base64"},
		{"secret", "", "is no JSON web token"},
		{"", "", "is empty"},
		{strings.Repeat("secret", 20000), "", "over the limit"},
	} {
		got, err := signing.ParseToken(tt.text, now)
		var token *signing.TokenError
		switch {
		case tt.want == "" && (err != nil || got.Subject != tt.subject):
			t.Errorf("%.60s: %+v, %v", tt.text, got, err)
		case tt.want != "" && (!errors.As(err, &token) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%.60s: got %v, want %q", tt.text, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%.60s: the message shows it: %v", tt.text, err)
		}
	}
}

// TestLoadToken reads a file as people write them.
func TestLoadToken(t *testing.T) {
	file, want := filepath.Join(t.TempDir(), "token"), jwt(`{"sub":"s"}`)
	if err := os.WriteFile(file, []byte(want+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := signing.LoadToken(file, time.Now()); err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	var input *signing.InputError
	if _, err := signing.LoadToken(file+"s", time.Now()); !errors.As(err, &input) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestGitHubToken asks as GitHub Actions wants to be asked.
func TestGitHubToken(t *testing.T) {
	const secret = "s3cr3t"
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+secret:
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("api-version") != "2.0":
			http.Error(w, r.URL.RawQuery, http.StatusBadRequest)
		case status != http.StatusOK:
			http.Error(w, "no: "+r.Header.Get("Authorization"), status)
		default:
			_, _ = w.Write([]byte(`{"count":1,"value":"the.to.ken"}`))
		}
	}))
	defer server.Close()
	address := server.URL + "/token?api-version=2.0"
	if got, err := signing.GitHubToken(t.Context(), address, secret, nil); err != nil || got != "the.to.ken" {
		t.Errorf("got %q, %v", got, err)
	}
	var service *signing.ServiceError
	for _, status = range []int{http.StatusForbidden, http.StatusServiceUnavailable} {
		_, err := signing.GitHubToken(t.Context(), address, secret, nil)
		if !errors.As(err, &service) || strings.Contains(err.Error(), secret) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	if _, err := signing.GitHubToken(t.Context(), "http://token.example/", secret, nil); err == nil || !strings.Contains(err.Error(), "over HTTPS only") {
		t.Errorf("in clear: %v", err)
	}
}

// issuer is an OpenID Connect provider with the device flow.
type issuer struct {
	*httptest.Server
	key     *rsa.PrivateKey
	refuse  atomic.Value // string: an OAuth 2.0 error, "" for none
	pending atomic.Int64 // so many questions are told to wait
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.pending.Store(1)
	i.refuse.Store("")
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
			"device_authorization_endpoint": i.URL + "/device", "id_token_signing_alg_values_supported": []string{"RS256"},
			"code_challenge_methods_supported": []string{"S256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("/device", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": i.URL + "/activate", "interval": 0, "expires_in": 300})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.PostFormValue("device_code") != "d":
			reply(w, map[string]any{"error": "access_denied"})
		case i.refuse.Load() != "":
			reply(w, map[string]any{"error": i.refuse.Load()})
		case i.pending.Add(-1) >= 0:
			reply(w, map[string]any{"error": "authorization_pending"})
		default:
			reply(w, map[string]any{"id_token": i.token(t)})
		}
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t *testing.T) string {
	part := base64.RawURLEncoding.EncodeToString
	claims, err := json.Marshal(map[string]any{
		"iss": i.URL, "aud": "sigstore", "sub": "s", "email": "a@b.c", "email_verified": true,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	if err != nil {
		t.Error(err)
	}
	text := part([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Error(err)
	}
	return text + "." + part(sig)
}

// TestDeviceLogin shows a code, waits, and has a token at the end.
func TestDeviceLogin(t *testing.T) {
	i := startIssuer(t)
	var out bytes.Buffer
	got, err := signing.Login(t.Context(), signing.LoginOptions{Issuer: i.URL, Device: true, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := signing.ParseToken(got, time.Now()); err != nil || token.Subject != "a@b.c" || token.Issuer != i.URL {
		t.Errorf("the token is %+v, %v", token, err)
	}
	if !strings.Contains(out.String(), "ABCD-EFGH") || !strings.Contains(out.String(), i.URL+"/activate") {
		t.Errorf("the user was shown %q", out.String())
	}
	i.refuse.Store("access_denied")
	var service *signing.ServiceError
	if _, err := signing.Login(t.Context(), signing.LoginOptions{Issuer: i.URL, Device: true, Output: &out}); !errors.As(err, &service) || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("refused: %v", err)
	}
}

// TestLoginEndsWithTheContext although nobody logs in.
func TestLoginEndsWithTheContext(t *testing.T) {
	i := startIssuer(t)
	i.pending.Store(1 << 30)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	if _, err := signing.Login(ctx, signing.LoginOptions{Issuer: i.URL, Device: true, Output: &out}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	i.refuse.Store("expired_token") // lets the one that was left alone end
}
