package iso

import (
	"bytes"
	"fmt"
	"io/fs"
	"sort"
	"time"
)

// node is an entry of the tree.
type node struct {
	path     string // "." for the root
	name     string // the end of path
	mode     fs.FileMode
	size     int64
	time     time.Time
	sections []section
	children []*node // by name
}

// section is one extent of a file, inside the image.
type section struct {
	offset, length int64 // in bytes
}

// offset is where the first extent begins, 0 for what has no bytes.
func (n *node) offset() int64 {
	if len(n.sections) == 0 {
		return 0
	}
	return n.sections[0].offset
}

// dirJob is a directory that is known but not read.
type dirJob struct {
	dir           *node
	depth         int
	block, length int64
}

// walker reads the tree of one name source, once, breadth first.
type walker struct {
	im     *Image
	source NameSource
	skip   int // bytes before each system use area (SUSP LEN_SKP)

	queue     []dirJob
	visited   map[int64]string // directory by its first block
	entries   int
	dirBytes  int64
	pathBytes int64
	chunk     []byte
}

// chunkSize is how much of a directory is read at once: a multiple of
// BlockSize, because records do not cross blocks (ECMA-119 6.8.1.1).
const chunkSize = 32 * BlockSize

// readTree picks the name source and reads the tree.
func (im *Image) readTree() error {
	w := &walker{im: im, source: Plain, visited: map[int64]string{}, chunk: make([]byte, chunkSize)}
	root := im.volume.root
	found, err := w.detectRockRidge(root)
	switch {
	case err != nil:
		return err
	case found:
		w.source = RockRidge
	case im.volume.jolietRoot != nil:
		w.source = Joliet
		root = *im.volume.jolietRoot
	}
	im.source = w.source
	im.root = &node{path: ".", name: ".", mode: fs.ModeDir | 0o555, time: root.time}
	if err := w.push(im.root, 0, root.block, int64(root.size)); err != nil {
		return err
	}
	for len(w.queue) > 0 {
		job := w.queue[0]
		w.queue = w.queue[1:]
		if err := w.readDir(job); err != nil {
			return err
		}
	}
	im.index(im.root)
	return nil
}

// push queues a directory, unless it breaks a limit or was met before: two
// ways to one directory are a cycle, or a tree that grows with every level.
func (w *walker) push(dir *node, depth int, block, length int64) error {
	if depth > MaxDepth {
		return formatErrorf(dir.path, "directory is more than %d levels deep", MaxDepth)
	}
	if length == 0 {
		return nil
	}
	if !w.im.inside(block, length) {
		return &OutsideError{Path: dir.path, Block: block, Length: length, Size: w.im.size}
	}
	if other, ok := w.visited[block]; ok {
		return formatErrorf(dir.path, "directory's extent at block %d is that of %s too", block, printable(other))
	}
	w.visited[block] = dir.path
	if err := w.spend(dir.path, length); err != nil {
		return err
	}
	w.queue = append(w.queue, dirJob{dir: dir, depth: depth, block: block, length: length})
	return nil
}

// spend counts bytes against MaxDirBytes.
func (w *walker) spend(path string, n int64) error {
	w.dirBytes += n
	if w.dirBytes > MaxDirBytes {
		return formatErrorf(path, "directories have more than %d bytes in all", MaxDirBytes)
	}
	return nil
}

// readDir reads one directory's records into its children.
func (w *walker) readDir(job dirJob) error {
	files := &assembler{w: w, job: job}
	for off := int64(0); off < job.length; off += chunkSize {
		chunk := w.chunk[:min(chunkSize, job.length-off)]
		if err := w.im.readAt(chunk, job.block*BlockSize+off); err != nil {
			return fmt.Errorf("iso: %s: %w", printable(job.dir.path), err)
		}
		if off == 0 {
			if err := checkSelf(job.dir.path, chunk); err != nil {
				return err
			}
		}
		for at := 0; at < len(chunk); at += BlockSize {
			block := chunk[at:min(at+BlockSize, len(chunk))]
			if err := files.readBlock(block, off+int64(at)); err != nil {
				return err
			}
		}
	}
	if files.open != nil {
		return formatErrorf(files.open.path, "the last of its extents is missing")
	}
	return sortChildren(job.dir)
}

// checkSelf refuses what is not a directory, such as zeros where a download
// has a hole: a directory begins with its own record (ECMA-119 6.8.2.2).
func checkSelf(path string, b []byte) error {
	if b[0] != 0 {
		if rec, err := parseRecord(b); err == nil && rec.isSelf() {
			return nil
		}
	}
	return formatErrorf(path, "directory does not begin with a record of itself")
}

// sortChildren sorts by name and refuses names that occur twice.
func sortChildren(dir *node) error {
	c := dir.children
	sort.Slice(c, func(i, j int) bool { return c[i].name < c[j].name })
	for i := 1; i < len(c); i++ {
		if c[i].name == c[i-1].name {
			return formatErrorf(c[i].path, "the directory has two entries of this name")
		}
	}
	return nil
}

// assembler makes nodes of a directory's records, joining those of a file
// with several extents.
type assembler struct {
	w   *walker
	job dirJob

	open   *node  // a file that has more extents to come
	openID []byte // its identifier, which the other records repeat
}

