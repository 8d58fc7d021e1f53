package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/pkg/cachedir"
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

	contentFolder = "sha256"
	tagFolder     = "tags"
)

// cache holds small content by its digest, each file a line with the media type
// and then the bytes, and what the tags of repositories named the last time.
// Content is checked whenever it is read. The zero cache holds nothing.
type cache struct{ *cachedir.Cache }

// newCache returns the cache in a folder. What is kept may come from a private
// registry: it is for its user alone.
func newCache(dir string) cache {
	return cache{cachedir.New(dir, cachedir.Options{
		Files: []string{contentFolder + "/??/" + cachedir.AnyDigest, tagFolder + "/" + cachedir.AnyDigest + ".json"},
		Mode:  0o700, Limit: cacheLimit, Room: cacheRoom,
	})}
}

// file is the path of a digest's content within the cache.
func (c cache) file(d digest.Digest) (string, bool) {
	if c.Cache == nil || d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return "", false
	}
	name := d.Encoded()
	return contentFolder + "/" + name[:2] + "/" + name, true
}

// get returns the bytes of a digest.
func (c cache) get(d digest.Digest) (mediaType string, raw []byte, ok bool) {
	name, ok := c.file(d)
	if !ok {
		return "", nil, false
	}
	b, err := c.Read(name, maxCached+maxMediaType+1)
	if err != nil {
		return "", nil, false
	}
	head, raw, ok := bytes.Cut(b, []byte("\n"))
	if !ok || d.Algorithm().FromBytes(raw) != d {
		c.Remove(name)
		return "", nil, false
	}
	return string(head), raw, true
}

// put keeps bytes that were checked.
func (c cache) put(mediaType string, d digest.Digest, raw []byte) {
	name, ok := c.file(d)
	if !ok || len(raw) > maxCached || len(mediaType) > maxMediaType || strings.Contains(mediaType, "\n") {
		return
	}
	c.Write(name, append([]byte(mediaType+"\n"), raw...))
}

// tagFile is where a repository's tags are kept.
func (cache) tagFile(repository string) string {
	sum := sha256.Sum256([]byte(repository))
	return tagFolder + "/" + hex.EncodeToString(sum[:]) + ".json"
}

// tags returns what the tags of a repository named the last time.
func (c cache) tags(repository string) map[string]digest.Digest {
	b, err := c.Read(c.tagFile(repository), maxTagFile)
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
func (c cache) remember(repository string, found []named) {
	if c.Cache == nil {
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
	name := c.tagFile(repository)
	if old, err := c.Read(name, maxTagFile); err != nil || !bytes.Equal(old, b) {
		c.Write(name, b)
	}
}
