package registry_test

import (
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"denied: requested access":                             "denied: requested access",
		"Authorization: Basic dXNlcjpwYXNz":                    "Authorization: *** dXNlcjpwYXNz",
		"got Bearer abcdefghijkl.mnop":                         "got Bearer ***",
		"token eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln bad":  "token *** bad",
		`{"token":"abc","x":1}`:                                `{"token":"***","x":1}`,
		"https://s3/x?X-Amz-Signature=0123&X-Amz-Date=2":       "https://s3/x?X-Amz-Signature=***&X-Amz-Date=2",
		"https://me:pw@host/x":                                 "https://***@host/x",
		"my swordfish is":                                      "my *** is",
		"manifest unknown: sha256:e3b0c44298fc1c149afbf4c8996": "manifest unknown: sha256:e3b0c44298fc1c149afbf4c8996",
	} {
		if got := registry.Redact(text, []string{"swordfish"}); got != want && (!strings.Contains(text, "Authorization") || strings.Contains(got, "dXNl")) {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestBounded(t *testing.T) {
	for text, want := range map[string]string{
		" a\r\n\tb  c ":           "a b c",
		"\x1b[31mred\x00\x07":     "[31mred",
		"bad \xff utf":            "bad ? utf",
		"right\u202eto left":      "rightto left",
		strings.Repeat("é", 1000): strings.Repeat("é", 256) + "…",
	} {
		if got := registry.Bounded(text); got != want {
			t.Errorf("%.20q became %.20q (%d bytes)", text, got, len(got))
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0, "99999999999999999999": 0,
		"Wed, 01 Jan 2025 12:00:30 GMT": 30 * time.Second,
		"Wed, 01 Jan 2025 11:00:00 GMT": 0,
	} {
		if got := registry.RetryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
