"""Unit tests of the Python that runs on the host. No test needs more than
Python 3.5, so that they run under the oldest at hand."""
import contextlib
import gzip
import importlib.util
import io
import json
import os
import shlex
import shutil
import stat
import sys
import tarfile
import tempfile
import unittest

FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "files")
sys.dont_write_bytecode = True
sys.path.insert(0, FILES)

from esxi_netinit import bootbank, host, main, metadata  # noqa: E402

CANARY = "Canary-4711"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@example"
KEY2 = "ssh-rsa AAAAB3NzaC1yc2E="


def script(name):
    spec = importlib.util.spec_from_file_location("script", os.path.join(FILES, name))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Root(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)

    def file(self, path, data=b""):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode("utf-8"))
        return full

    def read(self, path):
        with open(os.path.join(self.root, path), "rb") as f:
            return f.read()

    def quiet(self, function, *args):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            result = function(*args)
        self.assertNotIn(CANARY, out.getvalue())
        return result, out.getvalue()


class RootPassword(Root):
    def setUp(self):
        super().setUp()
        self.script = script("pre/30-rootpw.py")
        self.script.META_DATA = os.path.join(self.root, "meta_data.json")
        self.script.TARGET = os.path.join(self.root, "rootpw")

    def run_with(self, text):
        self.file("meta_data.json", text)
        return self.quiet(self.script.main)

    def test_installer_reads_it_exactly(self):
        for password in ("simple", "it's", 'say "x"', "a b  c", "#1!", "x#y", "\\", "\\n", "$HOME `id` $(id)", "'", "''", "'\"'", "-x", "--iscryptedx", "a=b", " lead", "Küche", "💾", "%s{}", "x" * 255):
            code, out = self.run_with(json.dumps({"admin_pass": password}))
            self.assertEqual(code, 0, out)
            line = self.read("rootpw").decode("utf-8")
            self.assertEqual(line.count("\n"), 1)
            self.assertEqual(shlex.split(line, True), ["rootpw", password])
            if len(password) > 4:
                self.assertNotIn(password, out)
            os.remove(self.script.TARGET)

    def test_readable_by_root_alone(self):
        self.run_with(json.dumps({"admin_pass": CANARY}))
        self.assertEqual(stat.S_IMODE(os.stat(self.script.TARGET).st_mode), 0o600)

    def test_refused(self):
        for text, reason in (
            ("{}", "no admin_pass"),
            ('{"admin_pass": null}', "no admin_pass"),
            ('{"admin_pass": ""}', "no admin_pass"),
            ('{"admin_pass": 12345}', "not a text"),
            ('{"admin_pass": ["' + CANARY + '"]}', "not a text"),
            (json.dumps({"admin_pass": CANARY + "\nreboot"}), "control character"),
            (json.dumps({"admin_pass": CANARY + "\r"}), "control character"),
            (json.dumps({"admin_pass": CANARY + "\x00"}), "control character"),
            (json.dumps({"admin_pass": CANARY + "\u2028"}), "control character"),
            (json.dumps({"admin_pass": CANARY + "\ud800"}), "surrogate"),
            (json.dumps({"admin_pass": "x" * 256}), "more than 255"),
            (json.dumps({"admin_pass": "--iscrypted"}), "option"),
            (json.dumps({"admin_pass": "--iscrypted=" + CANARY}), "option"),
            ('{"admin_pass": "' + CANARY, "not JSON"),
            ('["' + CANARY + '"]', "not a JSON object"),
            ("[" * 100000, "not JSON"),
            ("", "not JSON"),
            ("x" * (1 << 20) + "y", "more than"),
            (b"\xff\xfe", "not JSON"),
        ):
            code, out = self.run_with(text)
            self.assertEqual(code, 1, text[:60])
            self.assertIn(reason, out)
            self.assertIn("no disk was touched", out)
            self.assertFalse(os.path.exists(self.script.TARGET), text[:60])

    def test_no_metadata(self):
        code, out = self.quiet(self.script.main)
        self.assertEqual(code, 1)
        self.assertIn("there is no metadata", out)

    def test_earlier_command_is_kept(self):
        self.file("rootpw", "# c\nrootpw x\n")
        self.assertEqual(self.run_with("{}")[0], 0)
        self.assertEqual(self.read("rootpw"), b"# c\nrootpw x\n")

    def test_placeholder_is_replaced(self):
        self.file("rootpw", "# no root password yet\n")
        self.assertEqual(self.run_with(json.dumps({"admin_pass": CANARY}))[0], 0)
        self.assertIn(CANARY.encode(), self.read("rootpw"))

    def test_link_is_not_followed(self):
        victim = self.file("victim", "untouched")
        os.symlink(victim, os.path.join(self.root, "rootpw.part"))
        self.run_with(json.dumps({"admin_pass": CANARY}))
        self.assertEqual(self.read("victim"), b"untouched")


