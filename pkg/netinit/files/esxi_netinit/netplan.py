"""The network part of a plan: management is changed in place and tried out,
then the other networks are added.

What the installer made is never deleted first. Where metadata wants other
names than the installer's, or another MAC address, which can't be changed in
place, the interface is moved: the new switch and port group are complete
before the old ones lose anything, and the old ones go last.
"""
from esxi_netinit import addresses, wanted
from esxi_netinit.hoststate import MANAGEMENT

SWITCH = ("esxcli", "network", "vswitch", "standard")
INTERFACE = ("esxcli", "network", "ip", "interface")
MAX_SERVERS = 3  # name servers that a resolver asks
PORTS = 128
DEFAULT_MTU = 1500  # of a new switch


def network_steps(model, state, plan):
    """Adds the stages management, tidy, networks and dns."""
    found = wanted.interfaces(model, state, plan)
    for one in found:
        if one.management:
            Management(model, state, plan, found, one).steps()
        else:
            extra(state, plan, found, one)
    routes(state, plan, found)
    dns(model, state, plan, found)
    return found


# Switches


def switch_steps(state, plan, stage, found, one, critical, spare=()):
    """The switch of an interface with its uplinks and policies. spare: cards
    that are moved there later, since they carry management now."""
    name = one.switch
    if plan.has("switch:" + name):
        return
    plan.add(stage, "switch:" + name, "standard switch %s" % name, SWITCH + ("add", "--ports", PORTS, "--vswitch-name", name),
             done=lambda s: name in s.switches, critical=critical)
    size = wanted.mtu_of_switch(found, name)
    if size is not None and size > DEFAULT_MTU:
        # A switch is never made smaller: others may need its size.
        plan.add(stage, "switch-mtu:" + name, "MTU %d of %s" % (size, name), SWITCH + ("set", "--mtu", size, "--vswitch-name", name),
                 done=lambda s: name in s.switches and s.switches[name]["mtu"] >= size,
                 needs=["switch:" + name], critical=critical)
    for nic in one.uplinks():
        if nic not in spare:
            # Of several uplinks, one that can't be had is no reason to give up.
            uplink_step(plan, stage, nic, name, critical and len(one.uplinks()) == 1)
    security(plan, stage, name)
    if not [nic for nic in one.uplinks() if nic in spare]:
        failover(plan, stage, one, critical)


def uplink_step(plan, stage, nic, name, critical):
    # A card that is on another switch has to leave that first.
    needs = ["switch:" + name] + [id for id in ("release:" + nic,) if plan.has(id)]
    plan.add(stage, "uplink:" + nic, "uplink %s of %s" % (nic, name), SWITCH + ("uplink", "add", "--uplink-name", nic, "--vswitch-name", name),
             done=lambda s: name in s.switches and nic in s.switches[name]["uplinks"], needs=needs, critical=critical)


def failover(plan, stage, one, critical):
    """Active and standby uplinks. Those that are not named are unused."""
    name, active, standby, balance = one.switch, list(one.active), list(one.standby), one.balance
    command = SWITCH + ("policy", "failover", "set", "--vswitch-name", name, "--active-uplinks", ",".join(active))
    if standby:
        command += ("--standby-uplinks", ",".join(standby))
    if balance is not None:
        command += ("--load-balancing", balance)
    plan.add(stage, "failover:" + name, "%s active%s on %s" % (", ".join(active), ", %s standby" % ", ".join(standby) if standby else "", name), command,
             done=lambda s: name in s.switches and teamed(s.switches[name], active, standby, balance),
             needs=["uplink:" + nic for nic in one.uplinks()], critical=critical and len(one.uplinks()) == 1)


def teamed(switch, active, standby, balance):
    """The order counts only where it is explicit."""
    have = (switch["active"], switch["standby"])
    same = have == (active, standby) if balance == "explicit" else (sorted(have[0]), sorted(have[1])) == (sorted(active), sorted(standby))
    return same and balance in (None, switch["balance"])


def security(plan, stage, name):
    plan.add(stage, "security:" + name, "security policy of %s" % name,
             SWITCH + ("policy", "security", "set", "--vswitch-name", name, "--allow-promiscuous", "no", "--allow-forged-transmits", "no", "--allow-mac-change", "no"),
             done=lambda s: name in s.switches and s.switches[name]["security"] is not None and not any(s.switches[name]["security"].values()),
             needs=["switch:" + name])


