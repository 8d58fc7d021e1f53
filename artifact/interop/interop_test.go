package interop_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/artifact/interop"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// image is an index with a manifest of three layers and one over the disk
// alone, which tests change before it is written.
type image struct {
	disk, qcow2 []byte // the second is left out where it is nil
	index       ocispec.Index
	image       ocispec.Manifest
	raw         ocispec.Manifest
}

func newImage() *image {
	disk := make([]byte, 16<<10)
	copy(disk[446:], []byte{0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 31, 0, 0, 0})
	disk[510], disk[511] = 0x55, 0xAA
	copy(disk[512:], "EFI PART")
	layers := []ocispec.Descriptor{titled("x/disk", disk, "a.img"), titled("x/module", []byte("module"), "A.TGZ"), titled("x/ks", []byte("ks"), "KS.CFG")}
	versioned := specs.Versioned{SchemaVersion: 2}
	platform := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	return &image{
		disk: disk,
		image: ocispec.Manifest{
			Versioned: versioned, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/x",
			Config: describe("x/config", []byte("config")), Layers: layers,
		},
		raw: ocispec.Manifest{
			Versioned: versioned, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifact.TypeDisk,
			Config: ocispec.DescriptorEmptyJSON, Layers: layers[:1:1],
		},
		index: ocispec.Index{
			Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{
				{MediaType: ocispec.MediaTypeImageManifest, Annotations: map[string]string{"disktype": "esxi-img"}, Platform: platform},
				{MediaType: ocispec.MediaTypeImageManifest, Annotations: map[string]string{"disktype": "raw"}, Platform: platform},
			},
		},
	}
}

