"""Writes the commands that the installer (weasel) reads, as it reads them.

An error in the installer ends at a prompt, for good. So nothing is written
that it would refuse; what can't be said becomes DHCP, and a note.
"""
import re

from esxi_netinit import addresses
from esxi_netinit.model import gateway
from esxi_netinit.parttable import VMFS, VSAN
from esxi_netinit.stage import Refused

HASH = re.compile(r"\$6\$[A-Za-z0-9./]{1,16}\$[A-Za-z0-9./]{86}\Z")
MAX_NAMESERVERS = 2
# Where no image is known (an installer that was booted from the network):
# logical drives of Dell's and HPE's RAID and boot controllers first (by vendor,
# and by driver: hpsa up to 6.7, nhpsa and smartpqi since), then any local disk.
# The first filter with a hit wins. Remote disks are left out, because the first
# LUN of a SAN may be a datastore in use elsewhere; USB because of sticks.
FIRSTDISK = "DELL,hpsa,nhpsa,smartpqi,local"
DHCP = "network --bootproto=dhcp"
_NIC = re.compile(r"(vmnic[0-9]{1,4})\s")
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")


class Nic(object):
    def __init__(self, name, mac, up):
        self.name, self.mac, self.up = name, mac, up


def rootpw(password_hash):
    """weasel takes $6$ with a salt of at most 16 and without rounds=."""
    if not takes(password_hash):
        raise Refused("the hash of the root password is of a kind that the installer refuses")
    return "rootpw --iscrypted " + password_hash


def takes(password_hash):
    return isinstance(password_hash, str) and HASH.match(password_hash) is not None


def nics(stage):
    """The network adapters; hostd is not there, so localcli is asked."""
    for argv in (["localcli", "network", "nic", "list"], ["esxcfg-nics", "-l"]):
        code, text = stage.command(argv)
        found = parse_nics(text) if code == 0 else []
        if found:
            return found
    return []


def parse_nics(text):
    out = []
    for line in text.splitlines():
        match = _NIC.match(line)
        if not match:
            continue
        words = line.split()
        macs = [word for word in words if _MAC.match(word)]
        # The description may hold anything, but it comes last.
        if macs:
            before = words[:words.index(macs[0])]
            out.append(Nic(match.group(1), macs[0], "Up" in before[-5:] and "Down" not in before[-4:]))
    return out


def network(model, found, note):
    """The line for the management network; note(text) is called for what it
    does not say."""
    wanted = model.management()
    if wanted is None:
        return DHCP
    where = "network %s" % wanted["id"]
    links, vlan, bond = model.uplinks(wanted["link"])
    nic, bound = pick(links, found)
    if bound and nic is None:
        note("%s: no adapter has the address that its link names; the installer takes DHCP on the first with a link" % where)
        return DHCP
    options = [] if nic is None else ["--device=" + nic.mac]
    if vlan:
        options.append("--vlanid=%d" % vlan)
    if bond is not None and len(links) > 1:
        note("%s: until the first boot only %s of the bond is used" % (where, nic.name if nic else "one adapter"))
    if wanted["family"] == 4 and wanted["method"] == "static":
        address, problem = static(model, wanted, note)
        if not problem:
            return " ".join(["network", "--bootproto=static"] + options + address)
        note("%s: %s; the installer takes DHCP" % (where, problem))
    elif wanted["family"] == 6:
        note("%s is IPv6, which the installer can't set up; it takes DHCP" % where)
    return " ".join([DHCP] + options)


def pick(links, found):
    """The adapter of a link, and whether the metadata names one at all. Of a
    bond's, the first with a carrier."""
    bound, present = False, []
    for link in links:
        if link["mac"] is None and link["nic"] is None:
            continue
        bound = True
        for nic in found:
            same = nic.mac.lower() == link["mac"] if link["mac"] is not None else nic.name == link["nic"]
            if same:
                present.append(nic)
                break
    for nic in present:
        if nic.up:
            return nic, bound
    return (present[0] if present else None), bound


def static(model, wanted, note):
    """The options of a static address, or ([], why not)."""
    address, prefix = wanted["address"], wanted["prefix"]
    problem = unusable(address, prefix)
    if problem:
        return [], "its address " + problem
    options = ["--ip=" + address, "--netmask=" + addresses.netmask(prefix)]
    router = gateway(wanted)
    if router is not None:
        if not addresses.contains(addresses.network_of(address, prefix), prefix, router):
            return [], "its gateway lies outside the subnet"
        problem = "is the host's own" if router == address else unusable(router, prefix)
        if problem:
            return [], "its gateway " + problem
        options.append("--gateway=" + router)
    else:
        note("network %s has no gateway: the installer invents one, which the first boot removes" % wanted["id"])
    servers = []
    for server in list(wanted["dns"]) + list(model.dns["servers"]):
        # What the installer would refuse as an address of a host, it must not see.
        if ":" not in server and server not in servers and not unusable(server, 32):
            servers.append(server)
    if servers:
        options.append("--nameserver=" + ",".join(servers[:MAX_NAMESERVERS]))
    name = model.fqdn or model.hostname
    if name:
        options.append("--hostname=" + name)
    return options, ""


def unusable(address, prefix):
    """Why the installer would not take an address, "" where it does."""
    ip = addresses.parse(address)
    number = int(ip)
    if ip.version != 4 or ip.is_loopback or ip.is_multicast or number >> 24 == 0 or number == 0xFFFFFFFF:
        return "can't be a host's"
    rest = (1 << 32 - prefix) - 1
    if prefix < 32 and number & rest in (0, rest):
        return "is the one of the network or of everybody in it"
    return ""


def install(choice, settings):
    """The install line. choice is disks.Choice, or None where no image is
    known; settings is Model.install."""
    overwrite = settings["overwritevmfs"]
    if choice is None:
        return "install --firstdisk=%s %s" % (FIRSTDISK, "--preservevmfs" if overwrite is False else "--overwritevmfs")
    if choice.firstdisk is not None:
        line = "install --firstdisk=" + quote(",".join(choice.firstdisk))
        # Which disk that will be isn't known here: it is as told.
        return line + (" --overwritevmfs" if overwrite else " --preservevmfs" if overwrite is False else "")
    disk = choice.disk
    line = "install --disk=" + quote(disk.name)
    if overwrite is False:
        line += " --preservevmfs"
    elif overwrite is None and disk.has(VMFS):
        raise Refused("%s, %s, holds a VMFS datastore: set overwritevmfs to erase it" % (disk.name, choice.reason))
    elif overwrite or not disk.problem:
        # Where there is none the option only keeps a stray signature from
        # stopping the installation. Where the disk can't be looked at, the
        # installer itself is to stop.
        line += " --overwritevmfs"
    if disk.has(VSAN):
        if not settings["overwritevsan"]:
            raise Refused("%s, %s, is claimed by vSAN: set overwritevsan to erase it" % (disk.name, choice.reason))
        # The installer refuses the option on any other disk.
        line += " --overwritevsan"
    return line


def quote(word):
    """For the installer's splitting, which is a shell's."""
    if re.match(r"[A-Za-z0-9_.,:/=+-]+\Z", word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"
