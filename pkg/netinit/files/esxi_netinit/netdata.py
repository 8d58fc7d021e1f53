"""OpenStack's network_data.json into links, networks and name servers.

An element that can't be used is reported and left out, with what refers to it:
the others may be what the host is reached by.
"""
from esxi_netinit import addresses, schema
from esxi_netinit.netparts import (
    MAX_ID, add_link, add_network, bond_members, bond_miimon, bond_mode, bond_policy, default_route, dns_servers, mac,
    mtu, route_of, settle_links, static_address,
)

# What Nova, Neutron and Ironic name; each is one network card for us.
PHYSICAL = (
    "phy", "vif", "ovs", "tap", "bridge", "dvs", "hw_veb", "hyperv", "vhostuser", "cascading", "hostdev", "hostdev_physical",
    "802.1qbg", "802.1qbh", "agilio_ovs", "binding_failed", "distributed", "ib_hostdev", "ivs", "iovisor", "macvtap",
    "midonet", "other", "unbound", "vrouter", "physical", "ethernet", "port",
)
METHODS = {
    "ipv4": (4, "static"), "ipv4_dhcp": (4, "dhcp"),
    "ipv6": (6, "static"), "ipv6_dhcp": (6, "dhcpv6"), "ipv6_slaac": (6, "slaac"),
    "ipv6_dhcpv6-stateful": (6, "dhcpv6"), "ipv6_dhcpv6-stateless": (6, "dhcpv6-stateless"),
}
LINK_KEYS = ("id", "type", "ethernet_mac_address", "mtu", "vif_id", "name", "neutron_port_id")
BOND_KEYS = ("bond_mode", "bond_links", "bond_miimon", "bond_xmit_hash_policy", "bond_primary")
VLAN_KEYS = ("vlan_id", "vlan_link", "vlan_mac_address")
NETWORK_KEYS = (
    "id", "link", "type", "network_id", "ip_address", "netmask", "routes", "services", "dns_nameservers", "gateway",
)
ROUTE_KEYS = ("network", "netmask", "gateway", "services")


def read(root, model, problems):
    """Fills model.links, networks, dns and ntp from the node of the file."""
    if root.is_null():
        problems.note(root.path, "is empty: no network is known")
        return
    root.members()
    problems.leftover(root, ("links", "networks", "services"))
    for node in _elements(root, "links", problems):
        add_link(model, problems.attempt(_link, node, problems), node, problems)
    settle_links(model, _places(root), problems)
    for node in _elements(root, "services", problems):
        problems.attempt(_service, node, model, problems)
    for i, node in enumerate(_elements(root, "networks", problems)):
        add_network(model, problems.attempt(_network, node, i, model, problems), node, problems)


def _elements(node, name, problems):
    found = node.get(name)
    if found is None:
        return []
    return problems.attempt(found.elements) or []


def _places(root):
    """The path of each link by its id, for what is found out later."""
    out, links = {}, root.get("links")
    for node in links.value if links is not None and links.kind == "seq" else []:
        if node.kind == "map" and "id" in node.value and node.value["id"].kind in ("text", "number"):
            out.setdefault(str(node.value["id"].value), node.path)
    return out


def _identifier(node, name):
    found = node.get(name)
    if found is None:
        return None
    text = found.text(MAX_ID)
    if not text:
        raise found.wrong("is empty")
    return text


# Links.

def _link(node, problems):
    link_id = _identifier(node, "id")
    if link_id is None:
        raise node.wrong("has no id")
    kind_node = node.get("type")
    kind = "phy" if kind_node is None else kind_node.text(64)
    link = {
        "id": link_id, "kind": "physical", "nic": None, "bond": None, "vlan": None,
        "mac": mac(node.get("ethernet_mac_address"), problems), "mtu": mtu(node.get("mtu"), problems),
    }
    known = LINK_KEYS
    if kind == "bond":
        link["kind"], link["bond"], known = "bond", _bond(node, problems), LINK_KEYS + BOND_KEYS
    elif kind == "vlan":
        link["kind"], link["vlan"], known = "vlan", _vlan(node, problems), LINK_KEYS + VLAN_KEYS
    else:
        _physical(node, link, kind, kind_node, problems)
    problems.leftover(node, known)
    return link


