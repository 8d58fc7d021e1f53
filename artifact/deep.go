package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/progress"
)

// Content is what CheckContent read and found to be right.
type Content struct {
	Bytes  int64 `json:"bytes"`  // of layers
	Pieces int   `json:"pieces"` // digests in the config
	Files  int   `json:"files"`
}

// CheckContent reads all layers of an image and holds that they are what its
// config says: the kickstart and its tar, the module, each piece and each file
// of the disk, and the disk that a variant makes of its base's. What is wrong is
// a *FormatError.
func (img *Image) CheckContent(ctx context.Context, from Fetcher, reporter progress.Reporter) (*Content, error) {
	text, err := FetchBytes(ctx, from, img.Kickstart, MaxKickstart)
	if err != nil {
		return nil, err
	}
	if err := img.Config.CheckKickstart(text); err != nil {
		return nil, err
	}
	report := progress.Or(reporter)
	report.Start("read the image", img.Module.Size+img.Disk.Size)
	defer report.Done()
	if err := checkBlob(ctx, from, img.Module, report, func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}); err != nil {
		return nil, err
	}
	check := newDiskCheck(img.Config, text)
	if err := checkBlob(ctx, from, img.Disk, report, check.read); err != nil {
		return nil, err
	}
	return &Content{
		Bytes: int64(len(text)) + img.Module.Size + img.Disk.Size, Pieces: check.pieces, Files: len(img.Config.Files),
	}, nil
}

// checkBlob reads a blob whole; use may leave some of it.
func checkBlob(ctx context.Context, from Fetcher, d ocispec.Descriptor, report progress.Reporter, use func(io.Reader) error) (err error) {
	r, err := from.Fetch(ctx, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sum := sha256.New()
	counted := &countingReader{r: io.TeeReader(io.LimitReader(r, d.Size+1), sum), report: report}
	if err := use(counted); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return err
	}
	if got := SHA256(sum.Sum(nil)); counted.n != d.Size || got.Digest() != d.Digest {
		return malformed(d.Digest.String(), "has other bytes than its digest and size say")
	}
	return nil
}

type countingReader struct {
	r      io.Reader
	n      int64
	report progress.Reporter
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.report.Add(int64(n))
	return n, err
}

// diskCheck follows a disk from its first byte to its last.
type diskCheck struct {
	config    *Config
	kickstart []byte
	whole     hash.Hash // of the disk
	at        int64     // where on the disk
	buf       []byte
	pieces    int

	files []*File   // that are not done, without empty ones
	file  hash.Hash // of the first of them, as far as at
}

func newDiskCheck(c *Config, kickstart []byte) *diskCheck {
	d := &diskCheck{config: c, kickstart: kickstart, whole: sha256.New(), file: sha256.New(), buf: make([]byte, PieceSize)}
	for i := range c.Files {
		if c.Files[i].Size > 0 {
			d.files = append(d.files, &c.Files[i])
		}
	}
	return d
}

// read makes the disk of the disk layer, and checks it.
func (d *diskCheck) read(layer io.Reader) error {
	for i := range d.config.Extents {
		if err := d.extent(&d.config.Extents[i], layer); err != nil {
			return err
		}
	}
	if got := SHA256(d.whole.Sum(nil)); got != d.config.Disk.SHA256 {
		return malformed("config: disk", "its digest is %s, but its extents make a disk of %s", d.config.Disk.SHA256, got)
	}
	if len(d.files) > 0 {
		return malformed("config: files", "%s does not lie on the disk", d.files[0].Path)
	}
	return nil
}

func (d *diskCheck) extent(e *Extent, layer io.Reader) error {
	var own []byte
	if !e.Zero() && e.From != FromDisk {
		var err error
		if own, err = d.config.OwnBytes(e, d.kickstart); err != nil {
			return err
		}
	}
	for n := int64(0); n < e.Length; n += PieceSize {
		b := d.buf[:min(PieceSize, e.Length-n)]
		// A variant's own bytes stand for those of its base's disk, which may
		// end before them.
		got, err := io.ReadFull(layer, b)
		short := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		switch {
		case err != nil && !short:
			return err
		case e.Zero():
			clear(b)
		case e.From != FromDisk:
			b = own[n:min(n+PieceSize, e.Length)]
		case short:
			return malformed("layer", "the disk ends at %d, and the config has an extent there", d.at+int64(got))
		}
		if !e.Zero() {
			if got := SHA256(sha256.Sum256(b)); got != e.SHA256[n/PieceSize] {
				return malformed("config: extents", "%d bytes at %d are %s, not %s", len(b), d.at, got, e.SHA256[n/PieceSize])
			}
			d.pieces++
		}
		if err := d.add(b); err != nil {
			return err
		}
	}
	return nil
}

// add takes the next bytes of the disk.
func (d *diskCheck) add(b []byte) error {
	d.whole.Write(b)
	begin, end := d.at, d.at+int64(len(b))
	d.at = end
	for len(d.files) > 0 {
		f := d.files[0]
		lo, hi := max(f.Offset, begin), min(f.Offset+f.Size, end)
		if lo >= hi {
			return nil
		}
		d.file.Write(b[lo-begin : hi-begin])
		if hi < f.Offset+f.Size {
			return nil
		}
		if got := SHA256(d.file.Sum(nil)); got != f.SHA256 {
			return malformed("config: files", "%s is %s, not %s", f.Path, got, f.SHA256)
		}
		d.file.Reset()
		d.files = d.files[1:]
	}
	return nil
}

// String says what was read.
func (c *Content) String() string {
	return fmt.Sprintf("%d bytes, %d pieces, %d files", c.Bytes, c.Pieces, c.Files)
}
