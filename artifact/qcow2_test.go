package artifact_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// qcow2Of returns the disk manifest over a QCOW2 file in a pushed image's index,
// and the index's entry for it.
func qcow2Of(t *testing.T, r *registry.Repository, img *artifact.Image) (ocispec.Descriptor, ocispec.Manifest) {
	t.Helper()
	i := slices.IndexFunc(img.Entries, func(e ocispec.Descriptor) bool { return e.Annotations["disktype"] == "qcow2" })
	if i < 0 || len(img.Entries) != 3 {
		t.Fatalf("entries %+v", img.Entries)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(blobOf(t, r, img.Entries[i]), &m); err != nil {
		t.Fatal(err)
	}
	return img.Entries[i], m
}

func TestPushAddsTheDiskAsQCOW2(t *testing.T) {
	from, p := pack(t, fixed(t))
	to := registry.NewRepository(newLayout(t))
	var told meter
	opts := artifact.PushOptions{Tag: "8.0", QCOW2: true, Progress: &told}
	first, err := artifact.Push(t.Context(), from, p.Index, to, opts)
	if err != nil {
		t.Fatal(err)
	}
	if done := told.done.Load(); done != told.total || told.total <= first.Sent { // hashing counts too
		t.Errorf("progress tells of %d of %d bytes", done, told.total)
	}
	img := pushedImage(t, to, "8.0")
	if img.Manifest.Digest != p.Manifest.Digest || img.Index.Digest == p.Index.Digest || !slices.EqualFunc(img.Entries[:2], []ocispec.Descriptor{p.Manifest, p.DiskManifest}, sameDescriptor) {
		t.Errorf("the image is another one: %+v", img.Entries)
	}
	e, m := qcow2Of(t, to, img)
	if e.Digest != first.QCOW2 || e.ArtifactType != artifact.TypeDisk || e.Platform == nil || e.Platform.Architecture != "amd64" || e.Platform.OS != "linux" {
		t.Errorf("entry %+v, pushed %s", e, first.QCOW2)
	}
	if m.ArtifactType != artifact.TypeDisk || m.Config.Digest != ocispec.DescriptorEmptyJSON.Digest || m.Annotations["disktype"] != "qcow2" || len(m.Layers) != 1 {
		t.Fatalf("manifest %+v", m)
	}
	l := m.Layers[0]
	if l.MediaType != artifact.MediaTypeQCOW2 || l.Annotations[ocispec.AnnotationTitle] != "esxi-8.0.2-22380479.qcow2" {
		t.Errorf("layer %+v", l)
	}
	// It is the file that build writes.
	path := filepath.Join(t.TempDir(), "esxi.qcow2")
	if err := disk.WriteFile(t.Context(), path, source(t, fixed(t)).Plan, disk.WriteOptions{Format: disk.QCOW2}); err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(path); err != nil || !bytes.Equal(blobOf(t, to, l), want) {
		t.Errorf("the layer is another file than the build's (%v)", err)
	}

	again, err := artifact.Push(t.Context(), from, p.Index, to, opts)
	if err != nil || again.Sent != 0 || again.Index != first.Index || again.QCOW2 != first.QCOW2 {
		t.Errorf("a second push: %+v (%v)", again, err)
	}
	// From where it is it goes on as it is.
	third := registry.NewRepository(newLayout(t))
	copied, err := artifact.Push(t.Context(), to, *img.Index, third, opts)
	if err != nil || copied.Index != first.Index || copied.QCOW2 != first.QCOW2 {
		t.Errorf("a push of what was pushed: %+v (%v)", copied, err)
	}
}

func sameDescriptor(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest && a.Size == b.Size }

// The other formats can be written beside a layout, and are what they are
// without one.
func TestBuildWritesFormats(t *testing.T) {
	for _, format := range disk.Formats() {
		dir := t.TempDir()
		// Of the same name, which a file can have in it.
		both, alone := filepath.Join(dir, "esxi"), filepath.Join(t.TempDir(), "esxi")
		if _, err := artifact.Build(t.Context(), source(t, fixed(t)), filepath.Join(dir, "layout"), artifact.BuildOptions{Output: both, Format: format}); err != nil {
			t.Fatal(err)
		}
		if err := disk.WriteFile(t.Context(), alone, source(t, fixed(t)).Plan, disk.WriteOptions{Format: format}); err != nil {
			t.Fatal(err)
		}
		a, errA := os.ReadFile(both)
		b, errB := os.ReadFile(alone)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs with a layout (%v, %v)", format, errA, errB)
		}
		checkNoTemporary(t, dir)
	}
}