func describe(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func titled(mediaType string, b []byte, title string) ocispec.Descriptor {
	d := describe(mediaType, b)
	d.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	return d
}

// setDisk replaces the disk after its bytes were changed.
func (i *image) setDisk() {
	for _, m := range []*ocispec.Manifest{&i.image, &i.raw} {
		m.Layers[0].Digest, m.Layers[0].Size = digest.FromBytes(i.disk), int64(len(i.disk))
	}
}

// write writes the image under the tag x.
func (i *image) write(t *testing.T, to *registry.Repository) {
	t.Helper()
	for _, b := range [][]byte{i.disk, i.qcow2, []byte("module"), []byte("ks"), []byte("config"), []byte("{}")} {
		if b != nil {
			registrytest.Push(t, to, "application/octet-stream", b)
		}
	}
	for n, m := range []any{i.image, i.raw} {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		d := registrytest.Push(t, to, ocispec.MediaTypeImageManifest, b)
		i.index.Manifests[n].Digest, i.index.Manifests[n].Size = d.Digest, d.Size
	}
	b, err := json.Marshal(i.index)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Tag(t.Context(), registrytest.Push(t, to, ocispec.MediaTypeImageIndex, b), "x"); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, text string, observer *interop.Observer) *registry.Repository {
	t.Helper()
	opts := registry.Options{Retries: -1}
	if observer != nil {
		opts.Observe = observer.Observe
	}
	return registrytest.Create(t, text, opts)
}

// examine returns the verdict of each rule, as "tool rule".
func examine(t *testing.T, r *registry.Repository, observer *interop.Observer, tools ...string) map[string]interop.Finding {
	t.Helper()
	d, err := r.Resolve(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	findings, err := interop.Examine(t.Context(), r, d, interop.Options{Tools: tools, Observer: observer})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]interop.Finding{}
	for _, f := range findings {
		if f.Reason == "" || out[f.Tool+" "+f.Rule].Rule != "" {
			t.Errorf("%+v has no reason, or stands there twice", f)
		}
		out[f.Tool+" "+f.Rule] = f
	}
	return out
}

func TestAGoodImage(t *testing.T) {
	address := registrytest.Serve(t, nil)
	newImage().write(t, open(t, address+"/a:x", nil))
	observer := &interop.Observer{}
	got := examine(t, open(t, address+"/a:x", observer), observer)
	notes := map[string]bool{"esxi-img format": true, "ironic sectors": true, "skopeo all": true, "cosign signatures": true, "tinkerbell layer": true}
	if len(got) != 20 {
		t.Errorf("%d rules were looked at", len(got))
	}
	for rule, f := range got {
		if want := map[bool]interop.Verdict{false: interop.Holds, true: interop.Remark}[notes[rule]]; f.Verdict != want {
			t.Errorf("%s: %s: %s, want %s", rule, f.Verdict, f.Reason, want)
		}
	}
	if got := examine(t, open(t, address+"/a:x", nil), nil, interop.Tinkerbell); len(got) != 1 || got["tinkerbell layer"].Verdict != interop.Fails {
		t.Errorf("for Tinkerbell: %+v", got)
	}
}

// Each rule fails for what breaks it.
func TestRules(t *testing.T) {
	type change = func(*image)
	r := open(t, "oci:"+filepath.Join(t.TempDir(), "l")+":x", nil)
	for _, tt := range []struct {
		rule, says string
		change     change
	}{
		{"ironic entry", "disktype=raw", func(i *image) { i.index.Manifests[1].Annotations["disktype"] = "vmdk" }},
		{"ironic entry", "s390x", func(i *image) {
			i.index.Manifests[1].Platform = &ocispec.Platform{OS: "linux", Architecture: "s390x"}
		}},
		{"ironic entry", "variant", func(i *image) { i.image.ArtifactType = artifact.TypeVariant }},
		{"ironic disktype", "bootable container", func(i *image) { i.index.Manifests[0].Annotations = nil }},
		{"ironic manifest", "2 layers", func(i *image) { i.raw.Layers = append(i.raw.Layers, i.image.Layers[1]) }},
		{"ironic manifest", "mediaType", func(i *image) { i.raw.MediaType = "" }},
		{"ironic manifest", "bootable container", func(i *image) { i.raw.ArtifactType, i.raw.Config = "", i.image.Config }},
		{"ironic layer", "gzip", func(i *image) { copy(i.disk, "\x1f\x8b"); i.setDisk() }},
		{"ironic layer", "zstd", func(i *image) { i.raw.Layers[0].MediaType = "x/disk+zstd" }},
		{"ironic mbr", "does not begin", func(i *image) { i.disk[510] = 0; i.setDisk() }},
		{"ironic mbr", "0x83", func(i *image) { i.disk[450] = 0x83; i.setDisk() }},
		{"ironic mbr", "other entries", func(i *image) { i.disk[466] = 0x0C; i.setDisk() }},
		{"ironic mbr", "start CHS", func(i *image) { i.disk[448] = 0; i.setDisk() }},
		{"ironic mbr", "LBA 2", func(i *image) { i.disk[454] = 2; i.setDisk() }},
		{"ironic mbr", "does not begin", func(i *image) { i.disk = i.disk[:100]; i.setDisk() }},
		{"ironic sectors", "no GPT", func(i *image) { i.disk[512] = 0; i.setDisk() }},
		{"ironic qcow2", "no qcow2", func(i *image) {
			i.index.Manifests[0].Annotations["disktype"] = "qcow2"
			i.image.Layers = i.image.Layers[:1]
		}},
		{"oras platform", "no platform", func(i *image) { i.index.Manifests[0].Platform = nil }},
		{"podman platform", "no platform", func(i *image) { i.index.Manifests[0].Platform = nil }},
		{"oras platform", "x86_64", func(i *image) {
			i.index.Manifests[0].Platform = &ocispec.Platform{OS: "linux", Architecture: "x86_64"}
		}},
		{"oras names", "duplicate name", func(i *image) {
			d := i.raw.Layers[0]
			d.MediaType = "x/other"
			i.raw.Layers = []ocispec.Descriptor{d}
		}},
		{"oras names", "out of the folder", func(i *image) { i.image.Layers[1] = titled("x/module", []byte("module"), "../A.TGZ") }},
		{"oras titles", "layer 2", func(i *image) { i.image.Layers[2].Annotations = nil }},
		{"skopeo media-types", "vnd.docker", func(i *image) {
			i.index.Manifests[1].MediaType = "application/vnd.docker.distribution.manifest.v2+json"
		}},
		{"skopeo media-types", "no mediaType", func(i *image) { i.index.MediaType = "" }},
		{"esxi-img complete", "not there", func(i *image) { i.image.Layers[1] = titled("x/module", []byte("gone"), "A.TGZ") }},
		{"esxi-img format", "layers", func(i *image) {
			i.image.ArtifactType, i.image.Config.MediaType = artifact.TypeImage, artifact.MediaTypeConfig
			i.index.Manifests[0].ArtifactType = artifact.TypeImage
			i.image.Layers = i.image.Layers[:2]
		}},
	} {
		img := newImage()
		tt.change(img)
		img.write(t, r)
		if f := examine(t, r, nil)[tt.rule]; f.Verdict != interop.Fails || !strings.Contains(f.Reason, tt.says) {
			t.Errorf("%s (%s): %s: %s", tt.rule, tt.says, f.Verdict, f.Reason)
		}
	}
}

func TestOtherVerdicts(t *testing.T) {
	r := open(t, "oci:"+filepath.Join(t.TempDir(), "l")+":x", nil)
	for _, tt := range []struct {
		rule, says string
		verdict    interop.Verdict
		change     func(*image)
	}{
		{"ironic sectors", "4096", interop.Remark, func(i *image) { i.disk[512] = 0; copy(i.disk[4096:], "EFI PART"); i.setDisk() }},
		{"ironic manifest", "one layer", interop.Holds, func(i *image) { i.raw.ArtifactType = "" }},
		{"ironic entry", "applehv", interop.Holds, func(i *image) { i.index.Manifests[1].Annotations["disktype"] = "applehv" }},
		{"ironic entry", "any architecture", interop.Holds, func(i *image) { i.index.Manifests[1].Platform = nil }},
		{"oras titles", "base's", interop.Remark, func(i *image) { i.image.ArtifactType = artifact.TypeVariant }},
		{"ironic qcow2", "qcow2 image", interop.Holds, func(i *image) {
			i.qcow2 = []byte("QFI\xfb and more")
			i.index.Manifests[0].Annotations["disktype"] = "qcow2"
			i.image.Layers = []ocispec.Descriptor{titled("x/qcow2", i.qcow2, "a.qcow2")}
		}},
		{"tinkerbell layer", "writes", interop.Holds, func(i *image) {
			i.raw.Layers[0].MediaType = "application/vnd.oci.image.layer.v1.tar"
		}},
		{"tinkerbell layer", "there are 2", interop.Remark, func(i *image) {
			i.raw.Layers[0].MediaType = "application/vnd.oci.image.layer.v1.tar"
			i.image.Layers[0].MediaType = "application/vnd.oci.image.layer.v1.tar"
		}},
	} {
		img := newImage()
		img.raw.Layers = slices.Clone(img.raw.Layers)
		tt.change(img)
		img.write(t, r)
		if f := examine(t, r, nil)[tt.rule]; f.Verdict != tt.verdict || !strings.Contains(f.Reason, tt.says) {
			t.Errorf("%s (%s): %s: %s", tt.rule, tt.says, f.Verdict, f.Reason)
		}
	}
}

// A manifest or a disk that is listed and gone is told of.
func TestWhatIsGone(t *testing.T) {
	for rule, gone := range map[string]func(*image) digest.Digest{
		"ironic manifest":   func(i *image) digest.Digest { return i.index.Manifests[1].Digest },
		"esxi-img complete": func(i *image) digest.Digest { return i.index.Manifests[0].Digest },
		"ironic mbr":        func(i *image) digest.Digest { return i.raw.Layers[0].Digest },
	} {
		img := newImage()
		dir := filepath.Join(t.TempDir(), "l")
		r := open(t, "oci:"+dir+":x", nil)
		img.write(t, r)
		if err := os.Remove(filepath.Join(dir, "blobs", "sha256", gone(img).Encoded())); err != nil {
			t.Fatal(err)
		}
		if f := examine(t, r, nil)[rule]; f.Verdict != interop.Fails || !strings.Contains(f.Reason, "not there") {
			t.Errorf("%s: %s: %s", rule, f.Verdict, f.Reason)
		}
	}
}

// What a registry does wrong.
func TestRegistries(t *testing.T) {
	for _, tt := range []struct {
		rule, says string
		verdict    interop.Verdict
		change     http.HandlerFunc // before the registry answers; what it writes is the answer
	}{
		{"ironic tag", "cannot be had", interop.Fails, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				w.WriteHeader(http.StatusForbidden)
			}
		}},
		{"ironic tag", "does not have x", interop.Fails, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				_, _ = w.Write([]byte(`{"name":"a","tags":["y"]}`))
			}
		}},
		{"esxi-img ranges", "ignores", interop.Remark, func(_ http.ResponseWriter, r *http.Request) { r.Header.Del("Range") }},
		{"ironic mbr", "0xEE", interop.Holds, func(_ http.ResponseWriter, r *http.Request) { r.Header.Del("Range") }},
		{"esxi-img ranges", "other ranges", interop.Fails, func(_ http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "bytes=8192-8192" {
				r.Header.Set("Range", "bytes=8193-8193")
			}
		}},
	} {
		address := registrytest.Serve(t, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := &recorder{ResponseWriter: w}
				if tt.change(rec, r); !rec.wrote {
					h.ServeHTTP(w, r)
				}
			})
		})
		newImage().write(t, open(t, address+"/a:x", nil))
		if f := examine(t, open(t, address+"/a:x", nil), nil)[tt.rule]; f.Verdict != tt.verdict || !strings.Contains(f.Reason, tt.says) {
			t.Errorf("%s (%s): %s: %s", tt.rule, tt.says, f.Verdict, f.Reason)
		}
	}
}

