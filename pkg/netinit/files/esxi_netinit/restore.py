"""Brings the network back to an earlier state, wherever a stage got stuck.

It compares what was with what is, and does not care how it came to this: so
it may be repeated, and half of it is better than nothing. Pure: a list of
commands.
"""
from esxi_netinit.hoststate import State, vmk_number
from esxi_netinit.netplan import INTERFACE, SWITCH

LEARNED = ("DHCP", "RA", "AUTO")


def commands(old, now):
    """What leads from now to old, in the order in which a host takes it."""
    rebuilt = changed_interfaces(old, now)
    # An interface takes its routes along: they go before it.
    out = [command for family in (4, 6) for command in routes("remove", family, now, old)]
    for name in sorted(now.vmks, key=vmk_number):
        if name not in old.vmks or name in rebuilt:
            out.append(INTERFACE + ("remove", "--interface-name", name))
    out += switches(old, now)
    for name in sorted(old.vmks, key=vmk_number):
        out += interface(name, old.vmks[name], None if name in rebuilt else now.vmks[name], name in unrouted(old, now))
    # Where an address changes, the routes next to it are lost.
    lost = bool(rebuilt) or any(old.vmks[n]["ipv4"] != now.vmks[n]["ipv4"] for n in old.vmks if n in now.vmks)
    out += [command for family in (4, 6) for command in routes("add", family, old, State() if lost else now)]
    return out + leftovers(old, now)


def unrouted(old, now):
    """Interfaces by whose lease the default route came, where that is gone."""
    gateways = [r["gateway"] for r in now.defaults(4)]
    return [r["interface"] for r in old.defaults(4) if r["source"] in LEARNED and r["gateway"] not in gateways]


def changed_interfaces(old, now):
    """Those that are gone, or that are not where they were."""
    out = []
    for name, was in old.vmks.items():
        have = now.vmks.get(name)
        moved = have is not None and (now.portgroups.get(have["portgroup"]) or {}).get("switch") != (old.portgroups.get(was["portgroup"]) or {}).get("switch")
        if have is None or moved or (have["portgroup"], have["mac"]) != (was["portgroup"], was["mac"]):
            out.append(name)
    return out


def switches(old, now):
    out = []
    for name in sorted(old.switches):
        if name not in now.switches:
            out.append(SWITCH + ("add", "--vswitch-name", name))
    for name, its in sorted(now.portgroups.items()):
        if name in old.portgroups and old.portgroups[name]["switch"] != its["switch"]:
            out.append(SWITCH + ("portgroup", "remove", "--portgroup-name", name, "--vswitch-name", its["switch"]))
    for name in sorted(old.switches):
        was, have = old.switches[name], now.switches.get(name)
        for nic in was["uplinks"]:
            on = now.switch_with(nic)
            if on != name:
                if on is not None:
                    out.append(SWITCH + ("uplink", "remove", "--uplink-name", nic, "--vswitch-name", on))
                out.append(SWITCH + ("uplink", "add", "--uplink-name", nic, "--vswitch-name", name))
        out += policies(name, was, have)
    for name, was in sorted(old.portgroups.items()):
        have = now.portgroups.get(name)
        if have is None or have["switch"] != was["switch"]:
            out.append(SWITCH + ("portgroup", "add", "--portgroup-name", name, "--vswitch-name", was["switch"]))
            have = {"vlan": 0}
        if have["vlan"] != was["vlan"]:
            out.append(SWITCH + ("portgroup", "set", "--portgroup-name", name, "--vlan-id", str(was["vlan"])))
    return out


def policies(name, was, have):
    """A larger MTU stays: it harms nobody, and an interface may need it."""
    out = []
    if have is None or (have["active"], have["standby"], have["balance"]) != (was["active"], was["standby"], was["balance"]):
        if was["active"]:
            command = SWITCH + ("policy", "failover", "set", "--vswitch-name", name, "--active-uplinks", ",".join(was["active"]))
            if was["standby"]:
                command += ("--standby-uplinks", ",".join(was["standby"]))
            if was["balance"]:
                command += ("--load-balancing", was["balance"])
            out.append(command)
    if (have["mtu"] if have else 1500) < was["mtu"]:
        out.append(SWITCH + ("set", "--mtu", str(was["mtu"]), "--vswitch-name", name))
    return out


