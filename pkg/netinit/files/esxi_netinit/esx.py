"""The host as it is: commands are run here, and what esxcli prints is read.

Plain output is parsed, which looks the same from 6.5 to 9; the JSON formatter
is not in all of them. Tables are cut at the columns of their dashed line, so
that names with blanks stay whole.
"""
import os
import re
import subprocess
import time

from esxi_netinit import addresses
from esxi_netinit.hoststate import BALANCE, State, new_vmk

COMMAND_SECONDS = 120
HOSTD_SECONDS = 600  # a slow host takes some minutes
PAUSE_SECONDS = 5
READ_TRIES = 3
MAX_OUTPUT = 1 << 20  # bytes of a command
PATH = "/bin:/sbin:/usr/bin:/usr/sbin"
SETTING = "/UserVars/SuppressShellWarning"
KEYS = "/etc/ssh/keys-root/authorized_keys"
CERTIFICATE = "/etc/vmware/ssl/rui.crt"
# hostd is away or busy: another try may help, and localcli works without it.
AWAY = re.compile(r"connect|connection|timed? ?out|busy|not ready|unavailable", re.IGNORECASE)


class Unreadable(Exception):
    """A command whose answer is needed failed, or was not understood."""


class Host(object):
    """Runs commands on the host under root. Tests give a runner and a clock."""

    def __init__(self, root="", run=None, sleep=time.sleep, clock=time.time):
        self.root = root
        self.execute = run or run_command
        self.sleep = sleep
        self.clock = clock
        self.hostd = True

    def run(self, argv, seconds=COMMAND_SECONDS):
        """Exit code and output. Absolute programs are the root's own; without
        hostd, localcli does what esxcli can't."""
        argv = list(argv)
        if argv[0] == "esxcli" and not self.hostd:
            argv[0] = "localcli"
        elif argv[0].startswith("/"):
            argv[0] = self.root + argv[0]
        return self.execute(argv, seconds)

    def wait(self):
        """Until hostd answers. False once its time is up: then all goes
        through localcli."""
        end = self.clock() + HOSTD_SECONDS
        while self.run(("vim-cmd", "hostsvc/runtimeinfo"), 60)[0] != 0:
            if self.clock() >= end:
                self.hostd = False
                return False
            self.sleep(PAUSE_SECONDS)
        return True

    def ask(self, *argv):
        """The output of a command that only reads."""
        for attempt in range(READ_TRIES):
            if attempt:
                self.sleep(PAUSE_SECONDS)
            code, text = self.run(argv)
            if code == 0:
                return text
        if argv[0] == "esxcli" and AWAY.search(text):
            code, text = self.run(("localcli",) + argv[1:])
            if code == 0:
                return text
        raise Unreadable("%s: exit code %s" % (" ".join(argv), code))

    def ask_once(self, *argv):
        """As ask; None where the host does not know the command."""
        code, text = self.run(argv)
        if code != 0 and AWAY.search(text):
            self.sleep(PAUSE_SECONDS)
            code, text = self.run(argv)
        return text if code == 0 else None


def run_command(argv, seconds):
    """A command that hangs, or that is missing, has failed."""
    env = dict(os.environ)
    env["PATH"] = env.get("PATH", "") + ":" + PATH if env.get("PATH") else PATH
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
    except (OSError, ValueError) as err:
        return 127, getattr(err, "strerror", None) or "cannot be started"
    try:
        out = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        # What the program left behind may hold the pipe open: don't wait for it.
        process.stdout.close()
        process.wait()
        return 124, "no end after %d seconds" % seconds
    return process.returncode, out[:MAX_OUTPUT].decode("utf-8", "replace")


# What esxcli prints


def table(text):
    """[{column: cell}] of a table; [] where there is none."""
    lines = text.splitlines()
    for i in range(1, len(lines)):
        if lines[i].strip() and not lines[i].strip("- ") and "-" in lines[i]:
            break
    else:
        return []
    spans = [m.span() for m in re.finditer("-+", lines[i])]
    # The last column has no end: its text may be longer than its dashes.
    ends = [start for start, _ in spans[1:]] + [None]
    names = [lines[i - 1][start:end].strip() for (start, _), end in zip(spans, ends)]
    out = []
    for line in lines[i + 1:]:
        if line.strip():
            out.append(dict((name, line[start:end].strip()) for name, (start, _), end in zip(names, spans, ends)))
    return out


