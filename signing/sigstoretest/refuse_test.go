//go:build e2e && linux

package sigstoretest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
	"github.com/esxi-img/esxi-img/signing/sigstoretest"
)

// attach attaches a bundle, whatever it is, as cosign would.
func attach(t *testing.T, to *registry.Repository, subject ocispec.Descriptor, b *protobundle.Bundle) {
	t.Helper()
	raw, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	layer := ocispec.Descriptor{MediaType: signing.MediaTypeBundle, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	config := ocispec.DescriptorEmptyJSON
	for d, data := range map[*ocispec.Descriptor][]byte{&layer: raw, &config: config.Data} {
		if err := to.Push(t.Context(), *d, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: signing.MediaTypeBundle, Config: config, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
		Annotations: map[string]string{
			"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": signing.PredicateSignature,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.PushReferrer(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
}

// nowhere takes what is attached, and forgets it.
type nowhere struct{}

func (nowhere) Push(context.Context, ocispec.Descriptor, io.Reader) error { return nil }
func (nowhere) PushReferrer(context.Context, []byte) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, nil
}

// bundle is a good bundle about a subject, by alice with log entry and time
// stamp.
func (w *world) bundle(t *testing.T, subject ocispec.Descriptor) *protobundle.Bundle {
	t.Helper()
	return w.bundleBy(t, subject, func() string { return w.Issuer.Person(t, alice) })
}

func (w *world) bundleBy(t *testing.T, subject ocispec.Descriptor, token func() string) *protobundle.Bundle {
	t.Helper()
	s, err := signing.NewSigner(signing.SignerOptions{
		Token: func(context.Context) (string, error) { return token(), nil },
		Services: signing.Services{
			Fulcio: w.Fulcio, Timestamps: []string{w.Timestamp}, Logs: []signing.Log{{URL: w.Rekor, Version: 2}},
		},
		Trust: w.trust,
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(t.Context(), nowhere{}, signing.Statement{Subject: subject, PredicateType: signing.PredicateSignature})
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, signed[0].Bundle)
}

func parse(t *testing.T, raw []byte) *protobundle.Bundle {
	t.Helper()
	b := &protobundle.Bundle{}
	if err := protojson.Unmarshal(raw, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// statement is what is signed of a subject.
func statement(subject ocispec.Descriptor) []byte {
	return []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + subject.Digest.Encoded() +
		`"}}],"predicateType":"` + signing.PredicateSignature + `","predicate":{}}`)
}

// refusal is a bundle that must not count, and what the message has to say.
type refusal struct {
	name   string
	bundle func(*testing.T) *protobundle.Bundle
	// rule is changed from: alice, with log entry and time stamp.
	rule   func(*signing.Authority)
	reason string
	// cosign refuses it, too, with the arguments that stand for the rule. Where
	// it does not know such a rule, this is nil.
	cosign []string
}

// Bundles that servers, or whoever has their keys, made: each is refused, and
// the reason is named; one good bundle beside them is enough.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.buildProgram(t)
	index := w.image.Index
	aliceArgs := []string{"--certificate-identity", alice, "--certificate-oidc-issuer", w.Issuer.URL, "--trusted-root", w.TrustedRoot, "--use-signed-timestamps"}
	// The first log entry of all has a proof of no hashes.
	other, good := w.bundle(t, index), w.bundle(t, index)
	w.push(t, "refused")
	for _, c := range append(w.damaged(good, other, aliceArgs), append(w.others(aliceArgs), w.forged(aliceArgs)...)...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := "refused/" + c.name
			to := w.push(t, name)
			attach(t, to, index, c.bundle(t))
			rule := signing.Rule{Name: "test", AnyOf: []signing.Authority{{
				Identity: &signing.Identity{Issuer: w.Issuer.URL, Subject: alice}, Log: true, Timestamp: true,
			}}}
			if c.rule != nil {
				c.rule(&rule.AnyOf[0])
			}
			_, err := w.verify(t, name, index, rule)
			var refused *artifact.VerificationError
			if !errors.As(err, &refused) {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(refused.Err.Error(), c.reason) {
				t.Errorf("%v\ndoes not say %q", refused.Err, c.reason)
			}
			policy := w.policyFile(t, &rule.AnyOf[0], w.TrustedRoot)
			w.mustRefuse(t, c.reason, "verify", "--policy", policy, w.host+"/"+name+":8.0")
			w.mustNotPull(t, c.reason, "--policy", policy, w.host+"/"+name+":8.0")
			if c.cosign != nil {
				ref := w.host + "/" + name + "@" + index.Digest.String()
				if out, err := w.cosign(t, with("verify", c.cosign, ref)...); err == nil {
					t.Errorf("cosign takes it:\n%s", out)
				}
			}
			// Two bundles of which one is bad.
			attach(t, to, index, good)
			if _, err := w.verify(t, name, index, w.rule(forms[2], nil)); err != nil {
				t.Errorf("beside a good one: %v", err)
			}
		})
	}
}

// clone is a copy that may be changed.
func clone(b *protobundle.Bundle) *protobundle.Bundle { return proto.Clone(b).(*protobundle.Bundle) }

// damaged are good bundles from which something was taken or swapped.
func (w *world) damaged(good, other *protobundle.Bundle, args []string) []refusal {
	change := func(f func(b, other *protobundle.VerificationMaterial)) func(*testing.T) *protobundle.Bundle {
		return func(*testing.T) *protobundle.Bundle {
			b := clone(good)
			f(b.VerificationMaterial, clone(other).VerificationMaterial)
			return b
		}
	}
	noTime, noLog := func(a *signing.Authority) { a.Timestamp = false }, func(a *signing.Authority) { a.Log = false }
	return []refusal{
		{name: "log-dropped", reason: "no log entry", cosign: args, bundle: change(func(b, _ *protobundle.VerificationMaterial) { b.TlogEntries = nil })},
		{name: "log-swapped", reason: "its log entry is not", cosign: args, bundle: change(func(b, o *protobundle.VerificationMaterial) { b.TlogEntries = o.TlogEntries })},
		{name: "log-proof", reason: "its log entry is not", cosign: args, bundle: change(func(b, _ *protobundle.VerificationMaterial) {
			p := b.TlogEntries[0].InclusionProof
			p.Hashes[0][0] ^= 1
		})},
		{name: "log-checkpoint", reason: "its log entry is not", cosign: args, bundle: change(func(b, o *protobundle.VerificationMaterial) {
			b.TlogEntries[0].InclusionProof.Checkpoint = o.TlogEntries[0].InclusionProof.Checkpoint
		})},
		{name: "log-index", reason: "its log entry is not", cosign: args, bundle: change(func(b, _ *protobundle.VerificationMaterial) {
			b.TlogEntries[0].LogIndex++
			b.TlogEntries[0].InclusionProof.LogIndex++
		})},
		{name: "time-dropped", reason: "no time stamp", cosign: args, bundle: change(func(b, _ *protobundle.VerificationMaterial) { b.TimestampVerificationData = nil })},
		// A log of version 2 tells no time.
		{name: "time-dropped-log-left", reason: "proves when", rule: noTime, bundle: change(func(b, _ *protobundle.VerificationMaterial) { b.TimestampVerificationData = nil })},
		{name: "time-swapped", reason: "its time stamp is not", cosign: args, bundle: change(func(b, o *protobundle.VerificationMaterial) {
			b.TimestampVerificationData = o.TimestampVerificationData
		})},
		{name: "time-swapped-log-left", reason: "its time stamp is not", rule: noTime, bundle: change(func(b, o *protobundle.VerificationMaterial) {
			b.TimestampVerificationData = o.TimestampVerificationData
		})},
		{name: "certificate-swapped", reason: "its signature is wrong", cosign: args, bundle: change(func(b, o *protobundle.VerificationMaterial) { b.Content = o.Content })},
		{name: "everything-swapped", reason: "its signature is wrong", cosign: args, bundle: func(*testing.T) *protobundle.Bundle {
			b := clone(good)
			b.VerificationMaterial = clone(other).VerificationMaterial
			return b
		}},
		{name: "payload", reason: "its signature is wrong", cosign: args, bundle: func(*testing.T) *protobundle.Bundle {
			b := clone(good)
			e := b.GetDsseEnvelope()
			e.Payload = bytes.Replace(e.Payload, []byte(`"subject"`), []byte(` "subject"`), 1)
			return b
		}},
		{name: "signature", reason: "its signature is wrong", cosign: args, bundle: func(*testing.T) *protobundle.Bundle {
			b := clone(good)
			s := b.GetDsseEnvelope().Signatures[0].Sig
			s[len(s)-1] ^= 1
			return b
		}},
		// Without the log it is the signature itself that shows it.
		{name: "payload-log-unasked", reason: "its signature is wrong", rule: noLog, bundle: func(*testing.T) *protobundle.Bundle {
			b := clone(good)
			e := b.GetDsseEnvelope()
			e.Payload = bytes.Replace(e.Payload, []byte(`"subject"`), []byte(` "subject"`), 1)
			return b
		}},
		{name: "certificate-log-unasked", reason: "its signature is wrong", rule: noLog, bundle: change(func(b, o *protobundle.VerificationMaterial) { b.Content = o.Content })},
	}
}

// others are good bundles by somebody else, about something else, or from
// elsewhere.
func (w *world) others(args []string) []refusal {
	index := w.image.Index
	person := func(i *sigstoretest.Issuer, email string) func(*testing.T) *protobundle.Bundle {
		return func(t *testing.T) *protobundle.Bundle {
			return w.bundleBy(t, index, func() string { return i.Person(t, email) })
		}
	}
	workflow := func(repository, ref string) func(*testing.T) *protobundle.Bundle {
		return func(t *testing.T) *protobundle.Bundle {
			return w.bundleBy(t, index, func() string { return w.Actions.Workflow(t, repository, ref) })
		}
	}
	release := func(ref string) string {
		return "https://github.com/" + repository + "/.github/workflows/release.yml@" + ref
	}
	ci := func(change func(*signing.CIClaims)) func(*signing.Authority) {
		return func(a *signing.Authority) {
			*a.Identity = signing.Identity{Issuer: w.Actions.URL, SubjectPattern: `https://github\.com/.*`}
			change(&a.Identity.CI)
		}
	}
	key := func(a *signing.Authority) {
		k, err := signing.GenerateKey()
		if err == nil {
			a.Identity, a.Key = nil, k.Public()
		}
	}
	return []refusal{
		{name: "identity", reason: `"bob@example.com"`, cosign: args, bundle: person(w.Issuer, "bob@example.com")},
		{name: "issuer", reason: fmt.Sprintf("vouched for by %q", w.Other.URL), cosign: args, bundle: person(w.Other, alice)},
		// cosign looks for a pattern anywhere.
		{
			name: "pattern", reason: `"alice@example.com.example.org"`, bundle: person(w.Issuer, "alice@example.com.example.org"),
			rule: func(a *signing.Authority) { a.Identity.Subject, a.Identity.SubjectPattern = "", `alice@example\.com` },
		},
		{
			name: "pattern-of-two", reason: `"xbob@example.com"`, bundle: person(w.Issuer, "xbob@example.com"),
			rule: func(a *signing.Authority) {
				a.Identity.Subject, a.Identity.SubjectPattern = "", `alice@example\.com|bob@example\.com`
			},
		},
		{
			name: "ci-repository", reason: `the CI's repository is "https://github.com/evil/esxi"`, bundle: workflow("evil/esxi", mainBranch),
			rule: ci(func(c *signing.CIClaims) { c.Repository = "https://github.com/" + repository }),
		},
		{
			name: "ci-ref", reason: `the CI's ref is "refs/heads/evil"`, bundle: workflow(repository, "refs/heads/evil"),
			rule: ci(func(c *signing.CIClaims) { c.Ref = mainBranch }),
		},
		{
			name: "ci-workflow", reason: "the CI's workflow is", bundle: workflow(repository, "refs/heads/evil"),
			rule: ci(func(c *signing.CIClaims) { c.Workflow = release(mainBranch) }),
		},
		{
			name: "ci-trigger", reason: `the CI's trigger is "push"`, bundle: workflow(repository, mainBranch),
			rule: ci(func(c *signing.CIClaims) { c.Trigger = "workflow_dispatch" }),
		},
		{
			name: "ci-claim-of-a-person", reason: `the CI's repository is ""`, bundle: person(w.Issuer, alice),
			rule: func(a *signing.Authority) { a.Identity.CI.Repository = "https://github.com/" + repository },
		},
		{name: "certificate-for-key", reason: "not with a key", bundle: person(w.Issuer, alice), rule: key},
		{name: "subject", reason: "another subject", cosign: args, bundle: func(t *testing.T) *protobundle.Bundle { return w.bundle(t, w.image.Manifest) }},
	}
}

// forged are bundles that need a server's key, or its clock.
func (w *world) forged(args []string) []refusal {
	now := time.Now()
	from := sigstoretest.Forgery{
		Statement: statement(w.image.Index), Email: alice, Issuer: w.Issuer.URL,
		From: now.Add(-time.Minute), To: now.Add(9 * time.Minute), Timestamp: true, Log: true,
	}
	forge := func(change func(*sigstoretest.Forgery)) func(*testing.T) *protobundle.Bundle {
		return func(t *testing.T) *protobundle.Bundle {
			f := from
			change(&f)
			return w.Forge(t, f)
		}
	}
	noLog := func(a *signing.Authority) { a.Log = false }
	return []refusal{
		{name: "other-ca", reason: "not from a certificate authority that is trusted", cosign: args, bundle: forge(func(f *sigstoretest.Forgery) { f.OtherCA = true })},
		{name: "no-sct", reason: "in no certificate transparency log", cosign: args, bundle: forge(func(f *sigstoretest.Forgery) { f.NoCT = true })},
		{name: "expired", reason: "not valid when it was signed", cosign: args, bundle: forge(func(f *sigstoretest.Forgery) {
			f.From, f.To = now.Add(-time.Hour), now.Add(-50*time.Minute)
		})},
		{name: "not-yet-valid", reason: "not valid when it was signed", cosign: args, bundle: forge(func(f *sigstoretest.Forgery) {
			f.From, f.To = now.Add(time.Hour), now.Add(70*time.Minute)
		})},
		{name: "future", reason: "set the clock", rule: noLog, bundle: forge(func(f *sigstoretest.Forgery) {
			f.From, f.To = now.Add(time.Hour), now.Add(70*time.Minute)
			f.Log, f.Timestamp, f.TimestampAt = false, false, now.Add(61*time.Minute)
		})},
	}
}

// A forgery that lies about nothing passes: the others are refused for what
// they lie about.
func TestHonestForgery(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	honest := sigstoretest.Forgery{
		Statement: statement(w.image.Index), Email: alice, Issuer: w.Issuer.URL, From: now.Add(-time.Minute), To: now.Add(9 * time.Minute),
	}
	for name, change := range map[string]func(*sigstoretest.Forgery){
		"servers": func(f *sigstoretest.Forgery) { f.Log, f.Timestamp = true, true },
		"clock":   func(f *sigstoretest.Forgery) { f.TimestampAt = now },
	} {
		f := honest
		change(&f)
		to := w.push(t, "honest/"+name)
		attach(t, to, w.image.Index, w.Forge(t, f))
		rule := w.rule(forms[2], nil)
		rule.AnyOf[0].Log = f.Log
		if _, err := w.verify(t, "honest/"+name, w.image.Index, rule); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// CI claims that are true.
	to := w.push(t, "honest/ci")
	attach(t, to, w.image.Index, w.bundleBy(t, w.image.Index, func() string { return w.Actions.Workflow(t, repository, mainBranch) }))
	workflow := "https://github.com/" + repository + "/.github/workflows/release.yml@" + mainBranch
	rule := signing.Rule{AnyOf: []signing.Authority{{Log: true, Identity: &signing.Identity{
		Issuer: w.Actions.URL, Subject: workflow,
		CI: signing.CIClaims{Repository: "https://github.com/" + repository, Workflow: workflow, Ref: mainBranch, Trigger: "push"},
	}}}}
	if _, err := w.verify(t, "honest/ci", w.image.Index, rule); err != nil {
		t.Errorf("CI: %v", err)
	}
}

// A trust root of which a part is another's takes nothing that needs the part.
func TestOtherTrust(t *testing.T) {
	w := newWorld(t)
	to := w.push(t, "trust")
	attach(t, to, w.image.Index, w.bundle(t, w.image.Index))
	elsewhere := sigstoretest.Elsewhere(t)
	for name, c := range map[string]struct {
		change func(u *sigstoretest.Trust)
		reason string
	}{
		"certificates": {func(u *sigstoretest.Trust) { u.Authorities = elsewhere.Authorities }, "not from a certificate authority that is trusted"},
		"time stamps":  {func(u *sigstoretest.Trust) { u.Timestamps = elsewhere.Timestamps }, "its time stamp is not"},
		"log":          {func(u *sigstoretest.Trust) { u.Logs = elsewhere.Logs }, "its log entry is not"},
		"CT":           {func(u *sigstoretest.Trust) { u.CT = elsewhere.CT }, "in no certificate transparency log"},
		"everything":   {func(u *sigstoretest.Trust) { *u = elsewhere }, "its log entry is not"},
	} {
		t.Run(name, func(t *testing.T) {
			u := w.Trust()
			c.change(&u)
			file := u.Write(t, filepath.Join(t.TempDir(), "trusted_root.json"))
			trust, err := signing.LoadTrustedRoot(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.verifyWith(t, w.open(t, "trust"), w.image.Index, w.rule(forms[2], nil), trust)
			var refused *artifact.VerificationError
			if !errors.As(err, &refused) || !strings.Contains(refused.Err.Error(), c.reason) {
				t.Errorf("%v\ndoes not say %q", err, c.reason)
			}
			ref := w.host + "/trust@" + w.image.Index.Digest.String()
			out, err := w.cosign(t, "verify", "--certificate-identity", alice, "--certificate-oidc-issuer", w.Issuer.URL, "--trusted-root", file, "--use-signed-timestamps", ref)
			if err == nil {
				t.Errorf("cosign takes it:\n%s", out)
			}
		})
	}
}

// Without a signature, and with another key's.
func TestRefusedKey(t *testing.T) {
	w, k, other := newWorld(t), newKeys(t), newKeys(t)
	for _, f := range forms[:2] {
		name := "key/" + f.name
		to := w.push(t, name)
		if _, err := w.verify(t, name, w.image.Index, w.rule(f, k)); !errors.Is(err, signing.ErrNoSignature) {
			t.Errorf("without a signature: %v", err)
		}
		if _, err := w.signer(t, f, other).Sign(t.Context(), to, w.subjects(t, name)...); err != nil {
			t.Fatal(err)
		}
		_, err := w.verify(t, name, w.image.Index, w.rule(f, k))
		var refused *artifact.VerificationError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "it was signed with another key") {
			t.Errorf("another key: %v", err)
		}
		if out, err := w.cosign(t, with("verify", w.verifyArgs(f, k), w.host+"/"+name+"@"+w.image.Index.Digest.String())...); err == nil {
			t.Errorf("cosign takes another key:\n%s", out)
		}
	}
	// With the key, but without what the rule wants besides.
	signed, err := w.signer(t, forms[1], k).Sign(t.Context(), nowhere{}, w.subjects(t, "key")[:1]...)
	if err != nil {
		t.Fatal(err)
	}
	for reason, change := range map[string]func(*protobundle.VerificationMaterial){
		"no log entry":  func(b *protobundle.VerificationMaterial) { b.TlogEntries = nil },
		"no time stamp": func(b *protobundle.VerificationMaterial) { b.TimestampVerificationData = nil },
	} {
		name := "key/" + strings.ReplaceAll(reason, " ", "-")
		b := parse(t, signed[0].Bundle)
		change(b.VerificationMaterial)
		attach(t, w.push(t, name), w.image.Index, b)
		if _, err := w.verify(t, name, w.image.Index, w.rule(forms[1], k)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// Fulcio refuses a token: nothing is attached, to no part of the image.
func TestRefusedToken(t *testing.T) {
	w := newWorld(t)
	stranger := *w.Issuer
	stranger.URL = "http://127.0.0.1:1"
	for name, c := range map[string]struct {
		token func() string
		want  any
	}{
		"expired": {func() string {
			return w.Issuer.Token(t, map[string]any{"email": alice, "email_verified": true, "exp": time.Now().Add(-time.Second).Unix()})
		}, new(*signing.TokenError)},
		"audience": {func() string {
			return w.Issuer.Token(t, map[string]any{"email": alice, "email_verified": true, "aud": "other"})
		}, new(*signing.ServiceError)},
		"issuer": {func() string { return stranger.Person(t, alice) }, new(*signing.ServiceError)},
		"forged": {func() string {
			return w.Other.Token(t, map[string]any{"iss": w.Issuer.URL, "email": alice, "email_verified": true})
		}, new(*signing.ServiceError)},
	} {
		t.Run(name, func(t *testing.T) {
			to := w.push(t, "token/"+name)
			token := ""
			s, err := signing.NewSigner(signing.SignerOptions{
				Token:    func(context.Context) (string, error) { token = c.token(); return token, nil },
				Services: signing.Services{Fulcio: w.Fulcio, Timestamps: []string{w.Timestamp}},
			})
			if err != nil {
				t.Fatal(err)
			}
			statements := w.subjects(t, "token/"+name)
			signed, err := s.Sign(t.Context(), to, statements...)
			if len(signed) > 0 || !errors.As(err, c.want) {
				t.Errorf("%d signed, %T: %v", len(signed), err, err)
			}
			if strings.Contains(err.Error(), token) {
				t.Error("the error holds the token")
			}
			for _, st := range statements {
				if found, err := w.open(t, "token/"+name).Referrers(t.Context(), st.Subject, ""); err != nil || len(found) > 0 {
					t.Errorf("%d are attached, %v", len(found), err)
				}
			}
		})
	}
}
