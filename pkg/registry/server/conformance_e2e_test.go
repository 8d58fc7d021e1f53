//go:build e2e

package server_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/foreigntest"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// conformance is the test suite of the OCI distribution-spec.
const conformance foreigntest.Program = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"

// The registry does what the specification's own tests want, but for deleting
// manifests and blobs, which it says that it does not do.
func TestConformance(t *testing.T) {
	s := start(t, t.TempDir(), server.Options{})
	results := t.TempDir()
	cmd := exec.CommandContext(t.Context(), conformance.Find(t))
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
