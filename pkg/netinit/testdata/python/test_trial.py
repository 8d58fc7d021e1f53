"""What metadata plan shows of the installer, and of what is broken."""
import io
import json
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "files")]

from folders import KEY, META, Folder, drive  # noqa: E402
from esxi_netinit import bootbank, main  # noqa: E402
from esxi_netinit.model import Model  # noqa: E402
from esxi_netinit.stage import Image, Refused  # noqa: E402

NICS = [{"name": "vmnic0", "mac": "00:11:22:aa:bb:cc"}, {"name": "vmnic1", "mac": "00:11:22:aa:bb:cd"}, {"name": "vmnic2", "mac": "00:11:22:aa:bb:ce"}]
BARE = {"uuid": "u"}
PASSWORD = {"uuid": "u", "admin_pass": "Canary-4711"}
KEYS = {"uuid": "u", "public_keys": {"mine": KEY}}
STOPS = "# note: installer: stops before a disk is touched, unless the image carries a hash of root's password: "


def plan(files, *options, **more):
    """(exit code, what is printed)"""
    with Folder(dict(files, nics=more.get("nics", NICS))) as folder:
        out = io.StringIO()
        code = main.main(["--plan", "--metadata", folder.path, "--nics", os.path.join(folder.path, "nics")] + list(options), "", out)
    return code, out.getvalue()


def lines(files, begin, *options):
    return [line for line in plan(files, *options)[1].splitlines() if line.startswith(begin)]


class TestInstaller(unittest.TestCase):
    def test_rootpw(self):
        digest = "$6$Canary$" + "a" * 86
        for files, want in (
            (drive(PASSWORD, None), "rootpw --iscrypted ... (from the metadata)"),
            (drive(BARE, None, user_data="password: '%s'" % digest), "rootpw --iscrypted ... (a hash from the metadata)"),
            (drive(KEYS, None), "rootpw --iscrypted ... (random, for the SSH keys, unless the image carries a hash)"),
        ):
            code, text = plan(files)
            self.assertEqual(code, 0)
            self.assertEqual([line for line in text.splitlines() if "rootpw" in line], ["# the installer: " + want])
            self.assertNotIn("Canary", text + plan(files, "--json")[1])
            self.assertNotIn("$6$", text)
            self.assertEqual(json.loads(plan(files, "--json")[1])["installer"]["rootpw"], want)

    def test_no_password(self):
        for files, options in ((drive(BARE, None), ()), (drive(KEYS, None), ("--secure-boot",)), (drive(KEYS, None, user_data="esxi: {ssh: false}"), ())):
            self.assertEqual(lines(files, "# the installer: rootpw", *options), [])
            self.assertEqual(len(lines(files, STOPS, *options)), 1)
            self.assertIsNone(json.loads(plan(files, "--json", *options)[1])["installer"]["rootpw"])

    def test_a_hash_that_is_refused(self):
        files = drive(BARE, None, user_data="password: $1$salt$" + "a" * 22)
        code, text = plan(files)
        self.assertEqual(code, 4)
        self.assertIn("\n# problem: user_data:1:$.password: is not a hash that the installer takes", text)
        self.assertIn(STOPS, text)
        self.assertNotIn("# note: user_data", text)

    def test_install(self):
        unclaimed, datastore = "stops if vSAN has claimed it)", "stops if a VMFS datastore is on it; "
        for settings, want in (
            ("", "--disk=DISK --overwritevmfs (the disk that carries the image; " + datastore + unclaimed),
            ("install_disk: image", "--disk=DISK --overwritevmfs (the disk that carries the image; " + datastore + unclaimed),
            ("install_disk: smallest, overwritevmfs: true", "--disk=DISK --overwritevmfs (the disk that is the smallest; " + unclaimed),
            ("install_disk: 'model=X Y;size=largest;min_gib=32', overwritevmfs: false",
             "--disk=DISK --preservevmfs (the disk of model X Y and of at least 32 GiB and that is the largest of those; " + unclaimed),
            ("install_disk: /vmfs/devices/disks/naa.600, overwritevsan: true",
             "--disk=naa.600 --overwritevmfs (the disk of path /vmfs/devices/disks/naa.600; " + datastore + "adds --overwritevsan if vSAN has claimed it)"),
            ("install_disk: 'firstdisk=local,usb', overwritevmfs: true", "--firstdisk=local,usb --overwritevmfs"),
        ):
            files = drive(PASSWORD, None, user_data="esxi: {%s}" % settings)
            self.assertEqual(lines(files, "# the installer: install "), ["# the installer: install " + want])
            self.assertEqual(json.loads(plan(files, "--json")[1])["installer"]["install"], "install " + want)

    def test_kernel_options(self):
        files = drive(PASSWORD, None, user_data="esxi: {kernel_options: [a=b], serial_console: true}")
        options = "a=b text nofb com1_baud=115200 com1_Port=0x3f8 tty2Port=com1 gdbPort=none logPort=none"
        self.assertEqual(lines(files, "# the installer: kernel"), ["# the installer: kernel options of the host: " + options])
        text = plan(files, "--secure-boot")[1]
        self.assertIn("# Secure Boot: there is no first boot. These kernel options are not applied:\n# not applied: kernel options of the host: %s\n" % options, text)
        self.assertNotIn("the installer: kernel", text)
        for secure in (False, True):
            told = json.loads(plan(files, "--json", *["--secure-boot"] * secure)[1])["installer"]
            self.assertEqual((told["kernel_options"], told["kernel_options_applied"]), (options.split(), not secure))
        with_steps = plan(dict(files, **drive(META, None)), "--secure-boot")[1]
        self.assertRegex(with_steps, "These [0-9]+ steps and kernel options are not applied:")
        self.assertIn("Nothing is left undone.", plan(drive(PASSWORD, None), "--secure-boot")[1])

    def test_what_is_broken_is_a_problem(self):
        code, text = plan(drive(PASSWORD, {"links": [], "networks": [{"id": "n", "link": "x", "type": "ipv4_dhcp"}], "more": 1}))
        self.assertEqual(code, 4)
        self.assertIn("# problem: network_data.json:$.networks[0].link: names no link\n", text)
        self.assertIn("# note: network_data.json:$.more: is not supported\n", text)
        self.assertEqual(text.count("names no link"), 1)

    def test_long_lines_stay_whole(self):
        files = drive(PASSWORD, None, user_data=json.dumps({"ntp": {"servers": ["n%d.%s.example.org" % (i, "a" * 60) for i in range(10)]}}))
        self.assertIn("n9." + "a" * 60, plan(files)[1])


