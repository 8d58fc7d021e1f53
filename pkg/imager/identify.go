package imager

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/google/uuid"

	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// identifiers are what else would be random on a disk.
type identifiers struct {
	disk, partition uuid.UUID
	volume          uint32
}

// identify derives them from all that is known before payload is read, so that
// one pass can write and hash the image, and so that the same inputs give the
// same bytes: paths, sizes and order of the ISO's files, its volume id and
// date, the layout's options, and the digests of what tells one ISO or one
// kickstart from another. What the host is told, in boot.cfg and beside the
// kickstart, is derived from the same and from the identifiers: only its
// sources count.
func identify(img *iso.Image, src *source, added *content, p Profile) identifiers {
	h := sha256.New()
	field := func(format string, args ...any) { putField(h, fmt.Sprintf(format, args...)) }
	field("esxi-img identifiers v1")
	field("%s", img.VolumeID())
	field("%d", img.Created().Unix())
	field("%d %d %d", stamp(img, p).Unix(), p.SectorSize, p.Headroom)
	field("%x", sha256.Sum256(src.imgdb))
	for _, b := range src.bootCfgs {
		field("%x", sha256.Sum256(b.raw))
	}
	for _, opt := range p.KernelOpts {
		field("%s", opt)
	}
	field("%x %s", sha256.Sum256(added.kickstart), p.metadata())
	if !p.Host.isZero() {
		field("%x", sha256.Sum256(p.Host.encode()))
	}
	for _, m := range added.modules {
		field("%s", m.Path)
		if m.Role != plan.RoleKickstart {
			field("%v", m.Expect)
		}
	}
	for _, f := range img.Files() {
		field("%s", f.Path)
		field("%d", f.Size)
	}
	seed := h.Sum(nil)
	return identifiers{
		disk:      deriveUUID(seed, "disk"),
		partition: deriveUUID(seed, "partition"),
		volume:    binary.LittleEndian.Uint32(derive(seed, "volume")),
	}
}

// putField writes a length before each field, so that no two lists of fields
// give the same bytes.
func putField(h hash.Hash, s string) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

func derive(seed []byte, what string) []byte {
	h := sha256.New()
	h.Write(seed)
	putField(h, what)
	return h.Sum(nil)
}

// deriveUUID makes a UUID of version 8, which RFC 9562 §5.8 leaves to the
// application.
func deriveUUID(seed []byte, what string) uuid.UUID {
	id := uuid.UUID(derive(seed, what)[:16])
	id[6] = id[6]&0x0F | 0x80
	id[8] = id[8]&0x3F | 0x80
	return id
}
