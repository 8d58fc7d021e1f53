//go:build e2e

package artifact_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/foreigntest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// What is pushed to other people's registries is pulled from there as it was,
// by ranges, and is not fetched twice.
func TestPullFromOtherRegistries(t *testing.T) {
	local, p := packLarge(t, imager.Profile{})
	want := diskOf(t, local)
	for _, kind := range registrytest.Kinds {
		for name, opts := range map[string]registrytest.Options{"plain": {}, "TLS and htpasswd": {TLS: true, Htpasswd: true}} {
			t.Run(string(kind)+", "+name, func(t *testing.T) {
				server := registrytest.Start(t, kind, opts)
				access := registry.Options{CAFile: server.CAFile}
				if opts.Htpasswd {
					access.Username, access.Password = registrytest.Username, registrytest.Password
				}
				to := registrytest.Create(t, server.Host+"/org/esxi:latest", access)
				if _, err := artifact.Push(t.Context(), local, p.Index, to, artifact.PushOptions{Tag: artifact.LatestTag}); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(t.TempDir(), "esxi.img")
				if got := pullTo(t, to, path, skip); got.Digest != p.Index.Digest || got.Fetched > contentOf(p.Config)*102/100 {
					t.Errorf("%+v", got)
				}
				holds(t, path, want)
				if got := pullTo(t, to, path, skip); got.Fetched != 0 || got.Written != 0 {
					t.Errorf("again: %+v", got)
				}
			})
		}
	}
}

// What oras copied elsewhere is pulled from there, from a layout and from a
// registry.
func TestPullWhatOrasCopied(t *testing.T) {
	local, p := pack(t, imager.Profile{})
	want := diskOf(t, local)
	server := registrytest.Start(t, registrytest.Distribution, registrytest.Options{})
	to := registrytest.Create(t, server.Host+"/org/esxi", registry.Options{})
	if _, err := artifact.Push(t.Context(), local, p.Index, to, artifact.PushOptions{Tag: "8.0"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	oras := foreigntest.ORAS.Find(t)
	run(t, dir, oras, "cp", "-r", "--from-plain-http", "--to-oci-layout", server.Host+"/org/esxi:8.0", "copy.oci:latest")
	run(t, dir, oras, "cp", "-r", "--to-plain-http", "--from-oci-layout", "copy.oci:latest", server.Host+"/else/where:latest")
	for name, text := range map[string]string{"layout.img": "oci:" + filepath.Join(dir, "copy.oci"), "registry.img": server.Host + "/else/where"} {
		path := filepath.Join(dir, name)
		pullTo(t, registrytest.Create(t, text, registry.Options{}), path, skip)
		holds(t, path, want)
	}
}

// On a file system that shares blocks, a layout's are shared, and what is
// written to one is not written to the other.
func TestPullSharesBlocks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := t.TempDir()
	medium, mnt := filepath.Join(dir, "medium"), filepath.Join(dir, "mnt")
	run(t, dir, "truncate", "-s", "512M", medium)
	run(t, dir, "mkfs.btrfs", "-q", medium)
	run(t, dir, "mkdir", mnt)
	run(t, dir, "mount", "-o", "loop", medium, mnt)
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "umount", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	local, _ := packLarge(t, imager.Profile{})
	run(t, dir, "cp", "-r", local.Reference().Path, filepath.Join(mnt, "layout"))
	layout := registrytest.Create(t, "oci:"+filepath.Join(mnt, "layout"), registry.Options{})
	want := diskOf(t, layout)
	path := filepath.Join(mnt, "esxi.img")
	if got := pullTo(t, layout, path, skip); got.Fetched != 0 || got.Written != 0 {
		t.Errorf("%+v", got)
	}
	holds(t, path, want)
	damage(t, path, 2<<20)
	holds(t, path, append(append(want[:2<<20:2<<20], want[2<<20]^1), want[2<<20+1:]...))
	if got := pullTo(t, layout, path, skip); got.Written > artifact.PieceSize {
		t.Errorf("%+v", got)
	}
	holds(t, path, want)
}
