"""NoCloud's network-config, versions 1 and 2, into the same model as
network_data.json. Keys of netplan that ESXi has nothing for are noted."""
from esxi_netinit import addresses, schema
from esxi_netinit.errors import MetadataError
from esxi_netinit.netparts import (
    MAX_ID, add_link, add_network, bond_members, bond_miimon, bond_mode, bond_policy, default_route, dns_servers, mac,
    mtu, route_of, settle_links, static_address,
)

V2_COMMON = (
    "mtu", "addresses", "gateway4", "gateway6", "dhcp4", "dhcp6", "accept-ra", "routes", "nameservers", "macaddress",
    "optional", "renderer",
)
V1_COMMON = ("type", "name", "mac_address", "mtu", "subnets", "accept-ra")
V1_SUBNETS = {
    "dhcp": (4, "dhcp"), "dhcp4": (4, "dhcp"), "dhcp6": (6, "dhcpv6"), "static": (None, "static"),
    "static6": (6, "static"), "ipv6_slaac": (6, "slaac"), "ipv6_dhcpv6-stateful": (6, "dhcpv6"),
    "ipv6_dhcpv6-stateless": (6, "dhcpv6-stateless"),
}


def read(root, model, problems):
    """Fills model.links, networks and dns from the node of the file."""
    if root.is_null():
        problems.note(root.path, "is empty: no network is known")
        return
    inner = root.get("network")
    if inner is not None and "version" not in root.members():
        problems.leftover(root, ("network",))
        root = inner
    version = root.get("version")
    if version is None:
        config = root.get("config")
        if config is not None and config.is_text() and config.value == "disabled":
            problems.note(config.path, "the network is not to be configured: ESXi's default stays")
            return
        raise root.wrong("has no version")
    if version.integer(0, 99) == 1:
        _Version1(model, problems).read(root)
    elif version.value in (2, "2"):
        _Version2(model, problems).read(root)
    else:
        raise version.wrong("is neither 1 nor 2")


def _nic(text):
    return text if schema.NIC.match(text) else None


class _Base(object):
    def __init__(self, model, problems):
        self.model = model
        self.problems = problems
        self.places = {}  # id of a link -> its path

    def link(self, link_id, node):
        """A physical link to begin with."""
        if not link_id or len(link_id) > MAX_ID:
            raise node.wrong("has an empty or a long name")
        self.places.setdefault(link_id, node.path)
        return {"id": link_id, "kind": "physical", "mac": None, "nic": None, "mtu": None, "bond": None, "vlan": None}

    def network(self, link_id, family, method):
        """A network of a link, named after the link, family and number."""
        n = sum(1 for other in self.model.networks if other["link"] == link_id and other["family"] == family)
        return {
            "id": "%s-ipv%d%s" % (link_id, family, "-%d" % (n + 1) if n else ""), "link": link_id, "network_id": None,
            "family": family, "method": method, "address": None, "prefix": None, "routes": [], "dns": [],
        }

    def check_card(self, link, node):
        if link["mac"] is None and link["nic"] is None:
            self.problems.note(node.path, "has neither a MAC address nor the name of a vmnic: its card can't be found")

    def search(self, node):
        """Search domains, from a list or a text with blanks."""
        if node is None:
            return
        if node.is_text():
            names = [(node, word) for word in (self.problems.attempt(node.text, 4096, True) or "").split()]
        else:
            names = [(item, item.value) for item in self.problems.attempt(node.elements) or []]
        target = self.model.dns["search"]
        for item, word in names:
            try:
                name = addresses.domain(word)
            except ValueError as err:
                self.problems.error(item.wrong("is %s" % err))
                continue
            if name not in target and len(target) < schema.MAX_SERVERS:
                target.append(name)


