"""Whether management works: somebody on the other side has to answer."""
import re

from esxi_netinit import addresses, esx

PING_SECONDS = 90  # a switch port may take 50 until it forwards (spanning tree)
LEASE_SECONDS = 90
PAUSE_SECONDS = 3
RECEIVED = re.compile(r"([0-9]+)\s+(?:packets )?received|Received:\s*([0-9]+)", re.IGNORECASE)


def works(host, check, seconds=PING_SECONDS):
    """(True, False or None, text). None: there is nobody to ask."""
    gateway = check["gateway"]
    if check["dhcp"] and gateway is None:
        vmk, gateway = lease(host, check)
        if vmk is None:
            return False, "%s has no address" % check["vmk"]
    if gateway is None:
        return None, "there is no gateway to try management with"
    end = host.clock() + seconds
    while not answers(host, check["vmk"], gateway, check["family"]):
        if host.clock() >= end:
            return False, "the gateway %s does not answer %s" % (gateway, check["vmk"])
        host.sleep(PAUSE_SECONDS)
    return True, "the gateway %s answers %s" % (gateway, check["vmk"])


def lease(host, check):
    """(interface with an address or None, its default gateway or None)."""
    end = host.clock() + LEASE_SECONDS
    while True:
        try:
            state = esx.read_network(host, esx.State())
        except esx.Unreadable:
            state = None
        vmk = state.vmks.get(check["vmk"]) if state else None
        if vmk is not None and address(vmk, check["family"]):
            routes = [r["gateway"] for r in state.defaults(check["family"]) if r["interface"] in ("", check["vmk"])]
            return vmk, routes[0] if routes else None
        if host.clock() >= end:
            return None, None
        host.sleep(PAUSE_SECONDS)


def address(vmk, family):
    """An address by which others can reach it."""
    if family == 4:
        have = vmk["ipv4"]["address"]
        return have if have and not have.startswith("169.254.") else None
    for entry in vmk["ipv6"]["addresses"]:
        if not entry["address"].lower().startswith("fe80:"):
            return entry["address"]
    return None


def answers(host, vmk, gateway, family):
    target = "%s%%%s" % (gateway, vmk) if gateway.lower().startswith("fe80:") else gateway
    command = ["vmkping"] + (["-6"] if family == 6 else []) + ["-I", vmk, "-c", "2", target]
    code, text = host.run(command, 30)
    if code == 127:
        code, text = host.run(["esxcli", "network", "diag", "ping", "--interface", vmk, "--count", "2", "--host", target], 60)
    if code != 0:
        return False
    # Some versions end with 0 where nobody has answered.
    found = RECEIVED.search(text)
    return found is None or int(found.group(1) or found.group(2)) > 0


def routed(state, check):
    """Whether the default route of a check is still there, the only one."""
    return set(r["gateway"] for r in state.defaults(check["family"])) == set([check["gateway"]])


def shadowed(state, check):
    """The interface elsewhere in whose network a check's gateway lies as well,
    None if there is none: which of the two a host uses nobody knows."""
    if check["gateway"] is None or check["family"] != 4:
        return None
    for name, vmk in sorted(state.vmks.items()):
        address, mask = vmk["ipv4"]["address"], vmk["ipv4"]["netmask"]
        if name != check["vmk"] and address and mask and place(state, name) != place(state, check["vmk"]):
            if addresses.contains(address, addresses.prefix_length(mask, 4), check["gateway"]):
                return name
    return None


def place(state, name):
    """(switch, VLAN) of an interface."""
    portgroup = state.portgroups.get(state.vmks[name]["portgroup"]) if name in state.vmks else None
    return (portgroup["switch"], portgroup["vlan"]) if portgroup else None


def now(state):
    """A check of what works at present."""
    vmk = state.management_vmk()
    if vmk is None:
        return None
    for family in (4, 6):
        if address(state.vmks[vmk], family):
            routes = [r["gateway"] for r in state.defaults(family) if r["interface"] in ("", vmk)]
            return {"vmk": vmk, "family": family, "gateway": routes[0] if routes else None, "dhcp": False}
    return None
