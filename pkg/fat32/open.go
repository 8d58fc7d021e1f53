package fat32

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// FS is a FAT32 volume that was read. It is an [io/fs.FS] whose look-ups ignore
// case and also know 8.3 aliases. It is safe for parallel use where the
// volume's reader is.
type FS struct {
	r        io.ReaderAt
	geometry Geometry
	fat      int64 // offset of the active FAT
	root     *item
	dirs     []*item // without the root, in disk order, parents first
	files    []*item // in disk order
	label    string
	volumeID uint32
	free     uint32 // FSI_Free_Count
	next     uint32 // FSI_Nxt_Free
	hasInfo  bool
}

// Open reads the directories of the FAT32 volume that begins at offset 0 of r,
// and checks every file's chain of clusters: afterwards each cluster belongs
// to one file at most, and all chains fit the sizes. Files' bytes are read
// later, from r. Nothing outside size bytes is read.
//
// The error is an [ErrNotFAT32] where that is no FAT32 volume, a
// [*CorruptError] for one that is damaged or beyond this package's limits, and
// r's otherwise.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	if size < bootSectorBytes {
		return nil, fmt.Errorf("fat32: %w: %d bytes hold no boot sector", ErrNotFAT32, size)
	}
	boot := make([]byte, bootSectorBytes)
	if err := readFull(r, boot, 0); err != nil {
		return nil, fmt.Errorf("fat32: read boot sector: %w", err)
	}
	g, active, err := parseBPB(boot, size)
	if err != nil {
		return nil, err
	}
	fsys := &FS{r: r, geometry: g, fat: g.fatOffset(active)}
	fsys.label, fsys.volumeID = bootLabel(boot)
	if err := fsys.readInfo(boot); err != nil {
		return nil, err
	}
	if err := newWalker(fsys).walk(); err != nil {
		return nil, err
	}
	return fsys, nil
}

// Geometry returns where the volume's parts lie.
func (fsys *FS) Geometry() Geometry { return fsys.geometry }

// Label returns the volume label: the root directory's, else the boot sector's.
func (fsys *FS) Label() string { return fsys.label }

// VolumeID returns the serial number, 0 if there is none.
func (fsys *FS) VolumeID() uint32 { return fsys.volumeID }

// FSInfo returns what the FSInfo sector says, 0xFFFFFFFF where it does not
// know: the number of free clusters, and where to look for one. ok is false
// where there is no such sector.
func (fsys *FS) FSInfo() (free, next uint32, ok bool) { return fsys.free, fsys.next, fsys.hasInfo }

// FreeClusters counts the free clusters in the FAT.
func (fsys *FS) FreeClusters() (int, error) {
	free := 0
	window := make([]byte, 64<<10)
	at, end := int64(firstCluster*fatEntrySize), int64(firstCluster+fsys.geometry.Clusters)*fatEntrySize
	for at < end {
		window = window[:min(int64(len(window)), end-at)]
		if err := readFull(fsys.r, window, fsys.fat+at); err != nil {
			return 0, fmt.Errorf("fat32: read FAT: %w", err)
		}
		for i := 0; i < len(window); i += fatEntrySize {
			if le32(window, i)&fatMask == 0 {
				free++
			}
		}
		at += int64(len(window))
	}
	return free, nil
}

// Files returns every file with its Content, in the order in which they lie on
// the volume; an empty file comes after the one before it in its directory.
// Given to [New] with Dirs, label, id and time, a planned volume comes out as
// it was.
func (fsys *FS) Files() []plan.File {
	files := make([]plan.File, 0, len(fsys.files))
	for _, f := range fsys.files {
		file := plan.File{Path: f.path, Size: f.size}
		if f.size > 0 {
			file.Offset = fsys.geometry.ClusterOffset(f.first())
			file.Content = f.content(fsys)
		}
		files = append(files, file)
	}
	return files
}

// Dirs returns every directory but the root, in the order in which they lie on
// the volume, but parents before what is in them.
func (fsys *FS) Dirs() []string {
	dirs := make([]string, 0, len(fsys.dirs))
	for _, d := range fsys.dirs {
		dirs = append(dirs, d.path)
	}
	return dirs
}

// bootLabel returns BS_VolLab and BS_VolID, where they are.
func bootLabel(boot []byte) (string, uint32) {
	if boot[bsBootSig] != extBootSig {
		return "", 0
	}
	raw := boot[bsVolLab:bsFilSysType]
	if string(raw) == noLabel {
		return "", le32(boot, bsVolID)
	}
	return decodeLabel(raw), le32(boot, bsVolID)
}

