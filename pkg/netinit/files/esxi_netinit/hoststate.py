"""A host's state as plain data. Steps are planned from this alone, so that a
plan needs no host."""
import copy

# esxcli prints other names for load balancing than it takes.
BALANCE = {"srcport": "portid", "portid": "portid", "iphash": "iphash", "srcmac": "mac", "mac": "mac", "explicit": "explicit"}
STACK = "defaultTcpipStack"
MANAGEMENT = "Management"


class State(object):
    """nics: [{name, mac, link}]; switches: {name: {mtu, uplinks, active,
    standby, balance, security}}; portgroups: {name: {switch, vlan, clients}};
    vmks: {name: new_vmk()}; routes: {4|6: [{network, prefix, gateway,
    interface, source}]}. What could not be read is None or empty."""

    def __init__(self):
        self.version = ""
        self.nics = []
        self.switches = {}
        self.portgroups = {}
        self.vmks = {}
        self.routes = {4: [], 6: []}
        self.dns = {"servers": [], "search": []}
        self.hostname = {"host": "", "fqdn": ""}
        self.ntp = None
        self.syslog = ""
        self.shell_warning_off = False
        self.firewall = {}
        self.ssh_keys = []
        self.certificate = b""
        self.unread = False

    def copy(self):
        return copy.deepcopy(self)

    def old(self):
        """ESXi 6 has fewer commands."""
        return self.version.startswith("6.")

    def nic_by_mac(self, mac):
        for nic in self.nics:
            if mac is not None and nic["mac"] == mac:
                return nic["name"]
        return None

    def nic_mac(self, name):
        for nic in self.nics:
            if nic["name"] == name:
                return nic["mac"]
        return None

    def switch_with(self, nic):
        for name in sorted(self.switches):
            if nic in self.switches[name]["uplinks"]:
                return name
        return None

    def on_portgroup(self, portgroup):
        """The VMkernel interface of a port group, or None."""
        for name in sorted(self.vmks, key=vmk_number):
            if self.vmks[name]["portgroup"] == portgroup:
                return name
        return None

    def management_vmk(self):
        """The lowest interface that is tagged for management, else vmk0."""
        for name in sorted(self.vmks, key=vmk_number):
            if MANAGEMENT in self.vmks[name]["tags"]:
                return name
        return "vmk0" if "vmk0" in self.vmks else None

    def defaults(self, family):
        return [r for r in self.routes[family] if r["prefix"] == 0]

    def has_route(self, family, network, prefix, gateway):
        return any((r["network"], r["prefix"], r["gateway"]) == (network, prefix, gateway) for r in self.routes[family])

    def has_address6(self, vmk, address, prefix):
        return vmk in self.vmks and any(
            (a["address"], a["prefix"]) == (address, prefix) for a in self.vmks[vmk]["ipv6"]["addresses"]
        )


def vmk_number(name):
    return int(name[3:]) if name.startswith("vmk") and name[3:].isdigit() else 1 << 20


def new_vmk(portgroup, mac, mtu=1500):
    return {
        "portgroup": portgroup, "mac": mac, "mtu": mtu, "stack": STACK, "tags": [],
        "ipv4": {"type": "none", "address": None, "netmask": None},
        "ipv6": {"enabled": False, "dhcpv6": False, "router_adv": False, "addresses": []},
    }


def nic_of(state, link):
    """The card of a physical link: by its MAC address, else by its name."""
    if link["mac"] is not None:
        return state.nic_by_mac(link["mac"])
    if link["nic"] is not None and any(n["name"] == link["nic"] for n in state.nics):
        return link["nic"]
    return None
