package signing

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/artifact"
)

// writePolicy writes a policy file and what it names beside it.
func writePolicy(tb testing.TB, text string, files map[string][]byte) *Policy {
	tb.Helper()
	dir := tb.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	file := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	p, err := LoadPolicy(file)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestPolicyVerifier(t *testing.T) {
	i := newInstance(t)
	byKey := i.signs(who{}, signed(theClaims))
	byID := i.signs(someone(), signed(theClaims)).logged(i).stamped(i, time.Now())
	p := writePolicy(t, `version: 1
scopes:
  registry.example: {reject: true}
  registry.example/org: {anyOf: [{name: the lab, key: lab.pub}]}
  registry.example/org/esxi/id: {anyOf: [{key: lab.pub}, {identity: {issuer: "`+theIssuer+`", subjectPattern: ".*"}}]}
  registry.example/org/own: {anyOf: [{identity: {issuer: "`+theIssuer+`", subjectPattern: ".*"}, trustedRoot: root.json}]}
  registry.example/org/gone: {anyOf: [{key: gone.pub}]}
  registry.example/org/bad: {anyOf: [{key: policy.yaml}]}
  registry.example/org/badroot: {anyOf: [{identity: {issuer: i, subject: s}, trustedRoot: lab.pub}]}
  registry.example/org/old: {anyOf: [{key: lab.pub}], match: {minBuild: 99999999}}
  lab.example: {insecureAcceptAnything: true}
  oci:/srv: {anyOf: [{key: lab.pub}]}
`, map[string][]byte{"lab.pub": publicKey(byKey).PEM(), "root.json": i.rootJSON()})
	down := &TrustError{Err: errors.New("unplugged")}
	type trusting int
	const (
		never trusting = iota // must not be asked
		works
		fails
	)
	for name, c := range map[string]struct {
		ref    string
		bundle *parts
		trust  trusting
		policy string // that it is verified by
		want   string // why it is refused
		is     any    // what the error is
	}{
		"key":                            {theRef, byKey, never, "scope registry.example/org", "", nil},
		"a copy elsewhere":               {"registry.example/org/copy:1", byKey, never, "scope registry.example/org", "", nil},
		"layout":                         {"oci:/srv/images:8.0", byKey, never, "scope oci:/srv", "", nil},
		"archive":                        {"oci-archive:/srv/esxi.tar", byKey, never, "scope oci:/srv", "", nil},
		"another key's":                  {theRef, i.signs(who{}, signed(theClaims)), never, "", "not by the lab: it was signed with another key", &verificationTarget},
		"rejected":                       {"registry.example/other/esxi:8.0", byKey, never, "", "the policy rejects all that lies there", &verificationTarget},
		"anything":                       {"lab.example/esxi", i.signs(who{}, nil), never, "insecureAcceptAnything", "", nil},
		"no scope":                       {"other.example/esxi", byKey, never, "", "no scope of", &verificationTarget},
		"no scope for a layout":          {"oci:/tmp/images", byKey, never, "", "covers oci:/tmp/images: nothing says whose images to trust", &verificationTarget},
		"no reference":                   {"what", byKey, never, "", "is no reference", &verificationTarget},
		"too old":                        {"registry.example/org/old", byKey, never, "", "which is older than", &verificationTarget},
		"identity":                       {"registry.example/org/esxi/id", byID, works, "scope registry.example/org/esxi/id", "", nil},
		"identity, own trust root":       {"registry.example/org/own", byID, never, "scope registry.example/org/own", "", nil},
		"no trust root to be had":        {"registry.example/org/esxi/id", byID, fails, "", "unplugged", &undecidedTarget},
		"key file that is not there":     {"registry.example/org/gone", byKey, never, "", "gone.pub: ", &undecidedTarget},
		"key file that is none":          {"registry.example/org/bad", byKey, never, "", "is no PEM file", &undecidedTarget},
		"trust root's file that is none": {"registry.example/org/badroot", byKey, never, "", "is no Sigstore trust root", &undecidedTarget},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.HasPrefix(c.ref, "oci") {
				t.Skip("folders have drives")
			}
			v := must(NewPolicyVerifier(p, func(context.Context) (Trust, error) {
				switch c.trust {
				case works:
					return i, nil
				case fails:
					return nil, down
				default:
					t.Error("the trust root was asked for")
					return nil, down
				}
			}))
			s := only(c.bundle.json()).subject()
			s.Ref = c.ref
			// Twice: the second time all is prepared.
			for range 2 {
				got, err := artifact.Verify(t.Context(), v, s)
				if c.want == "" {
					if err != nil || !strings.Contains(got.Policy, c.policy) || got.Skipped != (name == "anything") {
						t.Fatalf("%+v, %v", got, err)
					}
					continue
				}
				if got != nil || err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, c.is) {
					t.Fatalf("%+v, %v, want %q", got, err, c.want)
				}
			}
		})
	}
	if _, err := NewPolicyVerifier(nil, nil); err == nil {
		t.Error("no policy is one")
	}
	if _, err := NewPolicyVerifier(&Policy{}, nil); err == nil {
		t.Error("a policy without scopes is one")
	}
}

