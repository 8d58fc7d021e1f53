package artifact_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestCheckContent(t *testing.T) {
	r, packed := pack(t, fixed(t))
	img := pushedImage(t, r, artifact.LatestTag)
	got, err := img.CheckContent(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := img.Disk.Size + img.Module.Size + img.Kickstart.Size; got.Bytes != want || got.Pieces != len(img.Config.Pieces()) || got.Files != len(img.Config.Files) {
		t.Errorf("%+v, want %d bytes", got, want)
	}
	for name, text := range map[string][]byte{
		"longer":  append(bytes.Clone(kickstartText), bytes.Repeat([]byte("# a line\n"), 20_000)...),
		"shorter": []byte("reboot\n"),
	} {
		if _, err := artifact.PushVariant(t.Context(), r, packed.Index, text, r, unverified(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := pushedImage(t, r, name).CheckContent(t.Context(), r, nil); err != nil {
			t.Errorf("a variant's %s: %v", name, err)
		}
	}
}

// changing is a repository in which one blob has other bytes.
type changing struct {
	*registry.Repository
	blob   ocispec.Descriptor
	change func([]byte) []byte
}

func (c changing) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := c.Repository.Fetch(ctx, d)
	if err != nil || d.Digest != c.blob.Digest {
		return rc, err
	}
	b, err := io.ReadAll(rc)
	if err = errors.Join(err, rc.Close()); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(c.change(b))), nil
}

// TestContentThatIsWrong: in an image whose parts are what their digests say,
// the config may lie; and a repository may lie about the parts.
func TestContentThatIsWrong(t *testing.T) {
	r, _ := pack(t, fixed(t))
	flip := func(at int64) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	same := func(b []byte) []byte { return b }
	fresh := func() *artifact.Image { return pushedImage(t, r, artifact.LatestTag) }
	img := fresh()
	file, multi := largestFile(img.Config), img.Config.Extents
	zero, data := -1, -1
	for i := range multi {
		if multi[i].Zero() {
			zero = i
		} else if data < 0 {
			data = i
		}
	}
	for name, c := range map[string]struct {
		blob   ocispec.Descriptor
		change func([]byte) []byte
		config func(*artifact.Config)
		want   string
	}{
		"a byte of a file":       {img.Disk, flip(file.Offset), nil, "config: extents: "},
		"a byte of metadata":     {img.Disk, flip(0), nil, "config: extents: "},
		"a byte of zeros":        {img.Disk, flip(multi[zero].Offset), nil, "has other bytes than its digest and size say"},
		"a disk cut short":       {img.Disk, func(b []byte) []byte { return b[:len(b)/2] }, nil, "the disk ends at"},
		"a disk that goes on":    {img.Disk, func(b []byte) []byte { return append(b, 0) }, nil, "has other bytes than its digest and size say"},
		"the module":             {img.Module, flip(20), nil, "has other bytes than its digest and size say"},
		"the module, cut short":  {img.Module, func(b []byte) []byte { return b[:10] }, nil, "has other bytes than its digest and size say"},
		"the kickstart":          {img.Kickstart, flip(0), nil, "has other bytes than its digest and size say"},
		"the disk's digest":      {img.Disk, same, func(c *artifact.Config) { c.Disk.SHA256[0] ^= 1 }, "config: disk: its digest is"},
		"a piece's digest":       {img.Disk, same, func(c *artifact.Config) { c.Extents[data].SHA256[0][0] ^= 1 }, "config: extents: "},
		"a file's digest":        {img.Disk, same, func(c *artifact.Config) { c.Files[0].SHA256[0] ^= 1 }, "config: files: " + img.Config.Files[0].Path + " is "},
		"a file's place":         {img.Disk, same, func(c *artifact.Config) { c.Files[0].Size-- }, "config: files: " + img.Config.Files[0].Path + " is "},
		"the kickstart's digest": {img.Kickstart, same, func(c *artifact.Config) { c.Kickstart.SHA256 = sha256.Sum256([]byte("x")) }, "the kickstart is"},
	} {
		t.Run(name, func(t *testing.T) {
			img := fresh()
			if c.config != nil {
				c.config(img.Config)
			}
			_, err := img.CheckContent(t.Context(), changing{r, c.blob, c.change}, nil)
			var format *artifact.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func largestFile(c *artifact.Config) *artifact.File {
	out := &c.Files[0]
	for i := range c.Files {
		if c.Files[i].Size > out.Size {
			out = &c.Files[i]
		}
	}
	return out
}

// TestVerifyUndecided: what could not be found out is neither verified nor
// refused.
func TestVerifyUndecided(t *testing.T) {
	open := &artifact.UndecidedError{Err: errors.New("unplugged")}
	result, err := artifact.Verify(t.Context(), verifier(func(artifact.Subject) (*artifact.Verification, error) { return nil, open }), artifact.Subject{})
	var refused *artifact.VerificationError
	if result != nil || !errors.Is(err, open) || errors.As(err, &refused) {
		t.Errorf("%v, %v", result, err)
	}
}
