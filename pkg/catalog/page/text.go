package page

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/esxi-img/esxi-img/pkg/catalog"
)

// maxText is the longest text in one place, in characters. A path or an option
// may be that long.
const maxText = 1024

// clean makes a text from outside fit to be shown: one line, within bounds, of
// characters that neither hide nor turn others around.
func clean(s string) string {
	cut := len(s) > utf8.UTFMax*maxText
	s = strings.ToValidUTF8(s[:min(len(s), utf8.UTFMax*maxText)], "\uFFFD")
	runes := []rune(strings.Map(printable, s))
	if len(runes) > maxText {
		runes, cut = runes[:maxText], true
	}
	if cut {
		return string(runes) + "…"
	}
	return string(runes)
}

// printable replaces control characters, directions and the like.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '\uFFFD'
}

// cleanLines is clean for a text of many lines, whose length the caller bounds.
func cleanLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return printable(r)
	}, strings.ToValidUTF8(strings.ReplaceAll(s, "\r\n", "\n"), "\uFFFD"))
}

// cleanContents cleans all texts.
func cleanContents(c *catalog.Contents) {
	for i := range c.Properties {
		if p := &c.Properties[i]; !p.Secret {
			p.Value = clean(p.Value)
		}
	}
	for i := range c.VIBs {
		v := &c.VIBs[i]
		v.Name, v.Version, v.Vendor, v.Acceptance = clean(v.Name), clean(v.Version), clean(v.Vendor), clean(v.Acceptance)
	}
	for i := range c.Files {
		f := &c.Files[i]
		f.Path, f.VIB = clean(f.Path), clean(f.VIB)
	}
	// The caller's own are left alone.
	boot := make([]catalog.BootConfig, len(c.Boot))
	for i, b := range c.Boot {
		boot[i] = catalog.BootConfig{Path: clean(b.Path), Title: clean(b.Title), Kernel: clean(b.Kernel), KernelOpts: cleanAll(b.KernelOpts), Modules: cleanAll(b.Modules)}
	}
	c.Boot = boot
}

func cleanAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = clean(s)
	}
	return out
}

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote makes one word of a shell's of a text.
func quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// plainTag is a tag (OCI distribution-spec 1.1, "Pulling manifests").
var plainTag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