// readBlock reads the records of one block, which begins off bytes into the
// directory.
func (a *assembler) readBlock(block []byte, off int64) error {
	for at := 0; at < len(block) && block[at] != 0; at += int(block[at]) {
		w := a.w
		if w.entries++; w.entries > MaxEntries {
			return formatErrorf(a.job.dir.path, "the image has more than %d directory records", MaxEntries)
		}
		rec, err := parseRecord(block[at:])
		if err != nil {
			return formatErrorf(a.job.dir.path, "record at byte %d: %v", off+int64(at), err)
		}
		if rec.isSelf() || rec.isParent() {
			continue
		}
		if rec.flags&flagAssociated != 0 {
			// The resource fork of a file of the same name (ECMA-119 9.1.6).
			w.im.warnf(a.job.dir.path, "associated file %q is left out", rec.id)
			continue
		}
		if a.open != nil {
			err = a.addExtent(rec)
		} else {
			err = a.addEntry(rec, off+int64(at))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addEntry adds a file, directory or irregular entry.
func (a *assembler) addEntry(rec record, at int64) error {
	w, dir := a.w, a.job.dir
	e, err := w.decode(rec)
	if err != nil {
		return recordError(dir.path, at, err)
	}
	if e.relocated {
		return nil // it is met again where it belongs, through a child link
	}
	n, err := w.newNode(dir, e)
	if err != nil {
		return err
	}
	if rec.odd != "" {
		w.im.warnf(n.path, "%sthe first is used", rec.odd)
	}
	dir.children = append(dir.children, n)
	switch {
	case e.child >= 0:
		return a.followChild(n, e.child)
	case n.mode.IsDir():
		return a.addDir(n, rec)
	case n.mode.IsRegular():
		return a.addFile(n, rec)
	}
	return nil
}

// newNode makes the node for an entry of dir.
func (w *walker) newNode(dir *node, e entry) (*node, error) {
	path := e.name
	if dir.path != "." {
		path = dir.path + "/" + e.name
	}
	if len(path) > MaxPathLen {
		return nil, formatErrorf(path, "path has %d bytes, more than %d", len(path), MaxPathLen)
	}
	if w.pathBytes += int64(len(path)); w.pathBytes > MaxPathBytes {
		return nil, formatErrorf(path, "paths have more than %d bytes in all", MaxPathBytes)
	}
	return &node{path: path, name: path[len(path)-len(e.name):], mode: e.mode, time: e.time}, nil
}

func (a *assembler) addDir(n *node, rec record) error {
	if rec.flags&flagMultiExtent != 0 {
		return formatErrorf(n.path, "directory has several extents")
	}
	return a.w.push(n, a.job.depth+1, rec.block, int64(rec.size))
}

// followChild reads the directory that a Rock Ridge CL entry points at: its
// length stands in its own first record (IEEE P1282 4.1.5.1).
func (a *assembler) followChild(n *node, block int64) error {
	if !a.w.im.inside(block, BlockSize) {
		return &OutsideError{Path: n.path, Block: block, Length: BlockSize, Size: a.w.im.size}
	}
	b := make([]byte, recordHeader+1)
	if err := a.w.im.readAt(b, block*BlockSize); err != nil {
		return fmt.Errorf("iso: %s: %w", printable(n.path), err)
	}
	// The system use area is not needed, and was not read.
	b[0] = min(b[0], recordHeader+1)
	if err := checkSelf(n.path, b); err != nil {
		return err
	}
	self, err := parseRecord(b)
	if err != nil {
		return formatErrorf(n.path, "its own record: %v", err)
	}
	return a.w.push(n, a.job.depth+1, block, int64(self.size))
}

func (a *assembler) addFile(n *node, rec record) error {
	if err := a.addSection(n, rec); err != nil {
		return err
	}
	if rec.flags&flagMultiExtent != 0 {
		a.open, a.openID = n, bytes.Clone(rec.id)
	}
	return nil
}

// addExtent adds the next extent of the open file: the records of a file
// follow each other (ECMA-119 9.3).
func (a *assembler) addExtent(rec record) error {
	n := a.open
	if !bytes.Equal(rec.id, a.openID) || rec.isDir() {
		return formatErrorf(n.path, "the last of its extents is missing")
	}
	if rec.flags&flagMultiExtent == 0 {
		a.open = nil
	}
	return a.addSection(n, rec)
}

func (a *assembler) addSection(n *node, rec record) error {
	length := int64(rec.size)
	if length == 0 {
		return nil // its extent may be anywhere
	}
	if !a.w.im.inside(rec.block, length) {
		return &OutsideError{Path: n.path, Block: rec.block, Length: length, Size: a.w.im.size}
	}
	n.sections = append(n.sections, section{offset: rec.block * BlockSize, length: length})
	n.size += length // at most MaxEntries times 4 GiB
	return nil
}

// index fills the flat lists.
func (im *Image) index(root *node) {
	stack := []*node{root}
	for len(stack) > 0 {
		dir := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, n := range dir.children {
			switch {
			case n.mode.IsDir():
				im.dirs = append(im.dirs, n)
				stack = append(stack, n)
			case n.mode.IsRegular():
				im.files = append(im.files, n)
			}
		}
	}
	// A parent is a prefix of its children, and sorts before them.
	sort.Slice(im.dirs, func(i, j int) bool { return im.dirs[i].path < im.dirs[j].path })
	sort.Slice(im.files, func(i, j int) bool {
		a, b := im.files[i], im.files[j]
		if a.offset() != b.offset() {
			return a.offset() < b.offset()
		}
		return a.path < b.path
	})
}