def portgroup_steps(plan, stage, one, critical):
    """The port group with its VLAN. Returns the ids."""
    name, switch, vlan = one.portgroup, one.switch, one.vlan
    plan.add(stage, "portgroup:" + name, "port group %s on %s" % (name, switch),
             SWITCH + ("portgroup", "add", "--portgroup-name", name, "--vswitch-name", switch),
             done=lambda s: s.portgroups.get(name, {}).get("switch") == switch, needs=["switch:" + switch], critical=critical)
    plan.add(stage, "vlan:" + name, "VLAN %d of %s" % (vlan, name) if vlan else "no VLAN of %s" % name,
             SWITCH + ("portgroup", "set", "--portgroup-name", name, "--vlan-id", vlan),
             # A new port group has none.
             done=lambda s: s.portgroups[name]["vlan"] == vlan if name in s.portgroups else vlan == 0,
             needs=["portgroup:" + name], critical=critical)
    return ["portgroup:" + name, "vlan:" + name]


# Interfaces


def interface_step(plan, stage, one, mac, size, needs, critical):
    name, portgroup = one.name, one.portgroup
    command = INTERFACE + ("add", "--interface-name", name, "--portgroup-name", portgroup)
    if mac is not None:
        command += ("--mac-address", mac)
    if size is not None and size <= DEFAULT_MTU:
        # A larger one waits for its switch.
        command += ("--mtu", size)
    plan.add(stage, "interface:" + name, "%s on %s" % (name, portgroup), command,
             done=lambda s: name in s.vmks and s.vmks[name]["portgroup"] == portgroup and (mac is None or not critical or s.vmks[name]["mac"] == mac),
             needs=needs, critical=critical)
    return "interface:" + name


def place(state, name):
    """Where an interface is: (switch, port group, MAC address)."""
    vmk = state.vmks.get(name)
    if vmk is None:
        return None
    return (state.portgroups.get(vmk["portgroup"]) or {}).get("switch"), vmk["portgroup"], vmk["mac"]


def mtu_step(plan, stage, one, needs, critical):
    """The interface's size; null in the metadata leaves what there is."""
    name, size, switch = one.name, one.mtu, "switch-mtu:" + one.switch
    if size is not None:
        needs = needs + [switch] if size > DEFAULT_MTU and plan.has(switch) else needs
        plan.add(stage, "mtu:" + name, "MTU %d of %s" % (size, name), INTERFACE + ("set", "--interface-name", name, "--mtu", size),
                 done=lambda s: name in s.vmks and s.vmks[name]["mtu"] == size, needs=needs, critical=critical)


def address_steps(plan, stage, one, needs, critical, four=True):
    for network in one.network(4) if four else ():
        ipv4(plan, stage, one.name, network, needs, critical)
    six = one.network(6)
    if six:
        ipv6(plan, stage, one.name, six, needs)


def ipv4(plan, stage, name, network, needs, critical):
    command = INTERFACE + ("ipv4", "set", "--interface-name", name)
    if network["method"] == "dhcp":
        plan.add(stage, "ipv4:" + name, "DHCP on %s" % name, command + ("--type=dhcp", "--peer-dns=true"),
                 done=lambda s: name in s.vmks and s.vmks[name]["ipv4"]["type"] == "dhcp", needs=needs, critical=critical)
        return
    address, mask = network["address"], addresses.netmask(network["prefix"])
    plan.add(stage, "ipv4:" + name, "%s/%d on %s" % (address, network["prefix"], name), command + ("--type=static", "--ipv4", address, "--netmask", mask),
             done=lambda s: name in s.vmks and s.vmks[name]["ipv4"] == {"type": "static", "address": address, "netmask": mask}, needs=needs, critical=critical)


