"""esxcli network ip: VMkernel interfaces, routes, DNS; and the pings."""
import ipaddress
import re

import wire
from net import check_mac, check_mtu, find_portgroup, need, stranded, tree
from state import Refused
from tree import Blocks, Table

TAGS = ("Management", "VMotion", "faultToleranceLogging", "vSphereReplication", "vSphereReplicationNFC", "vSphereProvisioning",
        "VSAN", "VSANWitness", "vSphereBackupNFC", "PTP", "NVMeTCP", "NVMeRDMA")
VMK = re.compile(r"^vmk(0|[1-9][0-9]{0,2})$")
STACK = "defaultTcpipStack"


def interface(state, name):
    need(name in state.host["vmks"], "Error: Unable to find interface %s: Not found", name)
    return state.host["vmks"][name]


def new_vmk(portgroup, mac, mtu=1500):
    return {
        "portgroup": portgroup, "mac": mac.lower(), "mtu": mtu, "enabled": True, "tags": [], "stack": STACK,
        "ipv4": {"type": "none", "address": None, "netmask": None, "gateway": None, "peerdns": False},
        "ipv6": {"enabled": False, "dhcpv6": False, "router_adv": False, "peerdns": False, "addresses": []},
    }


def address4(text, what="address"):
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        raise Refused("Error: Invalid IPv4 %s: %s" % (what, text))
    return found


@tree.add("network ip interface add", "i|interface-name s", "p|portgroup-name s", "M|mac-address s", "m|mtu i", "N|netstack s",
          "P|dvport-id s", "s|dvs-name s")
def interface_add(state, given):
    host = state.host
    name = given.get("interface-name")
    if name is None:
        name = next("vmk%d" % n for n in range(1000) if "vmk%d" % n not in host["vmks"])
    need(VMK.match(name), "Error: Invalid interface name %s", name)
    need(name not in host["vmks"], "Error: Unable to add interface %s: it already exists", name)
    need("portgroup-name" in given, "Error: Missing required parameter -p|--portgroup-name")
    find_portgroup(state, given["portgroup-name"])
    busy = [n for n, vmk in host["vmks"].items() if vmk["portgroup"] == given["portgroup-name"]]
    need(not busy, "Error: Unable to add interface: portgroup %s is already in use by %s", given["portgroup-name"], ", ".join(busy))
    need(given.get("netstack", STACK) == STACK, "Error: Unknown netstack %s", given.get("netstack"))
    mac = given.get("mac-address", "00:50:56:6%x:%02x:%02x" % (len(host["vmks"]), len(host["vmks"]), 16 + len(host["vmks"])))
    check_mac(state, mac)
    mtu = given.get("mtu", 1500)
    check_mtu(mtu)
    check_path(state, name, given["portgroup-name"], mtu)
    host["vmks"][name] = new_vmk(given["portgroup-name"], mac, mtu)
    wire.settle(state)


def check_path(state, name, portgroup, mtu):
    switch_name, switch = wire.switch_of(state.host, portgroup)
    if mtu > switch["mtu"]:
        state.hazard("%s has a larger MTU than its switch %s" % (name, switch_name))


@tree.add("network ip interface set", "i|interface-name s!", "e|enabled b", "m|mtu i")
def interface_set(state, given):
    vmk = interface(state, given["interface-name"])
    before = wire.management_reachable(state)
    if "mtu" in given:
        check_mtu(given["mtu"])
        check_path(state, given["interface-name"], vmk["portgroup"], given["mtu"])
        vmk["mtu"] = given["mtu"]
    if "enabled" in given:
        vmk["enabled"] = given["enabled"]
    wire.settle(state)
    stranded(state, before)


