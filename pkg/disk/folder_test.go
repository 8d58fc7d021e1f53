package disk_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

func folderPlan() *plan.Plan {
	large := strings.Repeat("0123456789abcdef", 200_000) // of several buffers
	return &plan.Plan{Files: []plan.File{
		{Path: "boot.cfg", Size: 4, Content: strings.NewReader("conf")},
		{Path: "empty.gz"},
		{Path: "sub/large.v00", Size: int64(len(large)), Content: strings.NewReader(large), Expect: []plan.Digest{sha256.Sum256([]byte(large))}},
	}}
}

func TestWriteFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "netboot")
	p := folderPlan()
	if err := disk.WriteFolder(t.Context(), dir, p, disk.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, f := range p.Files {
		want := make([]byte, f.Size)
		if f.Size > 0 {
			if err := f.ReadContent(want, 0); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", f.Path, len(got), err)
		}
	}
}

func TestWriteFolderLeavesNothingThatIsWrong(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(*plan.Plan)
		as     any
	}{
		"other bytes":  {t.Context(), func(p *plan.Plan) { p.Files[2].Expect[0][0]++ }, new(*plan.MismatchError)},
		"cut short":    {t.Context(), func(p *plan.Plan) { p.Files[0].Size++ }, new(*plan.ReadError)},
		"a path":       {t.Context(), func(p *plan.Plan) { p.Files[0].Path = "../boot.cfg" }, new(*plan.ReadError)},
		"interruption": {canceled, func(*plan.Plan) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := folderPlan()
			c.change(p)
			err := disk.WriteFolder(c.ctx, filepath.Join(dir, "netboot"), p, disk.WriteOptions{})
			if err == nil || c.as != nil && !errors.As(err, c.as) || c.as == nil && !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestWriteFolderReplacesOnlyItsOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "netboot")
	p := folderPlan()
	p.Files = p.Files[:2]
	write := func() error { return disk.WriteFolder(t.Context(), dir, p, disk.WriteOptions{Replace: true}) }
	for range 2 {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "boot.cfg")); err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.Is(err, disk.ErrForeignFolder) {
		t.Errorf("without boot.cfg: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "empty.gz")); err != nil {
		t.Errorf("what was there is gone: %v", err)
	}
}

// TestReplaceAFolderOfHosts holds that a folder with one for each host is known
// as one of ours, and that nothing else is.
func TestReplaceAFolderOfHosts(t *testing.T) {
	for name, c := range map[string]struct {
		add  string
		want bool
	}{
		"nothing else": {"", true}, "host": {"01-00-25-b5-00-00-01/esxiks.tgz", true},
		"other folder": {"docs/x", false}, "upper case": {"01-00-25-B5-00-00-01/boot.cfg", false}, "no host": {"01-00-25-b5-00-00-02/thesis.txt", false},
		"folder in a host's": {"01-00-25-b5-00-00-01/docs/x", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "netboot")
			p := folderPlan()
			p.Files[2].Path = "01-00-25-b5-00-00-01/boot.cfg"
			if err := disk.WriteFolder(t.Context(), dir, p, disk.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			if c.add != "" {
				file := filepath.Join(dir, filepath.FromSlash(c.add))
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			err := disk.WriteFolder(t.Context(), dir, p, disk.WriteOptions{Replace: true})
			if c.want != (err == nil) || err != nil && !errors.Is(err, disk.ErrForeignFolder) {
				t.Errorf("error %v", err)
			}
		})
	}
}
