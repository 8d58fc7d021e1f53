package artifact_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// unverified lets any base pass: what the tests pack is known.
func unverified(tag string) artifact.VariantOptions {
	return artifact.VariantOptions{
		PushOptions: artifact.PushOptions{Tag: tag}, Verifier: artifact.InsecureSkip{}, Builder: "v1.2.3",
	}
}

// pushedImage loads what a tag names.
func pushedImage(t *testing.T, r *registry.Repository, tag string) *artifact.Image {
	t.Helper()
	d, err := r.Resolve(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	img, err := artifact.Load(t.Context(), r, d)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestAVariantIsItsBaseWithAnotherKickstart(t *testing.T) {
	for name, text := range map[string][]byte{
		"the same length": bytes.Replace(kickstartText, []byte("reboot"), []byte("reb00t"), 1),
		"longer":          append(bytes.Clone(kickstartText), bytes.Repeat([]byte("# a line\n"), 20_000)...),
		"shorter":         []byte("reboot\n"),
		"the same":        kickstartText,
	} {
		t.Run(name, func(t *testing.T) {
			r, base := pack(t, fixed(t))
			p, err := artifact.PushVariant(t.Context(), r, base.Index, text, r, unverified("lab"))
			if err != nil {
				t.Fatal(err)
			}
			img := pushedImage(t, r, "lab")
			c := img.Config
			if img.Index.Digest != p.Index || img.Manifest.ArtifactType != artifact.TypeVariant || len(img.Entries) != 1 {
				t.Errorf("index %s, %s, %d entries", img.Index.Digest, img.Manifest.ArtifactType, len(img.Entries))
			}
			if c.Base == nil || c.Base.Index != base.Index.Digest || c.Base.Manifest != base.Manifest.Digest || c.Base.Disk != base.Disk.Digest {
				t.Errorf("base %+v", c.Base)
			}
			if img.Disk.Digest != base.Disk.Digest || img.Disk.Annotations != nil {
				t.Errorf("the disk layer is %+v: other tools must not take it for the variant's", img.Disk)
			}
			// Few bytes beside the kickstart: the identifiers are the base's.
			if limit := int64(64<<10 + len(text)); p.Sent > limit {
				t.Errorf("%d bytes were sent, over %d", p.Sent, limit)
			}

			disk := assemble(t, r, img)
			checkPieces(t, c, disk)
			// The disk that one would get by planning it whole.
			layer := blobOf(t, r, base.Disk)
			tar, err := artifact.KickstartTar(text, []byte(base.Config.Kickstart.Settings))
			if err != nil {
				t.Fatal(err)
			}
			files := base.Config.PlanFiles(func(f *artifact.File) io.ReaderAt { return bytes.NewReader(layer[f.Offset : f.Offset+f.Size]) })
			last := &files[len(files)-1]
			last.Size, last.Content, last.Expect = int64(len(tar)), bytes.NewReader(tar), nil
			whole, _, _, err := base.Config.Layout().Plan(files, base.Config.Directories)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readAll(t, whole.Reader()), disk) {
				t.Error("the variant's disk is not the base's with that kickstart")
			}
			report, err := imager.InspectDisk(bytes.NewReader(disk), int64(len(disk)))
			if err != nil || !bytes.Equal(report.Kickstart, text) {
				t.Errorf("the disk has another kickstart (%v)", err)
			}
		})
	}
}

func TestAVariantGoesToAnotherPlaceWithItsBasesDisk(t *testing.T) {
	r, base := pack(t, fixed(t))
	other := registry.NewRepository(newLayout(t))
	opts := unverified("lab")
	opts.Local = r
	p, err := artifact.PushVariant(t.Context(), r, base.Index, []byte("reboot\n"), other, opts)
	if err != nil {
		t.Fatal(err)
	}
	if p.Sent < base.Disk.Size {
		t.Errorf("%d bytes were sent of a disk of %d", p.Sent, base.Disk.Size)
	}
	img := pushedImage(t, other, "lab")
	checkPieces(t, img.Config, assemble(t, other, img))
	// The tag of the release is not a variant's.
	if len(p.Tags) != 1 || p.Tags[0].Tag != "lab" {
		t.Errorf("tags %+v", p.Tags)
	}
}

func TestVariantsThatAreRefused(t *testing.T) {
	r, base := pack(t, fixed(t))
	if _, err := artifact.PushVariant(t.Context(), r, base.Index, []byte("reboot\n"), r, unverified("lab")); err != nil {
		t.Fatal(err)
	}
	variant, err := r.Resolve(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	tight := fixed(t)
	tight.Headroom = 0
	tight.Modules = []imager.Module{{Name: "large.tgz", Data: module(t, 40<<20)}}
	full, fullBase := pack(t, tight)

	var refused *artifact.VariantError
	for name, c := range map[string]struct {
		from *registry.Repository
		base ocispec.Descriptor
		text string
		opts artifact.VariantOptions
		as   any
		want string
	}{
		"variant of a variant": {r, variant, "reboot\n", unverified("x"), &refused, "is a variant itself"},
		"no room":              {full, fullBase.Index, strings.Repeat("# a line\n", 110_000), unverified("x"), &refused, "does not fit"},
		"too large":            {r, base.Index, strings.Repeat("# a line\n", 120_000), unverified("x"), new(*artifact.SecretsError), "too large"},
		"nothing":              {r, base.Index, "", unverified("x"), &refused, "0 bytes"},
		"nobody verifies":      {r, base.Index, "reboot\n", artifact.VariantOptions{}, new(*artifact.VerificationError), "no verifier"},
		"secret":               {r, base.Index, "rootpw secret\nreboot\n", unverified("x"), new(*artifact.SecretsError), "plain text"},
		"moves a tag":          {r, base.Index, "# 2\nreboot\n", unverified("lab"), new(*artifact.TagMoveError), "would become"},
		"disk manifest":        {r, base.DiskManifest, "reboot\n", unverified("x"), new(*artifact.FormatError), "is the disk manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			before := blobs(t, layoutOf(t, r))
			_, err := artifact.PushVariant(t.Context(), c.from, c.base, []byte(c.text), r, c.opts)
			if err == nil || !errors.As(err, c.as) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("PushVariant() = %v, want %q", err, c.want)
			}
			if len(blobs(t, layoutOf(t, r))) != len(before) {
				t.Error("something was pushed")
			}
		})
	}
}

