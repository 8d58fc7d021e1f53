package disk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Numbers of QEMU's docs/interop/qcow2.txt, in whose order the header is
// written.
const (
	qcowMagic        = 0x514649fb // "QFI\xfb"
	qcowVersion      = 3
	qcowHeaderLength = 104
	qcowClusterBits  = 16
	qcowCluster      = 1 << qcowClusterBits // formatUnit
	// qcowRefcountOrder makes reference counts of 16 bits, as qemu-img does.
	qcowRefcountOrder = 4
	qcowRefcounts     = qcowCluster / 2 // of a block
	qcowEntries       = qcowCluster / 8 // of an L2 table
	// qcowCopied marks clusters that are in use once, bit 63 of table entries.
	qcowCopied = 1 << 63
	// qcowZero is the entry of a cluster that is zeros without being there.
	qcowZero = 1
)

// qcow2 says where in the file everything lies, in clusters. Header, refcount
// table and L1 table have one each: plan.MaxSize needs no more.
type qcow2 struct {
	size   int64
	runs   []span // that the file has
	blank  []span // that are zeros whatever a file behind this one has
	behind backing
	blocks int64 // of reference counts
	tables []int // the L2 tables that are there, by their number
	all    int64 // clusters of the file
}

// Clusters of the file, in order. The L2 tables follow the blocks, and the
// disk's own clusters those.
const (
	qcowRefcountTable = 1
	qcowL1            = 2
	qcowBlocks        = 3
)

// PlanQCOW2 plans the disk as a QCOW2 file: version 3, clusters of 64 KiB,
// neither compressed nor encrypted, without snapshots or a file behind it.
// Clusters that are zero by the plan are left out; the others follow one
// another as they lie on the disk, so that content which was in one run stays
// in one. Its files are the given plan's, with other offsets.
func PlanQCOW2(p *plan.Plan) (*plan.Plan, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	q := &qcow2{size: p.Size, runs: dataRuns(p, qcowCluster)}
	return q.plan(p)
}

// plan plans the file of which size, runs, blank and behind are known.
func (q *qcow2) plan(p *plan.Plan) (*plan.Plan, error) {
	q.layOut()
	if size := q.all * qcowCluster; size > plan.MaxSize {
		return nil, fmt.Errorf("disk: the qcow2 file would have %d bytes, over the limit of %d", size, int64(plan.MaxSize))
	}
	var b plan.Builder
	for _, part := range [][]byte{q.header(), q.refcountTable(), q.l1(), q.refcountBlocks(), q.l2()} {
		b.Literal(part)
		b.Pad(qcowCluster)
	}
	b.Plan(packed(p, q.runs))
	return b.Build(512)
}

func (q *qcow2) layOut() {
	var data int64
	for _, r := range q.runs {
		data += (r.end - r.start) / qcowCluster
		q.needTables(r)
	}
	for _, r := range q.blank {
		q.needTables(r)
	}
	slices.Sort(q.tables)
	q.tables = slices.Compact(q.tables)
	// The blocks count themselves too.
	for q.all = 1; q.blocks*qcowRefcounts < q.all; {
		q.blocks++
		q.all = qcowBlocks + q.blocks + int64(len(q.tables)) + data
	}
}

// needTables notes the L2 tables of a run.
func (q *qcow2) needTables(r span) {
	for n := r.start / qcowCluster / qcowEntries; n*qcowEntries*qcowCluster < r.end; n++ {
		q.tables = append(q.tables, int(n))
	}
}

func (q *qcow2) header() []byte {
	extensions := q.behind.extensions()
	b := make([]byte, 0, qcowHeaderLength)
	b = binary.BigEndian.AppendUint32(b, qcowMagic)
	b = binary.BigEndian.AppendUint32(b, qcowVersion)
	nameAt := 0
	if q.behind.name != "" {
		nameAt = qcowHeaderLength + len(extensions)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(nameAt))
	b = binary.BigEndian.AppendUint32(b, uint32(len(q.behind.name))) //nolint:gosec // at most maxBackingName
	b = binary.BigEndian.AppendUint32(b, qcowClusterBits)
	b = binary.BigEndian.AppendUint64(b, uint64(q.size)) //nolint:gosec // positive
	b = binary.BigEndian.AppendUint32(b, 0)              // encryption
	b = binary.BigEndian.AppendUint32(b, q.l1Entries())
	b = binary.BigEndian.AppendUint64(b, qcowL1*qcowCluster)
	b = binary.BigEndian.AppendUint64(b, qcowRefcountTable*qcowCluster)
	b = binary.BigEndian.AppendUint32(b, 1) // clusters of the refcount table
	b = binary.BigEndian.AppendUint32(b, 0) // snapshots: their number
	b = binary.BigEndian.AppendUint64(b, 0) // and their table
	b = binary.BigEndian.AppendUint64(b, 0) // incompatible features
	b = binary.BigEndian.AppendUint64(b, 0) // compatible features
	b = binary.BigEndian.AppendUint64(b, 0) // auto-clear features
	b = binary.BigEndian.AppendUint32(b, qcowRefcountOrder)
	b = binary.BigEndian.AppendUint32(b, qcowHeaderLength)
	return append(append(b, extensions...), q.behind.name...)
	// Zeros follow: the end of the header extensions, where there is no name.
}

func (q *qcow2) l1Entries() uint32 {
	const covers = qcowEntries * qcowCluster
	return uint32((q.size + covers - 1) / covers) //nolint:gosec // at most 32
}

// refcountTable points at the blocks.
func (q *qcow2) refcountTable() []byte {
	b := make([]byte, 0, 8*q.blocks)
	for n := range q.blocks {
		b = binary.BigEndian.AppendUint64(b, uint64((qcowBlocks+n)*qcowCluster))
	}
	return b
}

// refcountBlocks say that every cluster of the file is in use once.
func (q *qcow2) refcountBlocks() []byte {
	b := make([]byte, 0, 2*q.all)
	for range q.all {
		b = binary.BigEndian.AppendUint16(b, 1)
	}
	return append(b, make([]byte, q.blocks*qcowCluster-int64(len(b)))...)
}

// l1 points at the L2 tables.
func (q *qcow2) l1() []byte {
	b := make([]byte, 8*q.l1Entries())
	for i, n := range q.tables {
		binary.BigEndian.PutUint64(b[8*n:], entry(qcowBlocks+q.blocks+int64(i)))
	}
	return b
}

// l2 points at the disk's clusters.
func (q *qcow2) l2() []byte {
	b := make([]byte, len(q.tables)*qcowCluster)
	at := qcowBlocks + q.blocks + int64(len(q.tables))
	for _, r := range q.runs {
		q.put(b, r, func() uint64 {
			at++
			return entry(at - 1)
		})
	}
	for _, r := range q.blank {
		q.put(b, r, func() uint64 { return qcowZero })
	}
	return b
}

// put gives the clusters of a run their entries.
func (q *qcow2) put(tables []byte, r span, next func() uint64) {
	table := 0
	for n := r.start / qcowCluster; n < r.end/qcowCluster; n++ {
		for int64(q.tables[table]) < n/qcowEntries {
			table++
		}
		binary.BigEndian.PutUint64(tables[int64(table)*qcowCluster+n%qcowEntries*8:], next())
	}
}

// entry points at a cluster of the file.
func entry(cluster int64) uint64 {
	return uint64(cluster*qcowCluster) | qcowCopied //nolint:gosec // positive
}