def ipv6(plan, stage, name, networks, needs):
    """IPv6 never rolls management back: IPv4 is what it is tried with, unless
    there is none."""
    methods = set(n["method"] for n in networks)
    # Addresses of DHCPv6 come without a route: the router advertises it.
    dhcp, listens = bool(methods & set(("dhcpv6", "dhcpv6-stateless"))), bool(methods - set(("static",)))
    command = INTERFACE + ("ipv6", "set", "--interface-name", name, "--enable-ipv6", "true")
    if dhcp:
        command += ("--enable-dhcpv6", "true")
    if listens:
        command += ("--enable-router-adv", "true")

    def done(s):
        have = s.vmks[name]["ipv6"] if name in s.vmks else None
        return have is not None and have["enabled"] and (have["dhcpv6"] or not dhcp) and (have["router_adv"] or not listens)

    plan.add(stage, "ipv6:" + name, "IPv6 on %s%s" % (name, " (%s)" % ", ".join(sorted(methods))), command, done=done, needs=needs)
    for network in networks:
        if network["method"] == "static":
            ipv6_address(plan, stage, name, network["address"], network["prefix"])


def ipv6_address(plan, stage, name, address, prefix):
    plan.add(stage, "ipv6:%s:%s" % (name, address), "%s/%d on %s" % (address, prefix, name),
             INTERFACE + ("ipv6", "address", "add", "--interface-name", name, "--ipv6", "%s/%d" % (address, prefix)),
             done=lambda s: s.has_address6(name, address, prefix), needs=["ipv6:" + name])


def tag_step(plan, stage, name, needs, critical):
    plan.add(stage, "tag:" + name, "%s is for management" % name, INTERFACE + ("tag", "add", "--interface-name", name, "--tagname", MANAGEMENT),
             done=lambda s: name in s.vmks and MANAGEMENT in s.vmks[name]["tags"], needs=needs, critical=critical)


