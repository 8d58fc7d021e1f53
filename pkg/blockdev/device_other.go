//go:build !linux

package blockdev

import (
	"errors"
	"fmt"
)

var errUnsupported = fmt.Errorf("block devices are written to on Linux only: %w", errors.ErrUnsupported)

func unsupported(path string) error {
	return &Error{Path: path, Err: errUnsupported, Advice: "write to a file, and copy that to the disk with the system's own tools"}
}

// Describe needs Linux.
func Describe(path string) (*Info, error) { return nil, unsupported(path) }

// Open needs Linux.
func Open(path string) (*Device, error) { return nil, unsupported(path) }

// Device is a block device that this program alone has open. There is none on
// this system.
type Device struct{ info Info }

// Info describes the device.
func (d *Device) Info() Info { return d.info }

// ReadAt reads from the device.
func (d *Device) ReadAt([]byte, int64) (int, error) { return 0, unsupported(d.info.Path) }

// WriteAt writes to the device.
func (d *Device) WriteAt([]byte, int64) (int, error) { return 0, unsupported(d.info.Path) }

// Zero makes n bytes at off read as zeros.
func (d *Device) Zero(_, _ int64) error { return unsupported(d.info.Path) }

// Sync waits until all that was written is on the medium.
func (d *Device) Sync() error { return unsupported(d.info.Path) }

// FlushRead syncs, and forgets what was read.
func (d *Device) FlushRead() error { return unsupported(d.info.Path) }

// Reread makes the system look at the partition table again.
func (d *Device) Reread() error { return unsupported(d.info.Path) }

// Close gives the device free.
func (d *Device) Close() error { return unsupported(d.info.Path) }
