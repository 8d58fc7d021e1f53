package bootcfg

import (
	"fmt"
	"strconv"
	"strings"
)

// The loader's limits.
const (
	// MaxModules is the number of modules that is known to boot: 260 were seen
	// to fail.
	MaxModules = 200
	// MaxKernelText is the most characters that the kernel's path, a blank and
	// its options may have (esxbootinfo.h, ESXBOOTINFO_MAXCMDLINE - 1).
	MaxKernelText = 4095
	// MaxModuleText is the same for a module and its arguments (esxbootinfo.h,
	// ESXBOOTINFO_MAXMODNAME - 1).
	MaxModuleText = 255
	// MaxTimeout is the longest time-out that the loader counts down right, in
	// seconds.
	MaxTimeout = 127
)

// Severity says what a finding does to the boot.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"   // the boot stops
	SeverityWarning Severity = "warning" // it goes on, but likely not as the file was meant
)

// Finding is something in a boot.cfg that its author will not have meant.
type Finding struct {
	Line     int // from 1; 0 if it is about the whole file
	Severity Severity
	Message  string
	Cure     string
}

func (f Finding) String() string {
	where := "boot.cfg"
	if f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	return fmt.Sprintf("%s: %s: %s (%s)", where, f.Severity, f.Message, f.Cure)
}

// maxFindings bounds what Check returns for a file that is wrong all over.
const maxFindings = 1000

const utf8BOM = "\xef\xbb\xbf"

// Check returns what stops the loader or misleads it: first in the file as a
// whole, then line by line; at most a thousand findings. Whether the files it
// names exist is the caller's to see, by Resolve.
func (c *Config) Check() []Finding {
	k := &checker{c: c, last: map[string]int{}}
	for i, l := range c.lines {
		if s, ok := l.setting(); ok {
			k.last[canonical(s.key)] = i
		}
	}
	k.timeout()
	k.kernel()
	k.modules()
	k.relativePaths()
	k.acpiTables()
	k.byteOrderMark()
	for i := range c.lines {
		k.line(i)
	}
	return k.findings
}

type checker struct {
	c        *Config
	last     map[string]int // canonical key → the line that the loader uses
	findings []Finding
}

func (k *checker) add(index int, s Severity, cure, format string, args ...any) {
	if len(k.findings) == maxFindings {
		return
	}
	k.findings = append(k.findings, Finding{Line: index + 1, Severity: s, Message: fmt.Sprintf(format, args...), Cure: cure})
}

func (k *checker) byteOrderMark() {
	if len(k.c.lines) > 0 && strings.HasPrefix(string(k.c.lines[0]), utf8BOM) {
		k.add(0, SeverityWarning, "save the file without a byte order mark", "a byte order mark hides the first line from the loader")
	}
}

// line judges what a line says by itself.
func (k *checker) line(i int) {
	l := k.c.lines[i]
	if strings.IndexByte(string(l), 0) >= 0 {
		k.add(i, SeverityWarning, "remove the NUL byte", "the loader does not see what follows a NUL byte")
	}
	s, ok := l.setting()
	if !ok {
		return
	}
	canon := canonical(s.key)
	value := fold(string(l)[s.start:s.end])
	if bare := strings.TrimSuffix(s.key, " "); bare != s.key {
		if isKnown(lower(bare)) {
			k.add(i, SeverityWarning, fmt.Sprintf("write %s=", bare), "%q is not recognised: there is a blank before the \"=\"", bare)
		}
		return
	}
	if !isKnown(canon) {
		return
	}
	if lower(s.key) != canon {
		k.add(i, SeverityWarning, "write the key in full", "the loader takes the key %q for %s", s.key, canon)
	}
	if wantsNumber(canon) && !isNumber(value) {
		k.add(i, SeverityError, "write a number", "%s=%s is not a number", canon, clip(value))
	}
	if last := k.last[canon]; last != i {
		k.add(i, SeverityWarning, "remove one of the lines", "line %d overrides this %s", last+1, canon)
	}
}

