package iso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// Limits on System Use Sharing Protocol continuation areas (SUSP 5.1): Linux
// follows 32 for a record, and nobody needs more.
const (
	maxContinuations   = 32
	maxContinuationLen = 32 << 10 // bytes in one
)

// File types in a Rock Ridge PX entry's mode (IEEE P1282 4.1.1).
const (
	posixTypeMask = 0o170000
	posixDir      = 0o040000
	posixRegular  = 0o100000
)

// Flags of a Rock Ridge NM entry (IEEE P1282 4.1.4). "Continue" needs no
// reading: parts are joined in any case.
const (
	nameCurrent = 1 << 1
	nameParent  = 1 << 2
)

// Flags of a Rock Ridge TF entry (IEEE P1282 4.1.6).
const (
	timeCreation = 1 << 0
	timeModify   = 1 << 1
	timeLong     = 1 << 7
)

// detectRockRidge looks into the root's own record for the entries SP, and ER
// (or PX, where a writer left out ER). It sets how many bytes to skip in every
// other system use area.
func (w *walker) detectRockRidge(root record) (bool, error) {
	const path = "."
	if !w.im.inside(root.block, int64(root.size)) {
		return false, &OutsideError{Path: path, Block: root.block, Length: int64(root.size), Size: w.im.size}
	}
	b := w.chunk[:min(BlockSize, int64(root.size))]
	if len(b) == 0 {
		return false, formatErrorf(path, "root directory has no bytes")
	}
	if err := w.im.readAt(b, root.block*BlockSize); err != nil {
		return false, fmt.Errorf("iso: %s: %w", path, err)
	}
	if err := checkSelf(path, b); err != nil {
		return false, err
	}
	self, err := parseRecord(b)
	if err != nil {
		return false, formatErrorf(path, "its own record: %v", err)
	}
	area, found := w.findSP(self.systemUse)
	if !found {
		return false, nil
	}
	rr := false
	err = w.eachSUSP(area, func(sig string, data []byte) error {
		rr = rr || sig == "PX" || sig == "ER" && isRockRidge(data)
		return nil
	})
	if err != nil {
		return false, recordError(path, 0, err)
	}
	return rr, nil
}

// findSP returns the system use area from its SP entry on (SUSP 5.3): at the
// start, or after the 14 bytes of CD-ROM XA.
func (w *walker) findSP(area []byte) ([]byte, bool) {
	for _, off := range []int{0, 14} {
		if len(area) < off+7 {
			break
		}
		if sp := area[off:]; string(sp[:4]) == "SP\x07\x01" && sp[4] == 0xBE && sp[5] == 0xEF {
			w.skip = int(sp[6])
			return sp, true
		}
	}
	return nil, false
}

// isRockRidge reads the identifier of an ER entry (SUSP 5.5).
func isRockRidge(data []byte) bool {
	if len(data) < 4 || len(data) < 4+int(data[0]) {
		return false
	}
	switch string(data[4 : 4+int(data[0])]) {
	case "RRIP_1991A", "IEEE_P1282", "IEEE_1282":
		return true
	}
	return false
}

// decodeRockRidge reads a record's Rock Ridge entries; a record without a name
// among them keeps its plain one.
func (w *walker) decodeRockRidge(rec record, e *entry) error {
	var name []byte
	named, irregular := false, false
	area := rec.systemUse[min(w.skip, len(rec.systemUse)):]
	err := w.eachSUSP(area, func(sig string, data []byte) error {
		switch sig {
		case "NM":
			if len(data) < 1 || data[0]&(nameCurrent|nameParent) != 0 {
				return fmt.Errorf("NM entry % x is not the name of an entry", data)
			}
			if name = append(name, data[1:]...); len(name) > MaxNameLen {
				return fmt.Errorf("name has more than %d bytes", MaxNameLen)
			}
			named = true
		case "PX":
			if len(data) < 4 {
				return errors.New("PX entry is too short")
			}
			kind := binary.LittleEndian.Uint32(data) & posixTypeMask
			irregular = irregular || kind != 0 && kind != posixDir && kind != posixRegular
		case "SL", "PN":
			irregular = true
		case "TF":
			if t, ok := modifyTime(data); ok {
				e.time = t
			}
		case "RE":
			e.relocated = true
		case "CL":
			if len(data) < 8 {
				return errors.New("CL entry is too short")
			}
			e.child = int64(binary.LittleEndian.Uint32(data))
		case "ZF", "SF":
			return fmt.Errorf("compressed or sparse (%s entry), which is not supported", sig)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if e.name = plainName(rec.id, rec.isDir()); named {
		e.name = text(name)
	}
	switch {
	case e.child >= 0:
		e.mode = fs.ModeDir | 0o555
	case irregular && !rec.isDir():
		e.mode = fs.ModeIrregular | 0o444
	}
	return nil
}

// eachSUSP calls visit for every entry of a system use area and of its
// continuation areas, with the bytes after the entry's header.
func (w *walker) eachSUSP(area []byte, visit func(sig string, data []byte) error) error {
	type place struct{ block, offset, length int64 }
	seen := map[place]bool(nil)
	for {
		var next *place
		for len(area) >= 4 && area[0] != 0 { // zeros are padding
			sig, length := string(area[:2]), int(area[2])
			if length < 4 || length > len(area) {
				return fmt.Errorf("system use entry %q has length %d, with %d bytes left", sig, length, len(area))
			}
			data := area[4:length]
			area = area[length:]
			if sig == "ST" {
				break
			}
			if sig == "CE" {
				if len(data) < 24 {
					return errors.New("CE entry is too short")
				}
				le := binary.LittleEndian
				next = &place{int64(le.Uint32(data)), int64(le.Uint32(data[8:])), int64(le.Uint32(data[16:]))}
				continue
			}
			if err := visit(sig, data); err != nil {
				return err
			}
		}
		if next == nil || next.length == 0 {
			return nil
		}
		if seen[*next] || len(seen) == maxContinuations {
			return fmt.Errorf("continuation areas loop, or are more than %d", maxContinuations)
		}
		if seen == nil {
			seen = map[place]bool{}
		}
		seen[*next] = true
		var err error
		if area, err = w.readContinuation(next.block, next.offset, next.length); err != nil {
			return err
		}
	}
}

// readContinuation reads a continuation area (SUSP 5.1).
func (w *walker) readContinuation(block, offset, length int64) ([]byte, error) {
	const path = "continuation area"
	if offset >= BlockSize || length > maxContinuationLen {
		return nil, fmt.Errorf("%s has offset %d and length %d, with limits of %d and %d", path, offset, length, BlockSize-1, maxContinuationLen)
	}
	if !w.im.inside(block, offset+length) {
		return nil, &OutsideError{Path: path, Block: block, Length: offset + length, Size: w.im.size}
	}
	if err := w.spend(path, length); err != nil {
		return nil, err
	}
	b := make([]byte, length)
	if err := w.im.readAt(b, block*BlockSize+offset); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}