def _physical(node, link, kind, kind_node, problems):
    if kind_node is None:
        problems.note(node.path, "has no type: taken for a network card")
    elif kind not in PHYSICAL:
        problems.note(kind_node.path, "is not known: taken for a network card")
    if link["mac"] is None:
        # Some templates name the card instead.
        name = node.get("name")
        for text in (link["id"], name.value if name is not None and name.is_text() else ""):
            if schema.NIC.match(text):
                link["nic"] = text
                return
        problems.note(node.path, "has no MAC address: its card can't be found")


def _bond(node, problems):
    members = node.get("bond_links")
    if members is None:
        raise node.wrong("has no bond_links")
    primary = node.get("bond_primary")
    mode = bond_mode(node.get("bond_mode"), problems)
    return {
        "mode": mode,
        "links": bond_members(members),
        "primary": None if primary is None else problems.attempt(primary.text, MAX_ID),
        "miimon": bond_miimon(node.get("bond_miimon"), problems),
        "xmit_hash_policy": bond_policy(node.get("bond_xmit_hash_policy"), mode, problems),
    }


def _vlan(node, problems):
    number, below = node.get("vlan_id"), _identifier(node, "vlan_link")
    if number is None or below is None:
        raise node.wrong("has no vlan_id or no vlan_link")
    return {
        "id": number.integer(0, schema.MAX_VLAN), "link": below, "mac": mac(node.get("vlan_mac_address"), problems),
    }


# Networks.

def _network(node, index, model, problems):
    kind, link = node.get("type"), _identifier(node, "link")
    if kind is None:
        raise node.wrong("has no type")
    if kind.text(64) not in METHODS:
        raise kind.wrong("is not known")
    if link is None:
        raise node.wrong("has no link")
    if model.link(link) is None:
        raise node.get("link").wrong("names no link")
    family, method = METHODS[kind.value]
    network_id = node.get("network_id")
    network = {
        "id": _identifier(node, "id") or "network%d" % index, "link": link, "family": family, "method": method,
        "network_id": None if network_id is None else problems.attempt(network_id.text, MAX_ID),
        "address": None, "prefix": None, "routes": [], "dns": [],
    }
    if method == "static":
        address = node.get("ip_address")
        if address is None:
            raise node.wrong("has no ip_address")
        network["address"], network["prefix"] = static_address(address, node.get("netmask"), family)
    gateway = node.get("gateway")
    if gateway is not None:
        # Not in the schema, but written.
        route = problems.attempt(default_route, gateway, family)
        network["routes"] += [] if route is None else [route]
    for route in _elements(node, "routes", problems):
        found = problems.attempt(_route, route, family, network, problems)
        if found is not None and found not in network["routes"]:
            network["routes"].append(found)
    dns_servers(node.get("dns_nameservers"), network["dns"], problems)
    for service in _elements(node, "services", problems):
        problems.attempt(_service, service, model, problems, network)
    problems.leftover(node, NETWORK_KEYS)
    return network


def _route(node, family, network, problems):
    """A route; its name servers are the network's."""
    for service in _elements(node, "services", problems):
        problems.attempt(_service, service, None, problems, network)
    target, gateway = node.get("network"), node.get("gateway")
    if target is None:
        raise node.wrong("has no network")
    if gateway is None:
        raise node.wrong("has no gateway")
    problems.leftover(node, ROUTE_KEYS)
    return route_of(target, node.get("netmask"), gateway, family, problems)


def _service(node, model, problems, network=None):
    """A name server, or a time server, of the whole host or of a network."""
    kind, address = node.get("type"), node.get("address")
    if kind is None or address is None:
        raise node.wrong("has no type or no address")
    text = kind.text(64)
    if text == "dns":
        dns_servers(address, model.dns["servers"] if network is None else network["dns"], problems)
    elif text == "ntp" and model is not None:
        server = address.convert(addresses.server)
        if server not in model.ntp:
            model.ntp.append(server)
    else:
        problems.note(kind.path, "is not supported")
