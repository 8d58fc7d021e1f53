#!/usr/bin/env python3
"""One machine from its first boot to the state that it stays in, as a scenario
tells, and whether that is what the scenario expects.

    machine.py --image IMG --scenario DIR --python CACHE --work DIR [--keep]

A scenario is a folder: host.json (NICs, wires, disks, Secure Boot, how the
metadata is presented, which commands fail), metadata/ (files) and expect.json.
"""
import argparse
import copy
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import bank  # noqa: E402
import compare  # noqa: E402
import home  # noqa: E402
import ip  # noqa: E402
import net  # noqa: E402
import parted  # noqa: E402
import system  # noqa: E402
import tools  # noqa: E402
import trace  # noqa: E402
import weasel  # noqa: E402
import wire  # noqa: E402
from disks import Disks  # noqa: E402
from root import Root  # noqa: E402
from server import Server  # noqa: E402
from state import NeverEnds, PowerLost, State  # noqa: E402

MAX_BOOTS = 6
LOGS = ("var/log", "scratch/log")
DEFAULTS = {
    "release": "8.0.2", "secure_boot": False, "hostd_ready_after": 45,
    "nics": [{"name": "vmnic0", "mac": "52:54:00:00:00:01", "wire": "lan"}],
    "disks": [{"name": "naa.600508b1001c0001", "content": "image", "size_gb": 32}],
    "wires": {"lan": {"0": {"gateways": ["192.0.2.1"], "dhcp": {"address": "192.0.2.50/24", "router": "192.0.2.1"}}}},
    "metadata": {"on": "naa.600508b1001c0001", "type": "iso9660", "label": "config-2"},
}


OPTIONS = {
    "about", "build", "customize", "medium",  # for people; for the build
    "fail", "second_run", "raw", "phone_home", "canaries",
    "not_in_logs",  # as canaries, but a host can't do without them in arguments and in memory
    "bank",  # {"installer"|"host": bytes that are free, or "read-only"}: from when on the boot bank is so
    "keys_read_only",  # the machine's boot (the installer's is 1) in which root's SSH keys can't be written
    "reboots", "resets",  # how often somebody boots the running host anew, and how often by its switch
    "logs_in_memory",  # /var/log does not outlive a reboot
    "start",  # "cd": the image is an ISO in the machine's drive, until ESXi is installed
    "last_interface_wins",  # of two in one network, for what is sent there
}


