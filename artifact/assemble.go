package artifact

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// bootSectors is how many sectors of the volume hold what is booted from: the
// boot sector and FSInfo, and their backups at 6.
const bootSectors = 8

// stage is when a chunk is written to a device: a disk that is not whole does
// not boot.
type stage int

const (
	stagePayload  stage = iota // content of files
	stageMetadata              // FATs, directories
	stageEntries               // of both partition tables, by which a disk of ours is known; the backup boot sector
	stageTables                // MBR and headers: from then on there is a partition
	stageBoot                  // the boot sector, one sector: from then on it boots
	stages
)

// chunk is a run of the target that is looked for, checked and written at once.
type chunk struct {
	offset, length int64 // on the target, in bytes; at most PieceSize
	sum            SHA256
	// own are its bytes where they follow from the config; then sum does not
	// count.
	own []byte
	// layer is where it lies in the disk layer, if it has no bytes of its own.
	layer int64
	// file is the index in the config of the file whose bytes it has from
	// fileOffset on; -1 if it is metadata.
	file       int
	fileOffset int64
	stage      stage
	// there says that it is in its place already.
	there bool
	// patches replace some of its bytes on the target, after they were checked.
	patches []patch
}

type patch struct {
	at   int64 // within the chunk
	data []byte
}

func (c *chunk) end() int64 { return c.offset + c.length }

// is says whether data are the chunk's bytes, before patches.
func (c *chunk) is(data []byte) bool {
	if c.own != nil {
		return bytes.Equal(data, c.own)
	}
	return SHA256(sha256.Sum256(data)) == c.sum
}

// span is a run of bytes.
type span struct{ offset, length int64 }

func (s span) end() int64 { return s.offset + s.length }

func (s span) overlaps(offset, length int64) bool {
	return s.offset < offset+length && offset < s.end()
}

// demand is what a target asks of the disk.
type demand struct {
	size       int64 // the target's, in bytes; 0: as large as the image
	sectorSize int   // 0: the image's
	uniqueIDs  bool  // new identifiers
}

// goal is what the target is to hold.
type goal struct {
	size   int64 // of the target, in bytes
	chunks []chunk
	zeros  []span // what else of the image there is
	// Where the things lie without which a disk does not boot: MBR and headers
	// of the partition tables, boot sectors of the volume; and the tables'
	// entries.
	headers, bootSectors, entries []span
	// image says that the target holds the image's bytes and nothing else.
	image bool
	// changed says in which ways it is not the image byte for byte.
	changed []string
}

// PlanError says that an image's disk cannot be made for a target.
type PlanError struct {
	Err    error
	Advice string
}

func (e *PlanError) Error() string { return e.Err.Error() }
func (e *PlanError) Unwrap() error { return e.Err }

// newGoal plans an image for a target. The kickstart was checked.
func newGoal(img *Image, text []byte, want demand) (*goal, error) {
	return newCustomGoal(img, text, want, nil)
}

// newCustomGoal is newGoal for another disk than the image's own, nil for that.
func newCustomGoal(img *Image, text []byte, want demand, custom *custom) (*goal, error) {
	c := img.Config
	a := &assembly{config: c, byFile: map[int][]Piece{}, custom: custom}
	for _, p := range c.Pieces() {
		if p.File >= 0 {
			a.byFile[p.File] = append(a.byFile[p.File], p)
		}
	}
	var err error
	if a.tar, err = c.kickstartTar(text); err != nil {
		return nil, err
	}
	a.layout, a.partition = c.Layout(), c.Disk.PartitionOffset
	g := &goal{size: c.Disk.Size, image: true}
	if want.sectorSize != 0 && want.sectorSize != c.Disk.SectorSize || want.uniqueIDs || custom != nil {
		err = a.planAgain(g, text, want)
	} else {
		err = a.take(g)
	}
	if err != nil {
		return nil, err
	}
	end := g.size // of the image; what follows it on a device does not matter
	if err := a.fit(g, want.size); err != nil {
		return nil, err
	}
	g.finish(a.partition, int64(a.layout.SectorSize), end)
	return g, nil
}

// assembly makes a goal.
type assembly struct {
	config *Config
	layout disk.Layout
	// partition is where the volume begins, in bytes.
	partition int64
	tar       []byte // of the kickstart
	byFile    map[int][]Piece
	custom    *custom // nil for none
}

