package option

import (
	"github.com/spf13/pflag"
)

// Customize says what is to be different in an image that is there.
type Customize struct {
	Content
	Host Host

	ConfigDrive, NetworkData, MetaData, UserData string
	ConfigDriveAs                                string // "" for as it is
	ConfigDriveSize                              Size   // 0 for the usual
	Hostname                                     string
	SSHKeys                                      []string
}

// CustomizeFlags fill a Customize.
type CustomizeFlags struct {
	given Customize
	host  hostFlags
	names []string
}

// AddFlags adds the group's flags.
func (c *CustomizeFlags) AddFlags(to *pflag.FlagSet) {
	g := &c.given
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	g.addKickstartFlags(f, "the image's")
	f.StringArrayVar(&g.Modules, "module", nil, "add a module `FILE.tgz` to the installer, or replace one that was added (repeatable)")
	g.addKernelOptFlag(f)
	f.StringVar(&g.Metadata, "metadata", "", "`MODE` required or optional: required stops the installation before a disk is touched on a host without metadata, optional goes on")
	c.host.addFlags(f)
	f.Lookup("serial-console").Usage = "console of the installer, and of the installed host, on the first serial port; the host's not under Secure Boot"
	f.StringVar(&g.ConfigDrive, "config-drive", "", "carry this config drive, or NoCloud's files: a `DIR|ISO`")
	f.StringVar(&g.ConfigDriveAs, "config-drive-as", "", "`HOW` the image carries its config drive: module, or partition for one of its own behind the installer's volume, empty if there is no metadata (default: as the image has it, else module)")
	f.Var(&g.ConfigDriveSize, "config-drive-size", "`SIZE` of that partition, at most 64M, which is what it has if nothing is said")
	f.StringVar(&g.NetworkData, "network-data", "", "carry this `FILE` as network_data.json")
	f.StringVar(&g.MetaData, "meta-data", "", "carry this `FILE` as meta_data.json")
	f.StringVar(&g.UserData, "user-data", "", "carry this `FILE` as user_data")
	f.StringVar(&g.Hostname, "hostname", "", "`NAME` of the host, for one without a config drive of its own")
	f.StringArrayVar(&g.SSHKeys, "ssh-key", nil, "let the SSH public keys in `FILE` in as root, on a host without a config drive of its own (repeatable)")
	f.VisitAll(func(flag *pflag.Flag) { c.names = append(c.names, flag.Name) })
	to.AddFlagSet(f)
}

// Given returns the first of the flags that was given, "" if none was.
func (c *CustomizeFlags) Given(f *pflag.FlagSet) string {
	for _, name := range c.names {
		if f.Changed(name) {
			return name
		}
	}
	return ""
}

// Resolve returns what the flags say.
func (c *CustomizeFlags) Resolve(f *pflag.FlagSet) (Customize, error) {
	out := c.given
	return out, c.host.resolveOnto(f, &out.Host)
}