// readInfo reads the FSInfo sector, which a volume need not have.
func (fsys *FS) readInfo(boot []byte) error {
	sector := int(le16(boot, bpbFSInfo))
	if sector == 0 || sector >= fsys.geometry.ReservedSectors {
		return nil
	}
	info := make([]byte, bootSectorBytes)
	if err := readFull(fsys.r, info, int64(sector)*int64(fsys.geometry.SectorSize)); err != nil {
		return fmt.Errorf("fat32: read FSInfo: %w", err)
	}
	if le32(info, fsiLeadSig) == leadSig && le32(info, fsiStrucSig) == strucSig {
		fsys.free, fsys.next, fsys.hasInfo = le32(info, fsiFreeCount), le32(info, fsiNxtFree), true
	}
	return nil
}

// walker reads a volume's directories, once.
type walker struct {
	fsys *FS
	fat  fatTable
	used clusterSet

	runs, pathBytes int
}

func newWalker(fsys *FS) *walker {
	return &walker{
		fsys: fsys,
		used: newClusterSet(fsys.geometry.Clusters),
		fat:  fatTable{r: fsys.r, base: fsys.fat, size: int64(firstCluster+fsys.geometry.Clusters) * fatEntrySize},
	}
}

// walk reads all directories, each after its parent.
func (w *walker) walk() error {
	fsys := w.fsys
	fsys.root = &item{path: ".", isDir: true}
	if err := w.locate(fsys.root, fsys.geometry.RootCluster); err != nil {
		return err
	}
	if err := w.readDir(fsys.root); err != nil {
		return err
	}
	for i := 0; i < len(fsys.dirs); i++ { // grows meanwhile
		if err := w.readDir(fsys.dirs[i]); err != nil {
			return err
		}
	}
	fsys.sort()
	return nil
}

// locate finds the clusters of a file or directory.
func (w *walker) locate(it *item, first uint32) (err error) {
	cluster := int64(w.fsys.geometry.ClusterSize)
	if it.isDir {
		it.chain, err = w.follow(it.path, first, MaxDirEntries*dirEntrySize/cluster)
		return err
	}
	want := ceilDiv(it.size, cluster)
	if want == 0 {
		if first != 0 {
			return corrupt(it.path, "an empty file starts at cluster %d", first)
		}
		return nil
	}
	if it.chain, err = w.follow(it.path, first, want); err != nil {
		return err
	}
	if got := int64(it.chain.clusters); got != want {
		return corrupt(it.path, "%d bytes in a chain of %d clusters of %d bytes", it.size, got, cluster)
	}
	return nil
}

// readDir reads what a directory holds.
func (w *walker) readDir(dir *item) error {
	d := dirReader{w: w, dir: dir}
	buf := make([]byte, w.fsys.geometry.ClusterSize)
	content := content{r: w.fsys.r, g: &w.fsys.geometry, chain: dir.chain, size: int64(dir.chain.clusters) * int64(len(buf))}
	for at := int64(0); at < content.size && !d.done; at += int64(len(buf)) {
		if _, err := content.ReadAt(buf, at); err != nil {
			return fmt.Errorf("fat32: read directory %q: %w", dir.path, err)
		}
		for i := 0; i < len(buf) && !d.done; i += dirEntrySize {
			if err := d.entry(buf[i : i+dirEntrySize]); err != nil {
				return err
			}
		}
	}
	return dir.finish()
}

// add takes a file or directory into the volume.
func (w *walker) add(parent, it *item, first uint32) error {
	it.path = it.name
	if parent != w.fsys.root {
		it.path = parent.path + "/" + it.name
	}
	it.parent = parent
	if w.pathBytes += len(it.path); w.pathBytes > MaxPathBytes {
		return corrupt(parent.path, "the paths take more than %d bytes", MaxPathBytes)
	}
	if len(w.fsys.dirs)+len(w.fsys.files) >= MaxNodes {
		return corrupt(parent.path, "more than %d files and directories", MaxNodes)
	}
	if it.isDir && strings.Count(it.path, "/") >= MaxDepth {
		return corrupt(it.path, "is more than %d directories deep", MaxDepth)
	}
	if err := w.locate(it, first); err != nil {
		return err
	}
	if it.isDir {
		w.fsys.dirs = append(w.fsys.dirs, it)
	} else {
		w.fsys.files = append(w.fsys.files, it)
	}
	parent.items = append(parent.items, it)
	return nil
}

// sort puts files and directories into disk order.
func (fsys *FS) sort() {
	sort.SliceStable(fsys.files, func(i, j int) bool {
		a, b := fsys.files[i], fsys.files[j]
		if a.place != b.place {
			return a.place < b.place
		}
		return a.size > 0 && b.size == 0
	})
	sort.SliceStable(fsys.dirs, func(i, j int) bool { return fsys.dirs[i].first() < fsys.dirs[j].first() })
	sorted := make([]*item, 0, len(fsys.dirs))
	listed := map[*item]bool{fsys.root: true}
	var list func(d *item)
	list = func(d *item) {
		if !listed[d] {
			listed[d] = true
			list(d.parent) // at most MaxDepth deep
			sorted = append(sorted, d)
		}
	}
	for _, d := range fsys.dirs {
		list(d)
	}
	fsys.dirs = sorted
}

func le16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
