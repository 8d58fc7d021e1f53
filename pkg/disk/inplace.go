package disk

import (
	"os"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// What writers that fill a disk piece by piece need besides plans.

// Clone makes to, an empty file, share the blocks of from until one of them is
// written to, and says whether it could: some file systems can, within
// themselves.
func Clone(to, from *os.File) bool { return clone(to, from) }

// MakeSparse lets holes be made in an empty file where that has to be asked
// for.
func MakeSparse(f *os.File) { makeSparse(f) }

// StartWriteback asks the system to begin writing a finished run to the disk,
// so that the final sync has little left to do. It is a hint.
func StartWriteback(f *os.File, off, n int64) { startWriteback(f, off, n) }

// Tables returns the first bytes (MBR, header, entries) and the last (entries,
// header) of a disk of any size, in bytes, whose first partition, at
// PartitionStart, has partitionSize bytes.
func Tables(diskSize, partitionSize int64, sectorSize int, opts Options) (head, tail []byte, err error) {
	return partitionTable(&plan.Plan{Size: partitionSize, SectorSize: sectorSize}, diskSize, opts)
}

// DropCache lets the system forget what it keeps in memory of a part of a file
// that nobody will read any more. It is a hint.
func DropCache(f *os.File, off, n int64) { dropCache(f, off, n) }
