package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"

	"github.com/klauspost/compress/flate"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// qcowWindow is how far back QEMU looks when it inflates a cluster, in bytes
	// (block/qcow2-threads.c: a window of 12 bits).
	qcowWindow = 1 << 12
	// qcowCompressed marks an entry of a cluster that is compressed, bit 62.
	qcowCompressed = 1 << 62
	// qcowLengthShift is where such an entry tells how many more sectors the
	// cluster takes: 62 - (qcowClusterBits - 8).
	qcowLengthShift = 54
	qcowSector      = 512

	// batchSize is how much one goroutine compresses at a time, in bytes.
	batchSize = 16 * qcowCluster
)

// writeCompressedQCOW2 makes an empty file the planned disk as a QCOW2 file
// whose clusters are deflated where that makes them smaller. How large they get
// is not known before, so they are compressed in parallel and written in order,
// and the tables, for which there is room at the file's beginning, come last.
func writeCompressedQCOW2(ctx context.Context, f *os.File, p *plan.Plan, opts WriteOptions, phase string) error {
	if err := p.Validate(); err != nil {
		return err
	}
	q := &qcow2{size: p.Size, runs: dataRuns(p, qcowCluster)}
	q.layOut() // the room for the tables is that of a file of which nothing shrinks
	if size := q.all * qcowCluster; size > plan.MaxSize {
		return fmt.Errorf("disk: the qcow2 file would have %d bytes, over the limit of %d", size, int64(plan.MaxSize))
	}
	d, err := newDigester(nil, p, DigestOptions{
		PieceSize: bufferSize, Workers: opts.Workers, Progress: opts.Progress, Phase: phase,
	})
	if err != nil {
		return err
	}
	d.checkOnly, d.whole = true, newSqueezer(f, q, d.workers)
	_, err = d.run(ctx)
	return err
}

// squeezer writes a disk that comes as a stream.
type squeezer struct {
	to     *os.File
	file   *qcow2
	counts []uint16 // of references, by cluster of the file
	l2     []byte

	batch   *batch // on its way in
	used    int    // bytes of the batch's last cluster
	keep    bool   // that cluster has what the plan does not say to be zero
	disk    int64  // where that cluster lies on the disk
	pending chan *batch
	free    chan *batch

	next   int64 // the first cluster of the file that nothing lies in
	at     int64 // where the next compressed cluster may begin, in bytes
	handed int64 // how much of the file is handed to the disk
}

// batch is some clusters of the disk.
type batch struct {
	data  []byte
	disk  []int64 // where each lies on the disk
	small [][]byte
	out   bytes.Buffer
	enc   *flate.Writer
	done  chan error
}

func newSqueezer(f *os.File, q *qcow2, workers int) *squeezer {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	tables := qcowBlocks + q.blocks + int64(len(q.tables))
	s := &squeezer{
		to: f, file: q, counts: make([]uint16, q.blocks*qcowRefcounts), l2: make([]byte, len(q.tables)*qcowCluster),
		next: tables, handed: tables * qcowCluster,
		pending: make(chan *batch, workers+1), free: make(chan *batch, workers+1),
	}
	for n := range tables {
		s.counts[n] = 1
	}
	for range cap(s.free) {
		s.free <- &batch{}
	}
	s.batch = <-s.free
	return s
}

// Write adds bytes of the disk.
func (s *squeezer) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		part := b[n:min(len(b), n+qcowCluster-s.used)]
		s.batch.data = append(s.batch.data, part...)
		n, s.used, s.keep = n+len(part), s.used+len(part), true
		if err := s.clusterDone(); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// zeros adds n zeros of which the plan knows.
func (s *squeezer) zeros(n int64) error {
	for n > 0 {
		if s.used == 0 {
			s.disk += n / qcowCluster * qcowCluster
			n %= qcowCluster
		}
		part := int(min(n, int64(qcowCluster-s.used)))
		s.batch.data = append(s.batch.data, make([]byte, part)...)
		s.used, n = s.used+part, n-int64(part)
		if err := s.clusterDone(); err != nil {
			return err
		}
	}
	return nil
}

// clusterDone goes on to the next cluster if one is complete.
func (s *squeezer) clusterDone() error {
	if s.used < qcowCluster {
		return nil
	}
	b := s.batch
	if s.keep {
		b.disk = append(b.disk, s.disk)
	} else {
		b.data = b.data[:len(b.data)-qcowCluster]
	}
	s.disk, s.used, s.keep = s.disk+qcowCluster, 0, false
	if len(b.data) < batchSize {
		return nil
	}
	return s.handOut()
}

