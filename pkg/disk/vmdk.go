package disk

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/adler32"
	"os"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Numbers of VMware's "Virtual Disk Format 5.0", sections "Hosted sparse
// extents" and "Stream-optimized compressed sparse extents". Lengths and
// offsets in the file are in sectors of 512 bytes, whatever those of the disk
// are.
const (
	vmdkSector = 512
	vmdkMagic  = 0x564d444b // "KDMV" as it lies there
	// vmdkVersion is the one of files with markers: ESXi refuses streams of an
	// older ("sparse VMDK version too old").
	vmdkVersion = 3
	// vmdkFlags: the newline detector is valid, grains are compressed, markers
	// say where they belong.
	vmdkFlags      = 1<<0 | 1<<16 | 1<<17
	vmdkDeflate    = 1
	vmdkGrain      = formatUnit
	vmdkGrains     = 512 // of a table
	vmdkDescriptor = 20  // sectors that the text takes
	vmdkMarker     = 12  // bytes: of which sector a grain is, and how long it is
	// vmdkCylinder is that of a disk with 255 heads and 63 sectors a track,
	// in sectors.
	vmdkCylinder = 255 * 63

	// maxStored is the most data of a stored deflate block (RFC 1951 §3.2.4).
	maxStored = 65535
	// storedGrain is what a grain takes, in bytes: marker, zlib header, two
	// stored blocks, checksum. VMware's own readers have room for 129 sectors.
	storedGrain   = vmdkMarker + 2 + 5 + maxStored + 5 + vmdkGrain - maxStored + 4
	storedSectors = (storedGrain + vmdkSector - 1) / vmdkSector
)

// writeVMDK makes an empty file the planned disk as a streamOptimized VMDK. The
// grains are stored, not deflated: what an installer holds is compressed
// already, and deflated bytes depend on the version of the compressor. So each
// takes the same room, and the tables can stand at the file's beginning.
func writeVMDK(ctx context.Context, f *os.File, p *plan.Plan, opts WriteOptions, phase string) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if p.Size%vmdkGrain != 0 {
		return fmt.Errorf("disk: a vmdk's size has to be a multiple of %d bytes, the disk has %d", vmdkGrain, p.Size)
	}
	d, err := newDigester(nil, p, DigestOptions{
		PieceSize: bufferSize, Workers: opts.Workers, Progress: opts.Progress, Phase: phase,
	})
	if err != nil {
		return err
	}
	d.checkOnly, d.whole = true, newVMDK(f, p)
	_, err = d.run(ctx)
	return err
}

// vmdk writes a disk that comes as a stream.
type vmdk struct {
	to      *os.File
	sectors int64 // of the disk
	tables  int64 // of grains
	entries []byte

	grain    []byte // on its way, with all that is around it
	used     int    // bytes of the grain's data
	keep     bool   // the grain has what the plan does not say to be zero
	disk     int64  // where the grain lies on the disk, in bytes
	file     int64  // and in the file
	handed   int64  // how much of the file is handed to the disk
	contents hash.Hash
}

func newVMDK(f *os.File, p *plan.Plan) *vmdk {
	grains := p.Size / vmdkGrain
	v := &vmdk{to: f, sectors: p.Size / vmdkSector, tables: (grains + vmdkGrains - 1) / vmdkGrains, contents: sha256.New()}
	v.entries = make([]byte, v.tables*vmdkGrains*4)
	v.grain = make([]byte, storedSectors*vmdkSector)
	v.file = v.overhead() * vmdkSector
	v.handed = v.file
	return v
}

// directory is how many sectors the grain directory takes.
func (v *vmdk) directory() int64 { return roundUp(v.tables*4, vmdkSector) / vmdkSector }

// overhead is how many sectors lie before the grains.
func (v *vmdk) overhead() int64 {
	return 1 + vmdkDescriptor + v.directory() + v.tables*vmdkGrains*4/vmdkSector
}

// Offsets in a stored grain.
const (
	grainZlib   = vmdkMarker
	grainFirst  = grainZlib + 2
	grainData   = grainFirst + 5
	grainSecond = grainData + maxStored
	grainRest   = grainSecond + 5
	grainSum    = grainRest + vmdkGrain - maxStored
)

// Write adds bytes of the disk.
func (v *vmdk) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		// The second block has the grain's last byte alone.
		to := v.grain[grainData+v.used : grainSecond]
		if v.used >= maxStored {
			to = v.grain[grainRest+v.used-maxStored : grainSum]
		}
		copied := copy(to, b[n:])
		n, v.used, v.keep = n+copied, v.used+copied, true
		if err := v.next(); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// zeros adds n zeros of which the plan knows.
func (v *vmdk) zeros(n int64) error {
	for n > 0 {
		if v.used == 0 {
			v.disk += n / vmdkGrain * vmdkGrain
			n %= vmdkGrain
		}
		part := min(n, int64(vmdkGrain-v.used))
		from := v.used
		v.used, n = v.used+int(part), n-part
		clear(v.grain[grainData+from : grainData+min(v.used, maxStored)])
		clear(v.grain[grainRest : grainRest+max(0, v.used-maxStored)])
		if err := v.next(); err != nil {
			return err
		}
	}
	return nil
}

