package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Customize makes another disk of a planned one. Of the files' contents it can
// read those of BOOT.CFG, of our module and of the kickstart's; what else it
// puts on the disk has to be as it is, or has to be in memory. Source is what
// was verified.
type Customize func(source digest.Digest, p plan.Plan) (plan.Plan, error)

// CustomizeError says that an image could not be customised.
type CustomizeError struct{ Err error }

func (e *CustomizeError) Error() string { return e.Err.Error() }
func (e *CustomizeError) Unwrap() error { return e.Err }

// custom is a customising on its way.
type custom struct {
	change func(plan.Plan) (plan.Plan, error)
	// small reads a file that may be read, nil of any other.
	small func(f *File) func() ([]byte, error)
	// closed says that no content is to be had any more: then what is the
	// image's own can be told from what is not.
	closed bool
}

// newCustom makes what newGoal needs of PullOptions.Customize; nil for nil.
func newCustom(ctx context.Context, from *registry.Repository, o *opened, change Customize) *custom {
	if change == nil {
		return nil
	}
	img := o.image
	small := func(f *File) func() ([]byte, error) {
		switch {
		case f.Role == plan.RoleBootCfg:
			return func() ([]byte, error) { return img.ReadFile(ctx, from, f) }
		case f.SHA256.Digest() == img.Module.Digest:
			return func() ([]byte, error) { return FetchBytes(ctx, from, img.Module, MaxModule) }
		default:
			return nil
		}
	}
	return &custom{
		change: func(p plan.Plan) (plan.Plan, error) { return change(o.top.Digest, p) },
		small:  small,
	}
}

// content returns a reader of a file's bytes, which fetches them when they are
// needed.
func (c *custom) content(f *File) io.ReaderAt {
	read := c.small(f)
	if read == nil {
		return noContent(f)
	}
	read = sync.OnceValues(read)
	return readerAt(func(b []byte, off int64) (int, error) {
		if c.closed {
			return 0, errNoContent
		}
		data, err := read()
		if err != nil {
			return 0, err
		}
		return bytes.NewReader(data).ReadAt(b, off)
	})
}

// kickstart returns a reader of the kickstart's tar.
func (c *custom) kickstart(tar []byte) io.ReaderAt {
	return readerAt(func(b []byte, off int64) (int, error) {
		if c.closed {
			return 0, errNoContent
		}
		return bytes.NewReader(tar).ReadAt(b, off)
	})
}

// customize changes a plan, and the layout to that of the new one.
func (a *assembly) customize(p *plan.Plan) (*plan.Plan, error) {
	out, err := a.custom.change(*p)
	if err != nil {
		return nil, &CustomizeError{err}
	}
	if err := out.Validate(); err != nil {
		return nil, &CustomizeError{err}
	}
	table, err := disk.ReadTable(&out, out.Size)
	if err != nil || len(table.Partitions) == 0 || table.Partitions[0].Offset != disk.PartitionStart {
		return nil, &CustomizeError{errors.Join(errors.New("the customised disk is not one of ours"), err)}
	}
	a.layout.VolumeSize, a.layout.Drive = table.Partitions[0].Size, nil
	switch drive, ok := table.ConfigDrive(); {
	case ok:
		// Its bytes are the plan's: what counts here is its place.
		a.layout.Drive = &disk.Drive{Size: drive.Size, GUID: drive.GUID}
	case len(table.Partitions) > 1:
		return nil, &CustomizeError{errors.New("the customised disk has a partition that is not one of ours")}
	}
	a.custom.closed = true
	return &out, nil
}

// addCustom adds a file of a customised plan: in its pieces if it is the
// image's, else its bytes.
func (a *assembly) addCustom(g *goal, p *plan.Plan, e plan.Extent) error {
	f := &p.Files[e.File]
	var one [1]byte
	switch err := f.ReadContent(one[:], 0); {
	case errors.Is(err, errNoContent):
		for i := range a.config.Files {
			if own := &a.config.Files[i]; strings.EqualFold(own.Path, f.Path) && own.Size == f.Size {
				e.File = i
				return a.addFile(g, e)
			}
		}
		return &CustomizeError{fmt.Errorf("%s is no file of the image's", f.Path)}
	case err != nil:
		return &CustomizeError{err}
	}
	data := make([]byte, e.Length)
	if err := f.ReadContent(data, e.FileOffset); err != nil {
		return &CustomizeError{err}
	}
	g.addOwn(e.Offset, data, -1)
	return nil
}
