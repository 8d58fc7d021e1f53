// Package imager turns an installer ISO and a profile into the plan of a disk
// image. It composes the formats and owns none.
package imager

import (
	"fmt"
	"time"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
)

const (
	// ModuleFile is the name on the volume of the module with the host scripts.
	ModuleFile = "ESXIIMG.TGZ"
	// KickstartFile is that of the module which holds just the kickstart.
	KickstartFile = "ESXIKS.TGZ"

	// KickstartPath is where the kickstart lies in its module, and so where the
	// installer finds it.
	KickstartPath = "esxiimg/KS.CFG"

	// SettingsPath is where the settings for the host scripts lie in the same
	// module.
	SettingsPath = "esxiimg/image.json"

	// MetadataFolder is where the same module carries a host's metadata: files
	// of a config drive or of NoCloud.
	MetadataFolder = "esxiimg/metadata"
	// RecordPath is where the same module tells how the image was customised.
	RecordPath = "esxiimg/custom.json"

	// MaxModule is the largest module file of a user's, in bytes.
	MaxModule = 256 << 20
)

// ModuleTime is the time stamp of everything in our modules: fixed, so that
// the same scripts give the same module whatever ISO they are put beside.
var ModuleTime = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// Profile says what goes on the disk besides the ISO's content. The zero value
// is the built-in kickstart and scripts, sectors of 512 bytes and no headroom.
type Profile struct {
	// Kickstart replaces the built-in commands, nil keeps them.
	Kickstart []byte
	// Snippets are scripts of the user's; they run after the built-in ones.
	Snippets []kickstart.Snippet
	// Modules are loaded after ours.
	Modules []Module
	// Helper replaces our module, nil keeps it. One that carries a kickstart
	// of its own (the predecessor's tarballs do) makes Kickstart and Snippets
	// errors.
	Helper []byte
	// KernelOpts are options of the installer's kernel: NAME or NAME=VALUE is
	// added or replaced, -NAME removed.
	KernelOpts []string
	// MetadataRequired stops the installation on a host without metadata,
	// before a disk is touched. Otherwise it goes on with what the image has.
	MetadataRequired bool
	// Host is what the image tells the hosts that are installed from it.
	Host HostOptions
	// Headroom is how many bytes stay free on the volume.
	Headroom int64
	// SectorSize is the target's logical sector size, 512 or 4096; 0 is 512.
	SectorSize int
	// SkipPayloadDigests leaves the payload files without expected digests.
	SkipPayloadDigests bool
	// Time stamps the files; zero is the ISO's own date.
	Time time.Time
}

func (p Profile) metadata() string {
	if p.MetadataRequired {
		return "required"
	}
	return "optional"
}

// Module is a tar module file of the user's.
type Module struct {
	Name string // file name, from which the name on the volume is made
	Data []byte
}

// InputError says that an input cannot be used, and what would help.
type InputError struct {
	Input  string // a file name, or a path on the ISO
	Err    error
	Advice string
}

func (e *InputError) Error() string {
	if e.Input == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s: %v", e.Input, e.Err)
}
func (e *InputError) Unwrap() error { return e.Err }

// Warning is something that does not stop a build but may stop a host.
type Warning struct {
	Input   string `json:"input"` // a file name, or a path on the ISO
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

// String writes the warning in one line.
func (w Warning) String() string {
	s := w.Input
	if w.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, w.Line)
	}
	s += ": " + w.Message
	if w.Advice != "" {
		s += " (" + w.Advice + ")"
	}
	return s
}
