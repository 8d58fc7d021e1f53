package fat32

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// MaxReadFile is the largest file that [FS.ReadFile] reads, in bytes: 64 MiB.
// Larger ones are read through Open.
const MaxReadFile = 64 << 20

var (
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
)

// Entry is what a directory says of a file or directory. It is what Sys of its
// fs.FileInfo returns.
type Entry struct {
	Path         string // in the case that is stored
	Alias        string // DIR_Name with its dot, "LONGNA~1.TXT"; empty for the root
	Attributes   byte   // DIR_Attr
	FirstCluster uint32 // 0 for an empty file
	Fragments    int    // runs of clusters
	Created      time.Time
	Modified     time.Time // zero where it is no time
}

// Open implements fs.FS. A file's fs.File is an io.ReaderAt and an io.Seeker,
// too; a directory's an fs.ReadDirFile.
func (fsys *FS) Open(name string) (fs.File, error) {
	it, err := fsys.find("open", name)
	if err != nil {
		return nil, err
	}
	if it.isDir {
		return &openDir{item: it}, nil
	}
	return &openFile{info: info{it}, SectionReader: io.NewSectionReader(it.content(fsys), 0, it.size)}, nil
}

// ReadFile implements fs.ReadFileFS, for files of up to [MaxReadFile] bytes.
func (fsys *FS) ReadFile(name string) ([]byte, error) {
	it, err := fsys.find("read", name)
	switch {
	case err != nil:
		return nil, err
	case it.isDir:
		return nil, &fs.PathError{Op: "read", Path: name, Err: errIsDir()}
	case it.size > MaxReadFile:
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes are more than %d", it.size, MaxReadFile)}
	}
	// The size is that of clusters that exist, but they may be a sparse file's.
	data := make([]byte, it.size)
	if _, err := it.content(fsys).ReadAt(data, 0); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

// ReadDir implements fs.ReadDirFS; the entries are sorted by name.
func (fsys *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	it, err := fsys.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !it.isDir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return it.entries(it.items), nil
}

// Stat implements fs.StatFS. Sys of what it returns is an [Entry].
func (fsys *FS) Stat(name string) (fs.FileInfo, error) {
	it, err := fsys.find("stat", name)
	if err != nil {
		return nil, err
	}
	return info{it}, nil
}

func errIsDir() error { return errors.New("is a directory") }

// find returns what a path names.
func (fsys *FS) find(op, name string) (*item, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	it := fsys.root
	if name == "." {
		return it, nil
	}
	for elem := range strings.SplitSeq(name, "/") {
		if it = it.lookup(elem); it == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return it, nil
}

func (it *item) entries(items []*item) []fs.DirEntry {
	list := make([]fs.DirEntry, 0, len(items))
	for _, c := range items {
		list = append(list, fs.FileInfoToDirEntry(info{c}))
	}
	return list
}

// info is an item's fs.FileInfo.
type info struct{ item *item }

func (i info) Name() string       { return path.Base(i.item.path) }
func (i info) Size() int64        { return i.item.size }
func (i info) ModTime() time.Time { return i.item.modified }
func (i info) IsDir() bool        { return i.item.isDir }

func (i info) Mode() fs.FileMode {
	mode := fs.FileMode(0o644)
	if i.item.isDir {
		mode = fs.ModeDir | 0o755
	}
	if i.item.attr&attrReadOnly != 0 {
		mode &^= 0o222
	}
	return mode
}

func (i info) Sys() any {
	alias := ""
	if i.item.parent != nil {
		alias = i.item.alias.String()
	}
	return Entry{
		Path:         i.item.path,
		Alias:        alias,
		Attributes:   i.item.attr,
		FirstCluster: i.item.first(),
		Fragments:    len(i.item.chain.runs),
		Created:      i.item.created,
		Modified:     i.item.modified,
	}
}

type openFile struct {
	info info
	*io.SectionReader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	item *item
	next int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return info{d.item}, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.item.path, Err: errIsDir()}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.item.items[d.next:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	d.next += len(rest)
	return d.item.entries(rest), nil
}
