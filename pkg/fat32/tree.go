package fat32

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// tree is the directory tree of a volume that is being planned.
type tree struct {
	root  *node
	dirs  []*node     // the root, then as first mentioned: the order of their clusters
	files []*node     // in the order given
	plan  []plan.File // the same, Path in the case that is stored

	labeled   bool // the root holds a volume label
	pathBytes int
}

// node is a file or a directory.
type node struct {
	path    string // "" for the root
	parent  *node  // nil for the root
	long    []uint16
	alias   shortName // says it all where long is nil
	cluster uint32    // the first one, 0 where there is none
	size    int64     // of a file

	isDir       bool
	dirs, files []*node          // a directory's, in order of mention
	byName      map[string]*node // a directory's, by folded name
}

// newTree checks all paths and sizes, and chooses every alias.
func newTree(files []plan.File, dirs []string, labeled bool) (*tree, error) {
	root := &node{isDir: true, byName: map[string]*node{}}
	t := &tree{root: root, dirs: []*node{root}, labeled: labeled}
	for _, path := range dirs {
		if _, err := t.mkdir(path, path); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := t.add(f); err != nil {
			return nil, err
		}
	}
	for _, d := range t.dirs {
		d.setAliases()
	}
	return t, nil
}

// mkdir returns the directory dir, which it makes if need be for the sake of
// path.
func (t *tree) mkdir(dir, path string) (*node, error) {
	elems := strings.Split(dir, "/")
	if len(elems) > MaxDepth {
		return nil, &NameError{path, path, fmt.Sprintf("is more than %d directories deep", MaxDepth)}
	}
	d := t.root
	for _, elem := range elems {
		child, err := d.lookup(elem, path)
		switch {
		case err != nil:
			return nil, err
		case child == nil:
			if child, err = t.insert(d, elem, true); err != nil {
				return nil, err
			}
		case !child.isDir:
			return nil, &ClashError{Path: path, Other: child.path}
		}
		d = child
	}
	return d, nil
}

// add places a file into its directory.
func (t *tree) add(f plan.File) (err error) {
	parent, name := t.root, f.Path
	if slash := strings.LastIndexByte(f.Path, '/'); slash >= 0 {
		name = f.Path[slash+1:]
		if parent, err = t.mkdir(f.Path[:slash], f.Path); err != nil {
			return err
		}
	}
	switch other, err := parent.lookup(name, f.Path); {
	case err != nil:
		return err
	case other != nil:
		return &ClashError{Path: f.Path, Other: other.path}
	case f.Size > MaxFileSize:
		return &FileSizeError{Path: f.Path, Size: f.Size}
	case f.Size < 0 || f.Size > 0 && f.Content == nil:
		return fmt.Errorf("fat32: %q: %d bytes without content", f.Path, f.Size)
	}
	n, err := t.insert(parent, name, false)
	if err != nil {
		return err
	}
	n.size = f.Size
	f.Path = n.path
	t.plan = append(t.plan, f)
	return nil
}

// lookup returns what the directory has under a name, nil if nothing. The
// error is about the name; path is what it is an element of.
func (d *node) lookup(name, path string) (*node, error) {
	if reason := checkName(name); reason != "" {
		return nil, &NameError{path, name, reason}
	}
	return d.byName[fold(name)], nil
}

// insert adds a node of a name that was looked up, and was not there.
func (t *tree) insert(parent *node, name string, isDir bool) (*node, error) {
	n := &node{path: name, parent: parent, isDir: isDir}
	if parent != t.root {
		n.path = parent.path + "/" + name
	}
	if short, ok := toShort(name); !ok || short.String() != name {
		n.long = utf16.Encode([]rune(name))
	}
	if t.pathBytes += len(n.path); t.pathBytes > MaxPathBytes {
		return nil, fmt.Errorf("fat32: the paths take more than %d bytes", MaxPathBytes)
	}
	if len(t.dirs)+len(t.files) > MaxNodes {
		return nil, fmt.Errorf("fat32: more than %d files and directories", MaxNodes)
	}
	parent.byName[fold(name)] = n
	if isDir {
		n.byName = map[string]*node{}
		parent.dirs = append(parent.dirs, n)
		t.dirs = append(t.dirs, n)
	} else {
		parent.files = append(parent.files, n)
		t.files = append(t.files, n)
	}
	return n, nil
}

// setAliases chooses the short names of what a directory holds.
func (d *node) setAliases() {
	a := aliases{names: make(map[string]bool, len(d.byName)), next: map[tailKey]uint{}}
	for folded := range d.byName {
		a.names[folded] = true
	}
	for _, list := range [][]*node{d.dirs, d.files} {
		for _, n := range list {
			n.alias = a.alias(n.name())
		}
	}
}

// name is the last element of the path.
func (d *node) name() string { return d.path[strings.LastIndexByte(d.path, '/')+1:] }

// entries counts a directory's 32-byte entries.
func (t *tree) entries(d *node) int {
	count := 2 // "." and ".."
	if d == t.root {
		count = 0
		if t.labeled {
			count = 1
		}
	}
	for _, list := range [][]*node{d.dirs, d.files} {
		for _, n := range list {
			count += 1 + longEntries(n.long)
		}
	}
	return count
}

// dirBytes returns the bytes of a directory with spare entries; at least one,
// so that it has a cluster.
func (t *tree) dirBytes(d *node, spare int) int64 {
	return max(1, int64(t.entries(d)+spare)*dirEntrySize)
}

// checkDirs refuses directories with too many entries.
func (t *tree) checkDirs(spare int) error {
	for _, d := range t.dirs {
		if n := t.entries(d) + spare; n > MaxDirEntries {
			return fmt.Errorf("fat32: directory %q takes %d entries of 32 bytes, more than %d", d.path, n, MaxDirEntries)
		}
	}
	return nil
}
