package imager

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/netinit"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// carrySize is about how much one section carries, in bytes of its text: well
// below kickstart.MaxSnippetSize.
const carrySize = 192 << 10

// carryHead unpacks. Its files are written as the module's would be found, so
// that all other scripts are the same in every form of an image.
const carryHead = `# Brings the scripts of esxi-img, which a disk image has in a module: section
# %d of those that do.
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
os.umask(0o077)


def put(path, mode, data):
    path = ROOT + "/" + path
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode) as f:
            f.write(data)
    except OSError as err:
        print("esxi-img: %%s: %%s: the installation stops here; no disk was touched" %% (path, err.strerror))
        sys.exit(1)


`

// carriedKickstart renders the kickstart of a profile together with the host
// scripts and their settings, which %pre unpacks: so the installer loads no
// module that is of no VIB.
func carriedKickstart(p Profile) (text, settings []byte, warnings []Warning, err error) {
	// First alone: that is what findings are about, and what goes without saying
	// of the whole.
	if _, warnings, err = Kickstart(p); err != nil {
		return nil, nil, nil, err
	}
	s := hostSettings(identifiers{}, p)
	if settings, err = s.Encode(); err != nil {
		return nil, nil, nil, err
	}
	entries, err := hostEntries()
	if err != nil {
		return nil, nil, nil, err
	}
	builtin, err := kickstart.SnippetsFrom(netinit.Snippets())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("built-in snippets: %w", err)
	}
	carriers := carry(append([]tardisk.Entry{{Path: SettingsPath, Data: settings}}, entries...))
	text, _, err = kickstart.Render(kickstart.Options{Kickstart: p.Kickstart, Builtin: append(carriers, builtin...), User: p.Snippets})
	if err != nil {
		return nil, nil, nil, &InputError{
			Input: "kickstart", Err: fmt.Errorf("with the scripts of esxi-img in it: %w", err), Advice: "make the kickstart and its scripts smaller",
		}
	}
	return text, settings, warnings, nil
}

// carry makes sections %pre that write files on the host, before all others of
// ours. Their text is plain where the files' is: it can be read, and does not
// depend on how well a compressor compresses.
func carry(files []tardisk.Entry) []kickstart.Snippet {
	var sections []string
	var out strings.Builder
	begin := func() { fmt.Fprintf(&out, carryHead, len(sections)+1) }
	end := func() {
		sections = append(sections, out.String())
		out.Reset()
	}
	begin()
	for _, f := range files {
		mode := "wb"
		call := func() {
			fmt.Fprintf(&out, "put(%s, \"%s\",", pythonText(f.Path), mode)
			mode = "ab"
		}
		call()
		lines := strings.SplitAfter(string(f.Data), "\n")
		for _, line := range lines {
			if out.Len() > carrySize {
				out.WriteString(")\n")
				end()
				begin()
				call()
			}
			// A blank comes first: a line that began with include would end the
			// section.
			out.WriteString("\n    b" + pythonText(line))
		}
		out.WriteString(")\n")
	}
	end()
	snippets := make([]kickstart.Snippet, len(sections))
	for i, body := range sections {
		snippets[i] = kickstart.Snippet{Section: kickstart.Pre, Name: fmt.Sprintf("00-carry-%02d.py", i+1), Interpreter: kickstart.Python, Body: body}
	}
	return snippets
}

// carriedFile is a file that a kickstart carries, nil if it does not or if the
// file goes on in another section: settings come first, and so never do.
func carriedFile(ks []byte, path string) []byte {
	_, rest, found := strings.Cut(string(ks), "\nput("+pythonText(path)+", \"wb\",\n")
	if !found {
		return nil
	}
	var out []byte
	for line := range strings.Lines(rest) {
		line, last := strings.CutSuffix(strings.TrimSpace(line), ")")
		// What pythonText writes Go reads in the same way.
		text, err := strconv.Unquote(strings.TrimPrefix(line, "b"))
		if err != nil || len(out) > maxSettings {
			return nil
		}
		if out = append(out, text...); last {
			return out
		}
	}
	return nil
}

// pythonText writes bytes as a literal of Python's in ASCII, the same for texts
// and for bytes.
func pythonText(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case c == '\n':
			out.WriteString(`\n`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&out, `\x%02x`, c)
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}
