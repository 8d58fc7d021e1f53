//go:build e2e

package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// What is pushed to a registry, whoever wrote it and however it is reached,
// comes back to the byte.
func TestPushAndPull(t *testing.T) {
	i := buildImage(t)
	for _, kind := range registrytest.Kinds {
		for name, opts := range map[string]registrytest.Options{
			"plain":    {},
			"TLS":      {TLS: true},
			"htpasswd": {TLS: true, Htpasswd: true},
		} {
			t.Run(string(kind)+", "+name, func(t *testing.T) {
				server := registrytest.Start(t, kind, opts)
				var flags []string
				if server.CAFile != "" {
					flags = []string{"--ca-file", server.CAFile}
				}
				run := func(args ...string) {
					t.Helper()
					r := command(t.Context(), append(args, flags...)...)
					r.ended(t, done, "")
				}
				dir := t.TempDir()
				out := filepath.Join(dir, "got.img")
				ref := server.Host + "/org/esxi:8.0"
				run("push", ref, "--layout", i.layout)
				run("pull", ref, "-o", out, "--insecure-skip-verify", "--check")
				if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, i.disk) {
					t.Errorf("the disk is another: %v", err)
				}
				run("push", server.Host+"/org/variant:1", "--base", ref, "--post", post(t), "--insecure-skip-verify")
				run("pull", server.Host+"/org/variant:1", "-o", filepath.Join(dir, "variant.img"), "--seed", out, "--insecure-skip-verify", "--check")
			})
		}
	}
}

// The lies are told of a registry that others wrote, too.
func TestLiesAboutDistribution(t *testing.T) {
	upstream, err := registrytest.Proxy(registrytest.Start(t, registrytest.Distribution, registrytest.Options{}).URL)
	if err != nil {
		t.Fatal(err)
	}
	l := registrytest.NewLiar(upstream)
	t.Cleanup(l.Close)
	fill(t, l)
	testLiesToPull(t, l)
}
