package kickstart

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

const (
	dhcp   = "dhcp"
	static = "static"
	// maxNameservers is how many name servers the installer takes.
	maxNameservers = 2
	// maxVLAN: 4095 hands all VLANs through to guests.
	maxVLAN = 4095
)

var (
	macAddress = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`)
	vmnic      = regexp.MustCompile(`^vmnic[0-9]{1,5}$`)
	hostLabel  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

func checkBootproto(l *linter, c command, name, value string) {
	if value != dhcp && value != static {
		l.add(c.line, Error, "network-bootproto", fmt.Sprintf("%s=%.40s is neither static nor dhcp", name, value),
			"the installer ignores it and takes DHCP", "Write --bootproto=static or --bootproto=dhcp, in lower case")
	}
}

func checkDevice(l *linter, c command, name, value string) {
	if macAddress.MatchString(value) || vmnic.MatchString(value) {
		return
	}
	cure := "Write vmnic0 or 00:11:22:33:44:55"
	if strings.Contains(value, "-") {
		cure = "Write a MAC address with colons"
	}
	l.add(c.line, Error, "network-device", fmt.Sprintf("%s=%.40s is neither a MAC address nor vmnicN", name, value), "the installer stops if it doesn't find the adapter", cure)
}

// address reads what the installer takes for an address of a host.
func (l *linter) address(c command, name, value string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSpace(value))
	switch {
	case err != nil:
		l.add(c.line, Error, "network-address", fmt.Sprintf("%s=%.60s is not an address", name, value), "the installer stops here", "Write four numbers with dots, without a prefix length")
	case !a.Is4():
		l.add(c.line, Error, "network-ipv6", fmt.Sprintf("%s=%.60s is IPv6", name, value), "the installer's network command is for IPv4 only", "Use IPv4 or DHCP here, and set up IPv6 in %firstboot")
	case a.IsLoopback() || a.IsMulticast() || a.As4()[0] == 0 || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		l.add(c.line, Error, "network-address", fmt.Sprintf("%s=%s can't be the address of a host", name, a), "the installer stops here", "")
	default:
		return a, true
	}
	return netip.Addr{}, false
}

func checkAddress(l *linter, c command, name, value string) { l.address(c, name, value) }

// netmask reads a dotted netmask as a prefix length.
func netmask(value string) (int, bool) {
	a, err := netip.ParseAddr(strings.TrimSpace(value))
	if err != nil || !a.Is4() {
		return 0, false
	}
	b := a.As4()
	m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	bits := 0
	for ; bits < 32 && m&(1<<(31-bits)) != 0; bits++ {
	}
	return bits, bits > 0 && m<<bits == 0
}

func checkNetmask(l *linter, c command, name, value string) {
	if _, ok := netmask(value); !ok {
		cure := "Write a netmask such as 255.255.255.0"
		if n, err := strconv.Atoi(strings.TrimPrefix(value, "/")); err == nil && n >= 1 && n <= 32 {
			m := ^uint32(0) << (32 - n)
			cure = fmt.Sprintf("Write %d.%d.%d.%d", m>>24, m>>16&255, m>>8&255, m&255)
		}
		l.add(c.line, Error, "network-netmask", fmt.Sprintf("%s=%.40s is not a netmask", name, value), "the installer stops here, or computes with a wrong one", cure)
	}
}

func checkNameservers(l *linter, c command, name, value string) {
	servers := strings.Split(value, ",")
	if len(servers) > maxNameservers {
		l.add(c.line, Warning, "network-nameservers", fmt.Sprintf("%s has %d name servers", name, len(servers)), fmt.Sprintf("the installer takes %d and forgets the others", maxNameservers), "Set the others in %firstboot")
		servers = servers[:maxNameservers]
	}
	for _, s := range servers {
		l.address(c, name, s)
	}
}

func checkHostname(l *linter, c command, name, value string) {
	host := strings.TrimSuffix(strings.TrimSpace(value), ".")
	bad := host == "" || len(value) > 255
	for label := range strings.SplitSeq(host, ".") {
		bad = bad || !hostLabel.MatchString(label)
	}
	if bad {
		l.add(c.line, Error, "network-hostname", fmt.Sprintf("%s=%.60s is not a host name", name, value), "the installer stops here", "Use labels of at most 63 letters, digits and hyphens, joined by dots")
	}
}

func checkVLAN(l *linter, c command, name, value string) {
	if n, err := strconv.Atoi(strings.TrimSpace(value)); err != nil || n < 0 || n > maxVLAN {
		l.add(c.line, Error, "network-vlan", fmt.Sprintf("%s=%.40s is not a VLAN", name, value), "the installer stops here", fmt.Sprintf("Write a number from 0 to %d", maxVLAN))
	}
}

func checkBool(l *linter, c command, name, value string) {
	switch strings.ToLower(value) {
	case "true", "false":
		return
	case "0", "1":
		if name == "--addvmportgroup" {
			return
		}
	}
	l.add(c.line, Error, "option-value", fmt.Sprintf("%s=%.40s is neither true nor false", name, value), "the installer ignores the option, with a warning", "Write true or false")
}

// checkNetwork looks at the network command as a whole.
func checkNetwork(l *linter, c command) {
	proto, given := c.value("--bootproto")
	if !given {
		l.add(c.line, Warning, "network-bootproto", "network has no --bootproto", "the installer takes DHCP", "Add --bootproto=dhcp or --bootproto=static")
		proto = dhcp
	}
	switch proto {
	case dhcp:
		checkDHCP(l, c)
	case static:
		checkStatic(l, c)
	}
}

func checkDHCP(l *linter, c command) {
	for _, option := range []string{"--ip", "--netmask", "--gateway"} {
		if c.has(option) {
			l.add(c.line, Error, "network-dhcp", fmt.Sprintf("%s is given with DHCP", option), "the installer stops here", "Use --bootproto=static, or remove the option")
		}
	}
	for _, option := range []string{"--hostname", "--nameserver"} {
		if c.has(option) {
			l.add(c.line, Warning, "network-dhcp", fmt.Sprintf("%s is given with DHCP", option), "the installer ignores it", "Remove it; set it in %firstboot, or let the DHCP server tell it")
		}
	}
}

func checkStatic(l *linter, c command) {
	ip, hasIP := c.value("--ip")
	mask, hasMask := c.value("--netmask")
	gateway, hasGateway := c.value("--gateway")
	if !hasIP {
		l.add(c.line, Error, "network-static", "--bootproto=static has no --ip", "the installer stops here", "Add --ip=ADDRESS")
	}
	if !hasMask {
		l.add(c.line, Error, "network-static", "--bootproto=static has no --netmask", "the installer guesses one from the first number of the address, 255.0.0.0 for 10.x", "Add --netmask=NETMASK")
	}
	if !hasGateway {
		l.add(c.line, Warning, "network-gateway", "--bootproto=static has no --gateway", "the installer invents one in the subnet, which may belong to another host", "Add --gateway=ADDRESS")
	}
	if !c.has("--hostname") {
		l.add(c.line, Note, "network-hostname", "--bootproto=static has no --hostname", "the host is called localhost until %firstboot names it", "Add --hostname=FQDN")
	}
	if !c.has("--nameserver") && !c.has("--nodns") {
		l.add(c.line, Note, "network-nameservers", "--bootproto=static has no --nameserver", "the host resolves no names until %firstboot sets one", "Add --nameserver=ADDRESS")
	}
	bits, ok := netmask(mask)
	a, err := netip.ParseAddr(strings.TrimSpace(ip))
	if !ok || err != nil || !a.Is4() {
		return
	}
	subnet := netip.PrefixFrom(a, bits).Masked()
	checkMember(l, c, "--ip", subnet, a)
	g, err := netip.ParseAddr(strings.TrimSpace(gateway))
	if !hasGateway || err != nil || !g.Is4() {
		return
	}
	if !subnet.Contains(g) {
		l.add(c.line, Error, "network-gateway", fmt.Sprintf("the gateway %s lies outside the subnet %s", g, subnet), "the installer stops here", "Correct the address, the netmask or the gateway")
		return
	}
	checkMember(l, c, "--gateway", subnet, g)
	if g == a {
		l.add(c.line, Error, "network-gateway", fmt.Sprintf("the gateway %s is the host's own address", g), "the host can't be reached from other subnets", "Write the router's address")
	}
}

// checkMember reports addresses that name the subnet or everybody in it. The
// installer makes an exception for /32 only.
func checkMember(l *linter, c command, name string, subnet netip.Prefix, a netip.Addr) {
	if subnet.Bits() == 32 {
		return
	}
	b := a.As4()
	host := (uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) << subnet.Bits() >> subnet.Bits()
	ones := ^uint32(0) >> subnet.Bits()
	if host == 0 || host == ones {
		l.add(c.line, Error, "network-address", fmt.Sprintf("%s=%s is the network or the broadcast address of %s", name, a, subnet), "the installer stops here", "Write the address of a host")
	}
}
