// Package customize makes another image of an image: with another kickstart,
// modules, kernel options, metadata of one host.
//
// [Open] reads a disk image of ours, [Image.Customize] plans it again from its
// own file table, and [WriteFile] writes what differs. Payload stays where it
// is, as long as the volume has room for what is new; where it has not, the
// volume grows.
package customize

import (
	"errors"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// ErrNotOurs says that a disk is not an image that esxi-img made.
var ErrNotOurs = errors.New("is not an image of ours")

// headroom is how many bytes stay free on a volume that had to grow.
const headroom = 16 << 20

// Changes say what is to be different. The zero value changes nothing.
type Changes struct {
	// Kickstart replaces the commands, and the sections that came with them.
	// Scripts that were added by --pre and the like stay. nil keeps what there is.
	Kickstart *File
	// Snippets are added. One that has the section and the name of another of
	// the user's replaces it.
	Snippets []kickstart.Snippet
	// Modules are added. One that has the name of another that was added
	// replaces it.
	Modules []imager.Module
	// KernelOpts are options of the installer's kernel: NAME or NAME=VALUE is
	// added or replaced, -NAME removed.
	KernelOpts []string
	// InstallerConsole puts the installer's console on the first serial port.
	// That of the installed host is Host's.
	InstallerConsole bool
	// Host is what the image tells its hosts: what is set replaces what the
	// image has, kernel options are added.
	Host imager.HostOptions
	// MetadataRequired is as imager.Profile's; nil keeps what there is.
	MetadataRequired *bool

	// Drive replaces all the metadata that the image carries; Files replace or
	// add files of it, by their path in Drive.
	Drive *Drive
	Files map[string]File
	// Hostname and SSHKeys go into meta_data.json.
	Hostname string
	SSHKeys  []string

	// DriveAs says how the image carries its metadata; "" as it does now, in
	// the module if it has none. DriveSize is the size of the partition, in
	// bytes; 0 for the one that there is, else disk.MaxDriveSize.
	DriveAs   Carriage
	DriveSize int64
}

// Carriage is how an image carries metadata.
type Carriage string

// The ways to carry metadata.
const (
	AsModule    Carriage = "module"    // in the module that has the kickstart
	AsPartition Carriage = "partition" // on a partition of its own, behind the volume
)

// File is an input.
type File struct {
	Name string // without its folder, for the record
	Data []byte
}

// Result is a customised image that is planned.
type Result struct {
	Plan   *plan.Plan
	Layout disk.Layout
	Record *Record
	// Files are those of the volume that are other ones now, and files in the
	// kickstart's module.
	Files    []FileChange
	Warnings []imager.Warning
	// Grown is by how many bytes the disk has to be larger.
	Grown int64

	// offsets are where files lie that have to be where the image has them.
	offsets map[string]int64
}

// Step is what this customising adds to the record.
func (r *Result) Step() Step { return r.Record.Steps[len(r.Record.Steps)-1] }

// FileChange says what becomes of a file.
type FileChange struct {
	// Path on the volume; of a file in a module with the module's before it.
	Path   string `json:"path"`
	Change string `json:"change"` // "added", "changed" or "removed"
	// Before and Size are its sizes in bytes.
	Before int64 `json:"before"`
	Size   int64 `json:"size"`
}
