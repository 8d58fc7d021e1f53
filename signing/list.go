package signing

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/esxi-img/esxi-img/artifact"
)

// endOfTime is the year 10000, in Unix time: JSON has no later time.
const endOfTime = 253402300800

// Listing is what is attached to a subject, as it says of itself. Nothing of it
// was verified: anybody who may push can attach a bundle that says anything.
type Listing struct {
	// Verified is false: it stands there so that no reader of the JSON takes
	// this for an answer.
	Verified bool     `json:"verified"`
	Bundles  []Listed `json:"bundles"`
	// More is how many were not looked at.
	More int `json:"more,omitempty"`
}

// Listed is what a bundle claims. What it does not say is empty.
type Listed struct {
	Referrer digest.Digest `json:"referrer"`
	// Kind names the type of what was signed for people, PredicateType is it.
	Kind          string `json:"kind,omitempty"`
	PredicateType string `json:"predicateType,omitempty"`
	// Identity and Issuer stand in its certificate; Key is the fingerprint of
	// the key that it names, as PublicKey.Fingerprint writes it, else its hint.
	Identity string           `json:"identity,omitempty"`
	Issuer   string           `json:"issuer,omitempty"`
	Key      string           `json:"key,omitempty"`
	Time     *time.Time       `json:"time,omitempty"`
	LogIndex *int64           `json:"logIndex,omitempty"`
	Claims   *artifact.Claims `json:"claims,omitempty"`
	// Problem says why it can't be a statement about the subject.
	Problem string `json:"problem,omitempty"`
}

// List lists the bundles that are attached to a subject, and verifies none of
// them. The error is an *artifact.UndecidedError where a registry or a file
// failed, unless the context ended.
func List(ctx context.Context, s artifact.Subject) (*Listing, error) {
	look, err := newSearch(ctx, s, time.Now)
	if err != nil {
		return nil, err
	}
	out := &Listing{Bundles: []Listed{}}
	for _, c := range look.order(PredicateSignature) {
		if len(out.Bundles) == MaxBundles {
			out.More++
			continue
		}
		b, err := look.fetch(ctx, c)
		var undecided *artifact.UndecidedError
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &undecided):
			return nil, err
		case errors.Is(err, errNotBundle):
			continue
		case errors.Is(err, errTooMuch):
			out.More++
			continue
		}
		l := Listed{Referrer: c.desc.Digest}
		if err != nil {
			l.Problem = err.Error()
		} else {
			l.read(b, s.Descriptor.Digest)
		}
		out.Bundles = append(out.Bundles, l)
	}
	return out, nil
}

// read takes from a bundle what it says.
func (l *Listed) read(b *bundle.Bundle, subject digest.Digest) {
	l.signer(b)
	l.time(b)
	envelope, err := b.Envelope()
	if err != nil {
		l.Problem = "it is not a signature of a statement (a DSSE envelope)"
		return
	}
	payload, err := envelope.RawEnvelope().DecodeB64Payload()
	if err != nil {
		l.Problem = "its payload cannot be read"
		return
	}
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil {
		l.Problem = "its statement is not JSON"
		return
	}
	l.PredicateType, l.Kind = shown(s.PredicateType), kindOf(s.PredicateType)
	_, claims, err := parseStatement(payload, subject, s.PredicateType)
	if err != nil {
		l.Problem = err.Error()
		return
	}
	if claims != (Claims{}) {
		l.Claims = &artifact.Claims{
			Repository: shown(claims.Repository), Version: shown(claims.Version), Build: shown(claims.Build), Role: shown(string(claims.Role)),
		}
	}
}

// signer says who is named.
func (l *Listed) signer(b *bundle.Bundle) {
	content, err := b.VerificationContent()
	if err != nil {
		return
	}
	if cert := content.Certificate(); cert != nil {
		l.Identity, l.Issuer = namesIn(cert)
	} else if key := content.PublicKey(); key != nil {
		l.Key = keyOfHint(key.Hint())
	}
}

// namesIn are the identity in a certificate, and who vouched for it.
func namesIn(cert *x509.Certificate) (identity, issuer string) {
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return "", ""
	}
	return shown(summary.SubjectAlternativeName), shown(summary.Issuer)
}

// time takes the latest of the times that a bundle brings.
func (l *Listed) time(b *bundle.Bundle) {
	note := func(t time.Time) {
		if l.Time == nil || t.After(*l.Time) {
			t = t.UTC()
			l.Time = &t
		}
	}
	if stamps, err := b.Timestamps(); err == nil {
		for _, raw := range stamps {
			if t, err := timestamp.ParseResponse(raw); err == nil {
				note(t.Time)
			}
		}
	}
	entries, err := b.TlogEntries()
	if err != nil || len(entries) == 0 {
		return
	}
	n := entries[0].LogIndex()
	l.LogIndex = &n
	for _, e := range entries {
		// Rekor 2 tells no time; and a year of more than four digits is none.
		if t := e.IntegratedTime(); t.Unix() > 0 && t.Unix() < endOfTime {
			note(t)
		}
	}
}

// keyOfHint is a key's fingerprint, where the hint is its digest, as cosign and
// we write it; else the hint.
func keyOfHint(hint string) string {
	sum, err := base64.StdEncoding.DecodeString(hint)
	if err != nil || len(sum) != sha256.Size {
		return shown(hint)
	}
	return "SHA256:" + hex.EncodeToString(sum)
}

// shown is a text of a bundle within bounds.
func shown(s string) string {
	const most = 1024
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
