"""The rest of esxcli: name, time, settings, log host, firewall, storage."""
import ipaddress
import re

import ip  # registers the network commands
from net import need
from state import Refused
from tree import Blocks, Table

tree = ip.tree
LABEL = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")

# Advanced settings that the stand-in knows, with their values after
# installation. A text where the setting is one.
SETTINGS = {
    "/UserVars/SuppressShellWarning": 0, "/UserVars/ESXiShellTimeOut": 0, "/UserVars/ESXiShellInteractiveTimeOut": 0,
    "/UserVars/SuppressCoredumpWarning": 0, "/Net/FollowHardwareMac": 0, "/Syslog/global/logHost": "",
    "/UserVars/SuppressHyperthreadWarning": 0, "/Misc/HostName": "localhost", "/User/execInstalledOnly": 1,
}


@tree.add("system version get")
def version_get(state, given):
    return Blocks([(None, [("Product", "VMware ESXi"), ("Version", state.data["release"]), ("Build", "Releasebuild-22380479"),
                           ("Update", 2), ("Patch", 0)])])


@tree.add("system hostname get")
def hostname_get(state, given):
    name = state.host["name"]
    return Blocks([(None, [("Domain Name", name["domain"]), ("Fully Qualified Domain Name", name["fqdn"]), ("Host Name", name["host"])])])


@tree.add("system hostname set", "H|host s", "d|domain s", "f|fqdn s")
def hostname_set(state, given):
    need(given, "Error: one of --host, --domain and --fqdn is wanted")
    need(not ("fqdn" in given and len(given) > 1), "Error: --fqdn stands alone")
    for value in given.values():
        need(len(value) <= 255 and all(LABEL.match(p) for p in value.split(".")), "Error: Invalid host name %s", value)
    name = state.host["name"]
    if "fqdn" in given:
        need("." in given["fqdn"], "Error: %s is not a fully qualified name", given["fqdn"])
        name["host"], _, name["domain"] = given["fqdn"].partition(".")
    if "host" in given:
        need("." not in given["host"], "Error: Invalid host name %s", given["host"])
        name["host"] = given["host"]
    if "domain" in given:
        name["domain"] = given["domain"]
    name["fqdn"] = name["host"] + ("." + name["domain"] if name["domain"] else "")


@tree.add("system ntp set", "s|server l", "e|enabled b", "r|reset f", "l|loglevel s", "f|file s")
def ntp_set(state, given):
    need(not state.data["release"].startswith("6."), "Error: Unknown command or namespace system ntp set")
    need(given, "Error: nothing to set")
    ntp = state.host["ntp"]
    if given.get("reset"):
        ntp.update(servers=[], enabled=False)
    if "server" in given:
        for server in given["server"]:
            need(server and " " not in server and "," not in server, "Error: Invalid server %s", server)
        ntp["servers"] = given["server"]
    if "enabled" in given:
        need(not given["enabled"] or ntp["servers"], "Error: NTP has no servers")
        ntp["enabled"] = given["enabled"]


@tree.add("system ntp get")
def ntp_get(state, given):
    need(not state.data["release"].startswith("6."), "Error: Unknown command or namespace system ntp get")
    ntp = state.host["ntp"]
    return Blocks([(None, [("Enabled", ntp["enabled"]), ("Loglevel", "warning"), ("PID", ""), ("Runtime Seconds", ""),
                           ("Servers", ntp["servers"])])])


@tree.add("system settings advanced set", "o|option s!", "i|int-value i", "s|string-value s", "d|default f")
def advanced_set(state, given):
    name = given["option"]
    need(name in state.host["settings"], "Error: Unable to find option %s", name)
    key = "string-value" if isinstance(state.host["settings"][name], str) else "int-value"
    need(key in given or given.get("default"), "Error: option %s wants --%s", name, key)
    state.host["settings"][name] = SETTINGS[name] if given.get("default") else given[key]


@tree.add("system settings advanced list", "o|option s", "d|delta f", "t|tree s")
def advanced_list(state, given):
    need("option" not in given or given["option"] in state.host["settings"], "Error: Unable to find option %s", given.get("option"))
    items = []
    for name, value in sorted(state.host["settings"].items()):
        if given.get("option", name) != name or (given.get("delta") and value == SETTINGS[name]):
            continue
        text = isinstance(value, str)
        items.append((None, [
            ("Path", name), ("Type", "string" if text else "integer"), ("Int Value", 0 if text else value), ("Default Int Value", 0),
            ("Min Value", 0), ("Max Value", 1), ("String Value", value if text else ""), ("Default String Value", ""),
            ("Valid Characters", ""), ("Description", ""),
        ]))
    return Blocks(items)


