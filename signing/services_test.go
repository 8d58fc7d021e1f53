package signing_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/signing"
	"github.com/esxi-img/esxi-img/signing/fakesigstore"
)

const signingConfig = `{
  "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
  "caUrls": [
    {"url": "https://old.example", "majorApiVersion": 1, "operator": "a", "validFor": {"start": "2020-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z"}},
    {"url": "https://fulcio.example", "majorApiVersion": 1, "operator": "a", "validFor": {"start": "2024-01-01T00:00:00Z"}}
  ],
  "oidcUrls": [{"url": "https://oauth.example/auth", "majorApiVersion": 1, "operator": "a", "validFor": {"start": "2024-01-01T00:00:00Z"}}],
  "rekorTlogUrls": [
    {"url": "https://rekor2.example", "majorApiVersion": 2, "operator": "a", "validFor": {"start": "2025-01-01T00:00:00Z"}},
    {"url": "https://rekor1.example", "majorApiVersion": 1, "operator": "a", "validFor": {"start": "2021-01-01T00:00:00Z"}}
  ],
  "rekorTlogConfig": {"selector": "ANY"},
  "tsaUrls": [
    {"url": "https://tsa.example/api", "majorApiVersion": 1, "operator": "a", "validFor": {"start": "2024-01-01T00:00:00Z"}},
    {"url": "https://tsa.other.example/api", "majorApiVersion": 1, "operator": "b", "validFor": {"start": "2024-01-01T00:00:00Z"}}
  ],
  "tsaConfig": {"selector": "ALL"}
}`

// TestParseSigningConfig chooses what is valid, the newest version of an API,
// and as many as it is told.
func TestParseSigningConfig(t *testing.T) {
	at := func(year int) time.Time { return time.Date(year, time.June, 1, 0, 0, 0, 0, time.UTC) }
	s, err := signing.ParseSigningConfig([]byte(signingConfig), at(2026))
	if err != nil {
		t.Fatal(err)
	}
	stamps := slices.Sorted(slices.Values(s.Timestamps))
	if s.Fulcio != "https://fulcio.example" || s.TokenIssuer != "https://oauth.example/auth" ||
		!slices.Equal(stamps, []string{"https://tsa.example/api", "https://tsa.other.example/api"}) ||
		!slices.Equal(s.Logs, []signing.Log{{URL: "https://rekor2.example", Version: 2}}) {
		t.Errorf("in 2026: %+v", s)
	}
	if s, err = signing.ParseSigningConfig([]byte(signingConfig), at(2024)); err != nil || !slices.Equal(s.Logs, []signing.Log{{URL: "https://rekor1.example", Version: 1}}) {
		t.Errorf("in 2024: %+v, %v", s, err)
	}
	for name, text := range map[string]string{
		"nothing": "", "another file": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`,
		"old version": strings.Replace(signingConfig, "v0.2", "v0.1", 1), "huge": strings.Repeat(" ", 2<<20),
	} {
		if _, err := signing.ParseSigningConfig([]byte(text), at(2026)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := signing.ParseSigningConfig([]byte(signingConfig), at(2019)); err == nil || !strings.Contains(err.Error(), "certificate authority") {
		t.Errorf("before all of them: %v", err)
	}
}

func TestLoadSigningConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signing_config.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var input *signing.InputError
	for _, name := range []string{file, file + "s"} {
		if _, err := signing.LoadSigningConfig(name, time.Now()); !errors.As(err, &input) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPublicInstance finds trust root and services where the TUF repository is,
// keeps them, and says what is missing where it may fetch nothing.
func TestPublicInstance(t *testing.T) {
	s := startSigstore(t)
	p := signing.PublicInstance{Cache: t.TempDir(), URL: s.URL + fakesigstore.PathTUF, Root: s.TUFRoot}
	services, err := p.Services(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if services.Fulcio != s.URL || !slices.Equal(services.Logs, []signing.Log{{URL: s.URL, Version: 2}}) || len(services.Timestamps) != 1 {
		t.Errorf("the services are %+v", services)
	}
	trust, err := p.Trust(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	repo, statements := signable(t, 1)
	if _, err := newSigner(t, keyless(s, *services, trust)).Sign(t.Context(), repo, statements...); err != nil {
		t.Error(err)
	}

	p.Offline = true
	s.Close()
	if _, err := p.Services(t.Context(), time.Now()); err != nil {
		t.Errorf("from the cache: %v", err)
	}
	var failed *signing.TrustError
	p.Cache = t.TempDir()
	if _, err := p.Services(t.Context(), time.Now()); !errors.As(err, &failed) || !failed.Offline {
		t.Errorf("from an empty cache: %v", err)
	}
	p.Offline = false
	if _, err := p.Services(t.Context(), time.Now()); !errors.As(err, &failed) || failed.Offline {
		t.Errorf("from nobody: %v", err)
	}
}
