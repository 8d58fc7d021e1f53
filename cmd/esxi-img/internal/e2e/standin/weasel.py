"""The installer: reads a kickstart as ESXi's does and installs on a modelled
disk. Written from what is known of the real one, not from our own parser."""
import ipaddress
import os
import re
import shlex
import uuid

import wire

ENDS = re.compile(r"(%post|%pre|%packages|%vmlicense_text|%firstboot|%include|include)")
SECTIONS = ("%pre", "%post", "%firstboot")
PLAIN = ("accepteula", "vmaccepteula", "clearpart", "dryrun", "keyboard", "serialnum", "vmserialnum", "paranoid", "part", "partition",
         "reboot", "rootpw", "install", "upgrade", "installorupgrade", "network", "%include", "include") + SECTIONS
MAX_COMMANDS = 256
OPTIONS = {
    "install": {"--disk": True, "--firstdisk": None, "--overwritevmfs": False, "--preservevmfs": False, "--novmfsondisk": False,
                "--overwritevsan": False, "--ignoressd": False, "--ignoreprereqwarnings": False, "--ignoreprereqerrors": False,
                "--forceunsupportedinstall": False, "--systemdisk": True, "--repartitionsystemdisk": False, "--dpupcislots": True},
    "network": {"--bootproto": True, "--device": True, "--ip": True, "--netmask": True, "--gateway": True, "--nameserver": True,
                "--nodns": False, "--hostname": True, "--vlanid": True, "--addvmportgroup": True},
    "rootpw": {"--iscrypted": False},
    "reboot": {"--noeject": False},
    "%pre": {"--interpreter": True}, "%firstboot": {"--interpreter": True},
    "%post": {"--interpreter": True, "--timeout": True, "--ignorefailure": True},
}
MAC = re.compile(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
CRYPTED = re.compile(r"^(\$1\$[A-Za-z0-9./]{1,8}\$[A-Za-z0-9./]{22}|\$6\$[A-Za-z0-9./]{1,16}\$[A-Za-z0-9./]{86})$")


class Stops(Exception):
    """"Press <enter> to reboot", for good."""


class Script(object):
    def __init__(self, kind, options, body):
        self.kind, self.options, self.body = kind, options, body
        self.interpreter = options.get("--interpreter", "busybox")
        if self.interpreter not in ("python", "busybox"):
            raise Stops("%s: no such interpreter: %s" % (kind, self.interpreter))


class Kickstart(object):
    def __init__(self, read, warn):
        """read(path) gives a file of the machine, or raises OSError."""
        self.read, self.warn = read, warn

    def parse(self, path, only_pre=False, depth=0):
        """(commands [(name, options, arguments)], scripts), includes read
        unless it is the first pass, which only looks for %pre."""
        if depth > 8:
            raise Stops("%s: includes go in circles" % path)
        try:
            text = self.read(path)
        except OSError as err:
            raise Stops("cannot open file: %s: %s" % (path, err.strerror))
        try:
            text.encode("ascii")
        except UnicodeError:
            self.warn("%s: non-ASCII characters" % path)
        commands, scripts = [], []
        lines = text.replace("\r\n", "\n").split("\n")
        while lines:
            line = lines.pop(0)
            try:
                words = shlex.split(line + "\n", True)
            except ValueError as err:
                # The message of the real one quotes the line; so must nothing
                # that holds a secret get here.
                raise Stops("%s: %s in: %s" % (path, err, line))
            if not words:
                continue
            name = words[0]
            if name not in PLAIN:
                self.warn("%s: unknown command %s" % (path, name))
                continue
            if name in SECTIONS:
                body = []
                while lines and not ENDS.match(lines[0]):
                    body.append(lines.pop(0))
                if not any(w.startswith("--interpreter") for w in words):
                    self.warn("%s: interpreter not defined, busybox is taken" % name)
                options, _ = self.options(name, words[1:])
                scripts.append(Script(name, options, "\n".join(body) + "\n"))
                commands.append((name, options, []))
                continue
            if only_pre:
                continue
            if name in ("%include", "include"):
                if len(words) != 2:
                    raise Stops("%s: %s wants a file" % (path, name))
                commands.append((name, {}, words[1:]))
                target = words[1] if words[1].startswith("/") else "/" + words[1]
                more, inner = self.parse(target, depth=depth + 1)
                commands += more
                scripts += inner
                continue
            options, arguments = self.options(name, words[1:])
            commands.append((name, options, arguments))
        if len(commands) > MAX_COMMANDS:
            raise Stops("more than %d commands" % MAX_COMMANDS)
        return commands, scripts

    def options(self, name, words):
        known, options, arguments = OPTIONS.get(name, {}), {}, []
        for word in words:
            option, equals, value = word.partition("=")
            if not word.startswith("--"):
                arguments.append(word)
            elif option not in known:
                raise Stops("%s: unknown option %s" % (name, option))
            elif known[option] is True and not value:
                raise Stops("%s: %s wants a value" % (name, option))
            elif known[option] is False and equals:
                raise Stops("%s: %s takes no value" % (name, option))
            elif option in options:
                raise Stops("%s: %s was given twice" % (name, option))
            else:
                options[option] = value if equals else True
        return options, arguments


class Plan(object):
    """What the commands ask for, checked as the installer checks it before it
    touches a disk."""

    def __init__(self, commands, data, warn):
        self.data, self.warn = data, warn
        self.reboot = False
        self.disk = self.password = self.crypted = None
        self.network = {"--bootproto": "dhcp"}
        found = dict((c[0], 0) for c in commands)
        for name, options, arguments in commands:
            found[name] += 1
            method = getattr(self, "do_" + name.lstrip("%"), None)
            if method and name not in SECTIONS and name not in ("%include", "include"):
                method(options, arguments)
            elif arguments and name == "reboot":
                raise Stops("reboot takes no arguments")
        if not (found.get("vmaccepteula") or found.get("accepteula")):
            raise Stops("vmaccepteula is required")
        if self.password is None:
            raise Stops("rootpw is required")
        if sum(found.get(n, 0) for n in ("install", "upgrade", "installorupgrade")) != 1:
            raise Stops("exactly one of install, upgrade, installorupgrade is required")
        self.reboot = bool(found.get("reboot"))
        self.check_network()

    def do_rootpw(self, options, arguments):
        if len(arguments) != 1:
            raise Stops("rootpw wants one password")
        self.password, self.crypted = arguments[0], "--iscrypted" in options
        if self.crypted and not CRYPTED.match(self.password):
            raise Stops("rootpw: the crypted password is not valid")
        if not self.crypted:
            text = self.password
            classes = [any(c.islower() for c in text), any(c.isupper() for c in text), any(c.isdigit() for c in text), any(not c.isalnum() for c in text)]
            if len(text) < 7 or sum(classes) < 3:
                raise Stops("rootpw: the password does not meet the requirements")

    def do_network(self, options, arguments):
        # The last one counts.
        self.network = options

    def do_upgrade(self, options, arguments):
        raise Stops("the stand-in only installs")

    do_installorupgrade = do_upgrade

    def do_install(self, options, arguments):
        if arguments:
            raise Stops("install: unexpected %s" % arguments[0])
        if ("--disk" in options) == ("--firstdisk" in options):
            raise Stops("install wants --disk or --firstdisk")
        if "--overwritevmfs" in options and "--preservevmfs" in options:
            raise Stops("install: --overwritevmfs and --preservevmfs exclude each other")
        disk = self.by_name(options["--disk"]) if "--disk" in options else self.first(options["--firstdisk"])
        if disk.get("content") in ("vmfs", "esxi") and not ({"--overwritevmfs", "--preservevmfs"} & set(options)):
            raise Stops("install: %s holds a VMFS; --overwritevmfs or --preservevmfs is wanted" % disk["name"])
        if disk["vsan"] and "--overwritevsan" not in options:
            raise Stops("install: %s is claimed by vSAN" % disk["name"])
        if not disk["vsan"] and "--overwritevsan" in options:
            raise Stops("install: --overwritevsan: %s is not claimed by vSAN" % disk["name"])
        self.disk = disk

    def by_name(self, name):
        short = os.path.basename(name) if name.startswith(("/vmfs/devices/disks/", "/dev/disks/")) else name
        for disk in self.data["disks"]:
            if short == disk["name"] or (short and short == disk.get("vml")) or (short and short == disk.get("path")):
                return disk
        raise Stops("install: --disk: no such disk: %s" % name)

    def first(self, filters):
        for one in (filters if isinstance(filters, str) else "local,remote,usb").split(","):
            for disk in self.data["disks"]:
                local, old = disk.get("local", True), disk.get("content") == "esxi"
                usb = disk.get("usb", False)
                kinds = {"local": local and not usb, "localesx": local and old, "remote": not local, "remoteesx": not local and old,
                         "esx": old, "usb": usb}
                if kinds.get(one, one in (disk.get("vendor", "ATA"), disk.get("model", "SYNTHETIC"), disk.get("driver", "vmw_ahci"))):
                    return disk
        raise Stops("install: --firstdisk: no disk matches %s" % filters)

    def check_network(self):
        net = self.network
        proto = net.get("--bootproto", "dhcp")
        if proto not in ("static", "dhcp"):
            raise Stops("network: --bootproto=%s" % proto)
        device = net.get("--device")
        if device is None:
            linked = [n for n in self.data["nics"] if n.get("link", "Up") == "Up"]
            self.nic = (linked or self.data["nics"] or [None])[0]
        else:
            key = "mac" if MAC.match(device) else "name"
            self.nic = next((n for n in self.data["nics"] if n[key].lower() == device.lower()), None)
        if self.nic is None:
            raise Stops("network: --device: no such adapter: %s" % device)
        vlan = net.get("--vlanid", "0")
        if not vlan.isdigit() or not 0 <= int(vlan) <= 4095:
            raise Stops("network: --vlanid=%s" % vlan)
        self.vlan = int(vlan)
        if net.get("--addvmportgroup", "true").lower() not in ("true", "false", "0", "1"):
            raise Stops("network: --addvmportgroup=%s" % net["--addvmportgroup"])
        if proto == "dhcp":
            for option in ("--ip", "--netmask", "--gateway"):
                if option in net:
                    raise Stops("network: %s with --bootproto=dhcp" % option)
            for option in ("--hostname", "--nameserver"):
                if option in net:
                    self.warn("network: %s is ignored with --bootproto=dhcp" % option)
            return
        self.check_static(net)

    def check_static(self, net):
        if "--ip" not in net:
            raise Stops("network: --ip is required")
        ip = self.address(net, "--ip")
        if "--netmask" in net:
            self.address(net, "--netmask")
            try:
                bits = wire.mask_bits(net["--netmask"])
            except ValueError:
                raise Stops("network: --netmask=%s" % net["--netmask"])
        else:
            raise Stops("the stand-in wants --netmask with --ip: the installer guesses")
        self.interface = ipaddress.ip_interface("%s/%d" % (ip, bits))
        network = self.interface.network
        if bits < 31 and ip in (network.network_address, network.broadcast_address):
            raise Stops("network: --ip=%s is not the address of a host" % ip)
        self.invented = "--gateway" not in net
        self.gateway = network.broadcast_address - 1 if self.invented else self.address(net, "--gateway")
        if self.gateway not in network:
            raise Stops("network: the gateway %s is outside of %s" % (self.gateway, network))
        self.servers = []
        if "--nodns" in net and "--nameserver" in net:
            raise Stops("network: --nodns and --nameserver exclude each other")
        for server in [s for s in net.get("--nameserver", "").split(",") if s]:
            self.servers.append(str(self.address({"--nameserver": server}, "--nameserver")))
        if len(self.servers) > 2:
            self.warn("network: more than two name servers")
            self.servers = self.servers[:2]
        name = net.get("--hostname", "localhost")
        if len(name) > 255 or not all(re.match(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$", p) for p in name.split(".")):
            raise Stops("network: --hostname=%s" % name)

    @staticmethod
    def address(net, option):
        try:
            found = ipaddress.IPv4Address(net[option])
        except ValueError:
            raise Stops("network: %s=%s" % (option, net[option]))
        if option != "--netmask" and (found.is_multicast or found.is_loopback or found.is_unspecified):
            raise Stops("network: %s=%s" % (option, net[option]))
        return found


def configure(plan, host, new_switch, new_vmk):
    """The network of the installed host, before its first boot."""
    nic = plan.nic
    switch = new_switch()
    switch["uplinks"], switch["failover"]["active"] = [nic["name"]], [nic["name"]]
    switch["portgroups"]["Management Network"] = {"vlan": plan.vlan, "failover": {"active": [nic["name"]], "standby": [], "load_balancing": "portid"}}
    if plan.network.get("--addvmportgroup", "true").lower() in ("true", "1"):
        switch["portgroups"]["VM Network"] = {"vlan": 0}
    host["vswitches"]["vSwitch0"] = switch
    vmk = new_vmk("Management Network", nic["mac"])
    vmk["tags"] = ["Management"]
    vmk["ipv6"].update(enabled=True, router_adv=True)
    host["vmks"]["vmk0"] = vmk
    if plan.network.get("--bootproto", "dhcp") == "dhcp":
        vmk["ipv4"].update(type="dhcp", peerdns=True)
        return
    vmk["ipv4"].update(type="static", address=str(plan.interface.ip), netmask=str(plan.interface.network.netmask))
    host["routes"]["ipv4"].append({"network": "0.0.0.0/0", "gateway": str(plan.gateway), "source": "MANUAL"})
    host["dns"]["servers"] = plan.servers
    name = plan.network.get("--hostname", "localhost")
    host["name"] = {"host": name.partition(".")[0], "domain": name.partition(".")[2], "fqdn": name}


def new_uuid():
    text = uuid.uuid4().hex
    return "%s-%s-%s-%s" % (text[:8], text[8:16], text[16:20], text[20:])
