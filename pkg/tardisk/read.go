package tardisk

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// blockSize is tar's unit, in bytes.
const blockSize = 512

// magicOffset is where a tar header has its magic.
const magicOffset = 257

// Read returns the files of a module, in the order in which they lie in it. It
// takes more than ESXi does: any tar, plain or gzip'd, with or without entries
// for directories. Links and devices are left out, "./" at the start of a name
// too; a name that leads out of the root is an error. Content and entries are
// bounded by MaxData, MaxArchive and MaxEntries (ErrTooLarge).
func Read(r io.Reader) ([]Entry, error) {
	archive, err := unpack(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	if isVMTar(archive) {
		return nil, &Error{Reason: ErrVMTar.Error(), Cure: "unpack it with vmtar -x on an ESXi host", Err: ErrVMTar}
	}
	tr := tar.NewReader(archive)
	var entries []Entry
	var total int64
	for number := 1; ; number++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// To the end, so that gzip's checksum is verified.
			_, err := io.Copy(io.Discard, archive)
			return entries, err
		}
		if errors.Is(err, tar.ErrHeader) {
			return nil, &Error{Number: number, Reason: "it is no tar header", Err: ErrFormat}
		}
		if err != nil {
			return nil, fmt.Errorf("tardisk: entry %d: %w", number, err)
		}
		fail := func(reason string, kind error) ([]Entry, error) {
			return nil, &Error{Entry: h.Name, Number: number, Reason: reason, Err: kind}
		}
		if number > MaxEntries {
			return fail(fmt.Sprintf("more than %d entries", MaxEntries), ErrTooLarge)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse {
			continue
		}
		name, ok := inside(h.Name)
		if !ok {
			return fail("its name leads out of the module", ErrFormat)
		}
		if total += h.Size; h.Size > MaxData || total > MaxData {
			return fail(fmt.Sprintf("the files have more than %d bytes", MaxData), ErrTooLarge)
		}
		// Not sized by the header: a sparse file may claim much and hold little.
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("tardisk: entry %d, %q: %w", number, h.Name, err)
		}
		entries = append(entries, Entry{Path: name, Data: data})
	}
}

// inside cleans a name; false if it does not name a file below the root.
func inside(name string) (string, bool) {
	name = path.Clean(name)
	bad := name == "." || name == ".." || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\\x00")
	return name, !bad
}

// unpack returns the tar inside br, which may be gzip'd.
func unpack(br *bufio.Reader) (*bufio.Reader, error) {
	if head, err := br.Peek(2); err != nil || !bytes.Equal(head, gzipHeader[:2]) {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("tardisk: %w", err)
		}
		return bufio.NewReader(&limited{r: br, left: MaxArchive}), nil
	}
	zr, err := gzip.NewReader(br)
	if err != nil {
		return nil, damage(err)
	}
	return bufio.NewReader(&limited{r: zr, left: MaxArchive}), nil
}

// isVMTar tells VMware's own archive by its magic, "visor ", which stands where
// tar has "ustar".
func isVMTar(archive *bufio.Reader) bool {
	head, err := archive.Peek(blockSize)
	return err == nil && string(head[magicOffset:magicOffset+6]) == "visor "
}

// limited is an io.LimitedReader that says so when the limit is passed.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, &Error{Reason: fmt.Sprintf("it unpacks to more than %d bytes", MaxArchive), Err: ErrTooLarge}
	}
	// One byte more than allowed, to see whether there is one.
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, nil
	}
	return n, damage(err)
}

// damage makes an *Error of what gzip says of bad data, and leaves the errors
// of the file below alone.
func damage(err error) error {
	var corrupt flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) {
		return &Error{Reason: fmt.Sprintf("its gzip data is damaged or cut off (%v)", err), Cure: "copy or make it again", Err: ErrFormat}
	}
	return err
}
