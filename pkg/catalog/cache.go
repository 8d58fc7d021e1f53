package catalog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// maxCached is the largest manifest or signature that is kept, in bytes:
	// ours have a few KiB.
	maxCached = 256 << 10
	// cacheLimit is how large the cache may become, in bytes.
	cacheLimit = 128 << 20
	// cacheRoom is the share that is left after trimming, in percent.
	cacheRoom = 75
	// maxTagFile is the largest file of a repository's tags, in bytes.
	maxTagFile = 32 << 20
	// maxMediaType is the longest media type that is kept, in bytes.
	maxMediaType = 255
	// staleAfter is how old a temporary file is that nobody is writing any more.
	staleAfter = time.Hour

	contentFolder = "sha256"
	tagFolder     = "tags"
	tempPrefix    = ".part-"
)

// cache is a folder with small content by its digest, each file a line with the
// media type and then the bytes, and with what the tags of repositories named
// the last time. Several processes may use it at once: files appear whole, and
// content is checked whenever it is read. A nil cache holds nothing.
type cache struct {
	dir string

	mu  sync.Mutex
	err error // the first that came from writing; then nothing more is written
}

func newCache(dir string) *cache {
	if dir == "" {
		return nil
	}
	return &cache{dir: dir}
}

func (c *cache) path(d digest.Digest) (string, bool) {
	if c == nil || d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return "", false
	}
	name := d.Encoded()
	return filepath.Join(c.dir, contentFolder, name[:2], name), true
}

// get returns the bytes of a digest.
func (c *cache) get(d digest.Digest) (mediaType string, raw []byte, ok bool) {
	path, ok := c.path(d)
	if !ok {
		return "", nil, false
	}
	b, err := readLimited(path, maxCached+maxMediaType+1)
	if err != nil {
		return "", nil, false
	}
	head, raw, ok := bytes.Cut(b, []byte("\n"))
	if !ok || d.Algorithm().FromBytes(raw) != d {
		_ = os.Remove(path) // damaged: of no use to anybody
		return "", nil, false
	}
	return string(head), raw, true
}

// put keeps bytes that were checked.
func (c *cache) put(mediaType string, d digest.Digest, raw []byte) {
	path, ok := c.path(d)
	if !ok || len(raw) > maxCached || len(mediaType) > maxMediaType || strings.Contains(mediaType, "\n") {
		return
	}
	c.write(path, append([]byte(mediaType+"\n"), raw...))
}

// tagFile is where a repository's tags are kept.
func (c *cache) tagFile(repository string) string {
	sum := sha256.Sum256([]byte(repository))
	return filepath.Join(c.dir, tagFolder, hex.EncodeToString(sum[:])+".json")
}

// tags returns what the tags of a repository named the last time.
func (c *cache) tags(repository string) map[string]digest.Digest {
	if c == nil {
		return nil
	}
	b, err := readLimited(c.tagFile(repository), maxTagFile)
	if err != nil {
		return nil
	}
	var out map[string]digest.Digest
	if json.Unmarshal(b, &out) != nil {
		return nil
	}
	return out
}

// remember keeps what the tags name.
func (c *cache) remember(repository string, found []named) {
	if c == nil {
		return
	}
	tags := map[string]digest.Digest{}
	for i := range found {
		if n := &found[i]; n.desc.Digest != "" {
			tags[n.tag] = n.desc.Digest
		}
	}
	b, err := json.Marshal(tags)
	if err != nil || len(b) > maxTagFile {
		return
	}
	path := c.tagFile(repository)
	if old, err := readLimited(path, maxTagFile); err != nil || !bytes.Equal(old, b) {
		c.write(path, b)
	}
}

// write makes a file that appears whole. What is kept may come from a private
// registry: it is for its user alone.
func (c *cache) write(path string, b []byte) {
	c.mu.Lock()
	failed := c.err != nil
	c.mu.Unlock()
	if failed {
		return
	}
	if err := writeFile(path, b); err != nil {
		c.mu.Lock()
		c.err = cmp.Or(c.err, err)
		c.mu.Unlock()
	}
}

func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
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

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	_ = f.Close() // was only read
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: over the limit of %d bytes", path, limit)
	}
	return b, err
}

// notes tells what went wrong.
func (c *cache) notes() []string {
	if c == nil || c.err == nil {
		return nil
	}
	return []string{fmt.Sprintf("the cache was not filled: %v", c.err)}
}

// trim removes what was written first until the rest is within the limit, and
// temporary files that a killed process left. Files that are not the cache's
// stay.
func (c *cache) trim() {
	if c == nil {
		return
	}
	type entry struct {
		path    string
		size    int64
		written time.Time
	}
	var entries []entry
	var total int64
	for _, dir := range []string{filepath.Join(c.dir, contentFolder, "??"), filepath.Join(c.dir, tagFolder)} {
		paths, _ := filepath.Glob(filepath.Join(dir, "*"))
		temps, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
		for _, path := range append(paths, temps...) {
			info, err := os.Lstat(path)
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			switch name := filepath.Base(path); {
			case strings.HasPrefix(name, tempPrefix):
				removeStale(path, info)
			case len(strings.TrimSuffix(name, ".json")) == 2*sha256.Size:
				entries = append(entries, entry{path, info.Size(), info.ModTime()})
				total += info.Size()
			}
		}
	}
	if total <= cacheLimit {
		return
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.written.Compare(b.written) })
	for _, e := range entries {
		if total <= cacheLimit/100*cacheRoom {
			return
		}
		if os.Remove(e.path) == nil {
			total -= e.size
		}
	}
}

func removeStale(path string, info fs.FileInfo) {
	if time.Since(info.ModTime()) > staleAfter {
		_ = os.Remove(path) // another one may be faster
	}
}