class _Version2(_Base):
    def read(self, root):
        self.problems.leftover(root, ("version", "renderer", "ethernets", "bonds", "vlans"))
        nodes = []
        for section, make in (("ethernets", self.ethernet), ("bonds", self.bond), ("vlans", self.vlan)):
            found = root.get(section)
            members = None if found is None else self.problems.attempt(found.members)
            for name, node in (members or {}).items():
                add_link(self.model, self.problems.attempt(make, name, node), node, self.problems)
                nodes.append((name, node))
        settle_links(self.model, self.places, self.problems)
        for name, node in nodes:
            # A link that was left out has been reported.
            if self.model.link(name) is not None and node.kind == "map":
                self.problems.attempt(self.addresses, name, node)

    def common(self, name, node):
        link = self.link(name, node)
        if not node.is_null():
            link["mac"] = mac(node.get("macaddress"), self.problems)
            link["mtu"] = mtu(node.get("mtu"), self.problems)
        return link

    def ethernet(self, name, node):
        link = self.common(name, node)
        link["nic"] = _nic(name)
        if node.is_null():
            self.check_card(link, node)
            return link
        self.problems.leftover(node, V2_COMMON + ("match", "set-name"))
        match = node.get("match")
        if match is not None:
            self.problems.leftover(match, ("macaddress", "name"))
            burnt = mac(match.get("macaddress"), self.problems)
            if burnt is not None and link["mac"] not in (None, burnt):
                self.problems.note(node.path, "has another MAC address than its card: the card's is used")
            link["mac"] = burnt or link["mac"]
            self.match_name(link, match.get("name"))
        self.check_card(link, node)
        return link

    def match_name(self, link, node):
        if node is None:
            return
        text = node.text(64)
        if _nic(text):
            link["nic"] = text
        elif link["mac"] is None:
            self.problems.note(node.path, "is not the name of a vmnic")

    def bond(self, name, node):
        link = self.common(name, node)
        self.problems.leftover(node, V2_COMMON + ("interfaces", "parameters"))
        members = node.get("interfaces")
        if members is None:
            raise node.wrong("has no interfaces")
        bond = {
            "mode": "active-backup", "links": bond_members(members), "primary": None, "miimon": None,
            "xmit_hash_policy": None,
        }
        parameters = node.get("parameters")
        if parameters is None:
            # The driver's default, which needs a switch that knows of it.
            self.problems.note(node.path, "has no bond mode: active-backup is used")
        else:
            names = ("mode", "mii-monitor-interval", "transmit-hash-policy", "primary")
            self.problems.attempt(_bond_parameters, bond, parameters, "", names, self.problems)
        link["kind"], link["bond"] = "bond", bond
        return link

    def vlan(self, name, node):
        link = self.common(name, node)
        self.problems.leftover(node, V2_COMMON + ("id", "link"))
        number, below = node.get("id"), node.get("link")
        if number is None or below is None:
            raise node.wrong("has no id or no link")
        link["kind"] = "vlan"
        link["vlan"] = {"id": number.integer(0, schema.MAX_VLAN), "link": below.text(MAX_ID), "mac": link["mac"]}
        return link

    def flag(self, node, name):
        found = node.get(name)
        return found is not None and bool(self.problems.attempt(found.boolean))

    def addresses(self, link_id, node):
        """The networks of a link: a static address prevails over DHCP."""
        made = {4: [], 6: []}
        listed = node.get("addresses")
        for item in [] if listed is None else self.problems.attempt(listed.elements) or []:
            if item.kind == "map":
                # netplan's form with options: {"10.0.0.1/24": {label: ...}}.
                self.problems.note(item.path, "an address with options is not supported")
                continue
            network = self.problems.attempt(self.static, link_id, item)
            if network is not None:
                made[network["family"]].append((network, item))
        for family, key in ((4, "dhcp4"), (6, "dhcp6")):
            if self.flag(node, key):
                if made[family]:
                    self.problems.note(node.get(key).path, "is ignored: there is a static address")
                else:
                    made[family].append((self.network(link_id, family, "dhcp" if family == 4 else "dhcpv6"), node))
        if self.flag(node, "accept-ra") and not made[6]:
            made[6].append((self.network(link_id, 6, "slaac"), node))
        for family, key in ((4, "gateway4"), (6, "gateway6")):
            gateway = node.get(key)
            if gateway is not None:
                self.add_route(made[family], self.problems.attempt(default_route, gateway, family), gateway)
        self.routes(node.get("routes"), made)
        self.problems.attempt(self.name_servers, node.get("nameservers"), made[4] + made[6])
        for network, where in made[4] + made[6]:
            network["id"] = self.network(link_id, network["family"], "")["id"]
            add_network(self.model, network, where, self.problems)

    def static(self, link_id, node):
        text = node.text(128)
        family = 6 if ":" in text else 4
        network = self.network(link_id, family, "static")
        network["address"], network["prefix"] = static_address(node, None, family)
        return network

    def add_route(self, made, route, node):
        """A route belongs to the first network of its family on the link."""
        if route is None:
            return
        if not made:
            self.problems.error(node.wrong("is a route on a link without an address of its family"))
        elif route not in made[0][0]["routes"]:
            made[0][0]["routes"].append(route)

    def routes(self, node, made):
        for item in [] if node is None else self.problems.attempt(node.elements) or []:
            self.problems.attempt(self.route, item, made)

    def route(self, node, made):
        self.problems.leftover(node, ("to", "via"))
        to, via = node.get("to"), node.get("via")
        if to is None or via is None:
            raise node.wrong("has no to or no via")
        family = 6 if ":" in via.text(64) else 4
        if to.text(64) in ("default", "0/0"):
            found = default_route(via, family)
        else:
            found = route_of(to, None, via, family, self.problems)
        self.add_route(made[family], found, node)

    def name_servers(self, node, made):
        if node is None:
            return
        self.problems.leftover(node, ("addresses", "search"))
        target = made[0][0]["dns"] if made else self.model.dns["servers"]
        dns_servers(node.get("addresses"), target, self.problems)
        self.search(node.get("search"))


