package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// signed makes images with a signature each.
func signed(t *testing.T, l *registry.Layout, n int) (images, signatures []ocispec.Descriptor) {
	t.Helper()
	for i := range n {
		image, _ := artifact(t, l, fmt.Sprintf("t%d", i))
		images = append(images, image)
		signatures = append(signatures, attach(t, l, bundleType, image))
	}
	return images, signatures
}

func reopen(t *testing.T, l *registry.Layout) *registry.Layout {
	t.Helper()
	again, err := registry.OpenLayout(l.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// wantReferrers holds that exactly these refer to a manifest.
func wantReferrers(t *testing.T, l *registry.Layout, subject ocispec.Descriptor, want ...ocispec.Descriptor) {
	t.Helper()
	found, err := l.Referrers(t.Context(), subject, "")
	if err != nil {
		t.Error(err)
		return
	}
	if len(found) != len(want) {
		t.Errorf("%d referrers, want %d", len(found), len(want))
		return
	}
	for i := range want {
		if found[i].Digest != want[i].Digest {
			t.Errorf("referrer %d is %s, want %s", i, found[i].Digest, want[i].Digest)
		}
	}
}

// A list of n signed images reads each manifest of the layout once, and each
// signature once more, also when all is asked for at once; not n times n.
func TestManifestsAreReadOnce(t *testing.T) {
	const n = 30
	writer := newLayout(t)
	images, signatures := signed(t, writer, n)
	l := reopen(t, writer)
	reads := registry.CountManifestReads(l)
	for round, want := range []int64{3 * n, n} {
		reads.Store(0)
		var wg sync.WaitGroup
		for i := range images {
			wg.Go(func() { wantReferrers(t, l, images[i], signatures[i]) })
		}
		wg.Wait()
		if got := reads.Load(); got != want {
			t.Errorf("round %d: %d manifests were read, want %d", round, got, want)
		}
	}
	// Who writes knows already, and another signature costs no more.
	reads = registry.CountManifestReads(l)
	more := attach(t, l, sbomType, images[3])
	wantReferrers(t, l, images[3], signatures[3], more)
	if got := reads.Load(); got != 2 {
		t.Errorf("after one more: %d manifests were read, want 2", got)
	}
	// Nor does setting a tag.
	reads.Store(0)
	if err := l.Tag(t.Context(), images[5], "again"); err != nil || reads.Load() != 0 {
		t.Errorf("to set a tag: %d manifests were read, %v", reads.Load(), err)
	}
	if l.Forget(); l.Remembered() != 0 {
		t.Errorf("it remembers %d bytes", l.Remembered())
	}
	wantReferrers(t, l, images[3], signatures[3], more)
}

// What others do to the folder shows at once.
func TestChangesOfOthersAreSeen(t *testing.T) {
	l := newLayout(t)
	images, signatures := signed(t, l, 3)
	wantReferrers(t, l, images[0], signatures[0])
	other := reopen(t, l)

	more := attach(t, other, sbomType, images[0])
	wantReferrers(t, l, images[0], signatures[0], more)

	// An image is pruned, with what refers to it.
	if err := other.Untag(t.Context(), "t1"); err != nil {
		t.Fatal(err)
	}
	if r := gc(t, other); r.Busy || r.Blobs == 0 {
		t.Fatalf("removed %+v", r)
	}
	wantReferrers(t, l, images[1])
	if _, err := l.Resolve(t.Context(), "t1"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("what was pruned: %v", err)
	}
	if tags := collectTags(t, registry.NewRepository(l)); len(tags) != 2 {
		t.Errorf("tags %v", tags)
	}
	if known := registry.KnownSubjects(l); known != 5 {
		t.Errorf("it knows of %d manifests, 5 are left", known)
	}

	// A file is removed without anybody being told, and comes back.
	path, _ := l.LocalPath(signatures[2])
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantReferrers(t, l, images[2])
	if err := other.Push(t.Context(), signatures[2], bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	wantReferrers(t, l, images[2], signatures[2])
}

// Neither size nor time nor place of index.json tells that it is another.
func TestSameTimeAndSizeOfIndex(t *testing.T) {
	l := newLayout(t)
	signed(t, l, 1)
	path := filepath.Join(l.Dir(), "index.json")
	then := time.Unix(1, 0)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Resolve(t.Context(), "t0"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.Replace(string(content), `"t0"`, `"t1"`, 1))
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Resolve(t.Context(), "t1"); err != nil {
		t.Error(err)
	}
	if _, err := l.Resolve(t.Context(), "t0"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the old tag: %v", err)
	}
}

// A manifest that is damaged is an error until it is mended; then it is not.
func TestDamagedManifestIsNotRemembered(t *testing.T) {
	l := newLayout(t)
	images, signatures := signed(t, l, 2)
	l = reopen(t, l)
	path, _ := l.LocalPath(signatures[1])
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.Repeat("x", len(content)))
	for range 2 {
		if _, err := l.Referrers(t.Context(), images[0], ""); !errors.Is(err, registry.ErrMismatch) {
			t.Errorf("a damaged manifest: %v", err)
		}
	}
	write(t, path, string(content))
	wantReferrers(t, l, images[1], signatures[1])
}

// long makes a manifest about another with a text of n bytes in it.
func long(t *testing.T, subject ocispec.Descriptor, i, n int) []byte {
	t.Helper()
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: bundleType, Config: ocispec.DescriptorEmptyJSON,
		Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON}, Subject: &subject,
		Annotations: map[string]string{"n": fmt.Sprint(i), "text": strings.Repeat("x", n)},
	}
	m.SchemaVersion = 2
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// However long the texts of what is pushed are, index.json stays one that can be
// read, and a list of referrers one that fits into memory.
func TestLongTextsOfReferrers(t *testing.T) {
	const n = 10
	l := newLayout(t)
	images, _ := signed(t, l, 1)
	for i := range n {
		if _, err := registry.NewRepository(l).PushReferrer(t.Context(), long(t, images[0], i, 3<<20)); err != nil {
			t.Fatal(err)
		}
	}
	l = reopen(t, l)
	found, err := l.Referrers(t.Context(), images[0], bundleType)
	if err != nil || len(found) != n+1 {
		t.Fatalf("%d referrers, %v", len(found), err)
	}
	size, with := 0, 0
	for _, d := range found {
		size += len(d.Annotations["text"])
		if d.Annotations["n"] != "" {
			with++
		}
	}
	if size > 16<<20 || with != 5 {
		t.Errorf("texts of %d bytes, %d have theirs", size, with)
	}
}

// What would make index.json too large to be read is refused.
func TestFullIndex(t *testing.T) {
	l := newLayout(t)
	var err error
	for i := 0; i < 3 && err == nil; i++ {
		desc := describe(ocispec.MediaTypeImageManifest, fmt.Append(nil, i))
		desc.Annotations = map[string]string{"text": strings.Repeat("x", 2<<20)}
		err = l.Add(t.Context(), desc)
	}
	var limit *registry.LimitError
	if !errors.As(err, &limit) || !strings.Contains(err.Error(), l.Dir()) {
		t.Errorf("a full index: %v", err)
	}
	if _, err := registry.OpenLayout(l.Dir()); err != nil {
		t.Error(err)
	}
}

// Many ask while others write.
func TestQuestionsWhileOthersWrite(t *testing.T) {
	l := newLayout(t)
	images, signatures := signed(t, l, 3)
	other := reopen(t, l)
	var wg sync.WaitGroup
	for i := range images {
		wg.Go(func() {
			for range 20 {
				wantReferrers(t, l, images[i], signatures[i])
			}
		})
		wg.Go(func() {
			for j := range 5 {
				if err := other.Tag(t.Context(), images[i], fmt.Sprintf("x%d-%d", i, j)); err != nil {
					t.Error(err)
				}
				if _, err := l.Resolve(t.Context(), fmt.Sprintf("x%d-%d", i, j)); err != nil {
					t.Error(err)
				}
				l.Forget()
			}
		})
	}
	wg.Wait()
}
