package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/disk"
)

// maxBehind is how many files may lie behind one another.
const maxBehind = 8

// readBackingHelp is that of the flag --read-backing.
const readBackingHelp = "read the files behind a qcow2 image too, where they are named relative to it"

// imageFile is an ISO or a disk image that was opened.
type imageFile struct {
	file *os.File
	// disk is what the file holds: of a qcow2 file not its own bytes.
	disk io.ReaderAt
	size int64 // of disk, in bytes
	behind
}

// openImage opens an ISO or a disk image, raw or qcow2.
func openImage(path string, readBacking bool) (*imageFile, error) {
	f, size, err := openInput(path)
	if err != nil {
		return nil, err
	}
	out := &imageFile{file: f}
	var open disk.OpenBacking
	if readBacking {
		open = out.opener(path)
	}
	if out.disk, out.size, _, err = disk.OpenDisk(f, size, open); err != nil {
		return nil, errors.Join(diskFailure(path, err), out.Close())
	}
	return out, nil
}

// Close closes what was only read.
func (i *imageFile) Close() error { return errors.Join(i.file.Close(), i.behind.Close()) }

// diskFailure says of which file it is that a qcow2 image cannot be read.
func diskFailure(path string, err error) error {
	var refused *disk.QCOW2Error
	if errors.As(err, &refused) {
		return inputError(fmt.Errorf("%s: %w", path, err), refused.Advice)
	}
	return err
}

// behind are the files behind an image.
type behind []*os.File

// Close closes them.
func (b *behind) Close() error {
	var err error
	for _, f := range *b {
		err = errors.Join(err, f.Close())
	}
	*b = nil
	return err
}

// opener opens the file behind one of that name. An image can name any file:
// only what it names relative to itself is opened, in the format that it tells.
func (b *behind) opener(path string) disk.OpenBacking {
	return func(name, format string) (io.ReaderAt, int64, error) {
		fail := func(why, advice string) error {
			return inputError(fmt.Errorf("%s: the file behind it, %q, %s", path, name, why), advice)
		}
		const advice = "make one file of both: qemu-img convert -O qcow2 IN OUT"
		first, _, _ := strings.Cut(name, "/")
		switch {
		case len(*b) >= maxBehind:
			return nil, 0, fail(fmt.Sprintf("is more than %d files away", maxBehind), advice)
		case filepath.IsAbs(name) || strings.HasPrefix(name, "/") || strings.Contains(first, ":"):
			return nil, 0, fail("is not named relative to it", advice)
		case format != string(disk.Raw) && format != string(disk.QCOW2):
			return nil, 0, fail(fmt.Sprintf("has a format, %q, that is neither raw nor qcow2", format), "tell it: qemu-img rebase -u -b FILE -F FORMAT IMAGE")
		}
		next := filepath.Join(filepath.Dir(path), filepath.FromSlash(name))
		// A device or a pipe would be opened, too.
		if info, err := os.Stat(next); err == nil && !info.Mode().IsRegular() {
			return nil, 0, fail("is no regular file", advice)
		}
		f, size, err := openInput(next)
		if err != nil {
			return nil, 0, err
		}
		*b = append(*b, f)
		if format == string(disk.Raw) {
			return f, size, nil
		}
		d, err := disk.OpenQCOW2(f, size, b.opener(next))
		if err != nil {
			return nil, 0, diskFailure(next, err)
		}
		return d, d.Size, nil
	}
}