class Management(object):
    """The management interface: in place if it can be, else moved."""

    stage = "management"

    def __init__(self, model, state, plan, found, one):
        self.model, self.state, self.plan, self.found, self.one = model, state, plan, found, one
        self.old = state.vmks.get(one.name)
        self.old_portgroup = self.old["portgroup"] if self.old else None
        self.old_switch = (state.portgroups.get(self.old_portgroup) or {}).get("switch") if self.old else None
        self.route = wanted.default_route([one], 4, plan)
        # A static address without its gateway would cut the host off: then
        # what the installer chose stays.
        four = one.network(4)[:1]
        one.no_ipv4 = self.keeps_address = bool(four) and four[0]["method"] == "static" and self.route is None and any(r["prefix"] == 0 for r in four[0]["routes"])
        if self.keeps_address:
            plan.problem("$.networks[%s]" % four[0]["id"], "has no usable gateway: the address of %s stays as it is" % one.name)

    def steps(self):
        one, plan = self.one, self.plan
        mac = one.mac = self.wanted_mac()
        in_place = self.old is not None and self.old_portgroup == one.portgroup and self.old_switch == one.switch and mac == self.old["mac"]
        if self.old is None or in_place:
            switch_steps(self.state, plan, self.stage, self.found, one, True)
            needs = portgroup_steps(plan, self.stage, one, True)
            self.inherit()
            needs.append(interface_step(plan, self.stage, one, None if in_place else mac, one.mtu, needs[:1], True))
        else:
            needs = self.move(mac)
        mtu_step(plan, self.stage, one, needs, True)
        address_steps(plan, self.stage, one, needs, True, four=not self.keeps_address)
        tag_step(plan, self.stage, one.name, needs[-1:], True)
        default(self.state, plan, self.stage, one, self.route)
        if plan.has("remove:" + one.name):
            self.redo()
        self.tidy(in_place)
        plan.check = self.check()

    def wanted_mac(self):
        """The one that it has, unless that is another card's, or DHCP knows
        the host by the one in the metadata."""
        one = self.one
        if self.old is None:
            return self.free_mac(one.mac)
        have = self.old["mac"]
        cards = [self.state.nic_mac(nic) for nic in one.uplinks()]
        foreign = have not in cards and self.state.nic_by_mac(have) is not None
        dhcp = any(n["method"] == "dhcp" for n in one.network(4))
        if one.mac is not None and one.mac != have and (foreign or dhcp):
            return self.free_mac(one.mac) or have
        if foreign:
            return self.free_mac(cards[0]) or have
        if one.own_mac and one.mac not in (None, have):
            self.plan.note(one.path(), "%s keeps the MAC address %s; changing it would delete the interface" % (one.name, have))
        return have

    def free_mac(self, mac):
        taken = [vmk["mac"] for name, vmk in self.state.vmks.items() if name != self.one.name]
        return None if mac in taken else mac

    def inherit(self):
        """The installer's port group may have an order of uplinks of its own:
        with several uplinks it follows the switch."""
        if len(self.one.uplinks()) > 1 or self.state.switch_with(self.one.active[0]) != self.one.switch:
            name, order = self.one.portgroup, "failover:" + self.one.switch
            decided = [step for step in self.plan.steps if step.id == order][0].done
            self.plan.add(self.stage, "inherit:" + name, "%s follows its switch" % name,
                          SWITCH + ("portgroup", "policy", "failover", "set", "--portgroup-name", name, "--use-vswitch"),
                          done=decided, needs=["portgroup:" + name, order])

    def move(self, mac):
        """To another switch or port group, or to another MAC address."""
        one, plan, stage, old = self.one, self.plan, self.stage, self.old
        elsewhere = self.old_switch != one.switch
        shared = [nic for nic in one.uplinks() if elsewhere and self.state.switch_with(nic) == self.old_switch]
        switch_steps(self.state, plan, stage, self.found, one, True, spare=shared)
        same_group = self.old_portgroup == one.portgroup
        if same_group and elsewhere:
            # A name is on one switch only: the old group makes room for it.
            self.remove_interface()
            self.remove_portgroup(stage, ["remove:" + one.name], True)
        needs = portgroup_steps(plan, stage, one, True)
        for nic in shared:
            self.hand_over(nic)
        if shared:
            failover(plan, stage, one, True)
        self.remove_interface()
        size = one.mtu if one.mtu is not None else old["mtu"]
        needs.append(interface_step(plan, stage, one, mac, size, needs[:1] + ["remove:" + one.name], True))
        if not one.network(4) or self.keeps_address:
            self.old_address(needs)
        return needs

    def redo(self):
        """With the interface goes all that it had."""
        steps = self.plan.stage(self.stage)
        gone = [step.id for step in steps].index("remove:" + self.one.name)
        for step in steps[gone + 1:]:
            mine = step.command[:3] == ["esxcli", "network", "ip"] or step.id.startswith("vlan:")
            step.again = mine and step.done(self.state)

    def hand_over(self, nic):
        old, new = self.old_switch, self.one.switch
        self.plan.add(self.stage, "release:" + nic, "%s leaves %s" % (nic, old), SWITCH + ("uplink", "remove", "--uplink-name", nic, "--vswitch-name", old),
                      done=lambda s: old not in s.switches or nic not in s.switches[old]["uplinks"], needs=["switch:" + new], critical=True)
        uplink_step(self.plan, self.stage, nic, new, True)

    def remove_interface(self):
        name = self.one.name
        was = place(self.state, name)
        self.plan.add(self.stage, "remove:" + name, "%s leaves %s" % (name, was[1]), INTERFACE + ("remove", "--interface-name", name),
                      done=lambda s: place(s, name) != was, critical=True)

    def old_address(self, needs):
        """The address that the installer gave goes along."""
        have, name = self.old["ipv4"], self.one.name
        if have["type"] == "static" and have["address"] and have["netmask"]:
            ipv4(self.plan, self.stage, name, {"method": "static", "address": have["address"], "prefix": addresses.prefix_length(have["netmask"], 4)}, needs, True)
            for route in self.state.defaults(4):
                add_route(self.plan, self.stage, 4, "0.0.0.0", 0, route["gateway"], needs + ["ipv4:" + name], True)
        elif have["type"] == "dhcp":
            ipv4(self.plan, self.stage, name, {"method": "dhcp"}, needs, True)

    def tidy(self, in_place):
        """What is left of the installer's goes once management was tried."""
        one, plan, stage = self.one, self.plan, "tidy"
        needs = [step.id for step in plan.stage(self.stage) if step.critical]
        for nic in (self.state.switches.get(one.switch) or {"uplinks": []})["uplinks"]:
            if nic not in one.uplinks():
                plan.add(stage, "release:" + nic, "%s leaves %s" % (nic, one.switch), SWITCH + ("uplink", "remove", "--uplink-name", nic, "--vswitch-name", one.switch),
                         done=lambda s, nic=nic: nic not in s.switches.get(one.switch, {"uplinks": []})["uplinks"], needs=needs)
        if in_place or self.old is None:
            return
        if self.old_portgroup != one.portgroup:
            self.remove_portgroup(stage, needs, False)
        if self.old_switch != one.switch and self.old_switch is not None and self.empty_switch():
            name = self.old_switch
            plan.add(stage, "remove-switch:" + name, "%s is not needed any more" % name, SWITCH + ("remove", "--vswitch-name", name),
                     done=lambda s: name not in s.switches, needs=needs)

    def remove_portgroup(self, stage, needs, critical):
        name, switch = self.old_portgroup, self.old_switch
        self.plan.add(stage, "remove-portgroup:" + name, "port group %s leaves %s" % (name, switch),
                      SWITCH + ("portgroup", "remove", "--portgroup-name", name, "--vswitch-name", switch),
                      done=lambda s: s.portgroups.get(name, {}).get("switch") != switch, needs=needs, critical=critical)

    def empty_switch(self):
        """Nobody but management used it: its other port groups have no
        clients, and no interface, and all its cards are moved."""
        others = [its for name, its in self.state.portgroups.items() if its["switch"] == self.old_switch and name != self.old_portgroup]
        cards = [nic for nic in self.state.switches[self.old_switch]["uplinks"] if nic not in self.one.uplinks()]
        return not cards and not any(its["clients"] for its in others)

    def check(self):
        """How to find out whether management works."""
        one = self.one
        if self.route is not None and not self.keeps_address:
            return {"vmk": one.name, "family": 4, "gateway": self.route[1], "dhcp": False}
        if self.keeps_address or any(n["method"] == "dhcp" for n in one.network(4)):
            return {"vmk": one.name, "family": 4, "gateway": None, "dhcp": True}
        if not one.network(4):
            # IPv4 stays as it is, and tells just as well.
            for route in self.state.defaults(4)[:1]:
                return {"vmk": one.name, "family": 4, "gateway": route["gateway"], "dhcp": False}
            six = wanted.default_route([one], 6, self.plan)
            return {"vmk": one.name, "family": 6, "gateway": six[1] if six else None, "dhcp": any(n["method"] != "static" for n in one.network(6))}
        return {"vmk": one.name, "family": 4, "gateway": None, "dhcp": False}


