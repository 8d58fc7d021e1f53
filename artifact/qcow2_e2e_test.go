//go:build e2e

package artifact_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/foreigntest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Other tools take an image that has a qcow2 disk too, and QEMU takes that.
func TestOtherToolsTakeTheQCOW2(t *testing.T) {
	local, p := pack(t, fixed(t))
	disk := blobOf(t, local, p.Disk)
	for _, kind := range registrytest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			server := registrytest.Start(t, kind, registrytest.Options{})
			var pushed *artifact.Pushed
			for range 2 {
				var err error
				pushed, err = artifact.Push(t.Context(), local, p.Index, registrytest.Create(t, server.Host+"/org/esxi", registry.Options{}), artifact.PushOptions{Tag: "8.0", QCOW2: true})
				if err != nil {
					t.Fatal(err)
				}
			}
			if pushed.Sent != 0 {
				t.Errorf("a second push sent %d bytes", pushed.Sent)
			}
			ref := server.Host + "/org/esxi:8.0"
			orasPull(t, ref, disk)
			run(t, ".", foreigntest.Crane.Find(t), "validate", "--insecure", "--remote", ref)
			run(t, ".", "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+ref, "oci:"+t.TempDir()+"/skopeo:8.0")

			// As Ironic does, by the digest of the manifest in the index.
			dir := t.TempDir()
			run(t, dir, foreigntest.ORAS.Find(t), "pull", "--plain-http", server.Host+"/org/esxi@"+pushed.QCOW2.String())
			run(t, dir, "qemu-img", "check", "-f", "qcow2", "esxi-8.0.2-22380479.qcow2")
			run(t, dir, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", "esxi-8.0.2-22380479.qcow2", "back.img")
			if got, err := os.ReadFile(filepath.Join(dir, "back.img")); err != nil || !bytes.Equal(got, disk) {
				t.Errorf("the qcow2 file holds another disk (%v)", err)
			}
		})
	}
}
