package bootcfg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotExpressible says that a value cannot be written into a boot.cfg so that
// the loader reads it back.
var ErrNotExpressible = errors.New("cannot be written into boot.cfg")

// AddKernelOpt adds an option such as "runweasel" or "ks=file:///KS.CFG", or
// several with blanks between. An option with the same name (the part before
// "=", with its case) is replaced where it stands, and said only once;
// otherwise the new one goes to the end. Adding it again changes nothing.
func (c *Config) AddKernelOpt(opt string) error {
	if err := checkText("kernel option", opt); err != nil {
		return err
	}
	for _, o := range fields(opt) {
		c.addKernelOpt(o)
	}
	return nil
}

func (c *Config) addKernelOpt(opt string) {
	i := c.ensure(keyKernelOpt)
	name := optName(opt)
	replaced := false
	c.mapTokens(i, func(token string) (string, bool) {
		if optName(token) != name {
			return token, true
		}
		again := replaced
		replaced = true
		return opt, !again
	})
	if !replaced {
		c.appendToken(i, opt)
	}
}

// RemoveKernelOpt removes every option with that name: both "name" and
// "name=value", and says whether there was one. The others keep the white space
// between them.
func (c *Config) RemoveKernelOpt(name string) (was bool) {
	if i := c.find(keyKernelOpt); i >= 0 {
		c.mapTokens(i, func(token string) (string, bool) {
			this := optName(token) == name
			was = was || this
			return token, !this
		})
	}
	return was
}

// SetKernelOpts replaces all options.
func (c *Config) SetKernelOpts(opts []string) error {
	return c.Set(keyKernelOpt, strings.Join(opts, " "))
}

// AppendModule adds a module at the end of the list, unless a module of that
// path is there: compared without case and with "\" as "/". The path must have
// no white space and no "---". Write a leading "/": other paths start from the
// prefix, or from the directory of the boot.cfg.
func (c *Config) AppendModule(path string) error {
	if err := checkModule(path); err != nil {
		return err
	}
	have := c.Modules()
	for _, m := range have {
		if samePath(m.Path, path) {
			return nil
		}
	}
	want := append(slices.Clip(have), Module{Path: path})
	i := c.ensure(keyModules)
	s, _ := c.lines[i].setting()
	end := span{s.end, s.end}
	before := c.lines[i]
	for _, glue := range appendGlue(s) {
		c.splice(i, end, glue+path)
		if slices.Equal(c.Modules(), want) {
			return nil
		}
		c.lines[i] = before
	}
	return fmt.Errorf("bootcfg: line %d: module %q: %w", i+1, path, ErrNotExpressible)
}

// appendGlue returns what may have to stand between a list and a new module, to
// be tried in turn: a list may end in a separator of its own.
func appendGlue(s setting) []string {
	if s.start == s.end {
		return []string{""}
	}
	return []string{" ", " " + separator + " "}
}

// Set gives key a value: in the line that the loader uses for it, else in a new
// one. White space in the value is folded, as the loader does in any case; a
// line that says the same already keeps its spelling.
func (c *Config) Set(key, value string) error {
	if key == "" || strings.Trim(lower(key), "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return fmt.Errorf("bootcfg: key %q %w", key, ErrNotExpressible)
	}
	if err := checkText(key, value); err != nil {
		return err
	}
	value = fold(value)
	if have, ok := c.Get(key); ok && have == value {
		return nil
	}
	i := c.ensure(key)
	s, _ := c.lines[i].setting()
	c.splice(i, span{s.start, s.end}, value)
	return nil
}

// ensure returns the line that sets key, a new last one if there is none.
func (c *Config) ensure(key string) int {
	canon := canonical(key)
	if i := c.find(canon); i >= 0 {
		return i
	}
	eol := c.eol()
	if last := len(c.lines) - 1; last >= 0 && !strings.HasSuffix(string(c.lines[last]), "\n") {
		c.lines[last] += line(eol)
	}
	c.lines = append(c.lines, line(canon+"="+eol))
	return len(c.lines) - 1
}

// eol returns the line ending that most lines have.
func (c *Config) eol() string {
	lf, crlf := 0, 0
	for _, l := range c.lines {
		switch {
		case strings.HasSuffix(string(l), "\r\n"):
			crlf++
		case strings.HasSuffix(string(l), "\n"):
			lf++
		}
	}
	if crlf > lf {
		return "\r\n"
	}
	return "\n"
}

// span is a part of a line.
type span struct{ start, end int }

// splice puts text in the place of a part of line i.
func (c *Config) splice(i int, s span, text string) {
	l := c.lines[i]
	c.lines[i] = l[:s.start] + line(text) + l[s.end:]
}

// mapTokens rewrites the words of the value of line i. The white space before
// a word goes with it; the first word that stays takes the place of the first.
func (c *Config) mapTokens(i int, f func(token string) (text string, keep bool)) {
	l := string(c.lines[i])
	s, _ := c.lines[i].setting()
	out := append(make([]byte, 0, len(l)), l[:s.start]...)
	gap := s.start // where the white space before the next word begins
	kept := false
	for gap < s.end {
		start := gap
		for start < s.end && isSpace(l[start]) {
			start++
		}
		end := start
		for end < s.end && !isSpace(l[end]) {
			end++
		}
		if text, keep := f(l[start:end]); keep {
			if kept {
				out = append(out, l[gap:start]...)
			}
			out = append(out, text...)
			kept = true
		}
		gap = end
	}
	c.lines[i] = line(append(out, l[s.end:]...))
}

func (c *Config) appendToken(i int, text string) {
	s, _ := c.lines[i].setting()
	if s.start < s.end {
		text = " " + text
	}
	c.splice(i, span{s.end, s.end}, text)
}

func optName(opt string) string {
	name, _, _ := strings.Cut(opt, "=")
	return name
}

func samePath(a, b string) bool { return lower(sanitize(a)) == lower(sanitize(b)) }

// checkText refuses what would end the line or hide the rest of it.
func checkText(what, text string) error {
	if i := strings.IndexAny(text, "\x00\n"); i >= 0 {
		return fmt.Errorf("bootcfg: %s %q: byte %#02x %w", what, text, text[i], ErrNotExpressible)
	}
	return nil
}

func checkModule(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("bootcfg: a module without a path %w", ErrNotExpressible)
	case len(fields(path)) != 1 || fields(path)[0] != path:
		return fmt.Errorf("bootcfg: module %q: white space in a path %w", path, ErrNotExpressible)
	case strings.Contains(path, separator):
		return fmt.Errorf("bootcfg: module %q: %q in a path %w", path, separator, ErrNotExpressible)
	case len(path) > MaxModuleText:
		return fmt.Errorf("bootcfg: module %q: %d characters, at most %d: %w", path, len(path), MaxModuleText, ErrNotExpressible)
	}
	return checkText("module", path)
}
