"""A host for the tests: a folder as its root, and programs that answer."""
import json
import os
import shutil
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "files")
sys.dont_write_bytecode = True
for folder in (HERE, FILES):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import volumes  # noqa: E402
from esxi_netinit import stage as stages  # noqa: E402

CANARY = "Canary-4711 'x\" \\"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@example"
NICS = """Name    PCI Device    Driver  Admin Status  Link Status  Speed  Duplex  MAC Address         MTU  Description
------  ------------  ------  ------------  -----------  -----  ------  -----------------  ----  -----------
vmnic0  0000:02:00.0  ixgben  Up            Down             0  Half    52:54:00:aa:bb:01  1500  Intel(R) Up Link 00:11:22:33:44:55
vmnic1  0000:02:00.1  ixgben  Up            Up           10000  Full    52:54:00:AA:BB:02  1500  Intel(R) Ethernet
vmnic10 0000:03:00.0  nmlx5   Up            Up           25000  Full    52:54:00:aa:bb:0a  9000  Mellanox
"""
DEVICE = """%s:
   Display Name: Local %s Disk (%s)
   Has Settable Display Name: true
   Size: %d
   Device Type: Direct-Access
   Devfs Path: /vmfs/devices/disks/%s
   Vendor: %s
   Model: %s
   Revision: 1.0
   Is Local: true
   Is Removable: %s
   Is SSD: true
   Is USB: %s
   Other UIDs: %s
"""


class Machine(unittest.TestCase):
    """Programs that are not in answers are missing."""

    _esp = None

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.calls, self.answers, self.lines = [], {}, []
        self.addCleanup(setattr, stages.report, "say", stages.report.say)
        stages.report.say = lambda root, text: self.lines.append(text)
        self.listed = []
        self.answers["localcli network nic list"] = (0, NICS)
        self.answers["localcli storage core device list"] = lambda argv: (0, "".join(self.listed))
        self.secure_boot("Disabled")
        self.image()
        for name in ("esxi_netinit/__init__.py", "esxi_netinit/main.py"):
            self.file("esxiimg/" + name, b"# x\n")
        self.file("esxiimg/KS.CFG", b"rootpw " + CANARY.encode() + b"\n%include /tmp/firstboot\n")

    def file(self, path, data=b""):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        volumes.store(full, data if isinstance(data, bytes) else data.encode("utf-8"))
        return full

    def read(self, path):
        with open(os.path.join(self.root, path), "rb") as f:
            return f.read()

    def exists(self, path):
        return os.path.lexists(os.path.join(self.root, path))

    def secure_boot(self, answer, code=0):
        self.file(stages.SECURE_BOOT[1:], b"")
        self.answers[stages.SECURE_BOOT] = (code, answer)

    def image(self, **settings):
        data = {"version": 1, "disk": volumes.DISK, "partition": volumes.PARTITION, "metadata": "optional"}
        data.update(settings)
        self.file("esxiimg/image.json", json.dumps(data))

    def disk(self, name, data=b"", model="Disk", vendor="ATA", size=None, removable=False, uids="", usb=False):
        """size in bytes makes the file that large, sparse."""
        path = self.file("dev/disks/" + name, data)
        if size:
            with open(path, "r+b") as f:
                f.truncate(size)
        self.listed.append(DEVICE % (name, vendor, name, os.path.getsize(path) >> 20, name, vendor.ljust(8), model.ljust(16)[:16],
                                     str(removable).lower(), str(usb).lower(), uids))
        return path

    def esp(self):
        """An EFI system partition as an image has it: FAT with our module."""
        with open(self.esp_file(), "rb") as f:
            return f.read()

    def esp_file(self):
        if Machine._esp is None:
            Machine._esp = volumes.Work(volumes.Kept).fat_file({"ESXIKS.TGZ": b"x", "BOOT.CFG": b"y"}, "ESXI-IMG", 32, 34000)
        return Machine._esp

    def image_disk(self, name, more=(), esp=None, size=64 << 20, **options):
        parts = [(volumes.ESP, volumes.PARTITION, 1 << 20, self.esp_file() if esp is None else esp)]
        at = 40 << 20
        for kind, data in more:
            parts.append((kind, volumes.DISK, at, data))
            at += 8 << 20
        path = self.disk(name, size=size, **options)
        volumes.gpt_file(path, size, parts)
        return path

    def run_command(self, argv, seconds=None):
        self.assertNotIn("4711", " ".join(argv))
        line = " ".join(argv).replace(self.root, "")
        if argv[0] == sys.executable:
            line = line[len(argv[0]) + 1:].replace(" -s", "")
        self.calls.append(line)
        answer = self.answers.get(line, (127, "not found"))
        return answer(argv) if callable(answer) else answer

    def stage(self):
        return stages.Stage(self.root, self.run_command)

    def do(self, function, stops=stages.ALWAYS):
        """Runs a stage as the scripts do: its exit code, and what it said."""
        real, machine = stages.Stage, self
        stages.Stage = lambda root: real(root, machine.run_command)
        self.lines = []
        try:
            code = stages.run(self.root, function, "test", stops)
        finally:
            stages.Stage = real
        self.said = "\n".join(self.lines)
        self.assertNotIn("4711", self.said)
        return code

    def nowhere(self, text, *but):
        """No file below the root holds the text, but for those named."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                relative = os.path.relpath(path, self.root)
                if not relative.startswith(but or "\0") and not os.path.islink(path):
                    with open(path, "rb") as f:
                        self.assertNotIn(text.encode(), f.read(), path)