def blocks(text):
    """[(heading, {field: value})] of an indented list; without a heading it
    is ""."""
    out = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line[0].isspace():
            out.append((line.strip(), {}))
            continue
        if not out:
            out.append(("", {}))
        name, colon, value = line.strip().partition(":")
        if colon:
            out[-1][1][name.strip()] = value.strip()
    return out


def fields(text):
    """The fields of the only block."""
    found = {}
    for _, some in blocks(text):
        found.update(some)
    return found


def words(value):
    """A list as esxcli prints it: "a, b"."""
    return [w.strip() for w in (value or "").split(",") if w.strip() and w.strip() not in ("<none>", "None", "N/A")]


def truth(value):
    return (value or "").strip().lower() in ("true", "yes", "1", "enabled", "up")


def number(value, default=0):
    try:
        return int((value or "").strip())
    except ValueError:
        return default


def an_address(value):
    """The address, or None for what stands for none."""
    try:
        ip = addresses.parse((value or "").partition("%")[0].partition("/")[0])
    except ValueError:
        return None
    return None if ip.is_unspecified else str(ip)


# Reading the state


def read_state(host):
    """The whole state. Unreadable where the network can't be read."""
    state = State()
    read_network(host, state)
    read_services(host, state)
    return state


def read_network(host, state):
    state.nics = parse_nics(host.ask("esxcli", "network", "nic", "list"))
    state.switches = {}
    for name, some in blocks(host.ask("esxcli", "network", "vswitch", "standard", "list")):
        state.switches[some.get("Name", name)] = {
            "mtu": number(some.get("MTU"), 1500), "uplinks": words(some.get("Uplinks")),
            "active": [], "standby": [], "balance": None, "security": None,
        }
    for name, switch in state.switches.items():
        read_policies(host, name, switch)
    state.portgroups = {}
    for row in table(host.ask("esxcli", "network", "vswitch", "standard", "portgroup", "list")):
        state.portgroups[row.get("Name", "")] = {
            "switch": row.get("Virtual Switch", ""), "vlan": number(row.get("VLAN ID")), "clients": number(row.get("Active Clients")),
        }
    read_interfaces(host, state)
    state.routes = {
        4: parse_routes(host.ask("esxcli", "network", "ip", "route", "ipv4", "list"), 4),
        6: parse_routes(host.ask_once("esxcli", "network", "ip", "route", "ipv6", "list") or "", 6),
    }
    state.dns = {
        "servers": words(first(fields(host.ask("esxcli", "network", "ip", "dns", "server", "list")), "DNSServers", "DNS Servers")),
        "search": words(first(fields(host.ask("esxcli", "network", "ip", "dns", "search", "list")), "DNSSearch Domains", "DNS Search Domains")),
    }
    return state


def first(found, *names):
    for name in names:
        if name in found:
            return found[name]
    return ""


def parse_nics(text):
    """Cards of "esxcli network nic list", here or from a file."""
    out = []
    for row in table(text):
        try:
            mac = addresses.mac(row.get("MAC Address", ""))
        except ValueError:
            mac = None
        if row.get("Name"):
            out.append({"name": row["Name"], "mac": mac, "link": row.get("Link Status", row.get("Link", ""))})
    return out


def read_policies(host, name, switch):
    failover = host.ask_once("esxcli", "network", "vswitch", "standard", "policy", "failover", "get", "--vswitch-name", name)
    if failover is not None:
        found = fields(failover)
        switch["active"] = words(found.get("Active Adapters"))
        switch["standby"] = words(found.get("Standby Adapters"))
        switch["balance"] = BALANCE.get(found.get("Load Balancing", ""), found.get("Load Balancing"))
    security = host.ask_once("esxcli", "network", "vswitch", "standard", "policy", "security", "get", "--vswitch-name", name)
    if security is not None:
        found = fields(security)
        switch["security"] = {
            "promiscuous": truth(found.get("Allow Promiscuous")), "forged": truth(found.get("Allow Forged Transmits")),
            "mac_change": truth(found.get("Allow MAC Address Change")),
        }


