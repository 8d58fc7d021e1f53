"""The stages inside the installer, from the drive with the metadata to the
files that the kickstart includes."""
import json
import os
import shlex
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import volumes  # noqa: E402
from machine import CANARY, FILES, KEY, Machine  # noqa: E402
from esxi_netinit import bootbank, disks, guard, installer, stage as stages, weasel  # noqa: E402

NETWORK = {
    "links": [{"id": "l0", "type": "phy", "ethernet_mac_address": "52:54:00:AA:BB:02", "mtu": None}],
    "networks": [{"id": "n0", "link": "l0", "type": "ipv4", "ip_address": "192.0.2.10", "netmask": "255.255.255.0",
                  "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]}],
    "services": [{"type": "dns", "address": "192.0.2.2"}],
}


def drive(meta=None, network=None, **more):
    data = {"uuid": "u-1", "hostname": "h1.example.org", "admin_pass": CANARY}
    data.update(meta or {})
    data = dict((key, data[key]) for key in data if data[key] is not Ellipsis)
    out = {"openstack/latest/meta_data.json": json.dumps(data).encode(), "openstack/2018-08-27/meta_data.json": json.dumps(data).encode(),
           "openstack/content/0000": b"x"}
    if network is not None:
        out["openstack/latest/network_data.json"] = json.dumps(network).encode()
    out.update(more)
    return out


class Base(Machine):
    def setUp(self):
        super().setUp()
        self.small = b"no file system"

    def mounted(self, label, files):
        for path in files:
            self.file("vmfs/volumes/1234-5678/" + path, files[path])
        os.symlink("1234-5678", os.path.join(self.root, "vmfs/volumes", label))

    def iso(self, files, label="config-2"):
        return volumes.Work(self).iso(files, label)

    def partition(self, files, label="config-2", name="naa.1"):
        """A drive with metadata as a partition of the image's disk."""
        return self.image_disk(name, [(volumes.BASIC, self.iso(files, label))], esp=self.small)

    def metadata(self, code=0):
        self.assertEqual(self.do(installer.metadata, stages.REFUSED), code, self.said)
        return self.said

    def rootpw(self, code=0):
        self.assertEqual(self.do(installer.rootpw), code, self.said)
        return self.read("tmp/rootpw").decode() if code == 0 else self.said

    def is_password(self, line, password):
        words = shlex.split(line, True)
        self.assertEqual(words[:2], ["rootpw", "--iscrypted"])
        process = subprocess.Popen(["openssl", "passwd", "-6", "-salt", words[2].split("$")[2], "-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(process.communicate(password.encode() + b"\n")[0].decode().strip(), words[2])


class Stages(Base):
    def test_all(self):
        self.partition(drive(network=NETWORK))
        self.assertIn("metadata found: naa.1:2 (openstack)", self.metadata())
        self.is_password(self.rootpw(), CANARY)
        self.assertEqual(self.do(installer.network, stages.NEVER), 0)
        self.assertEqual(self.read("tmp/network").decode(), "network --bootproto=static --device=52:54:00:AA:BB:02 --ip=192.0.2.10"
                         " --netmask=255.255.255.0 --gateway=192.0.2.1 --nameserver=192.0.2.2 --hostname=h1.example.org\n")
        self.assertEqual(self.do(installer.install), 0)
        self.assertEqual(self.read("tmp/install"), b"install --disk=naa.1 --overwritevmfs\n")
        self.assertEqual(self.do(installer.tell, stages.NEVER), 0)
        for name in ("tmp/rootpw", "tmp/esxi-img/model.json", "tmp/esxi-img/state.json", "tmp/esxi-img/metadata/openstack/latest/meta_data.json"):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.root, name)).st_mode), 0o600, name)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.root, "tmp/esxi-img")).st_mode), 0o700)
        self.assertFalse(self.exists("tmp/esxi-img/metadata/openstack/2018-08-27"))
        self.nowhere("4711", "tmp/esxi-img/metadata/", "dev/disks/", "esxiimg/KS.CFG")

    def test_drives_of_all_kinds(self):
        work = volumes.Work
        for name, make in (
            ("partition", lambda: self.partition(drive())),
            ("upper case", lambda: self.partition(drive(), "CONFIG-2")),
            ("whole disk", lambda: self.disk("naa.9", self.iso(drive()))),
            ("vfat", lambda: self.disk("naa.9", work(self).fat(drive(), "CONFIG-2"))),
            ("vfat in a partition", lambda: self.image_disk("naa.1", [(volumes.BASIC, work(self).fat(drive(), "config-2", 12, 2048))], esp=self.small)),
            ("stick with MBR", lambda: self.disk("mpx.vmhba32:C0:T0:L0", volumes.mbr(4 << 20, [(0x0C, 2048, work(self).fat(drive(), "CONFIG-2", 12, 2048))]))),
            ("drive", lambda: self.file("dev/cdrom/mpx.vmhba1:C0:T0:L0", self.iso(drive()))),
            ("4K sectors", lambda: self.disk("naa.1", volumes.gpt(8 << 20, [(volumes.BASIC, volumes.DISK, 1 << 20, self.iso(drive()))], sector=4096))),
            ("mounted by the kernel", lambda: self.mounted("config-2", drive())),
        ):
            self.tearDownRoot()
            make()
            self.assertIn("metadata found", self.metadata(), name)
            self.is_password(self.rootpw(), CANARY)
            self.assertEqual([c for c in self.calls if "mount" in c], [], name)

    def tearDownRoot(self):
        self.doCleanups()
        self.setUp()

    def test_nocloud(self):
        self.disk("naa.9", self.iso({"meta-data": b"instance-id: i-1\nlocal-hostname: h7\n", "user-data": b"#cloud-config\npassword: " + b"n0cl0ud-pw\n"}, "CIDATA"))
        self.metadata()
        self.assertIn(b'"hostname": "h7"', self.read("tmp/esxi-img/model.json"))
        self.is_password(self.rootpw(), "n0cl0ud-pw")

    def test_image_carries_it(self):
        for path, data in drive().items():
            self.file("esxiimg/metadata/" + path, data)
        self.assertIn("the image (image)", self.metadata())
        self.assertIn(b'"source": "image"', self.read("tmp/esxi-img/model.json"))
        self.is_password(self.rootpw(), CANARY)
        # A drive counts for more.
        self.partition(drive({"hostname": "drive"}))
        self.metadata()
        self.assertIn(b'"hostname": "drive"', self.read("tmp/esxi-img/model.json"))

    def test_old_version_only(self):
        files = drive()
        del files["openstack/latest/meta_data.json"]
        files["openstack/2012-08-10/meta_data.json"] = b"{}"
        self.partition(files)
        self.metadata()
        self.is_password(self.rootpw(), CANARY)

    def test_the_image_disk_counts_most(self):
        self.disk("naa.0", self.iso(drive({"hostname": "other"})))
        self.partition(drive({"hostname": "mine"}))
        self.metadata()
        self.assertIn(b'"hostname": "mine"', self.read("tmp/esxi-img/model.json"))

    def test_two_that_differ(self):
        self.disk("naa.0", self.iso(drive({"hostname": "a"})))
        self.disk("naa.2", self.iso(drive({"hostname": "b"})))
        self.assertIn("differ: naa.0, naa.2", self.metadata(1))
        self.assertIn("no disk was touched", self.said)

    def test_two_that_are_the_same(self):
        self.disk("naa.0", self.iso(drive()))
        self.disk("naa.2", volumes.Work(self).fat(drive(), "config-2"))
        self.metadata()

    def test_none(self):
        self.disk("naa.0", b"x" * 4096)
        self.metadata()
        self.assertIn("no metadata was found", self.said)
        self.assertIn("no root password", self.rootpw(1))
        self.assertFalse(self.exists("tmp/rootpw"))
        self.assertEqual(self.do(installer.network, stages.NEVER), 0)
        self.assertEqual(self.read("tmp/network"), b"network --bootproto=dhcp\n")
        self.image(metadata="required")
        self.assertIn("requires it", self.metadata(1))

    def test_none_and_a_hash_in_the_image(self):
        self.image(root_hash="$6$salt$" + "x" * 86)
        self.metadata()
        self.assertEqual(self.rootpw(), "rootpw --iscrypted $6$salt$" + "x" * 86 + "\n")

    def test_broken_json(self):
        broken = drive()
        broken["openstack/latest/meta_data.json"] = b'{"admin_pass": "' + CANARY.encode()
        self.partition(broken)
        self.metadata()
        self.rootpw(1)
        self.image(root_hash="$6$salt$" + "x" * 86)
        self.rootpw()
        self.image(metadata="required", root_hash="$6$salt$" + "x" * 86)
        self.assertIn("can't be read: meta_data.json", self.metadata(1))

    def test_required_and_odd(self):
        """What is odd is told, as where metadata is optional; what can't be read
        at all stops."""
        odd = {"openstack/latest/user_data": b"#cloud-config\npackages: [x]\nntp: {servers: [\"a b\"]}\nusers: [{name: root, ssh_authorized_keys: [nokey]}]\n"}
        network = json.loads(json.dumps(NETWORK))
        network["networks"].append({"id": "n9", "link": "nowhere", "type": "ipv4"})
        self.image(metadata="required")
        self.partition(drive({"public_keys": {"a": "nonsense", "b": KEY}}, network=network, **odd))
        said = self.metadata()
        for where in ("meta_data.json:$.public_keys", "network_data.json:$.networks[1]", "user_data:2", "user_data:3", "user_data:4"):
            self.assertIn(where, said)
        self.is_password(self.rootpw(), CANARY)
        model = json.loads(self.read("tmp/esxi-img/model.json").decode())
        self.assertEqual((model["ssh_keys"], len(model["networks"])), ([KEY], 1))
        self.tearDownRoot()
        self.image(metadata="required")
        self.partition(drive(**{"openstack/latest/user_data": b"#!/bin/bash\ntrue\n"}))
        self.metadata()
        for name, data in (("user_data", b"#cloud-config\na: [\n"), ("network_data.json", b"{"), ("vendor_data.json", b"\xff"), ("meta_data.json", b"[" * 99)):
            self.tearDownRoot()
            self.image(metadata="required")
            self.partition(drive(**{"openstack/latest/" + name: data}))
            self.assertIn("can't be read: " + name, self.metadata(1))

    def test_broken_network(self):
        """The host is installed, and reachable by DHCP."""
        files = drive()
        files["openstack/latest/network_data.json"] = b"{"
        self.partition(files)
        self.metadata()
        self.assertIn("network_data.json", self.said)
        self.rootpw()
        self.do(installer.network, stages.NEVER)
        self.assertEqual(self.read("tmp/network"), b"network --bootproto=dhcp\n")

    def test_empty_files(self):
        files = drive()
        for name in ("network_data.json", "user_data", "vendor_data.json"):
            files["openstack/latest/" + name] = b""
        self.partition(files)
        self.metadata()
        self.rootpw()

    def test_keys_and_no_password(self):
        self.partition(drive({"admin_pass": Ellipsis, "public_keys": {"k": KEY}}))
        self.metadata()
        first = self.rootpw()
        self.assertTrue(weasel.takes(first.split()[2]))
        self.assertIn("random", self.said)
        for answer, code in (("Enabled", 0), ("", 0), ("Disabled", 1), ("Disabled, but Enabled later", 0)):
            os.remove(os.path.join(self.root, "tmp/rootpw"))
            self.secure_boot(answer, code)
            self.assertIn("Secure Boot", self.rootpw(1))
            self.secure_boot("Disabled")
            self.assertNotEqual(self.rootpw(), first)
        os.remove(os.path.join(self.root, stages.SECURE_BOOT[1:]))
        os.remove(os.path.join(self.root, "tmp/rootpw"))
        self.rootpw(1)

    def keys_only(self, meta=None, **more):
        self.partition(drive(dict({"admin_pass": Ellipsis, "public_keys": {"k": KEY}}, **meta or {}), **more))
        self.metadata()

    def test_keys_travel_twice(self):
        self.keys_only()
        self.rootpw()
        text = self.read("tmp/firstboot").decode()
        self.assertTrue(text.startswith("%firstboot --interpreter=busybox\n"))
        self.assertIn("add '%s'\n" % KEY, text)
        self.assertNotIn("4711", text)

    def test_known_password_needs_no_script(self):
        self.partition(drive({"public_keys": {"k": KEY}}))
        self.metadata()
        self.rootpw()
        self.assertFalse(self.exists("tmp/firstboot"))

    def test_keys_that_do_not_reach_the_host(self):
        def broken_model():
            self.file("tmp/esxi-img/model.json", "{")

        def empty_model():
            self.file("tmp/esxi-img/model.json", '{"version": 1}')

        def no_module():
            os.remove(os.path.join(self.root, "esxiimg/esxi_netinit/main.py"))

        def no_include():
            self.file("esxiimg/KS.CFG", "vmaccepteula\n%include /tmp/rootpw\n")

        def large():
            self.addCleanup(setattr, bootbank, "ROOM_6", bootbank.ROOM_6)
            bootbank.ROOM_6 = 10

        for break_it, reason in ((broken_model, "is not JSON"), (empty_model, "not in what the host is given"), (no_module, "not loaded"),
                                 (no_include, "does not include /tmp/firstboot"), (large, "KiB of the boot bank")):
            self.tearDownRoot()
            self.keys_only()
            break_it()
            self.assertIn(reason, self.rootpw(1))
            self.assertIn("no disk was touched", self.said)
            self.assertFalse(self.exists("tmp/rootpw"))

    def test_keys_without_ssh(self):
        self.partition(drive({"admin_pass": Ellipsis, "public_keys": {"k": KEY}}))
        self.metadata()
        real = installer.read

        def without(stage, image):
            model, secrets = real(stage, image)
            model.ssh["enable"] = False
            return model, secrets

        installer.read = without
        try:
            self.assertIn("no SSH for its keys", self.rootpw(1))
        finally:
            installer.read = real

    def test_hash_from_user_data(self):
        good = "$6$abc$" + "y" * 86
        for value, code in ((good, 0), ("$6$rounds=9999$abc$" + "y" * 86, 1), ("$6$" + "s" * 17 + "$" + "y" * 86, 1)):
            self.tearDownRoot()
            data = "#cloud-config\nusers:\n  - name: root\n    passwd: '%s'\n" % value
            self.partition(drive({"admin_pass": Ellipsis}, **{"openstack/latest/user_data": data.encode()}))
            self.metadata()
            out = self.rootpw(code)
            if code == 0:
                self.assertEqual(out, "rootpw --iscrypted " + good + "\n")

    def test_hash_that_is_not_taken(self):
        """The plain password beside it is; without one, it is as if there were
        none. Said in both cases."""
        for value in ("$1$abcdefgh$" + "y" * 22, "$5$abc$" + "y" * 43):
            data = {"openstack/latest/user_data": ("#cloud-config\nchpasswd: {users: [{name: root, password: '%s'}]}\n" % value).encode()}
            self.tearDownRoot()
            self.partition(drive(**data))
            self.assertIn("not a hash that the installer takes", self.metadata())
            self.is_password(self.rootpw(), CANARY)
            self.tearDownRoot()
            self.partition(drive({"admin_pass": Ellipsis}, **data))
            self.metadata()
            self.assertIn("no root password", self.rootpw(1))
            # In what the first boot reports.
            self.assertTrue(any("not a hash" in note["message"] for note in json.loads(self.read("tmp/esxi-img/model.json").decode())["notes"]))

    def test_hash_of_the_image_that_is_not_taken(self):
        self.image(root_hash="$1$abcdefgh$" + "y" * 22)
        self.metadata()
        self.assertIn("the hash of the root password in the image", self.rootpw(1))
        self.tearDownRoot()
        self.image(root_hash="$1$abcdefgh$" + "y" * 22)
        self.keys_only()
        self.assertTrue(weasel.takes(self.rootpw().split()[2]))

    def test_earlier_commands_are_kept(self):
        self.image_disk("naa.1", esp=self.small)
        for name, function in (("rootpw", installer.rootpw), ("network", installer.network), ("install", installer.install)):
            self.file("tmp/" + name, "# mine\nsomething\n")
            self.assertEqual(self.do(function), 0)
            self.assertEqual(self.read("tmp/" + name), b"# mine\nsomething\n")
            self.file("tmp/" + name, "# default of esxi-img\nsomething\n")
            if name != "rootpw":
                self.assertEqual(self.do(function), 0)
                self.assertNotIn(b"something", self.read("tmp/" + name))

    def test_link_is_not_followed(self):
        self.partition(drive())
        victim = self.file("victim", "untouched")
        os.makedirs(os.path.join(self.root, "tmp"))
        os.symlink(victim, os.path.join(self.root, "tmp/rootpw.part"))
        os.symlink(victim, os.path.join(self.root, "tmp/rootpw"))
        self.metadata()
        self.rootpw()
        self.assertEqual(self.read("victim"), b"untouched")

    def test_cards_can_not_be_had(self):
        self.partition(drive(network=NETWORK))
        self.metadata()
        del self.answers["localcli network nic list"]
        self.do(installer.network, stages.NEVER)
        self.assertEqual(self.read("tmp/network"), b"network --bootproto=dhcp\n")

    def test_chosen_disk(self):
        self.image_disk("naa.1")
        self.disk("naa.2", size=20 << 30)
        self.file("tmp/esxi-img/model.json", json.dumps({"version": 1, "install": {"disk": {"path": "naa.2"}}}))
        before = self.read("dev/disks/naa.1")
        self.assertEqual(self.do(installer.install), 0)
        self.assertEqual(self.read("tmp/install"), b"install --disk=naa.2 --overwritevmfs\n")
        self.assertEqual(self.read("dev/disks/naa.1"), before)
        real = guard.write
        guard.write = lambda disk, blocks: (_ for _ in ()).throw(OSError(30, "Read-only file system"))
        os.remove(os.path.join(self.root, "tmp/install"))
        try:
            self.assertEqual(self.do(installer.install), 1)
        finally:
            guard.write = real
        self.assertIn("again and again", self.said)
        self.assertFalse(self.exists("tmp/install"))

    def test_own_disk_is_not_rehearsed(self):
        self.image_disk("naa.1", esp=self.small)
        real, guard.write = guard.write, lambda disk, blocks: self.fail("written to")
        try:
            self.assertEqual(self.do(installer.install), 0, self.said)
        finally:
            guard.write = real
        # And an intact table is left alone.
        self.assertEqual([c for c in self.calls if c.startswith("partedUtil")], [])

    def test_half_of_a_copy(self):
        """Memory is full: what is there is not taken for the whole."""
        self.partition(drive(network=NETWORK))
        real = stages.Stage.write

        def write(stage, name, text):
            if name.endswith("network_data.json"):
                raise OSError(28, "No space left on device")
            real(stage, name, text)

        self.addCleanup(setattr, stages.Stage, "write", real)
        stages.Stage.write = write
        self.metadata()
        self.assertIn("No space left", self.said)
        self.assertIn("no root password", self.rootpw(1))

    def test_image_is_not_seen(self):
        self.disk("naa.2", size=20 << 30)
        self.file("tmp/esxi-img/model.json", json.dumps({"version": 1, "install": {"disk": {"path": "naa.2"}}}))
        self.assertEqual(self.do(installer.install), 0)
        self.assertIn("is not seen", self.said)

    def test_image_may_be_hidden(self):
        """On a disk that can't be read: the firmware may start it again."""
        self.disk("naa.2", size=20 << 30)
        self.disk("naa.3", b"x" * 8192, size=30 << 20)
        real = disks.Disk.read_table

        def read_table(disk):
            real(disk)
            if disk.name == "naa.3":
                disk.problem = "can't be opened: Device or resource busy"

        self.addCleanup(setattr, disks.Disk, "read_table", real)
        disks.Disk.read_table = read_table
        self.file("tmp/esxi-img/model.json", json.dumps({"version": 1, "install": {"disk": {"path": "naa.2"}}}))
        self.assertEqual(self.do(installer.install), 1)
        self.assertIn("naa.3", self.said)
        # A reader without a card.
        self.listed[-1] = self.listed[-1].replace("Size: 30\n", "Size: 0\n")
        self.assertEqual(self.do(installer.install), 0, self.said)

    def test_image_chooses(self):
        self.image(install={"disk": {"size": "smallest"}, "overwritevmfs": True})
        self.image_disk("naa.1")
        self.disk("naa.2", size=20 << 30)
        self.assertEqual(self.do(installer.install), 0)
        self.assertEqual(self.read("tmp/install"), b"install --disk=naa.2 --overwritevmfs\n")
        # The host's own metadata counts for more.
        os.remove(os.path.join(self.root, "tmp/install"))
        self.file("tmp/esxi-img/model.json", json.dumps({"version": 1, "install": {"disk": {"image": True}}}))
        self.assertEqual(self.do(installer.install), 0)
        self.assertEqual(self.read("tmp/install"), b"install --disk=naa.1 --overwritevmfs\n")

    def test_two_images(self):
        self.image_disk("naa.1", esp=self.small)
        self.image_disk("naa.2", esp=self.small)
        self.assertEqual(self.do(installer.install), 1)
        self.assertIn("naa.1, naa.2", self.said)
        self.assertFalse(self.exists("tmp/install"))

    def test_only_our_table_is_mended(self):
        self.answers["partedUtil fix /dev/disks/naa.1"] = (0, "")
        for name in ("naa.0", "naa.1"):
            self.image_disk(name, esp=self.small) if name == "naa.1" else self.disk(name, volumes.gpt(1 << 20, []))
            with open(os.path.join(self.root, "dev/disks", name), "ab") as f:
                f.truncate(80 << 20)
        self.assertEqual(self.do(installer.install), 0)
        self.assertEqual([c for c in self.calls if c.startswith("partedUtil")], ["partedUtil fix /dev/disks/naa.1"])

    def test_mistakes_of_ours(self):
        """They are said without the text of the error, which may hold a
        password, and stop only what must not go on."""
        def wrong(stage):
            raise KeyError(CANARY)

        for stops, code in ((stages.ALWAYS, 1), (stages.REFUSED, 0), (stages.NEVER, 0)):
            self.assertEqual(self.do(wrong, stops), code)
            self.assertIn("KeyError in test_installer.py:", self.said)

        def strict(stage):
            stage.strict = True
            raise KeyError(CANARY)

        self.assertEqual(self.do(strict, stages.REFUSED), 1)

    def test_broken_image_settings(self):
        for text in ("{", "[]", '{"version": 2}', '{"version": 1, "install": {"x": 1}}', "x" * (2 << 20)):
            self.file("esxiimg/image.json", text)
            for function in (installer.metadata, installer.rootpw, installer.install):
                self.assertEqual(self.do(function), 1, text[:20])