// handOut has the batch compressed, and takes an empty one; the oldest is
// written first if there is none.
func (s *squeezer) handOut() error {
	b := s.batch
	b.done = make(chan error, 1)
	go func() { b.done <- b.compress() }()
	s.pending <- b
	if len(s.free) == 0 {
		if err := s.writeOldest(); err != nil {
			return err
		}
	}
	s.batch = <-s.free
	return nil
}

// compress deflates each cluster by itself.
func (b *batch) compress() (err error) {
	if b.enc == nil {
		if b.enc, err = flate.NewWriterWindow(nil, qcowWindow); err != nil {
			return err
		}
		b.out.Grow(batchSize)
	}
	b.out.Reset()
	ends := make([]int, 0, len(b.disk))
	for n := range b.disk {
		from := b.out.Len()
		b.enc.Reset(&b.out)
		if _, err := b.enc.Write(b.data[n*qcowCluster : (n+1)*qcowCluster]); err != nil {
			return err
		}
		if err := b.enc.Close(); err != nil {
			return err
		}
		if b.out.Len()-from >= qcowCluster {
			b.out.Truncate(from) // stays as it is
		}
		ends = append(ends, b.out.Len())
	}
	b.small = b.small[:0]
	for n, from := range append([]int{0}, ends[:len(ends)-1]...) {
		b.small = append(b.small, b.out.Bytes()[from:ends[n]])
	}
	return nil
}

// writeOldest writes the batch that was handed out first, and frees it.
func (s *squeezer) writeOldest() error {
	b := <-s.pending
	if err := <-b.done; err != nil {
		return err
	}
	for n, at := range b.disk {
		data, entry := b.data[n*qcowCluster:(n+1)*qcowCluster], uint64(0)
		var off int64
		if small := b.small[n]; len(small) > 0 {
			data, off = small, s.place(int64(len(small)))
			more := (off+int64(len(small))-1)/qcowSector - off/qcowSector
			entry = qcowCompressed | uint64(more)<<qcowLengthShift | uint64(off) //nolint:gosec // positive
		} else {
			off = s.place(qcowCluster)
			entry = uint64(off) | qcowCopied //nolint:gosec // positive
		}
		if _, err := s.to.WriteAt(data, off); err != nil {
			return err
		}
		s.file.put(s.l2, span{at, at + qcowCluster}, func() uint64 { return entry })
	}
	if written := s.next * qcowCluster; written-s.handed >= writebackSize {
		startWriteback(s.to, s.handed, written-s.handed)
		s.handed = written
	}
	b.data, b.disk = b.data[:0], b.disk[:0]
	s.free <- b
	return nil
}

// place finds room for n bytes: for a whole cluster in one of the file's, else
// behind what was compressed before, as long as that is in one run.
func (s *squeezer) place(n int64) int64 {
	if n == qcowCluster {
		s.next++
		s.counts[s.next-1]++
		return (s.next - 1) * qcowCluster
	}
	left := roundUp(s.at, qcowCluster) - s.at
	if n > left && (left == 0 || s.at+left != s.next*qcowCluster) {
		s.at = s.next * qcowCluster
	}
	off := s.at
	s.at += n
	s.next = max(s.next, roundUp(s.at, qcowCluster)/qcowCluster)
	for c := off / qcowCluster; c*qcowCluster < s.at; c++ {
		s.counts[c]++
	}
	return off
}

// end writes what is left, and the tables.
func (s *squeezer) end() error {
	if err := s.lastCluster(); err != nil {
		return err
	}
	for len(s.pending) > 0 {
		if err := s.writeOldest(); err != nil {
			return err
		}
	}
	q := s.file
	counts := make([]byte, 0, 2*len(s.counts))
	for _, n := range s.counts {
		counts = binary.BigEndian.AppendUint16(counts, n)
	}
	at := int64(0)
	for _, part := range [][]byte{q.header(), q.refcountTable(), q.l1(), counts, s.l2} {
		if _, err := s.to.WriteAt(part, at); err != nil {
			return err
		}
		at += roundUp(int64(len(part)), qcowCluster)
	}
	return s.to.Truncate(s.next * qcowCluster)
}

// lastCluster fills up the cluster within which the disk ends, and hands out the
// last batch.
func (s *squeezer) lastCluster() error {
	if s.used > 0 {
		if err := s.zeros(int64(qcowCluster - s.used)); err != nil {
			return err
		}
	}
	if len(s.batch.disk) == 0 {
		return nil
	}
	return s.handOut()
}
