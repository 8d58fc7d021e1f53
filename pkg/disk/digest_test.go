package disk_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

func temp(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return f
}

func TestWriteDigestsHashesWhatItWrites(t *testing.T) {
	p := mixed(t)
	want, err := io.ReadAll(p.Reader())
	if err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{0, 1} {
		for _, size := range []int{64 << 10, 1<<20 + 7, 4 << 20} {
			f := temp(t)
			sums, err := disk.WriteDigests(t.Context(), f, p, disk.DigestOptions{PieceSize: size, Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.Name())
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d workers, pieces of %d: the disk that was written is not the planned one (%v)", workers, size, err)
			}
			checkDigests(t, p, sums, want, size)
			// The same without a file.
			again, err := disk.WriteDigests(t.Context(), nil, p, disk.DigestOptions{PieceSize: size, Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			checkDigests(t, p, again, want, size)
		}
	}
}

func checkDigests(t *testing.T, p *plan.Plan, sums *disk.Digests, want []byte, size int) {
	t.Helper()
	if sums.Disk != sha256.Sum256(want) {
		t.Errorf("pieces of %d: wrong digest of the disk", size)
	}
	for i, e := range p.Extents {
		data := want[e.Offset:e.End()]
		if e.Kind == plan.Zero {
			data = nil
		}
		if n := (len(data) + size - 1) / size; n != len(sums.Extents[i]) {
			t.Fatalf("pieces of %d: extent %d has %d digests, want %d", size, i, len(sums.Extents[i]), n)
		}
		for n, got := range sums.Extents[i] {
			if got != sha256.Sum256(data[n*size:min(len(data), (n+1)*size)]) {
				t.Errorf("pieces of %d: extent %d: wrong digest of piece %d", size, i, n)
			}
		}
	}
	for i, f := range p.Files {
		if sums.Files[i] != sha256.Sum256(want[f.Offset:f.Offset+f.Size]) {
			t.Errorf("pieces of %d: wrong digest of %s", size, f.Path)
		}
	}
}

func TestPiecesOnlyLeavesOutLargeFiles(t *testing.T) {
	p := mixed(t)
	p.Files[5].Expect = []plan.Digest{{1}} // more than a piece: nobody looks
	all, err := disk.WriteDigests(t.Context(), nil, mixed(t), disk.DigestOptions{PieceSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	some, err := disk.WriteDigests(t.Context(), nil, p, disk.DigestOptions{PieceSize: 4 << 20, PiecesOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if some.Disk != all.Disk || !slices.EqualFunc(some.Extents, all.Extents, slices.Equal) {
		t.Error("the disk or its pieces have other digests")
	}
	for i, f := range p.Files {
		want := all.Files[i]
		if f.Size > 4<<20 {
			want = plan.Digest{}
		}
		if some.Files[i] != want {
			t.Errorf("%s is %s, want %s", f.Path, some.Files[i], want)
		}
	}
}

func TestWriteDigestsFails(t *testing.T) {
	broken := errors.New("the disk is on fire")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	closed := temp(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ctx    context.Context
		file   *os.File
		size   int
		change func(*plan.Plan)
		check  func(error) bool
	}{
		"wrong digest, small file": {t.Context(), nil, 4 << 20, func(p *plan.Plan) { p.Files[0].Expect = []plan.Digest{{1}} }, func(err error) bool {
			var m *plan.MismatchError
			return errors.As(err, &m) && m.Path == "A"
		}},
		"wrong digest, large file": {t.Context(), nil, 4 << 20, func(p *plan.Plan) { p.Files[5].Expect = []plan.Digest{{1}} }, func(err error) bool {
			var m *plan.MismatchError
			return errors.As(err, &m) && m.Path == "F"
		}},
		"unreadable": {t.Context(), nil, 4 << 20, func(p *plan.Plan) { p.Files[4].Content = failing{broken} }, func(err error) bool {
			var r *plan.ReadError
			return errors.As(err, &r) && r.Path == "E" && errors.Is(err, broken)
		}},
		"cut short":     {t.Context(), nil, 1 << 10, func(p *plan.Plan) { p.Files[5].Content = strings.NewReader("x") }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"cancelled":     {cancelled, nil, 4 << 20, func(*plan.Plan) {}, func(err error) bool { return errors.Is(err, context.Canceled) }},
		"unwritable":    {t.Context(), closed, 4 << 20, func(*plan.Plan) {}, func(err error) bool { return errors.Is(err, os.ErrClosed) }},
		"no pieces":     {t.Context(), nil, 0, func(*plan.Plan) {}, func(err error) bool { return err != nil }},
		"giant pieces":  {t.Context(), nil, 1 << 30, func(*plan.Plan) {}, func(err error) bool { return err != nil }},
		"file in parts": {t.Context(), nil, 4 << 20, func(p *plan.Plan) { p.Files[5].Size++ }, func(err error) bool { return err != nil && strings.Contains(err.Error(), "F does not lie in one run") }},
		"file nowhere": {t.Context(), nil, 4 << 20, func(p *plan.Plan) { p.Files = append(p.Files, plan.File{Path: "G", Size: 1, Content: pattern(1)}) }, func(err error) bool {
			return err != nil && strings.Contains(err.Error(), "G does not lie on the disk")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := mixed(t)
			c.change(p)
			if _, err := disk.WriteDigests(c.ctx, c.file, p, disk.DigestOptions{PieceSize: c.size}); !c.check(err) {
				t.Errorf("WriteDigests() = %v", err)
			}
		})
	}
}

func TestCopyFile(t *testing.T) {
	p := mixed(t)
	from, to := temp(t), temp(t)
	if _, err := disk.WriteDigests(t.Context(), from, p, disk.DigestOptions{PieceSize: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := disk.CopyFile(t.Context(), to, from, p, disk.WriteOptions{}, "copy"); err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(from.Name())
	b, errB := os.ReadFile(to.Name())
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("the copy has other bytes (%v, %v)", errA, errB)
	}
}
