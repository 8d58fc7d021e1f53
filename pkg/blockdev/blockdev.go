// Package blockdev describes block devices and opens them for writing, alone:
// what is mounted, in use by another device or program, or not a whole disk, is
// refused. [Probe] tells what lies on one.
//
// It works on Linux. Elsewhere [Describe] and [Open] return an error that is
// [errors.ErrUnsupported].
package blockdev

import (
	"errors"
	"fmt"
	"strings"
)

// Info is what the system knows of a block device.
type Info struct {
	Path   string // as it was named
	Kernel string // the kernel's name: "sda", "nvme0n1p1"
	Size   int64  // in bytes
	// SectorSize is what is addressed, PhysicalSectorSize what the medium
	// writes at once, in bytes.
	SectorSize, PhysicalSectorSize int
	// Model, Serial and WWN are empty where the device has none. The WWN is as
	// the kernel writes it ("naa.5000…", "eui.…"): compare with HasWWN.
	Model, Serial, WWN string
	ReadOnly           bool
	// Mounts are where it or its partitions are mounted, and "swap".
	Mounts []string
	// Holders are the devices that are made of it or of its partitions: LVM,
	// RAID, encryption, multipath.
	Holders []string
	// Partition says that it is a part of a disk: Whole is the disk's path.
	Partition bool
	Whole     string
}

// Errors that say why a device is refused; they come in an *Error.
var (
	ErrNotDevice = errors.New("is not a block device")
	ErrPartition = errors.New("is a partition")
	ErrReadOnly  = errors.New("is read-only")
	ErrMounted   = errors.New("is mounted")
	ErrHeld      = errors.New("is part of another device")
	ErrBusy      = errors.New("is in use by another program")
	ErrNoMedium  = errors.New("has no medium")
	ErrSector    = errors.New("has sectors of an unknown size")
)

// Error says why a device cannot be written to.
type Error struct {
	Path   string
	Err    error
	Detail string // "/, swap"; may be empty
	Advice string // what to do next
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", e.Path, e.Err)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}
func (e *Error) Unwrap() error { return e.Err }

// Refusal returns why Open would refuse the device, as an *Error, or nil.
func (i *Info) Refusal() error {
	refuse := func(why error, detail, advice string) error {
		return &Error{Path: i.Path, Err: why, Detail: detail, Advice: advice}
	}
	switch {
	case i.Partition:
		return refuse(ErrPartition, "", "an image is a whole disk: name "+i.Whole)
	case i.Size <= 0:
		return refuse(ErrNoMedium, "", "insert one, or name another disk")
	case i.SectorSize != 512 && i.SectorSize != 4096:
		return refuse(ErrSector, fmt.Sprintf("%d bytes", i.SectorSize), "name a disk with sectors of 512 or 4096 bytes")
	case len(i.Mounts) > 0:
		return refuse(ErrMounted, strings.Join(i.Mounts, ", "), "make sure that it is the right disk, then unmount it (umount, swapoff)")
	case len(i.Holders) > 0:
		return refuse(ErrHeld, strings.Join(i.Holders, ", "), "make sure that it is the right disk, then stop what is made of it (vgchange -an, mdadm --stop, cryptsetup close)")
	case i.ReadOnly:
		return refuse(ErrReadOnly, "", "remove the write protection (blockdev --setrw), or name another disk")
	default:
		return nil
	}
}

// HasSerial says whether s is the device's serial number; case and outer white
// space do not count.
func (i *Info) HasSerial(s string) bool {
	s = strings.TrimSpace(s)
	return s != "" && strings.EqualFold(s, i.Serial)
}

// HasWWN says whether s is the device's world wide name, however it is written:
// "0x5000c500a1b2c3d4", "naa.5000c500a1b2c3d4", "wwn-0x5000c500a1b2c3d4".
func (i *Info) HasWWN(s string) bool {
	s = bareWWN(s)
	return s != "" && s == bareWWN(i.WWN)
}

func bareWWN(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, prefix := range []string{"wwn-", "nvme-", "naa.", "eui.", "0x"} {
		s = strings.TrimPrefix(s, prefix)
	}
	return s
}
