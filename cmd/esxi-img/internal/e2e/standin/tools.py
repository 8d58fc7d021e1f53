"""The other programs of a host: vim-cmd, vsish, vmkping, backup.sh and so on.
Each takes the state and its arguments and returns what it prints."""
import copy
import os

import wire
from net import need
from state import NotYet, Refused, Unknown

PROGRAMS = {}


def program(*names):
    def register(run):
        for name in names:
            PROGRAMS[name] = run
        return run

    return register


def no_arguments(args):
    if args:
        raise Unknown("unknown arguments: %s" % " ".join(args))


@program("vim-cmd")
def vim_cmd(state, args):
    if not args:
        raise Unknown("Commands available under /: hostsvc/ vimsvc/")
    if not state.hostd_ready():
        state.clock.advance(2)
        raise NotYet("Failed to login: Connection refused")
    host = state.host
    services = {"ssh": "ssh", "esx_shell": "shell"}
    name = args[0]
    if name == "hostsvc/runtimeinfo":
        no_arguments(args[1:])
        return "(vim.host.RuntimeInfo) {\n   connectionState = \"connected\",\n   inMaintenanceMode = %s,\n}\n" % str(host["maintenance"]).lower()
    if name in ("hostsvc/maintenance_mode_enter", "hostsvc/maintenance_mode_exit"):
        host["maintenance"] = name.endswith("enter")
        return ""
    if name == "hostsvc/net/refresh" or name == "hostsvc/refresh_services" or name == "hostsvc/refresh_firewall":
        return ""
    if name == "vimsvc/license":
        if args[1:2] == ["--set"] and len(args) == 3:
            parts = args[2].split("-")
            need(len(parts) == 5 and all(len(p) == 5 and p.isalnum() for p in parts), "License key is invalid")
            host["license"] = args[2]
            return ""
        if args[1:] == ["--show"]:
            return "[200] License: %s\n" % (host["license"] or "00000-00000-00000-00000-00000")
        raise Unknown("vim-cmd vimsvc/license: unknown arguments")
    for verb in ("enable", "start", "disable", "stop"):
        for suffix, key in services.items():
            if name == "hostsvc/%s_%s" % (verb, suffix):
                no_arguments(args[1:])
                if verb == "start" and key == "ssh":
                    host["firewall"]["sshServer"] = True
                host[key]["enabled" if verb.endswith("able") else "running"] = verb in ("enable", "start")
                return ""
    raise Unknown("Invalid command '%s'." % name)


@program("vsish")
def vsish(state, args):
    if args[:2] != ["-e", "set"] and args[:2] != ["-e", "get"]:
        raise Unknown("vsish: unknown arguments %s" % " ".join(args))
    if args[1] == "get":
        if len(args) == 3 and args[2].startswith("/net/pNics/"):
            nic = state.nic(args[2].split("/")[3])
            need(nic is not None, "VSISHCmdGetInt():Get failed: Not found")
            return "properties {\n   Driver Name:%s\n   MAC address:%s\n}\n" % (nic.get("driver", "nmlx5_core"), nic["mac"])
        raise Unknown("vsish: unknown node %s" % " ".join(args[2:]))
    if len(args) == 4 and args[2] in ("/vmkModules/iso9660/mount", "/vmkModules/iso9660/umount"):
        need("iso9660" in state.data["kernel_modules"], "VSISHPath_Form():Extra component: no such node")
        volume = state.data["volumes"].get(args[3])
        need(volume is not None and volume["type"] == "iso9660", "VSISHCmdSet():Set failed: Failure")
        key = "mount_requests" if args[2].endswith("/mount") else "umount_requests"
        state.data.setdefault(key, []).append(args[3])
        return ""
    raise Unknown("vsish: unknown node %s" % " ".join(args[2:]))


@program("vmkping", "ping", "ping6")
def vmkping(state, args):
    target, interface, count = None, None, 3
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word in ("-I", "-c", "-W", "-i", "-s", "-t", "-S", "-X"):
            if not rest:
                raise Unknown("vmkping: %s wants a value" % word)
            value = rest.pop(0)
            if word == "-I":
                interface = value
            elif word == "-c":
                count = int(value)
        elif word in ("-4", "-6", "-d", "-D", "-v", "-q"):
            continue
        elif word.startswith("-") or target is not None:
            raise Unknown("vmkping: invalid option %s" % word)
        else:
            target = word
    if target is None:
        raise Unknown("vmkping [args] [host]")
    need(interface is None or interface in state.host["vmks"], "%s: no such interface", interface)
    need(state.data["phase"] == "host", "vmkping: no network")
    if wire.reaches(state, target, interface):
        return "PING %s: 56 data bytes\n\n%d packets transmitted, %d packets received, 0%% packet loss\n" % (target, count, count)
    state.clock.advance(count)
    raise Refused("", "PING %s: 56 data bytes\n\n%d packets transmitted, 0 packets received, 100%% packet loss\n" % (target, count))


@program("logger")
def logger(state, args):
    tag, text = logged(args)
    line = " ".join(text) if text else state.input
    state.note("syslog", tag=tag, text=line)
    with open(state.path("/var/log/syslog.log"), "a") as f:
        f.write("%s: %s\n" % (tag, line))
    return ""


