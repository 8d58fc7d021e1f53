package blockdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// kernelSector is the unit of sizes in sysfs, whatever the device's sectors
	// are, in bytes.
	kernelSector = 512

	// maxAttribute bounds a file of sysfs (a page at most), maxMounts one of
	// mounts or of udev's, in bytes. Thousands of containers make a megabyte.
	maxAttribute = 64 << 10
	maxMounts    = 16 << 20
)

// system is where the kernel tells of its devices: tests have one of their own.
type system struct {
	dev, sys, proc, run string
	// node returns the number of a block device; ErrNotDevice for all else.
	node func(path string) (dev uint64, err error)
}

func host() *system {
	return &system{dev: "/dev", sys: "/sys", proc: "/proc", run: "/run", node: blockNode}
}

func blockNode(path string) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, ErrNotDevice
	}
	return uint64(stat.Rdev), nil //nolint:unconvert // 32 bits wide on MIPS
}

// node is where a device was found.
type node struct {
	path string // without links
	dev  uint64
}

// Describe tells what is known of a block device. It follows links, such as
// those in /dev/disk/by-id, and opens nothing. A path that is no block device
// under /dev is an *Error with ErrNotDevice. A partition, or a disk that is in
// use, is described too: see Info.Refusal.
func Describe(path string) (*Info, error) {
	info, _, err := host().describe(path)
	return info, err
}

func (s *system) describe(path string) (*Info, node, error) {
	found, err := s.find(path)
	if err != nil {
		return nil, node{}, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(s.sys, "dev", "block", number(found.dev)))
	if err != nil {
		return nil, node{}, fmt.Errorf("%s: the kernel's description is missing (is /sys mounted?): %w", path, err)
	}
	info := &Info{Path: path, Kernel: filepath.Base(dir)}
	whole := dir
	if isPartition(dir) {
		whole = filepath.Dir(dir)
		info.Partition, info.Whole = true, s.devicePath(whole)
	}
	if err := s.geometry(info, dir, whole); err != nil {
		return nil, node{}, err
	}
	s.identity(info, whole)
	if err := s.users(info, dir); err != nil {
		return nil, node{}, err
	}
	return info, found, nil
}

// find follows a path to a block device under /dev.
func (s *system) find(path string) (node, error) {
	refuse := func(err error, detail string) (node, error) {
		return node{}, &Error{Path: path, Err: err, Detail: detail, Advice: "name a disk under /dev; lsblk lists them, /dev/disk/by-id has names that stay"}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return node{}, err
	}
	target, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(fs.ErrNotExist, "")
	}
	if err != nil {
		return node{}, err
	}
	dev, err := s.node(target)
	switch {
	case errors.Is(err, ErrNotDevice):
		return refuse(ErrNotDevice, "")
	case err != nil:
		return node{}, err
	}
	// A node elsewhere was made by hand, and may be stale.
	if rel, err := filepath.Rel(s.dev, target); err != nil || !filepath.IsLocal(rel) {
		return refuse(ErrNotDevice, "it does not lie under /dev")
	}
	return node{path: target, dev: dev}, nil
}

// number writes a device's number as the kernel does.
func number(dev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)) }

func isPartition(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "partition"))
	return err == nil
}

// devicePath returns the node of a device in sysfs, whose names have '!' for
// '/'.
func (s *system) devicePath(dir string) string {
	return filepath.Join(s.dev, strings.ReplaceAll(filepath.Base(dir), "!", "/"))
}

func (s *system) geometry(info *Info, dir, whole string) error {
	size, err := readNumber(filepath.Join(dir, "size"))
	if err != nil {
		return err
	}
	if size < 0 || size > (1<<62)/kernelSector {
		return fmt.Errorf("%s: size of %d sectors", info.Path, size)
	}
	info.Size = size * kernelSector
	sector, err := readNumber(filepath.Join(whole, "queue", "logical_block_size"))
	if err != nil {
		return err
	}
	physical, err := readNumber(filepath.Join(whole, "queue", "physical_block_size"))
	if err != nil {
		physical = sector
	}
	readOnly, err := readNumber(filepath.Join(dir, "ro"))
	if err != nil {
		return err
	}
	info.SectorSize, info.PhysicalSectorSize, info.ReadOnly = int(sector), int(physical), readOnly != 0
	return nil
}

