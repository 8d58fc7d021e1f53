package signing_test

import (
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/signing"
)

// FuzzToken reads anything as an identity token, and as a signing config.
func FuzzToken(f *testing.F) {
	f.Add(jwt(`{"iss":"https://i.example","sub":"s","exp":1772366460}`))
	f.Add(jwt(`{"sub":"s","email":"a@b.c","email_verified":"true","exp":1e400}`))
	f.Add(signingConfig)
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := signing.ParseToken(text, time.Unix(0, 0)); err == nil && token.Subject == "" {
			t.Error("a token without a subject was taken")
		}
		if s, err := signing.ParseSigningConfig([]byte(text), time.Unix(1772366400, 0)); err == nil {
			_, _ = signing.NewSigner(signing.SignerOptions{Key: generateKey(t), Services: *s})
		}
	})
}