class Model(Root):
    def model(self, data):
        self.file("openstack/latest/meta_data.json", data if isinstance(data, (str, bytes)) else json.dumps(data))
        return metadata.model(self.root)

    def test_allowed_only(self):
        model, notes = self.model(
            {"hostname": "h.example.org", "admin_pass": CANARY, "meta": {"admin_pass": CANARY}, "random_seed": CANARY, "public_keys": {"b": KEY2, "a": KEY + "\n"}, "keys": [{"type": "ssh", "data": KEY}, {"type": "x509", "data": CANARY}]}
        )
        self.assertEqual(model, {"version": 1, "hostname": "h.example.org", "ssh_keys": [KEY, KEY2]})
        self.assertEqual(notes, [])

    def test_nothing(self):
        empty = {"version": 1, "hostname": "", "ssh_keys": []}
        self.assertEqual(metadata.model(self.root), (empty, []))
        for text in ("", "{}", '{"hostname": null, "public_keys": null, "keys": null}'):
            self.assertEqual(self.model(text), (empty, []))

    def test_wrong_types_are_said(self):
        model, notes = self.model({"hostname": ["x"], "name": "ok", "public_keys": [KEY], "keys": {"x": KEY}})
        self.assertEqual(model["hostname"], "ok")
        self.assertEqual(model["ssh_keys"], [])
        self.assertEqual(len(notes), 3)

    def test_any_json_is_taken(self):
        for value in (None, 1, -1.5, True, "", "x", [], [1], {}, {"a": 1}, {"data": None}, [{"data": 1}], [[]], {"k": None}):
            for field in ("hostname", "name", "public_keys", "keys"):
                self.model({field: value})

    def test_broken(self):
        for text in ("[]", "{", b"\xff", "[" * 100000, "x" * (metadata.MAX_FILE + 1)):
            self.assertRaises(metadata.Refused, self.model, text)

    def test_host_names(self):
        for name in ("a", "a.b", "a.b.", "1-2", "x" * 63, "A"):
            self.assertTrue(metadata.is_host_name(name), name)
        for name in ("", ".", "a..b", "-a", "a-", "a_b", "a b", "x" * 64, "a.b..", "ü", "a\n", "a;b", None, 1, ".".join(["x" * 60] * 5)):
            self.assertFalse(metadata.is_host_name(name), name)

    def test_keys(self):
        for key in ("", "ssh-rsa", "AAAA", "ssh-rsa AA$AA", "ssh-rsa AAAA\nx", 'command="x" ssh-rsa AAAA', "ssh-rsa AAAA \x07", "ssh-rsa " + "A" * 20000, None, 1):
            self.assertIsNone(metadata.ssh_key(key), key)
        self.assertEqual(metadata.ssh_key(" " + KEY + " "), KEY)

    def test_many_keys(self):
        model, notes = self.model({"public_keys": dict((str(i), "ssh-rsa A%d" % i) for i in range(100))})
        self.assertEqual(len(model["ssh_keys"]), metadata.MAX_KEYS)
        self.assertEqual(len(notes), 1)


BOOT_CFG = b"bootstate=0\r\nkernel=b.b00\r\nmodules=jumpstrt.gz --- imgdb.tgz --- state.tgz --- onetime.tgz\r\nbuild=8.0.2\r\n"


