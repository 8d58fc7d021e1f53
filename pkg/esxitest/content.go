package esxitest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"sort"
	"sync"
)

// content is bytes that are made when they are read. It is safe for parallel
// use.
type content interface {
	io.ReaderAt
	Size() int64
}

// clip cuts b to what a content of the given size has at off; err is what a
// ReadAt that fills the result has to return.
func clip(b []byte, off, size int64) (part []byte, err error) {
	switch {
	case off < 0:
		return nil, errNegativeOffset
	case off >= size:
		return nil, io.EOF
	case int64(len(b)) > size-off:
		return b[:size-off], io.EOF
	}
	return b, nil
}

func literal(b []byte) content { return bytes.NewReader(b) }

// noiseBlock is the run of noise that has a generator of its own, in bytes:
// short, so that a read anywhere costs no more than that in vain.
const noiseBlock = 4096

// noise is incompressible and the same on every machine: the PCG-DXSM
// generator of math/rand/v2, seeded again for each block.
type noise struct {
	hi, lo uint64
	size   int64
}

// newNoise derives the generator's seed from what the noise is for.
func newNoise(seed uint64, name string, size int64) noise {
	sum := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, seed), name...))
	return noise{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:]), size}
}

func (n noise) Size() int64 { return n.size }

func (n noise) ReadAt(b []byte, off int64) (int, error) {
	b, err := clip(b, off, n.size)
	var spare [noiseBlock]byte
	for done := 0; done < len(b); {
		block, skip := (off+int64(done))/noiseBlock, (off+int64(done))%noiseBlock
		if skip == 0 && len(b)-done >= noiseBlock {
			n.fill((*[noiseBlock]byte)(b[done:]), block)
			done += noiseBlock
			continue
		}
		n.fill(&spare, block)
		done += copy(b[done:], spare[skip:])
	}
	return len(b), err
}

func (n noise) fill(b *[noiseBlock]byte, block int64) {
	var g rand.PCG
	g.Seed(n.hi, n.lo^uint64(block)*0x9E3779B97F4A7C15) //nolint:gosec // not negative; spreads the block number over all bits
	for i := 0; i < noiseBlock; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], g.Uint64())
	}
}

// concat is contents end to end.
type concat struct {
	parts []content
	ends  []int64
}

func join(parts ...content) concat {
	c := concat{parts: parts}
	var at int64
	for _, p := range parts {
		at += p.Size()
		c.ends = append(c.ends, at)
	}
	return c
}

func (c concat) Size() int64 {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

func (c concat) ReadAt(b []byte, off int64) (int, error) {
	b, err := clip(b, off, c.Size())
	done := 0
	for i := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > off }); done < len(b); i++ {
		start := c.ends[i] - c.parts[i].Size()
		within := off + int64(done) - start
		n, rerr := c.parts[i].ReadAt(b[done:min(len(b), done+int(c.ends[i]-start-within))], within)
		done += n
		if rerr != nil && !errors.Is(rerr, io.EOF) {
			return done, rerr
		}
	}
	return done, err
}

// gzipBlock is how much one stored block of our gzip files holds, in bytes
// (RFC 1951 section 3.2.4 allows 65,535).
const gzipBlock = 32 << 10

// The fixed parts of a gzip file (RFC 1952 section 2.3).
const (
	gzipHeaderSize  = 10
	gzipTrailerSize = 8
	storedHeader    = 5 // of a stored block, RFC 1951
)

// storedGzip is a gzip file of one member without a name or a time, whose
// blocks are stored. Noise can't be compressed anyway, and the bytes don't
// depend on the version of a compressor.
type storedGzip struct {
	plain content
	crc   uint32
}

// gzipPayload returns how many bytes make a storedGzip of the given size.
func gzipPayload(size int64) int64 {
	body := size - gzipHeaderSize - gzipTrailerSize
	blocks := max((body+gzipBlock+storedHeader-1)/(gzipBlock+storedHeader), 1)
	return max(body-blocks*storedHeader, 1)
}

func (z *storedGzip) blocks() int64 { return max((z.plain.Size()+gzipBlock-1)/gzipBlock, 1) }

