"""What %post leaves for the first boot, and the reports."""
import errno
import gzip
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import unittest
from urllib import parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import volumes  # noqa: E402
from machine import CANARY, KEY, Machine  # noqa: E402
from esxi_netinit import bootbank, installed, report, stage as stages  # noqa: E402
from esxi_netinit.model import Model  # noqa: E402

REAL_SAY = report.say
BOOT_CFG = (b"bootstate=0\r\nkernel=b.b00\r\nkernelopt=autoPartition=FALSE nofb\r\n"
            b"modules=jumpstrt.gz --- imgdb.tgz --- state.tgz --- onetime.tgz\r\nbuild=8.0.2\r\n")
BANK = "vmfs/volumes/11-22/"


class BootBank(Machine):
    def setUp(self):
        super().setUp()
        self.addCleanup(setattr, installed, "BANK_PAUSE", installed.BANK_PAUSE)
        installed.BANK_PAUSE = 0
        self.file(BANK + "boot.cfg", BOOT_CFG)
        os.symlink("11-22", os.path.join(self.root, "vmfs/volumes/BOOTBANK1"))
        self.model(hostname="h1", ssh_keys=[KEY], license="AAAAA-BBBBB-CCCCC-DDDDD-EEEEE")

    def model(self, **data):
        self.file("tmp/esxi-img/model.json", json.dumps(dict(data, version=1)))

    def files(self):
        return sorted(os.listdir(os.path.join(self.root, BANK)))

    def config(self):
        return self.read(BANK + "boot.cfg")

    def add(self, expect=True):
        self.assertEqual(self.do(installed.prepare_first_boot, stages.NEVER), 0)
        state = json.loads(self.read("tmp/esxi-img/state.json").decode())
        self.assertEqual(state["first_boot"], expect, self.said)
        if not expect:
            self.assertEqual(self.files(), ["boot.cfg"])
            self.assertEqual(self.config(), BOOT_CFG)
        return self.said

    def test_added(self):
        for _ in range(2):
            self.add()
            self.assertEqual(self.files(), ["boot.cfg", "esxiimg.tgz", "esximeta.tgz"])
            self.assertEqual(self.config(), BOOT_CFG.replace(b"onetime.tgz", b"onetime.tgz --- esxiimg.tgz --- esximeta.tgz"))
        # What the first boot does to it.
        self.assertIn(b"state.tgz --- esxiimg.tgz", self.config().replace(b" --- onetime.tgz", b""))

    def test_modules(self):
        self.add()
        for name, want in (("esximeta.tgz", ["esxiimg", "esxiimg/metadata", "esxiimg/metadata/installer.json", "esxiimg/metadata/model.json"]),
                           ("esxiimg.tgz", ["esxiimg", "esxiimg/esxi_netinit", "esxiimg/esxi_netinit/__init__.py", "esxiimg/esxi_netinit/main.py"])):
            raw = self.read(BANK + name)
            self.assertEqual(raw[:8], b"\x1f\x8b\x08\x00\0\0\0\0")
            data = gzip.decompress(raw)
            self.assertEqual(data[257:265], b"ustar  \0")
            self.assertTrue(data.startswith(b"esxiimg/\0"))
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                entries = tar.getmembers()
                self.assertEqual([e.name for e in entries], want)
                self.assertEqual(set((e.mode, e.uid, e.gid, e.uname, e.mtime) for e in entries), {(0o755, 0, 0, "", 0), (0o644, 0, 0, "", 0)})
                if name == "esximeta.tgz":
                    model = Model.from_dict(json.loads(tar.extractfile(want[-1]).read().decode()))
                    self.assertEqual((model.hostname, model.ssh_keys), ("h1", [KEY]))

    def test_no_raw_metadata(self):
        """It lies beside our package, with the kickstart."""
        self.file("esxiimg/metadata/openstack/latest/meta_data.json", CANARY)
        self.file("tmp/esxi-img/metadata/openstack/latest/meta_data.json", CANARY)
        self.file("esxiimg/esxi_netinit/notes.txt", CANARY)
        self.add()
        for name in ("esximeta.tgz", "esxiimg.tgz"):
            self.assertNotIn(b"4711", gzip.decompress(self.read(BANK + name)))

    def test_kernel_options(self):
        self.model(serial_console=True, kernel_options=["autoPartition=TRUE", "x"])
        self.image(kernelopts=["systemMediaSize=min"])
        for _ in range(2):
            self.add()
            self.assertIn(b"\r\nkernelopt=nofb systemMediaSize=min autoPartition=TRUE x text com1_baud=115200 com1_Port=0x3f8"
                          b" tty2Port=com1 gdbPort=none logPort=none\r\n", self.config())

    def test_secure_boot(self):
        for answer in ("Enabled", "Secure Boot: ENABLED", "", "what", "Disabled Enabled"):
            self.secure_boot(answer)
            said = self.add(False)
            self.assertIn("Secure Boot", said)
            self.assertIn("not applied: SSH keys", said)
            self.assertIn("not applied: the license", said)
            self.assertNotIn("BBBBB", said)
        self.secure_boot("Disabled", 1)
        self.add(False)
        os.remove(os.path.join(self.root, stages.SECURE_BOOT[1:]))
        self.add(False)

    def bank_on(self, name, disk):
        self.answers["vmkfstools -P /vmfs/volumes/" + name] = (
            0, "vfat-0.04 (Raw Major Version: 0) file system spanning 1 partitions.\nFile system label (if any): BOOTBANK1\nMode: private\n"
               "Partitions spanned (on \"disks\"):\n\n\t%s:5\nIs Native Snapshot Capable: NO\n" % disk)

    def chosen(self, disk):
        self.file("tmp/esxi-img/state.json", json.dumps({"install": {"disk": disk}}))

    def test_old_esxi(self):
        self.file("vmfs/volumes/00-01/boot.cfg", BOOT_CFG.replace(b" --- onetime.tgz", b""))
        self.file("vmfs/volumes/99-01/boot.cfg", b"nothing")
        self.add()
        self.assertEqual(os.listdir(os.path.join(self.root, "vmfs/volumes/00-01")), ["boot.cfg"])

    def test_two_that_wait_for_their_first_boot(self):
        self.file("vmfs/volumes/00-01/boot.cfg", BOOT_CFG)
        self.assertIn("2 boot banks", self.add(False))
        self.chosen("mpx.vmhba0:C0:T0:L0")
        self.assertIn("2 boot banks", self.add(False))
        self.chosen("mpx.vmhba0:C0:T0:L0")
        self.bank_on("00-01", "naa.7")
        self.bank_on("11-22", "mpx.vmhba0:C0:T0:L0")
        self.add()
        self.assertEqual(os.listdir(os.path.join(self.root, "vmfs/volumes/00-01")), ["boot.cfg"])

    def test_bank_of_another_disk(self):
        self.chosen("naa.1")
        self.bank_on("11-22", "naa.2")
        self.assertIn("0 boot banks", self.add(False))

    def test_no_bank(self):
        shutil.rmtree(os.path.join(self.root, "vmfs/volumes/11-22"))
        self.do(installed.prepare_first_boot, stages.NEVER)
        self.assertIn("0 boot banks", self.said)
        shutil.rmtree(os.path.join(self.root, "vmfs"))
        self.do(installed.prepare_first_boot, stages.NEVER)
        self.assertIn("No such file", self.said)

    def test_limits(self):
        global BOOT_CFG
        before = BOOT_CFG
        try:
            BOOT_CFG = b"modules=" + b" --- ".join(b"m%d.v00" % i for i in range(198)) + b" --- onetime.tgz\n"
            self.file(BANK + "boot.cfg", BOOT_CFG)
            self.assertIn("more than 200", self.add(False))
        finally:
            BOOT_CFG = before

    def test_options_without_room(self):
        """Keys and networks count for more."""
        for text, reason in ((b"modules=onetime.tgz\n", "no kernelopt"), (b"kernelopt=" + b"x" * 1995 + b"\nmodules=onetime.tgz\n", "more than 2000")):
            self.file(BANK + "boot.cfg", text)
            self.model(kernel_options=["abcdefgh"])
            self.assertIn(reason, self.add())
            self.assertEqual(self.config(), text.replace(b"onetime.tgz", b"onetime.tgz --- esxiimg.tgz --- esximeta.tgz"))

    def test_package_is_not_loaded(self):
        os.remove(os.path.join(self.root, "esxiimg/esxi_netinit/main.py"))
        self.assertIn("not loaded", self.add(False))

    def test_no_room(self):
        real = os.statvfs

        class Full(object):
            f_blocks, f_bavail, f_frsize = 1000, 1000, 4096

        try:
            os.statvfs = lambda path: Full
            self.assertIn("KiB free", self.add(False))
            os.statvfs = lambda path: (_ for _ in ()).throw(OSError(38, "Function not implemented"))
            self.add()
        finally:
            os.statvfs = real

    def test_write_fails(self):
        """At every point, the host boots as if nothing had been tried."""
        real, writes = os.fsync, []

        def fails(fd):
            writes.append(fd)
            if len(writes) >= at:
                raise OSError(28, "No space left on device")
            real(fd)

        os.fsync = fails
        try:
            for at in (1, 2, 3):
                del writes[:]
                self.do(installed.prepare_first_boot, stages.NEVER)
                self.assertIn("No space left", self.said)
                self.assertEqual(self.config(), BOOT_CFG)
                # What is of no use there only takes room away.
                self.assertEqual(self.files(), ["boot.cfg"])
        finally:
            os.fsync = real
        self.add()

    def fsync(self, times, number):
        real, left = os.fsync, [times]

        def fails(fd):
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(number, os.strerror(number))
            real(fd)

        self.addCleanup(setattr, os, "fsync", real)
        os.fsync = fails

    def test_write_fails_once(self):
        self.fsync(1, errno.EIO)
        self.add()
        self.assertEqual(self.config(), BOOT_CFG.replace(b"onetime.tgz", b"onetime.tgz --- esxiimg.tgz --- esximeta.tgz"))

    def test_no_fsync(self):
        self.fsync(99, errno.EINVAL)
        self.add()

    def state(self, **state):
        self.file("tmp/esxi-img/state.json", json.dumps(state))

    def test_told(self):
        """The first boot learns what the installer had to say."""
        self.state(password="random, for the SSH keys", notes=["a note"], log=["a line"])
        self.add()
        with tarfile.open(os.path.join(self.root, BANK, "esximeta.tgz")) as tar:
            told = json.loads(tar.extractfile(bootbank.INSTALLER).read().decode())
        self.assertEqual(told, {"version": 1, "random_password": True, "notes": ["a note"], "log": ["a line"]})
        self.assertFalse(json.loads(bootbank.told({"password": "from the metadata"}).decode())["random_password"])

    def test_nobody_knows_the_password(self):
        for password, loud in (("random, for the SSH keys", True), ("from the metadata", False)):
            self.state(password=password)
            self.fsync(99, errno.ENOSPC)
            said = self.add(False)
            self.assertEqual("NOBODY KNOWS THE ROOT PASSWORD" in said, loud)
            state = json.loads(self.read("tmp/esxi-img/state.json").decode())
            self.assertEqual(any("NOBODY KNOWS" in note for note in state["notes"]), loud)
            self.assertTrue(state["refused"])

    def test_broken_model(self):
        """Said, and no text of it."""
        self.state(password="random, for the SSH keys")
        self.file("tmp/esxi-img/model.json", '{"version": 1, "%s": 1}' % CANARY.replace('"', "").replace("\\", ""))
        self.assertIn("NOBODY KNOWS THE ROOT PASSWORD", self.add(False))

    def test_large_model(self):
        self.model(write_files=[{"path": "/a", "content_b64": "A" * 400000}] * 4)
        self.add()

    def test_rehearsal(self):
        stage = self.stage()
        bootbank.rehearse(stage, stage.model())
        real = bootbank.sources
        self.addCleanup(setattr, bootbank, "sources", real)
        bootbank.sources = lambda stage: {"esxiimg/x": os.urandom(bootbank.ROOM_6 + 1)}
        for answer, fits in (((0, "VMware ESXi 6.7.0 build-1\n"), False), ((0, "VMware ESXi 7.0.3 build-1\n"), True), ((0, "VMware ESXi 10.0 x"), True),
                             ((127, ""), False)):
            self.answers["vmware -v"] = answer
            if fits:
                bootbank.rehearse(stage, stage.model())
            else:
                self.assertRaises(stages.Refused, bootbank.rehearse, stage, stage.model())

    def test_unreadable_bank(self):
        """Of another disk."""
        os.makedirs(os.path.join(self.root, "vmfs/volumes/00-01"))
        self.file("vmfs/volumes/00-01/boot.cfg")
        real = bootbank.read

        def read(path):
            if "00-01" in path:
                raise OSError(5, "Input/output error")
            return real(path)

        self.addCleanup(setattr, bootbank, "read", real)
        bootbank.read = read
        self.add()

    def test_last_line_counts(self):
        text = b"modules=a.b00\nMODULES=b.b00 arg --- /x/onetime.tgz"
        self.assertEqual(bootbank.modules(text), [b"b.b00", b"onetime.tgz"])
        self.assertEqual(bootbank.add_modules(text, ["c.tgz"]), text + b" --- c.tgz")


