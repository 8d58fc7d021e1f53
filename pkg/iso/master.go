package iso

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// The limits on what Master writes.
const (
	// maxMasterDepth bounds the levels of directories (ECMA-119 6.8.2.1).
	maxMasterDepth = 8
	// maxMasterName bounds a name, in bytes. ECMA-119 10 says 30 for a file,
	// ISO 9660:1999 says 207, which readers in use take.
	maxMasterName = 207
	// maxRockRidgeName bounds a name that is stored twice, in bytes: a record
	// has 255, of which 33 are its header and 36 the mode.
	maxRockRidgeName = 78
	// maxMasterDirs bounds the directories: a path table numbers them in 16
	// bits, and no installer has more than a few.
	maxMasterDirs = 4096
	// maxMasterBoot bounds the boot images: a boot catalog of one block.
	maxMasterBoot = 16
	// maxInfoTable is the largest BIOS boot image, in bytes, that is looked at
	// for a boot information table; ISOLINUX.BIN has some 40 KiB.
	maxInfoTable = 4 << 20
)

// MasterOptions are what an image has besides its files.
type MasterOptions struct {
	VolumeID      string    // at most 32 characters
	ApplicationID string    // at most 128 characters
	Time          time.Time // of the volume and of all files
	// Boot are the El Torito boot images, the default one first; Path names
	// one of the files, LBA is not read.
	Boot []BootImage
	// Catalog is the path of the boot catalog, whose content is made: among
	// the files or not. It must be set where there are boot images.
	Catalog string
	// RockRidge also stores the names as they are given, in the case that they
	// have. A directory's entries then still differ in upper case.
	RockRidge bool
}

// Master lays out an image: the files in their order, each in one extent, and
// all directories before them. Names are stored in upper case, as VMware's own
// media have them, without Joliet and, unless that is asked for, without Rock
// Ridge. The files' paths in the plan are those in upper case. A boot image for BIOS that holds a boot information
// table (isolinux's and GRUB's do) gets one for its new place. Errors name the
// path that can't be stored.
func Master(files []plan.File, dirs []string, opts MasterOptions) (*plan.Plan, error) {
	m := &master{opts: opts, root: &masterNode{dir: true}}
	if err := m.check(); err != nil {
		return nil, err
	}
	if err := m.addAll(files, dirs); err != nil {
		return nil, err
	}
	if err := m.layOut(); err != nil {
		return nil, err
	}
	if err := m.fillBoot(); err != nil {
		return nil, err
	}
	return m.plan()
}

// master is an image that is being laid out.
type master struct {
	opts    MasterOptions
	root    *masterNode
	dirs    []*masterNode // in the path table's order
	files   []*masterNode // in the order in which they lie
	catalog *masterNode   // nil without boot images
	// tables are the first blocks of the path tables of types L and M, each of
	// tableSize bytes.
	tables    [2]uint32
	tableSize uint32
	blocks    uint32
}

// masterNode is a file or a directory.
type masterNode struct {
	name     string // as stored, without ";1"; "" for the root
	given    string // before it was upper case
	parent   *masterNode
	children map[string]*masterNode
	sorted   []*masterNode
	dir      bool
	file     plan.File
	block    uint32
	size     uint32
	number   uint16 // of a directory in the path table, from 1
}

