package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func pullFormat(ctx context.Context, t *testing.T, from *registry.Repository, path string, file artifact.FileOptions, opts artifact.PullOptions) (*artifact.Pulled, error) {
	t.Helper()
	to, err := artifact.ToFile(path, file)
	if err != nil {
		return nil, err
	}
	p, err := artifact.Pull(ctx, from, artifact.LatestTag, to, opts)
	if closeErr := to.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	return p, err
}

// TestPullToFormats: the file is the one that is made of the raw disk, and what
// is there already is not fetched again.
func TestPullToFormats(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	raw := diskOf(t, layout)
	blob, err := packed.Config.BlobPlan(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]artifact.FileOptions{
		"qcow2": {Format: disk.QCOW2}, "compressed": {Format: disk.QCOW2, Compress: true}, "vmdk": {Format: disk.VMDK}, "sparse": {Format: disk.VMDKSparse},
	} {
		dir := t.TempDir()
		want, path := filepath.Join(t.TempDir(), "esxi"), filepath.Join(dir, "esxi")
		if err := disk.WriteFile(t.Context(), want, blob, disk.WriteOptions{Format: file.Format, Compress: file.Compress}); err != nil {
			t.Fatal(err)
		}
		s.Forget()
		p, err := pullFormat(t.Context(), t, s.repo, path, file, skip)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		only(t, dir, "esxi")
		if p.Size != int64(len(raw)) || p.Fetched == 0 {
			t.Errorf("%s: %+v", name, p)
		}
		a, errA := os.ReadFile(path)
		b, errB := os.ReadFile(want)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s: another file", name)
		}
		p, err = pullFormat(t.Context(), t, s.repo, path, file, skip)
		if file.Format != disk.QCOW2 {
			var target *artifact.TargetError
			if !errors.As(err, &target) {
				t.Errorf("%s: over what cannot be read: %v", name, err)
			}
			file.Force = true
			if _, err := pullFormat(t.Context(), t, s.repo, path, file, skip); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || p.Fetched != 0 {
			t.Errorf("%s, again: %+v, %v", name, p, err)
		}
	}
}

// beforeWriting interrupts what follows the pull.
type beforeWriting struct{ stop func() }

func (s beforeWriting) Start(phase string, _ int64) {
	if strings.HasPrefix(phase, "write ") {
		s.stop()
	}
}
func (beforeWriting) Add(int64) {}
func (beforeWriting) Done()     {}

// TestPullToFormatGoesOn: what was pulled is kept when making the file fails.
func TestPullToFormatGoesOn(t *testing.T) {
	layout, _ := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	dir := t.TempDir()
	path := filepath.Join(dir, "esxi.qcow2")
	ctx, stop := context.WithCancel(t.Context())
	opts := skip
	opts.Progress = beforeWriting{stop}
	_, err := pullFormat(ctx, t, s.repo, path, artifact.FileOptions{Format: disk.QCOW2}, opts)
	var kept *artifact.KeptError
	if !errors.As(err, &kept) || !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	only(t, dir, ".esxi.qcow2.partial")
	p, err := pullFormat(t.Context(), t, s.repo, path, artifact.FileOptions{Format: disk.QCOW2}, skip)
	if err != nil || p.Fetched != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	only(t, dir, "esxi.qcow2")
}

// TestPullToFormatChecks: what lies raw beside the output is checked once more
// when that is made of it.
func TestPullToFormatChecks(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	dir := t.TempDir()
	path := filepath.Join(dir, "esxi.qcow2")
	payload := packed.Config.Files[len(packed.Config.Files)/2]
	opts := skip
	opts.Progress = beforeWriting{func() {
		f, err := os.OpenFile(filepath.Join(dir, ".esxi.qcow2.partial"), os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := f.WriteAt([]byte("flipped"), payload.Offset); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}}
	if _, err := pullFormat(t.Context(), t, s.repo, path, artifact.FileOptions{Format: disk.QCOW2}, opts); err == nil {
		t.Error("it was not noticed")
	}
	only(t, dir, ".esxi.qcow2.partial")
	p, err := pullFormat(t.Context(), t, s.repo, path, artifact.FileOptions{Format: disk.QCOW2}, skip)
	if err != nil || p.Fetched == 0 {
		t.Errorf("the next pull: %+v, %v", p, err)
	}
	only(t, dir, "esxi.qcow2")
}

// TestSeedsInQCOW2 are read as raw ones are.
func TestSeedsInQCOW2(t *testing.T) {
	layout, _ := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	seed := filepath.Join(t.TempDir(), "seed.qcow2")
	if _, err := pullFormat(t.Context(), t, s.repo, seed, artifact.FileOptions{Format: disk.QCOW2, Compress: true}, skip); err != nil {
		t.Fatal(err)
	}
	opts := skip
	opts.Seeds = []string{seed}
	path := filepath.Join(t.TempDir(), "esxi.img")
	if p := pullTo(t, s.repo, path, opts); p.Fetched != 0 {
		t.Errorf("%d bytes were fetched", p.Fetched)
	}
	holds(t, path, diskOf(t, layout))
}

// TestPullToMedia: what Make fails to make keeps what was pulled, and the next
// pull goes on from it.
func TestPullToMedia(t *testing.T) {
	layout, _ := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	dir := t.TempDir()
	path := filepath.Join(dir, "esxi.iso")
	want := diskOf(t, layout)
	pull := func(do func(context.Context, *plan.Plan, disk.WriteOptions) error) (*artifact.Pulled, error) {
		to, err := artifact.ToMedia(path, artifact.MediaOptions{Make: do})
		if err != nil {
			t.Fatal(err)
		}
		p, err := artifact.Pull(t.Context(), s.repo, artifact.LatestTag, to, skip)
		if err := to.Close(); err != nil {
			t.Error(err)
		}
		return p, err
	}
	broken := errors.New("broken")
	_, err := pull(func(context.Context, *plan.Plan, disk.WriteOptions) error { return broken })
	var kept *artifact.KeptError
	if !errors.As(err, &kept) || !errors.Is(err, broken) {
		t.Fatal(err)
	}
	only(t, dir, ".esxi.iso.partial")
	p, err := pull(func(_ context.Context, disked *plan.Plan, opts disk.WriteOptions) error {
		b := make([]byte, disked.Size)
		if _, err := disked.ReadAt(b, 0); err != nil {
			return err
		}
		if !bytes.Equal(b, want) {
			t.Error("another disk")
		}
		return os.WriteFile(path, []byte("made"), 0o600)
	})
	if err != nil || p.Fetched != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	only(t, dir, "esxi.iso")
	if _, err := artifact.ToMedia(path, artifact.MediaOptions{}); !errors.Is(err, outfile.ErrExists) {
		t.Error(err)
	}
	if _, err := artifact.ToMedia(dir, artifact.MediaOptions{Folder: true, Force: true}); !errors.Is(err, disk.ErrForeignFolder) {
		t.Error(err)
	}
}
