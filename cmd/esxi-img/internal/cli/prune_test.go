package cli_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Whatever a registry does, nothing is removed that is not to be, and prune
// ends.
func TestLiesToPrune(t *testing.T) {
	l := liar(t)
	repo := l.Host + "/liar/esxi"
	endless := func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if registrytest.KindOf(r) == registrytest.Tags {
				w.Header().Set("Link", `</v2/liar/esxi/tags/list?last=x>; rel="next"`)
			}
			truth.ServeHTTP(w, r)
		})
	}
	lies := map[string]registrytest.Lie{
		"no tags":             registrytest.On(http.MethodGet, registrytest.Tags, registrytest.Refuse(403, "")),
		"referrers forbidden": registrytest.On(http.MethodGet, registrytest.Referrers, registrytest.Refuse(403, "")),
		"endless tags":        endless,
	}
	for _, c := range pullLies {
		lies[c.name] = c.lie
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			l.Tell(lie)
			r := command(t.Context(), "prune", repo, "--keep", "1", "--retries", "1", "--quiet")
			if !slices.Contains([]int{done, badInput, badRegistry, notVerified}, r.code) {
				t.Errorf("exit code %d", r.code)
			}
			r.ended(t, r.code, "")
			if n := l.Counts().Requests["DELETE manifests"]; n > 0 {
				t.Errorf("%d requests to delete", n)
			}
			l.Tell()
		})
	}
}

// TestPruneHostileTags shows what a layout calls its images, and not raw.
func TestPruneHostileTags(t *testing.T) {
	dir := t.TempDir()
	b := builds(t, dir, "22380470", "22380471")
	all := filepath.Join(dir, "all.oci")
	for n, layout := range b {
		run(t, "copy", "-q", layout, "oci:"+all+":8.0.2-"+n, "--insecure-skip-verify")
	}
	file := filepath.Join(all, "index.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	evil := strings.Replace(string(text), `"8.0.2-22380470"`, `"8.0.2-22380470-\u001b[31m\u009b31m\u202e-\u0000"`, 1)
	if err := os.WriteFile(file, []byte(evil), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--dry-run"}, {"--dry-run", "--json"}, {}} {
		r := command(t.Context(), append([]string{"prune", "oci:" + all, "--keep", "1"}, args...)...)
		r.ended(t, done, "")
		for _, c := range r.stdout + r.stderr {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Fatalf("%q in %q", c, r.stdout+r.stderr)
			}
		}
	}
	if l, err := registry.OpenLayout(all); err != nil {
		t.Error(err)
	} else if entries, err := l.Entries(); err != nil || len(entries) == 0 || strings.Contains(run(t, "catalog", "oci:"+all), "22380470") {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// TestPruneRewrittenVariant keeps what a variant is one of where a tool has left
// out the annotations that say so: the config does.
func TestPruneRewrittenVariant(t *testing.T) {
	dir := t.TempDir()
	b := builds(t, dir, "22380470", "22380471")
	all := filepath.Join(dir, "all.oci")
	for n, layout := range b {
		run(t, "copy", "-q", layout, "oci:"+all+":8.0.2-"+n, "--insecure-skip-verify")
	}
	ks := filepath.Join(dir, "ks.cfg")
	if err := os.WriteFile(ks, []byte("vmaccepteula\ninstall --firstdisk\nnetwork --bootproto=dhcp\n%include /tmp/rootpw\nreboot\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "push", "-q", "oci:"+all+":lab", "--base", "oci:"+all+":8.0.2-22380470", "--kickstart", ks, "--insecure-skip-verify")
	rewriteTag(t, all, "lab")
	shown := run(t, "prune", "oci:"+all, "--keep", "1")
	if !strings.HasPrefix(shown, "removed  0 of 3") || !strings.Contains(shown, "the tag lab needs it") {
		t.Error(shown)
	}
	run(t, "pull", "oci:"+all+":lab", "-o", filepath.Join(dir, "lab.img"), "--insecure-skip-verify")
}

// rewriteTag takes the annotations out of what a tag of a layout names, and of
// what that lists.
func rewriteTag(t *testing.T, dir, tag string) {
	t.Helper()
	blob := func(d digest.Digest) string { return filepath.Join(dir, "blobs", "sha256", d.Encoded()) }
	read := func(path string, to any) {
		raw, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(raw, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(d *ocispec.Descriptor, from any) {
		raw, err := json.Marshal(from)
		if err == nil {
			d.Digest, d.Size = digest.FromBytes(raw), int64(len(raw))
			if err = os.Remove(blob(d.Digest)); err == nil || errors.Is(err, fs.ErrNotExist) { // blobs are read-only
				err = os.WriteFile(blob(d.Digest), raw, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var index ocispec.Index
	read(filepath.Join(dir, "index.json"), &index)
	i := slices.IndexFunc(index.Manifests, func(d ocispec.Descriptor) bool { return d.Annotations[ocispec.AnnotationRefName] == tag })
	if i < 0 {
		t.Fatal("there is no tag " + tag)
	}
	var top ocispec.Index
	read(blob(index.Manifests[i].Digest), &top)
	for j := range top.Manifests {
		var m ocispec.Manifest
		read(blob(top.Manifests[j].Digest), &m)
		delete(m.Annotations, ocispec.AnnotationBaseImageDigest)
		write(&top.Manifests[j], m)
	}
	delete(top.Annotations, ocispec.AnnotationBaseImageDigest)
	write(&index.Manifests[i], top)
	raw, err := json.Marshal(index)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "index.json"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPruneOfServed removes tags there, and the room is freed in the folder.
func TestPruneOfServed(t *testing.T) {
	dir := t.TempDir()
	b := builds(t, dir, "22380470", "22380471")
	images := filepath.Join(dir, "images")
	if err := os.Mkdir(images, 0o700); err != nil {
		t.Fatal(err)
	}
	s := serve(t, images)
	for n, layout := range b {
		run(t, "copy", "-q", layout, s.host+"/esxi:8.0.2-"+n, "--insecure-skip-verify")
	}
	blobs := func() int {
		found, err := filepath.Glob(filepath.Join(images, "esxi", "blobs", "sha256", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	run(t, "prune", s.host+"/esxi", "--keep", "1")
	before := blobs()
	s.stop()
	<-s.ended
	run(t, "prune", "oci:"+filepath.Join(images, "esxi"), "--keep", "1")
	// An image has an index, a manifest, a config and three layers at least.
	if after := blobs(); before-after < 5 || after < 6 {
		t.Errorf("%d blobs, and %d before", after, before)
	}
}
