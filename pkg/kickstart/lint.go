package kickstart

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

var errLongLine = errors.New("the line is too long")

// LintOptions tells Lint what it can't see in the text.
type LintOptions struct {
	// Includes maps further files that the kickstart may include to the
	// command that they hold. /tmp/rootpw, /tmp/network and /tmp/install,
	// which our own %pre scripts write, are always known.
	Includes map[string]string
}

// included is what is known of a file that our %pre scripts write.
type included struct {
	command string
	lost    string // what doesn't work without the include
	instead string
}

// generated tells what a file holds that our own %pre scripts write.
func generated(path string) (included, bool) {
	switch path {
	case "/tmp/rootpw":
		return included{"rootpw", "the root password of the host's metadata (admin_pass) is not set", ", and remove the rootpw line"}, true
	case "/tmp/network":
		return included{"network", "the management network of the host's metadata is not set up by the installer", ", and remove the network line"}, true
	case "/tmp/install":
		return included{"install", "the disk that the host's metadata or the image chooses is not the one that is installed on", ", and remove the install line"}, true
	case firstbootFile:
		return included{"%firstboot", "the SSH keys of a host whose root password nobody knows are set up by the boot bank's modules alone", ""}, true
	}
	return included{}, false
}

// linter collects findings.
type linter struct {
	script   *script
	opts     LintOptions
	findings []Finding
	// unseen tells that a file is included that can't be looked into: what is
	// missing may be in there.
	unseen bool
}

// Lint tells what the installer would refuse, ignore, guess or misread. It
// takes any bytes. The findings are in the order of their lines.
func Lint(text []byte, opts LintOptions) []Finding {
	l := &linter{opts: opts}
	if len(text) > MaxSize {
		l.add(0, Error, "size", fmt.Sprintf("the kickstart has %d bytes", len(text)),
			fmt.Sprintf("more than %d are not looked at", MaxSize), "Fetch large data from a script instead of embedding it")
		return l.findings
	}
	l.encoding(text)
	l.script = parse(string(text))
	l.includes()
	l.commands()
	l.required()
	for i := range l.script.sections {
		l.section(l.script.sections[i])
	}
	l.lastLine()
	sortFindings(l.findings)
	return l.findings
}

func sortFindings(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int { return a.Line - b.Line })
}

// add takes a finding, up to MaxFindings.
func (l *linter) add(line int, severity Severity, rule, message, reason, cure string) {
	if len(l.findings) == MaxFindings {
		l.findings = append(l.findings, Finding{
			Line: line, Severity: Warning, Rule: "too-many", Message: "there are more findings",
			Reason: fmt.Sprintf("only the first %d are told", MaxFindings),
		})
	}
	if len(l.findings) < MaxFindings {
		l.findings = append(l.findings, Finding{line, severity, rule, message, reason, cure})
	}
}

// encoding looks at the bytes.
func (l *linter) encoding(text []byte) {
	if strings.HasPrefix(string(text), "\xef\xbb\xbf") {
		l.add(1, Error, "byte-order-mark", "the file begins with a byte order mark",
			"the installer takes it for a part of the first word, and so loses the first command", "Save it as UTF-8 without a byte order mark")
	}
	n, foreign := 0, 0
	for line := range strings.Lines(string(text)) {
		n++
		switch {
		case !utf8.ValidString(line):
			l.add(n, Error, "not-utf8", "the line is not UTF-8", "the installer stops with a traceback on reading it", "Save the file as ASCII")
			return
		case foreign == 0 && strings.ContainsFunc(line, func(r rune) bool { return r > '~' && r != '\ufeff' }):
			foreign = n
		case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' }):
			l.add(n, Error, "control-character", "the line holds a control character", "the installer takes it for a part of a word", "Remove it")
			return
		}
		if i := strings.IndexByte(strings.TrimRight(line, "\r\n"), '\r'); i >= 0 {
			l.add(n, Error, "carriage-return", "a carriage return stands inside the line",
				"the installer ends lines at line feeds: what looks like several lines is one", "Convert the file to LF or CRLF line ends")
			return
		}
	}
	if foreign > 0 {
		l.add(foreign, Warning, "not-ascii", "the line has characters that are not ASCII",
			"the installer warns of them in commands, and stops on them in paranoid mode", "Use ASCII only, in comments too")
	}
}

