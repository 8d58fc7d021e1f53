package disk_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// pattern is content of any size that costs no memory.
type pattern byte

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		b[i] = byte(off+int64(i))*7 + byte(p)
	}
	return len(b), nil
}

func digestOf(t *testing.T, r io.ReaderAt, size int64) *plan.Digest {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		t.Fatal(err)
	}
	d := plan.Digest(h.Sum(nil))
	return &d
}

// mixed is a plan with files over and under every size that writing cuts at.
func mixed(t *testing.T) *plan.Plan {
	t.Helper()
	var b plan.Builder
	b.Literal([]byte("head"))
	b.Pad(4096)
	for i, size := range []int64{1, 4096, 1<<20 - 1, 1 << 20, 5<<20 + 3, 33<<20 + 1} {
		content := pattern(i)
		f := plan.File{Path: string(rune('A' + i)), Size: size, Content: content}
		if i%2 == 0 {
			f.Expect = []plan.Digest{{9}, *digestOf(t, content, size)}
		}
		b.File(f)
		b.Pad(4096)
	}
	b.Zero(2 << 20)
	b.Literal(bytes.Repeat([]byte("tail"), 1024))
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWriteFileGivesThePlannedBytes(t *testing.T) {
	p := mixed(t)
	want := digestOf(t, p, p.Size)
	for _, workers := range []int{0, 1, 3, 9} {
		path := filepath.Join(t.TempDir(), "out.img")
		if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{Workers: workers}); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if got := digestOf(t, f, info.Size()); *got != *want || info.Size() != p.Size {
			t.Errorf("%d workers wrote other bytes than planned", workers)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		onlyFile(t, path)
	}
}

// onlyFile checks that nothing but path is in its folder; "" for nothing at all.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestWriteFileLeavesNothingAfterAFailure(t *testing.T) {
	wrong := plan.Digest{1}
	broken := errors.New("the disk is on fire")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(*plan.Plan)
		check  func(error) bool
	}{
		"wrong digest": {t.Context(), func(p *plan.Plan) { p.Files[3].Expect = []plan.Digest{wrong} }, func(err error) bool {
			var m *plan.MismatchError
			return errors.As(err, &m) && m.Path == "D" && m.Want[0] == wrong
		}},
		"unreadable": {t.Context(), func(p *plan.Plan) { p.Files[4].Content = failing{broken} }, func(err error) bool {
			var r *plan.ReadError
			return errors.As(err, &r) && r.Path == "E" && errors.Is(err, broken)
		}},
		"cut short": {t.Context(), func(p *plan.Plan) { p.Files[5].Content = strings.NewReader("x") }, func(err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF)
		}},
		"cancelled": {cancelled, func(*plan.Plan) {}, func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := mixed(t)
			c.change(p)
			path := filepath.Join(t.TempDir(), "out.img")
			err := disk.WriteFile(c.ctx, path, p, disk.WriteOptions{})
			if !c.check(err) {
				t.Errorf("WriteFile() = %v", err)
			}
			onlyFile(t, filepath.Join(filepath.Dir(path), "nothing"))
		})
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestWriteFileAndWhatIsThere(t *testing.T) {
	p := planned(t, 512)
	dir := t.TempDir()
	path := filepath.Join(dir, "out.img")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{}); !errors.Is(err, outfile.ErrExists) {
		t.Errorf("over a file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Error("the refused write changed the file")
	}
	if err := disk.WriteFile(t.Context(), path, p, disk.WriteOptions{Replace: true}); err != nil {
		t.Errorf("with Replace: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != p.Size {
		t.Errorf("with Replace: %v, %v", info, err)
	}
	onlyFile(t, path)
	for _, target := range []string{dir, os.DevNull} {
		var pathErr *fs.PathError
		err := disk.WriteFile(t.Context(), target, p, disk.WriteOptions{Replace: true})
		if !errors.As(err, &pathErr) || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("to %s: %v", target, err)
		}
	}
	missing := filepath.Join(dir, "no", "such", "out.img")
	err := disk.WriteFile(t.Context(), missing, p, disk.WriteOptions{})
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), ".tmp") {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

func TestLongNamesCanBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 251)+".img")
	if err := disk.WriteFile(t.Context(), path, planned(t, 512), disk.WriteOptions{}); err != nil {
		t.Error(err)
	}
}