def _bond_parameters(bond, node, prefix, names, problems):
    problems.leftover(node, tuple(prefix + name for name in names))
    mode, miimon, policy, primary = [node.get(prefix + name) for name in names]
    bond["mode"] = bond_mode(mode, problems)
    bond["miimon"] = bond_miimon(miimon, problems)
    bond["xmit_hash_policy"] = bond_policy(policy, bond["mode"], problems)
    bond["primary"] = None if primary is None else problems.attempt(primary.text, MAX_ID)


class _Version1(_Base):
    def read(self, root):
        self.problems.leftover(root, ("version", "config"))
        config = root.get("config")
        if config is None:
            raise root.wrong("has no config")
        entries = [node for node in config.elements() if self.problems.attempt(node.members) is not None]
        for node in entries:
            kind = self.problems.attempt(self.kind, node)
            if kind in ("physical", "bond", "vlan"):
                make = {"physical": self.physical, "bond": self.bond, "vlan": self.vlan}[kind]
                add_link(self.model, self.problems.attempt(make, node), node, self.problems)
            elif kind == "nameserver":
                self.problems.leftover(node, ("type", "address", "search"))
                dns_servers(node.get("address"), self.model.dns["servers"], self.problems)
                self.search(node.get("search"))
            elif kind not in (None, "route"):
                self.problems.note(node.path, "is of a type that is not supported")
        settle_links(self.model, self.places, self.problems)
        for node in entries:
            self.problems.attempt(self.subnets, node)
        for node in entries:
            if node.get("type") is not None and node.get("type").value == "route":
                self.problems.attempt(self.global_route, node)

    def kind(self, node):
        found = node.get("type")
        if found is None:
            raise node.wrong("has no type")
        return found.text(64)

    def common(self, node):
        name = node.get("name")
        if name is None:
            raise node.wrong("has no name")
        link = self.link(name.text(MAX_ID), node)
        link["mac"] = mac(node.get("mac_address"), self.problems)
        link["mtu"] = mtu(node.get("mtu"), self.problems)
        return link

    def physical(self, node):
        link = self.common(node)
        link["nic"] = _nic(link["id"])
        self.problems.leftover(node, V1_COMMON)
        self.check_card(link, node)
        return link

    def bond(self, node):
        link = self.common(node)
        self.problems.leftover(node, V1_COMMON + ("bond_interfaces", "params"))
        members = node.get("bond_interfaces")
        if members is None:
            raise node.wrong("has no bond_interfaces")
        link["kind"] = "bond"
        link["bond"] = {
            "mode": "active-backup", "links": bond_members(members), "primary": None, "miimon": None,
            "xmit_hash_policy": None,
        }
        params = node.get("params")
        if params is not None:
            self.problems.attempt(self.parameters, link["bond"], params)
        return link

    def parameters(self, bond, node):
        """Written with dashes as in /etc/network/interfaces, or underscores."""
        dash = "-" if any("-" in name for name in node.members()) else "_"
        names = ("mode", "miimon", dash.join(("xmit", "hash", "policy")), "primary")
        _bond_parameters(bond, node, "bond" + dash, names, self.problems)

    def vlan(self, node):
        link = self.common(node)
        self.problems.leftover(node, V1_COMMON + ("vlan_id", "vlan_link"))
        number, below = node.get("vlan_id"), node.get("vlan_link")
        if number is None or below is None:
            raise node.wrong("has no vlan_id or no vlan_link")
        link["kind"] = "vlan"
        link["vlan"] = {"id": number.integer(0, schema.MAX_VLAN), "link": below.text(MAX_ID), "mac": link["mac"]}
        return link

    def subnets(self, node):
        name, listed = node.get("name"), node.get("subnets")
        if name is None or listed is None or self.model.link(name.text(MAX_ID)) is None:
            return
        for item in listed.elements():
            network = self.problems.attempt(self.subnet, name.text(MAX_ID), item)
            if network is not None:
                add_network(self.model, network, item, self.problems)

    def subnet(self, link_id, node):
        kind = node.get("type")
        if kind is None:
            raise node.wrong("has no type")
        if kind.text(64) == "manual":
            return None
        if kind.value not in V1_SUBNETS:
            raise kind.wrong("is not supported")
        family, method = V1_SUBNETS[kind.value]
        address = node.get("address")
        if method == "static":
            if address is None:
                raise node.wrong("has no address")
            family = family or (6 if ":" in address.text(128) else 4)
        network = self.network(link_id, family, method)
        known = ("type", "address", "netmask", "gateway", "dns_nameservers", "dns_search", "routes", "ipv4", "ipv6", "control")
        self.problems.leftover(node, known)
        if method == "static":
            network["address"], network["prefix"] = static_address(address, node.get("netmask"), family)
        gateway = node.get("gateway")
        route = None if gateway is None else self.problems.attempt(default_route, gateway, family)
        network["routes"] += [] if route is None else [route]
        listed = node.get("routes")
        for item in [] if listed is None else self.problems.attempt(listed.elements) or []:
            route = self.problems.attempt(self.route, item, family)
            if route is not None and route not in network["routes"]:
                network["routes"].append(route)
        dns_servers(node.get("dns_nameservers"), network["dns"], self.problems)
        self.search(node.get("dns_search"))
        return network

    def route(self, node, family):
        target, via = node.get("destination", "network"), node.get("gateway")
        if target is None or via is None:
            raise node.wrong("has no destination or no gateway")
        self.problems.leftover(node, ("type", "destination", "network", "netmask", "gateway"))
        return route_of(target, node.get("netmask"), via, family, self.problems)

    def global_route(self, node):
        via = node.get("gateway")
        if via is None:
            raise node.wrong("has no gateway")
        gateway = via.convert(addresses.usable)
        for network in self.model.networks:
            if network["address"] is not None and addresses.contains(network["address"], network["prefix"], gateway):
                route = self.route(node, network["family"])
                if route not in network["routes"] and len(network["routes"]) < schema.MAX_ROUTES:
                    network["routes"].append(route)
                return
        raise MetadataError(via.path, "lies in none of the networks")
