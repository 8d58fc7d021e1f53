package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// What is pulled is what was packed; all of it is content; and pulling it again
// neither fetches nor writes anything.
func TestPullToFile(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	dir := t.TempDir()
	path := filepath.Join(dir, "esxi.img")
	opts := skip
	opts.Check = true
	p := pullTo(t, s.repo, path, opts)
	want := diskOf(t, layout)
	holds(t, path, want)
	only(t, dir, "esxi.img")
	if p.Digest != packed.Index.Digest || p.Manifest != packed.Manifest.Digest || p.Size != int64(len(want)) || len(p.Changed) != 0 || !p.Checked {
		t.Errorf("%+v", p)
	}
	content := contentOf(packed.Config)
	// What was fetched beyond the content is gaps between files.
	if p.Fetched < content || p.Fetched > content*102/100 || p.Generated == 0 || p.Generated > 1<<20 || p.Reused != 0 || p.Written != content+p.Generated {
		t.Errorf("fetched %d, generated %d, reused %d, written %d of %d bytes of content", p.Fetched, p.Generated, p.Reused, p.Written, content)
	}

	before := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(path, before, before); err != nil {
		t.Fatal(err)
	}
	s.Forget()
	p = pullTo(t, s.repo, path, skip)
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(before) {
		t.Errorf("the file was written to: %v, %v", info.ModTime(), err)
	}
	if p.Fetched != 0 || p.Written != 0 || p.Reused != content || s.Counts().Sent > 1<<20 {
		t.Errorf("pulled again: fetched %d, written %d, reused %d; %d bytes of blobs", p.Fetched, p.Written, p.Reused, s.Counts().Sent)
	}
	only(t, dir, "esxi.img")

	// One byte of it, at the end, brings one piece.
	last := packed.Config.Pieces()[len(packed.Config.Pieces())-3]
	damage(t, path, last.Offset+last.Length-1)
	if p = pullTo(t, s.repo, path, skip); p.Fetched > artifact.PieceSize {
		t.Errorf("%d bytes were fetched for one", p.Fetched)
	}
	holds(t, path, want)
	damage(t, path, int64(len(want))-1<<20) // zeros by rights
	if p = pullTo(t, s.repo, path, skip); p.Fetched != 0 || p.Written == 0 {
		t.Errorf("fetched %d, written %d for a byte that should be zero", p.Fetched, p.Written)
	}
	holds(t, path, want)
}

// damage changes a byte of a file.
func damage(tb testing.TB, path string, at int64) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	var b [1]byte
	if _, err = f.ReadAt(b[:], at); err == nil {
		b[0] ^= 1
		_, err = f.WriteAt(b[:], at)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		tb.Fatal(err)
	}
}

// An oras-like tool may have made the file dense, a layout may be pulled from
// directly, and variants have bytes of three origins.
func TestPullVariantAndLayout(t *testing.T) {
	base, packed := pack(t, imager.Profile{Headroom: 1 << 20})
	to := registry.NewRepository(newLayout(t))
	_, err := artifact.PushVariant(t.Context(), base, packed.Index, []byte("vmaccepteula\ninstall --firstdisk=local --overwritevmfs\n%include /tmp/rootpw\nreboot\n"), to,
		artifact.VariantOptions{Verifier: artifact.InsecureSkip{}, PushOptions: artifact.PushOptions{Tag: artifact.LatestTag}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "esxi.img")
	p := pullTo(t, to, path, skip)
	holds(t, path, diskOf(t, to))
	if p.Fetched == 0 {
		t.Error("nothing was fetched")
	}
	// Its base differs in a few sectors.
	s := serve(t, base)
	if p = pullTo(t, s.repo, path, skip); p.Fetched != 0 {
		t.Errorf("the base was fetched over its variant: %d bytes", p.Fetched)
	}
	holds(t, path, diskOf(t, base))
}

// A pull that is stopped leaves nothing under the name; the next one goes on.
func TestPullResumes(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	dir := t.TempDir()
	path := filepath.Join(dir, "esxi.img")
	content := contentOf(packed.Config)
	half := content / 2

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts := skip
	opts.Progress = &pullStopper{cancel: cancel, after: half}
	_, err := tryPull(ctx, t, s.repo, path, false, opts)
	var kept *artifact.KeptError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &kept) {
		t.Fatalf("a pull that was stopped: %v", err)
	}
	only(t, dir, ".esxi.img.partial")

	// One that fails before it writes does not lose it.
	opts = skip
	opts.ExpectBuild = "1"
	var unexpected *artifact.ExpectationError
	if _, err = tryPull(t.Context(), t, s.repo, path, false, opts); !errors.As(err, &unexpected) {
		t.Errorf("another build: %v", err)
	}
	only(t, dir, ".esxi.img.partial")

	s.Forget()
	p := pullTo(t, s.repo, path, skip)
	holds(t, path, diskOf(t, layout))
	only(t, dir, "esxi.img")
	if sent, most := s.Counts().Sent, content-half+content/20; sent > most || p.Fetched > most || p.Reused < half*9/10 {
		t.Errorf("the rest took %d bytes (%d say we), more than %d; reused %d", sent, p.Fetched, most, p.Reused)
	}
}