@tree.add("system settings kernel set", "s|setting s!", "v|value s!")
def kernel_set(state, given):
    need(given["setting"] in ("execInstalledOnly", "com1_baud", "gdbPort", "logPort", "tty2Port", "com1_Port"), "Error: Unable to find setting %s", given["setting"])
    state.host["kernel"][given["setting"]] = given["value"]


@tree.add("system syslog config set", "h|loghost s", "d|logdir s", "u|logdir-unique b", "r|default-rotate i", "s|default-size i", "R|reset s")
def syslog_set(state, given):
    for one in given.get("loghost", "").split(","):
        need("loghost" not in given or re.match(r"^((udp|tcp|ssl)://)?([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]+)?$", one) or one == "", "Error: Invalid loghost %s", one)
    if "loghost" in given:
        state.host["syslog"].update(loghost=given["loghost"], reloaded=False)


@tree.add("system syslog config get")
def syslog_get(state, given):
    return Blocks([(None, [("Local Log Output", "/scratch/log"), ("Remote Host", state.host["syslog"]["loghost"] or "<none>")])])


@tree.add("system syslog reload")
def syslog_reload(state, given):
    state.host["syslog"]["reloaded"] = True


@tree.add("system syslog mark", "s|message s!")
def syslog_mark(state, given):
    state.note("syslog", text=given["message"])


RULESETS = ("syslog", "sshServer", "sshClient", "ntpClient", "httpClient", "dns", "dhcp")


@tree.add("network firewall ruleset set", "r|ruleset-id s!", "e|enabled b", "a|allowed-all b")
def ruleset_set(state, given):
    need(given["ruleset-id"] in RULESETS, "Error: Unable to find ruleset %s", given["ruleset-id"])
    if "enabled" in given:
        state.host["firewall"][given["ruleset-id"]] = given["enabled"]


@tree.add("network firewall ruleset list", "r|ruleset-id s")
def ruleset_list(state, given):
    need(given.get("ruleset-id", "dns") in RULESETS, "Error: Unable to find ruleset %s", given.get("ruleset-id"))
    rows = [[name, state.host["firewall"].get(name, False)] for name in RULESETS if given.get("ruleset-id", name) == name]
    return Table(["Name", "Enabled"], rows)


@tree.add("network firewall refresh")
def firewall_refresh(state, given):
    return None


@tree.add("system maintenanceMode set", "e|enable b!", "t|timeout i", "m|vsanmode s")
def maintenance_set(state, given):
    need(state.host["maintenance"] != given["enable"], "Error: Maintenance mode is already %s.", "enabled" if given["enable"] else "disabled")
    state.host["maintenance"] = given["enable"]


@tree.add("system maintenanceMode get")
def maintenance_get(state, given):
    return "Enabled" if state.host["maintenance"] else "Disabled"


@tree.add("system shutdown reboot", "d|delay i", "r|reason s!", "f|force f")
def shutdown_reboot(state, given):
    need(state.host["maintenance"] or given.get("force"), "Error: Invalid operation, the host is not in maintenance mode")
    need(given.get("delay", 10) >= 10, "Error: Invalid delay %d", given.get("delay", 10))
    state.data["rebooting"] = True


@tree.add("system uuid get")
def uuid_get(state, given):
    return state.data["uuid"]


@tree.add("system secureboot get")
def secureboot_get(state, given):
    raise Refused("Error: Unknown command or namespace system secureboot get")


@tree.add("system boot device get")
def boot_device(state, given):
    return Blocks([(None, [("Boot Filesystem UUID", ""), ("Boot NIC", ""), ("Stateless Boot NIC", "")])])


@tree.add("system module load", "m|module s!", "f|force f")
def module_load(state, given):
    name = given["module"]
    need(name in ("iso9660", "vfat"), "Error: Unable to find module %s: Not found", name)
    need(name not in state.data["kernel_modules"], "Error: Unable to load module %s: Busy", name)
    state.data["kernel_modules"].append(name)


@tree.add("system module list", "e|enabled b", "l|loaded b")
def module_list(state, given):
    return Table(["Name", "Is Loaded", "Is Enabled"], [[n, True, True] for n in ["vmkernel"] + state.data["kernel_modules"]])


@tree.add("system certificate list")
def certificates(state, given):
    raise Refused("Error: Unknown command or namespace system certificate list")


@tree.add("software vib list")
def vib_list(state, given):
    return Table(["Name", "Version", "Vendor", "Acceptance Level", "Install Date"],
                 [["esx-base", "8.0.2-0.0.22380479", "VMware", "VMwareCertified", "2024-01-01"]])


