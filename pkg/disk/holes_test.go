package disk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// TestNextData holds that no data is passed over, and that holes are, where the
// system tells of them.
func TestNextData(t *testing.T) {
	const size, data = 64 << 20, 40 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	disk.MakeSparse(f)
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, data); err != nil {
		t.Fatal(err)
	}
	var b plan.Builder
	b.Zero(data)
	b.Literal(bytes.Repeat([]byte{1}, 512))
	b.Zero(size - data - 512)
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	if got := disk.NextData(p, 0, size); got != data {
		t.Errorf("in a plan at %d", got)
	}
	if got := disk.NextData(p, data+512, size); got != size {
		t.Errorf("in a plan behind the data at %d", got)
	}
	for _, c := range []struct{ at, end, want int64 }{
		{0, 1 << 20, 1 << 20}, {data, size, data}, {data + 1<<20, size, size}, {5, 5, 5},
	} {
		if got := disk.NextData(f, c.at, c.end); got != c.want && got != c.at {
			t.Errorf("from %d to %d: %d, want %d, or the beginning", c.at, c.end, got, c.want)
		}
	}
	if got := disk.NextData(f, 0, size); got > data {
		t.Errorf("the data at %d is passed over: %d", data, got)
	}
}
