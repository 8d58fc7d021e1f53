"""What network_data.json and network-config have in common."""
from esxi_netinit import addresses, schema
from esxi_netinit.errors import MetadataError

BOND_NUMBERS = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
HASHED = ("802.3ad", "balance-xor")
MAX_ID = 128


def mac(node, problems):
    """A MAC address, None where there is none or it is not one."""
    if node is None:
        return None
    return problems.attempt(node.convert, addresses.mac)


def mtu(node, problems):
    """An MTU that ESXi takes, None for its default."""
    if node is None:
        return None
    try:
        return node.integer(schema.MIN_MTU, schema.MAX_MTU)
    except MetadataError as err:
        problems.note(err.path, err.message + ": the default is used")
        return None


def bond_mode(node, problems):
    """A mode by its name; the Linux driver's numbers are names too."""
    if node is None:
        return "active-backup"
    text = node.text(64)
    if text in BOND_NUMBERS:
        return text
    if text in ("0", "1", "2", "3", "4", "5", "6"):
        return BOND_NUMBERS[int(text)]
    # Works with any switch, unlike most others.
    problems.note(node.path, "is not a known bond mode: active-backup is used")
    return "active-backup"


def bond_miimon(node, problems):
    """The interval at which Linux looks for a carrier. ESXi has none to set:
    it is told of a lost link by the card's driver."""
    if node is None:
        return None
    problems.note(node.path, "is not used: ESXi notices a lost link by itself")
    return problems.attempt(node.integer, 0, 1 << 31)


def bond_policy(node, mode, problems):
    """What Linux chooses a card by. The IP hash of a standard switch is what
    layer2+3 comes to; the hash of MAC addresses, though ESXi has one, is none
    for a channel of the physical switch."""
    if node is None:
        return None
    if mode not in HASHED:
        problems.note(node.path, "is not used: a bond of this mode has no hash")
    elif not (node.is_text() and node.value == "layer2+3"):
        problems.note(node.path, "is not used: ESXi's hash is of source and destination IP address, as layer2+3 is")
    return problems.attempt(node.text, 32)


def bond_members(node):
    """The ids of a bond's links, each once."""
    out = []
    for member in node.elements():
        text = member.text(MAX_ID)
        if text not in out:
            out.append(text)
    if not out:
        raise node.wrong("is empty")
    if len(out) > schema.MAX_BOND_LINKS:
        raise node.wrong("has more than %d links" % schema.MAX_BOND_LINKS)
    return out


def static_address(node, mask, family, is_network=False):
    """(address, prefix length) of "addr/len", or of an address and a mask."""
    text, slash, length = node.text(128).strip().partition("/")
    try:
        address = addresses.address(text, family) if is_network else addresses.usable(text, family)
        prefix = addresses.prefix_length(length, family) if slash else None
    except ValueError as err:
        raise node.wrong("is %s" % err)
    if mask is not None:
        given = _mask(mask, family)
        if prefix is not None and given != prefix:
            raise mask.wrong("differs from the prefix length of the address")
        prefix = given
    if prefix is None:
        if is_network:
            # 0.0.0.0 alone is the default route, any other address one host.
            prefix = 0 if address in ("0.0.0.0", "::") else (32 if family == 4 else 128)
        else:
            raise node.wrong("has neither a netmask nor a prefix length")
    if not is_network:
        _check_host_part(node, address, prefix, family)
    return address, prefix


def _mask(node, family):
    try:
        return addresses.prefix_length(node.value if node.kind == "number" else node.text(128).strip(), family)
    except ValueError as err:
        raise node.wrong("is %s" % err)


def _check_host_part(node, address, prefix, family):
    if prefix == 0:
        raise node.wrong("has a prefix length of 0")
    if family == 4 and prefix < 31:
        if address in (addresses.network_of(address, prefix), addresses.broadcast_of(address, prefix)):
            raise node.wrong("is the network's own or its broadcast address")


def dns_servers(node, target, problems):
    """Adds the addresses of a text or a list to a list, each once."""
    if node is None:
        return
    for item in node.value if node.kind == "seq" else [node]:
        found = problems.attempt(item.convert, addresses.usable)
        if found is None or found in target:
            continue
        if len(target) >= schema.MAX_SERVERS:
            problems.note(item.path, "is one name server too many")
            return
        target.append(found)


