package artifact_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/artifact/artifacttest"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// newLayout is an empty layout that is held for the test.
func newLayout(tb testing.TB) *registry.Layout {
	tb.Helper()
	l, err := registry.NewLayout(filepath.Join(tb.TempDir(), "layout"))
	if err != nil {
		tb.Fatal(err)
	}
	release, err := l.Hold(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := release(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

// small is a medium of the default kind.
var small = sync.OnceValue(func() []byte { return esxitest.Bytes() })

// fixed is a profile whose image depends on little that this repository changes
// from time to time: not on the host scripts, nor on the built-in kickstart, but
// on the snippets that are rendered into every kickstart.
func fixed(tb testing.TB) imager.Profile {
	tb.Helper()
	var b bytes.Buffer
	err := tardisk.Write(&b, []tardisk.Entry{{Path: "esxiimg/hello.py", Data: []byte("print('hello')\n")}}, imager.ModuleTime)
	if err != nil {
		tb.Fatal(err)
	}
	return imager.Profile{Headroom: 1 << 20, Kickstart: kickstartText, Helper: b.Bytes()}
}

var kickstartText = []byte("vmaccepteula\ninstall --firstdisk --overwritevmfs\nrootpw --iscrypted $6$salt$" + strings.Repeat("a", 86) + "\nreboot\n")

// source is a small image that is planned but not packed.
func source(tb testing.TB, p imager.Profile) *artifact.Source {
	tb.Helper()
	return sourceOf(tb, p, small())
}

func sourceOf(tb testing.TB, p imager.Profile, medium []byte) *artifact.Source {
	tb.Helper()
	s := artifacttest.Source(tb, medium, p)
	s.Builder = "v1.2.3"
	return s
}

// pack packs into a layout and tags the image latest.
func pack(tb testing.TB, p imager.Profile) (*registry.Repository, *artifact.Packed) {
	tb.Helper()
	return artifacttest.Pack(tb, newLayout(tb), source(tb, p))
}

// blobOf reads a blob of a layout from its file.
func blobOf(tb testing.TB, r *registry.Repository, d ocispec.Descriptor) []byte {
	tb.Helper()
	path, ok := r.LocalPath(d)
	if !ok {
		tb.Fatalf("%s is not there", d.Digest)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// assemble makes the disk from what an artifact says: the way that pulling
// goes, without its caution.
func assemble(tb testing.TB, r *registry.Repository, img *artifact.Image) []byte {
	tb.Helper()
	layer, text := blobOf(tb, r, img.Disk), blobOf(tb, r, img.Kickstart)
	out := make([]byte, img.Config.Disk.Size)
	for i := range img.Config.Extents {
		switch e := &img.Config.Extents[i]; {
		case e.Zero():
		case e.From == artifact.FromDisk:
			copy(out[e.Offset:e.End()], layer[e.Offset:])
		default:
			own, err := img.Config.OwnBytes(e, text)
			if err != nil {
				tb.Fatal(err)
			}
			copy(out[e.Offset:e.End()], own)
		}
	}
	return out
}

// checkPieces holds that a disk has the digests of its config.
func checkPieces(tb testing.TB, c *artifact.Config, disk []byte) {
	tb.Helper()
	if got := artifact.SHA256(sha256.Sum256(disk)); got != c.Disk.SHA256 || int64(len(disk)) != c.Disk.Size {
		tb.Errorf("the disk is %s of %d bytes, the config says %s of %d", got, len(disk), c.Disk.SHA256, c.Disk.Size)
	}
	for _, p := range c.Pieces() {
		if got := artifact.SHA256(sha256.Sum256(disk[p.Offset : p.Offset+p.Length])); got != p.SHA256 {
			tb.Errorf("piece at %d is %s, the config says %s", p.Offset, got, p.SHA256)
		}
	}
	for _, f := range c.Files {
		if got := artifact.SHA256(sha256.Sum256(disk[f.Offset : f.Offset+f.Size])); got != f.SHA256 {
			tb.Errorf("%s is %s, the config says %s", f.Path, got, f.SHA256)
		}
	}
}

func readAll(tb testing.TB, r io.Reader) []byte {
	tb.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
