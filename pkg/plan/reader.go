package plan

import (
	"errors"
	"fmt"
	"io"
	"sort"
)

// ReadAt reads the planned disk as if it existed. It is safe for parallel use
// where the files' contents are.
func (p *Plan) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("plan: read at negative offset %d", off)
	}
	n := 0
	for i := p.find(off); n < len(b) && i < len(p.Extents); i++ {
		e := p.Extents[i]
		skip := off + int64(n) - e.Offset
		part := b[n:]
		if left := e.Length - skip; int64(len(part)) > left {
			part = part[:left]
		}
		if err := p.readExtent(part, e, skip); err != nil {
			return n, err
		}
		n += len(part)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Reader returns the planned disk as a stream that can also seek.
func (p *Plan) Reader() *io.SectionReader { return io.NewSectionReader(p, 0, p.Size) }

// find returns the index of the extent that holds the byte at off.
func (p *Plan) find(off int64) int {
	return sort.Search(len(p.Extents), func(i int) bool { return p.Extents[i].End() > off })
}

// readExtent fills b from the extent, skip bytes into it.
func (p *Plan) readExtent(b []byte, e Extent, skip int64) error {
	switch e.Kind {
	case Zero:
		clear(b)
		return nil
	case Literal:
		copy(b, e.Data[skip:])
		return nil
	case Content:
		return p.Files[e.File].ReadContent(b, e.FileOffset+skip)
	default:
		return errors.New("plan: unknown extent kind")
	}
}
