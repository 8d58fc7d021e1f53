package option

import (
	"slices"
	"strings"
)

// paths are those of the texts that name a file, and others those that do not.
func (c *Customize) paths() []*string {
	return []*string{&c.Kickstart, &c.ConfigDrive, &c.NetworkData, &c.MetaData, &c.UserData, &c.Host.RootPasswordFile}
}

func (c *Customize) texts() []*string {
	return append(c.paths(), &c.ConfigDriveAs, &c.Hostname, &c.Metadata, &c.Host.InstallDisk, &c.Host.RootPasswordHash)
}

func (c *Customize) pathLists() []*[]string {
	return append(c.Content.pathLists(), &c.SSHKeys)
}

func (c *Customize) lists() []*[]string {
	return append(c.pathLists(), &c.KernelOpts, &c.Host.HostKernelOpts)
}

// under returns both, the other one on top: its texts replace, its lists follow.
func (c Customize) under(top Customize) Customize {
	out, over := c, top
	// A host has one root password, in whichever way it is given.
	if over.Host.RootPasswordHash != "" || over.Host.RootPasswordFile != "" {
		out.Host.RootPasswordHash, out.Host.RootPasswordFile = "", ""
	}
	to := out.texts()
	for i, s := range over.texts() {
		if *s != "" {
			*to[i] = *s
		}
	}
	toLists := out.lists()
	for i, list := range over.lists() {
		*toLists[i] = slices.Concat(*toLists[i], *list)
	}
	if over.ConfigDriveSize != 0 {
		out.ConfigDriveSize = over.ConfigDriveSize
	}
	if over.Host.OverwriteVMFS != nil {
		out.Host.OverwriteVMFS = over.Host.OverwriteVMFS
	}
	if over.Host.OverwriteVSAN != nil {
		out.Host.OverwriteVSAN = over.Host.OverwriteVSAN
	}
	out.Host.SerialConsole = c.Host.SerialConsole || top.Host.SerialConsole
	out.Host.Keep = c.Host.Keep || top.Host.Keep
	return out
}

// shared is what does not depend on the host's name.
func (c Customize) shared() Customize {
	out := c
	for _, s := range out.texts() {
		if strings.Contains(*s, nameMark) {
			*s = ""
		}
	}
	for _, list := range out.lists() {
		*list = slices.DeleteFunc(slices.Clone(*list), func(s string) bool { return strings.Contains(s, nameMark) })
	}
	return out
}

// named is what depends on the host's name, with that in its place.
func (c Customize) named(name string) Customize {
	var out Customize
	from := c
	to := out.texts()
	for i, s := range from.texts() {
		if strings.Contains(*s, nameMark) {
			*to[i] = strings.ReplaceAll(*s, nameMark, name)
		}
	}
	toLists := out.lists()
	for i, list := range from.lists() {
		for _, s := range *list {
			if strings.Contains(s, nameMark) {
				*toLists[i] = append(*toLists[i], strings.ReplaceAll(s, nameMark, name))
			}
		}
	}
	return out
}
