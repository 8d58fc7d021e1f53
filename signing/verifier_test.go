package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// shelf is a repository in memory.
type shelf struct {
	blobs     map[digest.Digest][]byte
	referrers []ocispec.Descriptor
	fetched   int   // how often something was fetched
	err       error // of Referrers
	broken    map[digest.Digest]error
}

func newShelf() *shelf {
	return &shelf{blobs: map[digest.Digest][]byte{}, broken: map[digest.Digest]error{}}
}

func (s *shelf) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	s.fetched++
	if err := s.broken[d.Digest]; err != nil {
		return nil, err
	}
	b, ok := s.blobs[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", d.Digest, registry.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *shelf) Referrers(context.Context, ocispec.Descriptor, string) ([]ocispec.Descriptor, error) {
	return s.referrers, s.err
}

func (s *shelf) put(mediaType string, b []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	s.blobs[d.Digest] = b
	return d
}

// hang attaches a bundle as attach does.
func (s *shelf) hang(about ocispec.Descriptor, predicateType string, bundle []byte) *shelf {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: MediaTypeBundle,
		Config: plainEmpty(), Layers: []ocispec.Descriptor{s.put(MediaTypeBundle, bundle)}, Subject: &about,
		Annotations: map[string]string{annotationContent: contentDSSE, annotationPredicate: predicateType},
	}
	d := s.put(ocispec.MediaTypeImageManifest, must(json.Marshal(m)))
	d.ArtifactType, d.Annotations = MediaTypeBundle, m.Annotations
	s.referrers = append(s.referrers, d)
	return s
}

// theIndex is the subject of these tests.
var theIndex = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString("index"), Size: 5}

const (
	theRef    = "registry.example/org/esxi:8.0"
	thePlace  = "registry.example/org/esxi"
	theName   = "https://github.com/org/repo/.github/workflows/image.yml@refs/heads/main"
	theIssuer = "https://token.actions.githubusercontent.com"
)

var theCI = CIClaims{
	Repository: "https://github.com/org/repo", Workflow: theName, Ref: "refs/heads/main", Trigger: "push",
}

// someone is whom the tests trust.
func someone() who { return who{name: theName, issuer: theIssuer, ci: theCI} }

// theIdentity trusts someone, with a log entry.
func theIdentity() Authority {
	return Authority{Identity: &Identity{Subject: theName, Issuer: theIssuer}, Log: true}
}

var theClaims = Claims{Repository: thePlace, Version: "8.0.2", Build: "22380479", Role: RoleIndex}

// says is the statement that a signature makes of a subject.
func says(d ocispec.Descriptor, c Claims, kind string) []byte {
	return must(newStatement(d, c, kind, json.RawMessage("{}")))
}

func signed(c Claims) []byte { return says(theIndex, c, PredicateSignature) }

func (s *shelf) subject() artifact.Subject {
	return artifact.Subject{Ref: theRef, Target: s, Descriptor: theIndex}
}

// verify asks a rule about what hangs on the index.
func (s *shelf) verify(tb testing.TB, r Rule, trust Trust) (*artifact.Verification, error) {
	tb.Helper()
	v, err := NewVerifier(r, trust)
	if err != nil {
		tb.Fatal(err)
	}
	return artifact.Verify(tb.Context(), v, s.subject())
}

func only(b []byte) *shelf { return newShelf().hang(theIndex, PredicateSignature, b) }

func publicKey(p *parts) *PublicKey { return must(newPublicKey(&p.key.PublicKey)) }

