package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Part is what of an image is pulled.
type Part string

// The parts of an image.
const (
	PartDisk      Part = "disk"
	PartModule    Part = "module"    // layer 1
	PartKickstart Part = "kickstart" // layer 2
)

// opened is an image that was found, verified and read: steps 1 to 3 of a pull.
type opened struct {
	top          ocispec.Descriptor // what the reference was resolved to
	image        *Image
	kickstart    []byte
	verification *Verification
}

func (o *opened) pulled() *Pulled {
	return &Pulled{
		Digest: o.top.Digest, Manifest: o.image.Manifest.Digest, Config: o.image.Config, Verification: o.verification,
	}
}

// PullPart brings an image's module or kickstart to a file, which appears whole
// or not at all. One that is there with other content is replaced with force
// only.
func PullPart(ctx context.Context, from *registry.Repository, reference string, part Part, path string, force bool, opts PullOptions) (*Pulled, error) {
	o, err := open(ctx, from, reference, opts)
	if err != nil {
		return nil, err
	}
	d := o.image.Module
	if part == PartKickstart {
		d = o.image.Kickstart
	}
	out := o.pulled()
	out.Size = d.Size
	if holdsBlob(path, d) {
		out.Reused = d.Size
		return out, nil
	}
	report := progress.Or(opts.Progress)
	report.Start("pull "+from.Reference().Locator(), d.Size)
	defer report.Done()
	f, err := outfile.Create(path, force)
	if err != nil {
		return nil, err
	}
	if part == PartKickstart {
		_, err = f.Write(o.kickstart) // was fetched and checked already
	} else {
		err = copyBlob(ctx, f.File, from, d, report)
	}
	if err != nil {
		return nil, f.Discard(err)
	}
	if err := f.Commit(); err != nil {
		return nil, f.Discard(err)
	}
	out.Fetched, out.Written = d.Size, d.Size
	return out, nil
}

// holdsBlob says whether a file has a blob's bytes.
func holdsBlob(path string, d ocispec.Descriptor) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != d.Size {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	_ = f.Close() // was only read
	return err == nil && SHA256(h.Sum(nil)).Digest() == d.Digest
}

// copyBlob writes a blob, whose bytes are checked by the end.
func copyBlob(ctx context.Context, to io.Writer, from *registry.Repository, d ocispec.Descriptor, report progress.Reporter) (err error) {
	r, err := from.Fetch(ctx, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := sha256.New()
	n, err := io.Copy(to, io.TeeReader(&meter{r: io.LimitReader(r, d.Size+1), report: report}, h))
	if err != nil {
		return err
	}
	if got := SHA256(h.Sum(nil)); n != d.Size || got.Digest() != d.Digest {
		want, err := parseDigest(d.Digest)
		return errors.Join(err, &ContentError{from.Reference().Locator(), d.Digest, 0, d.Size, want, got})
	}
	return nil
}
