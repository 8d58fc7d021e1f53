package kickstart

import (
	"fmt"
	"slices"
	"strings"
)

// Options is what a kickstart is made of.
type Options struct {
	// Kickstart is the user's; nil stands for Default.
	Kickstart []byte
	// Builtin snippets are rendered in the order of section and name.
	Builtin []Snippet
	// User snippets follow, in the order of section, then as given. Built-in
	// ones of %firstboot that are named 90 or later come after them: they end
	// the first boot.
	User []Snippet
}

// Render joins a kickstart and snippets. The result has LF line ends, is the
// same for the same input, and its first lines are the kickstart's, so that
// line numbers of findings are those of the user's file.
//
// The findings are those of [Lint] about the whole, and about what the
// kickstart and the snippets expect of each other. What would damage a script
// is an error instead: *SnippetError, or ErrTooLarge.
func Render(opts Options) ([]byte, []Finding, error) {
	if n := len(opts.Builtin) + len(opts.User); n > MaxSnippets {
		return nil, nil, fmt.Errorf("%w: %d snippets, at most %d are taken", ErrTooLarge, n, MaxSnippets)
	}
	if len(opts.Kickstart) > MaxSize {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, len(opts.Kickstart), MaxSize)
	}
	text := Default()
	if opts.Kickstart != nil {
		text = normalize(opts.Kickstart)
	}

	own := parse(text)
	builtin, unused := usable(byName(opts.Builtin), own)
	builtin, last := ending(builtin)
	snippets := slices.Concat(builtin, bySection(opts.User), last)

	var out strings.Builder
	out.WriteString(text)
	included := !scripts(builtin)
	for _, s := range snippets {
		if err := s.check(); err != nil {
			return nil, nil, err
		}
		if s.Section == Firstboot && !included {
			out.WriteString("\n%include " + firstbootFile + "\n")
			included = true
		}
		s.render(&out)
		if out.Len() > MaxSize {
			break
		}
	}
	// An include in the very last line, after a section, is lost on the
	// installer: let another line follow.
	if len(snippets) == 0 && text != "" {
		out.WriteString("\n")
	}
	if out.Len() > MaxSize {
		return nil, nil, fmt.Errorf("%w: kickstart and snippets have more than %d bytes", ErrTooLarge, MaxSize)
	}

	findings := Lint([]byte(out.String()), LintOptions{})
	findings = append(findings, unasked(unused, own)...)
	findings = append(findings, unwritten(own, snippets)...)
	sortFindings(findings)
	return []byte(out.String()), findings, nil
}

// firstbootFile is what a %pre script of ours fills with a section %firstboot
// where one is needed that depends on the host: its SSH keys, if nobody knows
// its root password. A comment, else. It comes before all other sections of
// %firstboot but those of the user's own kickstart.
const firstbootFile = "/tmp/firstboot"

// scripts tells whether a %pre script here makes sure that firstbootFile is
// there: the installer stops at a file that is not.
func scripts(builtin []Snippet) bool {
	return slices.ContainsFunc(builtin, func(s Snippet) bool {
		return s.Section == Pre && strings.Contains(s.Body, firstbootFile)
	})
}

// render writes one section. The snippet's name comes after the header, since a
// line before it would belong to the section above.
func (s Snippet) render(out *strings.Builder) {
	fmt.Fprintf(out, "\n%%%s --interpreter=%s\n# %s/%s\n", s.Section, s.Interpreter, s.Section, s.Name)
	out.WriteString(normalize([]byte(s.Body)))
}

// ending parts those that end the first boot from the others: a reboot would
// cut the user's scripts off.
func ending(snippets []Snippet) (others, last []Snippet) {
	for _, s := range snippets {
		if s.Section == Firstboot && s.Name >= "90" {
			last = append(last, s)
		} else {
			others = append(others, s)
		}
	}
	return others, last
}

func byName(snippets []Snippet) []Snippet {
	sorted := slices.Clone(snippets)
	slices.SortStableFunc(sorted, func(a, b Snippet) int { return strings.Compare(a.Name, b.Name) })
	return bySection(sorted)
}

func bySection(snippets []Snippet) []Snippet {
	var out []Snippet
	for _, section := range sections() {
		for _, s := range snippets {
			if s.Section == section {
				out = append(out, s)
			}
		}
	}
	// What has no known section is kept, for check to name it.
	for _, s := range snippets {
		if !slices.Contains(sections(), s.Section) {
			out = append(out, s)
		}
	}
	return out
}

// usable parts built-in snippets from those that only write files which
// nothing includes. Such a one has no effect but to stop an installation that
// doesn't need it. Where a file is included that can't be seen here, which may
// include others, all are kept.
func usable(snippets []Snippet, own *script) (used, unused []Snippet) {
	included := map[string]bool{}
	for _, inc := range own.includes() {
		included[inc.path] = true
		if _, known := generated(inc.path); !known {
			return snippets, nil
		}
	}
	for _, s := range snippets {
		asked := len(s.Writes) == 0 || slices.ContainsFunc(s.Writes, func(p string) bool { return included[p] })
		if asked {
			used = append(used, s)
		} else {
			unused = append(unused, s)
		}
	}
	return used, unused
}

// unasked tells of the files that snippets would write if the kickstart
// included them. Where it says itself which disk or network to take, that is
// nobody's mistake; a password that the metadata has and nobody sets is.
func unasked(snippets []Snippet, own *script) []Finding {
	var out []Finding
	for _, s := range snippets {
		for _, path := range s.Writes {
			g, ok := generated(path)
			if !ok {
				g.lost = "what the snippet writes has no effect"
			}
			severity := Warning
			if g.command != "rootpw" && own.says(g.command) {
				severity = Note
			}
			out = append(out, Finding{
				Severity: severity, Rule: "include-missing",
				Message: fmt.Sprintf("the kickstart has no %q", "%include "+path),
				Reason:  fmt.Sprintf("%s; snippet %s/%s is left out", g.lost, s.Section, s.Name),
				Cure:    fmt.Sprintf("Add the line \"%%include %s\"%s", path, g.instead),
			})
		}
	}
	return out
}

// unwritten reports includes of our own files that no script here writes.
func unwritten(own *script, snippets []Snippet) []Finding {
	var out []Finding
	for _, inc := range own.includes() {
		if _, ok := generated(inc.path); !ok || own.mentions(inc.path) {
			continue
		}
		written := slices.ContainsFunc(snippets, func(s Snippet) bool {
			return slices.Contains(s.Writes, inc.path)
		})
		if written {
			continue
		}
		out = append(out, Finding{
			Line: inc.line, Severity: Error, Rule: "include-unwritten",
			Message: fmt.Sprintf("no %%pre script writes %s", inc.path),
			Reason:  "the installer stops where an included file is missing or the command in it",
			Cure:    "Keep the built-in snippets, add \"" + writesMark + " " + inc.path + "\" to the head of the one that writes it, or write the command itself",
		})
	}
	return out
}
