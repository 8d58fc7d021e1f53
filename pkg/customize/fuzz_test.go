package customize_test

import (
	"bytes"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/imager"
)

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"steps":[{"source":{"name":"a","digest":"sha256:0","size":1},"changes":[{"what":"x"}]}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := customize.ParseRecord(data); err == nil && len(r.Steps) == 0 {
			t.Error("a record of nothing")
		}
	})
}

// FuzzOpen changes bytes of what says where things lie.
func FuzzOpen(f *testing.F) {
	_, b := customized(f, image(f, imager.Profile{Headroom: 1 << 20}), customize.Changes{Hostname: "a", DriveAs: customize.AsPartition, DriveSize: 1 << 20})
	f.Add(uint32(512), []byte("EFI PARX"))
	f.Add(uint32(1<<20), []byte{0xEB})
	f.Add(uint32(1<<20+32*512), []byte{3, 0, 0, 0, 2})
	f.Add(uint32(len(b)-512), []byte{0})
	drive := uint32(bytes.Index(b, []byte("\x01CD001")))
	f.Add(drive, []byte("\x02"))
	f.Add(drive+156+2, []byte{0xFF, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, at uint32, change []byte) {
		r := &changed{bytes.NewReader(b), int64(at), change}
		img, err := customize.Open(r, int64(len(b)))
		if err != nil {
			return
		}
		if result, err := img.Customize(customize.Changes{Hostname: "x"}, source); err == nil {
			_ = result.Plan.Validate()
		}
	})
}

// changed is a disk with other bytes somewhere.
type changed struct {
	*bytes.Reader
	at   int64
	data []byte
}

func (c *changed) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(b, off)
	for i, v := range c.data {
		if at := c.at + int64(i) - off; at >= 0 && at < int64(n) {
			b[at] = v
		}
	}
	return n, err
}