def read_interfaces(host, state):
    state.vmks = {}
    for name, some in blocks(host.ask("esxcli", "network", "ip", "interface", "list")):
        name = some.get("Name", name)
        vmk = new_vmk(some.get("Portgroup", ""), some.get("MAC Address", "").lower(), number(some.get("MTU"), 1500))
        vmk["stack"] = some.get("Netstack Instance", "defaultTcpipStack")
        state.vmks[name] = vmk
    for row in table(host.ask("esxcli", "network", "ip", "interface", "ipv4", "get")):
        if row.get("Name") in state.vmks:
            state.vmks[row["Name"]]["ipv4"] = {
                "type": row.get("Address Type", "").lower(), "address": an_address(row.get("IPv4 Address")),
                "netmask": an_address(row.get("IPv4 Netmask")),
            }
    for row in table(host.ask_once("esxcli", "network", "ip", "interface", "ipv6", "get") or ""):
        if row.get("Name") in state.vmks:
            state.vmks[row["Name"]]["ipv6"].update(
                enabled=truth(row.get("IPv6 Enabled")), dhcpv6=truth(row.get("DHCPv6 Enabled")), router_adv=truth(row.get("Router Adv Enabled"))
            )
    for row in table(host.ask_once("esxcli", "network", "ip", "interface", "ipv6", "address", "list") or ""):
        address = an_address(row.get("Address"))
        if row.get("Interface") in state.vmks and address:
            state.vmks[row["Interface"]]["ipv6"]["addresses"].append(
                {"address": address, "prefix": number(row.get("Netmask"), 64), "type": row.get("Type", "").upper()}
            )
    for name, vmk in state.vmks.items():
        found = host.ask_once("esxcli", "network", "ip", "interface", "tag", "get", "--interface-name", name)
        vmk["tags"] = words(fields(found or "").get("Tags"))


def parse_routes(text, family):
    """Routes with a gateway: those of the interfaces themselves are left out."""
    out = []
    for row in table(text):
        gateway = an_address(row.get("Gateway"))
        network = row.get("Network", "")
        if gateway is None:
            continue
        mask = first(row, "Netmask", "Prefix", "Prefix Length")
        network, _, length = network.partition("/")
        if network.lower() == "default":
            network, prefix = ("0.0.0.0" if family == 4 else "::"), 0
        else:
            try:
                network = addresses.address(network, family)
                prefix = addresses.prefix_length(length or mask, family)
            except ValueError:
                continue
        out.append({"network": network, "prefix": prefix, "gateway": gateway, "interface": row.get("Interface", ""), "source": row.get("Source", "").upper()})
    return out


def read_services(host, state):
    found = fields(host.ask_once("esxcli", "system", "hostname", "get") or "")
    state.hostname = {"host": found.get("Host Name", ""), "fqdn": found.get("Fully Qualified Domain Name", "")}
    state.version = fields(host.ask_once("esxcli", "system", "version", "get") or "").get("Version", "")
    if not state.old():
        found = host.ask_once("esxcli", "system", "ntp", "get")
        if found is not None:
            state.ntp = {"enabled": truth(fields(found).get("Enabled")), "servers": words(fields(found).get("Servers"))}
    else:
        state.ntp = {"enabled": False, "servers": read_ntp_conf(host.root)}
    found = words(fields(host.ask_once("esxcli", "system", "syslog", "config", "get") or "").get("Remote Host"))
    state.syslog = ",".join(found)
    found = fields(host.ask_once("esxcli", "system", "settings", "advanced", "list", "--option", SETTING) or "")
    state.shell_warning_off = number(found.get("Int Value")) == 1
    for row in table(host.ask_once("esxcli", "network", "firewall", "ruleset", "list") or ""):
        state.firewall[row.get("Name", "")] = truth(row.get("Enabled"))
    state.ssh_keys = read_lines(host.root + KEYS)
    state.certificate = read_bytes(host.root + CERTIFICATE)


def read_ntp_conf(root):
    return [w[1] for w in (line.split() for line in read_lines(root + "/etc/ntp.conf")) if len(w) > 1 and w[0] == "server"]


def read_bytes(path, limit=1 << 20):
    try:
        with open(path, "rb") as f:
            return f.read(limit)
    except OSError:
        return b""


def read_lines(path):
    return read_bytes(path).decode("utf-8", "surrogateescape").splitlines()
