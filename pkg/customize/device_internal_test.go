package customize

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
)

// device is what the system says of one.
type device struct{ os.FileInfo }

func (device) Mode() fs.FileMode { return fs.ModeDevice }

// TestOnADevice holds that an image on a device, which may be of any size, is
// not made as large as that.
func TestOnADevice(t *testing.T) {
	medium := esxitest.Bytes()
	src, err := iso.Open(bytes.NewReader(medium), int64(len(medium)))
	if err != nil {
		t.Fatal(err)
	}
	built, err := imager.New(src, imager.Profile{Headroom: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(built.Plan.Reader())
	if err != nil {
		t.Fatal(err)
	}
	const size = 4 << 40
	img, err := openImage(bytes.NewReader(b), size, device{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := img.Plan()
	if err != nil || p.Size != int64(len(b)) || img.End != p.Size {
		t.Errorf("a disk of %d bytes, whose table ends at %d; want %d (%v)", p.Size, img.End, len(b), err)
	}
	w := &writing{image: img}
	if same, err := w.samePlan(t.Context()); err != nil || same.Size != p.Size {
		t.Errorf("%d bytes without a change (%v)", same.Size, err)
	}
}
