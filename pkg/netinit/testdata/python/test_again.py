"""A first boot that did not end, and a host whose root password nobody knows."""
import gzip
import io
import json
import os
import subprocess
import tarfile
import unittest

import modelled
from modelled import BOOT_CFG, KEY, KEY2, cards, link, mac, model, net4
from esxi_netinit import access, actions, again, bootbank, finish, main, plan as planning

WIRE = {"0": {"gateways": ["10.0.0.1"]}}
LEFT = BOOT_CFG.replace(b" --- esxiimg.tgz --- esximeta.tgz", b"")
SCRIPTS = "var/lib/vmware/firstboot/"
OWN, USER, END = b"python /esxiimg/esxi_netinit/main.py\n", b"echo user\n", b"python /esxiimg/esxi_netinit/main.py --finish\n"


class PowerFails(BaseException):
    pass


class Base(modelled.FirstBoot):
    def start(self, fail=(), random=False, log=(), notes=(), scripts=True, **more):
        more.setdefault("ssh_keys", [KEY])
        more.setdefault("ssh", {"enable": True})
        self.wanted = model([link("p0", mac(0))], [net4("m", "p0", "10.0.0.5/24", "10.0.0.1")], hostname="h", **more)
        self.boot_bank(self.wanted)
        self.file("esxiimg/metadata/installer.json", json.dumps({"version": 1, "random_password": random, "log": list(log), "notes": list(notes)}))
        for name, text in (("001.early", USER), ("002.ours", OWN), ("003.user", USER), ("004.end", END)) if scripts else ():
            self.file(SCRIPTS + name, text)
        self.fake = self.modelled(self.wanted, cards(1), {0: WIRE}, fail=fail)

    def mend(self):
        self.fake.state.data["fail"] = []

    def configure(self):
        return main.configure(self.fake.esx_host())

    def end(self):
        return main.end(self.fake.esx_host())

    def bank(self):
        return sorted(os.listdir(os.path.join(self.root, "bootbank")))

    def config(self):
        return self.read("bootbank/boot.cfg")

    def record(self):
        return json.loads(self.read("bootbank/esxiimg.jsn").decode())

    def journal(self):
        return json.loads(self.read("var/log/esxi-img.json").decode())

    def events(self):
        return "\n".join(event["text"] for event in self.journal()["events"])

    def onetime(self):
        """What the next boot would run."""
        data = gzip.decompress(self.read("bootbank/onetime.tgz"))
        self.assertEqual(data[257:265], b"ustar  \0")
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return [entry.name[len(SCRIPTS):] for entry in tar if entry.isreg()]

    def esxi_boots(self):
        """ESXi takes onetime.tgz off again before it runs the scripts."""
        self.file("bootbank/boot.cfg", self.config().replace(b" --- onetime.tgz", b""))
        if os.path.exists(os.path.join(self.root, "bootbank/onetime.tgz")):
            os.remove(os.path.join(self.root, "bootbank/onetime.tgz"))