# Storage


@tree.add("storage core device list", "d|device s")
def device_list(state, given):
    items = []
    for disk in state.data["disks"]:
        if given.get("device", disk["name"]) != disk["name"]:
            continue
        items.append((disk["name"], [
            ("Display Name", "Local %s Disk (%s)" % (disk.get("vendor", "ATA"), disk["name"])), ("Has Settable Display Name", True),
            ("Size", disk["size_mb"]), ("Device Type", disk.get("type", "Direct-Access")), ("Multipath Plugin", "NMP"), ("Devfs Path", "/vmfs/devices/disks/" + disk["name"]),
            ("Vendor", disk.get("vendor", "ATA")), ("Model", disk.get("model", "SYNTHETIC")), ("Revision", "1.0"), ("SCSI Level", 6),
            ("Is Pseudo", False), ("Status", "on"), ("Is RDM Capable", False), ("Is Local", disk.get("local", True)),
            ("Is Removable", disk.get("removable", False)), ("Is SSD", disk.get("ssd", True)), ("Is VVOL PE", False), ("Is Offline", False),
            ("Is Perennially Reserved", False), ("Queue Full Sample Size", 0), ("Thin Provisioning Status", "unknown"),
            ("Attached Filters", ""), ("VAAI Status", "unsupported"), ("Other UIDs", disk.get("vml", "")), ("Is Shared Clusterwide", False),
            ("Is SAS", False), ("Is USB", disk.get("usb", False)), ("Is Boot Device", False), ("Device Max Queue Depth", 31),
        ]))
    need(items or "device" not in given, "Error: Unable to find device %s", given.get("device"))
    return Blocks(items)


@tree.add("storage core path list", "d|device s", "p|path s")
def path_list(state, given):
    items = []
    for i, disk in enumerate(state.data["disks"]):
        if given.get("device", disk["name"]) == disk["name"]:
            path = disk.get("path", "vmhba0:C0:T%d:L0" % i)
            items.append(("sata.%s-%s" % (path.split(":")[0], disk["name"]), [
                ("UID", "sata.%s" % path), ("Runtime Name", path), ("Device", disk["name"]),
                ("Device Display Name", "Local Disk"), ("Adapter", path.split(":")[0]), ("Channel", 0), ("Target", i), ("LUN", 0),
                ("Plugin", "NMP"), ("State", "active"), ("Transport", "sata")]))
    return Blocks(items)


@tree.add("storage filesystem list", "i|ignore-errors f")
def filesystem_list(state, given):
    rows = []
    for name, volume in sorted(state.data.get("mounted", {}).items()):
        rows.append(["/vmfs/volumes/" + volume["uuid"], name, volume["uuid"], True, volume["type"], volume.get("size", 1 << 28), volume.get("free", 1 << 27)])
    return Table(["Mount Point", "Volume Name", "UUID", "Mounted", "Type", "Size", "Free"], rows)


@tree.add("storage filesystem automount")
def automount(state, given):
    if "vfat" in state.data["kernel_modules"]:
        for device, volume in sorted(state.data["volumes"].items()):
            if volume["type"] == "vfat":
                state.data.setdefault("mount_requests", []).append(device)


@tree.add("storage filesystem rescan")
def rescan(state, given):
    return None


@tree.add("vsan storage list", "d|device s", "u|uuid s")
def vsan_list(state, given):
    items = []
    for disk in state.data["disks"]:
        if disk.get("vsan") and given.get("device", disk["name"]) == disk["name"]:
            items.append((disk["name"], [("Device", disk["name"]), ("Display Name", disk["name"]), ("Is SSD", True),
                                         ("VSAN UUID", "52a0b1c2-0000-0000-0000-000000000000"), ("VSAN Disk Group UUID", "")]))
    return Blocks(items)


@tree.add("vsan cluster get")
def vsan_cluster(state, given):
    raise Refused("Virtual SAN Clustering is not enabled on this host")


def fresh(name=None):
    """The configuration of a host that was just installed, without a network."""
    return {
        "name": name or {"host": "localhost", "domain": "", "fqdn": "localhost"},
        "vswitches": {}, "vmks": {}, "routes": {"ipv4": [], "ipv6": []}, "dns": {"servers": [], "search": []},
        "ntp": {"servers": [], "enabled": False}, "ssh": {"enabled": False, "running": False}, "shell": {"enabled": False, "running": False},
        "settings": dict(SETTINGS), "kernel": {}, "syslog": {"loghost": "", "reloaded": True}, "firewall": {}, "license": None,
        "certificate": "localhost", "maintenance": False, "services": {},
    }


def is_address(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