// module is a module file with so much in it.
func module(t *testing.T, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tardisk.Write(&b, []tardisk.Entry{{Path: "large", Data: make([]byte, size)}}, imager.ModuleTime); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layoutOf(t *testing.T, r *registry.Repository) string {
	t.Helper()
	l, ok := r.Layout()
	if !ok {
		t.Fatal("no layout")
	}
	return l.Dir()
}

// wire serves a layout's blobs as a registry does that may be lied about.
type wire struct {
	layout *registry.Repository
	ranges bool
	damage map[digest.Digest]int64 // where a byte is wrong
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	_, name, _ := strings.Cut(req.URL.Path, "/blobs/")
	if _, tag, ok := strings.Cut(req.URL.Path, "/manifests/"); ok {
		name = tag
	}
	path := filepath.Join(layoutDir(w.layout), "blobs", "sha256", strings.TrimPrefix(name, "sha256:"))
	if !strings.HasPrefix(name, "sha256:") {
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	rw.Header().Set("Docker-Content-Digest", name)
	rw.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	if b, err := os.ReadFile(path); err == nil && bytes.Contains(b[:min(len(b), 200)], []byte(ocispec.MediaTypeImageIndex)) {
		rw.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	}
	if !w.ranges {
		req.Header.Del("Range")
	}
	if at, ok := w.damage[digest.Digest(name)]; ok {
		rw = &damaged{ResponseWriter: rw, at: at, from: rangeStart(req)}
	}
	http.ServeFile(rw, req, path)
}

func layoutDir(r *registry.Repository) string {
	l, _ := r.Layout()
	return l.Dir()
}

func rangeStart(req *http.Request) (start int64) {
	text, _, _ := strings.Cut(strings.TrimPrefix(req.Header.Get("Range"), "bytes="), "-")
	for _, c := range text {
		start = start*10 + int64(c-'0')
	}
	return start
}

// damaged flips a bit at an offset of the blob.
type damaged struct {
	http.ResponseWriter
	at, from int64
}

func (d *damaged) Write(b []byte) (int, error) {
	if i := d.at - d.from; i >= 0 && i < int64(len(b)) {
		b = bytes.Clone(b)
		b[i] ^= 1
	}
	d.from += int64(len(b))
	return d.ResponseWriter.Write(b)
}

// remote opens the wire as a registry.
func (w *wire) remote(t *testing.T) *registry.Repository {
	t.Helper()
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return registrytest.Open(t, u.Host+"/esxi:8.0", registry.Options{Retries: -1})
}

func TestAVariantOfABaseInARegistry(t *testing.T) {
	local, base := pack(t, fixed(t))
	want, err := artifact.PushVariant(t.Context(), local, base.Index, []byte("reboot\n"), local, unverified("lab"))
	if err != nil {
		t.Fatal(err)
	}
	payload := base.Config.Files[3]
	for name, c := range map[string]struct {
		wire wire
		want string
	}{
		"ranges":         {wire{ranges: true}, ""},
		"ranges ignored": {wire{}, ""},
		"wrong metadata": {wire{ranges: true, damage: map[digest.Digest]int64{base.Disk.Digest: 600}}, "bytes at 0 of its disk are"},
		"wrong payload":  {wire{ranges: true, damage: map[digest.Digest]int64{base.Disk.Digest: payload.Offset}}, payload.Path},
		"wrong stream":   {wire{damage: map[digest.Digest]int64{base.Disk.Digest: payload.Offset}}, payload.Path},
		"wrong config":   {wire{ranges: true, damage: map[digest.Digest]int64{pushedImage(t, local, "latest").ConfigBlob.Digest: 10}}, "digest"},
	} {
		t.Run(name, func(t *testing.T) {
			c.wire.layout = local
			to := registry.NewRepository(newLayout(t))
			p, err := artifact.PushVariant(t.Context(), c.wire.remote(t), base.Index, []byte("reboot\n"), to, unverified("lab"))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("PushVariant() = %v, want %q", err, c.want)
				}
				return
			}
			if err != nil || p.Index != want.Index {
				t.Errorf("PushVariant() = %+v, %v; want the index %s", p, err, want.Index)
			}
		})
	}
}

// A file of more than a piece is not hashed whole: its pieces tell.
func TestALargeFileOfABaseIsChecked(t *testing.T) {
	profile := fixed(t)
	profile.Modules = []imager.Module{{Name: "large.tgz", Data: module(t, 9<<20)}}
	local, base := pack(t, profile)
	large := base.Config.Files[len(base.Config.Files)-2] // before the kickstart
	if large.Size < 2*artifact.PieceSize {
		t.Fatalf("%s has %d bytes", large.Path, large.Size)
	}
	for name, damage := range map[string]map[digest.Digest]int64{
		"right": nil,
		"wrong": {base.Disk.Digest: large.Offset + artifact.PieceSize + 5},
	} {
		w := wire{layout: local, ranges: true, damage: damage}
		to := registry.NewRepository(newLayout(t))
		_, err := artifact.PushVariant(t.Context(), w.remote(t), base.Index, []byte("reboot\n"), to, unverified("lab"))
		if damage == nil {
			if err != nil {
				t.Fatal(err)
			}
			img := pushedImage(t, to, "lab")
			checkPieces(t, img.Config, assemble(t, to, img))
			continue
		}
		var format *artifact.FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), large.Path) {
			t.Errorf("%s: PushVariant() = %v", name, err)
		}
	}
}
