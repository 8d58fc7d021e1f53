"""What the installer makes of a model: where a plan starts that is made
without the host."""
import json

from esxi_netinit import addresses, esx, weasel
from esxi_netinit.hoststate import MANAGEMENT, State, new_vmk

MAX_FILE = 1 << 20
MAX_NICS = 256


class Refused(Exception):
    """A file of network cards that can't be used."""


def read_nics(path):
    """Cards from JSON, or from what "esxcli network nic list" prints."""
    try:
        with open(path, "rb") as f:
            raw = f.read(MAX_FILE + 1)
    except OSError as err:
        raise Refused("%s: %s" % (path, err.strerror))
    if len(raw) > MAX_FILE:
        raise Refused("%s: has more than %d bytes" % (path, MAX_FILE))
    text = raw.decode("utf-8", "replace").lstrip("\ufeff")
    nics = json_nics(path, text) if text.lstrip()[:1] in ("[", "{") else esx.parse_nics(text)
    if not nics:
        raise Refused("%s: lists no network card; save what \"esxcli network nic list\" prints" % path)
    if len(nics) > MAX_NICS:
        raise Refused("%s: lists more than %d network cards" % (path, MAX_NICS))
    return nics


def json_nics(path, text):
    """[{"name", "mac", "link"}], or such a list as the member nics."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("%s: is not JSON" % path)
    data = data.get("nics") if isinstance(data, dict) else data
    if not isinstance(data, list):
        raise Refused("%s: holds no list of network cards" % path)
    out = []
    for i, entry in enumerate(data):
        where = "%s: $[%d]" % (path, i)
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].startswith("vmnic"):
            raise Refused("%s: has no name such as vmnic0" % where)
        try:
            mac = addresses.mac(entry.get("mac"))
        except ValueError as err:
            raise Refused("%s.mac: is %s" % (where, err))
        if mac in [nic["mac"] for nic in out] or entry["name"] in [nic["name"] for nic in out]:
            raise Refused("%s: is there twice" % where)
        out.append({"name": entry["name"], "mac": mac, "link": "Down" if str(entry.get("link", "Up")).lower() in ("down", "false") else "Up"})
    return out


def installed(model, nics, version="8.0.0"):
    """(state, the installer's network line, notes): a host right after its
    installation, before %firstboot."""
    notes = []
    cards = [weasel.Nic(n["name"], n["mac"] or "", n["link"].lower() == "up") for n in nics]
    line = weasel.network(model, cards, notes.append)
    options = dict(word[2:].partition("=")[::2] for word in line.split() if word.startswith("--"))
    state = State()
    state.version = version
    state.nics = [dict(n) for n in nics]
    state.ntp = {"enabled": False, "servers": []}
    state.hostname = {"host": "localhost", "fqdn": "localhost"}
    nic = state.nic_by_mac(options.get("device")) or first_card(state)
    vmk = new_vmk("Management Network", state.nic_mac(nic) or "")
    vmk["tags"] = [MANAGEMENT]
    vmk["ipv6"].update(enabled=True, router_adv=True)
    vmk["ipv4"]["type"] = options["bootproto"]
    if options["bootproto"] == "static":
        address(state, vmk, options)
    uplinks = [nic] if nic else []
    state.switches["vSwitch0"] = {"mtu": 1500, "uplinks": uplinks, "active": list(uplinks), "standby": [], "balance": "portid", "security": None}
    state.portgroups = {
        "Management Network": {"switch": "vSwitch0", "vlan": int(options.get("vlanid", 0)), "clients": 1},
        "VM Network": {"switch": "vSwitch0", "vlan": 0, "clients": 0},
    }
    state.vmks["vmk0"] = vmk
    return state, line, notes


def first_card(state):
    """The first with a carrier, else the first."""
    linked = [n["name"] for n in state.nics if n["link"].lower() == "up"]
    return (linked + [n["name"] for n in state.nics] + [None])[0]


def address(state, vmk, options):
    vmk["ipv4"].update(address=options["ip"], netmask=options["netmask"])
    if "gateway" in options:
        state.routes[4] = [{"network": "0.0.0.0", "prefix": 0, "gateway": options["gateway"], "interface": "vmk0", "source": "MANUAL"}]
    state.dns["servers"] = [server for server in options.get("nameserver", "").split(",") if server]
    name = options.get("hostname")
    if name:
        state.hostname = {"host": name.partition(".")[0], "fqdn": name}