class Again(Base):
    def power_fails_at(self, words):
        real = self.fake.run

        def run(argv, seconds=0):
            if words in " ".join(argv):
                raise PowerFails()
            return real(argv, seconds)

        self.fake.run = run
        self.assertRaises(PowerFails, self.configure)
        self.fake.run = real

    def test_power_fails(self):
        self.start()
        self.power_fails_at("enable_ssh")
        self.assertEqual(self.config(), BOOT_CFG.replace(b"\r\nbuild", b" --- onetime.tgz\r\nbuild"))
        # The user's that come after ours have not begun, the others have.
        self.assertEqual(self.onetime(), ["002.ours", "003.user", "004.end"])
        self.esxi_boots()
        self.assertEqual((self.configure(), self.end()), (0, 0))
        self.assertEqual((self.config(), self.bank()), (LEFT, ["boot.cfg", "esxiimg.jsn"]))
        self.assertEqual(len(self.fake.seen("reboots")), 1)
        self.assertEqual(self.record()["result"], "ok")

    def test_power_fails_in_a_script_of_the_users(self):
        self.start()
        self.configure()
        self.assertEqual(self.onetime(), ["002.ours", "004.end"])
        self.esxi_boots()
        self.configure()
        self.assertEqual(self.end(), 0)
        self.assertEqual(self.config(), LEFT)

    def test_only_scripts(self):
        """What else the installer's own holds is not loaded once more."""
        self.start()
        self.file("tardisks/onetime.tgz", "Canary-4711")
        self.file("var/lib/vmware/other", "Canary-4711")
        os.symlink(os.path.join(self.root, "var/lib/vmware/other"), os.path.join(self.root, SCRIPTS, "003.link"))
        self.assertEqual(sorted(again.scripts(self.root, False)), [SCRIPTS + name for name in ("002.ours", "003.user", "004.end")])
        self.configure()
        self.assertNotIn(b"4711", gzip.decompress(self.read("bootbank/onetime.tgz")))

    def test_scripts_are_elsewhere(self):
        self.start(scripts=False)
        self.assertEqual((self.configure(), self.end()), (0, 0))
        self.assertIn("no other begins it again", self.events())
        self.assertEqual(self.config(), LEFT)

    def test_no_more_than_three(self):
        """And then it is given up, without a reboot."""
        self.start()
        for _ in range(finish.MAX_RUNS):
            self.power_fails_at("enable_ssh")
            self.assertIn(b"onetime", self.config())
            self.esxi_boots()
        self.assertEqual(self.configure(), 1)
        self.assertNotIn(b"onetime", self.config())
        self.assertEqual(self.end(), 1)
        self.assertEqual((self.config(), self.bank()), (LEFT, ["boot.cfg", "esxiimg.jsn"]))
        self.assertEqual(self.fake.seen("reboots"), [])
        self.assertEqual(self.record()["result"], "failed")

    def test_not_without_counting(self):
        """What can't be counted is not begun again for ever."""
        self.start()
        self.file("bootbank/esxiimg.new/x")
        self.assertEqual(self.configure(), 0)
        self.assertNotIn(b"onetime", self.config())
        self.assertEqual(self.end(), 1)
        self.assertEqual(self.journal()["result"], "ok")
        self.assertEqual(self.fake.seen("reboots"), [])

    def test_the_users_commands_once(self):
        """Also where one of them is what ends the boot."""
        commands = [{"argv": ["hostname"]}, {"argv": ["reboot"]}, {"argv": ["hostname", "-f"]}]
        self.start(commands=commands)
        real, lost = self.fake.run, [False]

        def run(argv, seconds=0):
            if argv == ["reboot"] and not lost[0]:
                lost[0] = True
                raise PowerFails()
            return real(argv, seconds)

        self.fake.run = run
        self.assertRaises(PowerFails, self.configure)
        self.esxi_boots()
        self.assertEqual(self.configure(), 1)
        calls = [c for c in self.fake.calls if c[0] in ("hostname", "reboot")]
        self.assertEqual(calls, [["hostname"], ["hostname", "-f"]])
        results = dict((step["id"], step["result"]) for step in self.journal()["steps"])
        self.assertEqual((results["run:0"], results["run:1"], results["run:2"]), ("already", "skipped", "done"))
        self.end()
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def test_a_report_of_another_boot(self):
        """It does not pass for the one of this."""
        self.start()
        self.configure()
        self.esxi_boots()
        self.power_fails_at("runtimeinfo")
        self.end()
        self.assertEqual(self.record()["result"], "failed")

    def test_a_boot_without_a_report(self):
        self.start()
        self.configure()
        self.esxi_boots()
        real = finish.arm
        self.addCleanup(setattr, finish, "arm", real)
        finish.arm = lambda root, begun: (_ for _ in ()).throw(PowerFails())
        self.assertRaises(PowerFails, self.configure)
        self.assertEqual(self.journal()["result"], "ok")
        self.end()
        self.assertEqual(self.record()["result"], "failed")

    def test_state_that_can_not_be_saved(self):
        """A reboot would lose the network and the keys."""
        self.start(fail=[{"match": "backup.sh", "times": -1}])
        self.configure()
        self.assertEqual(self.end(), 1)
        self.assertEqual(self.fake.seen("reboots"), [])
        self.assertEqual(self.bank(), ["boot.cfg", "esxiimg.jsn", "esxiimg.tgz", "esximeta.tgz", "onetime.tgz"])
        self.assertIsNone(self.record()["finished"])
        self.assertIn("the next boot tries again", self.events())
        self.mend()
        self.esxi_boots()
        self.assertEqual((self.configure(), self.end()), (0, 0))
        self.assertEqual((self.config(), len(self.fake.seen("reboots"))), (LEFT, 1))

    def test_one_way_to_save_is_enough(self):
        self.start(fail=[{"match": "auto-backup.sh", "times": -1}])
        self.configure()
        self.end()
        self.assertEqual((self.config(), len(self.fake.seen("reboots"))), (LEFT, 1))

    def test_mistake_in_the_network_plan(self):
        """Keys and SSH are set up all the same, and no network step is left."""
        self.start()
        real = planning.netplan.network_steps

        def wrong(model, state, plan):
            real(model, state, plan)
            plan.add("management", "x", "x", ("esxcli", "network", "vswitch", "standard", "remove", "--vswitch-name", "vSwitch0"))
            raise KeyError("Canary-4711")

        self.addCleanup(setattr, planning.netplan, "network_steps", real)
        planning.netplan.network_steps = wrong
        self.assertEqual(self.configure(), 1)
        self.assertTrue(self.fake.reachable())
        self.assertTrue(self.fake.host["ssh"]["running"])
        self.assertEqual([c for c in self.fake.calls if "remove" in c], [])
        self.assertNotIn("4711", "\n".join(self.said))

    def test_mistake_in_a_stage(self):
        """Half of management is taken back; the others have their turn."""
        self.start()
        real = main.Apply.verify
        self.addCleanup(setattr, main.Apply, "verify", real)
        before = modelled.saved(self.fake)

        def wrong(apply, steps):
            apply.step(planning.Plan().add("management", "x", "x", ("esxcli", "network", "ip", "interface", "ipv4", "set", "--interface-name", "vmk0", "--type=dhcp")))
            apply.changed.update(step.id for step in steps)
            raise KeyError("Canary-4711")

        main.Apply.verify = wrong
        self.assertEqual(self.configure(), 1)
        for key in ("type", "address", "netmask"):
            self.assertEqual(self.fake.host["vmks"]["vmk0"]["ipv4"][key], before["vmks"]["vmk0"]["ipv4"][key])
        self.assertTrue(self.fake.reachable())
        self.assertEqual(self.fake.host["certificate"], "h")
        self.assertNotIn("4711", "\n".join(self.said))

    def test_mistake_anywhere(self):
        self.start()
        real = main.configure
        self.addCleanup(setattr, main, "configure", real)
        main.configure = lambda host: {}["Canary-4711"]
        self.assertEqual(main.main([], self.root), 1)
        self.assertIn("KeyError in test_again.py", "\n".join(self.said))
        self.assertNotIn("4711", "\n".join(self.said))

    def test_odd_answers(self):
        """As if the host had said nothing."""
        self.start()
        real = main.esx.read_network
        self.addCleanup(setattr, main.esx, "read_network", real)
        main.esx.read_network = lambda host, state: {}["Canary-4711"]
        self.assertEqual(self.configure(), 1)
        self.assertTrue(self.fake.host["ssh"]["running"])
        self.assertTrue(self.fake.reachable())


