package option

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/esxi-img/esxi-img/pkg/strictyaml"
)

const (
	// hostsVersion is that of the form of a list of hosts.
	hostsVersion = 1
	// maxHosts bounds how many hosts a list has, maxMACs how many addresses one
	// of them: more than any rack, and what is read has an end.
	maxHosts = 2000
	maxMACs  = 16
	// nameMark stands for the host's name, in what is said of all hosts.
	nameMark = "{name}"
)

// What a host does that is on no list.
const (
	OthersSkip    = "skip"
	OthersInstall = "install"
)

// Hosts says what each of many hosts gets.
type Hosts struct {
	// Shared is what all of them get; its lists come before a host's own.
	Shared Customize
	List   []HostEntry
	// Others is what a host does that starts over the network and is not
	// listed: OthersSkip or OthersInstall.
	Others string
}

// HostEntry is one of them.
type HostEntry struct {
	Name string
	// Line is where it stands in the file.
	Line int
	// MACs are its addresses, as aa:bb:cc:dd:ee:ff.
	MACs []string
	// Own is what it gets besides what is shared.
	Own Customize
}

// hostsFile is a list of hosts as it stands in a file.
type hostsFile struct {
	Version  int         `yaml:"version"`
	Others   string      `yaml:"others"`
	Defaults hostKeys    `yaml:"defaults"`
	Hosts    []hostEntry `yaml:"hosts"`
}

type hostEntry struct {
	Name     string `yaml:"name"`
	MAC      texts  `yaml:"mac"`
	hostKeys `yaml:",inline"`
}

// hostKeys are customize's flags. Those of esxi-img.yaml have the same names.
type hostKeys struct {
	Content          `yaml:",inline"`
	RootPasswordHash string   `yaml:"rootPasswordHash"`
	RootPasswordFile string   `yaml:"rootPasswordFile"`
	InstallDisk      string   `yaml:"installDisk"`
	OverwriteVMFS    *bool    `yaml:"overwritevmfs"`
	OverwriteVSAN    *bool    `yaml:"overwritevsan"`
	HostKernelOpts   []string `yaml:"hostKernelopts"`
	SerialConsole    *bool    `yaml:"serialConsole"`
	Keep             *bool    `yaml:"keep"`
	ConfigDrive      string   `yaml:"configDrive"`
	ConfigDriveAs    string   `yaml:"configDriveAs"`
	ConfigDriveSize  Size     `yaml:"configDriveSize"`
	NetworkData      string   `yaml:"networkData"`
	MetaData         string   `yaml:"metaData"`
	UserData         string   `yaml:"userData"`
	Hostname         string   `yaml:"hostname"`
	SSHKeys          []string `yaml:"sshKeys"`
}

// texts is one text, or a list of them.
type texts []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *texts) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*t = texts{n.Value}
		return nil
	}
	return n.Decode((*[]string)(t))
}

// ReadHosts reads a list of hosts. What flags say of all hosts comes on top of
// the file's defaults, and a host's own words on top of both. Paths are relative
// to the file, those of flags excepted.
func ReadHosts(path string, flags Customize) (*Hosts, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	hosts, err := parseHosts(text, filepath.Dir(path), flags)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return hosts, nil
}

func parseHosts(text []byte, dir string, flags Customize) (*Hosts, error) {
	// 1. One document, in which nothing unknown stands.
	file, lines, err := decodeHosts(text)
	if err != nil {
		return nil, err
	}
	out := &Hosts{Others: file.Others}
	if err := file.check(); err != nil {
		return nil, err
	}
	if out.Others == "" {
		out.Others = OthersSkip
	}
	// 2. What all hosts get, but what depends on their names.
	all := file.Defaults.customize(dir).under(flags)
	serial, keep := all.Host.SerialConsole, all.Host.Keep
	all.Host.SerialConsole, all.Host.Keep = false, false
	if err := all.checkPasswords(); err != nil {
		return nil, err
	}
	out.Shared = all.shared()
	// 3. What each gets.
	for i := range file.Hosts {
		h := &file.Hosts[i]
		line := lines[i]
		entry, err := h.entry(dir, all)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		entry.Line = line
		entry.Own.Host.SerialConsole = or(h.SerialConsole, serial)
		entry.Own.Host.Keep = or(h.Keep, keep)
		out.List = append(out.List, entry)
	}
	// 4. No two of them are one.
	return out, out.checkTwins()
}

func or(own *bool, all bool) bool {
	if own != nil {
		return *own
	}
	return all
}

// decodeHosts reads one YAML document, and tells in which line each host begins.
func decodeHosts(text []byte) (*hostsFile, []int, error) {
	var file hostsFile
	document, err := strictyaml.Decode(text, &file)
	if err != nil {
		return nil, nil, err
	}
	lines := make([]int, len(file.Hosts))
	for i, n := range listed(document, "hosts") {
		if i < len(lines) {
			lines[i] = n.Line
		}
	}
	return &file, lines, nil
}