@tree.add("network ip interface remove", "i|interface-name s", "p|portgroup-name s", "N|netstack s")
def interface_remove(state, given):
    name = given.get("interface-name")
    if name is None:
        name = next((n for n, vmk in state.host["vmks"].items() if vmk["portgroup"] == given.get("portgroup-name")), "")
    interface(state, name)
    before = wire.management_reachable(state)
    del state.host["vmks"][name]
    wire.settle(state)
    stranded(state, before)


@tree.add("network ip interface list", "N|netstack s")
def interface_list(state, given):
    items = []
    for name, vmk in sorted(state.host["vmks"].items()):
        switch_name, _ = wire.switch_of(state.host, vmk["portgroup"])
        items.append((name, [
            ("Name", name), ("MAC Address", vmk["mac"]), ("Enabled", vmk["enabled"]), ("Portset", switch_name),
            ("Portgroup", vmk["portgroup"]), ("Netstack Instance", vmk["stack"]), ("VDS Name", "N/A"), ("VDS UUID", "N/A"),
            ("VDS Port", "N/A"), ("VDS Connection", -1), ("Opaque Network ID", "N/A"), ("Opaque Network Type", "N/A"),
            ("External ID", "N/A"), ("MTU", vmk["mtu"]), ("TSO MSS", 65535), ("RXDispQueue Size", 4), ("Port ID", 67108870),
        ]))
    return Blocks(items)


@tree.add("network ip interface tag add", "i|interface-name s!", "t|tagname s!")
def tag_add(state, given):
    vmk = interface(state, given["interface-name"])
    need(given["tagname"] in TAGS, "Error: Invalid tag %s", given["tagname"])
    if given["tagname"] not in vmk["tags"]:
        vmk["tags"].append(given["tagname"])


@tree.add("network ip interface tag remove", "i|interface-name s!", "t|tagname s!")
def tag_remove(state, given):
    vmk = interface(state, given["interface-name"])
    need(given["tagname"] in vmk["tags"], "Error: %s has no tag %s", given["interface-name"], given["tagname"])
    before = wire.management_reachable(state)
    vmk["tags"].remove(given["tagname"])
    stranded(state, before)


@tree.add("network ip interface tag get", "i|interface-name s!")
def tag_get(state, given):
    return Blocks([(None, [("Tags", interface(state, given["interface-name"])["tags"])])])


# IPv4


@tree.add("network ip interface ipv4 set", "i|interface-name s!", "t|type s!", "I|ipv4 s", "N|netmask s", "g|gateway s", "P|peer-dns b")
def ipv4_set(state, given):
    vmk = interface(state, given["interface-name"])
    kind = given["type"]
    need(kind in ("static", "dhcp", "none"), "Error: Invalid type %s", kind)
    before = wire.management_reachable(state)
    if kind == "static":
        need("ipv4" in given and "netmask" in given, "Error: a static address wants --ipv4 and --netmask")
        address = address4(given["ipv4"])
        mask = netmask(given["netmask"])
        network = ipaddress.ip_network("%s/%d" % (address, mask), strict=False)
        need(mask >= 31 or address not in (network.network_address, network.broadcast_address) , "Error: Invalid IPv4 address: %s", address)
        need(not (address.is_multicast or address.is_loopback or address.is_unspecified), "Error: Invalid IPv4 address: %s", address)
        for name, other in state.host["vmks"].items():
            need(other is vmk or other["ipv4"]["address"] != str(address), "Error: %s is in use by %s", address, name)
        vmk["ipv4"].update(type="static", address=str(address), netmask=str(network.netmask), peerdns=False)
        state.host["routes"]["ipv4"] = [r for r in state.host["routes"]["ipv4"] if r["source"] != "DHCP"]
    else:
        need("ipv4" not in given and "netmask" not in given, "Error: --ipv4 and --netmask need --type=static")
        vmk["ipv4"].update(type=kind, address=None, netmask=None, peerdns=given.get("peer-dns", False))
    if "gateway" in given:
        vmk["ipv4"]["gateway"] = str(address4(given["gateway"], "gateway"))
    wire.settle(state)
    stranded(state, before)


