package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/imager"
)

// maxPasswordFile bounds a file of one password, in bytes.
const maxPasswordFile = 4 << 10

// loadHost reads and checks what an image is to tell its hosts.
func loadHost(h option.Host) (imager.HostOptions, error) {
	out := imager.HostOptions{
		RootHash: imager.PasswordHash(h.RootPasswordHash), KernelOpts: h.HostKernelOpts, SerialConsole: h.SerialConsole, Keep: h.Keep,
		Install: imager.InstallOptions{OverwriteVMFS: h.OverwriteVMFS, OverwriteVSAN: h.OverwriteVSAN},
	}
	if h.RootPasswordFile != "" {
		var err error
		if out.RootHash, err = readPassword(h.RootPasswordFile); err != nil {
			return out, err
		}
	}
	if h.InstallDisk != "" {
		var err error
		if out.Install.Disk, err = imager.ParseInstallDisk(h.InstallDisk); err != nil {
			return out, usagef("give image, smallest, largest, a device such as naa.600…, or serial=…, as docs/host.md has it", "--install-disk: %w", err)
		}
	}
	if err := out.Check(); err != nil {
		return out, usagef(adviceForHost(err), "%w", err)
	}
	return out, nil
}

func adviceForHost(err error) string {
	if errors.Is(err, imager.ErrHash) {
		return "make one with \"openssl passwd -6\""
	}
	return "change the option, or leave it out"
}

// unresolved is a profile that can't be had from flags and configuration file.
func unresolved(err error) error {
	if errors.Is(err, option.ErrTwoPasswords) {
		return usagef("leave one of them out", "%w", err)
	}
	return unusable(err)
}

// readPassword reads a password file, which may be a pipe: then the password
// is in no other file. No error shows what is in it.
func readPassword(path string) (_ imager.PasswordHash, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", unusable(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	if err != nil {
		return "", unusable(err)
	}
	const advice = "put the password, or its hash (\"openssl passwd -6\"), into the file, as one line"
	if len(data) > maxPasswordFile {
		return "", inputError(fmt.Errorf("%s: has more than %d bytes", path, maxPasswordFile), advice)
	}
	hash, err := imager.RootPassword(data)
	if err != nil {
		return "", inputError(fmt.Errorf("%s: %w", path, err), advice)
	}
	return hash, nil
}

// hostResult is what an image tells its hosts, without the hash.
type hostResult struct {
	RootPassword  bool                `json:"rootPassword"` // there is a hash
	InstallDisk   *imager.InstallDisk `json:"installDisk,omitempty"`
	OverwriteVMFS *bool               `json:"overwritevmfs,omitempty"`
	OverwriteVSAN *bool               `json:"overwritevsan,omitempty"`
	KernelOpts    []string            `json:"kernelopts,omitempty"`
	SerialConsole bool                `json:"serialConsole"`
	Keep          bool                `json:"keep"`
}

func newHostResult(o imager.HostOptions) hostResult {
	return hostResult{
		RootPassword: o.HasRootPassword(), InstallDisk: o.Install.Disk, OverwriteVMFS: o.Install.OverwriteVMFS, OverwriteVSAN: o.Install.OverwriteVSAN,
		KernelOpts: o.KernelOpts, SerialConsole: o.SerialConsole, Keep: o.Keep,
	}
}

// addTo adds a line for each that is told.
func (r hostResult) addTo(f *display.Fields) {
	if r.RootPassword {
		f.Add("root password", "its hash is in the image: whoever has the image has the hash")
	}
	if r.InstallDisk != nil {
		f.Add("install disk", r.InstallDisk.String())
	}
	for _, flag := range []struct {
		name  string
		value *bool
	}{{"overwritevmfs", r.OverwriteVMFS}, {"overwritevsan", r.OverwriteVSAN}} {
		if flag.value != nil {
			f.Addf(flag.name, "%t", *flag.value)
		}
	}
	f.Add("host kernelopt", strings.Join(r.KernelOpts, " "))
	if r.SerialConsole {
		f.Add("serial console", "of the installed host")
	}
	if r.Keep {
		f.Add("host scripts", "stay on the host's boot bank")
	}
}
