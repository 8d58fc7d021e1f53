package kickstart

import (
	"regexp"
	"slices"
	"strings"
)

// script is a kickstart taken apart as the installer does it.
type script struct {
	lines    []string // without line feeds
	commands []command
	sections []section
	// last tells that the last line has no line feed.
	last bool
}

// command is a line of the command part, or the header of a section.
type command struct {
	line int
	name string
	args []string
	cut  bool // a "#" ended a word
	glue bool // a backslash at the end of the line
	err  error
	// after is the line of the section whose end made this line a command, 0
	// for none: an include or a misread script line.
	after int
}

// section is a header and the script under it.
type section struct {
	header      command
	body        []string
	interpreter string
	// end is the line that ended it and its text, 0 at the end of the file.
	end     int
	endText string
	// open tells that the script's end lies inside a here-document or a
	// triple-quoted string: the line that ended it was a part of the script.
	open bool
	// quoted[i] tells that body line i is text in one of those.
	quoted []bool
}

// first is the line of the body's first line.
func (s section) first() int { return s.header.line + 1 }

func isSection(name string) bool {
	return name == "%pre" || name == "%post" || name == "%firstboot"
}

// parse never fails: what can't be understood is kept for Lint.
func parse(text string) *script {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	s := &script{last: text != "" && !strings.HasSuffix(text, "\n")}
	s.lines = strings.Split(text, "\n")
	if !s.last {
		s.lines = s.lines[:len(s.lines)-1]
	}
	after := 0
	for i := 0; i < len(s.lines); i++ {
		cmd, ok := s.command(i)
		cmd.after = after
		if !ok {
			continue
		}
		s.commands = append(s.commands, cmd)
		if cmd.err != nil || !isSection(cmd.name) {
			continue
		}
		sec := s.section(cmd, i+1)
		s.sections = append(s.sections, sec)
		i += len(sec.body)
		after = 0
		if sec.end != 0 {
			if word, _ := firstWord(sec.endText); !isSection(word) {
				after = cmd.line
			}
		}
	}
	return s
}

// command takes line i apart; false where nothing is on it.
func (s *script) command(i int) (command, bool) {
	cmd := command{line: i + 1}
	line := s.lines[i]
	if len(line) > MaxLine {
		cmd.err = errLongLine
		return cmd, true
	}
	if i < len(s.lines)-1 || !s.last {
		line += "\n"
	}
	w, err := split(line)
	cmd.cut, cmd.glue, cmd.err = w.cut, w.newline, err
	if len(w.list) > 0 {
		cmd.name, cmd.args = w.list[0], w.list[1:]
	}
	return cmd, err != nil || len(w.list) > 0
}

// section collects the lines from i up to one that ends a section.
func (s *script) section(header command, i int) section {
	sec := section{header: header, interpreter: Busybox}
	if v, ok := header.value("--interpreter"); ok && v == Python {
		sec.interpreter = Python
	}
	for ; i < len(s.lines); i++ {
		if _, ends := endsSection(s.lines[i]); ends {
			sec.end, sec.endText = i+1, s.lines[i]
			break
		}
		sec.body = append(sec.body, s.lines[i])
	}
	sec.quoted, sec.open = quotedLines(sec.body, sec.interpreter)
	return sec
}

// value is that of an option written --name=value.
func (c command) value(option string) (string, bool) {
	for _, arg := range c.args {
		if name, v, ok := strings.Cut(arg, "="); ok && name == option {
			return v, true
		}
	}
	return "", false
}

// has tells whether an option is given, with or without a value.
func (c command) has(option string) bool {
	return slices.ContainsFunc(c.args, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return name == option
	})
}

// include is one included file.
type include struct {
	line int
	path string // as the installer opens it
}

// includes are the files that the command part includes.
func (s *script) includes() []include {
	var out []include
	for _, cmd := range s.commands {
		if cmd.err != nil || (cmd.name != "%include" && cmd.name != "include") || len(cmd.args) == 0 {
			continue
		}
		path := cmd.args[len(cmd.args)-1]
		if path == "" {
			continue
		}
		if !isURL(path) && path[0] != '/' && path[0] != '.' {
			path = "/" + path
		}
		out = append(out, include{line: cmd.line, path: path})
	}
	return out
}

// says tells whether the command part has a command; any of those that choose
// a disk counts as install.
func (s *script) says(wanted string) bool {
	return slices.ContainsFunc(s.commands, func(c command) bool {
		name := canonical(c.name)
		return name == wanted || wanted == "install" && (name == "upgrade" || name == "installorupgrade")
	})
}

// mentions tells whether a %pre script of the kickstart's own names a path.
func (s *script) mentions(path string) bool {
	for _, sec := range s.sections {
		if sec.header.name != "%pre" {
			continue
		}
		if slices.ContainsFunc(sec.body, func(line string) bool { return strings.Contains(line, path) }) {
			return true
		}
	}
	return false
}

func isURL(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	return ok && slices.Contains([]string{"http", "https", "ftp", "nfs", "file", "usb", "cdrom"}, strings.ToLower(scheme))
}

func firstWord(line string) (string, []string) {
	if len(line) > MaxLine {
		line = line[:MaxLine]
	}
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return "", nil
	}
	return fields[0], fields[1:]
}

var hereDoc = regexp.MustCompile(`<<(-?)[ \t]*(?:'([^'\s]+)'|"([^"\s]+)"|\\?([A-Za-z0-9_.!%-]+))`)

// quotedLines tells which lines of a script are text inside a here-document
// (shell) or a triple-quoted string (Python), and whether the last one still
// is. It is a guess that serves to tell a kickstart that a script writes from
// commands after a section.
func quotedLines(body []string, interpreter string) ([]bool, bool) {
	out := make([]bool, len(body))
	mark, tabs := "", false
	for i, line := range body {
		out[i] = mark != ""
		if len(line) > MaxLine {
			continue
		}
		if interpreter == Python {
			mark = tripleQuote(line, mark)
			continue
		}
		if mark != "" {
			if tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if line == mark {
				mark = ""
			}
			continue
		}
		if m := hereDoc.FindStringSubmatch(line); m != nil && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			mark, tabs = m[2]+m[3]+m[4], m[1] != ""
		}
	}
	return out, mark != ""
}

// tripleQuote gives the triple quotation that is open after a line of Python,
// from the one that was before.
func tripleQuote(line, open string) string {
	for line != "" {
		if open != "" {
			_, rest, found := strings.Cut(line, open)
			if !found {
				return open
			}
			line, open = rest, ""
			continue
		}
		i := strings.IndexAny(line, `#'"`)
		if i < 0 || line[i] == '#' {
			return ""
		}
		line = line[i:]
		if q := line[:1]; strings.HasPrefix(line, strings.Repeat(q, 3)) {
			open, line = strings.Repeat(q, 3), line[3:]
			continue
		}
		line = afterString(line)
	}
	return open
}

// afterString skips an ordinary string of Python's that line begins with.
func afterString(line string) string {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case line[0]:
			return line[i+1:]
		}
	}
	return ""
}
