package disk

import (
	"io"
	"os"
	"sort"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// NextData returns where the first byte at or behind at, and before end, lies
// that may be another than zero; end if there is none. A file that is not sparse,
// or of which the system does not tell it, has it right at at.
func NextData(r io.ReaderAt, at, end int64) int64 {
	if at >= end {
		return end
	}
	switch r := r.(type) {
	case *os.File:
		return nextData(r, at, end)
	case *QCOW2Disk:
		return r.nextData(at, end)
	case *plan.Plan:
		return nextInPlan(r, at, end)
	default:
		return at
	}
}

// nextInPlan skips extents of zeros.
func nextInPlan(p *plan.Plan, at, end int64) int64 {
	for i := sort.Search(len(p.Extents), func(i int) bool { return p.Extents[i].End() > at }); i < len(p.Extents); i++ {
		if e := &p.Extents[i]; e.Kind != plan.Zero {
			return min(max(at, e.Offset), end)
		}
	}
	return end
}

// nextData skips what no L2 table is there for.
func (d *QCOW2Disk) nextData(at, end int64) int64 {
	if d.behind != nil {
		return at
	}
	covers := int64(1) << (2*d.clusterBits - 3)
	for at < min(end, d.Size) && AllZero(d.l1[at/covers*8:][:8]) {
		at = (at/covers + 1) * covers
	}
	if at >= d.Size {
		return end
	}
	return min(at, end)
}
