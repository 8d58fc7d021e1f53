package artifact_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestPushCopiesWhatIsMissing(t *testing.T) {
	from, p := pack(t, fixed(t))
	to := registry.NewRepository(newLayout(t))
	var told meter
	first, err := artifact.Push(t.Context(), from, p.Index, to, artifact.PushOptions{Tag: "8.0", Progress: &told})
	if err != nil {
		t.Fatal(err)
	}
	want := []artifact.PushedTag{{Tag: "8.0", Set: true, Digest: p.Index.Digest}, {Tag: "8.0.2-22380479", Set: true, Digest: p.Index.Digest}}
	if first.Index != p.Index.Digest || first.Manifest != p.Manifest.Digest || !slices.Equal(first.Tags, want) || first.Present != 0 {
		t.Errorf("pushed %+v", first)
	}
	if done := told.done.Load(); told.total == 0 || done != told.total || !told.ended {
		t.Errorf("progress tells of %d of %d bytes", done, told.total)
	}
	if got, want := blobs(t, layoutOf(t, to)), blobs(t, layoutOf(t, from)); !slices.Equal(got, want) {
		t.Errorf("blobs %q, want %q", got, want)
	}
	img := pushedImage(t, to, "8.0")
	checkPieces(t, img.Config, blobOf(t, to, img.Disk))

	again, err := artifact.Push(t.Context(), from, p.Index, to, artifact.PushOptions{Tag: "8.0"})
	if err != nil || again.Sent != 0 || again.Present != first.Sent {
		t.Errorf("a second push sends %+v (%v)", again, err)
	}
}

// meter is a progress.Reporter.
type meter struct {
	total int64
	done  atomic.Int64
	ended bool
}

func (m *meter) Start(_ string, n int64) { m.total += n }
func (m *meter) Add(n int64)             { m.done.Add(n) }
func (m *meter) Done()                   { m.ended = true }

func TestTagsMoveOnlyByForce(t *testing.T) {
	first, a := pack(t, fixed(t))
	other := fixed(t)
	other.Kickstart = append(bytes.Clone(kickstartText), "# other\n"...)
	second, b := pack(t, other)
	to := registry.NewRepository(newLayout(t))
	if _, err := artifact.Push(t.Context(), first, a.Index, to, artifact.PushOptions{Tag: "8.0"}); err != nil {
		t.Fatal(err)
	}
	before := blobs(t, layoutOf(t, to))
	var moved *artifact.TagMoveError
	_, err := artifact.Push(t.Context(), second, b.Index, to, artifact.PushOptions{Tag: "8.0"})
	if !errors.As(err, &moved) || moved.Have != a.Index.Digest || moved.Want != b.Index.Digest {
		t.Errorf("Push() = %v", err)
	}
	if !slices.Equal(before, blobs(t, layoutOf(t, to))) {
		t.Error("the refused push sent something")
	}
	// The release's tag stays, and says so.
	for tag, force := range map[string]bool{"8.0": true, "8.0-other": false} {
		p, err := artifact.Push(t.Context(), second, b.Index, to, artifact.PushOptions{Tag: tag, Force: force})
		if err != nil {
			t.Fatal(err)
		}
		want := []artifact.PushedTag{{Tag: tag, Set: true, Digest: b.Index.Digest}, {Tag: "8.0.2-22380479", Digest: a.Index.Digest}}
		if !slices.Equal(p.Tags, want) {
			t.Errorf("tags %+v, want %+v", p.Tags, want)
		}
	}
	for tag, want := range map[string]digest.Digest{"8.0": b.Index.Digest, "8.0-other": b.Index.Digest, "8.0.2-22380479": a.Index.Digest} {
		if d, err := to.Resolve(t.Context(), tag); err != nil || d.Digest != want {
			t.Errorf("%s is %s (%v), want %s", tag, d.Digest, err, want)
		}
	}
	// Unless it is the one that was asked for.
	if _, err := artifact.Push(t.Context(), second, b.Index, to, artifact.PushOptions{Tag: "8.0.2-22380479"}); !errors.As(err, &moved) {
		t.Errorf("Push() to the release's tag = %v", err)
	}
}