// next writes the grain if it is complete and has to be kept.
func (v *vmdk) next() error {
	if v.used < vmdkGrain {
		return nil
	}
	if v.keep {
		if err := v.writeGrain(); err != nil {
			return err
		}
	}
	v.disk, v.used, v.keep = v.disk+vmdkGrain, 0, false
	return nil
}

func (v *vmdk) writeGrain() error {
	g := v.grain
	binary.LittleEndian.PutUint64(g, uint64(v.disk/vmdkSector)) //nolint:gosec // positive
	binary.LittleEndian.PutUint32(g[8:], storedGrain-vmdkMarker)
	g[grainZlib], g[grainZlib+1] = 0x78, 0x01 // RFC 1950 §2.2: deflate, 32 KiB window, fastest
	putStored(g[grainFirst:], false, maxStored)
	putStored(g[grainSecond:], true, vmdkGrain-maxStored)
	binary.BigEndian.PutUint32(g[grainSum:], adlerOf(g[grainData:grainSecond], g[grainRest:grainSum]))
	// The digest that names the content is made of these.
	v.contents.Write(g[:vmdkMarker])
	v.contents.Write(g[grainSum : grainSum+4])

	binary.LittleEndian.PutUint32(v.entries[v.disk/vmdkGrain*4:], uint32(v.file/vmdkSector)) //nolint:gosec // 16 GiB are 2^25 sectors
	if _, err := v.to.WriteAt(g, v.file); err != nil {
		return err
	}
	v.file += int64(len(g))
	if v.file-v.handed >= writebackSize {
		startWriteback(v.to, v.handed, v.file-v.handed)
		v.handed = v.file
	}
	return nil
}

// putStored writes the head of a stored deflate block (RFC 1951 §3.2.4).
func putStored(b []byte, last bool, n uint16) {
	b[0] = 0
	if last {
		b[0] = 1
	}
	binary.LittleEndian.PutUint16(b[1:], n)
	binary.LittleEndian.PutUint16(b[3:], ^n)
}

func adlerOf(parts ...[]byte) uint32 {
	h := adler32.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum32()
}

// end writes what names and finds the grains, and the marker of the stream's
// end, which is a sector of zeros.
func (v *vmdk) end() error {
	head := make([]byte, v.overhead()*vmdkSector)
	v.header(head)
	copy(head[vmdkSector:], v.descriptor())
	at := int64(1 + vmdkDescriptor)
	table := at + v.directory()
	for n := range v.tables {
		binary.LittleEndian.PutUint32(head[at*vmdkSector+4*n:], uint32(table+n*vmdkGrains*4/vmdkSector)) //nolint:gosec // some thousands
	}
	copy(head[table*vmdkSector:], v.entries)
	if _, err := v.to.WriteAt(head, 0); err != nil {
		return err
	}
	_, err := v.to.WriteAt(make([]byte, vmdkSector), v.file)
	return err
}

func (v *vmdk) header(b []byte) {
	vmdkHeader{
		version: vmdkVersion, flags: vmdkFlags, sectors: v.sectors,
		directory: 1 + vmdkDescriptor, overhead: v.overhead(), compression: vmdkDeflate,
	}.put(b)
}

// vmdkHeader is what files differ in at their beginning; all but the numbers
// are in sectors.
type vmdkHeader struct {
	version, flags    uint32
	sectors           int64 // of the disk
	second, directory int64 // where the grain directories are, 0 for no second one
	overhead          int64 // what stands before the grains
	compression       uint16
}

func (h vmdkHeader) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, vmdkMagic)
	le.PutUint32(b[4:], h.version)
	le.PutUint32(b[8:], h.flags)
	le.PutUint64(b[12:], uint64(h.sectors)) //nolint:gosec // positive
	le.PutUint64(b[20:], vmdkGrain/vmdkSector)
	le.PutUint64(b[28:], 1) // the descriptor
	le.PutUint64(b[36:], vmdkDescriptor)
	le.PutUint32(b[44:], vmdkGrains)
	le.PutUint64(b[48:], uint64(h.second))    //nolint:gosec // positive
	le.PutUint64(b[56:], uint64(h.directory)) //nolint:gosec // positive
	le.PutUint64(b[64:], uint64(h.overhead))  //nolint:gosec // positive
	b[72] = 0                                 // shut down cleanly
	copy(b[73:], "\n \r\n")                   // the newline detector
	le.PutUint16(b[77:], h.compression)
}

// descriptor is the text that describes the disk. The file's name in it is not
// used to find anything.
func (v *vmdk) descriptor() []byte {
	return vmdkDescriptorText("streamOptimized", "esxi.vmdk", v.contents.Sum(nil)[:16], v.sectors)
}

// vmdkDescriptorText describes a disk of a number of sectors, whose content has
// an id of 16 bytes.
func vmdkDescriptorText(kind, name string, id []byte, sectors int64) []byte {
	// Of the values of the last four bytes two mean "none": those of all ones,
	// but for the last bit.
	id[12] &= 0x7f
	return fmt.Appendf(nil, `# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=%08x
parentCID=ffffffff
createType="%s"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.longContentID = "%032x"
ddb.toolsVersion = "2147483647"
ddb.virtualHWVersion = "4"
`, id[12:], kind, sectors, name, min((sectors+vmdkCylinder-1)/vmdkCylinder, 65535), id)
}