def extra(state, plan, found, one):
    """A network besides management: nothing here may touch that."""
    stage = "networks"
    switch_steps(state, plan, stage, found, one, False)
    needs = portgroup_steps(plan, stage, one, False)
    named = set(other.name for other in found)
    taken = set(vmk["mac"] for name, vmk in state.vmks.items() if name not in named)
    taken.update(other.mac for other in found[:found.index(one)])
    if one.mac in taken:
        if one.mac is not None and any(n["method"] != "static" for n in one.networks):
            plan.note(one.path(), "%s gets a MAC address of its own: another interface has %s" % (one.name, one.mac))
        one.mac = None
    # A VLAN without an address of its own shares its card's; only one
    # interface can have that.
    for other in found:
        if other.management and other.name in state.vmks and other.mac != one.mac == state.vmks[other.name]["mac"]:
            # Free as soon as management has its own.
            needs.append("interface:" + other.name)
    needs.append(interface_step(plan, stage, one, one.mac, one.mtu, [needs[0]] + needs[2:], False))
    mtu_step(plan, stage, one, needs, False)
    address_steps(plan, stage, one, needs, False)


# Routes and names


def default(state, plan, stage, one, route):
    """The IPv4 default route of management. One that the installer invented
    goes, also where the metadata wants none."""
    four = one.network(4)[:1]
    if not four or four[0]["method"] != "static" or (route is None and any(r["prefix"] == 0 for r in four[0]["routes"])):
        return
    address, wrong = "ipv4:" + one.name, []
    for have in state.defaults(4):
        gateway = have["gateway"]
        if (route is None or gateway != route[1]) and have["interface"] in ("", one.name):
            wrong.append("unroute4:default:" + gateway)
            plan.add(stage, wrong[-1], "no default route by %s" % gateway, ("esxcli", "network", "ip", "route", "ipv4", "remove", "--gateway", gateway, "--network", "default"),
                     done=lambda s, gateway=gateway: not s.has_route(4, "0.0.0.0", 0, gateway), needs=[address], critical=route is not None, fresh=True)
    if route is not None:
        add_route(plan, stage, 4, "0.0.0.0", 0, route[1], [address] + wrong, True)


