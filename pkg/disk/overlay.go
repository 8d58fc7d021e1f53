package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// maxBackingName is the longest name of a backing file, in bytes, that QEMU
	// reads (docs/interop/qcow2.txt, backing_file_size).
	maxBackingName = 1023
	// qcowBackingFormat is the type of the header extension that names the
	// backing file's format.
	qcowBackingFormat = 0xe2792aca
	// overlayWindow is how much is compared at a time, in bytes.
	overlayWindow = 16 * qcowCluster
)

// Backing is a disk in a file, of which overlays keep only what differs.
type Backing struct {
	// Path of the file. An overlay names it relative to its own folder, so that
	// both can be moved together.
	Path string
	// Format of the file: Raw or QCOW2.
	Format Format
	// Disk is what the file holds (of a qcow2 file not its bytes, but the
	// disk's), Size its length in bytes. Parallel reads must be allowed where
	// overlays are written in parallel.
	Disk io.ReaderAt
	Size int64
	// Zeros, if it is there, knows which parts of Disk are zeros, which then
	// need not be read again for each overlay.
	Zeros *Zeros
}

// Overlay is what WriteOverlay wrote.
type Overlay struct {
	Size    int64 // of the file, in bytes
	Differs int64 // bytes of the disk that differ, in whole clusters
}

// WriteOverlay writes to path a qcow2 file (version 3) of the planned disk that
// has only the clusters which differ from a backing file; QEMU reads the others
// there, by a name relative to the overlay. The disk may be larger than the
// backing one.
//
// Same says of an extent that is no zeros that Disk has the same bytes at the
// same place: it is not read then. Without same all of it is compared.
//
// Of opts Format is not used. The file appears under its name complete and
// synced, or not at all. Several overlays can be written at once.
func WriteOverlay(ctx context.Context, path string, p *plan.Plan, b Backing, same func(plan.Extent) bool, opts WriteOptions) (*Overlay, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	behind, err := b.behind(path)
	if err != nil {
		return nil, err
	}
	c := &comparison{plan: p, disk: b.Disk, size: b.Size, want: make([]byte, overlayWindow), is: make([]byte, overlayWindow)}
	if err := c.compare(ctx, b.suspects(p, same)); err != nil {
		return nil, err
	}
	q := &qcow2{size: p.Size, runs: c.data, blank: c.zeros, behind: behind}
	file, err := q.plan(p)
	if err != nil {
		return nil, err
	}
	opts.Format = Raw // of the file's own bytes
	if err := WriteFile(ctx, path, file, opts); err != nil {
		return nil, err
	}
	return &Overlay{Size: file.Size, Differs: length(c.data) + length(c.zeros)}, nil
}

func length(spans []span) (n int64) {
	for _, s := range spans {
		n += s.end - s.start
	}
	return n
}

// behind is how an overlay of that name names the backing file.
func (b *Backing) behind(overlay string) (backing, error) {
	if b.Format != Raw && b.Format != QCOW2 {
		return backing{}, fmt.Errorf("disk: %s is %s: the file behind an overlay has to be raw or qcow2", b.Path, b.Format)
	}
	have, err := os.Stat(b.Path)
	if err != nil {
		return backing{}, err
	}
	if old, err := os.Stat(overlay); err == nil && os.SameFile(have, old) {
		return backing{}, fmt.Errorf("disk: %s cannot lie over itself", overlay)
	}
	from, err := folderOf(overlay)
	if err != nil {
		return backing{}, err
	}
	to, err := folderOf(b.Path)
	if err != nil {
		return backing{}, err
	}
	name, err := filepath.Rel(from, filepath.Join(to, filepath.Base(b.Path)))
	if err != nil {
		return backing{}, fmt.Errorf("disk: %s has no name as seen from %s: %w", b.Path, overlay, err)
	}
	name = filepath.ToSlash(name)
	// What stands before a colon QEMU takes for a protocol.
	if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ":") {
		name = "./" + name
	}
	if len(name) > maxBackingName {
		return backing{}, fmt.Errorf("disk: the name of the backing file, %s, has %d bytes, more than %d", name, len(name), maxBackingName)
	}
	return backing{name, string(b.Format)}, nil
}

// folderOf is where a file lies, without links: ".." leads out of the folder
// that a link points at.
func folderOf(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(filepath.Dir(abs))
}