func (m *master) check() error {
	o := &m.opts
	for _, t := range []struct {
		what, text string
		limit      int
	}{{"volume id", o.VolumeID, 32}, {"application id", o.ApplicationID, 128}} {
		if len(t.text) > t.limit || strings.ContainsFunc(t.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("iso: %s %q is not ASCII of at most %d characters", t.what, t.text, t.limit)
		}
	}
	if o.Time.IsZero() {
		o.Time = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	o.Time = o.Time.UTC()
	if y := o.Time.Year(); y < 1900 || y > 2155 { // a record counts from 1900 in a byte
		return fmt.Errorf("iso: the year %d can't be written", y)
	}
	if len(o.Boot) > maxMasterBoot {
		return fmt.Errorf("iso: %d boot images, at most %d are written", len(o.Boot), maxMasterBoot)
	}
	if len(o.Boot) > 0 && o.Catalog == "" {
		return errors.New("iso: boot images need a boot catalog")
	}
	return nil
}

func (m *master) addAll(files []plan.File, dirs []string) error {
	for _, d := range dirs {
		if _, err := m.add(d, true); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := m.addFile(f); err != nil {
			return err
		}
	}
	if len(m.opts.Boot) == 0 || m.catalog != nil {
		return nil
	}
	return m.addFile(plan.File{Path: m.opts.Catalog, Role: plan.RolePayload})
}

func (m *master) addFile(f plan.File) error {
	isCatalog := len(m.opts.Boot) > 0 && strings.EqualFold(f.Path, m.opts.Catalog)
	if isCatalog {
		f.Size, f.Content, f.Expect = BlockSize, nil, nil // made once the boot images have their places
	}
	if f.Size < 0 || f.Size > 1<<32-1 {
		return fmt.Errorf("iso: %s: %d bytes do not fit one extent", printable(f.Path), f.Size)
	}
	n, err := m.add(f.Path, false)
	if err != nil {
		return err
	}
	n.file, n.size = f, uint32(f.Size)
	m.files = append(m.files, n)
	if isCatalog {
		m.catalog = n
	}
	return nil
}

// add makes a node and the directories that it lies in. A directory may be
// added again.
func (m *master) add(path string, dir bool) (*masterNode, error) {
	parts := strings.Split(path, "/")
	if len(parts) >= maxMasterDepth {
		return nil, fmt.Errorf("iso: %s: more than %d levels", printable(path), maxMasterDepth)
	}
	if len(path) > MaxPathLen {
		return nil, fmt.Errorf("iso: %.40s…: a path of more than %d bytes", printable(path), MaxPathLen)
	}
	at := m.root
	for i, part := range parts {
		name, err := masterName(part)
		if err != nil {
			return nil, fmt.Errorf("iso: %s: %w", printable(path), err)
		}
		isDir := dir || i < len(parts)-1
		child := at.children[name]
		if child != nil && (!isDir || !child.dir) {
			return nil, fmt.Errorf("iso: %s: %s is there twice in upper case", printable(path), name)
		}
		if child == nil {
			if m.opts.RockRidge && len(part) > maxRockRidgeName {
				return nil, fmt.Errorf("iso: %s: %.40q is a name of more than %d bytes", printable(path), part, maxRockRidgeName)
			}
			child = &masterNode{name: name, given: part, parent: at, dir: isDir}
			if at.children == nil {
				at.children = map[string]*masterNode{}
			}
			at.children[name] = child
		}
		at = child
	}
	return at, nil
}

// masterName is a name as it is stored.
func masterName(name string) (string, error) {
	if name == "" || name == "." || name == ".." || len(name) > maxMasterName {
		return "", fmt.Errorf("%.40q can't be a name", name)
	}
	for _, r := range name {
		if r <= ' ' || r > '~' || r == ';' || r == '\\' {
			return "", fmt.Errorf("the name has %q, which ISO 9660 can't store", r)
		}
	}
	// A file's name ends in a dot where it has no extension; so one that ends
	// in a dot itself would read as another.
	if strings.HasSuffix(name, ".") {
		return "", errors.New("the name ends in a dot")
	}
	return strings.ToUpper(name), nil
}

// identifier is the name as a directory record holds it.
func (n *masterNode) identifier() string {
	switch {
	case n.dir:
		return n.name
	case strings.Contains(n.name, "."):
		return n.name + ";1"
	default:
		return n.name + ".;1"
	}
}

// compareMaster orders records (ECMA-119 9.3): by name, then by extension.
func compareMaster(a, b *masterNode) int {
	an, ax, _ := strings.Cut(a.name, ".")
	bn, bx, _ := strings.Cut(b.name, ".")
	if c := strings.Compare(an, bn); c != 0 {
		return c
	}
	return strings.Compare(ax, bx)
}

// layOut gives everything its blocks: descriptors, path tables, directories,
// files.
func (m *master) layOut() error {
	if err := m.orderDirs(); err != nil {
		return err
	}
	at := int64(firstDescriptor + 3) // primary, boot record, terminator
	take := func(size int64) uint32 {
		block := at
		at += (size + BlockSize - 1) / BlockSize
		return uint32(min(block, 1<<32-1)) //nolint:gosec // too many blocks are refused below
	}
	m.tableSize = uint32(len(m.pathTable(binary.LittleEndian))) //nolint:gosec // maxMasterDirs of 255 bytes at most
	for i := range m.tables {
		m.tables[i] = take(int64(m.tableSize))
	}
	for _, d := range m.dirs {
		d.size = uint32(len(m.records(d))) //nolint:gosec // MaxEntries records at most, see orderDirs
		d.block = take(int64(d.size))
	}
	for _, f := range m.files {
		if f.size > 0 { // an empty file lies nowhere
			f.block = take(int64(f.size))
		}
	}
	if at*BlockSize > plan.MaxVolume {
		return fmt.Errorf("iso: the image would have %d bytes, at most %d are planned", at*BlockSize, int64(plan.MaxVolume))
	}
	m.blocks = uint32(at)
	return nil
}

// orderDirs sorts every directory, and numbers them level by level (ECMA-119
// 6.9.1).
func (m *master) orderDirs() error {
	m.root.parent = m.root
	m.dirs = []*masterNode{m.root}
	entries := 0
	for i := 0; i < len(m.dirs); i++ {
		d := m.dirs[i]
		if i == maxMasterDirs || entries > MaxEntries {
			return fmt.Errorf("iso: more than %d directories or %d entries", maxMasterDirs, MaxEntries)
		}
		d.number = uint16(i + 1)
		for _, c := range d.children {
			d.sorted = append(d.sorted, c)
		}
		slices.SortFunc(d.sorted, compareMaster)
		entries += len(d.sorted)
		for _, c := range d.sorted {
			if c.dir {
				m.dirs = append(m.dirs, c)
			}
		}
	}
	return nil
}

// fillBoot makes the boot catalog, and tells the boot images where they lie.
func (m *master) fillBoot() error {
	if m.catalog == nil {
		return nil
	}
	nodes := make([]*masterNode, len(m.opts.Boot))
	for i, b := range m.opts.Boot {
		n := m.find(b.Path)
		if n == nil || n.dir || n.size == 0 {
			return fmt.Errorf("iso: boot image %s: there is no such file, or it is empty", printable(b.Path))
		}
		nodes[i] = n
		if b.Platform == PlatformX86 {
			if err := n.patchInfoTable(); err != nil {
				return err
			}
		}
	}
	m.catalog.fill(masterCatalog(m.opts.Boot, nodes))
	return nil
}

func (m *master) find(path string) *masterNode {
	n := m.root
	for part := range strings.SplitSeq(path, "/") {
		if n = n.children[strings.ToUpper(part)]; n == nil {
			return nil
		}
	}
	return n
}

func (n *masterNode) fill(data []byte) {
	n.file.Size, n.file.Content = int64(len(data)), bytes.NewReader(data)
	n.file.Expect = []plan.Digest{sha256.Sum256(data)}
}

// The boot information table that mkisofs' -boot-info-table writes, from byte
// 8 of the boot image: the block of the primary descriptor, the image's own
// block, its length, and the sum of its 32-bit words from byte 64 on.
const (
	infoTable    = 8
	infoTableEnd = 64
)

// patchInfoTable writes the boot image's new place into it, if it holds the
// old one: else it reads itself from where it no longer is.
func (n *masterNode) patchInfoTable() error {
	if n.size < infoTableEnd || n.size > maxInfoTable {
		return nil
	}
	data := make([]byte, n.size)
	if err := n.file.ReadContent(data, 0); err != nil {
		return err
	}
	table := data[infoTable:]
	if binary.LittleEndian.Uint32(table) != firstDescriptor || binary.LittleEndian.Uint32(table[8:]) != n.size {
		return nil
	}
	// The sum stays, as it is of what comes after the table.
	if err := n.file.Check(sha256.Sum256(data)); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(table[4:], n.block)
	n.fill(data)
	return nil
}

// plan puts everything in its place.
func (m *master) plan() (*plan.Plan, error) {
	var b plan.Builder
	b.Zero(firstDescriptor * BlockSize)
	b.Literal(m.metadata())
	for _, n := range m.files {
		f := n.file
		f.Path = strings.TrimPrefix(n.path(), "/")
		b.File(f)
		b.Pad(BlockSize)
	}
	return b.Build(512)
}

func (n *masterNode) path() string {
	if n.parent == n {
		return ""
	}
	return n.parent.path() + "/" + n.name
}
