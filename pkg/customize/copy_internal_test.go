package customize

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/progress"
)

// TestCopies holds that both ways to copy give what lies in the runs, zeros
// elsewhere, and the digest of all of it.
func TestCopies(t *testing.T) {
	const size = 40<<20 + 512
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	runs := []run{{512, 100}, {1 << 20, 1 << 20}, {3<<20 - 7, 12 << 20}, {size - 512, 512}}
	want := make([]byte, size)
	for _, r := range runs {
		copy(want[r.at:], data[r.at:r.at+r.n])
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "from")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	for kind, copyTo := range map[string]func(*os.File, io.Writer) (bool, error){
		"once": func(to *os.File, sum io.Writer) (bool, error) {
			return true, (&copyOnce{from: from, to: to, runs: runs, sum: sum, report: progress.Discard}).run(t.Context(), size)
		},
		"in the kernel": func(to *os.File, sum io.Writer) (bool, error) {
			return (&copyInKernel{from: from, to: to, runs: runs, sum: sum, report: progress.Discard, last: true}).run(t.Context(), size)
		},
	} {
		to, err := os.Create(filepath.Join(dir, "to"))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		done, err := copyTo(to, sum)
		if err := errors.Join(err, to.Close()); err != nil {
			t.Fatal(kind, err)
		}
		if !done {
			t.Logf("%s: not here", kind)
			continue
		}
		got, err := os.ReadFile(to.Name())
		if all := sha256.Sum256(data); err != nil || !bytes.Equal(got, want) || !bytes.Equal(sum.Sum(nil), all[:]) {
			t.Errorf("%s: another copy or digest (%v)", kind, err)
		}
	}
}

// TestCopyOnceStops holds that neither an interrupt, nor an image that ends
// early, nor a file that takes nothing leaves it waiting.
func TestCopyOnceStops(t *testing.T) {
	const size = 20 << 20
	data := bytes.NewReader(make([]byte, size))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		from io.ReaderAt
		flag int
		want error
	}{
		"interrupted": {over, data, os.O_RDWR, context.Canceled},
		"short":       {t.Context(), bytes.NewReader(make([]byte, 5<<20)), os.O_RDWR, io.ErrUnexpectedEOF},
		"read-only":   {t.Context(), data, os.O_RDONLY, nil},
	} {
		path := filepath.Join(t.TempDir(), "to")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		to, err := os.OpenFile(path, c.flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = (&copyOnce{from: c.from, to: to, runs: []run{{0, size}}, sum: sha256.New(), report: progress.Discard}).run(c.ctx, size)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		_ = to.Close()
	}
}
