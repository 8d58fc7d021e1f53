package fat32

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// readBudget is how many bytes of files FuzzOpen reads: a damaged volume may
// hold files of gigabytes.
const readBudget = 4 * miB

// FuzzOpen damages volumes. The smallest has 34 MB, so the input is a list of
// changes to one: 4 bytes say where, one says how many bytes follow.
func FuzzOpen(f *testing.F) {
	pieces, _ := foreign(f)
	large := &volume{Layout: mustNew(f, installer(), []string{"a/b/c"}, Options{SectorSize: 4096, Label: "X"})}
	bases := []*volume{pieces, corruptible(f), large}
	boot := read(f, bases[0], 0, 96)
	f.Add(uint8(0), int64(0), []byte{})
	f.Add(uint8(1), int64(0), append([]byte{0, 0, 0, 0, 96}, boot...))
	f.Add(uint8(2), int64(-1), []byte{})
	f.Add(uint8(2), int64(1<<40), []byte{0, 0, 0, 36, 4, 0xFF, 0xFF, 0xFF, 0})
	for i, base := range bases {
		// A cluster's link, a directory's entry and a long name's.
		f.Add(uint8(i), int64(0), change(base.fatOffset(0)+20, 2, 0, 0, 0))
		f.Add(uint8(i), int64(0), change(base.ClusterOffset(2)+32+20, 0, 0, 0, 0, 0, 0, 9, 0, 1))
		f.Add(uint8(i), int64(0), change(base.ClusterOffset(2)+96, 0x42, 'a', 0, 'b', 0))
		f.Add(uint8(i), int64(0), append(change(base.fatOffset(0)+8, 3, 0, 0, 0), change(base.fatOffset(0)+12, 2, 0, 0, 0)...))
	}
	f.Fuzz(func(t *testing.T, base uint8, grow int64, changes []byte) {
		defer inTime(t)()
		v := &volume{Layout: bases[int(base)%len(bases)].Layout}
		v.patches = append(v.patches, bases[int(base)%len(bases)].patches...)
		for range 64 {
			if len(changes) < 5 {
				break
			}
			at := int64(changes[0])<<24 | int64(changes[1])<<16 | int64(changes[2])<<8 | int64(changes[3])
			n := min(int(changes[4]), len(changes)-5)
			v.patch(at%v.Plan.Size, changes[5:5+n]...)
			changes = changes[5+n:]
		}
		size := v.Plan.Size
		if grow < 1<<42 && size+grow > 0 {
			size += grow
		}
		fsys, err := Open(sparse{v, v.Plan.Size}, size)
		if err != nil {
			var damage *CorruptError
			if !errors.Is(err, ErrNotFAT32) && !errors.As(err, &damage) {
				t.Fatalf("error %T %v", err, err)
			}
			return
		}
		walkAll(t, fsys, size)
	})
}

// inTime fails a test that takes long: the slowest input found took a tenth of
// a second.
func inTime(t *testing.T) func() {
	start := time.Now()
	return func() {
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("takes %v", d)
		}
	}
}

// change is a change as FuzzOpen's input has it.
func change(at int64, data ...byte) []byte {
	return append([]byte{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at), byte(len(data))}, data...)
}

