"""A modelled host for the tests of the first boot: the stand-in of the
end-to-end tests, in this process, over a folder as its root."""
import copy
import json
import os
import shutil
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(HERE))))
sys.dont_write_bytecode = True
for folder in (os.path.join(REPOSITORY, "cmd", "esxi-img", "internal", "e2e", "standin"), os.path.join(REPOSITORY, "pkg", "netinit", "files")):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import ip  # noqa: E402
import net  # noqa: E402
import state as standin  # noqa: E402
import system  # noqa: E402
import tools  # noqa: E402
import wire  # noqa: E402
from esxi_netinit import baseline, esx, journal, main, plan as planning  # noqa: E402
from esxi_netinit.apply import Apply  # noqa: E402
from esxi_netinit.model import Model  # noqa: E402

EPOCH = 1700000000
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@example"
KEY2 = "ssh-rsa AAAAB3NzaC1yc2E="
BOOT_CFG = b"bootstate=0\r\nkernel=b.b00\r\nmodules=jumpstrt.gz --- state.tgz --- esxiimg.tgz --- esximeta.tgz\r\nbuild=8.0.2\r\n"


# What metadata asks for


def mac(i):
    return "00:11:22:33:44:%02x" % i


def link(id, mac=None, mtu=None, bond=None, vlan=None, nic=None):
    kind = "bond" if bond else "vlan" if vlan else "physical"
    return {"id": id, "kind": kind, "mac": mac, "nic": nic, "mtu": mtu, "bond": bond, "vlan": vlan}


def bond(mode, *links, **more):
    return {"mode": mode, "links": list(links), "primary": more.get("primary"), "miimon": None, "xmit_hash_policy": None}


def vlan(id, below, mac=None):
    return {"id": id, "link": below, "mac": mac}


def route(network, gateway):
    address, _, prefix = network.partition("/")
    return {"network": address, "prefix": int(prefix), "gateway": gateway}


def net4(id, link, address=None, gateway=None, routes=(), dns=()):
    """Static with ADDRESS/LEN, else DHCP."""
    address, _, prefix = (address or "").partition("/")
    default = [route("0.0.0.0/0", gateway)] if gateway else []
    return network(id, link, 4, "static" if address else "dhcp", address, prefix, default + list(routes), dns)


def net6(id, link, address=None, gateway=None, routes=(), dns=(), method="static"):
    address, _, prefix = (address or "").partition("/")
    default = [route("::/0", gateway)] if gateway else []
    return network(id, link, 6, method, address, prefix, default + list(routes), dns)


def network(id, link, family, method, address, prefix, routes, dns):
    return {
        "id": id, "link": link, "network_id": None, "family": family, "method": method, "address": address or None,
        "prefix": int(prefix) if prefix else None, "routes": routes, "dns": list(dns),
    }


def model(links=(), networks=(), **more):
    out = Model()
    out.links, out.networks = list(links), list(networks)
    for name, value in more.items():
        if isinstance(getattr(out, name), dict):
            getattr(out, name).update(value)
        else:
            setattr(out, name, value)
    return Model.from_dict(out.to_dict())


def cards(n, down=()):
    return [{"name": "vmnic%d" % i, "mac": mac(i), "link": "Down" if i in down else "Up"} for i in range(n)]


# The host


class Memory(standin.State):
    """The stand-in's state without its files."""

    def __init__(self, root, data):
        super().__init__(root, data)
        self.clock = Clock()


class Clock(object):
    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return self.seconds

    def advance(self, seconds):
        self.seconds += seconds


