//go:build e2e

package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// TestPruneRegistries removes old builds, whoever wrote the registry: what stays
// is whole, and nothing of what goes is left where manifests can be deleted.
func TestPruneRegistries(t *testing.T) {
	dir := t.TempDir()
	b := builds(t, dir, "22380470", "22380471", "22380472", "22380473")
	key := filepath.Join(dir, "a")
	snippet := post(t)
	for _, kind := range registrytest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			repo := registrytest.Start(t, kind, registrytest.Options{Delete: true}).Host + "/org/esxi"
			for n, layout := range b {
				run(t, "copy", "-q", layout, repo+":8.0.2-"+n, "--key", key+".pub")
				run(t, "attest", "-q", repo+":8.0.2-"+n, "--sbom", "--key", key+".key", "--repository", repo)
			}
			run(t, "push", "-q", repo+":lab", "--base", repo+":8.0.2-22380470", "--post", snippet, "--base-key", key+".pub")
			refer(t, repo, "8.0.2-22380471", "about")
			r := registrytest.Open(t, repo, registry.Options{})
			before := state(t, r)

			shown := run(t, "prune", repo, "--keep", "1", "--dry-run")
			if !strings.HasPrefix(shown, "would remove  1 of 5 images in ") || !slices.Equal(before, state(t, r)) {
				t.Fatalf("%s\n%v", shown, state(t, r))
			}
			var out catalog.Pruned
			if err := json.Unmarshal([]byte(run(t, "prune", repo, "--keep", "1", "--json")), &out); err != nil {
				t.Fatal(err)
			}
			fates := map[string]string{}
			var went catalog.Fate
			for _, f := range out.Images {
				fates[strings.Join(f.Tags, " ")] = fmt.Sprint(f.Removed, " ", f.Reason)
				if f.Removed {
					went = f
				}
			}
			want := map[string]string{
				"8.0.2-22380473": "false the newest of 8.0.2",
				"8.0.2-22380472": "true 1 newer of 8.0.2",
				"8.0.2-22380471": "false the tag about needs it",
				"8.0.2-22380470": "false the tag lab needs it",
				"lab":            "false the newest of 8.0.2 variant lab",
			}
			if fmt.Sprint(fates) != fmt.Sprint(want) {
				t.Errorf("%v, want %v", fates, want)
			}
			// The index, two manifests, and a signature and an attestation of each.
			if len(went.Manifests) != 9 || went.TagsOnly != (kind == registrytest.Embedded) {
				t.Errorf("%+v", went)
			}
			for _, d := range went.Manifests {
				_, err := r.Resolve(t.Context(), d.String())
				if gone := errors.Is(err, registry.ErrNotFound); gone != (kind != registrytest.Embedded) {
					t.Errorf("%s: %v", d, err)
				}
			}
			for _, tag := range state(t, r) {
				if strings.HasPrefix(tag, "8.0.2-22380472 ") || slices.ContainsFunc(went.Manifests, func(d digest.Digest) bool { return strings.HasPrefix(tag, "sha256-"+d.Encoded()) }) {
					t.Errorf("the tag %s is left", tag)
				}
			}
			for _, tag := range []string{"8.0.2-22380470", "8.0.2-22380471", "8.0.2-22380473"} {
				run(t, "verify", "--deep", repo+":"+tag, "--key", key+".pub")
			}
			run(t, "pull", "-q", repo+":lab", "-o", filepath.Join(t.TempDir(), "lab.img"), "--insecure-skip-verify")
			if shown := run(t, "prune", repo, "--keep", "1"); !strings.HasPrefix(shown, "removed  0 of 4 images in ") {
				t.Error(shown)
			}
		})
	}
	t.Run("no deletion", func(t *testing.T) {
		for _, kind := range []registrytest.Kind{registrytest.Distribution, registrytest.Debian} {
			repo := registrytest.Start(t, kind, registrytest.Options{}).Host + "/org/esxi"
			for n, layout := range b {
				run(t, "copy", "-q", layout, repo+":8.0.2-"+n, "--key", key+".pub")
			}
			r := registrytest.Open(t, repo, registry.Options{})
			before := state(t, r)
			refused := command(t.Context(), "prune", repo, "--keep", "1")
			refused.ended(t, badRegistry, "REGISTRY_STORAGE_DELETE_ENABLED=true")
			if refused.stdout != "" || !slices.Equal(before, state(t, r)) {
				t.Errorf("%s: %s%v", kind, refused.stdout, state(t, r))
			}
		}
	})
}

// state lists the tags with what they name.
func state(t *testing.T, r *registry.Repository) []string {
	t.Helper()
	var out []string
	for tag, err := range r.Tags(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.Resolve(t.Context(), tag)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, tag+" "+string(d.Digest))
	}
	slices.Sort(out)
	return out
}

// refer pushes an artifact of somebody else that refers to an image, with a tag.
func refer(t *testing.T, repo, subject, tag string) {
	t.Helper()
	r := registrytest.Open(t, repo, registry.Options{})
	d, err := r.Resolve(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	empty := registrytest.Push(t, r, "application/x", []byte("{}"))
	text, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/x", Config: empty, Layers: []ocispec.Descriptor{empty}, Subject: &d})
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`"schemaVersion":0`), []byte(`"schemaVersion":2`), 1)
	if err := r.Tag(t.Context(), registrytest.Push(t, r, ocispec.MediaTypeImageManifest, text), tag); err != nil {
		t.Fatal(err)
	}
}