// recorder knows whether something was answered.
type recorder struct {
	http.ResponseWriter
	wrote bool
}

func (r *recorder) WriteHeader(status int) { r.wrote = true; r.ResponseWriter.WriteHeader(status) }

func (r *recorder) Write(b []byte) (int, error) { r.wrote = true; return r.ResponseWriter.Write(b) }

func TestTheHeaderThatIronicWants(t *testing.T) {
	address := registrytest.Serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&headless{ResponseWriter: w}, r) })
	})
	newImage().write(t, open(t, address+"/a:x", nil))
	observer := &interop.Observer{}
	if f := examine(t, open(t, address+"/a:x", observer), observer)["ironic digest-header"]; f.Verdict != interop.Fails {
		t.Errorf("%+v", f)
	}
}

// headless leaves out the digest of a manifest.
type headless struct{ http.ResponseWriter }

func (h *headless) WriteHeader(status int) {
	h.Header().Del("Docker-Content-Digest")
	h.ResponseWriter.WriteHeader(status)
}

func (h *headless) Write(b []byte) (int, error) {
	h.Header().Del("Docker-Content-Digest")
	return h.ResponseWriter.Write(b)
}

func TestDigests(t *testing.T) {
	address := registrytest.Serve(t, nil)
	img := newImage()
	img.write(t, open(t, address+"/a:x", nil))
	for want, d := range map[string]digest.Digest{
		"not of an index":   describeJSON(t, img.index).Digest,
		"image_disk_format": img.index.Manifests[1].Digest,
	} {
		r := open(t, address+"/a@"+d.String(), nil)
		desc, err := r.Resolve(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		findings, err := interop.Examine(t.Context(), r, desc, interop.Options{Tools: []string{interop.Ironic}})
		if err != nil {
			t.Fatal(err)
		}
		if f := findings[0]; f.Rule != "tag" || f.Verdict != interop.Remark || !strings.Contains(f.Reason, want) {
			t.Errorf("%+v, want %q", f, want)
		}
	}
}

func describeJSON(t *testing.T, v any) ocispec.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return describe(ocispec.MediaTypeImageIndex, b)
}

func TestTooMuchIsAnError(t *testing.T) {
	img := newImage()
	for range 64 {
		img.index.Manifests = append(img.index.Manifests, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1})
	}
	r := open(t, "oci:"+filepath.Join(t.TempDir(), "l")+":x", nil)
	img.write(t, r)
	d, err := r.Resolve(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	var format *artifact.FormatError
	if _, err := interop.Examine(t.Context(), r, d, interop.Options{}); !errors.As(err, &format) {
		t.Errorf("an index of 66: %v", err)
	}
	d.Digest = digest.FromString("gone")
	if _, err := interop.Examine(t.Context(), r, d, interop.Options{}); !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}