class Modelled(object):
    """wires: {card number: {VLAN: {gateways, dhcp, ra}}}."""

    def __init__(self, root, nics, wires, release="8.0.2", fail=()):
        self.root = root
        nics = [dict(nic, wire="w%d" % i) for i, nic in enumerate(nics)]
        self.state = Memory(root, {
            "nics": nics, "wires": dict(("w%d" % i, wires[i]) for i in wires), "release": release, "phase": "host", "hostd_ready_after": 0,
            "booted_at": 0, "host": system.fresh(), "disks": [], "volumes": {}, "kernel_modules": [], "fail": list(fail), "uuid": "x", "boot": 1, "marked": None,
        })
        self.calls, self.outputs = [], {}

    @property
    def host(self):
        return self.state.host

    def seen(self, kind):
        return self.state.data.get(kind, [])

    def install(self, wanted):
        """As the installer leaves the host."""
        made, line, _ = baseline.installed(wanted, self.state.data["nics"])
        for name, one in made.switches.items():
            self.host["vswitches"][name] = net.new_switch()
            self.host["vswitches"][name]["uplinks"] = list(one["uplinks"])
            self.host["vswitches"][name]["failover"]["active"] = list(one["uplinks"])
        for name, its in made.portgroups.items():
            uplinks = self.host["vswitches"][its["switch"]]["uplinks"]
            self.host["vswitches"][its["switch"]]["portgroups"][name] = {
                "vlan": its["vlan"], "failover": {"active": list(uplinks), "standby": [], "load_balancing": "portid"}}
        for name, its in made.vmks.items():
            vmk = ip.new_vmk(its["portgroup"], its["mac"] or "00:50:56:00:00:01")
            vmk["tags"] = ["Management"]
            vmk["ipv4"].update(type=its["ipv4"]["type"], address=its["ipv4"]["address"], netmask=its["ipv4"]["netmask"], peerdns=True)
            vmk["ipv6"].update(enabled=True, router_adv=True)
            self.host["vmks"][name] = vmk
        self.host["routes"]["ipv4"] = [{"network": "0.0.0.0/0", "gateway": r["gateway"], "source": "MANUAL"} for r in made.routes[4]]
        self.host["dns"]["servers"] = list(made.dns["servers"])
        name = made.hostname
        self.host["name"] = {"host": name["host"], "domain": name["fqdn"].partition(".")[2], "fqdn": name["fqdn"]}
        wire.settle(self.state)
        return line

    def run(self, argv, seconds=0):
        """Exit code and output, as esx.run_command."""
        self.calls.append(list(argv))
        self.state.clock.advance(0.2)
        name = argv[0][len(self.root):] if argv[0].startswith(self.root) else argv[0]
        line = " ".join([os.path.basename(name)] + argv[1:])
        failure = self.state.injected(line)
        if failure is not None:
            return 1, failure
        if line in self.outputs:
            return self.outputs[line]
        try:
            text = self.answer(name if name in tools.PROGRAMS else os.path.basename(name), argv[1:])
        except standin.Unknown as err:
            self.state.note("unknown", command=line, message=str(err))
            return 1, str(err)
        except standin.Refused as err:
            self.state.note("refused", command=line, message=str(err))
            return 1, err.printed + str(err)
        return (0, text) if text is not None else (127, "not found")

    def answer(self, name, args):
        if name in ("esxcli", "localcli"):
            if name == "esxcli" and not self.state.hostd_ready():
                raise standin.Refused("Connect to localhost failed: Connection failure")
            return system.tree.execute(self.state, args, name)
        if name == "generate-certificates":
            self.host["certificate"] = self.host["name"]["fqdn"]
            return ""
        if name in ("chkconfig", "loadESXEnable"):
            return ""
        return tools.PROGRAMS[name](self.state, args) or "" if name in tools.PROGRAMS else None

    def esx_host(self):
        return esx.Host(self.root, self.run, self.state.clock.advance, lambda: EPOCH + self.state.clock.now())

    def reachable(self):
        return wire.management_reachable(self.state)


class FirstBoot(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.said = []
        for module in (journal.report, main.report):
            self.addCleanup(setattr, module, "say", module.say)
            module.say = lambda root, text: self.said.append(text)

    def file(self, path, data=b""):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode("utf-8"))
        return full

    def read(self, path):
        with open(os.path.join(self.root, path), "rb") as f:
            return f.read()

    def modelled(self, wanted, nics, wires, **more):
        out = Modelled(self.root, nics, wires, **more)
        out.install(wanted)
        return out

    def apply(self, fake, wanted):
        """The journal, after all steps."""
        host = fake.esx_host()
        log = journal.Journal(self.root, say=self.said.append, clock=host.clock)
        host.wait()
        state = main.read_state(host, log)
        plan = planning.make(wanted, state)
        log.plan(plan)
        Apply(host, plan, state, log).run()
        log.close()
        return log

    def results(self, log):
        return dict((entry["id"], entry["result"]) for entry in log.data["steps"])

    def boot_bank(self, wanted):
        self.file("bootbank/boot.cfg", BOOT_CFG)
        self.file("bootbank/esxiimg.tgz", b"x")
        self.file("bootbank/esximeta.tgz", b"x")
        if wanted is not None:
            self.file("esxiimg/metadata/model.json", json.dumps(wanted.to_dict()))


def saved(fake):
    return copy.deepcopy(fake.host)