def netmask(text):
    address4(text, "netmask")
    try:
        return wire.mask_bits(text)
    except ValueError:
        raise Refused("Error: Invalid IPv4 netmask: %s" % text)


@tree.add("network ip interface ipv4 get", "i|interface-name s", "N|netstack s")
def ipv4_get(state, given):
    rows = []
    for name, vmk in sorted(state.host["vmks"].items()):
        if given.get("interface-name", name) != name:
            continue
        ipv4 = vmk["ipv4"]
        network = [i.network for i in wire.addresses(vmk, 4)]
        gateways = [r["gateway"] for r in state.host["routes"]["ipv4"] if r["network"] == "0.0.0.0/0"]
        mine = [g for g in gateways if network and ipaddress.ip_address(g) in network[0]]
        rows.append([name, ipv4["address"] or "0.0.0.0", ipv4["netmask"] or "0.0.0.0",
                     str(network[0].broadcast_address) if network else "0.0.0.0", ipv4["type"].upper(),
                     ipv4["gateway"] or (mine or ["0.0.0.0"])[0], ipv4["peerdns"]])
    if "interface-name" in given:
        need(rows, "Error: Unable to find interface %s: Not found", given["interface-name"])
    return Table(["Name", "IPv4 Address", "IPv4 Netmask", "IPv4 Broadcast", "Address Type", "Gateway", "DHCP DNS"], rows)


@tree.add("network ip interface ipv4 address list", "i|interface-name s", "N|netstack s")
def ipv4_address_list(state, given):
    table = ipv4_get(state, given)
    return Table(["Name", "IPv4 Address", "IPv4 Netmask", "IPv4 Broadcast", "Address Type", "DHCP DNS"],
                 [row[:5] + row[6:] for row in table.rows if row[1] != "0.0.0.0"])


# IPv6


@tree.add("network ip interface ipv6 set", "i|interface-name s!", "e|enable-ipv6 b", "d|enable-dhcpv6 b", "r|enable-router-adv b",
          "P|peer-dns b", "g|gateway s")
def ipv6_set(state, given):
    vmk = interface(state, given["interface-name"])
    before = wire.management_reachable(state)
    for option, key in (("enable-ipv6", "enabled"), ("enable-dhcpv6", "dhcpv6"), ("enable-router-adv", "router_adv"), ("peer-dns", "peerdns")):
        if option in given:
            vmk["ipv6"][key] = given[option]
    if not vmk["ipv6"]["enabled"]:
        need(not (given.get("enable-dhcpv6") or given.get("enable-router-adv")), "Error: IPv6 is not enabled on %s", given["interface-name"])
        vmk["ipv6"].update(dhcpv6=False, router_adv=False, addresses=[])
    wire.settle(state)
    stranded(state, before)


@tree.add("network ip interface ipv6 get", "i|interface-name s", "N|netstack s")
def ipv6_get(state, given):
    rows = [[name, vmk["ipv6"]["enabled"], vmk["ipv6"]["dhcpv6"], vmk["ipv6"]["router_adv"], vmk["ipv6"]["peerdns"], "::"]
            for name, vmk in sorted(state.host["vmks"].items()) if given.get("interface-name", name) == name]
    if "interface-name" in given:
        need(rows, "Error: Unable to find interface %s: Not found", given["interface-name"])
    return Table(["Name", "IPv6 Enabled", "DHCPv6 Enabled", "Router Adv Enabled", "DHCP DNS", "Gateway"], rows)


def interface6(text):
    if "/" not in text:
        raise Refused("Error: Invalid IPv6 address %s: no prefix length" % text)
    try:
        return ipaddress.IPv6Interface(text)
    except ValueError:
        raise Refused("Error: Invalid IPv6 address: %s" % text)


