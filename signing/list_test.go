package signing

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
)

// bundleOf is a bundle that nobody signed.
func bundleOf(payload, extra string) string {
	return `{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"publicKey": {"hint": "k"}` + extra +
		`}, "dsseEnvelope": {"payload": "` + b64([]byte(payload)) + `", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "AAAA"}]}}`
}

// hang attaches a text as if it were a bundle.
func hang(s *shelf, subject ocispec.Descriptor, text string) {
	layer := s.put(MediaTypeBundle, []byte(text))
	m, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: MediaTypeBundle,
		Config: s.put(ocispec.MediaTypeEmptyJSON, []byte("{}")), Layers: []ocispec.Descriptor{layer}, Subject: &subject,
	})
	if err != nil {
		panic(err) // of our own making
	}
	d := s.put(ocispec.MediaTypeImageManifest, m)
	d.ArtifactType = MediaTypeBundle
	s.referrers = append(s.referrers, d)
}

// TestListProblems names what is wrong with what cannot be read, and goes on.
func TestListProblems(t *testing.T) {
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("subject"), Size: 7}
	about := func(d digest.Digest, kind string) string {
		return fmt.Sprintf(`{"_type": %q, "subject": [{"digest": {"sha256": %q}}], "predicateType": %q, "predicate": {}}`, statementType, d.Encoded(), kind)
	}
	s := newShelf()
	for _, text := range []string{
		"nonsense", bundleOf("nonsense", ""), bundleOf(about(digest.FromString("another"), PredicateSPDX), ""),
		bundleOf(about(subject.Digest, PredicateSignature), ""),
		bundleOf(about(subject.Digest, strings.Repeat("long", 1000)), ""),
	} {
		hang(s, subject, text)
	}
	got, err := List(t.Context(), artifact.Subject{Target: s, Descriptor: subject})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"is no Sigstore bundle", "its statement is not JSON", "it is about another subject", "", ""}
	if len(got.Bundles) != len(want) {
		t.Fatalf("listed %+v", got)
	}
	for i, w := range want {
		if p := got.Bundles[i].Problem; !strings.Contains(p, w) || (w == "") != (p == "") {
			t.Errorf("%d: problem %q, want %q", i, p, w)
		}
	}
	if n := len(got.Bundles[4].PredicateType); n > 1024 {
		t.Errorf("a text of %d bytes is shown", n)
	}

	// A registry that fails is no answer, and neither is its silence.
	s.err = errors.New("down")
	var undecided *artifact.UndecidedError
	if _, err := List(t.Context(), artifact.Subject{Target: s, Descriptor: subject}); !errors.As(err, &undecided) {
		t.Errorf("got %v", err)
	}
	s.err = nil
	s.broken[s.referrers[0].Digest] = errors.New("down")
	if _, err := List(t.Context(), artifact.Subject{Target: s, Descriptor: subject}); !errors.As(err, &undecided) {
		t.Errorf("got %v", err)
	}
}

// TestListLimit looks at so many bundles and counts the rest.
func TestListLimit(t *testing.T) {
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("subject"), Size: 7}
	s := newShelf()
	for i := range MaxBundles + 5 {
		hang(s, subject, fmt.Sprint(i))
	}
	got, err := List(t.Context(), artifact.Subject{Target: s, Descriptor: subject})
	if err != nil || len(got.Bundles) != MaxBundles || got.More != 5 {
		t.Errorf("listed %d and %d more, %v", len(got.Bundles), got.More, err)
	}
	if most := 2 * MaxBundles; s.fetched > most {
		t.Errorf("%d were fetched, over %d", s.fetched, most)
	}
}

// TestListTime shows no time that JSON cannot write.
func TestListTime(t *testing.T) {
	for seconds, shown := range map[string]bool{"0": false, "1700000000": true, "253402300800": false, "9223372036854775807": false} {
		text := bundleOf("{}", `, "tlogEntries": [{"logIndex": "7", "integratedTime": "`+seconds+`", "logId": {"keyId": "AAAA"},
			"kindVersion": {"kind": "dsse", "version": "0.0.1"}, "canonicalizedBody": "`+b64([]byte(dsseBody))+`",
			"inclusionPromise": {"signedEntryTimestamp": "AAAA"},
			"inclusionProof": {"logIndex": "7", "treeSize": "8", "rootHash": "AAAA", "hashes": ["AAAA"], "checkpoint": {"envelope": "x"}}}]`)
		b, err := parseBundle([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var l Listed
		l.read(b, digest.FromString("x"))
		if (l.Time != nil) != shown || l.LogIndex == nil || *l.LogIndex != 7 {
			t.Errorf("%s seconds: %v, index %v", seconds, l.Time, l.LogIndex)
		}
		if _, err := json.Marshal(l); err != nil {
			t.Error(err)
		}
		if l.Time != nil && !l.Time.Equal(time.Unix(1700000000, 0)) {
			t.Errorf("time is %s", l.Time)
		}
	}
}

// dsseBody is a log entry of a DSSE envelope.
const dsseBody = `{"apiVersion": "0.0.1", "kind": "dsse", "spec": {"envelopeHash": {"algorithm": "sha256", "value": "` +
	`e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, "payloadHash": {"algorithm": "sha256", "value": "` +
	`e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, "signatures": [{"signature": "AAAA", "verifier": "AAAA"}]}}`

// FuzzList reads what anybody may attach: it ends, and can be shown.
func FuzzList(f *testing.F) {
	f.Add([]byte(bundleOf("{}", "")))
	f.Add([]byte(bundleOf(`{"_type": "x", "subject": [{"annotations": {"io.github.esxi-img.build": "1"}}]}`, `, "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "MAMCAQA="}]}`)))
	f.Add([]byte(`{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"certificate": {"rawBytes": "MAA="}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBundle(data)
		if err != nil {
			return
		}
		var l Listed
		l.read(b, digest.FromString("x"))
		if _, err := json.Marshal(l); err != nil {
			t.Fatal(err)
		}
	})
}