def logged(args):
    """(tag, words of the message)"""
    rest, text, tag = list(args), [], ""
    while rest:
        word = rest.pop(0)
        if word in ("-t", "-p") and rest and not text:
            value = rest.pop(0)
            tag = value if word == "-t" else tag
        elif word == "-s" and not text:
            continue
        elif word == "--" and not text:
            text += rest
            rest = []
        elif word.startswith("-") and not text:
            raise Unknown("logger: invalid option %s" % word)
        else:
            text.append(word)
    return tag, text


def from_input(args):
    """Whether logger's message is its standard input."""
    try:
        return not logged(args)[1]
    except Unknown:
        return False


@program("sleep", "usleep")
def sleep(state, args):
    seconds = sum(float(a.rstrip("s")) for a in args)
    state.clock.advance(seconds)
    return ""


# Files that ESXi keeps over a reboot, those that are there.
SAVED_FILES = ("/etc/ssh/keys-root/authorized_keys", "/etc/ntp.conf", "/etc/hosts", "/etc/rc.local.d/local.sh", "/etc/vmware/ssl/rui.crt",
               "/etc/vmware/ssl/rui.key")
STICKY = 0o1000  # the mark of such a file, of which this is tried with root's keys
MARKED = SAVED_FILES[0]


def save(state):
    """What a host writes to its boot bank, and has again after a reboot."""
    state.data["saved"], kept = copy.deepcopy(state.host), {}
    for name in SAVED_FILES:
        path = state.path(name)
        if not os.path.isfile(path):
            continue
        found = os.stat(path)
        if name == MARKED and (found.st_ino != state.data["marked"] or not found.st_mode & STICKY):
            # Not the file any more that ESXi has marked.
            continue
        with open(path, "rb") as f:
            kept[name] = (f.read(), found.st_mode & 0o7777)
    state.data["saved_files"] = kept


@program("backup.sh", "auto-backup.sh")
def backup(state, args):
    if args not in ([], ["0"], ["1"], ["0", "/bootbank"], ["1", "/bootbank"]):
        raise Unknown("backup.sh: unknown arguments %s" % " ".join(args))
    need(state.data["phase"] == "host", "backup.sh: there is no bootbank")
    save(state)
    return "Saving current state in /bootbank\n"


@program("generate-certificates")
def generate_certificates(state, args):
    no_arguments(args)
    state.host["certificate"] = state.host["name"]["fqdn"]
    for name in ("rui.crt", "rui.key"):
        with open(state.path("/etc/vmware/ssl/" + name), "w") as f:
            f.write("CN=%s\n" % state.host["certificate"])
    return ""


@program("reboot")
def reboot(state, args):
    if [a for a in args if a not in ("-f", "-n") and not a.isdigit() and a != "-d"]:
        raise Unknown("reboot: unknown arguments %s" % " ".join(args))
    state.data["rebooting"] = True
    state.note("reboots", by="reboot")
    return ""


@program("loadESXEnable")
def load_esx(state, args):
    if args != ["-e"]:
        raise Unknown("loadESXEnable: unknown arguments %s" % " ".join(args))
    state.note("quick_boots", args=args)
    return ""


@program("hostname")
def hostname(state, args):
    if args in ([], ["-f"], ["-s"]):
        name = state.host["name"]
        return (name["fqdn"] if args == ["-f"] else name["host"]) + "\n"
    raise Unknown("hostname: unknown arguments %s" % " ".join(args))


@program("vmware")
def vmware(state, args):
    if args in (["-v"], ["-l"], ["-vl"]):
        return "VMware ESXi %s build-22380479\n" % state.data["release"]
    raise Unknown("vmware: unknown arguments %s" % " ".join(args))


@program("vmkfstools")
def vmkfstools(state, args):
    if len(args) != 2 or args[0] != "-P":
        raise Unknown("vmkfstools: unknown arguments %s" % " ".join(args))
    name = os.path.basename(state.path(args[1]))
    place = state.data.get("bank_devices", {}).get(name)
    need(place is not None, "Could not retrieve attributes of %s: No such file or directory", args[1])
    return ("vfat-0.04 (Raw Major Version: 0) file system spanning 1 partitions.\nFile system label (if any): BOOTBANK%s\nMode: private\n"
            "Capacity 4293591040 (65515 file blocks * 65536), 4084334592 (62322 blocks) avail, max supported file size 0\nUUID: %s\n"
            "Partitions spanned (on \"disks\"):\n\t%s\nIs Native Snapshot Capable: NO\n" % ("1" if place.endswith(":5") else "2", name, place))


@program("chkconfig")
def chkconfig(state, args):
    if len(args) != 2 or args[1] not in ("on", "off"):
        raise Unknown("chkconfig: unknown arguments %s" % " ".join(args))
    need("/etc/init.d/" + args[0] in PROGRAMS, "chkconfig: no such service: %s", args[0])
    state.host.setdefault("at_boot", {})[args[0]] = args[1] == "on"
    return ""


def service(name, verbs):
    def run(state, args):
        if len(args) != 1 or args[0] not in verbs:
            raise Unknown("%s: unknown arguments %s" % (name, " ".join(args)))
        if args[0] == "status":
            return "%s is %s\n" % (name, "running" if state.host["services"].get(name) else "not running")
        state.note("services", name=name, verb=args[0])
        state.host["services"][name] = args[0] != "stop"
        return ""

    return run


for _name in ("ntpd", "hostd", "vpxa", "SSH", "ESXShell", "rhttpproxy", "DCUI"):
    PROGRAMS["/etc/init.d/" + _name] = service(_name, ("start", "stop", "restart", "status", "ssl_reset", "enable"))