// walkAll reads everything and checks what Open promises.
func walkAll(t *testing.T, fsys *FS, size int64) {
	files, budget := 0, int64(readBudget)
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !fs.ValidPath(path) || strings.Contains(path, `\`) {
			t.Errorf("path %q", path)
		}
		st, err := fsys.Stat(path)
		if err != nil {
			return err
		}
		if st.Sys().(Entry).Path != path {
			t.Errorf("%q is found as %q", path, st.Sys().(Entry).Path)
		}
		if d.IsDir() {
			return nil
		}
		files++
		file, err := fsys.Open(path)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, io.LimitReader(file, budget))
		if budget > n && n != st.Size() {
			t.Errorf("%q has %d bytes, reads %d", path, st.Size(), n)
		}
		budget -= n
		return errors.Join(err, file.Close())
	})
	if err != nil {
		t.Error(err)
	}
	list := fsys.Files()
	if len(list) != files {
		t.Errorf("%d files, and %d in the directories", len(list), files)
	}
	var total int64
	for _, f := range list {
		total += f.Size
		if f.Offset < 0 || f.Offset > size-min(f.Size, int64(fsys.geometry.ClusterSize)) {
			t.Errorf("%q lies at %d of %d", f.Path, f.Offset, size)
		}
	}
	if total > size {
		t.Errorf("%d bytes of files in a volume of %d", total, size)
	}
	if fsys.geometry.Clusters < 1<<20 {
		if _, err := fsys.FreeClusters(); err != nil {
			t.Error(err)
		}
	}
}

// FuzzNew plans lists of files. Each line is a path, where a slash at its end
// makes a directory; its length and bytes make the file's content.
func FuzzNew(f *testing.F) {
	var names []string
	for _, file := range installer() {
		names = append(names, file.Path)
	}
	f.Add(strings.Join(names, "\n"), "LABEL", uint32(1), int64(1e9), int64(0), int64(0), uint16(0))
	f.Add("a/\nb/c/\nB/d\nlong name~1\nLONGNA~1\nlongna~2", "x", uint32(8), int64(0), int64(34*miB), int64(100), uint16(3))
	f.Add("ß\nẞ\nK\nK\nǅ", "", uint32(16), int64(-1), int64(0), int64(5e8), uint16(16))
	f.Add("con\na.", "", uint32(0), int64(0), int64(300*miB), int64(0), uint16(4096))
	f.Fuzz(func(t *testing.T, list, label string, hidden uint32, seconds, size, headroom int64, dirHeadroom uint16) {
		defer inTime(t)()
		opts := Options{
			HiddenSectors: hidden, Label: label, Time: time.Unix(seconds, 0),
			Size: size, Headroom: headroom, DirHeadroom: int(dirHeadroom % 8192),
		}
		if hidden&1 != 0 {
			opts.SectorSize = 4096
		}
		var files []plan.File
		var dirs []string
		for i, line := range strings.SplitN(list, "\n", 100) {
			if dir, ok := strings.CutSuffix(line, "/"); ok {
				dirs = append(dirs, dir)
				continue
			}
			data := bytes.Repeat([]byte(line), i)
			files = append(files, plan.File{Path: line, Size: int64(len(data)), Content: bytes.NewReader(data)})
		}
		l, err := New(files, dirs, opts)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fat32: ") {
				t.Fatalf("error %v", err)
			}
			return
		}
		if size != 0 && l.Plan.Size != size {
			t.Fatalf("size %d, asked for %d", l.Plan.Size, size)
		}
		checkGeometry(t, l, opts)
		fsys := mustOpen(t, l.Plan, l.Plan.Size)
		sameFiles(t, fsys.Files(), l.Plan.Files)
		for i, file := range l.Plan.Files {
			if !strings.EqualFold(file.Path, files[i].Path) || file.Size != files[i].Size {
				t.Fatalf("%q is planned as %q", files[i].Path, file.Path)
			}
		}
		for _, dir := range dirs {
			if st, err := fsys.Stat(dir); err != nil || !st.IsDir() {
				t.Fatalf("directory %q: %v", dir, err)
			}
		}
		checkNames(t, fsys)
		again := mustNew(t, fsys.Files(), fsys.Dirs(), opts)
		meta := l.ClusterOffset(firstCluster + uint32(min(l.Clusters-l.FreeClusters, 4096)))
		if digest(t, l.Plan, meta) != digest(t, again.Plan, meta) || l.Geometry != again.Geometry {
			t.Fatal("planned again, the volume differs")
		}
	})
}

// checkNames checks that no two names or aliases of a directory are the same.
func checkNames(t *testing.T, fsys *FS) {
	for _, dir := range append([]*item{fsys.root}, fsys.dirs...) {
		owner := map[string]*item{}
		for _, it := range dir.items {
			for _, name := range []string{fold(it.name), it.alias.String()} {
				if other := owner[name]; other != nil && other != it {
					t.Fatalf("%q is %q and %q", name, other.path, it.path)
				}
				owner[name] = it
			}
		}
	}
}