func TestSecretsAreNotPushed(t *testing.T) {
	for _, line := range []string{"rootpw VMware1!", "# -----BEGIN RSA PRIVATE KEY-----", "%post --interpreter=busybox\ncurl -H 'x' https://me:pass@host/", "%post --interpreter=busybox\nAPI_TOKEN=1; access_token=abcdefgh"} {
		profile := imager.Profile{Headroom: 1 << 20, Kickstart: append(bytes.Clone(kickstartText), line+"\n"...)}
		from, p := pack(t, profile)
		to := registry.NewRepository(newLayout(t))
		_, err := artifact.Push(t.Context(), from, p.Index, to, artifact.PushOptions{Tag: "8.0"})
		var secrets *artifact.SecretsError
		if !errors.As(err, &secrets) || len(secrets.Findings) == 0 {
			t.Errorf("%q: Push() = %v", line, err)
		}
		if n := len(blobs(t, layoutOf(t, to))); n != 0 {
			t.Errorf("%q: %d blobs were sent", line, n)
		}
		pushed, err := artifact.Push(t.Context(), from, p.Index, to, artifact.PushOptions{Tag: "8.0", AllowSecrets: true})
		if err != nil || len(pushed.Findings) < 2 {
			t.Errorf("%q, allowed: %+v, %v", line, pushed, err)
		}
	}
}

func TestTheBuiltInKickstartMayBePushed(t *testing.T) {
	from, p := pack(t, imager.Profile{Headroom: 1 << 20})
	pushed, err := artifact.Push(t.Context(), from, p.Index, registry.NewRepository(newLayout(t)), artifact.PushOptions{Tag: "8.0"})
	if err != nil || len(pushed.Findings) != 0 {
		t.Errorf("%+v, %v", pushed, err)
	}
}

func TestAHashedPasswordIsTold(t *testing.T) {
	from, p := pack(t, fixed(t))
	pushed, err := artifact.Push(t.Context(), from, p.Index, registry.NewRepository(newLayout(t)), artifact.PushOptions{Tag: "8.0"})
	if err != nil || len(pushed.Findings) != 1 || pushed.Findings[0].Severity != kickstart.Note {
		t.Errorf("%+v, %v", pushed, err)
	}
}

// What lies in a layout is hashed again on its way.
func TestADamagedLayoutIsNotPushed(t *testing.T) {
	for name, damage := range map[string]func(p *artifact.Packed) digest.Digest{
		"disk":      func(p *artifact.Packed) digest.Digest { return p.Disk.Digest },
		"index":     func(p *artifact.Packed) digest.Digest { return p.Index.Digest },
		"manifest":  func(p *artifact.Packed) digest.Digest { return p.DiskManifest.Digest },
		"module":    func(p *artifact.Packed) digest.Digest { return p.Config.Modules[0].SHA256.Digest() },
		"kickstart": func(p *artifact.Packed) digest.Digest { return p.Config.Kickstart.SHA256.Digest() },
	} {
		t.Run(name, func(t *testing.T) {
			from, p := pack(t, fixed(t))
			flip(t, filepath.Join(layoutOf(t, from), "blobs", "sha256", damage(p).Encoded()))
			to := registry.NewRepository(newLayout(t))
			if _, err := artifact.Push(t.Context(), from, p.Index, to, artifact.PushOptions{Tag: "8.0"}); err == nil {
				t.Error("it was pushed")
			}
			if _, err := to.Resolve(t.Context(), "8.0"); !errors.Is(err, registry.ErrNotFound) {
				t.Errorf("the tag is set (%v)", err)
			}
			for _, b := range blobs(t, layoutOf(t, to)) {
				data, err := os.ReadFile(filepath.Join(layoutOf(t, to), "blobs", "sha256", b))
				if err != nil || sum(data).String() != b {
					t.Errorf("blob %s has other bytes (%v)", b, err)
				}
			}
		})
	}
}

// flip changes a byte in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}
