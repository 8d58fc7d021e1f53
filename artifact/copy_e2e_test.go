//go:build e2e

package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/artifact/interop"
	"github.com/esxi-img/esxi-img/pkg/foreigntest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Copies between registries that others wrote: each finds what the other
// lists, whatever way it lists it.
func TestCopyBetweenForeignRegistries(t *testing.T) {
	from, p, refers := signed(t)
	hosts := map[registrytest.Kind]string{}
	for _, kind := range registrytest.Kinds {
		hosts[kind] = registrytest.Start(t, kind, registrytest.Options{}).Host
	}
	ours := registrytest.Serve(t, nil)
	at := from
	for i, next := range []string{
		hosts[registrytest.Distribution] + "/one", hosts[registrytest.Debian] + "/two", hosts[registrytest.Debian] + "/mounted/two",
		ours + "/three", "oci-archive:" + filepath.Join(t.TempDir(), "a.tar"), "oci:" + filepath.Join(t.TempDir(), "four"),
	} {
		to := registrytest.Create(t, next, registry.Options{Retries: -1})
		c := copyTo(t, at, p.Index, to, "8.0")
		if i == 2 && c.Mounted < p.Disk.Size {
			t.Errorf("%s: mounted %d bytes, sent %d", next, c.Mounted, c.Sent)
		}
		at = registrytest.Open(t, next, registry.Options{Retries: -1})
		sameCopy(t, from, at, p.Index, refers)
		if !bytes.Equal(pulled(t, at), blobOf(t, from, p.Disk)) {
			t.Errorf("%s: pulls another disk", next)
		}
		if !strings.Contains(next, "archive") {
			if c := copyTo(t, from, p.Index, to, "8.0"); c.Sent != 0 {
				t.Errorf("%s: a second copy sends %d bytes", next, c.Sent)
			}
		}
	}
}

// Other tools see what we copied with all that refers to it, and we see what
// they copied.
func TestCopiesOfOtherTools(t *testing.T) {
	from, p, refers := signed(t)
	disk := blobOf(t, from, p.Disk)
	oras, crane := foreigntest.ORAS.Find(t), foreigntest.Crane.Find(t)
	for _, kind := range registrytest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			server := registrytest.Start(t, kind, registrytest.Options{})
			ref := server.Host + "/org/esxi:8.0"
			repository := registrytest.Create(t, ref, registry.Options{Retries: -1})
			copyTo(t, from, p.Index, repository, "8.0")

			run(t, ".", crane, "validate", "--insecure", "--remote", ref)
			seen := run(t, ".", oras, "discover", "--plain-http", "--format", "json", ref)
			for _, d := range refers[p.Index.Digest] {
				if !strings.Contains(seen, d.String()) {
					t.Errorf("oras discover does not see %s:\n%s", d, seen)
				}
			}
			fit(t, repository, "8.0", true)

			// Elsewhere, and what is there is fit too.
			dir := t.TempDir()
			run(t, ".", oras, "cp", "-r", "--from-plain-http", "--to-plain-http", ref, server.Host+"/oras/esxi:8.0")
			run(t, ".", oras, "cp", "-r", "--from-plain-http", "--to-oci-layout", ref, dir+"/oras:8.0")
			run(t, ".", "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+ref, "oci:"+dir+"/skopeo:8.0")
			for name, text := range map[string]string{
				"oras to a registry": server.Host + "/oras/esxi:8.0", "oras to a layout": "oci:" + dir + "/oras:8.0", "skopeo to a layout": "oci:" + dir + "/skopeo:8.0",
			} {
				r := registrytest.Open(t, text, registry.Options{Retries: -1})
				img := pushedImage(t, r, "8.0")
				fit(t, r, "8.0", false)
				counts, err := img.CountReferrers(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				// skopeo leaves signatures behind; oras takes those of the index.
				if strings.HasPrefix(name, "oras") && len(counts) != 2 {
					t.Errorf("%s: referrers %+v", name, counts)
				}
				// What they copied we pull, and copy on.
				if got := pulled(t, r); !bytes.Equal(got, disk) {
					t.Errorf("%s: pulls another disk", name)
				}
				d, err := r.Resolve(t.Context(), "8.0")
				if err != nil {
					t.Fatal(err)
				}
				on := registry.NewRepository(newLayout(t))
				copyTo(t, r, d, on, "on")
				checkPieces(t, pushedImage(t, on, "on").Config, blobOf(t, on, img.Disk))
			}
		})
	}
}

// pulled pulls what the tag 8.0 names.
func pulled(t *testing.T, r *registry.Repository) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "esxi.img")
	to, err := artifact.ToFile(path, artifact.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = artifact.Pull(t.Context(), r, "8.0", to, artifact.PullOptions{Verifier: artifact.InsecureSkip{}})
	if err = errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fit holds that no rule of another tool's fails.
func fit(t *testing.T, r *registry.Repository, tag string, signed bool) {
	t.Helper()
	d, err := r.Resolve(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	findings, err := interop.Examine(t.Context(), r, d, interop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Verdict == interop.Fails || signed && f.Rule == "signatures" && f.Verdict != interop.Holds {
			t.Errorf("%s: %s %s: %s: %s", r.Reference(), f.Tool, f.Rule, f.Verdict, f.Reason)
		}
	}
}

// Where a rule fails, the tool fails: what doctor says of oras is what oras does.
func TestDoctorAndORASAgree(t *testing.T) {
	from, p := pack(t, fixed(t))
	server := registrytest.Start(t, registrytest.Distribution, registrytest.Options{})
	oras := foreigntest.ORAS.Find(t)
	to := registrytest.Create(t, server.Host+"/bad", registry.Options{Retries: -1})
	copyTo(t, from, p.Index, to, "good")
	img := pushedImage(t, to, "good")
	// Another manifest that names the disk's file, and is something else.
	other := put(t, to, "text/plain", []byte("no disk"))
	other.Annotations = map[string]string{ocispec.AnnotationTitle: img.Disk.Annotations[ocispec.AnnotationTitle]}
	put(t, to, ocispec.MediaTypeEmptyJSON, []byte("{}"))
	second := manifestJSON(t, other)
	entry := put(t, to, ocispec.MediaTypeImageManifest, second)
	entry.Platform, entry.Annotations = &ocispec.Platform{OS: "linux", Architecture: "amd64"}, map[string]string{"disktype": "other"}
	top := put(t, to, ocispec.MediaTypeImageIndex, indexJSON(t, append(img.Entries, entry)...))
	if err := to.Tag(t.Context(), top, "bad"); err != nil {
		t.Fatal(err)
	}
	for tag, wants := range map[string]bool{"good": true, "bad": false} {
		d, err := to.Resolve(t.Context(), tag)
		if err != nil {
			t.Fatal(err)
		}
		findings, err := interop.Examine(t.Context(), to, d, interop.Options{Tools: []string{interop.ORAS}})
		if err != nil {
			t.Fatal(err)
		}
		says := true
		for _, f := range findings {
			says = says && f.Verdict != interop.Fails
		}
		dir := t.TempDir()
		out, err := try(t, dir, oras, "pull", "--plain-http", server.Host+"/bad:"+tag)
		if says != wants || (err == nil) != wants {
			t.Errorf("%s: doctor says %v, oras %v\n%s", tag, says, err, out)
		}
		if entries, err := os.ReadDir(dir); err != nil || wants && len(entries) != 3 {
			t.Errorf("%s: %d files, %v", tag, len(entries), err)
		}
	}
}

// try runs a program that may fail.
func try(t *testing.T, dir, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
