"""What is at the other end of the cables: which VLANs, routers, DHCP servers
and router advertisements a host's interfaces see, and whom they reach."""
import ipaddress


def switch_of(host, portgroup):
    for name, switch in host["vswitches"].items():
        if portgroup in switch["portgroups"]:
            return name, switch
    return None, None


def policy(switch, portgroup):
    """Who carries a port group's traffic: its own order, if it has one, as the
    installer gives to the management network; else the switch's."""
    return switch["portgroups"][portgroup].get("failover") or switch["failover"]


def mask_bits(text):
    """The length of a netmask; ValueError where it is none."""
    hosts = int(ipaddress.IPv4Address(text)) ^ 0xFFFFFFFF
    if hosts & (hosts + 1):
        raise ValueError("not a netmask")
    return 32 - hosts.bit_length()


def active_uplinks(state, switch, portgroup):
    """Those that carry traffic now: the active ones with a link, else the
    first standby one with a link."""
    failover = policy(switch, portgroup)

    def linked(names):
        return [n for n in names if (state.nic(n) or {}).get("link", "Up") == "Up" and n in switch["uplinks"]]

    active = linked(failover["active"])
    return active or linked(failover["standby"])[:1]


def segment(state, vmk):
    """The VLAN as the wire has it, None where there is none. With several
    uplinks every one must lead there: the host may use any."""
    _, switch = switch_of(state.host, vmk["portgroup"])
    if switch is None or not vmk.get("enabled", True):
        return None
    vlan = str(switch["portgroups"][vmk["portgroup"]]["vlan"])
    found = None
    for name in active_uplinks(state, switch, vmk["portgroup"]):
        wire = state.data["wires"].get((state.nic(name) or {}).get("wire"), {})
        if vlan not in wire:
            return None
        found = wire[vlan]
    return found


def addresses(vmk, family):
    """The interface's addresses with their networks."""
    if family == 4:
        ipv4 = vmk["ipv4"]
        if ipv4.get("address"):
            return [ipaddress.ip_interface("%s/%s" % (ipv4["address"], ipv4["netmask"]))]
        return []
    if not vmk["ipv6"]["enabled"]:
        return []
    return [ipaddress.ip_interface(a["address"]) for a in vmk["ipv6"]["addresses"]]


def on_link(state, address):
    """The interfaces in whose network an address lies: that which is used
    first. It is the first one, or in a scenario that wants it so the last."""
    address = ipaddress.ip_address(address)
    out = []
    for name in sorted(state.host["vmks"], key=lambda n: int(n[3:]), reverse=bool(state.data.get("last_interface_wins"))):
        vmk = state.host["vmks"][name]
        if any(address in i.network for i in addresses(vmk, address.version)):
            out.append(name)
    return out


def answered(state, vmk, gateway):
    """Whether what comes in by an interface finds its way back to a gateway:
    by the interface that is used for the gateway's network."""
    if ipaddress.ip_address(gateway).is_link_local:
        return direct(vmk, segment(state, vmk) or {}, ipaddress.ip_address(gateway))
    for name in on_link(state, gateway)[:1]:
        out = state.host["vmks"][name]
        return direct(out, segment(state, out) or {}, ipaddress.ip_address(gateway))
    return False


def reaches(state, target, vmk_name=None):
    """Whether a ping is answered."""
    target = ipaddress.ip_address(target.partition("%")[0])
    candidates = [vmk_name] if vmk_name else sorted(state.host["vmks"])
    for name in candidates:
        vmk = state.host["vmks"].get(name)
        wire = segment(state, vmk) if vmk else None
        if wire is None:
            continue
        if any(target == i.ip for i in addresses(vmk, target.version)):
            return True
        if direct(vmk, wire, target):
            return True
        hop = next_hop(state, vmk, target)
        if hop is not None and direct(vmk, wire, hop):
            return True
    return False


def direct(vmk, wire, target):
    there = [ipaddress.ip_address(a) for a in wire.get("gateways", []) + wire.get("hosts", [])]
    if target not in there:
        return False
    if target.version == 6 and target.is_link_local:
        return vmk["ipv6"]["enabled"]
    return any(target in i.network for i in addresses(vmk, target.version))


def next_hop(state, vmk, target):
    best = None
    for route in state.host["routes"]["ipv%d" % target.version]:
        network = ipaddress.ip_network(route["network"])
        if target in network and (best is None or network.prefixlen > best[0]):
            best = (network.prefixlen, ipaddress.ip_address(route["gateway"]))
    return best[1] if best else None


