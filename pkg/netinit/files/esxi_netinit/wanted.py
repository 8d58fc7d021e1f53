"""From the model's links and networks to VMkernel interfaces: which cards,
which VLAN, which addresses. Names and numbers that the host has are kept."""
from esxi_netinit import addresses
from esxi_netinit.hoststate import nic_of, vmk_number

# Whether all networks are configured where the metadata does not say: see the
# decision record on it.
ALL_NETWORKS = True
# A standard switch has no LACP. Its IP hash fits a static channel; port id and
# explicit order need nothing of the physical switch.
BONDS = {
    "802.3ad": "iphash", "balance-xor": "iphash", "balance-rr": "portid", "balance-tlb": "portid",
    "balance-alb": "portid", "broadcast": "portid", "active-backup": "explicit",
}
MAX_PORTGROUP = 80  # characters
MAX_INTERFACES = 128
VMK_NUMBERS = 1000


class Interface(object):
    """A VMkernel interface that is wanted. networks has at most one of IPv4.
    active and standby are cards; vlan is 0 without one."""

    def __init__(self, networks):
        self.networks = networks
        self.link = networks[0]["link"]
        self.management = False
        self.active = []
        self.standby = []
        self.balance = None  # of a bond
        self.vlan = 0
        self.mac = None
        self.own_mac = False  # the metadata names it for this very interface
        self.mtu = None
        self.no_ipv4 = False  # its address can't be used: the installer's stays
        self.switch = None
        self.portgroup = None
        self.name = None

    def uplinks(self):
        return self.active + self.standby

    def path(self):
        return "$.networks[%s]" % self.networks[0]["id"]

    def network(self, family):
        return [n for n in self.networks if n["family"] == family]


def interfaces(model, state, plan):
    """The interfaces, management first. What can't be had is a problem."""
    out = []
    chief = model.management()
    if chief is None:
        return out
    everything = model.options["configure_all_networks"]
    if everything is None:
        everything = ALL_NETWORKS
    for networks in grouped(model, chief):
        one = Interface(networks)
        one.management = chief in networks
        if not one.management and not everything:
            for network in networks:
                plan.note("$.networks[%s]" % network["id"], "is not configured: only the management network is asked for")
            continue
        if len(out) == MAX_INTERFACES:
            plan.problem(one.path(), "is one of more than %d interfaces" % MAX_INTERFACES)
            break
        if resolve(model, state, plan, one) and apart(state, plan, out, one):
            out.append(one)
    assign_switches(model, state, plan, out)
    out = [one for one in out if one.switch is not None]
    assign_names(model, state, out)
    return out


def grouped(model, chief):
    """Networks that share an interface: an IPv4 network and all of IPv6 on
    the same link. The management network's comes first."""
    links = []
    for network in [chief] + model.networks:
        if network["link"] not in links:
            links.append(network["link"])
    groups = []
    for link in links:
        here = [n for n in model.networks if n["link"] == link]
        if chief in here:
            here = [chief] + [n for n in here if n is not chief]
        four = [n for n in here if n["family"] == 4]
        six = [n for n in here if n["family"] == 6]
        groups.append(four[:1] + six)
        groups += [[n] for n in four[1:]]
    return groups


def resolve(model, state, plan, one):
    """Cards, VLAN and sizes of an interface. False where it can't be had."""
    links, vlan, bond = model.uplinks(one.link)
    one.vlan = vlan or 0
    found = {}
    if one.management and len(links) == 1 and links[0]["mac"] is None and links[0]["nic"] is None:
        # Nothing names the card: it is the one that the installer took.
        found = dict((links[0]["id"], nic) for nic in current_uplinks(state)[:1])
        links = links if not found else []
    for link in links:
        nic = nic_of(state, link)
        if nic is None:
            plan.problem("$.links[%s]" % link["id"], "the host has no card %s" % (link["mac"] or link["nic"] or "for a link without MAC address"))
        elif nic not in found.values():
            found[link["id"]] = nic
    if not found:
        plan.problem(one.path(), "no card of its link is in the host: it is not configured")
        return False
    nics = [found[link["id"]] for link in links if link["id"] in found] or list(found.values())
    one.active = nics
    if bond is not None:
        teaming(plan, one, bond, nics)
    link = model.link(one.link)
    one.mac = model.mac_of(one.link)
    one.own_mac = link["kind"] == "vlan" and bool(link["vlan"]["mac"] or link["mac"])
    one.mtu = model.mtu_of(one.link)
    return True