class TestDocument(unittest.TestCase):
    def test_examples(self):
        """docs/host.md shows what the program prints."""
        with io.open(os.path.join(HERE, "..", "..", "..", "..", "docs", "host.md"), encoding="utf-8") as f:
            text = f.read()
        blocks = re.findall(r"```(json|yaml|)\n(.*?)```", text, re.DOTALL)
        nics, meta, network = [body for kind, body in blocks if kind == "json"]
        config, user, lab = [body for kind, body in blocks if kind == "yaml"]
        for name, files in (
            ("ironic", {"openstack/latest/meta_data.json": meta, "openstack/latest/network_data.json": network}),
            ("nocloud", {"meta-data": '{"instance-id": "esx2-1", "local-hostname": "esx2.example.org"}', "network-config": config, "user-data": user}),
            ("lab", {"meta-data": "instance-id: lab-1\n", "user-data": lab}),
        ):
            self.assertEqual(plan(files, nics=json.loads(nics)), (0, re.search("metadata plan %s --nics nics.json`:\n\n```\n(.*?)```" % name, text, re.DOTALL).group(1)))


class TestImage(unittest.TestCase):
    def test_serial_console(self):
        """The image's own, unless the host's metadata says otherwise."""
        for image, own, want in ((None, None, False), (True, None, True), (False, True, True), (True, False, False)):
            found = Image({"version": 1, "serial_console": image, "kernelopts": ["a=b"]})
            one = Model()
            one.serial_console = own
            self.assertEqual(bootbank.kernel_options(one, found), ["a=b"] + list(bootbank.SERIAL_CONSOLE) * want)
        self.assertRaises(Refused, Image, {"version": 1, "serial_console": "x"})


if __name__ == "__main__":
    unittest.main()
