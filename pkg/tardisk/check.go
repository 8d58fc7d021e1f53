package tardisk

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// The one cure for most of what may be wrong with a tar file.
const remake = "make it with tar --format=gnu --owner=0 --group=0 -czf FILE.tgz DIRECTORY"

// magicGNU is what GNU tar writes into the magic and version fields.
const magicGNU = "ustar  \x00"

// Check says whether ESXi's boot loader and installer take a file as a module:
// nil, or an *Error with the first thing in the way and its cure. Besides what
// Write writes, it accepts symbolic links, any owner and mode, and VMware's own
// vmtar, of which only the gzip layer is checked.
func Check(r io.Reader) error {
	br := bufio.NewReader(r)
	if head, err := br.Peek(2); err != nil || !bytes.Equal(head, gzipHeader[:2]) {
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("tardisk: %w", err)
		}
		return refuse("it is not compressed with gzip", "compress it with gzip -n")
	}
	zr, err := gzip.NewReader(br)
	if err != nil {
		return damage(err)
	}
	zr.Multistream(false)
	archive := bufio.NewReader(&limited{r: zr, left: MaxArchive})
	if !isVMTar(archive) {
		if err := checkTar(archive); err != nil {
			return err
		}
	}
	// To the end of the member, so that gzip's checksum is verified.
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return err
	}
	return checkTrailing(br)
}

// checkTrailing wants the file to end with its first gzip member: the loader
// takes the last eight bytes of the file for the member's trailer.
func checkTrailing(br *bufio.Reader) error {
	head, err := br.Peek(2)
	switch {
	case len(head) == 0 && errors.Is(err, io.EOF):
		return nil
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("tardisk: after the gzip data: %w", err)
	case bytes.Equal(head, gzipHeader[:2]):
		return refuse("it has several gzip members, the loader takes one", "pack it again: gunzip < FILE | gzip -n > NEW")
	default:
		return refuse("something follows the gzip data, the loader takes nothing there", "pack it again: gunzip < FILE | gzip -n > NEW")
	}
}

// checkTar judges the entries up to the end of the archive, and wants nothing
// but zeros after it.
func checkTar(archive *bufio.Reader) error {
	c := &tarCheck{dirs: map[string]bool{"": true}}
	for c.number = 1; ; c.number++ {
		var h header
		if _, err := io.ReadFull(archive, h[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return refuse("the tar file is cut off: it does not end in two blocks of zeros", remake)
			}
			return err
		}
		if h.zero() {
			return checkEnd(archive)
		}
		size, err := c.entry(&h)
		if err != nil {
			return err
		}
		padded := (size + blockSize - 1) / blockSize * blockSize
		if n, err := io.CopyN(io.Discard, archive, padded); err != nil {
			if errors.Is(err, io.EOF) {
				return c.refuse(&h, fmt.Sprintf("it has %d bytes, the file ends after %d", size, n), remake)
			}
			return err
		}
	}
}

// checkEnd wants a second block of zeros, and nothing but padding then.
func checkEnd(archive *bufio.Reader) error {
	var block [blockSize]byte
	for n := 0; ; n++ {
		switch _, err := io.ReadFull(archive, block[:]); {
		case n > 0 && errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return refuse("the tar file is cut off: it does not end in two blocks of zeros", remake)
		case err != nil:
			return err
		case block != [blockSize]byte{}:
			return refuse("something follows the end of the tar file: what tar files joined end to end hold is not read", remake)
		}
	}
}

// tarCheck goes through the headers of a tar file.
type tarCheck struct {
	number int
	dirs   map[string]bool // that have had their entry
}

// entry judges one header and returns the size of the content that follows it.
func (c *tarCheck) entry(h *header) (int64, error) {
	if c.number > MaxEntries {
		return 0, &Error{Reason: fmt.Sprintf("more than %d entries", MaxEntries), Err: ErrTooLarge}
	}
	if !h.checksumOK() {
		if c.number == 1 {
			return 0, refuse("there is no tar file in it", remake)
		}
		return 0, c.refuse(h, "its header is damaged", remake)
	}
	if reason := formatReason(h); reason != "" {
		return 0, c.refuse(h, reason, remake)
	}
	size, ok := h.size()
	if !ok || size > MaxArchive {
		return 0, c.refuse(h, "its size is not a number that fits", remake)
	}
	if field := h.badNumber(); field != "" {
		return 0, c.refuse(h, "its "+field+" is not an octal number", remake)
	}
	if size > 0 && h.typeflag() != tar.TypeReg {
		return 0, c.refuse(h, fmt.Sprintf("it is no regular file but has %d bytes", size), remake)
	}
	return size, c.name(h)
}

