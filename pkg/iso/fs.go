package iso

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strings"
	"time"
)

// An Image is a file system. Names are looked up exactly, and if that fails
// without regard to case, where one entry alone matches: boot.cfg names
// modules in lower case, and ISOs hold them in upper case.
var (
	_ fs.FS         = (*Image)(nil)
	_ fs.ReadFileFS = (*Image)(nil)
	_ fs.ReadDirFS  = (*Image)(nil)
	_ fs.StatFS     = (*Image)(nil)
)

// File is a regular file of an image.
type File struct {
	Path    string    // slash separated, no leading slash, as the name source has it
	Size    int64     // in bytes
	ModTime time.Time // UTC; zero if the image does not say
	// Offset of the first byte in the image, in bytes; 0 for an empty file.
	// Where Contiguous, the whole file lies there.
	Offset     int64
	Contiguous bool

	r        io.ReaderAt
	sections []section
}

// Files returns every regular file, in the order of their first extents, then
// of their paths; empty files come first.
func (im *Image) Files() []File {
	files := make([]File, len(im.files))
	for i, n := range im.files {
		files[i] = im.file(n)
	}
	return files
}

// Lookup returns a regular file by its path. The error is a *fs.PathError.
func (im *Image) Lookup(path string) (File, error) {
	n, err := im.lookupFile("lookup", path)
	if err != nil {
		return File{}, err
	}
	return im.file(n), nil
}

// Dirs returns the paths of all directories but the root, sorted, so that
// parents come first.
func (im *Image) Dirs() []string {
	dirs := make([]string, len(im.dirs))
	for i, n := range im.dirs {
		dirs[i] = n.path
	}
	return dirs
}

func (im *Image) file(n *node) File {
	return File{
		Path:       n.path,
		Size:       n.size,
		ModTime:    n.time,
		Offset:     n.offset(),
		Contiguous: contiguous(n.sections),
		r:          im.r,
		sections:   n.sections,
	}
}

// contiguous says whether each section begins where the one before ends.
func contiguous(s []section) bool {
	for i := 1; i < len(s); i++ {
		if s[i].offset != s[i-1].offset+s[i-1].length {
			return false
		}
	}
	return true
}

// ReaderAt returns the file's bytes. It may be used in parallel if the image's
// reader may. An image that ends early reads as [io.ErrUnexpectedEOF].
func (f *File) ReaderAt() io.ReaderAt {
	c := &content{path: f.Path, size: f.Size, r: f.r, sections: f.sections}
	c.starts = make([]int64, len(f.sections))
	for i := 1; i < len(f.sections); i++ {
		c.starts[i] = c.starts[i-1] + f.sections[i-1].length
	}
	return c
}

// content reads a file's sections as one.
type content struct {
	path     string
	size     int64
	r        io.ReaderAt
	sections []section
	starts   []int64 // of the sections, in the file
}

func (c *content) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("iso: %s: read at negative offset %d", printable(c.path), off)
	}
	n := 0
	i := sort.Search(len(c.sections), func(i int) bool { return c.starts[i]+c.sections[i].length > off })
	for ; n < len(b) && i < len(c.sections); i++ {
		skip := off + int64(n) - c.starts[i]
		part := b[n:]
		if left := c.sections[i].length - skip; int64(len(part)) > left {
			part = part[:left]
		}
		got, err := c.r.ReadAt(part, c.sections[i].offset+skip)
		n += got
		if got < len(part) {
			return n, c.short(off+int64(n), err)
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// short explains a read that ended early.
func (c *content) short(off int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("iso: %s: read at %d of %d: %w", printable(c.path), off, c.size, err)
}

// Open opens a file or directory. A file is an io.ReaderAt and io.Seeker too;
// closing it is not needed.
func (im *Image) Open(name string) (fs.File, error) {
	n, err := im.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return &openDir{info: info{n}}, nil
	}
	if !n.mode.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrIrregular}
	}
	f := im.file(n)
	return &openFile{SectionReader: io.NewSectionReader(f.ReaderAt(), 0, f.Size), info: info{n}}, nil
}

// ReadFile returns the bytes of a file of at most MaxReadFile bytes.
func (im *Image) ReadFile(name string) ([]byte, error) {
	n, err := im.lookupFile("read", name)
	if err != nil {
		return nil, err
	}
	if n.size > MaxReadFile {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: %d", ErrTooLarge, n.size)}
	}
	f := im.file(n)
	b := make([]byte, f.Size)
	if len(b) == 0 {
		return b, nil
	}
	if got, err := f.ReaderAt().ReadAt(b, 0); got < len(b) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// ReadDir lists a directory by name.
func (im *Image) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := im.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return entries(n.children), nil
}

// Stat describes an entry.
func (im *Image) Stat(name string) (fs.FileInfo, error) {
	n, err := im.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

func (im *Image) lookupFile(op, name string) (*node, error) {
	n, err := im.lookup(op, name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsRegular() {
		return nil, &fs.PathError{Op: op, Path: name, Err: ErrIrregular}
	}
	return n, nil
}

func (im *Image) lookup(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n := im.root
	if name == "." {
		return n, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		child, err := n.child(part)
		if err != nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: err}
		}
		n = child
	}
	return n, nil
}

// child finds an entry of a directory; anything else has none.
func (n *node) child(name string) (*node, error) {
	c := n.children
	if i := sort.Search(len(c), func(i int) bool { return c[i].name >= name }); i < len(c) && c[i].name == name {
		return c[i], nil
	}
	var found *node
	for _, child := range c {
		if !strings.EqualFold(child.name, name) {
			continue
		}
		if found != nil {
			return nil, ErrAmbiguous
		}
		found = child
	}
	if found == nil {
		return nil, fs.ErrNotExist
	}
	return found, nil
}

// info is a node as fs.FileInfo and fs.DirEntry.
type info struct{ n *node }

func (i info) Name() string               { return i.n.name }
func (i info) Size() int64                { return i.n.size }
func (i info) Mode() fs.FileMode          { return i.n.mode }
func (i info) Type() fs.FileMode          { return i.n.mode.Type() }
func (i info) ModTime() time.Time         { return i.n.time }
func (i info) IsDir() bool                { return i.n.mode.IsDir() }
func (i info) Sys() any                   { return nil }
func (i info) Info() (fs.FileInfo, error) { return i, nil }
func (i info) String() string             { return fs.FormatFileInfo(i) }

func entries(nodes []*node) []fs.DirEntry {
	list := make([]fs.DirEntry, len(nodes))
	for i, n := range nodes {
		list[i] = info{n}
	}
	return list
}

// openFile is an open regular file.
type openFile struct {
	*io.SectionReader
	info info
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

// openDir is an open directory.
type openDir struct {
	info info
	next int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.n.path, Err: errors.New("is a directory")}
}

// ReadDir follows fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.info.n.children[d.next:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	d.next += len(rest)
	return entries(rest), nil
}
