//go:build e2e

package server_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// conformance is the test suite of the OCI distribution-spec.
const (
	conformanceModule  = "github.com/opencontainers/distribution-spec/conformance"
	conformanceVersion = "v0.0.0-20260831232431-97274622c111"
)

// suite builds it into a folder that later runs find again.
func suite(t *testing.T) string {
	t.Helper()
	base := filepath.Join(os.TempDir(), fmt.Sprintf("esxi-img-e2e-%d", os.Getuid()))
	dir := filepath.Join(base, "conformance-"+conformanceVersion)
	path := filepath.Join(dir, "conformance")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(base, "build-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "install", conformanceModule+"@"+conformanceVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(errors.Join(fmt.Errorf("go install: %w\n%s", err, out), os.RemoveAll(tmp)))
	}
	// Another test process may have been faster.
	if err := os.Rename(tmp, dir); err != nil {
		if err := os.RemoveAll(tmp); err != nil {
			t.Error(err)
		}
	}
	return path
}

// The registry does what the specification's own tests want, but for deleting
// manifests and blobs, which it says that it does not do.
func TestConformance(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	results := t.TempDir()
	cmd := exec.CommandContext(t.Context(), suite(t))
	cmd.Dir = results
	cmd.Env = append(os.Environ(),
		"OCI_REGISTRY="+s.host, "OCI_TLS=disabled", "OCI_VERSION=1.1", "OCI_RESULTS_DIR="+results,
		"OCI_REPO1=conformance/one", "OCI_REPO2=conformance/two",
		"OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true",
	)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out[max(0, len(out)-10_000):])
	}
}