def interface(name, was, have, renew):
    out = []
    if have is None:
        command = INTERFACE + ("add", "--interface-name", name, "--portgroup-name", was["portgroup"], "--mtu", str(was["mtu"]))
        out.append(command + (("--mac-address", was["mac"]) if was["mac"] else ()))
    elif have["mtu"] != was["mtu"]:
        out.append(INTERFACE + ("set", "--interface-name", name, "--mtu", str(was["mtu"])))
    if have is None or have["ipv4"] != was["ipv4"] or renew:
        four = was["ipv4"]
        if four["type"] == "static" and four["address"] and four["netmask"]:
            out.append(INTERFACE + ("ipv4", "set", "--interface-name", name, "--type=static", "--ipv4", four["address"], "--netmask", four["netmask"]))
        elif four["type"] == "dhcp" and (have is None or have["ipv4"]["type"] != "dhcp" or renew):
            # With the same type, the lease is all that differs.
            out.append(INTERFACE + ("ipv4", "set", "--interface-name", name, "--type=dhcp", "--peer-dns=true"))
        elif four["type"] == "none" and have is not None:
            out.append(INTERFACE + ("ipv4", "set", "--interface-name", name, "--type=none"))
    out += addresses6(name, was["ipv6"], have["ipv6"] if have else None)
    for tag in was["tags"]:
        if have is None or tag not in have["tags"]:
            out.append(INTERFACE + ("tag", "add", "--interface-name", name, "--tagname", tag))
    return out


def addresses6(name, was, have):
    out = []
    flags = ("enabled", "dhcpv6", "router_adv")
    if was["enabled"] and (have is None or any(have[flag] != was[flag] for flag in flags)):
        out.append(INTERFACE + ("ipv6", "set", "--interface-name", name, "--enable-ipv6", "true", "--enable-dhcpv6", str(was["dhcpv6"]).lower(),
                                "--enable-router-adv", str(was["router_adv"]).lower()))
    before = [(a["address"], a["prefix"]) for a in was["addresses"] if own(a)]
    after = [(a["address"], a["prefix"]) for a in have["addresses"] if own(a)] if have else []
    for address in before:
        if address not in after:
            out.append(INTERFACE + ("ipv6", "address", "add", "--interface-name", name, "--ipv6", "%s/%d" % address))
    for address in after:
        if address not in before:
            out.append(INTERFACE + ("ipv6", "address", "remove", "--interface-name", name, "--ipv6", "%s/%d" % address))
    return out


def own(address):
    """One that somebody gave; link-local ones come by themselves."""
    return address["type"] in ("STATIC", "MANUAL") and not address["address"].startswith("fe80:")


def routes(verb, family, these, others):
    """Own routes of one state that the other has not."""
    def known(state):
        return [(r["network"], r["prefix"], r["gateway"]) for r in state.routes[family] if r["source"] not in LEARNED]

    return [
        ("esxcli", "network", "ip", "route", "ipv%d" % family, verb, "--gateway", gateway,
         "--network", "default" if prefix == 0 else "%s/%d" % (network, prefix))
        for network, prefix, gateway in known(these) if (network, prefix, gateway) not in known(others)
    ]


def leftovers(old, now):
    """New uplinks, port groups and switches, which nobody needs any more."""
    out = []
    for name in sorted(now.switches):
        if name in old.switches:
            for nic in now.switches[name]["uplinks"]:
                # One that goes back to its old switch has left this one.
                if nic not in old.switches[name]["uplinks"] and old.switch_with(nic) is None:
                    out.append(SWITCH + ("uplink", "remove", "--uplink-name", nic, "--vswitch-name", name))
    for name, its in sorted(now.portgroups.items()):
        if name not in old.portgroups and its["switch"] in old.switches:
            out.append(SWITCH + ("portgroup", "remove", "--portgroup-name", name, "--vswitch-name", its["switch"]))
    for name in sorted(now.switches):
        if name not in old.switches:
            out.append(SWITCH + ("remove", "--vswitch-name", name))
    return out


def same(old, now):
    """Whether all that matters is back: interfaces, their place, uplinks and
    own routes. Leases may differ."""
    if changed_interfaces(old, now):
        return False
    for name, was in old.vmks.items():
        have = now.vmks[name]
        if have["ipv4"]["type"] != was["ipv4"]["type"] or (was["ipv4"]["type"] == "static" and have["ipv4"] != was["ipv4"]):
            return False
        if not set(was["tags"]) <= set(have["tags"]):
            return False
    for name, was in old.portgroups.items():
        if now.portgroups.get(name, {}).get("vlan") != was["vlan"]:
            return False
    for name, was in old.switches.items():
        have = now.switches.get(name)
        if have is None or set(have["uplinks"]) < set(was["uplinks"]) or set(have["active"]) != set(was["active"]):
            return False
    # The kernel drops routes of a kind; only own default routes count.
    ours = [r["gateway"] for r in old.defaults(4) if r["source"] not in LEARNED]
    return all(gateway in [r["gateway"] for r in now.defaults(4)] for gateway in ours) and not unrouted(old, now)