func TestAccepted(t *testing.T) {
	i := newInstance(t)
	now := time.Now()
	byKey := i.signs(who{}, signed(theClaims))
	key := publicKey(byKey)
	for name, c := range map[string]struct {
		bundle    *parts
		authority Authority
		trust     Trust
		checked   string
		source    string
		index     int64
	}{
		"key": {byKey, Authority{Key: key}, nil, "signature key", "", -1},
		"key, with a log entry": {
			i.signs(who{key: byKey.key}, signed(theClaims)).logged(i), Authority{Key: key, Log: true}, i, "signature key log", "", 1,
		},
		"key, with a log entry that nobody asks for": {
			i.signs(who{key: byKey.key}, signed(theClaims)).logged(i), Authority{Key: key}, i, "signature key", "", -1,
		},
		"key, with a time stamp": {
			i.signs(who{key: byKey.key}, signed(theClaims)).stamped(i, now), Authority{Key: key, Timestamp: true}, i, "signature key timestamp", "time stamp authority", -1,
		},
		"identity, log and time stamp": {
			i.signs(someone(), signed(theClaims)).logged(i).stamped(i, now), theIdentity(), i, "signature certificate sct time identity log", "time stamp authority", 1,
		},
		"identity, all that can be asked for": {
			i.signs(someone(), signed(theClaims)).logged(i).stamped(i, now),
			Authority{Identity: &Identity{SubjectPattern: "https://github.com/org/.*", IssuerPattern: `https://token\..*`, CI: theCI}, Log: true, Timestamp: true},
			i,
			"signature certificate sct time identity ci log timestamp", "time stamp authority", 1,
		},
		"identity, time stamp only": {
			i.signs(someone(), signed(theClaims)).stamped(i, now), Authority{Identity: theIdentity().Identity}, i, "signature certificate sct time identity", "time stamp authority", -1,
		},
		"identity, log that gives times": {
			i.signs(someone(), signed(theClaims)).loggedOld(i, now), theIdentity(), i, "signature certificate sct time identity log", "log", 0,
		},
		"a year-old certificate": {
			i.signs(who{name: theName, issuer: theIssuer, at: now.AddDate(0, -11, 0)}, signed(theClaims)).logged(i).stamped(i, now.AddDate(0, -11, 0).Add(time.Minute)),
			theIdentity(), i, "signature certificate sct time identity log", "time stamp authority", 1,
		},
		"an authority's own trust root": {
			i.signs(someone(), signed(theClaims)).logged(i).stamped(i, now),
			Authority{Identity: theIdentity().Identity, Log: true, Trust: i},
			newInstance(t), "signature certificate sct time identity log", "time stamp authority", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := only(c.bundle.json()).verify(t, Rule{Name: "rule", AnyOf: []Authority{c.authority}}, c.trust)
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Signers) != 1 || v.Policy != "rule" || v.Skipped || v.Digest != theIndex.Digest.String() {
				t.Fatalf("%+v", v)
			}
			s := v.Signers[0]
			if c.authority.Key != nil && (s.Key != key.Fingerprint() || s.Identity != "") || c.authority.Identity != nil && (s.Identity != theName || s.Issuer != theIssuer || s.Key != "") {
				t.Errorf("signed by %+v", s)
			}
			if got := strings.Join(s.Checked, " "); got != c.checked+" role" {
				t.Errorf("checked %q", got)
			}
			if s.TimeSource != c.source || (s.Time != nil) != (c.source != "") {
				t.Errorf("at %v, says %q", s.Time, s.TimeSource)
			}
			if (s.LogIndex != nil) != (c.index >= 0) || s.LogIndex != nil && *s.LogIndex != c.index {
				t.Errorf("log index %v", s.LogIndex)
			}
			if s.Claims == nil || *s.Claims != (artifact.Claims{Repository: thePlace, Version: "8.0.2", Build: "22380479", Role: "index"}) {
				t.Errorf("claims %+v", s.Claims)
			}
		})
	}
}