class NobodyKnows(Base):
    def keys_fail(self, times=10 ** 6):
        left, real = [times], actions.ssh_keys

        def fails(host, keys, seconds):
            left[0] -= 1
            return (1, "no") if left[0] >= 0 else real(host, keys, seconds)

        self.addCleanup(actions.ACTIONS.update, {"ssh-keys": real})
        actions.ACTIONS["ssh-keys"] = fails

    def locked(self):
        """Not done: everything stays, and nothing of ours reboots."""
        self.assertEqual(self.end(), 1)
        self.assertEqual(self.bank(), ["boot.cfg", "esxiimg.jsn", "esxiimg.tgz", "esximeta.tgz", "onetime.tgz"])
        self.assertEqual(self.fake.seen("reboots"), [])
        self.assertIsNone(self.record()["finished"])
        self.assertEqual(self.record()["result"], "failed")
        self.assertIn("NOT DONE: nobody could log in", self.events())
        self.assertIn("saved", self.fake.state.data)

    def test_keys_fail_and_then_not(self):
        self.start(random=True)
        self.keys_fail(2)
        self.assertEqual(self.configure(), 1)
        self.locked()
        self.esxi_boots()
        self.assertEqual((self.configure(), self.end()), (0, 0))
        self.assertEqual((self.config(), len(self.fake.seen("reboots"))), (LEFT, 1))

    def test_ssh_fails(self):
        for command in ("enable_ssh", "start_ssh"):
            self.start(random=True, fail=[{"match": command, "times": -1}])
            self.configure()
            self.locked()
            self.mend()
            self.esxi_boots()
            self.configure()
            self.assertEqual(self.end(), 0)
            os.remove(os.path.join(self.root, "bootbank/esxiimg.jsn"))

    def test_a_known_password(self):
        self.start(random=False)
        self.keys_fail()
        self.assertEqual(self.configure(), 1)
        self.assertEqual(self.end(), 0)
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def test_as_often_as_it_takes(self):
        """Beyond three boots only what lets somebody in is tried."""
        self.start(random=True, commands=[{"argv": ["hostname"]}])
        self.keys_fail(2 * finish.MAX_RUNS + 2)
        for _ in range(finish.MAX_RUNS + 1):
            self.configure()
            self.locked()
            calls = len(self.fake.calls)
            self.esxi_boots()
        self.assertEqual(self.configure(), 0)
        changing = [c for c in self.fake.calls[calls:] if not {"list", "get", "hostsvc/runtimeinfo"} & set(c)]
        self.assertEqual(changing, [["vim-cmd", "hostsvc/enable_ssh"], ["vim-cmd", "hostsvc/start_ssh"]])
        self.end()
        self.assertEqual((self.config(), self.fake.seen("reboots")), (LEFT, []))

    def test_no_model(self):
        """The keys are there by the kickstart's own script."""
        for text in (None, "{"):
            self.start(random=True)
            path = self.file("esxiimg/metadata/model.json", text or "")
            if text is None:
                os.remove(path)
            self.configure()
            self.assertTrue(self.fake.host["ssh"]["running"])
            self.assertEqual(any(p["path"] == main.MODEL for p in self.journal()["problems"]), text is not None)
            self.locked()
            self.file("etc/ssh/keys-root/authorized_keys", "# x\n" + KEY + "\n")
            self.esxi_boots()
            self.configure()
            self.end()
            self.assertNotIn(b"onetime", self.config())
            self.assertEqual(self.fake.seen("reboots"), [])
            for name in ("bootbank/esxiimg.jsn", "etc/ssh/keys-root/authorized_keys"):
                os.remove(os.path.join(self.root, name))

    def test_only_our_own_word(self):
        """The step says that it has worked, and there is no key."""
        self.start(random=True)
        self.addCleanup(actions.ACTIONS.update, {"ssh-keys": actions.ssh_keys})
        actions.ACTIONS["ssh-keys"] = lambda host, keys, seconds: (0, "")
        self.configure()
        self.locked()


