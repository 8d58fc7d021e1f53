package cli

import (
	"errors"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// TestCommandsHoldTheirLayouts: nobody removes blobs of a layout while a command
// uses it, and anybody may when it has let go, also after a failure.
func TestCommandsHoldTheirLayouts(t *testing.T) {
	dir := t.TempDir()
	l, err := registry.NewLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	held := func() bool {
		t.Helper()
		removed, err := l.GC(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return removed.Busy
	}
	ref := registry.Reference{Scheme: registry.SchemeLayout, Path: dir}
	_, release, err := openHeld(t.Context(), ref, registry.Options{}, registry.Open)
	if err != nil {
		t.Fatal(err)
	}
	if !held() {
		t.Error("a layout that is open is not held")
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if held() {
		t.Error("it is held for ever")
	}
	if _, _, _, err := openResolved(t.Context(), ref, registry.Options{}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("an empty layout: %v", err)
	}
	if held() {
		t.Error("it is held after a failure")
	}
}