// identity finds the names that tell one disk from another. Each kind of device
// keeps them elsewhere; udev knows more kinds.
func (s *system) identity(info *Info, whole string) {
	udev := s.udev(whole)
	info.Model = first(
		attribute(whole, "device/model"),
		attribute(whole, "device/name"), // MMC
		strings.ReplaceAll(udev["ID_MODEL"], "_", " "),
	)
	info.Serial = first(
		attribute(whole, "serial"),        // virtio
		attribute(whole, "device/serial"), // NVMe, MMC
		vpdSerial(filepath.Join(whole, "device", "vpd_pg80")),
		udev["ID_SERIAL_SHORT"], udev["DM_SERIAL"],
	)
	info.WWN = first(
		attribute(whole, "wwid"),        // NVMe
		attribute(whole, "device/wwid"), // SCSI
		udev["ID_WWN_WITH_EXTENSION"], udev["ID_WWN"], udev["DM_WWN"],
	)
}

func first(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			return c
		}
	}
	return ""
}

// attribute reads a file of a device in sysfs; "" if it has none. Firmware pads
// with spaces and zeros.
func attribute(dir, name string) string {
	b, err := readBounded(filepath.Join(dir, filepath.FromSlash(name)), maxAttribute)
	if err != nil {
		return ""
	}
	return clean(b)
}

// vpdSerial reads the page "unit serial number" (SPC-4 §7.8.10): a header of
// four bytes, of which the last two are the length.
func vpdSerial(path string) string {
	b, err := readBounded(path, maxAttribute)
	if err != nil || len(b) < 4 || b[1] != 0x80 {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	return clean(b[4:min(4+n, len(b))])
}

// udev returns what udev found out about a device, by its number.
func (s *system) udev(dir string) map[string]string {
	properties := map[string]string{}
	b, err := readBounded(filepath.Join(s.run, "udev", "data", "b"+attribute(dir, "dev")), maxMounts)
	if err != nil {
		return properties
	}
	for line := range strings.Lines(string(b)) {
		// "E:NAME=value"
		if key, value, ok := strings.Cut(strings.TrimPrefix(line, "E:"), "="); ok && strings.HasPrefix(line, "E:") {
			properties[key] = clean([]byte(value))
		}
	}
	return properties
}

// users finds what uses the device or a partition of it.
func (s *system) users(info *Info, dir string) error {
	devices := map[string]bool{attribute(dir, "dev"): true}
	if err := s.addHolders(info, dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		part := filepath.Join(dir, e.Name())
		if !e.IsDir() || !isPartition(part) {
			continue
		}
		devices[attribute(part, "dev")] = true
		if err := s.addHolders(info, part); err != nil {
			return err
		}
	}
	return s.addMounts(info, devices)
}

func (s *system) addHolders(info *Info, dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, "holders"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if mapped := attribute(filepath.Join(dir, "holders", name), "dm/name"); mapped != "" {
			name += " (" + mapped + ")"
		}
		info.Holders = appendNew(info.Holders, name)
	}
	return nil
}

// addMounts looks for the devices in the tables of mounts and of swap. What is
// mounted in another container is not seen here, but Open is refused.
func (s *system) addMounts(info *Info, devices map[string]bool) error {
	mounts, err := readBounded(filepath.Join(s.proc, "self", "mountinfo"), maxMounts)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		// proc_pid_mountinfo(5): id, parent, number, root, mount point, options,
		// optional fields, "-", type, source. Btrfs and overlays have numbers of
		// their own, so the source counts too.
		before, after, _ := strings.Cut(line, " - ")
		fields, source := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 {
			continue
		}
		if devices[fields[2]] || len(source) > 1 && devices[s.numberOf(unescape(source[1]))] {
			info.Mounts = appendNew(info.Mounts, unescape(fields[4]))
		}
	}
	swaps, err := readBounded(filepath.Join(s.proc, "swaps"), maxMounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without swap
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(swaps)) {
		if fields := strings.Fields(line); len(fields) > 0 && devices[s.numberOf(unescape(fields[0]))] {
			info.Mounts = appendNew(info.Mounts, "swap")
		}
	}
	return nil
}

// numberOf returns the number of a block device under /dev, "" of anything
// else.
func (s *system) numberOf(path string) string {
	if !strings.HasPrefix(path, s.dev+"/") {
		return ""
	}
	dev, err := s.node(path)
	if err != nil {
		return ""
	}
	return number(dev)
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// unescape undoes what the kernel does to white space and backslashes in its
// tables: three octal digits after a backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func readNumber(path string) (int64, error) {
	b, err := readBounded(path, maxAttribute)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return b, errors.Join(err, f.Close())
}