class BootBank(Root):
    def setUp(self):
        super().setUp()
        self.secure_boot("Disabled")
        self.file("vmfs/volumes/11-22/boot.cfg", BOOT_CFG)
        os.symlink("11-22", os.path.join(self.root, "vmfs/volumes/BOOTBANK1"))
        self.file("tardisks/esxiimg.tgz", b"a tar, unpacked")
        self.file("tmp/config-2/openstack/latest/meta_data.json", json.dumps({"hostname": "h", "admin_pass": CANARY}))

    def secure_boot(self, answer):
        self.file(bootbank.SECURE_BOOT[1:], "print(%r)" % answer)

    def bank(self):
        return sorted(os.listdir(os.path.join(self.root, "vmfs/volumes/11-22")))

    def run_it(self):
        return self.quiet(bootbank.main, self.root)

    def unchanged(self, reason):
        done, out = self.run_it()
        self.assertFalse(done)
        self.assertIn(reason, out)
        self.assertEqual(self.bank(), ["boot.cfg"])
        self.assertEqual(self.read("vmfs/volumes/11-22/boot.cfg"), BOOT_CFG)

    def test_modules_are_added(self):
        for _ in range(2):
            done, out = self.run_it()
            self.assertTrue(done, out)
            self.assertEqual(self.bank(), ["boot.cfg", "esxiimg.tgz", "esximeta.tgz"])
            got = self.read("vmfs/volumes/11-22/boot.cfg")
            self.assertEqual(got, BOOT_CFG.replace(b"onetime.tgz", b"onetime.tgz --- esxiimg.tgz --- esximeta.tgz"))
        # What the first boot does to it.
        self.assertIn(b"state.tgz --- esxiimg.tgz", got.replace(b" --- onetime.tgz", b""))
        self.assertEqual(gzip.decompress(self.read("vmfs/volumes/11-22/esxiimg.tgz")), b"a tar, unpacked")

    def test_metadata_module(self):
        self.run_it()
        raw = self.read("vmfs/volumes/11-22/esximeta.tgz")
        self.assertEqual(raw[:4], b"\x1f\x8b\x08\x00")
        data = gzip.decompress(raw)
        self.assertNotIn(CANARY.encode(), data)
        self.assertEqual(data[257:265], b"ustar  \0")
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            self.assertEqual([(m.name, m.isdir(), m.mode, m.uid, m.uname, m.mtime) for m in tar], [("esximeta", True, 0o755, 0, "", 0), ("esximeta/model.json", False, 0o644, 0, "", 0)])
            self.assertEqual(json.loads(tar.extractfile("esximeta/model.json").read().decode())["hostname"], "h")
        self.assertTrue(data.startswith(b"esximeta/\0"))

    def test_packed_module_stays(self):
        self.file("tardisks/esxiimg.tgz", gzip.compress(b"x"))
        self.run_it()
        self.assertEqual(self.read("vmfs/volumes/11-22/esxiimg.tgz"), self.read("tardisks/esxiimg.tgz"))

    def test_secure_boot(self):
        for answer in ("Enabled", "Secure Boot: ENABLED", "", "what", "Disabled, but Enabled later"):
            self.secure_boot(answer)
            self.unchanged("Secure Boot")
        self.file(bootbank.SECURE_BOOT[1:], "print('Disabled'); raise SystemExit(1)")
        self.unchanged("Secure Boot")
        os.remove(os.path.join(self.root, bootbank.SECURE_BOOT[1:]))
        self.unchanged("Secure Boot")

    def test_old_esxi_on_another_disk(self):
        self.file("vmfs/volumes/00-01/boot.cfg", BOOT_CFG.replace(b" --- onetime.tgz", b""))
        self.file("vmfs/volumes/99-01/boot.cfg", b"nothing")
        self.assertTrue(self.run_it()[0])
        self.assertIn("boot.cfg", self.bank())
        self.assertEqual(os.listdir(os.path.join(self.root, "vmfs/volumes/00-01")), ["boot.cfg"])

    def test_two_new_banks(self):
        self.file("vmfs/volumes/00-01/boot.cfg", BOOT_CFG)
        self.unchanged("2 boot banks")

    def test_no_bank(self):
        shutil.rmtree(os.path.join(self.root, "vmfs/volumes/11-22"))
        done, out = self.run_it()
        self.assertFalse(done)
        self.assertIn("0 boot banks", out)

    def test_many_modules(self):
        global BOOT_CFG
        before = BOOT_CFG
        try:
            BOOT_CFG = b"modules=" + b" --- ".join(b"m%d.v00" % i for i in range(198)) + b" --- onetime.tgz\n"
            self.file("vmfs/volumes/11-22/boot.cfg", BOOT_CFG)
            self.unchanged("more than 200")
        finally:
            BOOT_CFG = before

    def test_broken_metadata(self):
        self.file("tmp/config-2/openstack/latest/meta_data.json", '{"admin_pass": "' + CANARY)
        done, out = self.run_it()
        self.assertFalse(done)
        self.assertEqual(self.read("vmfs/volumes/11-22/boot.cfg"), BOOT_CFG)

    def test_no_module(self):
        os.remove(os.path.join(self.root, "tardisks/esxiimg.tgz"))
        self.unchanged("No such file")

    def test_full_bank(self):
        def full(out):
            out.write(b"x")
            raise OSError(28, "No space left on device")

        path = os.path.join(self.root, "vmfs/volumes/11-22/esxiimg.tgz")
        self.assertRaises(OSError, bootbank.write, path, full)
        self.assertEqual(self.bank(), ["boot.cfg"])

    def test_last_modules_line_counts(self):
        text = b"modules=a.b00\nMODULES=b.b00 arg --- /x/onetime.tgz"
        self.assertEqual(bootbank.modules(text), [b"b.b00", b"onetime.tgz"])
        self.assertEqual(bootbank.add_modules(text, ["c.tgz"]), text + b" --- c.tgz")