class Machine(object):
    def __init__(self, scenario, image, cache, work):
        self.scenario, self.cache, self.work = scenario, cache, work
        self.config = copy.deepcopy(DEFAULTS)
        with open(os.path.join(scenario, "host.json")) as f:
            given = json.load(f)
        unknown = set(given) - set(DEFAULTS) - OPTIONS
        if unknown:
            raise SystemExit("stand-in: host.json: %s" % ", ".join(sorted(unknown)))
        self.config.update(given)
        self.canaries = {"the password": "Canary-4711-Xy"}
        self.canaries.update(self.config.get("canaries", {}))
        self.unlogged = dict(self.canaries, **self.config.get("not_in_logs", {}))
        self.result = {"outcome": None, "boots": [], "installs": 0, "firstboot": [], "canary": [], "phone_home": [], "commands": 0}
        self.console, self.shadow, self.banks = "", None, {}
        self.result["banks"] = []
        self.posts = home.serve(self, self.config.get("phone_home", {}))
        self.image = image
        self.disks = Disks(os.path.join(work, "disks"), self.config["disks"])
        self.disks.build(image, self.drive())
        self.old_installs()
        self.facts = {
            "release": self.config["release"], "phase": "off", "nics": self.config["nics"], "wires": self.config["wires"],
            "disks": self.config["disks"], "volumes": self.disks.drives, "kernel_modules": [], "fail": self.config.get("fail", []),
            "uuid": "00000000-0000-0000-0000-525400000001", "hostd_ready_after": self.config["hostd_ready_after"], "host": system.fresh(),
            "last_interface_wins": self.config.get("last_interface_wins", False),
        }
        self.tracer = trace.Tracer()
        self.logs = os.path.join(work, "logs")
        os.makedirs(self.logs)
        self.installed = {}  # disk → GUID of the table that the installer wrote

    def drive(self):
        """The folder of the metadata, with the test server's address in it."""
        how = self.config["metadata"]
        source = os.path.join(self.scenario, "metadata")
        if not how or not how.get("type"):
            return None
        folder = os.path.join(self.work, "metadata")
        shutil.copytree(source, folder)
        for base, _, files in os.walk(folder):
            for name in files:
                path = os.path.join(base, name)
                with open(path, "rb") as f:
                    data = f.read()
                with open(path, "wb") as f:
                    f.write(data.replace(b"@PHONE_HOME@", b"http://127.0.0.1%s/done" % self.posts))
        return dict(how, folder=folder)

    def old_installs(self):
        """ESXi that was there before, bootable and with the same labels."""
        for spec in self.config["disks"]:
            if spec.get("content") == "esxi":
                folder = os.path.join(self.work, "banks", spec["name"])
                bank.write_bank(os.path.join(folder, "1"), "7.0.3", ["jumpstrt.gz", "s.v00"], [])
                os.makedirs(os.path.join(folder, "2"))
                if not spec.get("old_onetime"):
                    bank.drop_onetime(os.path.join(folder, "1"))
                self.banks[spec["name"]] = (weasel.new_uuid(), weasel.new_uuid(), folder)

    # Power on

    def boot(self):
        """The firmware: the first disk, in the scenario's order, that boots."""
        if self.config.get("start") == "cd" and not self.installed:
            return self.boot_installer("the CD", self.cd())
        for spec in self.config["disks"]:
            name = spec["name"]
            volume = os.path.join(self.cache, ".volumes")
            table = parted.usable(self.disks.path(name))
            if name in self.installed and table is not None and table.guid == self.installed[name]:
                return self.boot_host(name)
            files = self.disks.installer(name, volume)
            if files is not None:
                return self.boot_installer(name, files)
            if spec.get("content") == "esxi" and name not in self.installed:
                self.result["boots"].append("old ESXi on " + name)
                self.result["outcome"] = "an old ESXi runs"
                return False
        self.result["outcome"] = "nothing boots"
        return False

    def cd(self):
        """The folder with the files of the ISO."""
        folder = os.path.join(self.work, "cd")
        if not os.path.isdir(folder):
            subprocess.check_call(["xorriso", "-report_about", "FAILURE", "-osirrox", "on:auto_chmod_on", "-indev", self.image, "-extract", "/", folder])
        return folder

    def put_kickstart(self, root, place, volume):
        """Where the installer finds the kickstart that an option names, as a
        file of the root."""
        if place.startswith("file:///"):
            return place[len("file://"):]
        if self.config.get("start") != "cd" or not place.startswith("cdrom:/"):
            raise bank.Bad("ks=%s" % place)
        # Case counts there.
        shutil.copyfile(os.path.join(volume, place[len("cdrom:/"):]), root.at("standin/cdrom.cfg"))
        return "/standin/cdrom.cfg"

    def new_root(self, phase):
        path = os.path.join(self.work, "root%d" % len(self.result["boots"]))
        root = Root(path, self.cache, {"secure_boot": self.config["secure_boot"]})
        self.disks.show(root.at("dev/disks"), self.config.get("raw", True))
        for device, drive in self.disks.drives.items():
            shutil.copytree(drive["folder"], root.at("standin/volumes/" + device))
        for disk, (first, second, folder) in sorted(self.banks.items()):
            self.mount_banks(root, disk)
        self.facts.update(phase=phase, boot=len(self.result["boots"]), kernel_modules=[], rebooting=False, booted_at=self.facts.get("clock", 0.0))
        with open(root.at("standin/clock"), "w") as f:
            f.write(repr(self.facts["booted_at"]))
        if phase == "installer" and self.config.get("start") == "cd":
            os.makedirs(root.at("dev/cdrom"))
            shutil.copyfile(self.image, root.at("dev/cdrom/mpx.vmhba32:C0:T0:L0"))
        root.state = State(root.path, self.facts)
        root.server = Server(root.state, self.tracer.interrupt)
        return root

    def switch_off(self, root):
        """Nothing runs in the root any more; it can still be looked at."""
        root.unlimit()
        if root.fenced:
            root.unfence()
        root.server.stop()
        if root.server.trouble is not None:
            raise root.server.trouble
        self.facts["clock"] = root.state.clock.now()
        root.give_back()

    def mount_banks(self, root, disk):
        """The boot banks are on disks: what is written there stays."""
        first, second, folder = self.banks[disk]
        for uuid_, number in ((first, "1"), (second, "2")):
            if os.path.isdir(os.path.join(folder, number)):
                os.rename(os.path.join(folder, number), root.at("vmfs/volumes/" + uuid_))
            self.facts.setdefault("bank_devices", {})[uuid_] = "%s:%s" % (disk, "5" if number == "1" else "6")
            label = root.at("vmfs/volumes/BOOTBANK" + number)
            if not os.path.lexists(label):
                os.symlink("/vmfs/volumes/" + uuid_, label)

    def unmount_banks(self, root):
        for first, second, folder in self.banks.values():
            os.makedirs(folder, exist_ok=True)
            for uuid_, number in ((first, "1"), (second, "2")):
                os.rename(root.at("vmfs/volumes/" + uuid_), os.path.join(folder, number))

    def script(self, root, kind, interpreter, body):
        """Runs a script and looks at everything that it left behind."""
        name = "/tmp/ks-script-%s-%d" % (kind, self.result["commands"])
        root.write(name, body)
        log = os.path.join(self.logs, "%d-%s.log" % (len(self.result["boots"]), kind))
        try:
            code, out, seen = root.run(self.tracer, interpreter, name, log)
        except PowerLost:
            self.facts.update(power="back", rebooting=True, host=copy.deepcopy(self.facts.get("saved", self.facts["host"])))
            raise
        except NeverEnds as err:
            code, out, seen = 124, str(err), []
            root.state.note("hangs", what=kind)
        self.console += "[%s]\n%s" % (kind, out)
        self.result["commands"] += 1
        for argv in seen:
            for what in bank.hits("\0".join(argv).encode(), self.canaries):
                self.result["canary"].append("%s in a process list (%s)" % (what, kind))
        self.look(out.encode(), "the output of " + kind, self.unlogged)
        self.missing(root, kind, out)
        self.disks.take(root.state)
        return code, out

    def missing(self, root, kind, out):
        """Programs that were asked for, and that nobody has."""
        names = re.findall(r"^[^\n]*: (\S+): not found$", out, re.M)
        if os.path.exists(root.at("standin/missing")):
            with open(root.at("standin/missing")) as f:
                names += f.read().splitlines()
            os.remove(root.at("standin/missing"))
        for name in names:
            root.state.note("unknown", command=name, message="there is no such program (%s)" % kind)

    def look(self, data, where, canaries=None):
        for what in bank.hits(data, canaries or self.canaries):
            note = "%s in %s" % (what, where)
            if note not in self.result["canary"]:
                self.result["canary"].append(note)

    # The installer

    def boot_installer(self, disk, volume):
        self.result["boots"].append("installer on " + disk)
        root = self.new_root("installer")
        self.facts["host"] = system.fresh()
        config = read_config(bank.find(volume, "/boot.cfg"))
        stock = self.load(root, volume, config)
        kernel = config["kernelopt"].split()
        places = [o.partition("=")[2] for o in kernel if o.startswith("ks=")]
        if "runweasel" not in kernel or len(places) != 1:
            raise bank.Bad("kernelopt is %s" % config["kernelopt"])
        kickstart = self.put_kickstart(root, places[0], volume)
        root.write("var/log/boot.gz", "")
        root.fenced = self.result["noexec"] = root.fence()
        try:
            self.install(root, kickstart, stock)
        except weasel.Stops as err:
            self.result["outcome"] = "stopped: %s" % err
            self.console += "[installer] error: %s\nPress <enter> to reboot\n" % err
            return False
        except PowerLost:
            self.console += "[installer] the power fails\n"
        finally:
            self.look_at_memory(root)
            self.switch_off(root)
            self.unmount_banks(root)
            self.look(self.console.encode(), "the installer's log", self.unlogged)
            self.look_at_logs(root, "the installer")
        return True

    def load(self, root, volume, config):
        """The loader and the kernel: every module, in its order."""
        names = bank.module_names(config)
        prefix = config.get("prefix", "")
        bank.find(volume, prefix + "/" + config["kernel"])
        # Ours come first of what was added, then the user's.
        ours = []
        if self.config.get("start") != "cd":
            ours = names[[os.path.basename(n).lower() for n in names].index("esxiimg.tgz"):]
        for name in names:
            with open(bank.find(volume, prefix + "/" + name), "rb") as f:
                bank.unpack(f.read(), name, root, name in ours)
        return [n for n in names if n not in ours]

    def install(self, root, path, stock):
        def read(name):
            with open(root.at(name), encoding="utf-8", errors="surrogateescape", newline="") as f:
                return f.read()

        kickstart = weasel.Kickstart(read, self.warn)
        _, scripts = kickstart.parse(path, only_pre=True)
        for script in [s for s in scripts if s.kind == "%pre"]:
            code, _ = self.script(root, "pre", script.interpreter, script.body)
            if code != 0:
                raise weasel.Stops("%%pre script failed with code %d" % code)
        commands, scripts = kickstart.parse(path)
        plan = weasel.Plan(commands, self.facts, self.warn)
        self.write_disk(root, plan, stock, [s for s in scripts if s.kind == "%firstboot"])
        for script in [s for s in scripts if s.kind == "%post"]:
            code, _ = self.script(root, "post", script.interpreter, script.body)
            if code != 0 and script.options.get("--ignorefailure") != "true":
                raise weasel.Stops("%%post script failed with code %d" % code)
        if not plan.reboot:
            raise weasel.Stops("the installation is complete, and nobody asked for a reboot")

    def warn(self, text):
        self.console += "[installer] warning: %s\n" % text
        self.facts.setdefault("warnings", []).append(text)

    def write_disk(self, root, plan, stock, firstboot):
        """The disk is erased and gets ESXi's partitions."""
        self.result["installs"] += 1
        name = plan.disk["name"]
        self.result["installed_on"] = name
        size = os.path.getsize(self.disks.path(name))
        for part in [p for p in os.listdir(root.at("dev/disks")) if p.startswith(name + ":")]:
            os.remove(root.at("dev/disks/" + part))
        with open(self.disks.path(name), "r+b") as f:
            f.truncate(0)
            f.truncate(size)
        guid = weasel.new_uuid().replace("-", "")
        guid = "%s-%s-%s-%s-%s" % (guid[:8], guid[8:12], guid[12:16], guid[16:20], guid[20:])
        entries = {1: (parted.ESP, guid, 64, 204863, "BOOT"), 5: (parted.BASIC, guid, 208896, 8595455, "BOOTBANK1"),
                   6: (parted.BASIC, guid, 8597504, 16984063, "BOOTBANK2"), 7: (parted.VMFS, guid, 16986112, size // 512 - 2048, "OSDATA")}
        parted.write_table(self.disks.path(name), parted.Table(guid, entries))
        self.disks.seen(name)
        self.installed[name] = parted.usable(self.disks.path(name)).guid
        self.disks.drives.pop(next((d for d in self.disks.drives if d.split(":")[0] == name), None), None)
        self.shadow = (plan.password, plan.crypted)
        self.result["boot_bank"] = None
        for uuid_ in self.banks.pop(name, ())[:2]:
            shutil.rmtree(root.at("vmfs/volumes/" + uuid_), ignore_errors=True)
        folder = os.path.join(self.work, "banks", name)
        shutil.rmtree(folder, ignore_errors=True)
        self.banks[name] = (weasel.new_uuid(), weasel.new_uuid(), folder)
        first, second = (root.at("vmfs/volumes/" + uuid_) for uuid_ in self.banks[name][:2])
        self.stock = bank.write_bank(first, self.config["release"], stock, firstboot)
        os.makedirs(second)
        self.mount_banks(root, name)
        host = system.fresh()
        weasel.configure(plan, host, net.new_switch, ip.new_vmk)
        self.facts.update(host=host, saved=copy.deepcopy(host), saved_files={})
        if "installer" in self.config.get("bank", {}):
            root.limit("vmfs/volumes/" + self.banks[name][0], self.config["bank"]["installer"])

    # The installed host

    def boot_host(self, disk):
        self.result["boots"].append("ESXi on " + disk)
        self.facts["host"] = copy.deepcopy(self.facts["saved"])
        root = self.new_root("host")
        first, second, folder = self.banks[disk]
        volume = root.at("vmfs/volumes/" + first)
        os.symlink("/vmfs/volumes/" + first, root.at("bootbank"))
        os.symlink("/vmfs/volumes/" + second, root.at("altbootbank"))
        for name, (data, mode) in dict({tools.MARKED: (b"", 0o600 | tools.STICKY)}, **self.facts["saved_files"]).items():
            root.write(name, "")
            with open(root.at(name), "wb") as f:
                f.write(data)
            os.chmod(root.at(name), mode)
        self.facts["marked"] = os.stat(root.at(tools.MARKED)).st_ino
        self.bring_logs(root)
        self.look_at_bank(volume)
        config = read_config(os.path.join(volume, "boot.cfg"))
        extra = self.load_bank(root, volume, config)
        wire.settle(root.state)
        root.fenced = self.result["noexec"] = root.fence()
        if self.config.get("keys_read_only") == self.facts["boot"]:
            root.limit("etc/ssh", "read-only")
        try:
            self.first_boot(root, volume, config, extra)
        except PowerLost:
            self.console += "[host] the power fails\n"
        finally:
            self.switch_off(root)
        self.after(root, first, volume)
        return bool(self.facts["rebooting"])

    def load_bank(self, root, volume, config):
        names = bank.module_names(config)
        extra = [n for n in names if n not in self.stock and n != "onetime.tgz"]
        if extra and self.config["secure_boot"]:
            raise bank.Bad("purple screen: %s of no VIB under Secure Boot" % ", ".join(extra))
        for name in names:
            with open(bank.find(volume, name), "rb") as f:
                bank.unpack(f.read(), name, root, name in extra)
        return extra

    def first_boot(self, root, volume, config, extra):
        if "onetime.tgz" not in bank.module_names(config):
            if extra and not self.result.get("kept"):
                self.result["kept"] = extra
            return
        scripts = bank.firstboot_scripts(volume)
        bank.drop_onetime(volume)
        if "host" in self.config.get("bank", {}):
            root.limit(os.path.relpath(volume, root.path), self.config["bank"]["host"])
        if self.config["secure_boot"]:
            self.console += "[host] UEFI Secure Boot is on: %firstboot does not run\n"
            return
        for interpreter, body in scripts:
            code, _ = self.script(root, "firstboot", interpreter, body)
            self.result["firstboot"].append(code)
        if self.config.get("second_run"):
            before, asked = copy.deepcopy(self.facts["host"]), self.facts["rebooting"]
            for interpreter, body in scripts:
                code, _ = self.script(root, "firstboot", interpreter, body)
                self.result.setdefault("second", []).append(code)
            self.result["second"] = "failed" if any(self.result["second"]) else "ok"
            self.result["second_changes"] = before != self.facts["host"]
            self.facts["rebooting"] = asked

    def after(self, root, first, volume):
        """Shutting down, or what a running host is like."""
        self.look_at_logs(root, "the host")
        self.look_at_bank(volume)
        self.keep_logs(root)
        self.files = {}
        for name in ("etc/ssh/keys-root/authorized_keys", "etc/ntp.conf", "var/log/esxi-img.json"):
            if os.path.exists(root.at(name)):
                with open(root.at(name), "rb") as f:
                    self.files["/" + name] = {"text": f.read().decode("utf-8", "replace"), "mode": "%o" % (os.stat(root.at(name)).st_mode & 0o777)}
        self.result["logs"] = {}
        for name in sorted(os.listdir(root.at("var/log"))):
            if os.path.isfile(root.at("var/log/" + name)):
                with open(root.at("var/log/" + name), "rb") as f:
                    self.result["logs"][name] = f.read().decode("utf-8", "replace")
        config = read_config(os.path.join(volume, "boot.cfg"))
        names = bank.module_names(config)
        known = set(self.stock) | {"boot.cfg", "b.b00"} | {"onetime.tgz"} & set(names)
        self.result["boot_bank"] = {
            "modules": [n for n in names if n not in self.stock], "files": sorted(set(os.listdir(volume)) - known),
            "kernelopt": config["kernelopt"],
        }
        self.result["banks"].append(self.result["boot_bank"])
        self.result["record"] = None
        if "esxiimg.jsn" in self.result["boot_bank"]["files"]:
            with open(os.path.join(volume, "esxiimg.jsn")) as f:
                self.result["record"] = json.load(f)
        if self.facts["rebooting"]:
            pass
        elif self.config.get("reboots"):
            # As ESXi shuts down: what has changed is saved.
            self.config["reboots"] -= 1
            self.facts["rebooting"] = True
            tools.save(root.state)
        elif self.config.get("resets"):
            self.config["resets"] -= 1
            self.facts.update(rebooting=True, host=copy.deepcopy(self.facts["saved"]))
        else:
            self.result["outcome"] = "running"
            for found in bank.secrets_in(volume, self.unlogged):
                self.result["canary"].append(found + " on the boot bank, for good")
        self.unmount_banks(root)

    def bring_logs(self, root):
        """They are on OSDATA, where there is one, and outlive a reboot."""
        for name in LOGS if not self.config.get("logs_in_memory") else ():
            kept = os.path.join(self.work, "kept", name)
            if os.path.isdir(kept):
                os.rmdir(root.at(name))
                os.rename(kept, root.at(name))

    def keep_logs(self, root):
        for name in LOGS:
            kept = os.path.join(self.work, "kept", name)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(root.at(name), kept)

    # Secrets

    def look_at_logs(self, root, who):
        for line in self.facts.get("syslog", []):
            self.look(line["text"].encode(), "the syslog of " + who, self.unlogged)
        for post in self.result["phone_home"]:
            self.look(urllib.parse.unquote_plus(post["body"]).encode(), "phone_home", self.unlogged)
        self.look_into(root, ["var/log", "dev/console", "scratch"], self.unlogged)
        if who == "the host":
            # Nothing there is the installer's memory any more.
            self.look_into(root, ["tmp", "etc", "var", "opt", "esxiimg", "esximeta", "tardisks", "vmfs"], self.canaries)

    def look_into(self, root, places, canaries):
        for place in places:
            for base, _, files in os.walk(root.at(place)):
                for name in files:
                    path = os.path.join(base, name)
                    if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 8 << 20:
                        with open(path, "rb") as f:
                            self.look(f.read(), "/" + os.path.relpath(path, root.path), canaries)

    def look_at_memory(self, root):
        """Secrets in the installer's memory are root's alone."""
        for base, _, files in os.walk(root.at("tmp")):
            for name in files:
                path = os.path.join(base, name)
                with open(path, "rb") as f:
                    open_to_others = os.stat(path).st_mode & 0o077 and bank.hits(f.read(), self.canaries)
                if open_to_others and not name.startswith("ks-script"):
                    self.result["canary"].append("/%s can be read by anybody" % os.path.relpath(path, root.path))

    def look_at_bank(self, folder):
        for found in bank.secrets_in(folder, self.canaries):
            self.result["canary"].append(found + " on the boot bank")

    # The whole way

    def live(self):
        try:
            while self.boot():
                if len(self.result["boots"]) >= MAX_BOOTS:
                    self.result["outcome"] = "loop"
                    break
        except bank.Bad as err:
            self.result["outcome"] = "lost: %s" % err
        state, result = State(None, self.facts), self.result
        result["host"] = self.facts["host"]
        result["interfaces"], result["routes"] = wire.summary(state)
        result["reachable"] = wire.management_reachable(state) if result["outcome"] == "running" else []
        for key in ("unknown", "refused", "hazards", "outages", "routes_lost", "hangs", "disk_writes", "warnings", "injected", "reboots", "quick_boots", "services", "syslog"):
            result[key] = self.facts.get(key, [])
        codes = result.pop("firstboot")
        result["firstboot_codes"], result["firstboot"] = codes, "ok" if codes and not any(codes) else "failed" if codes else "none"
        result["files"] = getattr(self, "files", {})
        result["password"] = self.password()
        result["config_drives"] = self.disks.drives_left()
        result["console"] = self.console
        return result

    def password(self):
        """Which of the scenario's passwords the host's root has."""
        if self.shadow is None:
            return None
        word, crypted = self.shadow
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
        crypt.restype = ctypes.c_char_p
        for name, canary in self.canaries.items():
            if (crypt(canary.encode(), word.encode()).decode() if crypted else canary) == word:
                return name + ("" if crypted else " (in plain text)")
        return "another one"


def read_config(path):
    with open(path, encoding="ascii") as f:
        return bank.parse_boot_cfg(f.read())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("image", "scenario", "python", "work"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--dump", action="store_true", help="print the whole result")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    os.makedirs(args.work)
    result = Machine(args.scenario, args.image, args.python, args.work).live()
    with open(os.path.join(args.work, "result.json"), "w") as f:
        json.dump(result, f, indent=1, sort_keys=True)
    with open(os.path.join(args.scenario, "expect.json")) as f:
        wrong = compare.differences(json.load(f), result)
    if args.dump:
        print(json.dumps(dict(result, console="(below)"), indent=1, sort_keys=True))
    for line in wrong:
        print("WRONG  " + line)
    if wrong or args.dump:
        print(result["console"])
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