// includes finds out which commands the included files may hold.
func (l *linter) includes() {
	for _, inc := range l.script.includes() {
		if l.holds(inc.path) != "" {
			continue
		}
		l.unseen = true
		if l.script.mentions(inc.path) {
			continue
		}
		l.add(inc.line, Note, "include-unseen", fmt.Sprintf("%.80s is not looked into", inc.path),
			"the installer reads it after all %pre scripts, and stops if it is not there", "")
	}
}

// holds names the command that an included file holds, "" where unknown.
func (l *linter) holds(path string) string {
	if g, ok := generated(path); ok {
		return g.command
	}
	return canonical(l.opts.Includes[path])
}

// commands checks the command part line by line.
func (l *linter) commands() {
	count := 0
	seen := map[string]int{}
	unknown := map[string]bool{}
	broken := false // the line before ends in a backslash
	for _, c := range l.script.commands {
		// A password may have slipped to the next line: don't repeat it.
		hide := broken
		broken = c.glue
		if !l.readable(c) {
			continue
		}
		if l.misreadLine(c) {
			continue
		}
		name := canonical(c.name)
		s, known := lookUp(name)
		if !known && !ignored(name) {
			if !unknown[name] && !hide {
				unknown[name] = true
				l.unknown(c)
			}
			continue
		}
		if count++; count == MaxCommands+1 {
			l.add(c.line, Error, "too-many-commands", fmt.Sprintf("this is command number %d", count),
				fmt.Sprintf("the installer takes %d commands, sections and includes counted", MaxCommands), "Join sections of the same kind")
		}
		if !known {
			l.add(c.line, Warning, "deprecated-command", fmt.Sprintf("%q does nothing", c.name),
				"ESXi's installer knows the command only to warn of it", "Remove the line")
			continue
		}
		l.twice(c, name, s, seen)
		l.options(c, s)
		if s.check != nil {
			s.check(l, c)
		}
	}
}

// readable reports lines that can't be split, or are split in a way that
// nobody expects.
func (l *linter) readable(c command) bool {
	if c.err != nil {
		l.add(c.line, Error, "quotes", fmt.Sprintf("the line can't be split into words: %v", c.err),
			"the installer stops here", "Close each quotation in its own line; write a lone quotation mark as \\' or \"'\"")
		return false
	}
	if c.glue {
		l.add(c.line, Error, "continuation", "the line ends in a backslash",
			"there are no continuation lines: a line feed becomes a part of the word, and the next line a command of its own", "Write the command in one line")
	}
	if c.cut {
		severity := Warning
		if c.name == "rootpw" {
			severity = Error
		}
		l.add(c.line, severity, "comment-in-word", "a \"#\" inside a word begins a comment",
			"the rest of the word and of the line is lost", "Quote the word with ''")
	}
	return true
}

// misreadLine reports script lines that ended a section because they look like
// an include to the installer.
func (l *linter) misreadLine(c command) bool {
	text := l.script.lines[c.line-1]
	word, ends := endsSection(text)
	if !ends || c.name == word {
		return false
	}
	l.add(c.line, Error, "section-cut", fmt.Sprintf("the line begins with %q", word),
		"every line that begins so, in column 0, ends the script above it; what follows is read as kickstart commands", "Indent the line, or name the thing differently")
	return true
}

func (l *linter) unknown(c command) {
	if c.name == "%end" {
		l.end(c.line, "the installer ignores the line here, and takes it for a script line inside a section")
		return
	}
	if strings.HasPrefix(c.name, "%") {
		l.add(c.line, Error, "unknown-section", fmt.Sprintf("%.40q is not a section", c.name),
			"ESXi knows %pre, %post and %firstboot; the lines below are read as commands", "")
		return
	}
	cure := "Remove the line"
	if near := nearest(c.name); near != "" {
		cure = fmt.Sprintf("Did you mean %q?", near)
	}
	if c.after != 0 {
		l.add(c.line, Error, "section-cut", fmt.Sprintf("unknown command %.40q", c.name),
			fmt.Sprintf("the script of line %d ended at an include before this line, which is read as a command", c.after), "Indent the script line that begins with \"include\"")
		return
	}
	l.add(c.line, Error, "unknown-command", fmt.Sprintf("unknown command %.40q", c.name), "the installer ignores the line, with a warning", cure)
}

