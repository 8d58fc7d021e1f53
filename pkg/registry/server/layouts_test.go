package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// TestLayoutsAreBounded: whoever asks for a list of them gets a thousand.
func TestLayoutsAreBounded(t *testing.T) {
	dir := t.TempDir()
	for n := range 1001 {
		layout := filepath.Join(dir, fmt.Sprintf("r%04d", n))
		if err := os.Mkdir(layout, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(layout, "oci-layout"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := start(t, dir, server.Options{}).Layouts(t.Context())
	if err != nil || len(got) != 1000 || got[999].Name != "r0999" {
		t.Errorf("%d, %v", len(got), err)
	}
}
