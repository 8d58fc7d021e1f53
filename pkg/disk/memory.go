package disk

import (
	"fmt"
	"io"
	"io/fs"
)

// diskEnds stands in for a whole disk towards the GPT library, which writes
// only to its first and last sectors.
type diskEnds struct {
	readOnly
	head, tail []byte
	size       int64
}

// WriteAt keeps what is written to either end.
func (d *diskEnds) WriteAt(b []byte, off int64) (int, error) {
	end := off + int64(len(b))
	tailStart := d.size - int64(len(d.tail))
	switch {
	case off >= 0 && end <= int64(len(d.head)):
		return copy(d.head[off:], b), nil
	case off >= tailStart && end <= d.size:
		return copy(d.tail[off-tailStart:], b), nil
	default:
		return 0, fmt.Errorf("write of %d bytes at %d is outside the partition tables", len(b), off)
	}
}

// readOnly makes a section of something a file in the GPT library's eyes.
type readOnly struct{ Reader *io.SectionReader }

func (f *readOnly) Read(b []byte) (int, error)                { return f.Reader.Read(b) }
func (f *readOnly) ReadAt(b []byte, off int64) (int, error)   { return f.Reader.ReadAt(b, off) }
func (f *readOnly) Seek(off int64, whence int) (int64, error) { return f.Reader.Seek(off, whence) }
func (*readOnly) Close() error                                { return nil }
func (*readOnly) Stat() (fs.FileInfo, error)                  { return nil, fs.ErrInvalid }

// maskedReader shows zeros where a partition table must not be looked at.
type maskedReader struct {
	io.ReaderAt
	hidden []span
}

type span struct{ start, end int64 }

func (m *maskedReader) hide(off, n int64) { m.hidden = append(m.hidden, span{off, off + n}) }

// ReadAt reads, then clears what is hidden.
func (m *maskedReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := m.ReaderAt.ReadAt(b, off)
	for _, h := range m.hidden {
		from, to := max(h.start, off), min(h.end, off+int64(n))
		if from < to {
			clear(b[from-off : to-off])
		}
	}
	return n, err
}
