//go:build e2e && linux

package sigstoretest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/foreigntest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/signing"
)

// What we sign in each form, cosign and we verify: the index and each manifest
// in it.
func TestCosignVerifiesOurs(t *testing.T) {
	w, k := newWorld(t), newKeys(t)
	w.push(t, "first")
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // the log answers once a second
			name := "ours/" + f.name
			to := w.push(t, name)
			signed, err := w.signer(t, f, k).Sign(t.Context(), to, w.subjects(t, name)...)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range signed {
				if f.log != (s.LogIndex >= 0) || f.time == s.Time.IsZero() {
					t.Errorf("log index %d, time %s", s.LogIndex, s.Time)
				}
				v, err := w.verify(t, name, s.Subject, w.rule(f, k))
				if err != nil || len(v.Signers) != 1 {
					t.Errorf("ours: %+v, %v", v, err)
				}
				ref := w.host + "/" + name + "@" + s.Subject.Digest.String()
				w.mustCosign(t, with("verify", w.verifyArgs(f, k), "-a", "io.github.esxi-img.role="+string(s.Claims.Role), ref)...)
				if out, err := w.cosign(t, with("verify", w.verifyArgs(f, k), "-a", "io.github.esxi-img.role=other", ref)...); err == nil {
					t.Errorf("cosign takes another claim:\n%s", out)
				}
			}
			w.shown(t, name, w.image.Index, signing.PredicateSignature)
		})
	}
}

// shown holds that "cosign tree" and "oras discover" show a subject's bundles,
// whose predicates have the types.
func (w *world) shown(t *testing.T, name string, d ocispec.Descriptor, types ...string) {
	t.Helper()
	ref := w.host + "/" + name + "@" + d.Digest.String()
	tree := w.mustCosign(t, "tree", ref)
	for _, kind := range types {
		if !strings.Contains(tree, " "+kind+" artifacts via OCI referrer") {
			t.Errorf("cosign tree does not show %s:\n%s", kind, tree)
		}
	}
	cmd := exec.CommandContext(t.Context(), foreigntest.ORAS.Find(t), "discover", "--plain-http", "--format", "json", ref)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("oras discover: %v", err)
	}
	var found struct {
		Referrers []struct {
			ArtifactType string `json:"artifactType"`
		} `json:"referrers"`
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	bundles := 0
	for _, r := range found.Referrers {
		if r.ArtifactType == signing.MediaTypeBundle {
			bundles++
		}
	}
	if bundles != len(types) {
		t.Errorf("oras discover shows %d bundles, want %d:\n%s", bundles, len(types), out)
	}
}

