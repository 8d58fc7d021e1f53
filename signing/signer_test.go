package signing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
	"github.com/esxi-img/esxi-img/signing/fakesigstore"
)

// startSigstore runs a fake instance for the test.
func startSigstore(tb testing.TB) *fakesigstore.Sigstore {
	tb.Helper()
	s, err := fakesigstore.Start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// trustOf is a fake instance's trust root.
func trustOf(tb testing.TB, s *fakesigstore.Sigstore) signing.Trust {
	tb.Helper()
	text, err := s.TrustedRoot()
	if err != nil {
		tb.Fatal(err)
	}
	t, err := signing.ParseTrustedRoot(text)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// servicesOf are a fake instance's services.
func servicesOf(tb testing.TB, s *fakesigstore.Sigstore) signing.Services {
	tb.Helper()
	text, err := s.SigningConfig()
	if err != nil {
		tb.Fatal(err)
	}
	services, err := signing.ParseSigningConfig(text, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return *services
}

// signable is a layout with manifests that anything can be signed of.
func signable(tb testing.TB, n int) (*registry.Repository, []signing.Statement) {
	tb.Helper()
	l, err := registry.NewLayout(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	r := registry.NewRepository(l)
	push := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		if err := r.Push(tb.Context(), d, bytes.NewReader(data)); err != nil {
			tb.Fatal(err)
		}
		return d
	}
	empty := push(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	var statements []signing.Statement
	for i := range n {
		b, err := json.Marshal(ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: empty,
			Layers: []ocispec.Descriptor{empty}, Annotations: map[string]string{"number": string(rune('a' + i))},
		})
		if err != nil {
			tb.Fatal(err)
		}
		statements = append(statements, signing.Statement{
			Subject:       push(ocispec.MediaTypeImageManifest, b),
			Claims:        signing.Claims{Repository: "registry.example/esxi", Version: "8.0.2", Build: "22380479", Role: signing.RoleManifest},
			PredicateType: signing.PredicateSignature,
		})
	}
	return r, statements
}

// keyless signs with the services of a fake instance.
func keyless(s *fakesigstore.Sigstore, services signing.Services, trust signing.Trust) signing.SignerOptions {
	return signing.SignerOptions{
		Token: func(context.Context) (string, error) {
			return s.Token("alice@example.com", time.Now().Add(time.Minute)), nil
		},
		Services: services, Trust: trust,
	}
}

func newSigner(tb testing.TB, o signing.SignerOptions) *signing.Signer {
	tb.Helper()
	s, err := signing.NewSigner(o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func alice(log, timestamp bool) signing.Authority {
	return signing.Authority{
		Identity: &signing.Identity{Issuer: fakesigstore.Issuer, Subject: "alice@example.com"}, Log: log, Timestamp: timestamp,
	}
}

// TestSignAndVerify signs in each way, and our own verifier takes it.
func TestSignAndVerify(t *testing.T) {
	s := startSigstore(t)
	trust, services := trustOf(t, s), servicesOf(t, s)
	stampsOnly := services
	stampsOnly.Logs = nil
	logOnly := services
	logOnly.Timestamps = nil
	key := generateKey(t)
	ofKey := func(log, stamp bool) signing.Authority {
		return signing.Authority{Key: key.Public(), Log: log, Timestamp: stamp}
	}
	for _, tt := range []struct {
		name      string
		opts      signing.SignerOptions
		authority signing.Authority
		logged    bool
		timed     bool
	}{
		{"keyless with a log and time stamps", keyless(s, services, trust), alice(true, true), true, true},
		{"keyless with time stamps", keyless(s, stampsOnly, trust), alice(false, true), false, true},
		{"keyless, not checked", keyless(s, services, nil), alice(true, true), true, false},
		{"key", signing.SignerOptions{Key: key}, ofKey(false, false), false, false},
		{"key with a log and time stamps", signing.SignerOptions{Key: key, Services: services, Trust: trust}, ofKey(true, true), true, true},
		{"key with a log", signing.SignerOptions{Key: key, Services: logOnly, Trust: trust}, ofKey(true, false), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo, statements := signable(t, 2)
			signed, err := newSigner(t, tt.opts).Sign(t.Context(), repo, statements...)
			if err != nil {
				t.Fatal(err)
			}
			v, err := signing.NewVerifier(signing.Rule{Name: "test", AnyOf: []signing.Authority{tt.authority}}, trust)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range signed {
				if (one.LogIndex >= 0) != tt.logged || one.Time.IsZero() == tt.timed {
					t.Errorf("log index %d, time %s", one.LogIndex, one.Time)
				}
				found, err := artifact.Verify(t.Context(), v, artifact.Subject{Ref: "registry.example/esxi:8.0", Target: repo, Descriptor: one.Subject})
				if err != nil {
					t.Fatal(err)
				}
				got := found.Signers[0]
				if got.Key != one.Signer.Key || got.Identity != one.Signer.Identity || got.Issuer != one.Signer.Issuer {
					t.Errorf("verified is %+v, signed was %+v", got, one.Signer)
				}
				if got.Claims == nil || got.Claims.Build != "22380479" || got.Claims.Repository != "registry.example/esxi" {
					t.Errorf("claims are %+v", got.Claims)
				}
			}
		})
	}
}

// TestOneCertificate asks for one token and one certificate however much is
// signed.
func TestOneCertificate(t *testing.T) {
	s := startSigstore(t)
	opts, tokens := keyless(s, servicesOf(t, s), nil), 0
	ask := opts.Token
	opts.Token = func(ctx context.Context) (string, error) { tokens++; return ask(ctx) }
	repo, statements := signable(t, 3)
	if _, err := newSigner(t, opts).Sign(t.Context(), repo, statements...); err != nil {
		t.Fatal(err)
	}
	if n := s.Requests(fakesigstore.PathFulcio); n != 1 || tokens != 1 {
		t.Errorf("%d certificates with %d tokens", n, tokens)
	}
}

// count is a store that counts what is written.
type count struct {
	signing.Store
	writes int
}

func (c *count) Push(ctx context.Context, d ocispec.Descriptor, r io.Reader) error {
	c.writes++
	return c.Store.Push(ctx, d, r)
}

func (c *count) PushReferrer(ctx context.Context, b []byte) (ocispec.Descriptor, error) {
	c.writes++
	return c.Store.PushReferrer(ctx, b)
}

// TestNothingIsAttached where anything that is signed at once can't be signed.
func TestNothingIsAttached(t *testing.T) {
	t.Parallel()
	const bad = http.StatusBadRequest
	expired := errors.New("expired")
	for _, tt := range []struct {
		name    string
		prepare func(*fakesigstore.Sigstore, *signing.SignerOptions)
		want    string
	}{
		{"token that has expired", func(s *fakesigstore.Sigstore, o *signing.SignerOptions) {
			o.Token = func(context.Context) (string, error) { return s.Token("a@b.c", time.Now().Add(-time.Minute)), nil }
		}, "identity token: has expired: at "},
		{"no token", func(_ *fakesigstore.Sigstore, o *signing.SignerOptions) {
			o.Token = func(context.Context) (string, error) { return "", expired }
		}, "expired"},
		{"what is no token", func(_ *fakesigstore.Sigstore, o *signing.SignerOptions) {
			o.Token = func(context.Context) (string, error) { return "secret-secret", nil }
		}, "identity token: is no JSON web token"},
		{"certificate authority refuses", func(s *fakesigstore.Sigstore, _ *signing.SignerOptions) {
			s.Fail(fakesigstore.PathFulcio, http.StatusUnauthorized)
		}, "the certificate authority http://127.0.0.1:"},
		{"certificate authority fails for long", func(s *fakesigstore.Sigstore, _ *signing.SignerOptions) {
			s.Fail(fakesigstore.PathFulcio, 503, 503, 503)
		}, "it answers 503 Service Unavailable: told to fail"},
		{"second time stamp fails", func(s *fakesigstore.Sigstore, _ *signing.SignerOptions) { s.Fail(fakesigstore.PathTimestamp, 0, bad) }, "the time stamp authority http://127.0.0.1:"},
		{"third log entry fails", func(s *fakesigstore.Sigstore, _ *signing.SignerOptions) {
			s.Fail(fakesigstore.PathRekor, 0, 0, bad, bad)
		}, "the log http://127.0.0.1:"},
		{"another instance's trust root", func(_ *fakesigstore.Sigstore, o *signing.SignerOptions) { o.Trust = trustOf(t, startSigstore(t)) }, "what was signed does not verify, and was not attached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startSigstore(t)
			opts := keyless(s, servicesOf(t, s), trustOf(t, s))
			tt.prepare(s, &opts)
			repo, statements := signable(t, 3)
			store := &count{Store: repo}
			_, err := newSigner(t, opts).Sign(t.Context(), store, statements...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("the message holds the token: %v", err)
			}
			if store.writes != 0 {
				t.Errorf("%d things were written", store.writes)
			}
		})
	}
}

// TestRetries signs although each service fails for a while.
func TestRetries(t *testing.T) {
	t.Parallel()
	s := startSigstore(t)
	s.Fail(fakesigstore.PathFulcio, 503)
	s.Fail(fakesigstore.PathTimestamp, 429)
	s.Fail(fakesigstore.PathRekor, http.StatusConflict)
	repo, statements := signable(t, 1)
	if _, err := newSigner(t, keyless(s, servicesOf(t, s), trustOf(t, s))).Sign(t.Context(), repo, statements...); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{fakesigstore.PathFulcio: 2, fakesigstore.PathTimestamp: 3, fakesigstore.PathRekor: 2} {
		if n := s.Requests(path); n != want {
			t.Errorf("%s had %d requests, want %d", path, n, want)
		}
	}
}

// TestSignEndsWithTheContext although sigstore-go's requests have none.
func TestSignEndsWithTheContext(t *testing.T) {
	s := startSigstore(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := make(chan struct{})
	opts := keyless(s, servicesOf(t, s), nil)
	opts.Transport = transport(func(r *http.Request) (*http.Response, error) {
		close(asked)
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	enough := errors.New("enough")
	go func() { <-asked; cancel(enough) }()
	repo, statements := signable(t, 1)
	began := time.Now()
	_, err := newSigner(t, opts).Sign(ctx, repo, statements...)
	if !errors.Is(err, enough) || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestNewSigner refuses what could not work, or could not be verified.
func TestNewSigner(t *testing.T) {
	key := generateKey(t)
	token := func(context.Context) (string, error) { return "", nil }
	logs := []signing.Log{{URL: "https://rekor.example", Version: 2}}
	stamps := []string{"http://tsa.example/api"}
	for _, tt := range []struct {
		name string
		opts signing.SignerOptions
		want string // "" for none
	}{
		{"nobody", signing.SignerOptions{}, "either a key or an identity token"},
		{"both", signing.SignerOptions{Key: key, Token: token}, "either a key or an identity token"},
		{"no authority", signing.SignerOptions{Token: token, Services: signing.Services{Timestamps: stamps}}, "needs a certificate authority"},
		{"no time", signing.SignerOptions{Token: token, Services: signing.Services{Fulcio: "https://f.example", Logs: logs}}, "a time stamp authority is needed"},
		{"token in clear", signing.SignerOptions{Token: token, Services: signing.Services{Fulcio: "http://f.example", Timestamps: stamps}}, "over HTTPS only"},
		{"token in clear to this host", signing.SignerOptions{Token: token, Services: signing.Services{Fulcio: "http://[::1]:5", Timestamps: stamps}}, ""},
		{"old log tells the time", signing.SignerOptions{Token: token, Services: signing.Services{Fulcio: "https://f.example", Logs: []signing.Log{{URL: "https://l.example", Version: 1}}}}, ""},
		{"unknown log", signing.SignerOptions{Key: key, Services: signing.Services{Logs: []signing.Log{{URL: "https://l.example", Version: 3}}}}, "API version 3"},
		{"no URL", signing.SignerOptions{Key: key, Services: signing.Services{Timestamps: []string{"tsa.example"}}}, "no URL with http or https"},
		{"password in a URL", signing.SignerOptions{Key: key, Services: signing.Services{Timestamps: []string{"ftp://me:hidden@tsa.example"}}}, "no URL with http or https"},
		{"Ed25519 in a log", signing.SignerOptions{Key: ed25519Key(t), Services: signing.Services{Logs: logs}}, "takes no signatures of Ed25519 keys"},
		{"Ed25519 with time stamps", signing.SignerOptions{Key: ed25519Key(t), Services: signing.Services{Timestamps: stamps}}, ""},
	} {
		_, err := signing.NewSigner(tt.opts)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: the message holds the password: %v", tt.name, err)
		}
	}
}
