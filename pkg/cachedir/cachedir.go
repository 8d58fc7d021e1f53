// Package cachedir keeps a folder of files that can be had again from where
// they came: a cache never stops what it is to make faster.
package cachedir

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// staleAfter is how old a temporary file is that nobody is writing any more.
	staleAfter = time.Hour

	tempFolder = "tmp"
	tempPrefix = "piece-"
)

// AnyDigest matches the file names that are a SHA-256 in hexadecimal digits, in
// a pattern of Options.Files.
var AnyDigest = strings.Repeat("[0-9a-f]", 2*sha256.Size)

// Options say what a cache is like.
type Options struct {
	// Files are patterns, as fs.Glob has them, of the files that are the
	// cache's, relative to its folder. What does not match is never removed.
	Files []string
	// Mode is that of the folders that are made.
	Mode fs.FileMode
	// Limit is how large the files may become together, in bytes, and Room the
	// share of it that is left by trimming, in percent: less than 100, so that
	// not every run has to trim.
	Limit, Room int64
}

// Cache is a folder of files. Several processes may use it at once: a file
// appears whole. A nil Cache holds nothing.
type Cache struct {
	dir  string
	opts Options

	mu  sync.Mutex
	err error // the first that came from writing; then nothing more is written
}

// New returns the cache in a folder, which need not be there; nil for "".
func New(dir string, opts Options) *Cache {
	if dir == "" {
		return nil
	}
	return &Cache{dir: dir, opts: opts}
}

// Path is where a file of the cache lies, by its path within it, with slashes.
func (c *Cache) Path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

// Read returns a file's content. One over the limit in bytes is an error.
func (c *Cache) Read(name string, limit int64) ([]byte, error) {
	if c == nil {
		return nil, fs.ErrNotExist
	}
	f, err := os.Open(c.Path(name))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	_ = f.Close() // was only read
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: over the limit of %d bytes", f.Name(), limit)
	}
	return b, err
}

// Write keeps a file. The first error stops all further writing, and is in
// Notes.
func (c *Cache) Write(name string, b []byte) {
	if c == nil || c.failed() != nil {
		return
	}
	if err := c.write(c.Path(name), b); err != nil {
		c.mu.Lock()
		c.err = cmp.Or(c.err, err)
		c.mu.Unlock()
	}
}

func (c *Cache) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Cache) write(path string, b []byte) error {
	temp := filepath.Join(c.dir, tempFolder)
	for _, dir := range []string{temp, filepath.Dir(path)} {
		if err := os.MkdirAll(dir, c.opts.Mode); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(temp, tempPrefix)
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

// Used marks a file as used just now: what was used last is removed last.
func (c *Cache) Used(name string) {
	now := time.Now()
	_ = os.Chtimes(c.Path(name), now, now) // one that went meanwhile is no loss
}

// Remove removes a file that turned out to be damaged.
func (c *Cache) Remove(name string) { _ = os.Remove(c.Path(name)) } // another process may be faster

// Notes tells what went wrong.
func (c *Cache) Notes() []string {
	if c == nil {
		return nil
	}
	if err := c.failed(); err != nil {
		return []string{fmt.Sprintf("the cache was not filled: %v", err)}
	}
	return nil
}

// Trim removes temporary files that a killed process left and, if the files
// are over the limit, those that were used or written first.
func (c *Cache) Trim() {
	if c == nil {
		return
	}
	c.each(tempFolder+"/"+tempPrefix+"*", func(name string, info fs.FileInfo) {
		if time.Since(info.ModTime()) > staleAfter {
			c.Remove(name)
		}
	})
	type entry struct {
		name string
		info fs.FileInfo
	}
	var entries []entry
	var total int64
	for _, pattern := range c.opts.Files {
		c.each(pattern, func(name string, info fs.FileInfo) {
			entries = append(entries, entry{name, info})
			total += info.Size()
		})
	}
	if total <= c.opts.Limit {
		return
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	for _, e := range entries {
		if total <= c.opts.Limit/100*c.opts.Room {
			return
		}
		if os.Remove(c.Path(e.name)) == nil {
			total -= e.info.Size()
		}
	}
}

// each calls do for the regular files that match a pattern. What can't be read
// is passed over.
func (c *Cache) each(pattern string, do func(name string, info fs.FileInfo)) {
	names, _ := fs.Glob(os.DirFS(c.dir), pattern)
	for _, name := range names {
		if info, err := os.Lstat(c.Path(name)); err == nil && info.Mode().IsRegular() {
			do(name, info)
		}
	}
}