def apart(state, plan, found, one):
    """Whether there is anything left of an interface without what would take
    management's traffic away: an address in management's network, elsewhere.
    Which of two such interfaces a host uses nobody knows."""
    chief = found[0] if found and found[0].management else None
    if chief is None or (chief.vlan, set(chief.uplinks())) == (one.vlan, set(one.uplinks())):
        return True
    mine = [(n["address"], n["prefix"]) for n in chief.network(4) if n["method"] == "static"]
    vmk = state.vmks.get(state.management_vmk())
    if not mine and vmk is not None and vmk["ipv4"]["address"] and vmk["ipv4"]["netmask"]:
        mine = [(vmk["ipv4"]["address"], addresses.prefix_length(vmk["ipv4"]["netmask"], 4))]
    for network in one.network(4):
        if network["method"] != "static":
            continue
        for address, prefix in mine:
            if addresses.contains(address, prefix, network["address"]) or addresses.contains(network["address"], network["prefix"], address):
                plan.problem("$.networks[%s]" % network["id"], "overlaps management's network on another link, and would take its traffic away:"
                             " it is not configured")
                one.networks = [n for n in one.networks if n is not network]
                break
    return bool(one.networks)


def current_uplinks(state):
    vmk = state.management_vmk()
    portgroup = state.portgroups.get(state.vmks[vmk]["portgroup"]) if vmk is not None else None
    switch = state.switches.get(portgroup["switch"]) if portgroup else None
    return switch["uplinks"] if switch else []


def teaming(plan, one, bond, nics):
    mode, path = bond["bond"]["mode"], "$.links[%s].bond" % bond["id"]
    one.balance = BONDS[mode]
    if mode == "active-backup":
        one.active, one.standby = nics[:1], nics[1:]
    elif one.balance == "iphash":
        plan.note(path, "%s becomes IP hash: a standard switch has no LACP, the physical switch needs a static channel" % mode)
    elif mode == "broadcast":
        plan.note(path, "there is no broadcast bond: it becomes port id")
    if len(nics) < 2:
        # One card alone is never hashed: the channel would wait for others.
        one.balance = None


def assign_switches(model, state, plan, wanted):
    """The same uplinks share a switch; a card is on one switch only."""
    owner = {}  # card: interface that came first
    used = set(state.switches) | set([model.options["management_vswitch"]])
    kept = [] if any(one.management for one in wanted) else current_uplinks(state)
    for one in wanted:
        if set(one.uplinks()) & set(kept) and set(one.uplinks()) != set(kept):
            plan.problem(one.path(), "one of its cards carries management: it is not configured")
            continue
        first = [owner[nic] for nic in one.uplinks() if nic in owner]
        if first:
            if set(first[0].uplinks()) != set(one.uplinks()):
                nic = [n for n in one.uplinks() if n in owner][0]
                plan.problem(one.path(), "%s belongs to %s with other cards: it is not configured" % (nic, first[0].switch))
                continue
            one.switch = first[0].switch
        elif one.management:
            one.switch = model.options["management_vswitch"]
        else:
            one.switch = present_switch(state, one, model, wanted) or free_switch(model, used)
        used.add(one.switch)
        for nic in one.uplinks():
            owner.setdefault(nic, one)


def present_switch(state, one, model, wanted):
    """A switch that an earlier run, or somebody else, made for these cards."""
    taken = [other.switch for other in wanted if other.switch is not None]
    vmk = state.management_vmk()
    chief = (state.portgroups.get(state.vmks[vmk]["portgroup"]) or {}).get("switch") if vmk is not None else None
    cards = set(one.uplinks())
    for name in [state.switch_with(nic) for nic in one.uplinks()]:
        if name is None or name in taken:
            continue
        have = set(state.switches[name]["uplinks"])
        # The switch that carries management stays as it is, also where
        # management could not be planned.
        if have == cards or (have < cards and name not in (chief, model.options["management_vswitch"])):
            return name
    return None


