package signing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/artifact/artifacttest"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

var medium = sync.OnceValue(func() []byte { return esxitest.Bytes() })

// packed is an image of a synthetic medium in a layout.
func packed(tb testing.TB) (*registry.Repository, ocispec.Descriptor) {
	tb.Helper()
	return packedOf(tb, medium(), imager.Profile{Headroom: 1 << 20})
}

// packedOf is an image of a medium.
func packedOf(tb testing.TB, medium []byte, profile imager.Profile) (*registry.Repository, ocispec.Descriptor) {
	tb.Helper()
	l, err := registry.NewLayout(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	r, p := artifacttest.Pack(tb, l, artifacttest.Source(tb, medium, profile))
	return r, p.Index
}

// pushJSON pushes a manifest.
func pushJSON(tb testing.TB, r *registry.Repository, mediaType string, v any) ocispec.Descriptor {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	if err := r.Push(tb.Context(), d, bytes.NewReader(b)); err != nil {
		tb.Fatal(err)
	}
	return d
}

func fetchJSON(tb testing.TB, r *registry.Repository, d ocispec.Descriptor, into any) {
	tb.Helper()
	b, err := artifact.FetchBytes(tb.Context(), r, d, artifact.MaxManifest)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// TestFindSubjects claims of each manifest what it is, once.
func TestFindSubjects(t *testing.T) {
	repo, index := packed(t)
	s, err := signing.FindSubjects(t.Context(), repo, index, "registry.example/esxi")
	if err != nil {
		t.Fatal(err)
	}
	want := []signing.Role{signing.RoleIndex, signing.RoleManifest, signing.RoleManifest}
	var got []signing.Role
	for _, st := range s.Statements {
		c := st.Claims
		got = append(got, c.Role)
		if c.Repository != "registry.example/esxi" || c.Version != "8.0.2" || c.Build != "22380479" || st.PredicateType != signing.PredicateSignature {
			t.Errorf("%s: %+v", st.Subject.Digest, st)
		}
	}
	if !slices.Equal(got, want) || s.Statements[0].Subject.Digest != index.Digest || len(s.Unchecked) != 0 {
		t.Errorf("roles %v, first %s, unchecked %v", got, s.Statements[0].Subject.Digest, s.Unchecked)
	}
	one, err := signing.FindSubjects(t.Context(), repo, s.Image.Manifest, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Statements) != 1 || one.Statements[0].Claims.Role != signing.RoleManifest || one.Statements[0].Claims.Repository != "" {
		t.Errorf("of a manifest: %+v", one.Statements)
	}
	if base := one.Base(); base != "" {
		t.Errorf("its base is %s", base)
	}
}

// TestSignsNothingStrange refuses an index in which another disk lies beside
// the image: whoever signs it stands for that too.
func TestSignsNothingStrange(t *testing.T) {
	repo, d := packed(t)
	var index ocispec.Index
	fetchJSON(t, repo, d, &index)
	raw := slices.IndexFunc(index.Manifests, func(e ocispec.Descriptor) bool {
		return e.Annotations[artifact.AnnotationDiskType] == artifact.DiskTypeRaw
	})
	var disk ocispec.Manifest
	fetchJSON(t, repo, index.Manifests[raw], &disk)

	for _, tt := range []struct {
		name   string
		change func(*ocispec.Manifest)
		want   string // "" for none
	}{
		{"the same disk, said in other words", func(m *ocispec.Manifest) { m.Annotations["a"] = "b" }, ""},
		{"another disk", func(m *ocispec.Manifest) { m.Layers[0] = m.Config }, "has the disk sha256:44136fa355b3"},
		{"another disk of the same size", func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.FromString("another") }, "has the disk sha256:ae448ac8"},
		{"the same digest with another size", func(m *ocispec.Manifest) { m.Layers[0].Size++ }, "has the disk"},
		{"another disk as well", func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Config) }, "is not a disk manifest"},
		{"something else", func(m *ocispec.Manifest) { m.ArtifactType = "application/x" }, "is not a disk manifest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := disk
			m.Layers, m.Annotations = slices.Clone(disk.Layers), map[string]string{artifact.AnnotationDiskType: artifact.DiskTypeRaw}
			tt.change(&m)
			other := index
			other.Manifests = slices.Clone(index.Manifests)
			other.Manifests[raw] = pushJSON(t, repo, ocispec.MediaTypeImageManifest, m)
			other.Manifests = append(other.Manifests, index.Manifests[raw], index.Manifests[raw])
			s, err := signing.FindSubjects(t.Context(), repo, pushJSON(t, repo, ocispec.MediaTypeImageIndex, other), "")
			if tt.want == "" {
				if err != nil || len(s.Statements) != 4 {
					t.Errorf("%d statements, %v", len(s.Statements), err)
				}
				return
			}
			var format *artifact.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("the disk in another format", func(t *testing.T) {
		m := disk
		m.Layers, m.Annotations = []ocispec.Descriptor{disk.Config}, map[string]string{artifact.AnnotationDiskType: "qcow2"}
		other := index
		other.Manifests = append(slices.Clone(index.Manifests), pushJSON(t, repo, ocispec.MediaTypeImageManifest, m))
		s, err := signing.FindSubjects(t.Context(), repo, pushJSON(t, repo, ocispec.MediaTypeImageIndex, other), "")
		if err != nil || len(s.Statements) != 4 || len(s.Unchecked) != 1 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// TestBase holds a variant against what it says that it builds on.
func TestBase(t *testing.T) {
	repo, index := packed(t)
	text := []byte("vmaccepteula\ninstall --firstdisk --overwritevmfs\nreboot\n")
	p, err := artifact.PushVariant(t.Context(), repo, index, text, repo, artifact.VariantOptions{Verifier: artifact.InsecureSkip{}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := repo.Resolve(t.Context(), p.Index.String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := signing.FindSubjects(t.Context(), repo, d, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.Base() != index.Digest || len(s.Statements) != 2 {
		t.Fatalf("its base is %s, not %s; statements %+v", s.Base(), index.Digest, s.Statements)
	}
	if err := s.CheckBase(t.Context(), repo, index); err != nil {
		t.Error(err)
	}
	var format *artifact.FormatError
	if err := s.CheckBase(t.Context(), repo, d); !errors.As(err, &format) {
		t.Errorf("another base: %v", err)
	}
	// A signed base, and a disk that is not the base's.
	s.Image.Config.Base.Disk = digest.FromString("another")
	if err := s.CheckBase(t.Context(), repo, index); !errors.As(err, &format) || !strings.Contains(err.Error(), "the disk "+digest.FromString("another").String()) {
		t.Errorf("another disk: %v", err)
	}
}

// TestSignAnImage signs it whole, in a layout, where cosign finds it.
func TestSignAnImage(t *testing.T) {
	repo, index := packed(t)
	if err := repo.Tag(t.Context(), index, "8.0"); err != nil {
		t.Fatal(err)
	}
	s, err := signing.FindSubjects(t.Context(), repo, index, "registry.example/esxi")
	if err != nil {
		t.Fatal(err)
	}
	key := generateKey(t)
	signer, err := signing.NewSigner(signing.SignerOptions{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(t.Context(), repo, s.Statements...)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := repo.Layout()
	if err := signing.MarkForCosign(t.Context(), l, index.Digest); err != nil {
		t.Fatal(err)
	}
	entries, err := l.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if marked := e.Annotations["kind"] == "dev.cosignproject.cosign/image"; marked != (e.Digest == index.Digest) {
			t.Errorf("%s is marked: %t", e.Digest, marked)
		}
	}
	for _, one := range signed {
		var m ocispec.Manifest
		fetchJSON(t, repo, one.Referrer, &m)
		if m.Subject == nil || m.Subject.Digest != one.Subject.Digest || m.ArtifactType != signing.MediaTypeBundle || len(m.Layers) != 1 ||
			m.Annotations["dev.sigstore.bundle.content"] != "dsse-envelope" || m.Annotations["dev.sigstore.bundle.predicateType"] != signing.PredicateSignature {
			t.Errorf("the referrer is %+v", m)
		}
	}
}