// nearest finds the command that a misspelt one may stand for.
func nearest(name string) string {
	for _, known := range []string{"vmaccepteula", "rootpw", "install", "installorupgrade", "upgrade", "network", "reboot", "keyboard", "clearpart", "paranoid", "dryrun", "serialnum", "part"} {
		if strings.EqualFold(name, known) || (len(name) > 3 && strings.HasPrefix(known, strings.ToLower(name))) ||
			strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(name), "_", ""), "-", "") == known {
			return known
		}
	}
	return ""
}

func (l *linter) end(line int, reason string) {
	l.add(line, Error, "end", "there is no %end on ESXi", reason, "Remove the line: a section ends where the next one begins")
}

// twice reports a command that may be given only once. An included file is
// read after the kickstart, so its command is the one that counts.
func (l *linter) twice(c command, name string, s spec, seen map[string]int) {
	if name == "%include" {
		name = l.holds(includePath(c))
		if name == "" {
			return
		}
		s, _ = lookUp(name)
	}
	first, again := seen[name]
	if !again {
		seen[name] = c.line
		return
	}
	if s.many || name == "install" || name == "upgrade" || name == "installorupgrade" {
		return // counted by required
	}
	switch name {
	case "network":
		l.add(c.line, Error, "network-twice", fmt.Sprintf("there is a network command in line %d already", first),
			"the last one replaces the others: only one network adapter is set up by the installer", "Keep the management network here and set up the others in %firstboot")
	case "rootpw":
		l.add(c.line, Warning, "command-twice", fmt.Sprintf("the root password is set in line %d already", first),
			"the last one counts; an included file comes after everything in the kickstart itself", "Remove one")
	case "vmaccepteula", "reboot", "paranoid", "dryrun", "partitionembed":
		l.add(c.line, Note, "command-twice", fmt.Sprintf("%q is in line %d already", name, first), "it has no further effect", "Remove one")
	default:
		l.add(c.line, Warning, "command-twice", fmt.Sprintf("%q is in line %d already", name, first), "the last one counts", "Remove one")
	}
}

func includePath(c command) string {
	s := &script{commands: []command{c}}
	for _, inc := range s.includes() {
		return inc.path
	}
	return ""
}

// options checks a command's words against what is known.
func (l *linter) options(c command, s spec) {
	var loose []string
	given := map[string]bool{}
	for _, word := range c.args {
		name, value, hasValue := strings.Cut(word, "=")
		o, known := s.options[name]
		if !known {
			loose = append(loose, word)
			continue
		}
		if given[name] {
			severity := Warning
			if o.once {
				severity = Error
			}
			l.add(c.line, severity, "option-twice", fmt.Sprintf("%s is given twice", name), "only the first counts, or the installer stops", "Remove one")
		}
		given[name] = true
		l.value(c, name, value, hasValue, o)
	}
	l.looseWords(c, s, loose)
}

func (l *linter) value(c command, name, value string, hasValue bool, o option) {
	switch {
	case o.old:
		l.add(c.line, Warning, "deprecated-option", fmt.Sprintf("%s does nothing", name), "the installer knows the option only to warn of it", "Remove it")
	case o.value == noValue && value != "":
		l.add(c.line, Error, "option-value", fmt.Sprintf("%s takes no value", name), "the installer ignores the option, with a warning", fmt.Sprintf("Write %s alone", name))
	case o.value == needsValue && value == "":
		l.add(c.line, Error, "option-value", fmt.Sprintf("%s has no value", name), "the installer ignores the option, with a warning", fmt.Sprintf("Write %s=VALUE, with the equals sign and without blanks", name))
	case o.check != nil && hasValue:
		o.check(l, c, name, value)
	}
}

// looseWords reports words that are no options, but for the one that must be.
func (l *linter) looseWords(c command, s spec, loose []string) {
	if s.argument != "" {
		if len(loose) == 0 || loose[len(loose)-1] == "" {
			l.add(c.line, Error, "argument-missing", fmt.Sprintf("%s has no %s", c.name, s.argument), "the installer stops here", fmt.Sprintf("Write the %s after the options", s.argument))
			return
		}
		loose = loose[:len(loose)-1]
	}
	for _, word := range loose {
		if c.name == "rootpw" {
			l.add(c.line, Error, "rootpw-words", "the line has more than one word that could be the password",
				"the installer takes the last word and ignores the others, with a warning that shows them", "Quote the password with ''")
			return
		}
		if slices.Contains(s.oldWords, word) {
			l.add(c.line, Warning, "deprecated-option", fmt.Sprintf("%q does nothing", word), "the installer knows the word only to warn of it", "Remove it")
			continue
		}
		name, _, _ := strings.Cut(word, "=")
		l.add(c.line, Error, "unknown-option", fmt.Sprintf("%s does not know %.40q", c.name, name),
			"the installer ignores the word, with a warning", l.spelling(s, name))
	}
}