def add_route(plan, stage, family, network, prefix, gateway, needs, critical, vmk=None):
    target = "default" if prefix == 0 else "%s/%d" % (network, prefix)
    # A link-local gateway is on every link: it takes the interface along.
    via = "%s%%%s" % (gateway, vmk) if vmk and addresses.parse(gateway).is_link_local else gateway
    plan.add(stage, "route%d:%s" % (family, target), "%s by %s" % ("default route" if prefix == 0 else "route to " + target, gateway),
             ("esxcli", "network", "ip", "route", "ipv%d" % family, "add", "--gateway", via, "--network", target),
             done=lambda s: s.has_route(family, network, prefix, gateway), needs=needs, critical=critical, fresh=True)


def routes(state, plan, found):
    """Static routes of all interfaces; default ones where management has
    not set any."""
    for family in (4, 6):
        chosen = wanted.default_route(found, family, plan)
        if chosen is None:
            continue
        one, gateway = chosen
        if family == 4 and (one.management or any(o.management and o.network(4) for o in found)):
            continue
        needs = address_ids(plan, one, family, gateway)
        any_network = "0.0.0.0" if family == 4 else "::"
        wrong = [r["gateway"] for r in state.defaults(family) if r["gateway"] != gateway and r["source"] not in ("DHCP", "RA", "AUTO")]
        for have in wrong:
            plan.add("networks", "unroute%d:default:%s" % (family, have), "no default route by %s" % have,
                     ("esxcli", "network", "ip", "route", "ipv%d" % family, "remove", "--gateway", have, "--network", "default"),
                     done=lambda s, have=have, family=family, net=any_network: not s.has_route(family, net, 0, have), needs=needs, fresh=True)
        add_route(plan, "networks", family, any_network, 0, gateway, needs, False, vmk=one.name)
    for one, family, route in wanted.static_routes(found, plan):
        add_route(plan, "networks", family, route["network"], route["prefix"], route["gateway"], address_ids(plan, one, family, route["gateway"]), False, vmk=one.name)


def address_ids(plan, one, family, gateway):
    """The steps that give the address next to a gateway."""
    if family == 4:
        return [id for id in ("ipv4:" + one.name,) if plan.has(id)]
    for network in one.network(6):
        id = "ipv6:%s:%s" % (one.name, network["address"])
        if network["method"] == "static" and plan.has(id) and addresses.contains(network["address"], network["prefix"], gateway):
            return [id]
    return ["ipv6:" + one.name]


def dns(model, state, plan, found):
    """Name servers of management first. Where management is static, those
    that the metadata doesn't name go, once the others are there."""
    servers = []
    for some in [n["dns"] for one in found if one.management for n in one.networks] + [model.dns["servers"]] + [n["dns"] for one in found if not one.management for n in one.networks]:
        servers += [server for server in some if server not in servers]
    if len(servers) > MAX_SERVERS:
        plan.note("$.dns.servers", "a resolver asks %d servers: %s left out" % (MAX_SERVERS, ", ".join(servers[MAX_SERVERS:])))
        servers = servers[:MAX_SERVERS]
    for server in servers:
        plan.add("dns", "dns:" + server, "name server %s" % server, ("esxcli", "network", "ip", "dns", "server", "add", "--server", server),
                 done=lambda s, server=server: server in s.dns["servers"])
    learned = any(n["method"] != "static" for one in found for n in one.networks)
    if servers and not learned:
        for server in state.dns["servers"]:
            if server not in servers:
                plan.add("dns", "no-dns:" + server, "no name server %s" % server, ("esxcli", "network", "ip", "dns", "server", "remove", "--server", server),
                         done=lambda s, server=server: server not in s.dns["servers"], needs=["dns:" + wanted_one for wanted_one in servers], fresh=True)
    for domain in model.dns["search"]:
        plan.add("dns", "search:" + domain, "search domain %s" % domain, ("esxcli", "network", "ip", "dns", "search", "add", "--domain", domain),
                 done=lambda s, domain=domain: domain in s.dns["search"])