// An image that is there is a seed, and is whole until another one is.
func TestPullReplaces(t *testing.T) {
	older, _ := packLarge(t, imager.Profile{KernelOpts: []string{"a=1"}})
	newer, packed := packLarge(t, imager.Profile{Headroom: 3 << 20})
	dir := t.TempDir()
	path := filepath.Join(dir, "esxi.img")
	pullTo(t, older, path, skip)

	s := serve(t, newer)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts := skip
	opts.Progress = &pullStopper{cancel: cancel, after: 1 << 20}
	if _, err := tryPull(ctx, t, s.repo, path, false, opts); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	holds(t, path, diskOf(t, older))

	p := pullTo(t, s.repo, path, skip)
	holds(t, path, diskOf(t, newer))
	only(t, dir, "esxi.img")
	if p.Fetched > contentOf(packed.Config)/20 {
		t.Errorf("%d bytes were fetched of two images that share nearly everything", p.Fetched)
	}
}

// What is no image of ours is not replaced, unless that is meant.
func TestPullRefusesForeignFiles(t *testing.T) {
	layout, _ := pack(t, imager.Profile{})
	dir := t.TempDir()
	path := filepath.Join(dir, "letters.txt")
	letters := bytes.Repeat([]byte("dear friend\n"), 1000)
	if err := os.WriteFile(path, letters, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := tryPull(t.Context(), t, layout, path, false, skip)
	var refused *artifact.TargetError
	if !errors.As(err, &refused) || refused.Advice == "" {
		t.Errorf("over letters: %v", err)
	}
	holds(t, path, letters)
	only(t, dir, "letters.txt")
	if _, err := tryPull(t.Context(), t, layout, path, true, skip); err != nil {
		t.Fatal(err)
	}
	holds(t, path, diskOf(t, layout))
	only(t, dir, "letters.txt")

	for name, at := range map[string]string{"a folder": dir, "nowhere": filepath.Join(dir, "no", "such", "folder"), "a missing device": "/dev/no-such-disk"} {
		if _, err := tryPull(t.Context(), t, layout, at, true, skip); err == nil {
			t.Errorf("%s was written to", name)
		}
	}
}

// The second of two pulls to one file is told so.
func TestPullOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "esxi.img")
	first, err := artifact.ToFile(path, artifact.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.ToFile(path, artifact.FileOptions{}); !errors.Is(err, outfile.ErrBusy) {
		t.Errorf("the second: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := artifact.ToFile(path, artifact.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	only(t, filepath.Dir(path))
}

// Nobody who may not be trusted gets as far as the disk.
func TestPullVerifiesFirst(t *testing.T) {
	layout, packed := pack(t, imager.Profile{})
	s := serve(t, layout)
	path := filepath.Join(t.TempDir(), "esxi.img")
	refused := errors.New("not signed")
	for name, v := range map[string]artifact.Verifier{
		"nobody": nil,
		"no": verifier(func(sub artifact.Subject) (*artifact.Verification, error) {
			if sub.Descriptor.Digest != packed.Index.Digest || sub.Ref != s.repo.Reference().WithTag("latest").String() {
				t.Errorf("asked about %+v", sub)
			}
			return nil, refused
		}),
	} {
		_, err := tryPull(t.Context(), t, s.repo, path, false, artifact.PullOptions{Verifier: v})
		var failed *artifact.VerificationError
		if !errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.Counts().Requests["GET blobs"]; n != 0 {
		t.Errorf("%d blobs were asked for", n)
	}
	only(t, filepath.Dir(path))
}

// A registry that lies, or is slow to tell the truth.
func TestPullFromLiars(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{})
	want := diskOf(t, layout)
	onDisk := func(lie registrytest.Lie) registrytest.Lie {
		return registrytest.Where(func(r *http.Request) bool {
			return r.Method == http.MethodGet && filepath.Base(r.URL.Path) == packed.Disk.Digest.String()
		}, lie)
	}
	for name, c := range map[string]struct {
		lie registrytest.Lie
		err any // nil: it ends well
	}{
		"ignores ranges":      {onDisk(registrytest.IgnoreRange()), nil},
		"breaks now and then": {onDisk(registrytest.First(3, registrytest.Break(300_000))), nil},
		"is busy at first":    {onDisk(registrytest.First(2, registrytest.Refuse(http.StatusTooManyRequests, "0"))), nil},
		"changes a byte":      {onDisk(registrytest.Damage(200_000)), new(*artifact.ContentError)},
		"changes, without range": {func(h http.Handler) http.Handler {
			return onDisk(registrytest.IgnoreRange())(onDisk(registrytest.Damage(9 << 20))(h))
		}, new(*artifact.ContentError)},
		"sends another range":   {onDisk(registrytest.RangeOffByOne(false)), new(*registry.Error)},
		"sends another, hidden": {onDisk(registrytest.RangeOffByOne(true)), new(*artifact.ContentError)},
		"sends less":            {onDisk(registrytest.Shorter(true)), new(*registry.Error)},
		"sends more":            {onDisk(registrytest.Longer(true)), new(*registry.Error)},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, layout)
			s.Tell(c.lie)
			path := filepath.Join(t.TempDir(), "esxi.img")
			_, err := tryPull(t.Context(), t, s.repo, path, false, skip)
			if c.err == nil {
				if err != nil {
					t.Fatal(err)
				}
				holds(t, path, want)
				return
			}
			if err == nil || !errors.As(err, c.err) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file: %v", err)
			}
			// Whatever is kept is either right or not there yet.
			got, err := os.ReadFile(filepath.Join(filepath.Dir(path), ".esxi.img.partial"))
			if errors.Is(err, os.ErrNotExist) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if got[i] != want[i] && got[i] != 0 {
					t.Fatalf("byte %d of what is kept is wrong", i)
				}
			}
			s.Tell()
			pullTo(t, s.repo, path, skip)
			holds(t, path, want)
		})
	}
}

