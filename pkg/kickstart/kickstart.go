// Package kickstart renders and checks ESXi installation scripts.
//
// An ESXi kickstart is a command part followed by sections, each of which
// holds a script. It is not Anaconda's language, although it looks like it:
//
//   - There is no %end. A section ends only at a line that begins, in column 0,
//     with %post, %pre, %packages, %vmlicense_text, %firstboot, %include or
//     include. That is a prefix test: a script line such as "includes=1" cuts
//     the script as well.
//   - Each line is split as a shell would split it, one line at a time: no
//     continuation lines, no variables, and "#" starts a comment even in the
//     middle of a word.
//   - The installer runs every %pre first, then reads the %include files, then
//     looks at install, upgrade or installorupgrade, then at the rest. So an
//     included file may be one that a %pre script writes.
//
// [Render] joins a kickstart with script snippets, [Lint] tells what the
// installer would refuse, ignore or misunderstand, and [Secrets] tells what
// must not be published.
package kickstart

import (
	"errors"
	"fmt"
)

// Limits. The installer has only one of its own, MaxCommands; the others keep
// bad input from costing memory or time.
const (
	// MaxSize is the largest kickstart in bytes, 1 MiB: the largest known are
	// some 100 KiB, and the installer reads the file several times over.
	MaxSize = 1 << 20
	// MaxSnippetSize is the largest snippet in bytes.
	MaxSnippetSize = 256 << 10
	// MaxSnippets is how many snippets one kickstart takes: every section
	// counts against the installer's limit of commands.
	MaxSnippets = MaxCommands
	// MaxCommands is the installer's own limit of commands, sections and
	// includes counted, over the kickstart and all files that it includes.
	MaxCommands = 256
	// MaxLine is the longest command line in bytes that is looked at.
	MaxLine = 16 << 10
	// MaxFindings is where Lint and Secrets stop.
	MaxFindings = 500
	// maxWords is how many words a command line may have.
	maxWords = 1024
)

// ErrTooLarge tells that a kickstart is larger than [MaxSize], a snippet
// larger than [MaxSnippetSize], or that there are more than [MaxSnippets].
var ErrTooLarge = errors.New("kickstart: too large")

// Section is the part of a kickstart that a snippet goes into.
type Section string

// The sections that hold scripts.
const (
	Pre       Section = "pre"       // in the installer, before the kickstart is evaluated
	Post      Section = "post"      // in the installer, after the installation
	Firstboot Section = "firstboot" // on the host, unless UEFI Secure Boot is on
)

// sections in the order in which they are rendered.
func sections() []Section { return []Section{Pre, Post, Firstboot} }

// The interpreters that the installer knows.
const (
	Busybox = "busybox"
	Python  = "python"
)

// Severity tells how bad a finding is.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the installation stops, or does what nobody meant
	Warning Severity = "warning" // something is ignored, guessed or unsafe
	Note    Severity = "note"    // good to know
)

// Finding is something in a kickstart that somebody should know. No text of a
// finding holds a password.
type Finding struct {
	// Line counts from 1; 0 stands for the kickstart as a whole.
	Line     int      `json:"line"`
	Severity Severity `json:"severity"`
	// Rule is a stable id such as "install-missing".
	Rule    string `json:"rule"`
	Message string `json:"message"`
	// Reason is what the installer does, Cure what to write instead.
	Reason string `json:"reason"`
	Cure   string `json:"cure,omitempty"`
}

// String gives a finding as one line, as compilers do.
func (f Finding) String() string {
	s := fmt.Sprintf("line %d: %s: %s [%s]: %s", f.Line, f.Severity, f.Message, f.Rule, f.Reason)
	if f.Cure != "" {
		s += ". " + f.Cure
	}
	return s
}

// Worst is the highest severity among findings, and whether there is any.
func Worst(findings []Finding) (Severity, bool) {
	worst, rank := Severity(""), 0
	for _, f := range findings {
		if r := f.Severity.rank(); r > rank {
			worst, rank = f.Severity, r
		}
	}
	return worst, rank > 0
}

func (s Severity) rank() int {
	switch s {
	case Error:
		return 3
	case Warning:
		return 2
	case Note:
		return 1
	}
	return 0
}

// Default is the command part that is used where the user has no kickstart.
// What differs from host to host, our %pre scripts write: the disk is the one
// that carries the image unless the metadata chooses another, the network is
// the metadata's management network or DHCP, and the root password is never in
// the image.
func Default() string {
	return `# The default kickstart of esxi-img.
vmaccepteula
%include /tmp/install
%include /tmp/network
%include /tmp/rootpw
reboot
`
}
