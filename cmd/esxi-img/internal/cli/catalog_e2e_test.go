//go:build e2e

package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// TestCatalogOfRegistries lists three releases with a variant each, two of them
// signed by different keys and one by nobody, beside an artifact of somebody
// else and a broken image, whoever wrote the registry.
func TestCatalogOfRegistries(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		r := command(t.Context(), args...)
		r.ended(t, done, "")
		return r.stdout
	}
	layouts := map[string]string{}
	for _, name := range []string{"6.7U2", "8.0.2", "9.0"} {
		release, ok := esxitest.FindRelease(name)
		if !ok {
			t.Fatal(name)
		}
		medium := filepath.Join(dir, name+".iso")
		if err := os.WriteFile(medium, esxitest.Bytes(esxitest.WithRelease(release)), 0o600); err != nil {
			t.Fatal(err)
		}
		layouts[name] = filepath.Join(dir, name+".oci")
		run("build", "-q", medium, "--layout", layouts[name])
	}
	for _, who := range []string{"alice", "bob"} {
		run("sign", "--generate-key", filepath.Join(dir, who))
	}
	policy := filepath.Join(dir, "policy.yaml")
	text := "version: 1\nscopes:\n  \"*\":\n    anyOf:\n      - {name: alice, key: alice.pub}\n      - {name: bob, key: bob.pub}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	snippet := post(t)
	for _, kind := range registrytest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			repo := registrytest.Start(t, kind, registrytest.Options{}).Host + "/org/esxi"
			for name, layout := range layouts {
				run("push", "-q", repo+":"+name, "--layout", layout)
				run("push", "-q", repo+":"+name+"-lab", "--base", repo+":"+name, "--post", snippet, "--insecure-skip-verify")
			}
			run("sign", "-q", repo+":8.0.2", "--key", filepath.Join(dir, "alice.key"))
			run("sign", "-q", repo+":9.0", "--key", filepath.Join(dir, "bob.key"))
			run("sign", "-q", repo+":9.0-lab", "--key", filepath.Join(dir, "bob.key"), "--policy", policy)
			pushOthers(t, repo)
			cache := filepath.Join(t.TempDir(), "cache")
			for _, state := range []string{"cold", "warm"} {
				checkCatalog(t, state, run("catalog", "--json", "--policy", policy, "--cache", cache, repo))
			}
			table := run("catalog", "--policy", policy, "--newest", "--release", ">=8", repo)
			if !strings.Contains(table, " 2 of 10 in "+repo+"\n") || strings.Count(table, " verified ") != 2 || !strings.Contains(table, ": 1 other artifact") {
				t.Error(table)
			}
		})
	}
}

// pushOthers pushes an artifact of somebody else, and a broken image.
func pushOthers(t *testing.T, repo string) {
	t.Helper()
	ref, err := registry.Parse(repo + ":8.0.2")
	if err != nil {
		t.Fatal(err)
	}
	to, err := registry.Create(t.Context(), ref, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := to.Close(); err != nil {
			t.Error(err)
		}
	}()
	push := func(mediaType string, b []byte, tag string) {
		t.Helper()
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		if err := to.Push(t.Context(), d, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if tag == "" {
			return
		}
		if err := to.Tag(t.Context(), d, tag); err != nil {
			t.Fatal(err)
		}
	}
	push("application/x", []byte("{}"), "")
	push(ocispec.MediaTypeImageManifest, fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/x","config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[{"mediaType":"application/x","digest":%q,"size":2}]}`,
		ocispec.MediaTypeImageManifest, digest.FromString("{}"), digest.FromString("{}")), "foreign")
	_, raw, err := to.FetchNamed(t.Context(), "8.0.2")
	if err != nil {
		t.Fatal(err)
	}
	var x ocispec.Index
	if err := json.Unmarshal(raw, &x); err != nil || x.ArtifactType != artifact.TypeIndex {
		t.Fatal(x.ArtifactType, err)
	}
	x.Manifests = append(x.Manifests, x.Manifests[0])
	if raw, err = json.Marshal(x); err != nil {
		t.Fatal(err)
	}
	push(ocispec.MediaTypeImageIndex, raw, "broken")
}

func checkCatalog(t *testing.T, state, text string) {
	t.Helper()
	var got struct {
		Images       []catalog.Entry `json:"images"`
		Repositories []struct {
			Foreign int `json:"foreign"`
		} `json:"repositories"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for i := range got.Images {
		e := &got.Images[i]
		line := e.Release + " " + e.Build + " " + string(e.Signed)
		for _, s := range e.Signers {
			line += " " + s.Name
		}
		if e.Variant {
			line += " of " + strings.Join(e.Base.Tags, ",")
		}
		if e.Problem != "" {
			line = e.Problem
		}
		lines[e.Tag] = line
	}
	want := map[string]string{
		"6.7U2":          "6.7.0 13006603 none",
		"6.7.0-13006603": "6.7.0 13006603 none",
		"6.7U2-lab":      "6.7.0 13006603 none of 6.7.0-13006603,6.7U2",
		"8.0.2":          "8.0.2 22380479 verified alice",
		"8.0.2-22380479": "8.0.2 22380479 verified alice",
		"8.0.2-lab":      "8.0.2 22380479 none of 8.0.2,8.0.2-22380479",
		"9.0":            "9.0.0 24755229 verified bob",
		"9.0.0-24755229": "9.0.0 24755229 verified bob",
		"9.0-lab":        "9.0.0 24755229 verified bob of 9.0,9.0.0-24755229",
		"broken":         "index: has 2 image manifests, not 1",
	}
	for tag, line := range want {
		if lines[tag] != line {
			t.Errorf("%s: %s: %q, want %q", state, tag, lines[tag], line)
		}
	}
	if len(lines) != len(want) || got.Repositories[0].Foreign != 1 {
		t.Errorf("%s: %v, %+v", state, lines, got.Repositories)
	}
}