@tree.add("network ip interface ipv6 address add", "i|interface-name s!", "I|ipv6 s!")
def ipv6_add(state, given):
    vmk = interface(state, given["interface-name"])
    found = interface6(given["ipv6"])
    need(vmk["ipv6"]["enabled"], "Error: IPv6 is not enabled on %s", given["interface-name"])
    need(not (found.is_multicast or found.is_unspecified or found.is_loopback), "Error: Invalid IPv6 address: %s", given["ipv6"])
    have = [ipaddress.ip_interface(a["address"]).ip for a in vmk["ipv6"]["addresses"]]
    need(found.ip not in have, "Error: Unable to add %s: it already exists", given["ipv6"])
    vmk["ipv6"]["addresses"].append({"address": str(found), "type": "STATIC"})
    wire.settle(state)


@tree.add("network ip interface ipv6 address remove", "i|interface-name s!", "I|ipv6 s!")
def ipv6_remove(state, given):
    vmk = interface(state, given["interface-name"])
    found = interface6(given["ipv6"])
    left = [a for a in vmk["ipv6"]["addresses"] if ipaddress.ip_interface(a["address"]) != found]
    need(len(left) < len(vmk["ipv6"]["addresses"]), "Error: Unable to remove %s: Not found", given["ipv6"])
    vmk["ipv6"]["addresses"] = left
    wire.settle(state)


@tree.add("network ip interface ipv6 address list", "i|interface-name s", "N|netstack s")
def ipv6_list(state, given):
    rows = []
    for name, vmk in sorted(state.host["vmks"].items()):
        if vmk["ipv6"]["enabled"]:
            local = ipaddress.ip_address((0xFE80 << 112) + wire.eui64(vmk["mac"]))
            rows.append([name, str(local), 64, "STATIC", "PREFERRED"])
        for a in vmk["ipv6"]["addresses"]:
            found = ipaddress.ip_interface(a["address"])
            rows.append([name, str(found.ip), found.network.prefixlen, a["type"], "PREFERRED"])
    return Table(["Interface", "Address", "Netmask", "Type", "Status"], [r for r in rows if given.get("interface-name", r[0]) == r[0]])


# Routes


def network(text, family):
    if text == "default":
        return "0.0.0.0/0" if family == 4 else "::/0"
    try:
        found = ipaddress.ip_network(text)
    except ValueError:
        raise Refused("Error: Invalid network %s" % text)
    need(found.version == family and "/" in text, "Error: Invalid network %s", text)
    return str(found)


def gateway(text, family):
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise Refused("Error: Invalid gateway %s" % text)
    need(found.version == family, "Error: Invalid gateway %s", text)
    return found


def route_add(family):
    def run(state, given):
        key = "ipv%d" % family
        to, via = network(given["network"], family), gateway(given["gateway"], family)
        if via.is_link_local:
            need(any(vmk["ipv6"]["enabled"] for vmk in state.host["vmks"].values()), "Error: Unable to add route: Network is unreachable")
        else:
            need(wire.on_link(state, str(via)), "Error: Unable to add route: %s: Network is unreachable", via)
        have = [r for r in state.host["routes"][key] if r["network"] == to]
        need(not [r for r in have if r["source"] == "MANUAL"], "Error: Unable to add route %s: Already exists", to)
        # A route of one's own takes the place of a learned one.
        state.host["routes"][key] = [r for r in state.host["routes"][key] if r["network"] != to]
        state.host["routes"][key].append({"network": to, "gateway": str(via), "source": "MANUAL"})

    return run


def route_remove(family):
    def run(state, given):
        key = "ipv%d" % family
        to, via = network(given["network"], family), str(gateway(given["gateway"], family))
        left = [r for r in state.host["routes"][key] if (r["network"], r["gateway"]) != (to, via)]
        need(len(left) < len(state.host["routes"][key]), "Error: Unable to remove route %s: Not found", to)
        before = wire.management_reachable(state)
        state.host["routes"][key] = left
        stranded(state, before)

    return run


