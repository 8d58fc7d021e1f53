package artifact

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultCacheLimit is how large a cache may become, in bytes: some ten
	// releases.
	DefaultCacheLimit = 8 << 30
	// cacheRoom is the share that is left after trimming, in percent, so that
	// not every pull has to trim.
	cacheRoom = 90
	// staleAfter is how old a temporary file is that nobody is writing any more.
	staleAfter = time.Hour

	cacheFolder  = "sha256"
	cacheTempDir = "tmp"
)

// cache is a folder of pieces, each a file that is named by its digest. Several
// processes may use it at once: a piece appears whole, and is checked whenever
// it is read. It never stops a pull. A nil cache holds nothing.
type cache struct {
	dir   string
	limit int64

	mu  sync.Mutex
	err error // the first that came from writing; then nothing more is written
}

func newCache(dir string, limit int64) *cache {
	if dir == "" {
		return nil
	}
	if limit <= 0 {
		limit = DefaultCacheLimit
	}
	return &cache{dir: dir, limit: limit}
}

func (c *cache) path(sum SHA256) string {
	name := sum.String()
	return filepath.Join(c.dir, cacheFolder, name[:2], name)
}

// get fills b with a chunk's bytes if the cache has them.
func (c *cache) get(x *chunk, b []byte) bool {
	if c == nil {
		return false
	}
	path := c.path(x.sum)
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	ok := readsAs(f, 0, x, b)
	_ = f.Close() // was only read
	if !ok {
		_ = os.Remove(path) // damaged: of no use to anybody
		return false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // what was used last is removed last
	return true
}

// put keeps a piece that was checked.
func (c *cache) put(sum SHA256, data []byte) {
	if c == nil {
		return
	}
	c.mu.Lock()
	failed := c.err != nil
	c.mu.Unlock()
	if failed {
		return
	}
	if err := c.write(c.path(sum), data); err != nil {
		c.mu.Lock()
		c.err = cmp.Or(c.err, err)
		c.mu.Unlock()
	}
}

func (c *cache) write(path string, data []byte) error {
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(data)) {
		return nil
	}
	temp := filepath.Join(c.dir, cacheTempDir)
	for _, dir := range []string{temp, filepath.Dir(path)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(temp, "piece-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that led here says more
	}
	return err
}

// notes tells what went wrong.
func (c *cache) notes() []string {
	if c == nil || c.err == nil {
		return nil
	}
	return []string{fmt.Sprintf("the cache was not filled: %v", c.err)}
}

// trim removes what was used least recently, until the rest is within the
// limit. Files that are not the cache's stay.
func (c *cache) trim() {
	if c == nil {
		return
	}
	type entry struct {
		path string
		size int64
		used time.Time
	}
	var (
		entries []entry
		total   int64
	)
	c.walk(func(path string, info fs.FileInfo) {
		entries = append(entries, entry{path, info.Size(), info.ModTime()})
		total += info.Size()
	})
	if total <= c.limit {
		return
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.used.Compare(b.used) })
	for _, e := range entries {
		if total <= c.limit/100*cacheRoom {
			return
		}
		if os.Remove(e.path) == nil {
			total -= e.size
		}
	}
}

// walk calls do for each piece, and removes temporary files that a killed pull
// left.
func (c *cache) walk(do func(path string, info fs.FileInfo)) {
	temps, _ := filepath.Glob(filepath.Join(c.dir, cacheTempDir, "piece-*"))
	for _, path := range temps {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(path)
		}
	}
	folders, _ := os.ReadDir(filepath.Join(c.dir, cacheFolder))
	for _, folder := range folders {
		files, _ := os.ReadDir(filepath.Join(c.dir, cacheFolder, folder.Name()))
		for _, f := range files {
			if info, err := f.Info(); err == nil && info.Mode().IsRegular() && len(f.Name()) == 2*len(SHA256{}) {
				do(filepath.Join(c.dir, cacheFolder, folder.Name(), f.Name()), info)
			}
		}
	}
}
