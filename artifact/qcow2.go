package artifact

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// addQCOW2 adds a disk manifest over the image's disk as a QCOW2 file, and with
// it another index, to what is sent. The file is never written: the raw disk,
// which has to lie in a layout, is read once for the file's digest, checked on
// the way, and again as the file is sent. It returns the manifest's digest. An
// image that has such a manifest stays as it is.
func (t *transfer) addQCOW2(ctx context.Context, from *registry.Repository, img *Image, report progress.Reporter) (digest.Digest, error) {
	i := slices.IndexFunc(img.Entries, func(e ocispec.Descriptor) bool { return e.Annotations[AnnotationDiskType] == DiskTypeQCOW2 })
	if i >= 0 {
		return img.Entries[i].Digest, nil
	}
	c := img.Config
	if c.Variant() {
		return "", &VariantError{errors.New("a variant has no disk of its own to make a qcow2 file of"), "leave --qcow2 out, or build an image with that kickstart"}
	}
	path, err := localDisk(from, img.Disk)
	if err != nil {
		return "", err
	}
	// 1. The file's digest and size.
	layer, err := c.describeQCOW2(ctx, path, report)
	if err != nil {
		return "", err
	}
	// 2. What names it.
	manifest, err := diskManifest(c, titled(layer, diskTitle(&c.ESXi, ".qcow2")), DiskTypeQCOW2)
	if err != nil {
		return "", err
	}
	top, err := index(c, append(slices.Clip(img.Entries), entry(c, manifest.Descriptor, TypeDisk, DiskTypeQCOW2))...)
	if err != nil {
		return "", err
	}
	t.add(load{desc: layer, open: func(context.Context) (io.ReadCloser, error) { return c.openQCOW2(path) }})
	t.addBlob(emptyJSON)
	t.manifests, t.top = append(t.manifests, manifest), top
	return manifest.Digest, nil
}

// localDisk is the file that holds a disk.
func localDisk(from *registry.Repository, d ocispec.Descriptor) (string, error) {
	if _, ok := from.Layout(); !ok {
		return "", errors.New("artifact: only the disk of an image in a layout becomes a qcow2 file")
	}
	path, ok := from.LocalPath(d)
	if !ok {
		return "", malformed("layer 0", "the layout does not hold the %d bytes of %s", d.Size, d.Digest)
	}
	return path, nil
}

// qcow2 is a QCOW2 file of a raw disk, read as if it were there.
type qcow2 struct {
	*io.SectionReader
	plan *plan.Plan
	raw  *os.File
}

// Close closes the raw disk.
func (q *qcow2) Close() error { return q.raw.Close() }

// openQCOW2 opens the raw disk in a file as a QCOW2 file.
func (c *Config) openQCOW2(path string) (*qcow2, error) {
	raw, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	p, err := c.BlobPlan(raw)
	if err == nil {
		p, err = disk.PlanQCOW2(p)
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return &qcow2{p.Reader(), p, raw}, nil
}

// describeQCOW2 makes the descriptor of the QCOW2 file of a raw disk, whose
// bytes it holds against the config's digests.
func (c *Config) describeQCOW2(ctx context.Context, path string, report progress.Reporter) (d ocispec.Descriptor, err error) {
	q, err := c.openQCOW2(path)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	sums, err := disk.WriteDigests(ctx, nil, q.plan, disk.DigestOptions{
		PieceSize: PieceSize, PiecesOnly: true, Progress: report, Phase: "hash as qcow2",
	})
	if err != nil {
		return d, err
	}
	// The file has the disk's extents whole and in order, among its own tables.
	at := 0
	for i, e := range q.plan.Extents {
		if e.Kind != plan.Content {
			continue
		}
		for c.Extents[at].Zero() {
			at++
		}
		if !slices.EqualFunc(c.Extents[at].SHA256, sums.Extents[i], func(want SHA256, got plan.Digest) bool { return want == SHA256(got) }) {
			return d, malformed("layer 0", "the disk in %s is damaged within the %d bytes at %d", path, c.Extents[at].Length, c.Extents[at].Offset)
		}
		at++
	}
	return ocispec.Descriptor{MediaType: MediaTypeQCOW2, Digest: SHA256(sums.Disk).Digest(), Size: q.plan.Size}, nil
}