def management_reachable(state):
    """Whether somebody on another network can reach the host: an interface for
    management has an address, a way to its gateway, and the gateway answers."""
    out = []
    for name in sorted(state.host["vmks"]):
        vmk = state.host["vmks"][name]
        wire = segment(state, vmk)
        if wire is None or "Management" not in vmk["tags"]:
            continue
        for family, default in ((4, "0.0.0.0/0"), (6, "::/0")):
            routes = [r for r in state.host["routes"]["ipv%d" % family] if r["network"] == default]
            if addresses(vmk, family) and any(
                    direct(vmk, wire, ipaddress.ip_address(r["gateway"])) and answered(state, vmk, r["gateway"]) for r in routes):
                out.append("%s/ipv%d" % (name, family))
    return out


def settle(state):
    """After every change: leases, router advertisements, and routes whose
    gateway is out of reach now are dropped, as the kernel does."""
    host = state.host
    for name in sorted(host["vmks"], key=lambda n: int(n[3:])):
        vmk = host["vmks"][name]
        wire = segment(state, vmk)
        if vmk["ipv4"]["type"] == "dhcp":
            lease(state, vmk, (wire or {}).get("dhcp"))
        advertise(state, name, vmk, wire)
    for key in ("ipv4", "ipv6"):
        kept = []
        for route in host["routes"][key]:
            link_local = ipaddress.ip_address(route["gateway"]).is_link_local
            if link_local or on_link(state, route["gateway"]):
                kept.append(route)
            else:
                state.note("routes_lost", network=route["network"], gateway=route["gateway"])
        host["routes"][key] = kept


def lease(state, vmk, offer):
    if not offer:
        vmk["ipv4"].update(address=None, netmask=None)
        state.host["routes"]["ipv4"] = [r for r in state.host["routes"]["ipv4"] if r["source"] != "DHCP"]
        return
    interface = ipaddress.ip_interface(offer["address"])
    vmk["ipv4"].update(address=str(interface.ip), netmask=str(interface.netmask))
    default = [r for r in state.host["routes"]["ipv4"] if r["network"] == "0.0.0.0/0"]
    if offer.get("router") and not default:
        state.host["routes"]["ipv4"].append({"network": "0.0.0.0/0", "gateway": offer["router"], "source": "DHCP"})
    if vmk["ipv4"].get("peerdns", True):
        for server in offer.get("dns", []):
            if server not in state.host["dns"]["servers"]:
                state.host["dns"]["servers"].append(server)


def advertise(state, name, vmk, wire):
    kept = [a for a in vmk["ipv6"]["addresses"] if a["type"] == "STATIC"]
    routes = state.host["routes"]["ipv6"]
    state.host["routes"]["ipv6"] = [r for r in routes if (r["source"], r.get("vmk")) != ("RA", name)]
    if vmk["ipv6"]["enabled"]:
        router = (wire or {}).get("ra", {})
        if vmk["ipv6"]["router_adv"] and router.get("prefix"):
            network = ipaddress.ip_network(router["prefix"])
            suffix = eui64(vmk["mac"])
            kept.append({"address": "%s/%d" % (network.network_address + suffix, network.prefixlen), "type": "AUTO"})
            have = [r for r in state.host["routes"]["ipv6"] if r["network"] == "::/0"]
            if router.get("router") and not have:
                state.host["routes"]["ipv6"].append({"network": "::/0", "gateway": router["router"], "source": "RA", "vmk": name})
        offer = (wire or {}).get("dhcpv6")
        if vmk["ipv6"]["dhcpv6"] and offer:
            kept.append({"address": offer["address"], "type": "DHCPV6"})
    vmk["ipv6"]["addresses"] = kept


def eui64(mac):
    digits = [int(p, 16) for p in mac.split(":")]
    digits[0] ^= 2
    out = 0
    for byte in digits[:3] + [0xFF, 0xFE] + digits[3:]:
        out = out << 8 | byte
    return out


def summary(state):
    """The network without the names that a plan is free to choose: what each
    VMkernel interface is to the network."""
    out = {}
    for name, vmk in state.host["vmks"].items():
        switch_name, switch = switch_of(state.host, vmk["portgroup"])
        failover = policy(switch, vmk["portgroup"])
        four = addresses(vmk, 4)
        out[name] = {
            "ipv4": "dhcp" if vmk["ipv4"]["type"] == "dhcp" else str(four[0]) if four else None,
            "ipv6": sorted(a["address"] for a in vmk["ipv6"]["addresses"]), "dhcpv6": vmk["ipv6"]["dhcpv6"],
            "router_adv": vmk["ipv6"]["router_adv"], "mac": vmk["mac"], "mtu": vmk["mtu"], "switch_mtu": switch["mtu"],
            "vlan": switch["portgroups"][vmk["portgroup"]]["vlan"], "active": failover["active"], "standby": failover["standby"],
            "balance": failover["load_balancing"], "tags": vmk["tags"], "switch": switch_name, "portgroup": vmk["portgroup"],
            "security": switch["security"],
        }
    routes = {}
    for family in ("ipv4", "ipv6"):
        routes[family] = sorted("%s via %s" % (r["network"], r["gateway"]) for r in state.host["routes"][family])
    return out, routes