func (l *linter) spelling(s spec, name string) string {
	for _, known := range slices.Sorted(maps.Keys(s.options)) {
		if strings.EqualFold(name, known) || strings.EqualFold("--"+strings.TrimLeft(name, "-"), known) {
			return fmt.Sprintf("Write %s; upper and lower case count", known)
		}
	}
	if !strings.HasPrefix(name, "-") {
		return "Write a value as --option=value; remove the word if it is not one"
	}
	return "Remove it"
}

// required reports commands that must be there.
func (l *linter) required() {
	lines := map[string][]int{}
	for _, c := range l.script.commands {
		if c.err != nil {
			continue
		}
		name := canonical(c.name)
		if name == "%include" {
			name = l.holds(includePath(c))
		}
		lines[name] = append(lines[name], c.line)
	}
	missing := Error
	reason := ""
	if l.unseen {
		missing, reason = Warning, ", unless an included file has it"
	}
	methods := slices.Concat(lines["install"], lines["upgrade"], lines["installorupgrade"])
	slices.Sort(methods)
	switch {
	case len(methods) == 0:
		l.add(0, missing, "install-missing", "there is no install, upgrade or installorupgrade", "the installer doesn't know what to do"+reason, "Add a line such as \"install --firstdisk=local --overwritevmfs\"")
	case len(methods) > 1:
		l.add(methods[1], Error, "install-twice", fmt.Sprintf("line %d already says how to install", methods[0]), "the installer stops: there may be only one install, upgrade or installorupgrade, included files counted", "Remove one")
	}
	if len(lines["vmaccepteula"]) == 0 {
		l.add(0, missing, "eula-missing", "there is no vmaccepteula", "the installer stops unless the license is accepted"+reason, "Read the license, then add the line \"vmaccepteula\"")
	}
	upgrade := len(methods) > 0 && len(methods) == len(lines["upgrade"])
	if len(lines["rootpw"]) == 0 && !upgrade {
		l.add(0, missing, "rootpw-missing", "there is no rootpw", "the installer stops without a root password"+reason, "Add \"%include /tmp/rootpw\", which takes it from the host's metadata, or \"rootpw --iscrypted HASH\"")
	}
	if len(lines["network"]) == 0 && !upgrade {
		l.add(0, Note, "network-missing", "there is no network command", "the installer takes DHCP on the first adapter with a link", "Add \"network --bootproto=dhcp\" to say so")
	}
	if len(lines["reboot"]) == 0 && !l.unseen {
		l.add(0, Warning, "reboot-missing", "there is no reboot", "the installer waits for somebody to press enter when it has finished", "Add the line \"reboot\"")
	}
	for _, line := range lines["dryrun"] {
		l.add(line, Warning, "dryrun", "dryrun installs nothing", "the installer only parses the kickstart", "Remove it for a real installation")
	}
	for _, line := range lines["paranoid"] {
		l.add(line, Note, "paranoid", "paranoid makes every warning of the installer an error", "such as a network link that is down", "")
	}
	for _, name := range []string{"clearpart", "part"} {
		for _, line := range lines[name] {
			if len(lines["install"]) == 0 {
				l.add(line, missing, "requires-install", fmt.Sprintf("%s needs an install command", name), "the installer stops: upgrade and installorupgrade don't do"+reason, "Use install, or remove the line")
			}
		}
	}
}

// lastLine reports an include or a section in the very last line.
func (l *linter) lastLine() {
	if len(l.script.sections) == 0 {
		return
	}
	last := l.script.sections[len(l.script.sections)-1]
	for _, sec := range l.script.sections {
		if sec.end == len(l.script.lines) && sec.end != 0 {
			last = sec
		}
	}
	if last.end == 0 || last.end != len(l.script.lines) {
		return
	}
	l.add(last.end, Error, "last-line-lost", "the last line is lost",
		"the installer skips a line that ends a section if it is the last of the file", "Add an empty line at the end, or move the line to the top")
}
