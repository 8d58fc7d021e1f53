package fat32

import (
	"sort"
	"time"
)

// item is a file or directory that was read.
type item struct {
	path     string // "." for the root
	name     string
	alias    shortName
	parent   *item // nil for the root
	attr     byte
	isDir    bool
	size     int64 // of a file
	chain    chain
	place    uint32 // of a file: its first cluster, or that of the file it follows
	created  time.Time
	modified time.Time

	items  []*item          // a directory's: in its order, after finish by name
	byName map[string]*item // a directory's: by folded name or alias
}

// first returns the first cluster, 0 if there is none.
func (it *item) first() uint32 {
	if it.chain.clusters == 0 {
		return 0
	}
	return it.chain.runs[0].cluster
}

// content returns a reader of a file's bytes.
func (it *item) content(fsys *FS) *content {
	return &content{r: fsys.r, g: &fsys.geometry, chain: it.chain, size: it.size}
}

// finish makes a directory whose items are all known ready for look-ups.
func (it *item) finish() error {
	place := uint32(0)
	for _, c := range it.items {
		if !c.isDir {
			if c.size > 0 {
				place = c.first()
			}
			c.place = place
		}
	}
	it.byName = make(map[string]*item, len(it.items))
	for _, c := range it.items {
		it.remember(c.name, c)
	}
	for _, c := range it.items { // names win over aliases
		it.remember(c.alias.String(), c)
	}
	sort.SliceStable(it.items, func(i, j int) bool { return it.items[i].name < it.items[j].name })
	for i := 1; i < len(it.items); i++ {
		if it.items[i].name == it.items[i-1].name {
			return corrupt(it.path, "two entries are named %q", it.items[i].name)
		}
	}
	return nil
}

func (it *item) remember(name string, c *item) {
	if folded := fold(name); it.byName[folded] == nil {
		it.byName[folded] = c
	}
}

// lookup returns what a directory has under a name, exactly so or in another
// case or as an alias; nil if nothing.
func (it *item) lookup(name string) *item {
	i := sort.Search(len(it.items), func(i int) bool { return it.items[i].name >= name })
	if i < len(it.items) && it.items[i].name == name {
		return it.items[i]
	}
	return it.byName[fold(name)]
}
