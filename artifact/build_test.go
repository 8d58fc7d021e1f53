package artifact_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func sum(b []byte) artifact.SHA256 { return sha256.Sum256(b) }

// checkNoTemporary holds that nothing was left behind.
func checkNoTemporary(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".tmp") {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func blobs(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o222 != 0 {
			t.Errorf("blob %s can be written to (%v)", e.Name(), err)
		}
	}
	return out
}

func TestBuildKeepsWhatTagsName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "esxi-img.oci")
	build := func(p imager.Profile, tag string) *artifact.Packed {
		t.Helper()
		packed, err := artifact.Build(t.Context(), source(t, p), dir, artifact.BuildOptions{Tag: tag})
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	other, third := fixed(t), fixed(t)
	other.Kickstart = append(bytes.Clone(kickstartText), "# other\n"...)
	third.Kickstart = append(bytes.Clone(kickstartText), "# third\n"...)

	first := build(fixed(t), "8.0")
	one := len(blobs(t, dir))
	second := build(other, "")
	if first.Index.Digest == second.Index.Digest {
		t.Fatal("another kickstart gives the same image")
	}
	// The module and the empty config serve both.
	if got, want := len(blobs(t, dir)), 2*one-2; got != want {
		t.Errorf("%d blobs for two images, want %d", got, want)
	}
	last := build(third, "")
	if got, want := len(blobs(t, dir)), 2*one-2; got != want {
		t.Errorf("%d blobs after latest moved, want %d", got, want)
	}
	l, err := registry.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]*artifact.Packed{"8.0": first, "latest": last} {
		d, err := l.Resolve(t.Context(), tag)
		if err != nil || d.Digest != want.Index.Digest {
			t.Errorf("%s is %s (%v), want %s", tag, d.Digest, err, want.Index.Digest)
		}
		img, err := artifact.Load(t.Context(), l, d)
		if err != nil {
			t.Fatal(err)
		}
		checkPieces(t, img.Config, blobOf(t, registry.NewRepository(l), img.Disk))
	}
	// Building the same again changes nothing.
	before := blobs(t, dir)
	if again := build(third, ""); again.Index.Digest != last.Index.Digest || !slices.Equal(blobs(t, dir), before) {
		t.Error("the same inputs gave something else")
	}
	checkNoTemporary(t, dir)
}

func TestBuildWritesTheDiskToo(t *testing.T) {
	dir := t.TempDir()
	layout, output := filepath.Join(dir, "layout"), filepath.Join(dir, "esxi.img")
	opts := artifact.BuildOptions{Output: output}
	p, err := artifact.Build(t.Context(), source(t, fixed(t)), layout, opts)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if sum(got) != p.Config.Disk.SHA256 {
		t.Error("the output is another disk")
	}
	blob := filepath.Join(layout, "blobs", "sha256", p.Config.Disk.SHA256.String())
	a, errA := os.Stat(output)
	b, errB := os.Stat(blob)
	if errA != nil || errB != nil || os.SameFile(a, b) || a.Mode().Perm()&0o200 == 0 {
		t.Errorf("the output and the blob are one file, or it can't be written to (%v, %v)", errA, errB)
	}

	// One that is there is refused before anything is done, and replaced when
	// that is asked for.
	before := blobs(t, layout)
	s := source(t, imager.Profile{})
	if _, err := artifact.Build(t.Context(), s, layout, opts); !errors.Is(err, outfile.ErrExists) {
		t.Errorf("over an output: %v", err)
	}
	if !slices.Equal(blobs(t, layout), before) {
		t.Error("the refused build changed the layout")
	}
	opts.Replace = true
	if _, err := artifact.Build(t.Context(), s, layout, opts); err != nil {
		t.Error(err)
	}
	checkNoTemporary(t, dir)
}

func TestAFailedBuildLeavesTheTagsAlone(t *testing.T) {
	dir := t.TempDir()
	layout, output := filepath.Join(dir, "layout"), filepath.Join(dir, "esxi.img")
	p, err := artifact.Build(t.Context(), source(t, fixed(t)), layout, artifact.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := blobs(t, layout)
	s := source(t, imager.Profile{})
	s.Plan.Files[7].Expect = []plan.Digest{{1}}
	var mismatch *plan.MismatchError
	if _, err := artifact.Build(t.Context(), s, layout, artifact.BuildOptions{Output: output}); !errors.As(err, &mismatch) {
		t.Errorf("Build() = %v", err)
	}
	if _, err := os.Stat(output); err == nil {
		t.Error("the failed build left its output")
	}
	l, err := registry.OpenLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := l.Resolve(t.Context(), "latest"); err != nil || d.Digest != p.Index.Digest || !slices.Equal(blobs(t, layout), before) {
		t.Errorf("latest is %s (%v)", d.Digest, err)
	}
	checkNoTemporary(t, dir)
}