// In a layout, too.
func TestCosignVerifiesLayout(t *testing.T) {
	w, k := newWorld(t), newKeys(t)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // the log answers once a second
			local, image := pack(t)
			layout, _ := local.Layout()
			signed, err := w.signer(t, f, k).Sign(t.Context(), local, w.subjects(t, "x")...)
			if err != nil {
				t.Fatal(err)
			}
			if err := signing.MarkForCosign(t.Context(), layout, image.Index.Digest); err != nil {
				t.Fatal(err)
			}
			w.mustCosign(t, with("verify", "--local-image", w.verifyArgs(f, k), layout.Dir())...)
			for _, s := range signed {
				if _, err := w.verifyWith(t, local, s.Subject, w.rule(f, k), w.trust); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What cosign signed and attested in each form, we verify.
func TestWeVerifyCosigns(t *testing.T) {
	w, k := newWorld(t), newKeys(t)
	predicate := filepath.Join(t.TempDir(), "spdx.json")
	if err := os.WriteFile(predicate, []byte(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.push(t, "first")
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // the log answers once a second
			name := "cosigns/" + f.name
			w.push(t, name)
			ref := w.host + "/" + name + "@" + w.image.Index.Digest.String()
			rule := w.rule(f, k)
			if _, err := w.verify(t, name, w.image.Index, rule); err == nil {
				t.Fatal("verified without a signature")
			}
			// An SBOM does not pass for a signature, though cosign takes it.
			w.mustCosign(t, with("attest", w.signArgs(t, f, k), "--type", "spdxjson", "--predicate", predicate, ref)...)
			if out, err := w.cosign(t, with("verify", w.verifyArgs(f, k), ref)...); err != nil {
				t.Logf("cosign learned to tell an SBOM from a signature: %v\n%s", err, out)
			}
			if _, err := w.verify(t, name, w.image.Index, rule); err == nil {
				t.Error("an SBOM passed for a signature")
			}
			// The index, and recursively the manifests in it.
			w.mustCosign(t, with("sign", w.signArgs(t, f, k), "--recursive", "-a", "build=1", ref)...)
			for _, s := range w.subjects(t, name) {
				v, err := w.verify(t, name, s.Subject, rule)
				if err != nil || len(v.Signers) != 1 {
					t.Errorf("%s: %+v, %v", s.Claims.Role, v, err)
				}
			}
			rule.Attestations = []string{signing.PredicateSPDX}
			if _, err := w.verify(t, name, w.image.Index, rule); err != nil {
				t.Error(err)
			}
			rule.Attestations = []string{signing.PredicateProvenance}
			if _, err := w.verify(t, name, w.image.Index, rule); err == nil {
				t.Error("an SBOM passed for a provenance")
			}
		})
	}
}

// What we attest, "cosign verify-attestation" verifies.
func TestCosignVerifiesAttestation(t *testing.T) {
	w, k := newWorld(t), newKeys(t)
	predicates := map[string]struct {
		kind      string
		predicate string
	}{
		"spdxjson":              {signing.PredicateSPDX, `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT"}`},
		"slsaprovenance1":       {signing.PredicateProvenance, `{"buildDefinition":{"buildType":"https://example.com/t","externalParameters":{}},"runDetails":{"builder":{"id":"https://example.com/b"}}}`},
		"https://example.com/x": {"https://example.com/x", `{"a":1}`},
	}
	w.push(t, "first")
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // the log answers once a second
			name := "attested/" + f.name
			to := w.push(t, name)
			ref := w.host + "/" + name + "@" + w.image.Index.Digest.String()
			var statements []signing.Statement
			var types []string
			for _, p := range predicates {
				types = append(types, p.kind)
				statements = append(statements, signing.Statement{Subject: w.image.Index, PredicateType: p.kind, Predicate: json.RawMessage(p.predicate)})
			}
			if _, err := w.signer(t, f, k).Sign(t.Context(), to, statements...); err != nil {
				t.Fatal(err)
			}
			for kind := range predicates {
				w.mustCosign(t, with("verify-attestation", w.verifyArgs(f, k), "--type", kind, ref)...)
			}
			if out, err := w.cosign(t, with("verify-attestation", w.verifyArgs(f, k), "--type", "vuln", ref)...); err == nil {
				t.Errorf("cosign takes any type:\n%s", out)
			}
			if _, err := w.verify(t, name, w.image.Index, w.rule(f, k)); err == nil {
				t.Error("attestations passed for a signature")
			}
			w.shown(t, name, w.image.Index, types...)
		})
	}
}

// cosign's key files are ours, and ours are cosign's.
func TestKeyFiles(t *testing.T) {
	w := newWorld(t)
	prefix := filepath.Join(t.TempDir(), "their")
	w.mustCosign(t, "generate-key-pair", "--output-key-prefix", prefix)
	text, err := os.ReadFile(prefix + ".key")
	if err != nil {
		t.Fatal(err)
	}
	private, err := signing.ParsePrivateKey(text, func() ([]byte, error) { return []byte(password), nil })
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(prefix + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := signing.ParsePublicKey(public)
	if err != nil || parsed.Fingerprint() != private.Public().Fingerprint() {
		t.Errorf("the public key is another one: %v", err)
	}
	ours := newKeys(t)
	if out := w.mustCosign(t, "public-key", "--key", ours.privateFile); !strings.Contains(out, string(ours.private.Public().PEM())) {
		t.Errorf("cosign reads another key from our file:\n%s", out)
	}
}

// cosign's bundles travel in "cosign save", "oras cp -r" and our layouts.
func TestCopiedSignatures(t *testing.T) {
	w, k := newWorld(t), newKeys(t)
	f := forms[2]
	w.push(t, "moved/from")
	ref := w.host + "/moved/from@" + w.image.Index.Digest.String()
	w.mustCosign(t, with("sign", w.signArgs(t, f, k), ref)...)
	dir := filepath.Join(t.TempDir(), "layout")
	oras := foreigntest.ORAS.Find(t)
	for _, args := range [][]string{
		{"cp", "--recursive", "--from-plain-http", "--to-plain-http", ref, w.host + "/moved/to:8.0"},
		{"cp", "--recursive", "--from-plain-http", "--to-oci-layout", ref, dir + ":8.0"},
	} {
		if out, err := exec.CommandContext(t.Context(), oras, args...).CombinedOutput(); err != nil {
			t.Fatalf("oras %q: %v\n%s", args, err, out)
		}
	}
	for _, in := range []*registry.Repository{w.open(t, "moved/to"), registrytest.Create(t, "oci:"+dir, registry.Options{})} {
		if _, err := w.verifyWith(t, in, w.image.Index, w.rule(f, k), w.trust); err != nil {
			t.Error(err)
		}
	}
}