class Script(modelled.FirstBoot):
    """The section of the kickstart, in busybox's shell."""

    def setUp(self):
        super().setUp()
        self.bin = os.path.join(self.root, "bin")
        for name, code in (("logger", 0), ("vim-cmd", 0), ("chkconfig", 0), ("sleep", 0)):
            self.program("bin/" + name, code)
        self.program("sbin/auto-backup.sh", 0)
        self.program("etc/init.d/SSH", 0)
        for applet in ("mkdir", "tail", "grep", "chmod", "cat"):
            os.symlink("/bin/busybox", os.path.join(self.bin, applet))

    def program(self, name, code):
        os.chmod(self.file(name, "#!/bin/sh\necho %s \"$@\" >>%s/calls\nexit %d\n" % (os.path.basename(name), self.root, code)), 0o755)

    def run_script(self, *keys):
        header, _, body = access.script(keys).partition("\n")
        self.assertEqual(header, "%firstboot --interpreter=busybox")
        for line in body.splitlines():
            self.assertFalse(line.startswith(("%", "include")), line)
        path = self.file("script", body)
        # busybox runs its own sleep before it looks at PATH.
        self.file("script", "sleep() { echo sleep >>%s/calls; }\n" % self.root + body)
        process = subprocess.Popen(["/bin/busybox", "ash", path], env={"PATH": self.bin, "ESXI_ROOT": self.root}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out = process.communicate(timeout=60)[0].decode()
        self.assertEqual((process.returncode, out), (0, ""))
        calls = os.path.join(self.root, "calls")
        return self.read("calls").decode().splitlines() if os.path.exists(calls) else []

    def keys(self):
        path = os.path.join(self.root, "etc/ssh/keys-root/authorized_keys")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        return self.read("etc/ssh/keys-root/authorized_keys").decode().splitlines()

    def test_alone(self):
        odd = "ssh-rsa';reboot;' AAAA it's \"$HOME\" `x` \\"
        calls = self.run_script(KEY, odd)
        self.assertEqual(self.keys(), [KEY, odd])
        self.assertEqual([c for c in calls if not c.startswith("logger")], ["vim-cmd hostsvc/enable_ssh", "vim-cmd hostsvc/start_ssh", "auto-backup.sh"])

    def test_keys_that_are_there(self):
        self.file("etc/ssh/keys-root/authorized_keys", KEY2)
        for _ in range(2):
            self.run_script(KEY, KEY2)
            self.assertEqual(self.keys(), [KEY2, KEY])

    def test_mark(self):
        """ESXi keeps a file by its sticky bit, and by being the same file."""
        from esxi_netinit import ssh
        path = self.file("etc/ssh/keys-root/authorized_keys")
        os.chmod(path, 0o1644)
        before = os.stat(path).st_ino
        self.run_script(KEY)
        os.chmod(path, 0o1644)
        ssh.authorize(self.root, [KEY2])
        self.assertEqual((os.stat(path).st_ino, os.stat(path).st_mode & 0o7777), (before, 0o1600))
        host = type("Host", (), {"root": self.root})
        actions.write_file(host, {"path": "/etc/ssh/keys-root/authorized_keys", "mode": "0640", "content_b64": ""}, 0)
        self.assertEqual((os.stat(path).st_ino, os.stat(path).st_mode & 0o7777), (before, 0o1640))

    def test_part_of_another_key(self):
        self.file("etc/ssh/keys-root/authorized_keys", KEY + "x\n")
        self.run_script(KEY)
        self.assertEqual(self.keys(), [KEY + "x", KEY])

    def test_beside_our_module(self):
        self.file("esxiimg/esxi_netinit/main.py")
        self.assertEqual(self.run_script(KEY), [])
        self.assertEqual(self.keys(), [KEY])

    def test_without_hostd(self):
        self.program("bin/vim-cmd", 1)
        calls = self.run_script(KEY)
        self.assertEqual([c for c in calls if not c.startswith(("logger", "vim-cmd", "sleep"))], ["chkconfig SSH on", "SSH start", "auto-backup.sh"])
        self.assertEqual(calls.count("sleep"), 59)


class Logs(Base):
    def test_copied(self):
        self.start(log=["2024-01-01T00:00:00Z metadata found"], notes=["metadata: x", "the second disk"])
        os.makedirs(os.path.join(self.root, "scratch/log"))
        self.configure()
        self.assertEqual(self.read("var/log/esxi-img-installer.log"), b"2024-01-01T00:00:00Z metadata found\n")
        # What the metadata's own notes say is in the model.
        self.assertEqual([n for n in self.journal()["notes"] if n["path"] == "installer"], [{"path": "installer", "message": "the second disk"}])
        self.end()
        for name in ("esxi-img.json", "esxi-img-installer.log"):
            self.assertEqual(self.read("scratch/log/" + name), self.read("var/log/" + name), name)

    def test_the_same_folder(self):
        self.start(log=["x"])
        os.makedirs(os.path.join(self.root, "scratch"))
        self.configure()
        os.symlink("../var/log", os.path.join(self.root, "scratch/log"))
        self.end()
        self.assertEqual(self.journal()["events"][-1]["text"], "rebooting")

    def home(self, answers):
        seen, left = [], list(answers)
        self.addCleanup(setattr, finish.report, "phone_home", finish.report.phone_home)

        def phone_home(*args, **more):
            # The mark is on the boot bank by now, the logs are copied.
            seen.append((self.record()["finished"] is not None, os.path.exists(os.path.join(self.root, "scratch/log/esxi-img.json"))))
            return left.pop(0)

        finish.report.phone_home = phone_home
        os.makedirs(os.path.join(self.root, "scratch/log"))
        self.configure()
        self.end()
        return seen

    def test_how_phone_home_went(self):
        for answer, told in ((True, "sent"), (False, "not sent")):
            self.start(phone_home={"url": "http://10.0.0.9/", "post": [], "tries": 1})
            self.assertEqual(self.home([answer]), [(True, True)])
            self.assertEqual(self.record()["phone_home"], told)
            self.assertIn("phone_home", self.record()["report"]["events"][-1]["text"])
            self.assertEqual(len(self.fake.seen("reboots")), 1)
            os.remove(os.path.join(self.root, "bootbank/esxiimg.jsn"))
            os.rename(os.path.join(self.root, "scratch"), os.path.join(self.root, "old" + told[:3]))

    def test_never_begun(self):
        """The record can't say so before it has happened."""
        self.start(phone_home={"url": "http://10.0.0.9/", "post": [], "tries": 1})
        real = finish.Finish.phone_home
        self.addCleanup(setattr, finish.Finish, "phone_home", real)
        finish.Finish.phone_home = lambda self: (_ for _ in ()).throw(PowerFails())
        self.configure()
        self.assertRaises(PowerFails, self.end)
        self.assertEqual((self.record()["phone_home"], self.record()["result"]), (None, "ok"))


class Left(Base):
    """A finished run leaves nothing of the user's on the boot bank."""

    LICENSE = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"

    def test_overwritten(self):
        self.start(license=self.LICENSE)
        path = self.file("bootbank/esximeta.tgz", "Canary-4711" * 100)
        held = open(path, "rb")  # as the disk has it after the file is gone
        self.addCleanup(held.close)
        self.configure()
        self.end()
        self.assertEqual(held.read(), bytes(1100))
        self.assertFalse(os.path.exists(path))

    def test_also_after_failed_steps(self):
        self.start(license=self.LICENSE, fail=[{"match": "start_ssh", "times": -1}])
        self.assertEqual(self.configure(), 1)
        self.end()
        self.assertEqual(self.bank(), ["boot.cfg", "esxiimg.jsn"])
        self.assertNotIn(b"BBBBB", self.read("bootbank/esxiimg.jsn"))

    def test_keep(self):
        self.start(license=self.LICENSE, options={"keep": True}, commands=[{"text": "Canary-4711\n"}],
                   write_files=[{"path": "/tmp/x", "content_b64": "Q2FuYXJ5LTQ3MTE="}])
        self.configure()
        self.end()
        self.assertEqual(self.config(), BOOT_CFG)
        self.assertEqual(self.bank(), ["boot.cfg", "esxiimg.jsn", "esxiimg.tgz", "esximeta.tgz"])
        data = gzip.decompress(self.read("bootbank/esximeta.tgz"))
        for secret in (b"BBBBB", b"4711", b"Q2FuYXJ5"):
            self.assertNotIn(secret, data)
        self.assertIn(b"10.0.0.5", data)

    def test_license_nowhere(self):
        self.start(license=self.LICENSE, fail=[{"match": "vimsvc/license", "times": -1, "message": "bad key " + self.LICENSE}])
        self.configure()
        self.end()
        self.assertNotIn("BBBBB", "\n".join(self.said))
        for folder in ("var", "bootbank", "tmp"):
            for base, _, names in os.walk(os.path.join(self.root, folder)):
                for name in names:
                    with open(os.path.join(base, name), "rb") as f:
                        self.assertNotIn(b"BBBBB", f.read(), name)


class Keys(modelled.FirstBoot):
    def test_no_room(self):
        """The keys that were there are better than none."""
        path = self.file("etc/ssh/keys-root/authorized_keys", KEY + "\n")
        from esxi_netinit import ssh
        real, left = ssh.os.fdopen, [1]

        class Full(object):
            def __init__(self, f):
                self.f = f

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.f.close()

            def write(self, data):
                self.f.write(data[:3])
                raise OSError(28, "No space left on device")

        def fdopen(fd, mode):
            left[0] -= 1
            return Full(real(fd, mode)) if left[0] >= 0 else real(fd, mode)

        self.addCleanup(setattr, ssh.os, "fdopen", real)
        ssh.os.fdopen = fdopen
        self.assertRaises(OSError, ssh.authorize, self.root, [KEY2])
        with open(path) as f:
            self.assertEqual(f.read(), KEY + "\n")
        self.assertTrue(ssh.present(self.root, [KEY.rpartition(" ")[0] + " other"]))
        self.assertFalse(ssh.present(self.root, [KEY2]))


if __name__ == "__main__":
    unittest.main()
