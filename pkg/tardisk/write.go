package tardisk

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"
	"time"
)

// Modes of what lies in a module.
const (
	fileMode = 0o644
	dirMode  = 0o755
)

// Write writes a module that holds the entries. Parent directories get entries
// of their own, all is sorted, dated mtime (whole seconds), and owned by 0:0.
// The same entries and time give the same bytes, in whatever order they come.
//
// The gzip member holds its data stored, not deflated: deflated bytes depend on
// the version of the compressor, and the digest of a disk image must not change
// with the Go release that built it. A module has some ten KiB, and the tar
// inside must stand in memory on the host in full in any case.
func Write(w io.Writer, entries []Entry, mtime time.Time) error {
	names, files, err := layout(entries)
	if err != nil {
		return err
	}
	if err := checkTime(mtime); err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := writeTar(&archive, names, files, time.Unix(mtime.Unix(), 0)); err != nil {
		return err
	}
	_, err = w.Write(store(archive.Bytes()))
	return err
}

func writeTar(w io.Writer, names []string, files map[string][]byte, mtime time.Time) error {
	tw := tar.NewWriter(w)
	for _, name := range names {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: fileMode, Size: int64(len(files[name])), ModTime: mtime, Format: tar.FormatGNU}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, dirMode
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(files[name]); err != nil {
			return err
		}
	}
	return tw.Close()
}

// gzipHeader is RFC 1952 §2.3: magic, deflate, no flags (so no name), no time,
// no hint of the level, OS unknown.
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

// maxStored is the most data of a stored deflate block (RFC 1951 §3.2.4).
const maxStored = 65535

// store returns data as one gzip member of stored blocks.
func store(data []byte) []byte {
	blocks := max(1, (len(data)+maxStored-1)/maxStored)
	out := make([]byte, 0, len(gzipHeader)+5*blocks+len(data)+8)
	out = append(out, gzipHeader[:]...)
	for rest := data; ; {
		block := rest[:min(len(rest), maxStored)]
		rest = rest[len(block):]
		var final byte
		if len(rest) == 0 {
			final = 1
		}
		size := uint16(len(block)) //nolint:gosec // at most maxStored
		out = append(out, final)
		out = binary.LittleEndian.AppendUint16(out, size)
		out = binary.LittleEndian.AppendUint16(out, ^size)
		out = append(out, block...)
		if final == 1 {
			break
		}
	}
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(data))
	return binary.LittleEndian.AppendUint32(out, uint32(len(data))) //nolint:gosec // at most MaxData and headers
}