// take makes the goal the image as it is.
func (a *assembly) take(g *goal) error {
	c := a.config
	made := a.made()
	for _, p := range c.Pieces() {
		x := chunk{offset: p.Offset, length: p.Length, sum: p.SHA256, layer: p.Offset, file: p.File}
		if p.File >= 0 {
			x.fileOffset = p.Offset - c.Files[p.File].Offset
		}
		own, err := a.own(p)
		if err != nil {
			return err
		}
		if own == nil && p.File < 0 && made != nil {
			// What the planner makes counts only if it is what the image has.
			if b := literal(made, p.Offset, p.Length); b != nil && SHA256(sha256.Sum256(b)) == p.SHA256 {
				own = b
			}
		}
		x.own = own
		g.chunks = append(g.chunks, x)
	}
	return nil
}

// own returns the bytes of a piece that does not have to come from the disk
// layer, nil of another.
func (a *assembly) own(p Piece) ([]byte, error) {
	c := a.config
	e := &c.Extents[p.Extent]
	switch {
	case p.From == FromGiven:
		return e.Data[p.Offset-e.Offset:][:p.Length], nil
	case p.From == FromKickstart || p.File >= 0 && c.Files[p.File].Role == plan.RoleKickstart:
		f := c.KickstartFile()
		at := p.Offset - f.Offset
		if at < 0 || at+p.Length > int64(len(a.tar)) {
			return nil, malformed("config: extents", "the piece at %d does not lie in the kickstart", p.Offset)
		}
		b := a.tar[at:][:p.Length]
		if got := SHA256(sha256.Sum256(b)); got != p.SHA256 {
			return nil, malformed("config: extents", "the piece at %d is %s, but the kickstart has %s there", p.Offset, p.SHA256, got)
		}
		return b, nil
	default:
		return nil, nil
	}
}

// made is the disk as the planner makes it, where only metadata can be read;
// nil if the planner is not known or does not make a disk of that size.
func (a *assembly) made() *plan.Plan {
	if !a.config.KnownPlanner() {
		return nil
	}
	p, _, _, err := a.layout.Plan(a.config.PlanFiles(noContent), a.config.Directories)
	if err != nil || p.Size != a.config.Disk.Size {
		return nil
	}
	return p
}

// literal returns a run of a plan's metadata, nil if it is something else.
func literal(p *plan.Plan, offset, length int64) []byte {
	i := sort.Search(len(p.Extents), func(i int) bool { return p.Extents[i].End() > offset })
	if i == len(p.Extents) || p.Extents[i].Kind != plan.Literal || p.Extents[i].End() < offset+length {
		return nil
	}
	return p.Extents[i].Data[offset-p.Extents[i].Offset:][:length]
}

// errNoContent is what a plan that is made for its metadata alone says.
var errNoContent = errors.New("artifact: the content is elsewhere")

func noContent(*File) io.ReaderAt {
	return readerAt(func([]byte, int64) (int, error) { return 0, errNoContent })
}

