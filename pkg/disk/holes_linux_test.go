package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHoles needs a file system that knows holes: all that are usual do.
func TestHoles(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 1<<39); err != nil {
		t.Fatal(err)
	}
	if got := NextData(f, 0, 1<<40); got != 1<<39 {
		t.Errorf("data at %d, want %d", got, int64(1)<<39)
	}
	if got := NextData(f, 1<<39+1<<20, 1<<40); got != 1<<40 {
		t.Errorf("behind it at %d", got)
	}
}
