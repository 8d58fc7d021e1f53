package blockdev

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/google/uuid"
)

// header is the primary header (UEFI 2.10 table 5-5) for an array of entries in
// sector 2.
func header(sectors int64, array []byte) []byte {
	h := make([]byte, 92)
	le := binary.LittleEndian
	copy(h, "EFI PART\x00\x00\x01\x00")
	le.PutUint32(h[12:], uint32(len(h)))
	le.PutUint64(h[24:], 1)
	le.PutUint64(h[32:], uint64(sectors-1))
	le.PutUint64(h[40:], 34)
	le.PutUint64(h[48:], uint64(sectors-34))
	putGUID(h[56:], uuid.New())
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], gptEntries)
	le.PutUint32(h[84:], gptEntry)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return h
}