// suspects are the parts of the disk that have to be compared.
func (b *Backing) suspects(p *plan.Plan, same func(plan.Extent) bool) []span {
	var out []span
	add := func(s span) {
		if last := len(out) - 1; last >= 0 && out[last].end == s.start {
			out[last].end = s.end
			return
		}
		out = append(out, s)
	}
	for _, e := range p.Extents {
		if e.Kind != plan.Zero {
			if same == nil || !same(e) {
				add(span{e.Offset, e.End()})
			}
			continue
		}
		for at := e.Offset; ; {
			if at = NextData(b.Disk, at, min(e.End(), b.Size)); at >= min(e.End(), b.Size) {
				break
			}
			end := min(at-at%qcowCluster+qcowCluster, e.End())
			if !b.Zeros.has(at / qcowCluster) {
				add(span{at, end})
			}
			at = end
		}
	}
	return out
}

// comparison finds the clusters in which a plan differs from a disk.
type comparison struct {
	plan        *plan.Plan
	disk        io.ReaderAt
	size        int64
	want, is    []byte
	data, zeros []span
}

func (c *comparison) compare(ctx context.Context, suspects []span) error {
	known := int64(-1) // number of the last cluster that differs
	for _, s := range suspects {
		for at := s.start; at < s.end; {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			end := min(at-at%overlayWindow+overlayWindow, s.end)
			want, is := c.want[:end-at], c.is[:end-at]
			if err := readZeroed(c.plan, want, at, c.plan.Size); err != nil {
				return err
			}
			if err := readZeroed(c.disk, is, at, c.size); err != nil {
				return err
			}
			for from := at; from < end; {
				to := min(from-from%qcowCluster+qcowCluster, end)
				if n := from / qcowCluster; n > known && !bytes.Equal(want[from-at:to-at], is[from-at:to-at]) {
					known = n
					if err := c.keep(n * qcowCluster); err != nil {
						return err
					}
				}
				from = to
			}
			at = end
		}
	}
	return nil
}

// keep notes that the cluster at that offset differs.
func (c *comparison) keep(at int64) error {
	var b [qcowCluster]byte
	if err := readZeroed(c.plan, b[:], at, c.plan.Size); err != nil {
		return err
	}
	to := &c.data
	if AllZero(b[:]) {
		to = &c.zeros
	}
	if last := len(*to) - 1; last >= 0 && (*to)[last].end == at {
		(*to)[last].end += qcowCluster
		return nil
	}
	*to = append(*to, span{at, at + qcowCluster})
	return nil
}

// readZeroed fills b from a disk behind whose end there are zeros.
func readZeroed(r io.ReaderAt, b []byte, at, size int64) error {
	n := int(max(0, min(int64(len(b)), size-at)))
	clear(b[n:])
	if n == 0 {
		return nil
	}
	got, err := r.ReadAt(b[:n], at)
	if got == n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// AllZero says whether a block has only zeros.
func AllZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// Zeros notes which clusters of a disk are zeros. The disk is written to it, from
// its beginning; what was not written is not known. The zero value is ready.
type Zeros struct {
	at   int64
	used []bool // by cluster
}

// Write takes the next bytes of the disk.
func (z *Zeros) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		end := min(len(b), n+int(qcowCluster-z.at%qcowCluster))
		cluster := z.at / qcowCluster
		if int64(len(z.used)) <= cluster {
			z.used = append(z.used, false)
		}
		z.used[cluster] = z.used[cluster] || !AllZero(b[n:end])
		z.at += int64(end - n)
		n = end
	}
	return len(b), nil
}

// has says whether a cluster is known to be zeros.
func (z *Zeros) has(cluster int64) bool {
	return z != nil && (cluster+1)*qcowCluster <= z.at && !z.used[cluster]
}

// backing is how a qcow2 file names the one behind it.
type backing struct{ name, format string }

// extensions are the header's: the format of the backing file, so that nobody
// guesses it from its content.
func (b backing) extensions() []byte {
	if b.name == "" {
		return nil
	}
	out := binary.BigEndian.AppendUint32(nil, qcowBackingFormat)
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.format))) //nolint:gosec // "raw" or "qcow2"
	out = append(out, b.format...)
	out = append(out, make([]byte, roundUp(int64(len(b.format)), 8)-int64(len(b.format)))...)
	return append(out, make([]byte, 8)...) // the end of the extensions
}