// An image that a later planner laid out is pulled as it is.
func TestPullUnknownPlanner(t *testing.T) {
	layout, _ := pack(t, imager.Profile{})
	want := diskOf(t, layout)
	rewrite(t, layout, func(c *artifact.Config) { c.Planner.Version = 99 })
	path := filepath.Join(t.TempDir(), "esxi.img")
	p := pullTo(t, serve(t, layout).repo, path, skip)
	holds(t, path, want)
	if p.Generated > 1<<20 {
		t.Errorf("%d bytes were generated", p.Generated)
	}
	opts := skip
	opts.UniqueIDs = true
	var refused *artifact.PlanError
	if _, err := tryPull(t.Context(), t, layout, path, false, opts); !errors.As(err, &refused) {
		t.Errorf("with other identifiers: %v", err)
	}
	holds(t, path, want)
}

// A planner that makes something else than it should does not count.
func TestPullDistrustsThePlanner(t *testing.T) {
	layout, _ := pack(t, imager.Profile{})
	want := diskOf(t, layout)
	rewrite(t, layout, func(c *artifact.Config) { c.Disk.VolumeID++ })
	path := filepath.Join(t.TempDir(), "esxi.img")
	pullTo(t, serve(t, layout).repo, path, skip)
	holds(t, path, want)
}

// A module or a kickstart alone.
func TestPullPart(t *testing.T) {
	layout, packed := pack(t, imager.Profile{Kickstart: kickstartText})
	s := serve(t, layout)
	dir := t.TempDir()
	path := filepath.Join(dir, "KS.CFG")
	pullPart := func(force bool) (*artifact.Pulled, error) {
		return artifact.PullPart(t.Context(), s.repo, "", artifact.PartKickstart, path, force, skip)
	}
	p, err := pullPart(false)
	if err != nil || p.Written != packed.Config.Kickstart.Size {
		t.Fatalf("%+v, %v", p, err)
	}
	if got, err := os.ReadFile(path); err != nil || sum(got) != packed.Config.Kickstart.SHA256 {
		t.Errorf("%q, %v", got, err)
	}
	if n := s.Counts().Requests["GET blobs"]; n != 2 {
		t.Errorf("%d blobs were asked for, not config and kickstart", n)
	}
	if p, err = pullPart(false); err != nil || p.Written != 0 {
		t.Errorf("again: %+v, %v", p, err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = pullPart(false); !errors.Is(err, outfile.ErrExists) {
		t.Errorf("over another: %v", err)
	}
	if _, err = pullPart(true); err != nil {
		t.Error(err)
	}
	s.Tell(registrytest.Where(func(r *http.Request) bool {
		return filepath.Base(r.URL.Path) == packed.Config.Modules[0].SHA256.Digest().String()
	}, registrytest.Damage(100)))
	if _, err := artifact.PullPart(t.Context(), s.repo, "", artifact.PartModule, filepath.Join(dir, "M.TGZ"), false, skip); err == nil {
		t.Error("a damaged module was taken")
	}
	only(t, dir, "KS.CFG")
}
