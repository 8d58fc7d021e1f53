"""esxcli network: switches, port groups, NICs. A model that says no where a
host does."""
import re

import wire
from state import Refused
from tree import Blocks, Table, Tree

tree = Tree()
MTU = (1280, 9190)  # of a standard switch and of a VMkernel interface
BALANCE = {"portid": "srcport", "iphash": "iphash", "mac": "srcmac", "explicit": "explicit"}


def need(condition, message, *args):
    if not condition:
        raise Refused(message % args)


def switch(state, name):
    need(name in state.host["vswitches"], "Error: Unable to find vswitch %s: vSwitch named %s was not found", name, name)
    return state.host["vswitches"][name]


def check_mtu(value):
    need(MTU[0] <= value <= MTU[1], "Error: Invalid MTU %d: Bad parameter", value)


def new_switch(ports=128):
    return {
        "ports": ports, "mtu": 1500, "cdp": "listen", "uplinks": [], "portgroups": {},
        "failover": {"active": [], "standby": [], "load_balancing": "portid"},
        "security": {"promiscuous": False, "forged_transmits": False, "mac_change": False},
    }


def used_by(state, portgroup):
    """What is connected to a port group."""
    return [name for name, vmk in state.host["vmks"].items() if vmk["portgroup"] == portgroup]


def stranded(state, before):
    """Notes a change that cuts the host off, even for a moment: nobody can be
    sure that the next command is still carried out."""
    after = wire.management_reachable(state)
    if before and not after:
        state.note("outages", after="management is out of reach")


# NICs


@tree.add("network nic list")
def nic_list(state, given):
    columns = ["Name", "PCI Device", "Driver", "Admin Status", "Link Status", "Speed", "Duplex", "MAC Address", "MTU", "Description"]
    rows = []
    for i, nic in enumerate(state.data["nics"]):
        up = nic.get("link", "Up") == "Up"
        rows.append([
            nic["name"], nic.get("pci", "0000:%02x:00.0" % (i + 3)), nic.get("driver", "nmlx5_core"), nic.get("admin", "Up"),
            "Up" if up else "Down", 10000 if up else 0, "Full" if up else "Half", nic["mac"], nic_mtu(state, nic["name"]),
            nic.get("description", "Synthetic 10-Gigabit Adapter"),
        ])
    return Table(columns, rows)


def nic_mtu(state, name):
    for one in state.host["vswitches"].values():
        if name in one["uplinks"]:
            return one["mtu"]
    return 1500


@tree.add("network nic get", "n|nic-name s!")
def nic_get(state, given):
    nic = state.nic(given["nic-name"])
    need(nic is not None, "Error: Unable to find NIC %s: Not found", given["nic-name"])
    return Blocks([(None, [("Name", nic["name"]), ("Link Detected", nic.get("link", "Up") == "Up"),
                           ("Virtual Address", nic["mac"]), ("Permanent Address", nic["mac"])])])


@tree.add("network nic up", "n|nic-name s!")
def nic_up(state, given):
    nic = state.nic(given["nic-name"])
    need(nic is not None, "Error: Unable to find NIC %s: Not found", given["nic-name"])
    nic["admin"] = "Up"


# Switches


@tree.add("network vswitch standard add", "v|vswitch-name s!", "P|ports i")
def vswitch_add(state, given):
    name = given["vswitch-name"]
    need(0 < len(name) <= 31, "Error: Unable to create vswitch: the name %s is too long", name)
    need(name not in state.host["vswitches"], "Error: Unable to add vswitch %s: vswitch %s already exists", name, name)
    need(1 <= given.get("ports", 128) <= 4096, "Error: Invalid number of ports: %d", given.get("ports", 128))
    state.host["vswitches"][name] = new_switch(given.get("ports", 128))


@tree.add("network vswitch standard set", "v|vswitch-name s!", "m|mtu i", "c|cdp-status s")
def vswitch_set(state, given):
    one = switch(state, given["vswitch-name"])
    if "mtu" in given:
        check_mtu(given["mtu"])
        for name, vmk in state.host["vmks"].items():
            if vmk["portgroup"] in one["portgroups"] and vmk["mtu"] > given["mtu"]:
                state.hazard("%s has a larger MTU than its switch %s" % (name, given["vswitch-name"]))
        one["mtu"] = given["mtu"]
    if "cdp-status" in given:
        need(given["cdp-status"] in ("down", "listen", "advertise", "both"), "Error: Invalid CDP status %s", given["cdp-status"])
        one["cdp"] = given["cdp-status"]