func (z *storedGzip) Size() int64 {
	return gzipHeaderSize + z.blocks()*storedHeader + z.plain.Size() + gzipTrailerSize
}

func (z *storedGzip) ReadAt(b []byte, off int64) (int, error) {
	b, err := clip(b, off, z.Size())
	done := 0
	for done < len(b) {
		n, rerr := z.readSome(b[done:], off+int64(done))
		done += n
		if rerr != nil {
			return done, rerr
		}
	}
	return done, err
}

// readSome reads from the header, the trailer, a block's header or its bytes:
// at least one byte, at most to the end of that.
func (z *storedGzip) readSome(b []byte, off int64) (int, error) {
	if off < gzipHeaderSize {
		return copy(b, gzipHeader()[off:]), nil
	}
	if trailer := z.Size() - gzipTrailerSize; off >= trailer {
		return copy(b, z.trailer()[off-trailer:]), nil
	}
	block, within := (off-gzipHeaderSize)/(gzipBlock+storedHeader), (off-gzipHeaderSize)%(gzipBlock+storedHeader)
	if within < storedHeader {
		return copy(b, z.blockHeader(block)[within:]), nil
	}
	start := block * gzipBlock
	skip := within - storedHeader
	left := min(gzipBlock, z.plain.Size()-start) - skip
	n, err := z.plain.ReadAt(b[:min(int64(len(b)), left)], start+skip)
	if errors.Is(err, io.EOF) && n > 0 {
		err = nil
	}
	return n, err
}

func gzipHeader() []byte { return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255} }

func (z *storedGzip) blockHeader(block int64) []byte {
	n := uint16(min(gzipBlock, z.plain.Size()-block*gzipBlock)) //nolint:gosec // at most gzipBlock
	h := []byte{0}
	if block == z.blocks()-1 {
		h[0] = 1
	}
	h = binary.LittleEndian.AppendUint16(h, n)
	return binary.LittleEndian.AppendUint16(h, ^n)
}

func (z *storedGzip) trailer() []byte {
	t := binary.LittleEndian.AppendUint32(nil, z.crc)
	return binary.LittleEndian.AppendUint32(t, uint32(z.plain.Size())) //nolint:gosec // ISIZE is modulo 2^32
}

// digests are what a VIB says of a payload.
type digests struct {
	file   [sha256.Size]byte
	gunzip *[sha256.Size]byte // nil where the file is not gzip
}

// seal compresses plain and takes both digests in one pass over it.
func seal(plain content) (*storedGzip, digests) {
	z := &storedGzip{plain: plain}
	whole, inner := sha256.New(), sha256.New()
	whole.Write(gzipHeader())
	buf := make([]byte, gzipBlock)
	for i := range z.blocks() {
		n, _ := plain.ReadAt(buf, i*gzipBlock) // ours: ends early only at its end
		whole.Write(z.blockHeader(i))
		whole.Write(buf[:n])
		inner.Write(buf[:n])
		z.crc = crc32.Update(z.crc, crc32.IEEETable, buf[:n])
	}
	whole.Write(z.trailer())
	d := digests{gunzip: new([sha256.Size]byte)}
	whole.Sum(d.file[:0])
	inner.Sum(d.gunzip[:0])
	return z, d
}

// tinyGzip is the 20 or 21 bytes that gzip makes of nothing or of a newline.
func tinyGzip(plain string) []byte {
	b := gzipHeader()
	switch plain {
	case "":
		b = append(b, 0x03, 0x00)
	case "\n":
		b = append(b, 0xe3, 0x02, 0x00)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE([]byte(plain)))
	return binary.LittleEndian.AppendUint32(b, uint32(len(plain))) //nolint:gosec // 0 or 1
}

// flipped is a content with one bit of one byte turned over.
type flipped struct {
	content
	at int64
}

func (f flipped) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.content.ReadAt(b, off)
	if i := f.at - off; i >= 0 && i < int64(n) {
		b[i] ^= 0x10
	}
	return n, err
}

// parallel runs do(0) … do(n-1) on as many goroutines as given.
func parallel(n, workers int, do func(i int)) {
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(n, workers) {
		wg.Go(func() {
			for i := range work {
				do(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
}