// formatReason says why the kind of header is not what ESXi takes.
func formatReason(h *header) string {
	switch t := h.typeflag(); t {
	case tar.TypeXHeader, tar.TypeXGlobalHeader:
		return "it is a PAX header, which ESXi does not know"
	case tar.TypeGNULongName, tar.TypeGNULongLink:
		return fmt.Sprintf("it announces a name of more than %d bytes", MaxNameLength)
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
	default:
		return fmt.Sprintf("it is of type %q: only files, directories and symbolic links are possible", t)
	}
	switch h.magic() {
	case magicGNU:
		return ""
	case "ustar\x0000":
		return "it is a POSIX (ustar or PAX) tar header, not an old GNU one"
	default:
		return fmt.Sprintf("its magic is %q, not that of an old GNU tar", h.magic())
	}
}

// name judges the entry's name, and its place after its directory.
func (c *tarCheck) name(h *header) error {
	full := h.name()
	if h[99] != 0 {
		return c.refuse(h, fmt.Sprintf("its name has more than %d bytes", MaxNameLength), "shorten it")
	}
	name := full
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	isDir := h.typeflag() == tar.TypeDir
	if isDir && (name == "" || name == ".") {
		return nil // the root, which is there
	}
	if reason := checkPath(name); reason != "" {
		return c.refuse(h, reason, "rename it, and "+remake)
	}
	if isDir != strings.HasSuffix(name, "/") {
		return c.refuse(h, "a slash must end the names of directories, and of nothing else", remake)
	}
	name = strings.TrimSuffix(name, "/")
	if parent := path.Dir(name); parent != "." && !c.dirs[parent] {
		return c.refuse(h, fmt.Sprintf("its directory %q has no entry before it", parent+"/"), remake)
	}
	if isDir {
		c.dirs[name] = true
	}
	return nil
}

func (c *tarCheck) refuse(h *header, reason, cure string) error {
	return &Error{Entry: h.name(), Number: c.number, Reason: reason, Cure: cure, Err: ErrFormat}
}

// header is a block that begins an entry. The offsets are those of GNU tar's
// manual, "Basic Tar Format".
type header [blockSize]byte

func (h *header) zero() bool    { return *h == header{} }
func (h *header) magic() string { return string(h[magicOffset : magicOffset+8]) }
func (h *header) name() string  { return cString(h[:100]) }
func (h *header) typeflag() byte {
	if h[156] == 0 {
		return tar.TypeReg // as before POSIX
	}
	return h[156]
}

func (h *header) size() (int64, bool) { return octal(h[124:136]) }

// badNumber names a number field that is neither octal digits nor blank, such
// as GNU's base-256 form, "" if there is none.
func (h *header) badNumber() string {
	for _, f := range []struct {
		name     string
		from, to int
	}{
		{"mode", 100, 108},
		{"user id", 108, 116},
		{"group id", 116, 124},
		{"time", 136, 148},
		{"device number", 329, 337},
		{"device number", 337, 345},
		{"access time", 345, 357},
		{"change time", 357, 369},
	} {
		field := bytes.Trim(h[f.from:f.to], " \x00")
		if _, ok := octal(field); !ok && len(field) > 0 {
			return f.name
		}
	}
	return ""
}

// checksumOK adds up the header's bytes, its checksum field taken for blanks.
func (h *header) checksumOK() bool {
	want, ok := octal(h[148:156])
	var sum int64
	for i, b := range h {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int64(b)
	}
	return ok && sum == want
}

// octal reads a number field: digits with blanks before and NULs or blanks
// after. GNU's base-256 form is for sizes beyond what a module may have.
func octal(field []byte) (int64, bool) {
	digits := strings.Trim(cString(field), " ")
	if digits == "" {
		return 0, false
	}
	var n int64
	for _, d := range []byte(digits) {
		if d < '0' || d > '7' {
			return 0, false
		}
		n = n<<3 | int64(d-'0') // at most 12 digits, 36 bits
	}
	return n, true
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