@tree.add("network vswitch standard remove", "v|vswitch-name s!")
def vswitch_remove(state, given):
    one = switch(state, given["vswitch-name"])
    need(not any(used_by(state, pg) for pg in one["portgroups"]), "Error: Unable to remove vswitch %s: Busy", given["vswitch-name"])
    del state.host["vswitches"][given["vswitch-name"]]


@tree.add("network vswitch standard list", "v|vswitch-name s")
def vswitch_list(state, given):
    if "vswitch-name" in given:
        switch(state, given["vswitch-name"])
    items = []
    for name, one in sorted(state.host["vswitches"].items()):
        if given.get("vswitch-name", name) != name:
            continue
        items.append((name, [
            ("Name", name), ("Class", "cswitch"), ("Num Ports", 2560), ("Used Ports", 4), ("Configured Ports", one["ports"]),
            ("MTU", one["mtu"]), ("CDP Status", one["cdp"]), ("Beacon Enabled", False), ("Beacon Interval", 1),
            ("Beacon Threshold", 3), ("Beacon Required By", ""), ("Uplinks", one["uplinks"]),
            ("Portgroups", sorted(one["portgroups"])),
        ]))
    return Blocks(items)


@tree.add("network vswitch standard uplink add", "u|uplink-name s!", "v|vswitch-name s!")
def uplink_add(state, given):
    name, one = given["uplink-name"], switch(state, given["vswitch-name"])
    need(state.nic(name) is not None, "Error: Unable to add uplink %s: Not found", name)
    for other, its in state.host["vswitches"].items():
        need(name not in its["uplinks"], "Error: Unable to add uplink %s: it is already in use by %s", name, other)
    before = wire.management_reachable(state)
    one["uplinks"].append(name)
    # A new uplink is active unless the teaming policy says otherwise.
    one["failover"]["active"].append(name)
    wire.settle(state)
    stranded(state, before)


@tree.add("network vswitch standard uplink remove", "u|uplink-name s!", "v|vswitch-name s!")
def uplink_remove(state, given):
    name, one = given["uplink-name"], switch(state, given["vswitch-name"])
    need(name in one["uplinks"], "Error: Unable to remove uplink %s: Not found", name)
    before = wire.management_reachable(state)
    one["uplinks"].remove(name)
    for kind in ("active", "standby"):
        one["failover"][kind] = [n for n in one["failover"][kind] if n != name]
    wire.settle(state)
    stranded(state, before)


@tree.add("network vswitch standard policy failover set", "v|vswitch-name s!", "a|active-uplinks s", "s|standby-uplinks s",
          "l|load-balancing s", "b|failback b", "f|failure-detection s", "n|notify-switches b")
def failover_set(state, given):
    one = switch(state, given["vswitch-name"])
    active = names(given["active-uplinks"]) if "active-uplinks" in given else None
    standby = names(given["standby-uplinks"]) if "standby-uplinks" in given else None
    for name in (active or []) + (standby or []):
        need(name in one["uplinks"], "Error: Unable to set: uplink %s is not on %s", name, given["vswitch-name"])
    need(not set(active or []) & set(standby or []), "Error: an uplink is both active and standby")
    if "load-balancing" in given:
        need(given["load-balancing"] in BALANCE, "Error: Invalid load balancing %s", given["load-balancing"])
    before = wire.management_reachable(state)
    failover = one["failover"]
    if active is not None:
        failover["standby"] = [n for n in failover["standby"] if n not in active]
        if standby is None:
            # Those not named are unused from now on.
            failover["standby"] = []
        failover["active"] = active
    if standby is not None:
        failover["active"] = [n for n in failover["active"] if n not in standby]
        failover["standby"] = standby
    if "load-balancing" in given:
        failover["load_balancing"] = given["load-balancing"]
    for key in ("failback", "failure-detection", "notify-switches"):
        if key in given:
            failover[key.replace("-", "_")] = given[key]
    wire.settle(state)
    stranded(state, before)


def names(text):
    return [n for n in text.split(",") if n]


@tree.add("network vswitch standard policy failover get", "v|vswitch-name s!")
def failover_get(state, given):
    failover = switch(state, given["vswitch-name"])["failover"]
    return Blocks([(None, [
        ("Load Balancing", BALANCE[failover["load_balancing"]]), ("Network Failure Detection", "link"), ("Notify Switches", True),
        ("Failback", True), ("Active Adapters", failover["active"]), ("Standby Adapters", failover["standby"]),
        ("Unused Adapters", []),
    ])])


SECURITY = [("p|allow-promiscuous b", "promiscuous"), ("f|allow-forged-transmits b", "forged_transmits"), ("m|allow-mac-change b", "mac_change")]