func TestQCOW2Refuses(t *testing.T) {
	opts := artifact.PushOptions{Tag: "8.0", QCOW2: true}
	nothingSent := func(t *testing.T, to *registry.Repository) {
		t.Helper()
		if sent := blobs(t, layoutOf(t, to)); len(sent) != 0 {
			t.Errorf("%d blobs were sent", len(sent))
		}
	}
	t.Run("damaged disk", func(t *testing.T) {
		from, p := pack(t, fixed(t))
		path, _ := from.LocalPath(p.Disk)
		b := blobOf(t, from, p.Disk)
		b[p.Config.Files[3].Offset] ^= 1
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		to := registry.NewRepository(newLayout(t))
		_, err := artifact.Push(t.Context(), from, p.Index, to, opts)
		var format *artifact.FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("Push() = %v", err)
		}
		nothingSent(t, to)
	})
	t.Run("disk cut short", func(t *testing.T) {
		from, p := pack(t, fixed(t))
		path, _ := from.LocalPath(p.Disk)
		if err := errors.Join(os.Chmod(path, 0o600), os.Truncate(path, 4096)); err != nil {
			t.Fatal(err)
		}
		to := registry.NewRepository(newLayout(t))
		_, err := artifact.Push(t.Context(), from, p.Index, to, opts)
		var format *artifact.FormatError
		if !errors.As(err, &format) {
			t.Errorf("Push() = %v", err)
		}
		nothingSent(t, to)
	})
	t.Run("cancelled", func(t *testing.T) {
		from, p := pack(t, fixed(t))
		to := registry.NewRepository(newLayout(t))
		ctx, cancel := context.WithCancel(t.Context())
		_, err := artifact.Push(ctx, from, p.Index, to, artifact.PushOptions{QCOW2: true, Progress: stopper{cancel}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Push() = %v", err)
		}
		nothingSent(t, to)
	})
	t.Run("variant", func(t *testing.T) {
		base, p := pack(t, fixed(t))
		if _, err := artifact.PushVariant(t.Context(), base, p.Index, []byte("reboot\n"), base, unverified("lab")); err != nil {
			t.Fatal(err)
		}
		to := registry.NewRepository(newLayout(t))
		_, err := artifact.Push(t.Context(), base, *pushedImage(t, base, "lab").Index, to, opts)
		var variant *artifact.VariantError
		if !errors.As(err, &variant) || variant.Advice == "" {
			t.Errorf("Push() = %v", err)
		}
		nothingSent(t, to)
	})
	t.Run("registry", func(t *testing.T) {
		from, p := pack(t, fixed(t))
		archive := registry.Reference{Scheme: registry.SchemeArchive, Path: filepath.Join(t.TempDir(), "esxi.tar")}
		written, err := registry.Create(t.Context(), archive, registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Push(t.Context(), from, p.Index, written, artifact.PushOptions{Tag: "8.0"}); err != nil {
			t.Fatal(err)
		}
		if err := written.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := registry.Open(t.Context(), archive, registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Push(t.Context(), r, p.Index, registry.NewRepository(newLayout(t)), opts); err == nil || !strings.Contains(err.Error(), "in a layout") {
			t.Errorf("Push() = %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A file that is nowhere can be sent again from its start.
func TestTheQCOW2IsSentAgain(t *testing.T) {
	from, p := pack(t, fixed(t))
	l := registrytest.ServeLiar(t)
	to := registrytest.Create(t, l.Host+"/esxi", registry.Options{RetryWait: time.Millisecond})
	if _, err := artifact.Push(t.Context(), from, p.Index, to, artifact.PushOptions{Tag: "raw"}); err != nil {
		t.Fatal(err)
	}
	// Of the image only the qcow2 file is missing.
	l.Forget()
	l.Tell(registrytest.On(http.MethodPut, registrytest.Uploads, registrytest.First(2, registrytest.BreakUpload(1<<20))))
	pushed, err := artifact.Push(t.Context(), from, p.Index, to, artifact.PushOptions{Tag: "8.0", QCOW2: true})
	if err != nil || pushed.Present < p.Config.Disk.Size {
		t.Fatalf("%+v, %v", pushed, err)
	}
	if n := l.Counts().Requests["PUT uploads"]; n != 3 {
		t.Errorf("%d uploads, want 3", n)
	}
}

// stopper ends a context as soon as work begins.
type stopper struct{ stop func() }

func (s stopper) Start(string, int64) { s.stop() }
func (stopper) Add(int64)             {}
func (stopper) Done()                 {}
