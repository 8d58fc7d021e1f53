package signing_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// attested is an image that is signed, or not, and attested.
func attested(t *testing.T, key *signing.PrivateKey, signed bool, kinds map[string]json.RawMessage) (*registry.Repository, *signing.Subjects) {
	t.Helper()
	repo, index := packed(t)
	s, err := signing.FindSubjects(t.Context(), repo, index, "registry.example/esxi")
	if err != nil {
		t.Fatal(err)
	}
	var all []signing.Statement
	if signed {
		all = append(all, s.Statements...)
	}
	for kind, predicate := range kinds {
		st, err := s.Attestations(kind, predicate)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, st...)
	}
	signer, err := signing.NewSigner(signing.SignerOptions{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), repo, all...); err != nil {
		t.Fatal(err)
	}
	return repo, s
}

// TestAttestedAsAsked attests what is signed, and a policy that asks for it finds
// it; it finds no signature in it, nor another attestation.
func TestAttestedAsAsked(t *testing.T) {
	key := generateKey(t)
	sbom := map[string]json.RawMessage{signing.PredicateSPDX: makeOf(t, "sbom", sampleConfig())}
	for _, tt := range []struct {
		name   string
		signed bool
		asked  []string
		want   string
	}{
		{"as asked", true, []string{signing.PredicateSPDX}, ""},
		{"another one", true, []string{signing.PredicateSPDX, signing.PredicateProvenance}, "attestation of the type " + signing.PredicateProvenance},
		{"no signature", false, []string{signing.PredicateSPDX}, "an attestation of an SBOM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo, s := attested(t, key, tt.signed, sbom)
			v, err := signing.NewVerifier(signing.Rule{AnyOf: []signing.Authority{{Key: key.Public()}}, Attestations: tt.asked}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, st := range s.Statements {
				found, err := artifact.Verify(t.Context(), v, artifact.Subject{Ref: "registry.example/esxi:8.0", Target: repo, Descriptor: st.Subject})
				switch {
				case tt.want == "" && err != nil:
					t.Fatal(err)
				case tt.want == "":
					if len(found.Attestations) != 1 || found.Attestations[0].PredicateType != signing.PredicateSPDX {
						t.Errorf("found %+v", found.Attestations)
					}
				default:
					var refused *artifact.VerificationError
					if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("got %v, want %q", err, tt.want)
					}
				}
			}
		})
	}
}

// TestNoAttestation refuses what would pass for something else.
func TestNoAttestation(t *testing.T) {
	s := &signing.Subjects{Statements: make([]signing.Statement, 1)}
	for _, tt := range []struct{ kind, predicate, want string }{
		{signing.PredicateSignature, `{}`, "type of signatures"},
		{"", `{}`, "is not a URI"},
		{"spdxjson", `{}`, "is not a URI"},
		{"/spdx", `{}`, "is not a URI"},
		{signing.PredicateSPDX, ``, "is not JSON"},
		{signing.PredicateSPDX, `"x"`, "is no JSON object"},
		{"urn:example:scan", `{}`, ""},
	} {
		_, err := s.Attestations(tt.kind, json.RawMessage(tt.predicate))
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q %s: got %v, want %q", tt.kind, tt.predicate, err, tt.want)
		}
	}
}

// TestList tells what bundles say, and that nobody checked it.
func TestList(t *testing.T) {
	s := startSigstore(t)
	repo, statements := signable(t, 2)
	subject := statements[0].Subject
	sbom := statements[0]
	sbom.PredicateType, sbom.Predicate = signing.PredicateSPDX, makeOf(t, "sbom", sampleConfig())
	if _, err := newSigner(t, keyless(s, servicesOf(t, s), nil)).Sign(t.Context(), repo, sbom, statements[0]); err != nil {
		t.Fatal(err)
	}
	key := generateKey(t)
	signer, err := signing.NewSigner(signing.SignerOptions{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), repo, statements[0]); err != nil {
		t.Fatal(err)
	}
	got, err := signing.List(t.Context(), artifact.Subject{Ref: "registry.example/esxi:8.0", Target: repo, Descriptor: subject})
	if err != nil {
		t.Fatal(err)
	}
	if got.Verified || len(got.Bundles) != 3 || got.More != 0 {
		t.Fatalf("got %+v", got)
	}
	// Signatures come first.
	var kinds []string
	for _, b := range got.Bundles {
		kinds = append(kinds, b.Kind)
		keyless := b.Identity == "alice@example.com" && b.Issuer != "" && b.Key == "" && b.Time != nil && b.LogIndex != nil
		keyed := b.Identity == "" && b.Key == key.Public().Fingerprint() && b.Time == nil && b.LogIndex == nil
		if keyless == keyed || b.Problem != "" || b.Claims == nil || b.Claims.Build != "22380479" {
			t.Errorf("listed %+v", b)
		}
	}
	if want := []string{"a signature", "a signature", "an attestation of an SBOM"}; !slices.Equal(kinds, want) {
		t.Errorf("kinds are %q, want %q", kinds, want)
	}
	none, err := signing.List(t.Context(), artifact.Subject{Ref: "registry.example/esxi:8.0", Target: repo, Descriptor: statements[1].Subject})
	if err != nil || len(none.Bundles) != 0 {
		t.Errorf("of what has none: %+v, %v", none, err)
	}
}