class FakeHost(object):
    """Runs commands: each fails as often as told first."""

    def __init__(self, failing=()):
        self.failing = dict(failing)
        self.calls = []
        self.now = 0

    def run(self, args):
        self.calls.append(" ".join(args))
        for name in self.failing:
            if name in self.calls[-1] and self.failing[name] > 0:
                self.failing[name] -= 1
                return 1, "busy"
        return 0, ""

    def sleep(self, seconds):
        self.now += seconds

    def clock(self):
        return self.now


class FirstBoot(Root):
    MODEL = {"version": 1, "hostname": "h.example.org", "ssh_keys": [KEY, KEY2]}

    def apply(self, fake, model=None):
        said = []
        real = host.Host(self.root, fake.run, fake.sleep, fake.clock)
        failed = main.apply(real, main.steps(self.MODEL if model is None else model), said.append)
        return failed, said

    def test_all(self):
        fake = FakeHost()
        self.assertEqual(self.apply(fake)[0], [])
        self.assertEqual(
            fake.calls,
            ["vim-cmd hostsvc/runtimeinfo", "esxcli system hostname set --fqdn=h.example.org", "vim-cmd hostsvc/enable_ssh", "vim-cmd hostsvc/start_ssh", self.root + "/sbin/auto-backup.sh"],
        )
        path = os.path.join(self.root, "etc/ssh/keys-root/authorized_keys")
        self.assertEqual(self.read("etc/ssh/keys-root/authorized_keys").decode(), KEY + "\n" + KEY2 + "\n")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_twice_and_with_other_keys(self):
        path = self.file("etc/ssh/keys-root/authorized_keys", b"# \xff\n" + KEY2.encode())
        os.chmod(path, 0o644)
        for _ in range(2):
            self.apply(FakeHost())
            self.assertEqual(self.read("etc/ssh/keys-root/authorized_keys"), b"# \xff\n" + (KEY2 + "\n" + KEY + "\n").encode())
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_fails_twice_then_works(self):
        fake = FakeHost({"hostname": 2, "runtimeinfo": 3, "start_ssh": host.TRIES - 1})
        self.assertEqual(self.apply(fake)[0], [])
        self.assertEqual(len([c for c in fake.calls if "hostname" in c]), 3)

    def test_never_works(self):
        fake = FakeHost({"hostname": 1000})
        failed, said = self.apply(fake)
        self.assertEqual(failed, ["host name h.example.org"])
        self.assertIn(self.root + "/sbin/auto-backup.sh", fake.calls)
        self.assertTrue(any("FAILED" in line for line in said))

    def test_hostd_never_comes(self):
        fake = FakeHost({"runtimeinfo": 10 ** 6})
        self.assertEqual(self.apply(fake)[0], [])
        self.assertLess(fake.now, host.HOSTD_SECONDS + 60)

    def test_short_name(self):
        fake = FakeHost()
        self.apply(fake, {"hostname": "h"})
        self.assertIn("esxcli system hostname set --host=h", fake.calls)
        self.assertFalse(any("ssh" in call for call in fake.calls))

    def test_bad_model(self):
        for model in ({}, {"hostname": "x;y"}, {"hostname": 1, "ssh_keys": "x"}, {"ssh_keys": [1, "x\ny"]}):
            self.assertEqual(main.steps(model), [])

    def test_commands_really_run(self):
        self.assertEqual(host.run_command((sys.executable, "-c", "print(1)")), (0, "1\n"))
        self.assertEqual(host.run_command(("/no/such/program",))[0], 127)
        before, host.COMMAND_SECONDS = host.COMMAND_SECONDS, 0.2
        try:
            self.assertEqual(host.run_command((sys.executable, "-c", "import time; time.sleep(60)"))[0], 124)
        finally:
            host.COMMAND_SECONDS = before

    def test_no_model(self):
        self.assertEqual(self.quiet(main.main, self.root)[0], 0)
        self.file("esximeta/model.json", "{")
        self.assertEqual(self.quiet(main.main, self.root)[0], 1)


if __name__ == "__main__":
    unittest.main()
