"""The other programs of a host: vim-cmd, vsish, vmkping, backup.sh and so on.
Each takes the state and its arguments and returns what it prints."""
import os
import sys

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
    sys.stdout.write("PING %s: 56 data bytes\n\n%d packets transmitted, 0 packets received, 100%% packet loss\n" % (target, count))
    raise Refused("")


@program("logger")
def logger(state, args):
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
    line = " ".join(text) if text else sys.stdin.read()
    state.note("syslog", tag=tag, text=line)
    with open("/var/log/syslog.log", "a") as f:
        f.write("%s: %s\n" % (tag, line))
    return ""


@program("sleep", "usleep")
def sleep(state, args):
    seconds = sum(float(a.rstrip("s")) for a in args)
    state.clock.advance(seconds)
    return ""


@program("backup.sh", "auto-backup.sh")
def backup(state, args):
    if args not in ([], ["0"], ["1"], ["0", "/bootbank"], ["1", "/bootbank"]):
        raise Unknown("backup.sh: unknown arguments %s" % " ".join(args))
    need(state.data["phase"] == "host", "backup.sh: there is no bootbank")
    state.data["backup_requests"] = state.data.get("backup_requests", 0) + 1
    state.data["saved"] = __import__("json").loads(__import__("json").dumps(state.host))
    return "Saving current state in /bootbank\n"


@program("generate-certificates")
def generate_certificates(state, args):
    no_arguments(args)
    state.host["certificate"] = state.host["name"]["fqdn"]
    for name in ("rui.crt", "rui.key"):
        path = "/etc/vmware/ssl/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write("CN=%s\n" % state.host["certificate"])
    return ""


@program("reboot")
def reboot(state, args):
    if [a for a in args if a not in ("-f", "-n") and not a.isdigit() and a != "-d"]:
        raise Unknown("reboot: unknown arguments %s" % " ".join(args))
    state.data["rebooting"] = True
    state.note("reboots", by="reboot")
    return ""


@program("loadESX.py", "loadesx", "loadESX")
def load_esx(state, args):
    state.note("quick_boots", args=args)
    state.data["rebooting"] = True
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