var (
	verificationTarget *artifact.VerificationError
	undecidedTarget    *artifact.UndecidedError
)

func TestScopeError(t *testing.T) {
	p := must(ParsePolicy([]byte(scoped(byKeyFile))))
	v := must(NewPolicyVerifier(p, nil))
	_, err := v.Choose("other.example/esxi")
	var scope *ScopeError
	if !errors.As(err, &scope) || scope.Place != "other.example/esxi" || !errors.Is(err, ErrNoRule) {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	v := must(NewPolicyVerifier(must(ParsePolicy([]byte(`version: 1
scopes:
  "*": {reject: true}
  a.example: {reject: true}
  a.example/org: {reject: true}
  b.example: {reject: true}
`))), nil))
	for ref, want := range map[string]string{
		"a.example/org/x": "the longest of the scopes that cover a.example/org/x; the others are *, a.example",
		"c.example/x":     "no other scope covers c.example/x",
	} {
		if c, err := v.Choose(ref); err != nil || c.Why() != want {
			t.Errorf("%s: %+v, %v", ref, c, err)
		}
	}
	flags := must(NewPolicyVerifier(&Policy{Origin: "--key", Scopes: []Scope{{AnyOf: []PolicyAuthority{{}}}}}, nil))
	for _, ref := range []string{"a.example/x", "oci:x"} {
		if c, err := flags.Choose(ref); err != nil || c.Rule() != "--key" || c.Why() != "flags come before any policy file" {
			t.Errorf("%s: %+v, %v", ref, c, err)
		}
	}
}

// TestExamine: everything is looked at, and told, whatever the verdict.
func TestExamine(t *testing.T) {
	i := newInstance(t)
	byKey := i.signs(who{}, signed(theClaims))
	s := newShelf().hang(theIndex, PredicateSignature, i.signs(who{}, signed(theClaims)).json()).
		hang(theIndex, PredicateSignature, byKey.json()).
		hang(theIndex, PredicateSPDX, i.signs(who{key: byKey.key}, says(theIndex, Claims{}, PredicateSPDX)).json()).
		hang(theIndex, PredicateSignature, append(byKey.json(), ' '))
	rule := Rule{AnyOf: []Authority{{Name: "one", Key: publicKey(i.signs(who{}, nil))}, {Name: "two", Key: publicKey(byKey)}}, Attestations: []string{PredicateSPDX}}
	v := must(NewVerifier(rule, nil))
	e, err := v.Examine(t.Context(), s.subject())
	if err != nil || len(e.Fates) != 4 || len(e.Verification.Signers) != 2 || len(e.Attestations[PredicateSPDX]) != 4 || len(e.Verification.Attestations) != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	bad := e.Fates[0]
	if bad.Signature != nil || len(bad.Reasons) != 2 || bad.Reasons[0].Authority != "one" || bad.Reasons[1].Authority != "two" || bad.Claimed != PredicateSignature {
		t.Errorf("%+v", bad)
	}
	var reason *ReasonError
	if !errors.As(bad.Reasons[0].Err, &reason) || reason.Err == nil || reason.Text == "" {
		t.Errorf("%+v", bad.Reasons[0])
	}
	// Verify stops at the first that counts, and needs not fetch the others.
	fetched := s.fetched
	if _, err := v.Verify(t.Context(), s.subject()); err != nil || s.fetched-fetched >= fetched {
		t.Errorf("%d fetched, then %d, %v", fetched, s.fetched-fetched, err)
	}
	rule.Attestations = []string{PredicateProvenance}
	e, err = must(NewVerifier(rule, nil)).Examine(t.Context(), s.subject())
	var refused *RefusedError
	if !errors.As(err, &refused) || e.Verification != nil || len(e.Fates) != 4 || len(e.Attestations[PredicateProvenance]) != 4 {
		t.Errorf("%+v, %v", e, err)
	}
}
