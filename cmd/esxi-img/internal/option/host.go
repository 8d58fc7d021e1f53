package option

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// Host is what an image tells all hosts that are installed from it. A host's
// own metadata prevails.
type Host struct {
	RootPasswordHash string   `yaml:"rootPasswordHash"`
	RootPasswordFile string   `yaml:"rootPasswordFile"`
	InstallDisk      string   `yaml:"installDisk"`
	OverwriteVMFS    *bool    `yaml:"overwritevmfs"`
	OverwriteVSAN    *bool    `yaml:"overwritevsan"`
	HostKernelOpts   []string `yaml:"hostKernelopts"`
	SerialConsole    bool     `yaml:"serialConsole"`
	Keep             bool     `yaml:"keep"`
}

// ErrTwoPasswords says that root's password was given twice.
var ErrTwoPasswords = errors.New("both are given, but a host has one root password")

// hostFlags are the values of the flags.
type hostFlags struct {
	Host
	overwriteVMFS, overwriteVSAN bool
}

// Names of flags that are looked for more than once.
const (
	flagHash     = "root-password-hash"
	flagPassword = "root-password-file"
	flagVMFS     = "overwritevmfs"
	flagVSAN     = "overwritevsan"
)

func (h *hostFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&h.RootPasswordHash, flagHash, "", "root's password as a `HASH` of sha512-crypt ($6$, as \"openssl passwd -6\" makes one), for hosts whose metadata has none; it is readable in the image")
	f.StringVar(&h.RootPasswordFile, flagPassword, "", "root's password, or its hash, is the line in `FILE`; a password is hashed with a random salt, so that no two builds are alike")
	f.StringVar(&h.InstallDisk, "install-disk", "", "install on the disk of this `SPEC`: image, smallest, largest, a device (naa.…), or serial=…;wwn=…;path=…;vendor=…;model=…;size=…;min_gib=… or firstdisk=…")
	f.BoolVar(&h.overwriteVMFS, flagVMFS, false, "install also where a VMFS datastore is on the disk; =false keeps it")
	f.BoolVar(&h.overwriteVSAN, flagVSAN, false, "install also where vSAN has claimed the disk")
	f.StringArrayVar(&h.HostKernelOpts, "host-kernelopt", nil, "a kernel `OPTION` of the installed host, NAME or NAME=VALUE; not under Secure Boot (repeatable)")
	f.BoolVar(&h.SerialConsole, "serial-console", false, "console of the installed host on the first serial port; not under Secure Boot")
	f.BoolVar(&h.Keep, "keep", false, "leave the host scripts on the installed host's boot bank when its first boot is done")
}

// resolveOnto puts what flags say on top of what the file says.
func (h *hostFlags) resolveOnto(f *pflag.FlagSet, file *Host) error {
	if f.Changed(flagHash) && f.Changed(flagPassword) {
		return fmt.Errorf("--%s and --%s: %w", flagHash, flagPassword, ErrTwoPasswords)
	}
	if f.Changed(flagHash) || f.Changed(flagPassword) {
		file.RootPasswordHash, file.RootPasswordFile = h.RootPasswordHash, h.RootPasswordFile
	}
	override(f, "install-disk", &file.InstallDisk, h.InstallDisk)
	override(f, flagVMFS, &file.OverwriteVMFS, &h.overwriteVMFS)
	override(f, flagVSAN, &file.OverwriteVSAN, &h.overwriteVSAN)
	override(f, "serial-console", &file.SerialConsole, h.SerialConsole)
	override(f, "keep", &file.Keep, h.Keep)
	file.HostKernelOpts = append(file.HostKernelOpts, h.HostKernelOpts...)
	if file.RootPasswordHash != "" && file.RootPasswordFile != "" {
		return fmt.Errorf("rootPasswordHash and rootPasswordFile: %w", ErrTwoPasswords)
	}
	return nil
}
