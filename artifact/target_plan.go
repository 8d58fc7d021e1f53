package artifact

import (
	"fmt"
	"io"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// plan is the disk of a goal that was reached, for what writes plans: as long as
// sums are known, they are checked again. The chunks are in the order of the
// disk.
func (g *goal) plan(r io.ReaderAt, sectorSize int) (*plan.Plan, error) {
	var b plan.Builder
	for i := range g.chunks {
		c := &g.chunks[i]
		b.Zero(c.offset - b.Offset())
		f := plan.File{
			Path: fmt.Sprintf("bytes %d to %d", c.offset, c.end()-1), Size: c.length,
			Content: io.NewSectionReader(r, c.offset, c.length),
		}
		if c.own == nil && len(c.patches) == 0 {
			f.Expect = []plan.Digest{plan.Digest(c.sum)}
		}
		b.File(f)
	}
	b.Zero(g.size - b.Offset())
	return b.Build(sectorSize)
}
