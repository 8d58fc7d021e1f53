// Package plan describes a disk image before a byte of it is written.
//
// A [Plan] is a size and an ordered list of extents that tile it. Each extent
// is a run of zeros, literal bytes (file system metadata), or a run of a
// file's bytes. Planners (fat32, disk) make plans; writers, digests and
// customising read them. Nothing here knows what the bytes mean.
package plan

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
)

// MaxSize is the largest plan that is accepted, in bytes: 1 TiB. An image may
// have been made larger, for ESXi to be installed on it.
const MaxSize = 1 << 40

// MaxVolume is the largest volume, and the largest disk, that is planned for what
// lies on it, in bytes: 16 GiB, the limit that the artifact's config states.
const MaxVolume = 16 << 30

// Role says why a file is on the disk. The values are those of the artifact's
// config blob.
type Role string

// The roles of a file.
const (
	RolePayload   Role = "payload"   // copied from the installer ISO
	RoleBootCfg   Role = "bootcfg"   // a boot loader configuration, edited
	RoleModule    Role = "module"    // an installer module of ours or the user's
	RoleKickstart Role = "kickstart" // the module that holds the kickstart alone
)

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// String returns the digest as the OCI image-spec writes it.
func (d Digest) String() string { return fmt.Sprintf("sha256:%x", d[:]) }

// File is a file that a plan places. Its bytes stay where they are until the
// plan is read.
type File struct {
	// Path on the volume: slash separated, no leading slash, in the case in
	// which it is stored.
	Path string
	// Size in bytes.
	Size int64
	// Offset of the first byte from the start of the plan, set by the planner.
	// It is 0 for an empty file, which lies nowhere.
	Offset int64
	// Content holds Size bytes. It may be nil where Size is 0. It must allow
	// parallel reads.
	Content io.ReaderAt
	// Expect are the digests that Content may have; none where nobody vouched
	// for it. More than one is a file that may be either of several.
	Expect []Digest
	Role   Role
}

// Kind says what an extent is made of.
type Kind uint8

// The kinds of extents.
const (
	Zero    Kind = iota // Length zero bytes
	Literal             // Data
	Content             // Length bytes of Files[File] from FileOffset
)

// Extent is a run of bytes of the disk.
type Extent struct {
	Offset     int64 // from the start of the plan, in bytes
	Length     int64 // in bytes, positive
	Kind       Kind
	Data       []byte // Literal: exactly Length bytes
	File       int    // Content: an index into Plan.Files
	FileOffset int64  // Content: where in the file the run begins
}

// End returns the offset of the first byte after the extent.
func (e Extent) End() int64 { return e.Offset + e.Length }

// Plan is a disk or a volume that is known but not written.
type Plan struct {
	Size       int64 // in bytes, a multiple of SectorSize
	SectorSize int   // 512 or 4096
	Extents    []Extent
	Files      []File // in the order in which they lie on the disk
}

// Validate reports the first way in which the extents fail to tile the plan.
func (p *Plan) Validate() error {
	if p.SectorSize != 512 && p.SectorSize != 4096 {
		return fmt.Errorf("plan: sector size %d is neither 512 nor 4096", p.SectorSize)
	}
	if p.Size <= 0 || p.Size > MaxSize || p.Size%int64(p.SectorSize) != 0 {
		return fmt.Errorf("plan: size %d is not a positive multiple of %d up to %d", p.Size, p.SectorSize, int64(MaxSize))
	}
	var at int64
	for i, e := range p.Extents {
		if e.Offset != at {
			return fmt.Errorf("plan: extent %d starts at %d, the one before it ends at %d", i, e.Offset, at)
		}
		if e.Length <= 0 || e.Length > p.Size-at {
			return fmt.Errorf("plan: extent %d has length %d with %d bytes left", i, e.Length, p.Size-at)
		}
		if err := p.validateExtent(e); err != nil {
			return fmt.Errorf("plan: extent %d: %w", i, err)
		}
		at = e.End()
	}
	if at != p.Size {
		return fmt.Errorf("plan: the extents end at %d of %d", at, p.Size)
	}
	return nil
}

func (p *Plan) validateExtent(e Extent) error {
	switch e.Kind {
	case Zero:
		return nil
	case Literal:
		if int64(len(e.Data)) != e.Length {
			return fmt.Errorf("%d literal bytes for a length of %d", len(e.Data), e.Length)
		}
		return nil
	case Content:
		if e.File < 0 || e.File >= len(p.Files) {
			return fmt.Errorf("file %d of %d", e.File, len(p.Files))
		}
		f := &p.Files[e.File]
		if e.FileOffset < 0 || e.FileOffset > f.Size || e.Length > f.Size-e.FileOffset {
			return fmt.Errorf("bytes [%d, %d) of %s, which has %d", e.FileOffset, e.FileOffset+e.Length, f.Path, f.Size)
		}
		if f.Content == nil {
			return fmt.Errorf("%s has no content", f.Path)
		}
		return nil
	default:
		return fmt.Errorf("unknown kind %d", e.Kind)
	}
}

// MismatchError says that a file's bytes are not those that were vouched for.
type MismatchError struct {
	Path string
	Want []Digest // any of these
	Got  Digest
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: content is %v, expected %v", e.Path, e.Got, e.Want)
}

// Check returns a *MismatchError unless sum is one of those that are expected.
func (f *File) Check(sum Digest) error {
	if len(f.Expect) == 0 || slices.Contains(f.Expect, sum) {
		return nil
	}
	return &MismatchError{Path: f.Path, Want: f.Expect, Got: sum}
}

// ReadError says that a file's bytes could not be read.
type ReadError struct {
	Path string
	Err  error
}

func (e *ReadError) Error() string { return fmt.Sprintf("read %s: %v", e.Path, e.Err) }
func (e *ReadError) Unwrap() error { return e.Err }

// ReadContent fills b from the file's content at off. A content that ends
// early is an error: a short read never passes for the end of a file.
func (f *File) ReadContent(b []byte, off int64) error {
	if f.Content == nil {
		return &ReadError{Path: f.Path, Err: errors.New("no content")}
	}
	n, err := f.Content.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &ReadError{Path: f.Path, Err: err}
}
