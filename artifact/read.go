package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// maxReadFile bounds a file that is read whole, in bytes: boot loader
// configurations have some kilobytes.
const maxReadFile = 1 << 20

// ReadFile reads a small file of the disk other than the kickstart's, of at most
// 1 MiB, by a range of the disk layer, and checks it. A registry that ignores ranges:
// registry.ErrRangeIgnored.
func (img *Image) ReadFile(ctx context.Context, from *registry.Repository, f *File) ([]byte, error) {
	if f.Size > maxReadFile {
		return nil, malformed("config: files", "%s has %d bytes, over the limit of %d", f.Path, f.Size, maxReadFile)
	}
	data := make([]byte, f.Size)
	if f.Size > 0 {
		r, err := from.FetchRange(ctx, img.Disk, f.Offset, f.Size)
		if err != nil {
			return nil, err
		}
		_, err = io.ReadFull(r, data)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	img.Config.overlay(data, f.Offset)
	if sha256.Sum256(data) != f.SHA256 {
		return nil, malformed(f.Path, "has other bytes than its digest says")
	}
	return data, nil
}

// overlay puts what is not the disk layer's over bytes that were read from
// there: a variant's own, and zeros.
func (c *Config) overlay(data []byte, offset int64) {
	end := offset + int64(len(data))
	for i := range c.Extents {
		e := &c.Extents[i]
		lo, hi := max(e.Offset, offset), min(e.End(), end)
		switch {
		case lo >= hi:
		case e.Zero():
			clear(data[lo-offset : hi-offset])
		case e.From == FromGiven:
			copy(data[lo-offset:hi-offset], e.Data[lo-e.Offset:])
		}
	}
}

// CountReferrers counts what refers to an image's index and to each of its
// manifests, by artifact type.
func (img *Image) CountReferrers(ctx context.Context, from Target) ([]ReferrerCount, error) {
	subjects := append([]ocispec.Descriptor{}, img.Entries...)
	if img.Index != nil {
		subjects = append(subjects, *img.Index)
	} else {
		subjects = append(subjects, img.Manifest)
	}
	var types []string
	for _, s := range subjects {
		found, err := from.Referrers(ctx, plain(s), "")
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			types = append(types, d.ArtifactType)
		}
	}
	return countTypes(types), nil
}