def free_switch(model, used):
    number = model.options["first_extra_vswitch_number"]
    while "vSwitch%d" % number in used:
        number += 1
    return "vSwitch%d" % number


def assign_names(model, state, wanted):
    """Port groups by a name that the next run makes again; interfaces keep
    the number that they have, and the others get the next free ones."""
    portgroups = set([model.options["management_portgroup"]])
    numbers = set(vmk_number(name) for name in state.vmks)
    for one in wanted:
        if one.management:
            one.portgroup = model.options["management_portgroup"]
            one.name = state.management_vmk() or "vmk0"
            numbers.add(vmk_number(one.name))
    for one in wanted:
        if one.management:
            continue
        elsewhere = [name for name, its in state.portgroups.items() if its["switch"] != one.switch]
        one.portgroup = portgroup_name(model, one, portgroups.union(elsewhere))
        portgroups.add(one.portgroup)
        one.name = state.on_portgroup(one.portgroup)
        if one.name is None:
            free = next(n for n in range(1, VMK_NUMBERS) if n not in numbers)
            one.name = "vmk%d" % free
            numbers.add(free)


def portgroup_name(model, one, taken):
    """The prefix that the metadata gives with the VLAN, else the network's
    id; with a number where that is taken."""
    prefix = model.options["extra_portgroup_prefix"]
    base = "%s%d" % (prefix, one.vlan) if prefix is not None else one.networks[0]["id"]
    base = "".join(char if " " <= char <= "~" and char not in "/\\%,\"'" else "_" for char in base).strip()
    base = (base or "network").lstrip("-")[:MAX_PORTGROUP - 4] or "network"
    name, number = base, 2
    while name in taken:
        name = "%s-%d" % (base, number)
        number += 1
    return name


def mtu_of_switch(wanted, switch):
    """The largest of its interfaces, None where none is told."""
    sizes = [one.mtu for one in wanted if one.switch == switch and one.mtu is not None]
    return max(sizes) if sizes else None


def default_route(wanted, family, plan):
    """(interface, gateway) of the only default route that a host has: the
    management's, else the first."""
    chosen = None
    for one in wanted:
        for network in one.network(family):
            gateways = [r["gateway"] for r in network["routes"] if r["prefix"] == 0]
            for k, gateway in enumerate(gateways):
                if chosen is None and reachable(one, gateway):
                    chosen = (one, gateway)
                elif chosen is None:
                    plan.problem("$.networks[%s].routes" % network["id"], "the gateway %s is in no subnet of the interface" % gateway)
                elif gateway != chosen[1]:
                    plan.note("$.networks[%s].routes" % network["id"], "a host has one default route per family: %s is left out, %s is used" % (gateway, chosen[1]))
    return chosen


def static_routes(wanted, plan):
    """[(interface, family, route)] but the default ones, each once."""
    out, seen = [], {}
    for one in wanted:
        for network in one.networks:
            for route in network["routes"]:
                if route["prefix"] == 0:
                    continue
                path = "$.networks[%s].routes" % network["id"]
                key = (network["family"], route["network"], route["prefix"])
                if network["family"] == 4 and one.no_ipv4:
                    plan.note(path, "is left out with the address")
                elif not reachable(one, route["gateway"]):
                    plan.problem(path, "the gateway %s is in no subnet of the interface" % route["gateway"])
                elif key in seen:
                    if seen[key] != route["gateway"]:
                        plan.note(path, "%s/%d has two gateways: %s is used" % (route["network"], route["prefix"], seen[key]))
                else:
                    seen[key] = route["gateway"]
                    out.append((one, network["family"], route))
    return out


def reachable(one, gateway):
    """Whether a gateway can lie next to the interface. Nothing is known of
    the subnet that DHCP or a router will give."""
    family = addresses.parse(gateway).version
    here = one.network(family)
    if addresses.parse(gateway).is_link_local and family == 6:
        return bool(here)
    if any(n["method"] != "static" for n in here):
        return True
    return any(n["address"] != gateway and addresses.contains(n["address"], n["prefix"], gateway) for n in here)