// TestRefused is about signatures of which one thing is wrong each.
func TestRefused(t *testing.T) {
	i, stranger := newInstance(t), newInstance(t)
	now := time.Now()
	byKey := i.signs(who{}, signed(theClaims))
	keyed := Authority{Key: publicKey(byKey)}
	full := func(w who, payload []byte) *parts { return i.signs(w, payload).logged(i).stamped(i, now) }
	other := full(someone(), signed(theClaims))
	with := func(change func(*who)) who {
		w := someone()
		change(&w)
		return w
	}
	pattern := func(subject, issuer string) Authority {
		return Authority{Identity: &Identity{SubjectPattern: subject, IssuerPattern: issuer}, Log: true}
	}
	ci := func(c CIClaims) Authority {
		return Authority{Identity: &Identity{Subject: theName, Issuer: theIssuer, CI: c}, Log: true}
	}
	from := func(p *parts, change func(p *parts)) []byte {
		change(p)
		return p.json()
	}
	for name, c := range map[string]struct {
		bundle    []byte
		authority Authority
		want      string
	}{
		"another key":          {i.signs(who{}, signed(theClaims)).json(), keyed, "it was signed with another key"},
		"another key, hidden":  {from(i.signs(who{}, signed(theClaims)), func(p *parts) { p.bundle.VerificationMaterial = byKey.bundle.VerificationMaterial }), keyed, "its signature is wrong"},
		"changed statement":    {from(i.signs(who{key: byKey.key}, signed(Claims{})), func(p *parts) { p.bundle.GetDsseEnvelope().Payload = signed(theClaims) }), keyed, "its signature is wrong"},
		"identity for a key":   {full(someone(), signed(theClaims)).json(), keyed, fmt.Sprintf("it was signed with a certificate of %q, not with a key", theName)},
		"key for an identity":  {byKey.json(), theIdentity(), "it was signed with a key, not with a certificate"},
		"wrong identity":       {full(with(func(w *who) { w.name = "https://github.com/evil/repo" }), signed(theClaims)).json(), theIdentity(), `its certificate is for "https://github.com/evil/repo", not for "` + theName + `"`},
		"wrong issuer":         {full(with(func(w *who) { w.issuer = "https://evil.example" }), signed(theClaims)).json(), theIdentity(), `was vouched for by "https://evil.example", not by "` + theIssuer + `"`},
		"wrong CI repository":  {full(someone(), signed(theClaims)).json(), ci(CIClaims{Repository: "https://github.com/org/other"}), `the CI's repository is "https://github.com/org/repo", not "https://github.com/org/other"`},
		"wrong CI workflow":    {full(someone(), signed(theClaims)).json(), ci(CIClaims{Workflow: "other"}), "the CI's workflow is"},
		"wrong CI ref":         {full(someone(), signed(theClaims)).json(), ci(CIClaims{Ref: "refs/heads/release"}), `the CI's ref is "refs/heads/main", not "refs/heads/release"`},
		"wrong CI trigger":     {full(someone(), signed(theClaims)).json(), ci(CIClaims{Trigger: "workflow_dispatch"}), `the CI's trigger is "push"`},
		"no CI claims":         {full(with(func(w *who) { w.ci = CIClaims{} }), signed(theClaims)).json(), ci(theCI), `the CI's repository is "", not`},
		"pattern, unanchored":  {full(with(func(w *who) { w.name = "https://github.com/org/repo-evil" }), signed(theClaims)).json(), pattern("https://github.com/org/repo", ".*"), `not for what all of "https://github.com/org/repo" matches`},
		"pattern, in front":    {full(with(func(w *who) { w.name = "https://evil.example/https://github.com/org/repo" }), signed(theClaims)).json(), pattern("https://github.com/org/repo", ".*"), "its certificate is for"},
		"pattern, alternative": {full(with(func(w *who) { w.name = "https://github.com/org/repo-evil" }), signed(theClaims)).json(), pattern("https://github.com/org/repo|x", ".*"), "its certificate is for"},
		"issuer, unanchored":   {full(with(func(w *who) { w.issuer = theIssuer + ".evil.example" }), signed(theClaims)).json(), pattern(".*", theIssuer), "was vouched for by"},

		"certificate expired when signed": {i.signs(with(func(w *who) { w.at = now.Add(-time.Hour) }), signed(theClaims)).logged(i).stamped(i, now).json(), theIdentity(), "its certificate was not valid when it was signed"},
		"certificate later than signed":   {i.signs(with(func(w *who) { w.at = now.Add(time.Hour) }), signed(theClaims)).logged(i).stamped(i, now).json(), theIdentity(), "its certificate was not valid when it was signed"},
		"expired when logged":             {i.signs(with(func(w *who) { w.at = now.Add(-time.Hour) }), signed(theClaims)).loggedOld(i, now).json(), theIdentity(), "log"},
		"from the future":                 {i.signs(with(func(w *who) { w.at = now.Add(48 * time.Hour) }), signed(theClaims)).logged(i).stamped(i, now.Add(48*time.Hour+time.Minute)).json(), theIdentity(), "and this host's clock says that it is " + now.UTC().Format("2006-01-02T")},
		"another CA":                      {stranger.signs(someone(), signed(theClaims)).logged(i).stamped(i, now).json(), theIdentity(), "is not from a certificate authority that is trusted"},
		"another CT log":                  {strangeLog(i, stranger, now), theIdentity(), "its certificate is in no certificate transparency log that is trusted"},

		"log entry dropped": {i.signs(someone(), signed(theClaims)).stamped(i, now).json(), theIdentity(), "it has no log entry, and the policy wants one"},
		"log entry of another": {from(full(someone(), signed(theClaims)), func(p *parts) {
			p.bundle.VerificationMaterial.TlogEntries = other.bundle.VerificationMaterial.TlogEntries
		}), theIdentity(), "its log entry is not one of this signature"},
		"log entry moved":          {from(full(someone(), signed(theClaims)), func(p *parts) { p.bundle.VerificationMaterial.TlogEntries[0].LogIndex = 0 }), theIdentity(), "its log entry is not one of this signature"},
		"log entry in another log": {i.signs(someone(), signed(theClaims)).logged(stranger).stamped(i, now).json(), theIdentity(), "its log entry is not one of this signature"},
		"old log entry of another": {from(i.signs(someone(), signed(theClaims)).loggedOld(i, now), func(p *parts) {
			p.bundle.VerificationMaterial.TlogEntries = i.signs(someone(), signed(theClaims)).loggedOld(i, now).bundle.VerificationMaterial.TlogEntries
		}), theIdentity(), "its log entry is not one of this signature"},
		"old log entry's time changed": {from(i.signs(someone(), signed(theClaims)).loggedOld(i, now), func(p *parts) { p.bundle.VerificationMaterial.TlogEntries[0].IntegratedTime++ }), theIdentity(), "its log entry is not one of this signature"},
		"time stamp dropped":           {i.signs(someone(), signed(theClaims)).logged(i).json(), theIdentity(), "it has no time stamp, and nothing else proves when it was signed"},
		"time stamp of another": {from(full(someone(), signed(theClaims)), func(p *parts) {
			p.bundle.VerificationMaterial.TimestampVerificationData = other.bundle.VerificationMaterial.TimestampVerificationData
		}), theIdentity(), "its time stamp is not one of this signature"},
		"time stamp by another":  {i.signs(someone(), signed(theClaims)).logged(i).stamped(stranger, now).json(), theIdentity(), "its time stamp is not one of this signature"},
		"time stamp is wanted":   {i.signs(someone(), signed(theClaims)).loggedOld(i, now).json(), Authority{Identity: theIdentity().Identity, Log: true, Timestamp: true}, "it has no time stamp, and the policy wants one"},
		"key without time stamp": {byKey.json(), Authority{Key: keyed.Key, Timestamp: true}, "it has no time stamp, and the policy wants one"},
		"key without log entry":  {byKey.json(), Authority{Key: keyed.Key, Log: true}, "it has no log entry, and the policy wants one"},
		"key, stamp by another":  {i.signs(who{key: byKey.key}, signed(theClaims)).stamped(stranger, now).json(), Authority{Key: keyed.Key, Timestamp: true}, "its time stamp is not one of this signature"},
		"key, from the future":   {i.signs(who{key: byKey.key}, signed(theClaims)).stamped(i, now.Add(time.Hour)).json(), Authority{Key: keyed.Key, Timestamp: true}, "set the clock"},

		"another subject":        {i.signs(who{key: byKey.key}, says(ocispec.Descriptor{Digest: digest.FromString("x")}, theClaims, PredicateSignature)).json(), keyed, "it is about another subject"},
		"another's, identity":    {full(someone(), says(ocispec.Descriptor{Digest: digest.FromString("x")}, theClaims, PredicateSignature)).json(), theIdentity(), "it is about another subject"},
		"an SBOM":                {i.signs(who{key: byKey.key}, says(theIndex, theClaims, PredicateSPDX)).json(), keyed, "it is an attestation of an SBOM, not a statement of the type " + PredicateSignature},
		"provenance":             {full(someone(), says(theIndex, theClaims, PredicateProvenance)).json(), theIdentity(), "it is an attestation of provenance"},
		"another part":           {i.signs(who{key: byKey.key}, signed(Claims{Role: RoleManifest})).json(), keyed, `it was made for another part of an image ("manifest"), and this is one's index`},
		"not in-toto":            {otherPayload(i, byKey), keyed, "its signature is wrong"},
		"not a statement":        {i.signs(who{key: byKey.key}, []byte(`{"_type":"x"}`)).json(), keyed, "it is about another subject"},
		"statement of version 2": {i.signs(who{key: byKey.key}, bytes.Replace(signed(theClaims), []byte("Statement/v1"), []byte("Statement/v2"), 1)).json(), keyed, "the statement's type is"},
		"not JSON":               {[]byte("{"), keyed, "is no Sigstore bundle"},
		"empty":                  {nil, keyed, "is no Sigstore bundle"},
		"a message's signature":  {[]byte(`{"mediaType":"` + MediaTypeBundle + `","verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"` + b64(make([]byte, 32)) + `"},"signature":"AAAA"}}`), keyed, "it is not a signature of a statement"},
		"10 MiB":                 {bytes.Repeat([]byte(" "), 10<<20), keyed, "10485760 bytes are over the limit of 4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := only(c.bundle).verify(t, Rule{AnyOf: []Authority{c.authority}}, i)
			var refused *artifact.VerificationError
			if v != nil || !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v\nwant %q", v, err, c.want)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

// strangeLog is a bundle whose certificate is in a CT log that nobody knows.
func strangeLog(i, stranger *instance, now time.Time) []byte {
	odd := *i
	odd.ctLog = stranger.ctLog
	return odd.signs(someone(), signed(theClaims)).logged(i).stamped(i, now).json()
}

// otherPayload is a bundle whose payload is said to be something else.
func otherPayload(i *instance, byKey *parts) []byte {
	p := i.signs(who{key: byKey.key}, signed(theClaims))
	p.bundle.GetDsseEnvelope().PayloadType = "text/plain"
	return p.json()
}

func TestWhatHangsThere(t *testing.T) {
	i := newInstance(t)
	byKey := i.signs(who{}, signed(theClaims))
	good, rule := byKey.json(), Rule{AnyOf: []Authority{{Key: publicKey(byKey)}}}
	bad := func(n int) []byte {
		return append(i.signs(who{}, signed(theClaims)).json(), bytes.Repeat([]byte(" "), n)...)
	}
	sbom := i.signs(who{key: byKey.key}, says(theIndex, Claims{}, PredicateSPDX)).json()
	unavailable := &registry.Error{Op: "fetch", Ref: "x", Status: 503}
	hang := func(bundles ...[]byte) *shelf {
		s := newShelf()
		for _, b := range bundles {
			s.hang(theIndex, PredicateSignature, b)
		}
		return s
	}
	var many [][]byte
	for n := range MaxBundles + 50 {
		many = append(many, bad(n))
	}
	type outcome int
	const (
		taken outcome = iota
		refused
		undecided
	)
	for name, c := range map[string]struct {
		shelf func() *shelf
		want  outcome
		text  string
	}{
		"nothing":               {newShelf, refused, "it has no signature"},
		"one":                   {func() *shelf { return hang(good) }, taken, ""},
		"a bad one before it":   {func() *shelf { return hang(bad(0), good) }, taken, ""},
		"a bad one after it":    {func() *shelf { return hang(good, bad(0)) }, taken, ""},
		"two bad ones":          {func() *shelf { return hang(bad(0), bad(1)) }, refused, "none of its 2 bundles counts as a signature"},
		"an SBOM that poses":    {func() *shelf { return hang(sbom) }, refused, "it is an attestation of an SBOM"},
		"an SBOM beside it":     {func() *shelf { return hang(sbom, good) }, taken, ""},
		"too many":              {func() *shelf { return hang(append(slices.Clone(many), good)...) }, refused, "51 were not looked at, the limits are 100 bundles and 64 MiB"},
		"many others before it": {func() *shelf { return relabel(hang(append(slices.Clone(many), good)...), len(many)) }, taken, ""},
		"too large together":    {func() *shelf { return hang(large(20)...) }, refused, "4 were not looked at"},
		"a list too long": {func() *shelf {
			s := hang(good)
			s.err = &registry.LimitError{What: "number of referrers", Limit: 2000}
			return s
		}, refused, "number of referrers: over the limit of 2000"},
		"no list":          {func() *shelf { s := hang(good); s.err = unavailable; return s }, undecided, "503"},
		"one that is gone": {func() *shelf { s := hang(good); clear(s.blobs); return s }, refused, "not found"},
		"one that is gone and another": {func() *shelf {
			s := hang(bad(0), good)
			delete(s.blobs, s.referrers[0].Digest)
			return s
		}, taken, ""},
		"one that fails": {func() *shelf { s := hang(good); s.broken[s.referrers[0].Digest] = unavailable; return s }, undecided, "503"},
		"one that fails and another": {func() *shelf {
			s := hang(bad(0), good)
			s.broken[s.referrers[0].Digest] = unavailable
			return s
		}, taken, ""},
		"one that fails and a bad one": {func() *shelf {
			s := hang(bad(0), bad(1))
			s.broken[s.referrers[0].Digest] = unavailable
			return s
		}, undecided, "503"},
		"a manifest of another subject": {func() *shelf {
			return newShelf().hang(ocispec.Descriptor{MediaType: theIndex.MediaType, Digest: digest.FromString("x"), Size: 1}, PredicateSignature, good)
		}, refused, "its manifest is about another subject"},
		"a manifest that is none": {func() *shelf { return manifestOf([]byte("[]")) }, refused, "its manifest is not JSON"},
		"another artifact":        {func() *shelf { return manifestOf([]byte(`{"layers":[{"mediaType":"text/plain"}]}`)) }, refused, "it has no signature"},
		"other bytes": {func() *shelf {
			s := hang(good)
			d := s.referrers[0].Digest
			s.blobs[d] = bytes.Replace(s.blobs[d], []byte("sign/v1"), []byte("sign/v2"), 1)
			return s
		}, refused, "other bytes than its digest"},
		"without type and annotations": {func() *shelf {
			s := hang(good)
			s.referrers[0].ArtifactType, s.referrers[0].Annotations = "", nil
			return s
		}, taken, ""},
		"with the config's type": {func() *shelf {
			s := hang(good)
			s.referrers[0].ArtifactType, s.referrers[0].Annotations = ocispec.MediaTypeEmptyJSON, nil
			return s
		}, taken, ""},
		"with another type": {func() *shelf {
			s := hang(good)
			s.referrers[0].ArtifactType = "application/vnd.example"
			return s
		}, refused, "it has no signature"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := c.shelf().verify(t, rule, nil)
			var no *artifact.VerificationError
			var open *artifact.UndecidedError
			got := taken
			switch {
			case errors.As(err, &no):
				got = refused
			case errors.As(err, &open):
				got = undecided
			case err != nil:
				t.Fatal(err)
			}
			if got != c.want || (v != nil) != (got == taken) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%+v, %v\nwant %q", v, err, c.text)
			}
		})
	}
}

// relabel says of the first n that they are something else.
func relabel(s *shelf, n int) *shelf {
	for i := range s.referrers[:n] {
		s.referrers[i].Annotations = map[string]string{annotationPredicate: PredicateSPDX}
	}
	return s
}

// large are n bundles of some 4 MiB each that are none.
func large(n int) [][]byte {
	var out [][]byte
	for i := range n {
		out = append(out, bytes.Repeat([]byte{'a' + byte(i)}, MaxBundle))
	}
	return out
}

func manifestOf(b []byte) *shelf {
	s := newShelf()
	d := s.put(ocispec.MediaTypeImageManifest, b)
	d.ArtifactType = MediaTypeBundle
	s.referrers = append(s.referrers, d)
	return s
}

func TestMatch(t *testing.T) {
	i := newInstance(t)
	byKey := i.signs(who{}, nil)
	rule := Rule{AnyOf: []Authority{{Key: publicKey(byKey)}}}
	with := func(change func(*Claims)) Claims {
		c := theClaims
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		claims  Claims
		match   Match
		want    string // of the refusal
		checked string
	}{
		"nothing is asked for":    {Claims{}, Match{}, "", "signature key"},
		"all that can be":         {theClaims, Match{SameRepository: true, MinBuild: 22380479, Release: "8.0.2"}, "", "signature key role repository release build"},
		"its beginning":           {theClaims, Match{Release: "8.0"}, "", "signature key role release"},
		"a later build":           {theClaims, Match{MinBuild: 20000000}, "", "signature key role build"},
		"another way to write":    {with(func(c *Claims) { c.Repository = "Registry.Example:443/org/esxi" }), Match{SameRepository: true}, "", "signature key role repository"},
		"an older build":          {with(func(c *Claims) { c.Build = "9999999" }), Match{MinBuild: 22380479}, "it is for the build 9999999, which is older than the 22380479", ""},
		"no build":                {Claims{}, Match{MinBuild: 1}, "it does not say for which build it is", ""},
		"a build that is none":    {with(func(c *Claims) { c.Build = "-1" }), Match{MinBuild: 1}, "it does not say for which build it is", ""},
		"hexadecimal":             {with(func(c *Claims) { c.Build = "0xffffffff" }), Match{MinBuild: 1}, "it does not say for which build it is", ""},
		"a huge build":            {with(func(c *Claims) { c.Build = strings.Repeat("9", 40) }), Match{MinBuild: 1}, "it does not say for which build it is", ""},
		"another release":         {theClaims, Match{Release: "9.0"}, `it is for the release "8.0.2", and the policy wants 9.0`, ""},
		"no border":               {with(func(c *Claims) { c.Version = "8.0.20" }), Match{Release: "8.0.2"}, "it is for the release", ""},
		"another repository":      {with(func(c *Claims) { c.Repository = "registry.example/org/other" }), Match{SameRepository: true}, `it was made for the repository "registry.example/org/other", and the image lies in registry.example/org/esxi`, ""},
		"the same with a tag":     {with(func(c *Claims) { c.Repository = theRef }), Match{SameRepository: true}, "it was made for the repository", ""},
		"a bare cosign signature": {Claims{}, Match{SameRepository: true}, "it does not say for which repository it was made", ""},
	} {
		t.Run(name, func(t *testing.T) {
			rule.Match = c.match
			v, err := only(i.signs(who{key: byKey.key}, signed(c.claims)).json()).verify(t, rule, nil)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%+v, %v\nwant %q", v, err, c.want)
				}
				return
			}
			if err != nil || strings.Join(v.Signers[0].Checked, " ") != c.checked {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
	t.Run("in a layout", func(t *testing.T) {
		rule.Match = Match{SameRepository: true}
		s := only(i.signs(who{key: byKey.key}, signed(theClaims)).json()).subject()
		s.Ref = "oci:dir:8.0"
		if _, err := must(NewVerifier(rule, nil)).Verify(t.Context(), s); err == nil || !strings.Contains(err.Error(), "lies in oci:") {
			t.Error(err)
		}
	})
}

// TestTwoSubjects: what is said of another subject in the same statement says
// nothing of this one.
func TestTwoSubjects(t *testing.T) {
	i := newInstance(t)
	digestOf := func(d ocispec.Descriptor) map[string]string { return map[string]string{"sha256": d.Digest.Encoded()} }
	other, old := theClaims, theClaims
	old.Build = "1"
	payload := must(json.Marshal(statement{
		Type: statementType, PredicateType: PredicateSignature, Predicate: json.RawMessage("{}"),
		Subject: []statementSubject{
			{Digest: digestOf(ocispec.Descriptor{Digest: digest.FromString("x")}), Annotations: other.annotations()},
			{Digest: digestOf(theIndex), Annotations: old.annotations()},
		},
	}))
	p := i.signs(who{}, payload)
	rule := Rule{AnyOf: []Authority{{Key: publicKey(p)}}}
	v, err := only(p.json()).verify(t, rule, nil)
	if err != nil || v.Signers[0].Claims.Build != "1" {
		t.Errorf("%+v, %v", v, err)
	}
	rule.Match.MinBuild = 2
	if v, err := only(p.json()).verify(t, rule, nil); err == nil {
		t.Errorf("%+v", v)
	}
}

func TestAttestations(t *testing.T) {
	i := newInstance(t)
	byKey := i.signs(who{}, signed(theClaims))
	rule := Rule{AnyOf: []Authority{{Key: publicKey(byKey)}}, Attestations: []string{PredicateSPDX}, Match: Match{MinBuild: 1}}
	attested := func(p *parts, kind string) *shelf {
		return only(byKey.json()).hang(theIndex, kind, p.json())
	}
	mine := func(kind string) *parts { return i.signs(who{key: byKey.key}, says(theIndex, Claims{}, kind)) }
	v, err := attested(mine(PredicateSPDX), PredicateSPDX).verify(t, rule, nil)
	if err != nil || len(v.Attestations) != 1 || v.Attestations[0].PredicateType != PredicateSPDX || v.Attestations[0].Signer.Key == "" {
		t.Errorf("%+v, %v", v, err)
	}
	for name, c := range map[string]struct {
		shelf *shelf
		want  string
	}{
		"none":          {only(byKey.json()), "its one bundle does not count as an attestation of the type " + PredicateSPDX},
		"another":       {attested(mine(PredicateProvenance), PredicateProvenance), "none of its 2 bundles counts as an attestation of the type"},
		"by a stranger": {attested(i.signs(who{}, says(theIndex, Claims{}, PredicateSPDX)), PredicateSPDX), "signed with another key"},
		"no signature":  {newShelf().hang(theIndex, PredicateSPDX, mine(PredicateSPDX).json()), "its one bundle does not count as a signature"},
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := c.shelf.verify(t, rule, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v\nwant %q", v, err, c.want)
			}
		})
	}
}
