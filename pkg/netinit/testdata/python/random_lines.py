"""Prints what the installer would be told for many random models: one line of
JSON each, with the commands. A seed and a number are the arguments."""
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import NICS  # noqa: E402
from esxi_netinit import disks, parttable, shacrypt, weasel  # noqa: E402
from esxi_netinit.errors import MetadataError  # noqa: E402
from esxi_netinit.model import Model  # noqa: E402
from esxi_netinit.stage import Refused  # noqa: E402

MACS = ["52:54:00:aa:bb:01", "52:54:00:aa:bb:02", "52:54:00:aa:bb:0a", "52:54:00:aa:bb:ff", None]
ADDRESSES = ["192.0.2.10", "192.0.2.0", "192.0.2.255", "10.0.0.1", "10.255.255.255", "127.0.0.1", "224.0.0.1", "0.0.0.1", "255.255.255.255",
             "192.0.2.1", "198.51.100.7", "2001:db8::1", "fe80::1"]
NAMES = [None, "h1", "h1.example.org", "H-1", "a" * 63, ".".join(["b" * 60] * 4), "1"]


def model(rng):
    links = [{"id": "p%d" % i, "mac": rng.choice(MACS)} for i in range(rng.randrange(1, 4))]
    ids = [link["id"] for link in links]
    if rng.random() < 0.4:
        links.append({"id": "b", "kind": "bond", "bond": {"mode": "802.3ad", "links": rng.sample(ids, rng.randrange(1, len(ids) + 1))}})
    if rng.random() < 0.5:
        links.append({"id": "v", "kind": "vlan", "vlan": {"id": rng.choice([0, 1, 100, 4094]), "link": links[-1]["id"]}})
    networks = []
    for i in range(rng.randrange(0, 4)):
        family = rng.choice([4, 4, 4, 6])
        network = {"id": "n%d" % i, "link": rng.choice(links)["id"], "family": family, "method": "static", "dns": rng.sample(ADDRESSES, rng.randrange(0, 4))}
        mine = [a for a in ADDRESSES if (":" in a) == (family == 6)]
        if rng.random() < 0.3:
            network["method"] = "dhcp" if family == 4 else "slaac"
        else:
            network.update(address=rng.choice(mine), prefix=rng.choice([1, 8, 16, 24, 30, 31, 32]))
        if rng.random() < 0.7:
            network["routes"] = [{"network": "0.0.0.0" if family == 4 else "::", "prefix": 0, "gateway": rng.choice(mine)}]
        networks.append(network)
    name = rng.choice(NAMES)
    return Model.from_dict({"version": 1, "links": links, "networks": networks, "hostname": name, "fqdn": name if name and "." in name else None,
                            "dns": {"servers": rng.sample(ADDRESSES, rng.randrange(0, 5)), "search": []}})


def install(rng):
    kinds = rng.sample(list(parttable.VMFS) + list(parttable.VSAN) + ["x"], rng.randrange(0, 3))
    disk = disks.Disk(rng.choice(["naa.1", "mpx.vmhba0:C0:T0:L0", "t10.ATA_____x y'z", "eui.00#1"]), "")
    disk.table = rng.choice([None, parttable.Table("g", [parttable.Partition(1, kind, "g", 0, 1) for kind in kinds])])
    choice = rng.choice([None, disks.Choice(disk=disk, reason="x"), disks.Choice(disk=disk, reason="x"), disks.Choice(firstdisk=["local", "ST 3"])])
    flags = (None, True, False)
    return weasel.install(choice, {"disk": None, "overwritevmfs": rng.choice(flags), "overwritevsan": rng.choice(flags)})


def main():
    rng = random.Random(int(sys.argv[1]))
    found = weasel.parse_nics(NICS)
    for _ in range(int(sys.argv[2])):
        try:
            lines = {"network": weasel.network(model(rng), found, lambda text: None), "install": install(rng)}
        except (Refused, MetadataError):
            continue
        lines["rootpw"] = weasel.rootpw("$6$%s$%s" % (shacrypt.salt(), "x" * 86))
        print(json.dumps(lines))


main()