// planAgain makes the goal another disk of the same files.
func (a *assembly) planAgain(g *goal, text []byte, want demand) error {
	c := a.config
	if !c.KnownPlanner() {
		return &PlanError{fmt.Errorf("the image was laid out by %q version %d, which this version does not know: its disk cannot be planned again", c.Planner.Name, c.Planner.Version), "use a later version of esxi-img, or build the image again"}
	}
	g.image = false
	if s := want.sectorSize; s != 0 && s != c.Disk.SectorSize {
		a.layout.SectorSize, a.layout.ClusterSize = s, 0
		g.changed = append(g.changed, fmt.Sprintf("planned for sectors of %d bytes", s))
	}
	if want.uniqueIDs {
		if err := a.newIDs(text); err != nil {
			return err
		}
		g.changed = append(g.changed, "identifiers of its own")
	}
	p, err := a.plan()
	if err != nil {
		return err
	}
	add := a.addFile
	if a.custom != nil {
		if p, err = a.customize(p); err != nil {
			return err
		}
		g.changed = append(g.changed, "customised")
		add = func(g *goal, e plan.Extent) error { return a.addCustom(g, p, e) }
	}
	g.size = p.Size
	for _, e := range p.Extents {
		switch e.Kind {
		case plan.Literal:
			g.addOwn(e.Offset, e.Data, -1)
		case plan.Content:
			if err := add(g, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// newIDs gives the disk identifiers that no other has, also in what the host
// is told of them.
func (a *assembly) newIDs(text []byte) error {
	l := &a.layout
	ids := [2]uuid.UUID{}
	for i := range ids {
		var err error
		if ids[i], err = uuid.NewRandom(); err != nil {
			return err
		}
	}
	settings, err := withIDs(a.config.Kickstart.Settings, l.DiskGUID, l.PartitionGUID, ids)
	if err != nil {
		return err
	}
	l.DiskGUID, l.PartitionGUID = ids[0], ids[1]
	l.VolumeID = binary.LittleEndian.Uint32(ids[0][:])
	a.tar, err = KickstartTar(text, []byte(settings))
	return err
}

// withIDs replaces the disk's and the partition's GUID in what the host is
// told, and nothing else of it.
func withIDs(settings string, diskGUID, partitionGUID uuid.UUID, ids [2]uuid.UUID) (string, error) {
	if settings == "" {
		return "", nil
	}
	type names struct {
		Disk      string `json:"disk"`
		Partition string `json:"partition"`
	}
	var old, now names
	if err := json.Unmarshal([]byte(settings), &old); err != nil {
		return "", &PlanError{fmt.Errorf("what the image tells the host cannot be given other identifiers: %w", err), "leave --unique-ids out"}
	}
	if old == (names{}) {
		return settings, nil
	}
	if old != (names{diskGUID.String(), partitionGUID.String()}) {
		return "", &PlanError{errors.New("what the image tells the host names another disk than its own"), "leave --unique-ids out"}
	}
	settings = strings.ReplaceAll(settings, `"`+old.Disk+`"`, `"`+ids[0].String()+`"`)
	settings = strings.ReplaceAll(settings, `"`+old.Partition+`"`, `"`+ids[1].String()+`"`)
	if err := json.Unmarshal([]byte(settings), &now); err != nil || now != (names{ids[0].String(), ids[1].String()}) {
		return "", &PlanError{errors.New("what the image tells the host cannot be given other identifiers"), "leave --unique-ids out"}
	}
	return settings, nil
}

// plan lays the files out as the layout says, on a volume of the same size if
// that serves.
func (a *assembly) plan() (*plan.Plan, error) {
	content, tar := noContent, io.ReaderAt(bytes.NewReader(a.tar))
	if a.custom != nil {
		content, tar = a.custom.content, a.custom.kickstart(a.tar)
	}
	files := a.config.PlanFiles(content)
	for i := range files {
		if f := &files[i]; f.Role == plan.RoleKickstart {
			f.Size, f.Content = int64(len(a.tar)), tar
		}
	}
	p, layout, _, err := a.layout.Plan(files, a.config.Directories)
	var size *fat32.SizeError
	if errors.As(err, &size) {
		a.layout.VolumeSize = 0
		p, layout, _, err = a.layout.Plan(files, a.config.Directories)
	}
	if err != nil {
		return nil, &PlanError{fmt.Errorf("the image's disk cannot be planned again: %w", err), "build the image again for such disks (--sector-size)"}
	}
	a.layout, a.partition = layout, disk.PartitionStart
	return p, nil
}

// addOwn adds bytes that are known.
func (g *goal) addOwn(offset int64, data []byte, file int) {
	for at := int64(0); at < int64(len(data)); at += PieceSize {
		part := data[at:min(at+PieceSize, int64(len(data)))]
		x := chunk{offset: offset + at, length: int64(len(part)), own: part, file: file}
		if file >= 0 {
			x.fileOffset = at
		}
		g.chunks = append(g.chunks, x)
	}
}

// addFile adds a file where the plan has it, in its pieces.
func (a *assembly) addFile(g *goal, e plan.Extent) error {
	f := &a.config.Files[e.File]
	if f.Role == plan.RoleKickstart {
		g.addOwn(e.Offset, a.tar, e.File)
		return nil
	}
	var at int64
	for _, p := range a.byFile[e.File] {
		own, err := a.own(p)
		if err != nil {
			return err
		}
		if p.Offset != f.Offset+at {
			break
		}
		g.chunks = append(g.chunks, chunk{
			offset: e.Offset + at, length: p.Length, sum: p.SHA256, own: own, layer: p.Offset, file: e.File, fileOffset: at,
		})
		at += p.Length
	}
	if at != f.Size {
		return malformed("config: extents", "%s does not consist of pieces of its own", f.Path)
	}
	return nil
}

// fit moves the partition tables to where they belong on a target of that
// size, in bytes.
func (a *assembly) fit(g *goal, size int64) error {
	sector := int64(a.layout.SectorSize)
	if size == 0 || size == g.size {
		return nil
	}
	if size < g.size {
		return &PlanError{fmt.Errorf("the image needs %d bytes, the target has %d", g.size, size), "name a larger disk"}
	}
	if a.partition != disk.PartitionStart {
		return &PlanError{fmt.Errorf("the image's partition begins at %d: its partition table cannot be made for a disk of another size", a.partition), "use a later version of esxi-img"}
	}
	l := &a.layout
	head, tail, err := disk.Tables(size, l.VolumeSize, l.SectorSize, disk.Options{DiskGUID: l.DiskGUID, PartitionGUID: l.PartitionGUID, PartitionName: l.PartitionName, Drive: l.Drive})
	if err != nil {
		return &PlanError{err, ""}
	}
	n := int64(len(tail))
	g.overlay(g.size-n, n, nil)
	g.overlay(0, int64(len(head)), head)
	g.size = size
	g.overlay(size/sector*sector-n, n, tail)
	g.image = false
	g.changed = append(g.changed, "partition tables at the ends of the larger disk")
	return nil
}

// overlay replaces what the target is to hold there; without data by zeros.
func (g *goal) overlay(offset, length int64, data []byte) {
	if data == nil {
		data = make([]byte, length)
	}
	area := span{offset, length}
	rest := []span{area} // of what is not a part of another chunk
	var kept []chunk
	for _, x := range g.chunks {
		if !area.overlaps(x.offset, x.length) {
			kept = append(kept, x)
			continue
		}
		if x.offset >= area.offset && x.end() <= area.end() {
			continue
		}
		from, to := max(x.offset, area.offset), min(x.end(), area.end())
		x.patches = append(x.patches, patch{from - x.offset, data[from-offset : to-offset]})
		kept = append(kept, x)
		rest = without(rest, span{from, to - from})
	}
	g.chunks = kept
	for _, r := range rest {
		if part := data[r.offset-offset:][:r.length]; !allZero(part) {
			g.addOwn(r.offset, part, -1)
		}
	}
}

// without takes a span out of others, which are in order.
func without(spans []span, out span) []span {
	var rest []span
	for _, s := range spans {
		if !s.overlaps(out.offset, out.length) {
			rest = append(rest, s)
			continue
		}
		if s.offset < out.offset {
			rest = append(rest, span{s.offset, out.offset - s.offset})
		}
		if s.end() > out.end() {
			rest = append(rest, span{out.end(), s.end() - out.end()})
		}
	}
	return rest
}

// finish sorts the chunks, says when each is written, and finds the zeros
// between them, up to the end of the image.
func (g *goal) finish(partition, sector, end int64) {
	g.headers = []span{{0, 2 * sector}, {g.size - sector, sector}}
	g.entries = []span{{2 * sector, disk.TableSize}, {g.size - sector - disk.TableSize, disk.TableSize}}
	g.bootSectors = []span{{partition, bootSectors * sector}}
	g.cut(2 * sector)
	g.cut(g.size - sector)
	slices.SortFunc(g.chunks, func(a, b chunk) int { return cmp.Compare(a.offset, b.offset) })
	var at int64
	for i := range g.chunks {
		c := &g.chunks[i]
		switch {
		case c.in(span{partition, sector}):
			c.stage = stageBoot
		case c.in(g.headers...):
			c.stage = stageTables
		case c.in(g.entries...) || c.in(g.bootSectors...):
			c.stage = stageEntries
		case c.file < 0:
			c.stage = stageMetadata
		}
		if to := min(c.offset, end); to > at {
			g.zeros = append(g.zeros, span{at, to - at})
		}
		at = max(at, c.end())
	}
	if at < end {
		g.zeros = append(g.zeros, span{at, end - at})
	}
}

// in says whether a chunk has bytes in one of the spans.
func (c *chunk) in(spans ...span) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.overlaps(c.offset, c.length) })
}

// cut lets a chunk of known bytes end there, and another begin.
func (g *goal) cut(at int64) {
	for i := range g.chunks {
		if c := &g.chunks[i]; c.own != nil && c.offset < at && at < c.end() {
			rest := *c
			c.own, rest.own = c.own[:at-c.offset], c.own[at-c.offset:]
			rest.offset, rest.length, c.length = at, int64(len(rest.own)), int64(len(c.own))
			g.chunks = append(g.chunks, rest)
			return
		}
	}
}

// total is how many bytes the chunks have.
func (g *goal) total() (n int64) {
	for i := range g.chunks {
		n += g.chunks[i].length
	}
	return n
}
