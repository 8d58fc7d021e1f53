package kickstart

import (
	"regexp"
	"strings"
)

// rendered is the head of a section as Snippet.render writes it.
var rendered = regexp.MustCompile(`\n%(pre|post|firstboot) --interpreter=(busybox|python)\n# (pre|post|firstboot)/([^\n/]+)\n`)

// Parts takes a kickstart apart that Render made: the text that was given as
// Options.Kickstart, and the snippets, built-in ones among them, in the order in
// which they stand. Rendered again they are the same kickstart. One that Render
// did not make has no snippets.
func Parts(text []byte) (own []byte, snippets []Snippet) {
	s := string(text)
	var heads [][]int
	for _, m := range rendered.FindAllStringSubmatchIndex(s, -1) {
		if s[m[2]:m[3]] == s[m[6]:m[7]] && goodName(s[m[8]:m[9]]) {
			heads = append(heads, m)
		}
	}
	if len(heads) == 0 {
		return text, nil
	}
	for i, m := range heads {
		end := len(s)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		body := withoutInclude(s[m[1]:end])
		snippets = append(snippets, Snippet{
			Section: Section(s[m[2]:m[3]]), Interpreter: s[m[4]:m[5]], Name: s[m[8]:m[9]], Body: body, Writes: writes(body),
		})
	}
	return []byte(withoutInclude(s[:heads[0][0]])), snippets
}

// withoutInclude takes away the include that Render puts before the first
// section of %firstboot.
func withoutInclude(part string) string {
	return strings.TrimSuffix(part, "\n%include "+firstbootFile+"\n")
}