// listed are the elements of a list of that name, at the top of a document.
func listed(document *yaml.Node, name string) []*yaml.Node {
	if len(document.Content) == 0 {
		return nil
	}
	top := document.Content[0].Content
	for i := 0; i+1 < len(top); i += 2 {
		value := top[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if top[i].Value == name {
			return value.Content
		}
	}
	return nil
}

func (f *hostsFile) check() error {
	switch {
	case f.Version == 0:
		return fmt.Errorf("version: is missing; this program knows version %d", hostsVersion)
	case f.Version != hostsVersion:
		return fmt.Errorf("version: %d is not %d, the one that this program knows", f.Version, hostsVersion)
	case len(f.Hosts) == 0:
		return errors.New("hosts: none is listed")
	case len(f.Hosts) > maxHosts:
		return fmt.Errorf("hosts: %d are over the limit of %d", len(f.Hosts), maxHosts)
	case f.Others != "" && f.Others != OthersSkip && f.Others != OthersInstall:
		return fmt.Errorf("others: %.40q is neither %s nor %s", f.Others, OthersSkip, OthersInstall)
	}
	return nil
}

// hostName is one that is a file's name everywhere, and leads to no other folder.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// entry makes of a host what it gets besides what all get.
func (h *hostEntry) entry(dir string, all Customize) (HostEntry, error) {
	out := HostEntry{Name: h.Name}
	if !hostName.MatchString(h.Name) || strings.Contains(h.Name, "..") || !filepath.IsLocal(h.Name) {
		return out, fmt.Errorf("name: %.80q is not 1 to 64 letters, digits, dashes, dots and underscores, with a letter or digit at both ends", h.Name)
	}
	if len(h.MAC) > maxMACs {
		return out, fmt.Errorf("mac: %s has %d, more than %d", h.Name, len(h.MAC), maxMACs)
	}
	for _, text := range h.MAC {
		mac, err := parseMAC(text)
		if err != nil {
			return out, fmt.Errorf("mac: %.40q of %s %w", text, h.Name, err)
		}
		out.MACs = append(out.MACs, mac)
	}
	own := h.customize(dir)
	if own.ConfigDriveSize != 0 && own.ConfigDriveAs == "" {
		own.ConfigDriveAs = all.ConfigDriveAs
	}
	if err := own.checkPasswords(); err != nil {
		return out, fmt.Errorf("%s: %w", h.Name, err)
	}
	out.Own = all.named(h.Name).under(own.named(h.Name)).under(own.shared())
	return out, nil
}

func (c *Customize) checkPasswords() error {
	if c.Host.RootPasswordHash != "" && c.Host.RootPasswordFile != "" {
		return fmt.Errorf("rootPasswordHash and rootPasswordFile: %w", ErrTwoPasswords)
	}
	return nil
}

// parseMAC takes an address of Ethernet as people write it.
func parseMAC(text string) (string, error) {
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		return "", errors.New("is not a MAC address such as 00:25:b5:00:00:1f")
	case mac[0]&1 != 0:
		return "", errors.New("is a group's address, which no network card has")
	case bytes.Equal(mac, make([]byte, 6)):
		return "", errors.New("is no card's address")
	}
	return mac.String(), nil
}

// checkTwins refuses two hosts that are one, by name or by address. A letter's
// case makes no difference: it makes none for file systems of some systems.
func (h *Hosts) checkTwins() error {
	seen := map[string]HostEntry{}
	for _, e := range h.List {
		marks := []string{"name " + e.Name}
		for _, mac := range e.MACs {
			marks = append(marks, "mac "+mac)
		}
		if name := e.Own.Hostname; name != "" {
			marks = append(marks, "host name "+name)
		} else if name := h.Shared.Hostname; name != "" {
			marks = append(marks, "host name "+name)
		}
		for _, mark := range marks {
			if other, twice := seen[strings.ToLower(mark)]; twice {
				return fmt.Errorf("line %d: the %s is that of %s in line %d, too", e.Line, mark, other.Name, other.Line)
			}
			seen[strings.ToLower(mark)] = e
		}
	}
	return nil
}

// customize is what the keys say, with paths as they are from here.
func (k *hostKeys) customize(dir string) Customize {
	c := Customize{
		Content:     k.Content,
		ConfigDrive: k.ConfigDrive, ConfigDriveAs: k.ConfigDriveAs, ConfigDriveSize: k.ConfigDriveSize,
		NetworkData: k.NetworkData, MetaData: k.MetaData, UserData: k.UserData,
		Hostname: k.Hostname, SSHKeys: k.SSHKeys,
		Host: Host{
			RootPasswordHash: k.RootPasswordHash, RootPasswordFile: k.RootPasswordFile, InstallDisk: k.InstallDisk,
			OverwriteVMFS: k.OverwriteVMFS, OverwriteVSAN: k.OverwriteVSAN, HostKernelOpts: k.HostKernelOpts,
			SerialConsole: or(k.SerialConsole, false), Keep: or(k.Keep, false),
		},
	}
	// An entry may stand in the file twice, as an alias of the first.
	for _, list := range c.pathLists() {
		*list = slices.Clone(*list)
	}
	makeRelative(dir, c.paths(), c.pathLists())
	return c
}
