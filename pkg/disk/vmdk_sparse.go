package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// vmdkSparseVersion is the one of files whose grains are as they are.
	vmdkSparseVersion = 1
	// vmdkSparseFlags: the newline detector is valid, and there is a second grain
	// directory.
	vmdkSparseFlags = 1<<0 | 1<<1
	// vmdkTable is what a grain table takes, in sectors.
	vmdkTable = vmdkGrains * 4 / vmdkSector
	// maxVMDKName bounds the file's name in the descriptor, in bytes.
	maxVMDKName = 255
	// idFirst and idLast are how much of what is kept is read for the id of the
	// content, in bytes.
	idFirst = 4 << 20
	idLast  = 16 << 20
)

// PlanVMDKSparse plans the disk as a VMDK file of the kind monolithicSparse:
// grains of 64 KiB as they are on the disk, those left out that are zero by the
// plan. Such a file names itself; a name that cannot stand there is replaced.
// The id of its content, which VMware wants to be another one when the content is,
// has to be known before that is written, so some of it is read.
func PlanVMDKSparse(p *plan.Plan, name string) (*plan.Plan, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if p.Size%vmdkGrain != 0 {
		return nil, fmt.Errorf("disk: a vmdk's size has to be a multiple of %d bytes, the disk has %d", vmdkGrain, p.Size)
	}
	v := &sparseVMDK{sectors: p.Size / vmdkSector, runs: dataRuns(p, vmdkGrain)}
	v.tables = (p.Size/vmdkGrain + vmdkGrains - 1) / vmdkGrains
	id, err := contentID(p, v.runs)
	if err != nil {
		return nil, err
	}
	head := make([]byte, v.overhead()*vmdkSector)
	v.header(head)
	copy(head[vmdkSector:], vmdkDescriptorText("monolithicSparse", vmdkName(name), id, v.sectors))
	for n := range int64(2) {
		v.putTables(head, 1+vmdkDescriptor+n*v.copySectors())
	}
	var b plan.Builder
	b.Literal(head)
	b.Plan(packed(p, v.runs))
	return b.Build(512)
}

// sparseVMDK says where in the file everything lies, in sectors.
type sparseVMDK struct {
	sectors int64 // of the disk
	tables  int64
	runs    []span
}

func (v *sparseVMDK) directory() int64 { return roundUp(v.tables*4, vmdkSector) / vmdkSector }

// copySectors is what a grain directory takes with its tables.
func (v *sparseVMDK) copySectors() int64 { return v.directory() + v.tables*vmdkTable }

// overhead is where the grains begin.
func (v *sparseVMDK) overhead() int64 {
	return roundUp(1+vmdkDescriptor+2*v.copySectors(), vmdkGrain/vmdkSector)
}

func (v *sparseVMDK) header(b []byte) {
	vmdkHeader{
		version: vmdkSparseVersion, flags: vmdkSparseFlags, sectors: v.sectors,
		second:    1 + vmdkDescriptor, // which lies first
		directory: 1 + vmdkDescriptor + v.copySectors(), overhead: v.overhead(),
	}.put(b)
}

// putTables writes a directory with its tables at a sector.
func (v *sparseVMDK) putTables(head []byte, at int64) {
	le := binary.LittleEndian
	first := at + v.directory()
	for n := range v.tables {
		le.PutUint32(head[at*vmdkSector+4*n:], uint32(first+n*vmdkTable)) //nolint:gosec // some thousands
	}
	entries := head[first*vmdkSector:]
	grain := v.overhead()
	for _, r := range v.runs {
		for n := r.start / vmdkGrain; n < r.end/vmdkGrain; n++ {
			le.PutUint32(entries[4*n:], uint32(grain)) //nolint:gosec // 16 GiB are 2^25 sectors
			grain += vmdkGrain / vmdkSector
		}
	}
}

// vmdkName is the file's name as it can stand in a descriptor.
func vmdkName(name string) string {
	name = filepath.Base(name)
	odd := func(r rune) bool { return r < ' ' || r == '"' || r == 0x7f }
	if name == "." || name == string(filepath.Separator) || len(name) > maxVMDKName || strings.ContainsFunc(name, odd) {
		return "esxi.vmdk"
	}
	return name
}

// contentID names what a disk is by bytes that are quickly read: all of the
// first and the last grains, where the tables are and the files that differ
// between hosts, and the first sector of each other.
func contentID(p *plan.Plan, runs []span) ([]byte, error) {
	h, grain := sha256.New(), make([]byte, vmdkGrain)
	last := length(runs) - idLast
	var seen int64
	for _, r := range runs {
		for at := r.start; at < r.end; at += vmdkGrain {
			b := grain[:vmdkSector]
			if seen < idFirst || seen >= last {
				b = grain
			}
			if err := readZeroed(p, b, at, p.Size); err != nil {
				return nil, err
			}
			_, _ = fmt.Fprintf(h, "%d %d\n", at, len(b)) // a hash never fails
			h.Write(b)
			seen += vmdkGrain
		}
	}
	return h.Sum(nil)[:16], nil
}