class Guarding(Machine):
    def test_stage(self):
        self.image_disk("naa.1")
        self.assertEqual(self.do(installed.guard_image, stages.NEVER), 0)
        self.assertIn("can't be started any more", self.said)
        self.assertTrue(json.loads(self.read("tmp/esxi-img/state.json").decode())["guarded"])
        # A mistake of ours is not told as if all were well.
        self.addCleanup(setattr, installed.guard, "apply", installed.guard.apply)
        installed.guard.apply = lambda *args: 1 // 0
        self.do(installed.guard_image, stages.NEVER)
        self.assertFalse(json.loads(self.read("tmp/esxi-img/state.json").decode())["guarded"])
        os.remove(os.path.join(self.root, "esxiimg/image.json"))
        self.assertEqual(self.do(installed.guard_image, stages.NEVER), 0)


class Server(object):
    """Takes posts, after failing as often as told."""

    def __init__(self, test, failures=0):
        posts, left = [], [failures]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                posts.append((self.path, parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True)))
                left[0] -= 1
                self.send_response(500 if left[0] >= 0 else 200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.posts = posts
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        test.addCleanup(self.server.server_close)
        test.addCleanup(self.server.shutdown)
        self.url = "http://127.0.0.1:%d/done" % self.server.server_address[1]


class Reports(Machine):
    def model_for(self, url, **more):
        return Model.from_dict({"version": 1, "hostname": "h1", "fqdn": "h1.example.org", "instance_id": "i-1", "ssh_keys": [KEY], "phone_home": dict(more, url=url)})

    def test_posted(self):
        server = Server(self, failures=2)
        self.file("etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa AAAA root@h1\n")
        pauses = []
        self.assertTrue(report.phone_home(self.model_for(server.url), "installed", False, ["a", "b\u00fc\n"], root=self.root, pause=pauses.append))
        self.assertEqual(len(server.posts), 3)
        self.assertEqual(len(pauses), 2)
        self.assertEqual(server.posts[-1], ("/done", {"instance_id": ["i-1"], "hostname": ["h1"], "fqdn": ["h1.example.org"], "pub_key_rsa": ["ssh-rsa AAAA root@h1"],
                                                      "stage": ["installed"], "result": ["failure"], "notes": ["a\nb??"]}))

    def test_only_what_is_asked_for(self):
        server = Server(self)
        self.assertTrue(report.phone_home(self.model_for(server.url, post=["hostname"]), "pre", True))
        self.assertEqual(server.posts[0][1], {"hostname": ["h1"], "stage": ["pre"], "result": ["success"]})

    def test_never_stops_anything(self):
        server = Server(self, failures=100)
        self.assertFalse(report.phone_home(self.model_for(server.url, tries=3), "pre", True, pause=lambda s: None))
        self.assertEqual(len(server.posts), 3)
        for url in ("http://127.0.0.1:1/", "http://[::1]:1/", "https://127.0.0.1:1/x", "http://x:99999/", "http://\u00fc.invalid/"):
            self.assertFalse(report.phone_home(self.model_for(url, tries=1), "pre", True), url)
        self.assertTrue(report.phone_home(Model(), "pre", True))

    def test_stages(self):
        server = Server(self)
        self.file("tmp/esxi-img/model.json", json.dumps(self.model_for(server.url).to_dict()))
        self.file("tmp/esxi-img/state.json", json.dumps({"notes": ["something"], "first_boot": True}))
        self.assertEqual(self.do(installed.tell, stages.NEVER), 0)
        self.assertIn("note: something", self.said)
        self.assertEqual((server.posts[0][1]["notes"], server.posts[0][1]["result"]), (["something"], ["success"]))
        for bad in ({"guarded": False}, {"refused": True}):
            self.file("tmp/esxi-img/state.json", json.dumps(bad))
            self.do(installed.tell, stages.NEVER)
            self.assertEqual(server.posts[-1][1]["result"], ["failure"])

    def test_nobody_reads(self):
        """The other end of the output is gone."""
        real = sys.stdout
        sys.stdout = io.StringIO()
        sys.stdout.close()
        try:
            REAL_SAY(self.root, "x")
        finally:
            sys.stdout = real

    def test_console_and_log(self):
        # A child, since the logger is looked up in PATH.
        self.file("dev/console")
        script = self.file("bin/logger", "#!/bin/sh\nprintf '%%s\\n' \"$*\" >>%s/log\n" % self.root)
        os.chmod(script, 0o755)
        code = "import sys; sys.path.insert(0, %r); from esxi_netinit import report; report.say(%r, 'K\\u00fcche\\n2')" % (
            os.path.dirname(os.path.dirname(os.path.abspath(report.__file__))), self.root)
        env = dict(os.environ, PATH=os.path.join(self.root, "bin") + ":" + os.environ["PATH"], PYTHONDONTWRITEBYTECODE="1", LC_ALL="C")
        out = subprocess.check_output([sys.executable, "-c", code], env=env)
        self.assertEqual(out, b"esxi-img: K?che?2\n")
        self.assertEqual(self.read("log"), b"-t esxi-img K?che?2\n")
        self.assertEqual(self.read("dev/console"), b"esxi-img: K?che?2\r\n")


if __name__ == "__main__":
    unittest.main()
