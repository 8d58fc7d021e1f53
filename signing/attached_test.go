package signing

import (
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
)

// TestAttached finds what is of the type and about the subject among what is
// not, and takes nothing else for it.
func TestAttached(t *testing.T) {
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("subject"), Size: 7}
	about := func(d digest.Digest, kind, predicate string) string {
		return fmt.Sprintf(`{"_type": %q, "subject": [{"digest": {"sha256": %q}}], "predicateType": %q, "predicate": %s}`, statementType, d.Encoded(), kind, predicate)
	}
	s := newShelf()
	find := func() (string, digest.Digest, error) {
		text, from, err := Attached(t.Context(), artifact.Subject{Target: s, Descriptor: subject}, PredicateSPDX)
		return string(text), from, err
	}
	if _, _, err := find(); !errors.Is(err, ErrNotAttached) {
		t.Errorf("nothing is attached: %v", err)
	}
	for _, text := range []string{
		"nonsense", bundleOf("nonsense", ""), bundleOf(about(digest.FromString("another"), PredicateSPDX, `{"of": "another"}`), ""),
		bundleOf(about(subject.Digest, PredicateSignature, `{"is": "a signature"}`), ""), bundleOf(about(subject.Digest, PredicateSPDX, `["a list"]`), ""),
	} {
		hang(s, subject, text)
	}
	if text, _, err := find(); !errors.Is(err, ErrNotAttached) {
		t.Errorf("took %s for an SBOM: %v", text, err)
	}
	hang(s, subject, bundleOf(about(subject.Digest, PredicateSPDX, `{"spdxVersion": "SPDX-2.3"}`), ""))
	text, from, err := find()
	if err != nil || text != `{"spdxVersion": "SPDX-2.3"}` || from != s.referrers[len(s.referrers)-1].Digest {
		t.Errorf("got %s of %s: %v", text, from, err)
	}
}
