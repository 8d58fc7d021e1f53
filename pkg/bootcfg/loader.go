package bootcfg

import (
	"path"
	"strings"
)

// The keys this package edits or judges.
const (
	keyKernel     = "kernel"
	keyKernelOpt  = "kernelopt"
	keyModules    = "modules"
	keyTitle      = "title"
	keyPrefix     = "prefix"
	keyTimeout    = "timeout"
	keyACPITables = "acpitables"
)

// separator stands between modules, wherever it occurs in the list.
const separator = "---"

// known lists mboot's keys in the order of its own table, which decides what an
// abbreviation means, and whether the value must be a number.
var known = [...]struct {
	key    string
	number bool
}{
	{keyKernel, false},
	{keyKernelOpt, false},
	{keyModules, false},
	{keyTitle, false},
	{keyPrefix, false},
	{"nobootif", true},
	{keyTimeout, true},
	{"noquirks", true},
	{"norts", true},
	{"crypto", false},
	{"runtimewd", true},
	{"tftpblksize", true},
	{keyACPITables, false},
	{"runtimewdtimeout", true},
	{"skip", true},
	{"errtimeout", true},
}

// canonical returns the key that the loader takes key for: the first known one
// that begins with it, in any case. So "k" and even "" mean kernel. An unknown
// key stands for itself, in lower case.
func canonical(key string) string {
	key = lower(key)
	for _, k := range known {
		if strings.HasPrefix(k.key, key) {
			return k.key
		}
	}
	return key
}

func isKnown(canon string) bool {
	for _, k := range known {
		if k.key == canon {
			return true
		}
	}
	return false
}

func wantsNumber(canon string) bool {
	for _, k := range known {
		if k.key == canon {
			return k.number
		}
	}
	return false
}

// setting is what a line sets.
type setting struct {
	key        string // as the loader compares it: a blank before the "=" stays, so that nothing matches
	start, end int    // the value within the line, without the white space around it
}

// setting splits the line as the loader does; false if it sets nothing.
func (l line) setting() (setting, bool) {
	text := l.visible()
	eq := strings.IndexByte(text, '=')
	if eq < 0 || l.comment() {
		return setting{}, false
	}
	key := fold(text[:eq])
	if key != "" && isSpace(text[eq-1]) {
		key += " "
	}
	start, end := eq+1, len(text)
	for start < end && isSpace(text[start]) {
		start++
	}
	for end > start && isSpace(text[end-1]) {
		end--
	}
	if start == end { // so that a "\r" stays at the end of the line
		start, end = eq+1, eq+1
	}
	return setting{key: key, start: start, end: end}, true
}

// visible returns the part of the line that the loader sees. It handles lines
// as C strings: a NUL hides the rest.
func (l line) visible() string {
	text := strings.TrimSuffix(string(l), "\n")
	if i := strings.IndexByte(text, 0); i >= 0 {
		return text[:i]
	}
	return text
}

// comment reports whether the first character that is not blank is a "#".
func (l line) comment() bool {
	for i := range len(l) {
		if !isSpace(l[i]) {
			return l[i] == '#'
		}
	}
	return false
}

// Module is one entry of the modules line.
type Module struct {
	Path string // as written, see Config.Resolve
	Args string // the text after the path, white space folded
}

// splitModules splits the folded value of a modules line as the loader does.
// An entry with nothing in it also costs the character after its separator. Two
// separators at the very end make the loader read past its buffer: overrun is
// true then.
func splitModules(list string) (modules []Module, overrun bool) {
	for at := 0; at < len(list); {
		if isSpace(list[at]) {
			at++
			continue
		}
		n := strings.Index(list[at:], separator)
		switch {
		case n < 0:
			return append(modules, newModule(list[at:])), false
		case n > 0:
			modules = append(modules, newModule(list[at:at+n]))
			at += n + len(separator)
		case at+len(separator) == len(list):
			return modules, true
		default:
			at += len(separator) + 1
		}
	}
	return modules, false
}

// newModule splits an entry, which begins with its path, at the first blank.
func newModule(entry string) Module {
	for i := range len(entry) {
		if isSpace(entry[i]) {
			return Module{Path: entry[:i], Args: fold(entry[i:])}
		}
	}
	return Module{Path: entry}
}

// Resolve returns the file that the loader opens for a kernel's or module's
// path, as a path from the root of the volume without a leading slash. dir is
// the directory of the boot.cfg, such as "/EFI/BOOT". The volume's look-up
// ignores case. What contains "://" is a URL and returned as one.
func (c *Config) Resolve(dir, file string) string {
	opened := sanitize(c.join(dir, file))
	if strings.Contains(opened, "://") {
		return opened
	}
	return strings.TrimPrefix(path.Clean("/"+opened), "/")
}

// join puts the prefix, or else dir, before a relative path.
func (c *Config) join(dir, file string) string {
	if isAbsolute(file) {
		return file
	}
	if prefix := c.Prefix(); prefix != "" {
		dir = prefix
	}
	if dir == "" {
		return file
	}
	return dir + "/" + file
}

func isAbsolute(file string) bool {
	return strings.HasPrefix(file, "/") || strings.HasPrefix(file, `\`) || strings.Contains(file, "://")
}

// sanitize does what mboot does to every path: no white space, "/" for "\", no
// repeated slashes but those of the first "://".
func sanitize(file string) string {
	keep := strings.Index(file, "://")
	out := make([]byte, 0, len(file))
	slash := false
	for i := range len(file) {
		switch ch := file[i]; {
		case isSpace(ch):
		case ch == '/' || ch == '\\':
			if !slash || keep >= 0 && i < keep+len("://") {
				out = append(out, '/')
			}
			slash = true
		default:
			out = append(out, ch)
			slash = false
		}
	}
	return string(out)
}

// fold makes one blank of every run of white space and none at either end.
func fold(s string) string { return strings.Join(fields(s), " ") }

// fields splits at white space as C's isspace knows it in ASCII, which is less
// than Unicode's.
func fields(s string) []string {
	return strings.FieldsFunc(s, isSpace[rune])
}

func isSpace[T byte | rune](ch T) bool { return ch == ' ' || ch >= '\t' && ch <= '\r' }

// lower folds ASCII only, as strncasecmp does: Unicode's folding would take a
// Kelvin sign for a "k".
func lower(s string) string {
	b := []byte(s)
	for i, ch := range b {
		if ch >= 'A' && ch <= 'Z' {
			b[i] = ch + 'a' - 'A'
		}
	}
	return string(b)
}