func (k *checker) timeout() {
	value := k.c.value(keyTimeout)
	if value == "" || !isNumber(value) {
		return
	}
	n, err := strconv.Atoi(value)
	if value != "-" && (err != nil || n < 0 || n > MaxTimeout) {
		k.add(k.c.find(keyTimeout), SeverityError, fmt.Sprintf("write 0 to %d", MaxTimeout), "timeout=%s is not within 0 to %d seconds", clip(value), MaxTimeout)
	}
}

func (k *checker) kernel() {
	i, path := k.c.find(keyKernel), k.c.Kernel()
	if path == "" {
		k.add(i, SeverityError, "add kernel=/b.b00, or what the release calls its kernel", "no kernel is set")
		return
	}
	if n := k.textLength(path, k.c.value(keyKernelOpt)); n > MaxKernelText {
		k.add(max(i, k.c.find(keyKernelOpt)), SeverityError, "remove kernel options", "kernel and kernelopt have %d characters, the loader takes %d", n, MaxKernelText)
	}
}

func (k *checker) modules() {
	i := k.c.find(keyModules)
	value := k.c.value(keyModules)
	modules, overrun := splitModules(value)
	if len(modules) == 0 {
		k.add(i, SeverityError, "add modules=, as the installer's own boot.cfg has it", "no modules are set")
	}
	if len(modules) > MaxModules {
		k.add(i, SeverityWarning, "pack several modules into one", "%d modules; the loader is known to take %d", len(modules), MaxModules)
	}
	if overrun {
		k.add(i, SeverityError, "remove the last separator", "two separators %q end the list: the loader reads past its end", separator)
	} else if strings.Count(value, separator) != strings.Count(" "+value+" ", " "+separator+" ") {
		k.add(i, SeverityWarning, "write a blank on both sides of each separator, and no separator in a name", "%q without blanks around it splits a name all the same", separator)
	}
	seen := map[string]bool{}
	for n, m := range modules {
		if length := k.textLength(m.Path, m.Args); length > MaxModuleText {
			k.add(i, SeverityError, "shorten its path or its arguments", "module %d, %s, has %d characters, the loader takes %d", n+1, clip(m.Path), length, MaxModuleText)
		}
		name := lower(sanitize(m.Path))
		if seen[name] {
			k.add(i, SeverityWarning, "remove one of them", "module %s is loaded twice", clip(m.Path))
		}
		seen[name] = true
	}
}

// textLength returns the length of the string that the loader hands on for a
// file: its path, which gets the prefix, a blank, and the arguments.
func (k *checker) textLength(path, args string) int {
	n := len(sanitize(k.c.join("", path)))
	if args != "" {
		n += 1 + len(args)
	}
	return n
}

func (k *checker) relativePaths() {
	if k.c.Prefix() != "" {
		return
	}
	var first string
	count := 0
	for _, path := range append([]string{k.c.Kernel()}, k.modulePaths()...) {
		if path == "" || isAbsolute(path) {
			continue
		}
		if count == 0 {
			first = path
		}
		count++
	}
	if count > 0 {
		k.add(-1, SeverityWarning, "begin each path with /", "%d paths without a leading slash, %s first, start from the directory of this boot.cfg, as no prefix is set", count, clip(first))
	}
}

func (k *checker) modulePaths() []string {
	modules := k.c.Modules()
	paths := make([]string, len(modules))
	for i, m := range modules {
		paths[i] = m.Path
	}
	return paths
}

func (k *checker) acpiTables() {
	if k.c.value(keyACPITables) != "" {
		k.add(k.c.find(keyACPITables), SeverityWarning, "remove acpitables", "the boot stops here if Secure Boot is on")
	}
}

// isNumber follows mboot: digits after an optional minus sign, or nothing.
func isNumber(s string) bool {
	return strings.Trim(strings.TrimPrefix(s, "-"), "0123456789") == ""
}

// clip shortens what goes into a message.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(s[:most] + "…")
	}
	return strconv.Quote(s)
}
