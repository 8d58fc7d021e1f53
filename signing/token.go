package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pkg/browser"
	"github.com/sigstore/sigstore/pkg/oauthflow"
)

// Audience is whom identity tokens are made for: Sigstore's certificate
// authorities take no other.
const Audience = "sigstore"

const (
	// maxToken bounds an identity token, in bytes.
	maxToken = 64 << 10
	// tokenTimeout bounds a request for one.
	tokenTimeout = 30 * time.Second
)

// TokenError says why an identity token cannot be used. It never holds the
// token.
type TokenError struct{ Err error }

func (e *TokenError) Error() string { return "identity token: " + e.Err.Error() }
func (e *TokenError) Unwrap() error { return e.Err }

// ErrTokenExpired says that a token was valid once.
var ErrTokenExpired = errors.New("has expired")

// Token is what an identity token says. Whether it is true only the certificate
// authority finds out.
type Token struct {
	Issuer  string
	Subject string    // an e-mail address, or what the issuer calls the subject
	Expires time.Time // zero where it does not say
}

// ParseToken reads an identity token (a JWT, RFC 7519) without verifying it. One
// that has expired is an error; errors are *TokenError.
func ParseToken(text string, now time.Time) (*Token, error) {
	t, err := parseToken(text)
	if err != nil {
		return nil, &TokenError{err}
	}
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return nil, &TokenError{fmt.Errorf("%w: at %s, and it is %s", ErrTokenExpired, t.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))}
	}
	return t, nil
}

func parseToken(text string) (*Token, error) {
	const parts = 3 // header, claims, signature
	fields := strings.Split(text, ".")
	switch {
	case text == "":
		return nil, errors.New("is empty")
	case len(text) > maxToken:
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(text), maxToken)
	case len(fields) != parts:
		return nil, errors.New("is no JSON web token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errors.New("is no JSON web token: its claims are not base64")
	}
	var claims struct {
		Issuer  string   `json:"iss"`
		Expires *float64 `json:"exp"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return nil, errors.New("is no JSON web token: its claims are not JSON")
	}
	subject, err := oauthflow.SubjectFromUnverifiedToken(raw)
	if err != nil {
		return nil, errors.New("names no subject, or an e-mail address that was not verified")
	}
	t := &Token{Issuer: claims.Issuer, Subject: subject}
	const endOfTime = 253402300800 // the year 10000: as good as none
	if e := claims.Expires; e != nil && *e < endOfTime {
		t.Expires = time.Unix(int64(max(*e, 0)), 0)
	}
	return t, nil
}

// LoadToken reads a file with an identity token, and checks it as ParseToken
// does. The error is an *InputError or a *TokenError.
func LoadToken(file string, now time.Time) (string, error) {
	b, err := readInput(file, maxToken)
	if err != nil {
		return "", err
	}
	text := string(bytes.TrimSpace(b))
	if _, err := ParseToken(text, now); err != nil {
		return "", err
	}
	return text, nil
}

// GitHubToken asks GitHub Actions for the token of the job that runs: at the
// address in ACTIONS_ID_TOKEN_REQUEST_URL, showing what is in
// ACTIONS_ID_TOKEN_REQUEST_TOKEN. rt nil is http.DefaultTransport.
func GitHubToken(ctx context.Context, address, secret string, rt http.RoundTripper) (_ string, err error) {
	const service = "GitHub's token service"
	u, err := serviceURL(address, true)
	if err != nil {
		return "", &TokenError{fmt.Errorf("%s: %w", service, err)}
	}
	q := u.Query()
	q.Set("audience", Audience)
	u.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return "", &TokenError{fmt.Errorf("%s: the request cannot be made", service)}
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Accept", "application/json")
	client := &http.Client{Transport: newRetries(rt)}
	resp, err := client.Do(req)
	if err != nil {
		return "", &ServiceError{Service: service, Err: err, secrets: []string{secret}}
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxToken+1))
	if err != nil {
		return "", &ServiceError{Service: service, Err: err}
	}
	var answer struct {
		Value string `json:"value"`
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return "", &ServiceError{Service: service, Err: fmt.Errorf("it answers %s", resp.Status)}
	case json.Unmarshal(body, &answer) != nil || answer.Value == "":
		return "", &ServiceError{Service: service, Err: errors.New("it answers with something else than a token")}
	}
	return answer.Value, nil
}

// LoginOptions say how somebody at a terminal logs in.
type LoginOptions struct {
	Issuer string // URL of the OpenID Connect provider
	// Device asks to open an address on any device, instead of starting a
	// browser on this one.
	Device bool
	// Messages go to Output. Input is read where a browser cannot be started,
	// for the code that the user was shown.
	Output io.Writer
	Input  io.Reader
}

// Login gets an identity token from whoever sits at the terminal.
func Login(ctx context.Context, o LoginOptions) (string, error) {
	if _, err := serviceURL(o.Issuer, true); err != nil {
		return "", &TokenError{fmt.Errorf("its issuer: %w", err)}
	}
	// What the browser prints is no result of ours.
	browser.Stdout = o.Output
	var flow oauthflow.TokenGetter = &oauthflow.InteractiveIDTokenGetter{
		HTMLPage: oauthflow.DefaultIDTokenGetter.HTMLPage, Input: o.Input, Output: o.Output,
	}
	if o.Device {
		d := oauthflow.NewDeviceFlowTokenGetterForIssuer(o.Issuer)
		d.MessagePrinter = func(s string) { fmt.Fprintln(o.Output, s) }
		flow = d
	}
	type result struct {
		token *oauthflow.OIDCIDToken
		err   error
	}
	// The library knows no context: at the end of ours it is left alone.
	done := make(chan result, 1)
	go func() {
		t, err := oauthflow.OIDConnect(o.Issuer, Audience, "", "", flow)
		done <- result{t, err}
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case r := <-done:
		if r.err != nil {
			return "", &ServiceError{Service: "the token issuer " + redacted(o.Issuer), Err: r.err}
		}
		return r.token.RawString, nil
	}
}
