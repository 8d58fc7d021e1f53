package fat32

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// codePage437 is what bytes 128 to 255 of short names and labels mean. The
// volume does not say which code page it is; this is the most common.
const codePage437 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐" +
	"└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"

// dirReader interprets a directory, entry by entry.
type dirReader struct {
	w     *walker
	dir   *item
	index int  // of the next entry
	done  bool // no entries follow
	long  longName
}

// longName is a long name of which some entries were read.
type longName struct {
	chars    [maxLongEntries * charsPerEntry]uint16
	length   int // characters, with what fills them up
	left     int // entries to come
	checksum byte
}

// entry reads the next 32 bytes.
func (d *dirReader) entry(e []byte) error {
	index := d.index
	d.index++
	switch attr := e[dirAttr]; {
	case e[dirName] == nameEnd:
		d.done = true
		return nil
	case e[dirName] == nameDeleted:
		d.long = longName{}
		return nil
	case attr&attrLongMask == attrLongName:
		d.long.add(e)
		return nil
	case attr&attrVolumeID != 0:
		d.long = longName{}
		if d.dir.parent == nil {
			d.w.fsys.label = decodeLabel(e[:len(shortName{})])
		}
		return nil
	case e[dirName] == '.':
		d.long = longName{}
		return d.dot(e, index)
	}
	return d.item(e)
}

// add takes one more entry of a long name. Whatever does not go on where the
// last entry ended is an orphan, which the specification says to ignore.
func (l *longName) add(e []byte) {
	ord := int(e[ldirOrd] &^ lastLongEntry)
	switch {
	case ord < 1 || ord > maxLongEntries || e[ldirType] != 0:
		*l = longName{}
		return
	case e[ldirOrd]&lastLongEntry != 0:
		*l = longName{length: ord * charsPerEntry, checksum: e[ldirChksum]}
	case l.length == 0 || ord != l.left || l.checksum != e[ldirChksum]:
		*l = longName{}
		return
	}
	for i, offset := range longOffsets() {
		l.chars[(ord-1)*charsPerEntry+i] = le16(e, offset)
	}
	l.left = ord - 1
}

// name returns the long name of the entry that follows it, "" if there is none
// that belongs to it.
func (l *longName) name(short shortName) string {
	if l.length == 0 || l.left != 0 || l.checksum != short.checksum() {
		return ""
	}
	chars := l.chars[:l.length]
	for i, c := range chars {
		if c == 0 {
			chars = chars[:i]
			break
		}
	}
	if len(chars) > MaxNameLength {
		return ""
	}
	name := string(utf16.Decode(chars))
	marks := 0
	for _, c := range chars {
		if c == utf8.RuneError {
			marks++
		}
	}
	if strings.Count(name, string(utf8.RuneError)) != marks {
		return "" // half of a surrogate pair can't be written in UTF-8
	}
	return name
}

// dot checks "." and "..", the first two entries of every directory but the
// root. They are not used, so that a directory without them is no fault.
func (d *dirReader) dot(e []byte, index int) error {
	var want uint32
	switch name := shortName(e[:len(shortName{})]); {
	case d.dir.parent == nil || index > 1 || e[dirAttr]&attrDirectory == 0:
		return corrupt(d.dir.path, "entry %d is named %q", index, name.String())
	case name == dotName():
		want = d.dir.first()
	case name == dotDotName():
		want = d.dir.parent.first()
	default:
		return corrupt(d.dir.path, "entry %d is named %q", index, name.String())
	}
	got := entryCluster(e)
	toRoot := index == 1 && d.dir.parent.parent == nil && got == 0
	if got != want && !toRoot {
		return corrupt(d.dir.path, "entry %d leads to cluster %d, it should be %d", index, got, want)
	}
	return nil
}

// item reads the entry of a file or a directory.
func (d *dirReader) item(e []byte) error {
	alias := shortName(e[:len(shortName{})])
	name := d.long.name(alias)
	d.long = longName{}
	if alias[0] == nameKanji {
		alias[0] = nameDeleted
	}
	short, ok := decodeShort(alias, e[dirNTRes])
	if !ok {
		return corrupt(d.dir.path, "entry %d is named %q", d.index-1, alias[:])
	}
	if name == "" {
		name = short
	}
	if name == "." || name == ".." || strings.ContainsAny(name, `/\`) || hasControl(name) {
		return corrupt(d.dir.path, "entry %d is named %q", d.index-1, name)
	}
	it := &item{
		name:     name,
		alias:    alias,
		attr:     e[dirAttr],
		isDir:    e[dirAttr]&attrDirectory != 0,
		created:  stamp{le16(e, dirCrtDate), le16(e, dirCrtTime), e[dirCrtTimeTenth]}.parse(),
		modified: stamp{date: le16(e, dirWrtDate), time: le16(e, dirWrtTime)}.parse(),
	}
	if !it.isDir {
		it.size = int64(le32(e, dirFileSize))
	}
	return d.w.add(d.dir, it, entryCluster(e))
}

func entryCluster(e []byte) uint32 {
	return uint32(le16(e, dirFstClusHI))<<16 | uint32(le16(e, dirFstClusLO))
}

// decodeShort returns a short name as it is shown: in the case that Windows NT
// notes in DIR_NTRes.
func decodeShort(s shortName, ntRes byte) (string, bool) {
	for i, c := range s {
		if c < ' ' || strings.IndexByte(badLong+badShort, c) >= 0 || c == ' ' && i == 0 {
			return "", false
		}
	}
	base := decodeOEM(s[:baseLength], ntRes&ntLowerBase != 0)
	ext := decodeOEM(s[baseLength:], ntRes&ntLowerExt != 0)
	if ext == "" {
		return base, true
	}
	return base + "." + ext, true
}

// decodeOEM drops the padding and turns code page 437 into UTF-8.
func decodeOEM(raw []byte, lower bool) string {
	var b strings.Builder
	for _, c := range bytes.TrimRight(raw, " ") {
		switch {
		case c >= utf8.RuneSelf:
			b.WriteRune([]rune(codePage437)[c-utf8.RuneSelf])
		case lower && 'A' <= c && c <= 'Z':
			b.WriteByte(c + ('a' - 'A'))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decodeLabel returns a label, without what no terminal should be shown.
func decodeLabel(raw []byte) string {
	raw = bytes.Clone(raw)
	if raw[0] == nameKanji {
		raw[0] = nameDeleted
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return -1
		}
		return r
	}, decodeOEM(raw, false))
}

func hasControl(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7F })
}