@tree.add("network vswitch standard policy security set", "v|vswitch-name s!", *[o for o, _ in SECURITY])
def security_set(state, given):
    one = switch(state, given["vswitch-name"])
    for option, key in SECURITY:
        long_name = option.split()[0].split("|")[1]
        if long_name in given:
            one["security"][key] = given[long_name]


@tree.add("network vswitch standard policy security get", "v|vswitch-name s!")
def security_get(state, given):
    security = switch(state, given["vswitch-name"])["security"]
    return Blocks([(None, [("Allow Promiscuous", security["promiscuous"]), ("Allow MAC Address Change", security["mac_change"]),
                           ("Allow Forged Transmits", security["forged_transmits"])])])


# Port groups


def find_portgroup(state, name):
    _, one = wire.switch_of(state.host, name)
    need(one is not None, "Error: Invalid portgroup: %s: Not found", name)
    return one["portgroups"][name]


@tree.add("network vswitch standard portgroup add", "p|portgroup-name s!", "v|vswitch-name s!")
def portgroup_add(state, given):
    name, one = given["portgroup-name"], switch(state, given["vswitch-name"])
    need(0 < len(name) <= 80, "Error: Unable to add portgroup: the name %s is too long", name)
    other, _ = wire.switch_of(state.host, name)
    need(other is None, "Error: Unable to add portgroup %s: it already exists on %s", name, other)
    one["portgroups"][name] = {"vlan": 0}


@tree.add("network vswitch standard portgroup remove", "p|portgroup-name s!", "v|vswitch-name s!")
def portgroup_remove(state, given):
    name, one = given["portgroup-name"], switch(state, given["vswitch-name"])
    need(name in one["portgroups"], "Error: Unable to remove portgroup %s: Not found", name)
    need(not used_by(state, name), "Error: Unable to remove portgroup %s: Busy", name)
    del one["portgroups"][name]


@tree.add("network vswitch standard portgroup set", "p|portgroup-name s!", "v|vlan-id i")
def portgroup_set(state, given):
    one = find_portgroup(state, given["portgroup-name"])
    if "vlan-id" in given:
        need(0 <= given["vlan-id"] <= 4095, "Error: Invalid VLAN %d", given["vlan-id"])
        before = wire.management_reachable(state)
        one["vlan"] = given["vlan-id"]
        wire.settle(state)
        stranded(state, before)


@tree.add("network vswitch standard portgroup list")
def portgroup_list(state, given):
    rows = []
    for name, one in sorted(state.host["vswitches"].items()):
        for pg, its in sorted(one["portgroups"].items()):
            rows.append([pg, name, len(used_by(state, pg)), its["vlan"]])
    return Table(["Name", "Virtual Switch", "Active Clients", "VLAN ID"], sorted(rows))


@tree.add("network vswitch standard portgroup policy failover set", "p|portgroup-name s!", "a|active-uplinks s", "s|standby-uplinks s",
          "l|load-balancing s", "b|failback b", "f|failure-detection s", "n|notify-switches b", "u|use-vswitch f")
def portgroup_failover(state, given):
    one = find_portgroup(state, given["portgroup-name"])
    _, its = wire.switch_of(state.host, given["portgroup-name"])
    before = wire.management_reachable(state)
    if given.get("use-vswitch"):
        need(len(given) == 2, "Error: --use-vswitch stands alone")
        one.pop("failover", None)
    else:
        own = dict(wire.policy(its, given["portgroup-name"]))
        for option, key in (("active-uplinks", "active"), ("standby-uplinks", "standby")):
            if option in given:
                own[key] = names(given[option])
                need(not set(own[key]) - set(its["uplinks"]), "Error: Unable to set: %s: not on the switch", given[option])
        own["load_balancing"] = given.get("load-balancing", own["load_balancing"])
        one["failover"] = own
    wire.settle(state)
    stranded(state, before)


@tree.add("network vswitch standard portgroup policy security set", "p|portgroup-name s!", "u|use-vswitch f", *[o for o, _ in SECURITY])
def portgroup_security(state, given):
    one = find_portgroup(state, given["portgroup-name"])
    one["security"] = dict((k, v) for k, v in given.items() if k != "portgroup-name")


@tree.add("network vswitch dvs vmware list")
def dvs_list(state, given):
    return Blocks([])


MAC = re.compile(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")


def check_mac(state, mac):
    need(MAC.match(mac), "Error: Invalid MAC address %s", mac)
    first = int(mac[:2], 16)
    need(not first & 1 and mac != "00:00:00:00:00:00", "Error: Invalid MAC address %s: not a unicast address", mac)
    for name, vmk in state.host["vmks"].items():
        need(vmk["mac"] != mac.lower(), "Error: MAC address %s is in use by %s", mac, name)