class Scripts(Machine):
    """The sections of the kickstart, run as the installer runs them."""

    def run_script(self, name):
        with open(os.path.join(FILES, name)) as f:
            text = f.read()
        path = self.file("script.py", text)
        env = dict(os.environ, ESXI_ROOT=self.root, PYTHONDONTWRITEBYTECODE="1")
        process = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        out = process.communicate(timeout=60)[0].decode()
        self.assertNotIn("4711", out)
        self.assertNotIn("Traceback", out)
        return process.returncode, out

    def load(self):
        os.remove(os.path.join(self.root, "esxiimg/esxi_netinit/main.py"))
        os.remove(os.path.join(self.root, "esxiimg/esxi_netinit/__init__.py"))
        os.rmdir(os.path.join(self.root, "esxiimg/esxi_netinit"))
        os.symlink(os.path.join(FILES, "esxi_netinit"), os.path.join(self.root, "esxiimg/esxi_netinit"))

    SCRIPTS = ("pre/20-metadata.py", "pre/30-rootpw.py", "pre/40-network.py", "pre/50-install.py", "pre/90-report.py",
               "post/10-guard.py", "post/20-bootbank.py", "post/90-report.py")

    def test_all_run(self):
        self.load()
        self.image_disk("naa.1", [(volumes.BASIC, volumes.Work(self).iso(drive(), "config-2"))], esp=b"x")
        self.file("vmfs/volumes/11-22/boot.cfg", b"kernelopt=\nmodules=onetime.tgz\n")  # the first try does
        for name in self.SCRIPTS:
            code, out = self.run_script(name)
            self.assertEqual(code, 0, name + out)
        for name in ("rootpw", "network", "install"):
            self.assertTrue(self.exists("tmp/" + name))

    def test_module_is_not_loaded(self):
        import shutil
        shutil.rmtree(os.path.join(self.root, "esxiimg"))
        for name in self.SCRIPTS:
            code, out = self.run_script(name)
            self.assertEqual(code, 1 if name in ("pre/30-rootpw.py", "pre/50-install.py") else 0, name + out)
            self.assertIn("not loaded", out)


if __name__ == "__main__":
    unittest.main()
