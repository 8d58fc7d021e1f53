package imager

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/kickstart"
)

const (
	// maxSettings bounds SettingsPath, in bytes, as the host scripts do.
	maxSettings = 1 << 20
	// maxHostKernelOpts and maxHostKernelOpt bound the kernel options of the
	// installed host and their characters, as the host scripts do.
	maxHostKernelOpts = 64
	maxHostKernelOpt  = 255
)

// HostOptions are what an image tells all hosts that are installed from it.
// What a host's own metadata says prevails. The zero value tells nothing.
type HostOptions struct {
	// RootHash is for hosts whose metadata has no root password. Whoever has
	// the image has it.
	RootHash PasswordHash `json:"root_hash,omitempty"`
	// Install says where to install.
	Install InstallOptions `json:"install,omitzero"`
	// KernelOpts are options of the installed host's kernel.
	KernelOpts []string `json:"kernelopts,omitempty"`
	// SerialConsole puts the installed host's console on the first serial port.
	SerialConsole bool `json:"serial_console,omitempty"`
	// Keep leaves our modules on the installed host's boot bank.
	Keep bool `json:"keep,omitempty"`
}

// InstallOptions say where to install; nil leaves it to the host's metadata and
// to the host scripts' defaults.
type InstallOptions struct {
	Disk          *InstallDisk `json:"disk,omitempty"`
	OverwriteVMFS *bool        `json:"overwritevmfs,omitempty"`
	OverwriteVSAN *bool        `json:"overwritevsan,omitempty"`
}

// HostSettings are what the scripts on the host are told of the image that
// they came with: the file SettingsPath, JSON.
type HostSettings struct {
	Version int `json:"version"` // 1
	// Disk and Partition are GUIDs of the image's GPT, by which the scripts
	// find the disk that they were started from; "" where they were not started
	// from a disk image.
	Disk      string `json:"disk,omitempty"`
	Partition string `json:"partition,omitempty"`
	// Metadata is "required" or "optional".
	Metadata string `json:"metadata"`
	HostOptions
}

// HasRootPassword says whether a root password goes with the image, as a hash:
// something to think of before others get the image.
func (o HostOptions) HasRootPassword() bool { return o.RootHash != "" }

// Check says what the host scripts would refuse. No error shows the hash.
func (o HostOptions) Check() error {
	if o.RootHash != "" {
		if err := o.RootHash.Check(); err != nil {
			return err
		}
	}
	if o.Install.Disk != nil {
		if err := o.Install.Disk.Check(); err != nil {
			return err
		}
	}
	if len(o.KernelOpts) > maxHostKernelOpts {
		return fmt.Errorf("%d kernel options of the host, at most %d are taken", len(o.KernelOpts), maxHostKernelOpts)
	}
	for _, opt := range o.KernelOpts {
		if err := checkHostKernelOpt(opt); err != nil {
			return err
		}
	}
	return nil
}

func checkHostKernelOpt(opt string) error {
	switch {
	case strings.HasPrefix(opt, "-"):
		return fmt.Errorf("kernel option %q of the host: an option of the installed host can be added only, not removed", opt)
	case opt == "" || strings.ContainsFunc(opt, notInOption) || strings.Contains(opt, "---"):
		return fmt.Errorf("kernel option %q of the host: is not one option of printable ASCII without blanks and without \"---\"", opt)
	case len(opt) > maxHostKernelOpt:
		return fmt.Errorf("kernel option %.20q… of the host: has more than %d characters", opt, maxHostKernelOpt)
	}
	return nil
}

// notInOption says what boot.cfg can't hold within one option: a blank would
// make two.
func notInOption(r rune) bool { return r <= ' ' || r > '~' }

// encode gives the bytes that identifiers derive from.
func (o HostOptions) encode() []byte {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // can't be: these are texts, numbers and booleans
	}
	return data
}

// isZero says whether nothing is told.
func (o HostOptions) isZero() bool {
	return o.RootHash == "" && o.Install == (InstallOptions{}) && len(o.KernelOpts) == 0 && !o.SerialConsole && !o.Keep
}

// ParseHostSettings reads what an image tells its hosts: SettingsPath's data.
func ParseHostSettings(data []byte) (HostSettings, error) {
	if len(data) > maxSettings {
		return HostSettings{}, fmt.Errorf("%s: has more than %d bytes", SettingsPath, maxSettings)
	}
	var s HostSettings
	if err := json.Unmarshal(data, &s); err != nil {
		// Not the error's own text, which may quote a value.
		return HostSettings{}, fmt.Errorf("%s: is not the JSON that it should be", SettingsPath)
	}
	if s.Version != 1 {
		return HostSettings{}, fmt.Errorf("%s: is of version %d, only 1 is known", SettingsPath, s.Version)
	}
	if err := s.Check(); err != nil {
		return HostSettings{}, fmt.Errorf("%s: %w", SettingsPath, err)
	}
	return s, nil
}

// hostSettings are those of a planned image; without identifiers it is no disk.
func hostSettings(ids identifiers, p Profile) HostSettings {
	s := HostSettings{Version: 1, Metadata: p.metadata(), HostOptions: p.Host}
	if ids != (identifiers{}) {
		s.Disk, s.Partition = ids.disk.String(), ids.partition.String()
	}
	return s
}

// includeMissing is the rule of a finding that names a file of the host scripts
// which the kickstart does not include.
const includeMissing = "include-missing"

// checkHost refuses options for the host that can't be used, or come to nothing
// with this kickstart: what was found about it.
func (p Profile) checkHost(findings []kickstart.Finding) error {
	if err := p.Host.Check(); err != nil {
		return &InputError{Err: err, Advice: "change the option, or leave it out"}
	}
	for _, told := range []struct {
		is          bool
		what, write string
	}{
		{p.Host.RootHash != "", "the root password", "/tmp/rootpw"},
		{p.Host.Install != InstallOptions{}, "the choice of the disk", "/tmp/install"},
	} {
		lost := slices.ContainsFunc(findings, func(f kickstart.Finding) bool {
			return f.Rule == includeMissing && strings.Contains(f.Message, told.write)
		})
		if told.is && lost {
			return &InputError{
				Input:  "kickstart",
				Err:    fmt.Errorf("has no \"%%include %s\", so the option for %s would have no effect", told.write, told.what),
				Advice: "put that line in the place of the kickstart's own command, or leave the option out",
			}
		}
	}
	return nil
}
