package fat32

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shortName is DIR_Name: eight bytes of name, three of extension, padded with
// blanks, without the dot.
type shortName [11]byte

const (
	baseLength = 8
	// Section "FAT Directory Structure": what a short name may hold besides
	// letters and digits. Blanks and bytes above 127 are legal but never ours.
	shortSpecials = "$%'-_@~`!(){}^#&"
	// Section "Name Limits and Character Sets": what no name may hold, besides
	// control characters.
	badLong = `"*/:<>?\|`
	// What labels and short names may not hold, besides those.
	badShort = `+,.;=[]`
)

func dotName() shortName    { return shortName([]byte(".          ")) }
func dotDotName() shortName { return shortName([]byte("..         ")) }

// String returns the name with its dot.
func (s shortName) String() string {
	base := strings.TrimRight(string(s[:baseLength]), " ")
	if ext := strings.TrimRight(string(s[baseLength:]), " "); ext != "" {
		return base + "." + ext
	}
	return base
}

// checksum is what ties a long name's entries to their alias (section "FAT
// Long Directory Entries": ChkSum).
func (s shortName) checksum() byte {
	var sum byte
	for _, c := range s {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// checkName reports why a name can't be stored, "" if it can.
func checkName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case name == "." || name == "..":
		return "is no name"
	case !utf8.ValidString(name):
		return "is not UTF-8"
	}
	length := 0
	for _, r := range name {
		switch {
		case r < ' ' || r == 0x7F || strings.ContainsRune(badLong, r):
			return fmt.Sprintf("has the character %q, which FAT does not allow", r)
		case r >= 0xFFFF: // U+FFFF fills up long names
			return fmt.Sprintf("has the character %q, which is not in UCS-2", r)
		}
		length++
	}
	if length > MaxNameLength {
		return fmt.Sprintf("has %d characters, a name at most %d", length, MaxNameLength)
	}
	if last := name[len(name)-1]; last == '.' || last == ' ' {
		return "ends in a dot or a blank, which FAT drivers drop"
	}
	if isDevice(name) {
		return "is the name of a device"
	}
	return ""
}

// isDevice tells whether Windows and DOS take a name for a device: the part
// before the first dot counts, without blanks at its end.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$":
		return true
	}
	if port, ok := strings.CutPrefix(base, "COM"); ok {
		return isPort(port)
	}
	if port, ok := strings.CutPrefix(base, "LPT"); ok {
		return isPort(port)
	}
	return false
}

func isPort(s string) bool {
	switch s {
	case "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³":
		return true
	}
	return false
}

// fold returns what names are compared by: each character's smallest
// equivalent in another case. For ASCII that is the upper-case letter.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			if 'a' <= r && r <= 'z' {
				r -= 'a' - 'A'
			}
			return r
		}
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// toShort returns the short name that differs from name in case at most.
func toShort(name string) (short shortName, ok bool) {
	base, ext, dot := strings.Cut(name, ".")
	if base == "" || len(base) > baseLength || len(ext) > len(short)-baseLength || dot && ext == "" {
		return short, false
	}
	copy(short[:], "           ")
	copy(short[:], strings.ToUpper(base))
	copy(short[baseLength:], strings.ToUpper(ext))
	for _, c := range []byte(base + ext) {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if !isShortChar(c) {
			return short, false
		}
	}
	return short, true
}

func isShortChar(c byte) bool {
	return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(shortSpecials, c) >= 0
}

// aliases gives the names of one directory their short names.
type aliases struct {
	names map[string]bool  // folded: every name of the directory
	next  map[tailKey]uint // the first number that was not tried yet
}

// tailKey is what the aliases NAME~1.EXT … NAME~9.EXT share.
type tailKey struct {
	base, ext string
	digits    int
}

// alias returns a short name that is neither another's name nor its alias
// (sections "The Basis-Name Generation Algorithm" and "The Numeric-Tail
// Generation Algorithm"). A short name tells its
// key and number, so that no two that are made here are the same.
func (a *aliases) alias(name string) shortName {
	if short, ok := toShort(name); ok {
		return short // its folded form is the name's own
	}
	base, ext := basis(name)
	limit := uint(1)
	for digits := 1; ; digits++ { // ends at 6: MaxDirEntries is below 900,000
		first := limit
		limit *= 10
		key := tailKey{base[:min(len(base), baseLength-1-digits)], ext, digits}
		for n := max(first, a.next[key]); n < limit; n++ {
			short, _ := toShort(fmt.Sprintf("%s~%d%s", key.base, n, key.ext))
			if !a.names[short.String()] {
				a.next[key] = n + 1
				return short
			}
		}
		a.next[key] = limit
	}
}

// basis returns up to eight characters of a name and its extension with the
// dot, in upper case and with '_' for what a short name can't hold.
func basis(name string) (base, ext string) {
	s := strings.TrimLeft(strings.ReplaceAll(name, " ", ""), ".")
	base, _, _ = strings.Cut(s, ".")
	if dot := strings.LastIndexByte(s, '.'); dot >= 0 && dot+1 < len(s) {
		ext = "." + replaceBad(s[dot+1:], 3)
	}
	return replaceBad(base, baseLength), ext
}

func replaceBad(s string, limit int) string {
	b := make([]byte, 0, limit)
	for _, r := range s {
		if len(b) == limit {
			break
		}
		c := byte('_')
		if r < utf8.RuneSelf {
			c = u8(int(unicode.ToUpper(r)))
			if !isShortChar(c) {
				c = '_'
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// parseLabel returns the volume label as it is stored, in upper case. An empty
// one is noLabel, and no label at all.
func parseLabel(label string) (stored [11]byte, has bool, err error) {
	trimmed := strings.ToUpper(strings.TrimRight(label, " "))
	if trimmed == "" {
		return [11]byte([]byte(noLabel)), false, nil
	}
	if len(trimmed) > len(stored) {
		return stored, false, fmt.Errorf("fat32: label %q is longer than %d characters", label, len(stored))
	}
	for i := range len(trimmed) {
		c := trimmed[i]
		if c < ' ' || c >= 0x7F || strings.IndexByte(badLong+badShort, c) >= 0 || c == ' ' && i == 0 {
			return stored, false, fmt.Errorf("fat32: label %q: %q at %d is not allowed in a label", label, c, i+1)
		}
	}
	copy(stored[:], fmt.Sprintf("%-11s", trimmed))
	return stored, true, nil
}
