package artifact

import (
	"os"

	"github.com/esxi-img/esxi-img/pkg/cachedir"
)

const (
	// DefaultCacheLimit is how large a cache may become, in bytes: some ten
	// releases.
	DefaultCacheLimit = 8 << 30
	// cacheRoom is the share that is left after trimming, in percent.
	cacheRoom = 90

	pieceFolder = "sha256"
)

// pieceCache holds pieces, each a file that is named by its digest and checked
// whenever it is read.
type pieceCache struct{ *cachedir.Cache }

func newPieceCache(dir string, limit int64) pieceCache {
	if limit <= 0 {
		limit = DefaultCacheLimit
	}
	return pieceCache{cachedir.New(dir, cachedir.Options{
		Files: []string{pieceFolder + "/??/" + cachedir.AnyDigest},
		Mode:  0o755, Limit: limit, Room: cacheRoom,
	})}
}

// file is a piece's path within the cache.
func (pieceCache) file(sum SHA256) string {
	name := sum.String()
	return pieceFolder + "/" + name[:2] + "/" + name
}

// get fills b with a chunk's bytes if the cache has them.
func (p pieceCache) get(x *chunk, b []byte) bool {
	if p.Cache == nil {
		return false
	}
	name := p.file(x.sum)
	f, err := os.Open(p.Path(name))
	if err != nil {
		return false
	}
	ok := readsAs(f, 0, x, b)
	_ = f.Close() // was only read
	if !ok {
		p.Remove(name)
		return false
	}
	p.Used(name)
	return true
}

// put keeps a piece that was checked.
func (p pieceCache) put(sum SHA256, data []byte) {
	if p.Cache == nil {
		return
	}
	name := p.file(sum)
	if info, err := os.Stat(p.Path(name)); err == nil && info.Size() == int64(len(data)) {
		return
	}
	p.Write(name, data)
}