def route_list(family):
    def run(state, given):
        rows = []
        for route in state.host["routes"]["ipv%d" % family]:
            to = ipaddress.ip_network(route["network"])
            via = (wire.on_link(state, route["gateway"]) + ["vmk0"])[0]
            mask = str(to.netmask) if family == 4 else to.prefixlen
            rows.append(["default" if to.prefixlen == 0 else str(to.network_address), mask, route["gateway"], via, route["source"]])
        for name, vmk in sorted(state.host["vmks"].items()):
            for i in wire.addresses(vmk, family):
                mask = str(i.network.netmask) if family == 4 else i.network.prefixlen
                rows.append([str(i.network.network_address), mask, "0.0.0.0" if family == 4 else "::", name, "MANUAL"])
        return Table(["Network", "Netmask" if family == 4 else "Prefix", "Gateway", "Interface", "Source"], rows)

    return run


for _family in (4, 6):
    tree.add("network ip route ipv%d add" % _family, "g|gateway s!", "n|network s!", "N|netstack s")(route_add(_family))
    tree.add("network ip route ipv%d remove" % _family, "g|gateway s!", "n|network s!", "N|netstack s")(route_remove(_family))
    tree.add("network ip route ipv%d list" % _family, "N|netstack s")(route_list(_family))


# DNS


def dns_add(key, option):
    def run(state, given):
        value = given[option]
        if key == "servers":
            try:
                ipaddress.ip_address(value)
            except ValueError:
                raise Refused("Error: Invalid server %s" % value)
        need(value not in state.host["dns"][key], "Error: %s already exists", value)
        state.host["dns"][key].append(value)

    return run


def dns_remove(key, option):
    def run(state, given):
        if given.get("all"):
            state.host["dns"][key] = []
            return
        need(given.get(option) in state.host["dns"][key], "Error: %s was not found", given.get(option))
        state.host["dns"][key].remove(given[option])

    return run


tree.add("network ip dns server add", "s|server s!", "N|netstack s")(dns_add("servers", "server"))
tree.add("network ip dns server remove", "s|server s", "a|all f", "N|netstack s")(dns_remove("servers", "server"))
tree.add("network ip dns search add", "d|domain s!", "N|netstack s")(dns_add("search", "domain"))
tree.add("network ip dns search remove", "d|domain s!", "N|netstack s")(dns_remove("search", "domain"))


@tree.add("network ip dns server list", "N|netstack s")
def dns_servers(state, given):
    return Blocks([(None, [("DNSServers", state.host["dns"]["servers"])])])


@tree.add("network ip dns search list", "N|netstack s")
def dns_search(state, given):
    return Blocks([(None, [("DNSSearch Domains", state.host["dns"]["search"])])])


@tree.add("network ip get")
def ip_get(state, given):
    return Blocks([(None, [("IPv6 Enabled", True), ("CLI IPv6 Enabled", True)])])


@tree.add("network diag ping", "H|host s!", "I|interface s", "c|count i", "W|wait s", "i|interval s", "s|size i", "d|df f",
          "4|ipv4 f", "6|ipv6 f", "t|ttl i", "N|netstack s")
def diag_ping(state, given):
    try:
        ipaddress.ip_address(given["host"].partition("%")[0])
    except ValueError:
        raise Refused("Error: Invalid host %s" % given["host"])
    if "interface" in given:
        interface(state, given["interface"])
    count = given.get("count", 3)
    got = count if wire.reaches(state, given["host"], given.get("interface")) else 0
    if not got:
        state.clock.advance(count)
    # It is an answer, and exit code 0, where nobody answered too.
    return Blocks([("Summary:", [("Host Addr", given["host"]), ("Transmitted", count), ("Received", got), ("Duplicated", 0),
                                 ("Packet Lost", 0 if got else 100), ("Round Trip Min", 0), ("Round Trip Avg", 0), ("Round Trip Max", 0)])])
