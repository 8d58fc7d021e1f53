package iso

import (
	"encoding/binary"
	"fmt"
	"time"
)

// File flags (ECMA-119 9.1.6).
const (
	flagDirectory   = 1 << 1
	flagAssociated  = 1 << 2
	flagMultiExtent = 1 << 7
)

// The fixed part of a directory record, and the shortest one: a name of one
// byte follows (ECMA-119 9.1).
const (
	recordHeader = 33
	minRecord    = recordHeader + 1
)

// record is a directory record.
type record struct {
	block int64 // of the first data block, after any extended attribute record
	size  uint32
	time  time.Time
	flags byte
	odd   string // how both-endian halves differ, or ""
	// id and systemUse alias what was parsed.
	id, systemUse []byte
}

func (r *record) isDir() bool { return r.flags&flagDirectory != 0 }

// isSelf and isParent tell the first two records of a directory (ECMA-119
// 6.8.2.2).
func (r *record) isSelf() bool   { return len(r.id) == 1 && r.id[0] == 0 }
func (r *record) isParent() bool { return len(r.id) == 1 && r.id[0] == 1 }

// parseRecord parses the record that b begins with; b ends with its block.
func parseRecord(b []byte) (record, error) {
	length := int(b[0])
	if length < minRecord || length > len(b) {
		return record{}, fmt.Errorf("record length is %d, with %d bytes left in the block", length, len(b))
	}
	nameEnd := recordHeader + int(b[32])
	if b[32] == 0 || nameEnd > length {
		return record{}, fmt.Errorf("name length is %d in a record of %d bytes", b[32], length)
	}
	if b[26] != 0 || b[27] != 0 {
		return record{}, fmt.Errorf("interleaved (unit size %d, gap size %d), which is not supported", b[26], b[27])
	}
	suStart := nameEnd + nameEnd%2 // a padding byte makes the offset even
	r := record{
		block: int64(binary.LittleEndian.Uint32(b[2:])) + int64(b[1]),
		size:  binary.LittleEndian.Uint32(b[10:]),
		time:  shortTime(b[18:25]),
		flags: b[25],
		id:    b[recordHeader:nameEnd],
	}
	if suStart < length {
		r.systemUse = b[suStart:length]
	}
	r.odd = disagreement("extent", b[2:10]) + disagreement("size", b[10:18])
	return r, nil
}

// disagreement compares the halves of a both-endian number. The little-endian
// one is what every reader uses; a writer that leaves the other one zero harms
// nobody, and a different one hints at damage.
func disagreement(field string, b []byte) string {
	le, be := binary.LittleEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if le == be {
		return ""
	}
	return fmt.Sprintf("%s is %d in little-endian order and %d in big-endian order; ", field, le, be)
}

// shortTime reads the 7 bytes of ECMA-119 9.1.5. What is not a time is zero.
func shortTime(b []byte) time.Time {
	return isoTime(1900+int(b[0]), int(b[1]), int(b[2]), int(b[3]), int(b[4]), int(b[5]), 0, b[6])
}

// longTime reads the 17 bytes of ECMA-119 8.4.26.1. What is not a time is
// zero, as are 16 zero digits.
func longTime(b []byte) time.Time {
	number := func(from, to int) int {
		n := 0
		for _, c := range b[from:to] {
			if c < '0' || c > '9' {
				return -1
			}
			n = n*10 + int(c-'0')
		}
		return n
	}
	return isoTime(number(0, 4), number(4, 6), number(6, 8), number(8, 10), number(10, 12), number(12, 14), number(14, 16), b[16])
}

// modifyTime reads the modification time out of a Rock Ridge TF entry (IEEE
// P1282 4.1.6): times stand in the order of their flags.
func modifyTime(data []byte) (time.Time, bool) {
	if len(data) < 1 || data[0]&timeModify == 0 {
		return time.Time{}, false
	}
	size, parse := 7, shortTime
	if data[0]&timeLong != 0 {
		size, parse = 17, longTime
	}
	at := 1
	if data[0]&timeCreation != 0 {
		at += size
	}
	if len(data) < at+size {
		return time.Time{}, false
	}
	return parse(data[at : at+size]), true
}

// isoTime checks the parts; zone counts quarters of an hour east of UTC.
func isoTime(year, month, day, hour, minute, second, centis int, zone byte) time.Time {
	if year < 1 || month < 1 || month > 12 || day < 1 || day > 31 ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || centis < 0 {
		return time.Time{}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, centis*int(10*time.Millisecond), time.UTC)
	// From -12 to +13 hours; some writers leave rubbish, which is read as UTC.
	if quarters := int8(zone); quarters >= -48 && quarters <= 52 { //nolint:gosec // the byte is signed
		t = t.Add(-time.Duration(quarters) * 15 * time.Minute)
	}
	return t
}
