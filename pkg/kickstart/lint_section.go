package kickstart

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func checkInterpreter(l *linter, c command, name, value string) {
	if value != Busybox && value != Python {
		l.add(c.line, Error, "interpreter", fmt.Sprintf("%s=%.40s is not known", name, value), "the installer stops here: there is no bash and no perl on ESXi", "Write --interpreter=busybox or --interpreter=python")
	}
}

func checkTimeout(l *linter, c command, name, value string) {
	if n, err := strconv.Atoi(value); err != nil || n < 0 {
		l.add(c.line, Error, "timeout", fmt.Sprintf("%s=%.40s is not a number of seconds", name, value), "the installer ignores it, and the script may run for ever", "Write --timeout=SECONDS")
	}
}

// section checks a header with its script.
func (l *linter) section(sec section) {
	h := sec.header
	if !h.has("--interpreter") {
		l.add(h.line, Warning, "interpreter-missing", fmt.Sprintf("%s has no --interpreter", h.name), "the installer takes busybox, with a warning", "Add --interpreter=busybox or --interpreter=python")
	}
	if h.name == "%firstboot" {
		l.add(h.line, Note, "firstboot-secure-boot", "%firstboot does not run where UEFI Secure Boot is on", "ESXi skips it without a word", "Do in commands or %post what must be done there too")
	}
	if word, _ := firstWord(sec.endText); sec.empty() && (sec.end == 0 || isSection(word)) {
		l.add(h.line, Note, "section-empty", fmt.Sprintf("%s has no script", h.name), "nothing is run", "Remove it")
	}
	if sec.open && sec.end != 0 {
		l.add(sec.end, Error, "section-cut", "the line ends the script inside a here-document or a string",
			"a section ends at every line that begins with %pre, %post, %packages, %vmlicense_text, %firstboot, %include or include", "Indent the line, or write it with printf")
	} else if word, _ := firstWord(sec.endText); word == "include" {
		l.add(sec.end, Warning, "section-cut", "a line that begins with \"include\" ends the script above it",
			"what follows is read as kickstart commands", "Indent the line if it is part of the script, write %include and move it to the top if not")
	}
	for i, line := range sec.body {
		l.scriptLine(sec, i, line)
	}
}

func (s section) empty() bool {
	return !slices.ContainsFunc(s.body, func(line string) bool { return strings.TrimSpace(line) != "" })
}

// scriptLine looks for kickstart in a script.
func (l *linter) scriptLine(sec section, i int, line string) {
	n := sec.first() + i
	if sec.quoted[i] {
		return
	}
	word, args := firstWord(line)
	if word == "%end" {
		l.end(n, "it is run as a command of the script, and fails; a failing %pre stops the installation")
		return
	}
	if strings.HasPrefix(line, "%") && sec.interpreter == Busybox {
		l.add(n, Error, "unknown-section", fmt.Sprintf("%.40q is not a section", word), "ESXi takes the line for a part of the script above", "")
		return
	}
	if strings.HasPrefix(line, word) && swallowed(word, args) {
		l.add(n, Error, "command-after-section", fmt.Sprintf("%q stands after a section", word),
			fmt.Sprintf("it is taken for a line of the script of line %d, and the installer never sees it", sec.header.line), "Move it above the first section")
	}
}

// swallowed tells whether a line of a script is surely meant as a kickstart
// command. reboot is not: scripts may say it.
func swallowed(word string, args []string) bool {
	option := len(args) > 0 && strings.HasPrefix(args[0], "--")
	switch word {
	case "vmaccepteula", "accepteula", "rootpw", "clearpart", "installorupgrade", "vmserialnum", "serialnum", "paranoid", "dryrun":
		return len(args) == 0 || !strings.HasPrefix(args[0], "=") && !strings.HasPrefix(args[0], "()")
	case "install", "upgrade", "network", "part", "partition":
		return option || slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--on") })
	}
	return false
}