def add_link(model, link, node, problems):
    """Adds a link unless there is one of that id."""
    if link is None:
        return
    if model.link(link["id"]) is not None:
        problems.error(node.wrong("has the id of another link"))
    elif len(model.links) >= schema.MAX_LINKS:
        problems.error(node.wrong("is one link too many"))
    else:
        model.links.append(link)


def add_network(model, network, node, problems):
    """Adds a network under an id of its own, and its name servers to the
    host's: ESXi has one list for all."""
    if network is None:
        return
    if len(model.networks) >= schema.MAX_NETWORKS:
        problems.error(node.wrong("is one network too many"))
        return
    if len(network["routes"]) > schema.MAX_ROUTES:
        problems.error(node.wrong("has more than %d routes" % schema.MAX_ROUTES))
        del network["routes"][schema.MAX_ROUTES:]
    used, wanted, n = set(other["id"] for other in model.networks), network["id"], 1
    while network["id"] in used:
        n += 1
        network["id"] = "%s#%d" % (wanted, n)
    if n > 1:
        problems.note(node.path, "has the id of another network")
    if network["address"] is not None and any(o["address"] == network["address"] for o in model.networks):
        problems.note(node.path, "has the address of another network")
    _check_gateways(network, node, problems)
    model.networks.append(network)
    for server in network["dns"]:
        if server not in model.dns["servers"] and len(model.dns["servers"]) < schema.MAX_SERVERS:
            model.dns["servers"].append(server)


def _check_gateways(network, node, problems):
    if network["method"] != "static":
        return
    for route in network["routes"]:
        # An IPv6 gateway is mostly link-local.
        if network["family"] == 4 and not addresses.contains(network["address"], network["prefix"], route["gateway"]):
            problems.note(node.path, "has a gateway outside its subnet")


def default_route(node, family):
    """The default route over a gateway."""
    gateway = node.convert(lambda value: addresses.usable(value, family))
    return {"network": "0.0.0.0" if family == 4 else "::", "prefix": 0, "gateway": gateway}


def route_of(target, mask, via, family, problems):
    """A route to an address with a mask or a prefix length."""
    base, prefix = static_address(target, mask, family, is_network=True)
    inside = addresses.network_of(base, prefix)
    if inside != base:
        problems.note(target.path, "has bits outside its netmask: they are ignored")
    return {
        "network": inside, "prefix": prefix, "gateway": via.convert(lambda value: addresses.usable(value, family)),
    }


def settle_links(model, places, problems):
    """Leaves out links that lie on others that are not there, or are of the
    wrong kind. Links may be listed in any order, so this comes after all of
    them: bonds first, since a VLAN may lie on one. places: id -> path."""
    owner, kept = {}, []
    for link in model.links:
        where = places.get(link["id"], "links")
        if link["kind"] != "bond" or _settle_bond(link["bond"], model, owner, where, problems):
            kept.append(link)
    model.links, kept = kept, []
    for link in model.links:
        below = model.link(link["vlan"]["link"]) if link["kind"] == "vlan" else link
        if below is None or (link["kind"] == "vlan" and below["kind"] == "vlan"):
            message = "is a VLAN on a link that is not there or is a VLAN itself"
            problems.error(MetadataError(places.get(link["id"], "links"), message))
        else:
            kept.append(link)
    model.links = kept
    _note_duplicate_macs(model, places, problems)


def _settle_bond(bond, model, owner, where, problems):
    """Keeps the members that can be; whether there are any."""
    kept = []
    for member in bond["links"]:
        below = model.link(member)
        if below is None or below["kind"] != "physical":
            problems.error(MetadataError(where, "is a bond of a link that is not there or is no network card"))
        elif member in owner:
            problems.error(MetadataError(where, "is a bond of a link that is in another bond"))
        else:
            owner[member] = bond
            kept.append(member)
    bond["links"] = kept
    if bond["primary"] is not None and bond["primary"] not in kept:
        problems.note(where, "has a primary link that is not its member")
        bond["primary"] = None
    return bool(kept)


def _note_duplicate_macs(model, places, problems):
    seen = set()
    for link in model.links:
        if link["kind"] == "physical" and link["mac"] is not None:
            if link["mac"] in seen:
                problems.note(places.get(link["id"], "links"), "has the MAC address of another network card")
            seen.add(link["mac"])
