//go:build e2e

package artifact_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/foreigntest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// run runs a program in a folder and returns what it says.
func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: apt-get install --no-install-recommends %s", program, program)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// What we push is taken by other registries and other tools.
func TestOtherToolsTakeWhatWePush(t *testing.T) {
	local, p := pack(t, fixed(t))
	disk := blobOf(t, local, p.Disk)
	for _, kind := range registrytest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			server := registrytest.Start(t, kind, registrytest.Options{})
			to := registrytest.Create(t, server.Host+"/org/esxi", registry.Options{})
			for range 2 {
				if _, err := artifact.Push(t.Context(), local, p.Index, to, artifact.PushOptions{Tag: "8.0"}); err != nil {
					t.Fatal(err)
				}
			}
			ref := server.Host + "/org/esxi:8.0"
			t.Run("oras pull", func(t *testing.T) { orasPull(t, ref, disk) })
			t.Run("crane validate", func(t *testing.T) { run(t, ".", foreigntest.Crane.Find(t), "validate", "--insecure", "--remote", ref) })
			t.Run("copies", func(t *testing.T) { copies(t, local, p, server.Host) })
			t.Run("variant", func(t *testing.T) { variantInRegistry(t, to, p, server.Host) })
		})
	}
}

func orasPull(t *testing.T, ref string, disk []byte) {
	oras := foreigntest.ORAS.Find(t)
	for _, args := range [][]string{{}, {"--platform", "linux/amd64"}} {
		dir := t.TempDir()
		run(t, dir, oras, append([]string{"pull", "--plain-http", ref}, args...)...)
		got, err := os.ReadFile(filepath.Join(dir, "esxi-8.0.2-22380479.img"))
		if err != nil || !bytes.Equal(got, disk) {
			t.Errorf("oras pull %q wrote another disk (%v)", args, err)
		}
		for _, name := range []string{"ESXIIMG.TGZ", "KS.CFG"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
	}
	run(t, ".", oras, "discover", "--plain-http", ref)
}

// copies holds that an image that other tools copied is still one.
func copies(t *testing.T, local *registry.Repository, p *artifact.Packed, host string) {
	layout := layoutOf(t, local)
	ref := host + "/org/esxi:8.0"
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"oras-to-layout":     {foreigntest.ORAS.Find(t), "cp", "--from-plain-http", "--to-oci-layout", ref, dir + "/oras:8.0"},
		"oras-to-registry":   {foreigntest.ORAS.Find(t), "cp", "--to-plain-http", "--from-oci-layout", layout + ":latest", host + "/oras/esxi:8.0"},
		"skopeo-to-layout":   {"skopeo", "copy", "--all", "--src-tls-verify=false", "docker://" + ref, "oci:" + dir + "/skopeo:8.0"},
		"skopeo-to-registry": {"skopeo", "copy", "--all", "--dest-tls-verify=false", "oci:" + layout + ":latest", "docker://" + host + "/skopeo/esxi:8.0"},
		"crane-to-registry":  {foreigntest.Crane.Find(t), "copy", "--insecure", ref, host + "/crane/esxi:8.0"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, ".", args[0], args[1:]...)
			tool, kind, _ := strings.Cut(name, "-to-")
			where := host + "/" + tool + "/esxi"
			if kind == "layout" {
				where = "oci:" + dir + "/" + tool
			}
			img := pushedImage(t, registrytest.Create(t, where, registry.Options{}), "8.0")
			// Skopeo may write the index anew, but never a manifest.
			if img.Manifest.Digest != p.Manifest.Digest || tool != "skopeo" && img.Index.Digest != p.Index.Digest {
				t.Errorf("the copy is %s, %s; want %s, %s", img.Index.Digest, img.Manifest.Digest, p.Index.Digest, p.Manifest.Digest)
			}
		})
	}
}

// variantInRegistry pushes variants into the repository of their base and into
// another.
func variantInRegistry(t *testing.T, base *registry.Repository, p *artifact.Packed, host string) {
	for where, check := range map[string]func(*artifact.Pushed) bool{
		"/org/esxi":  func(v *artifact.Pushed) bool { return v.Present >= p.Disk.Size },
		"/lab/esxi2": func(v *artifact.Pushed) bool { return v.Mounted >= p.Disk.Size },
	} {
		to := registrytest.Create(t, host+where, registry.Options{})
		v, err := artifact.PushVariant(t.Context(), base, p.Index, []byte("reboot\n"), to, unverified("lab"))
		if err != nil {
			t.Fatal(err)
		}
		if v.Sent > 100<<10 || !check(v) {
			t.Errorf("%s: %d bytes sent, %d mounted, %d there", where, v.Sent, v.Mounted, v.Present)
		}
		if img := pushedImage(t, to, "lab"); img.Config.Base == nil || img.Config.Base.Index != p.Index.Digest {
			t.Errorf("%s: base %+v", where, img.Config.Base)
		}
	}
}
