"""Plans carried out: tries, failures, the way back, and what is written."""
import base64
import json
import os
import stat
import sys
import unittest

import modelled
from modelled import KEY, KEY2, bond, cards, link, mac, model, net4, net6, vlan
from esxi_netinit import actions, apply, esx, journal, reach, ssh

CANARY = "Canary-4711"
WIRE = {"0": {"gateways": ["10.0.0.1", "10.0.0.254"]}, "5": {"gateways": ["10.5.0.1"]}, "6": {"gateways": ["10.6.0.1"]}}
ONE = ([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1")])
BOND = ([link("p0", mac(0)), link("p1", mac(1)), link("b", mtu=9000, bond=bond("802.3ad", "p0", "p1"))], [net4("m", "b", "10.0.0.5/24", "10.0.0.1")])


class Apply(modelled.FirstBoot):
    def done(self, wanted, n=2, wires=None, **more):
        self.fake = self.modelled(wanted, cards(n), wires or dict((i, WIRE) for i in range(n)), **more)
        self.log = self.apply(self.fake, wanted)
        return self.results(self.log)

    def vswitch(self, name="vSwitch0"):
        return self.fake.host["vswitches"][name]

    def events(self):
        return "\n".join(e["text"] for e in self.log.data["events"])

    def test_bond(self):
        results = self.done(model(*BOND))
        self.assertEqual(self.log.failures(), [])
        self.assertEqual(self.vswitch()["failover"], {"active": ["vmnic0", "vmnic1"], "standby": [], "load_balancing": "iphash"})
        self.assertEqual((self.vswitch()["mtu"], self.fake.host["vmks"]["vmk0"]["mtu"]), (9000, 9000))
        self.assertNotIn("failover", self.vswitch()["portgroups"]["Management Network"])
        self.assertEqual(results["ipv4:vmk0"], "already")
        for kind in ("unknown", "refused", "outages", "hazards"):
            self.assertEqual(self.fake.seen(kind), [])

    def test_fails_twice_then_works(self):
        self.done(model(*BOND), fail=[{"match": "uplink add", "times": 2}])
        self.assertEqual(self.log.failures(), [])
        self.assertEqual([e["tries"] for e in self.log.data["steps"] if e["id"] == "uplink:vmnic1"], [3])

    def test_never_works(self):
        results = self.done(model(*BOND, hostname="h"), fail=[{"match": "uplink add", "times": -1}])
        self.assertEqual(results["uplink:vmnic1"], "failed")
        self.assertEqual(results["failover:vSwitch0"], "skipped")
        # All else is done, and the host is where it was.
        self.assertEqual((results["mtu:vmk0"], results["certificates"]), ("done", "done"))
        self.assertTrue(self.fake.reachable())
        self.assertEqual(self.log.data["result"], "failed")

    def test_a_lost_answer(self):
        wanted = model(*ONE, hostname="h", fqdn="h.example.org")
        fake = self.modelled(wanted, cards(1), {0: WIRE})
        fake.host["name"] = {"host": "x", "domain": "", "fqdn": "x"}
        really = fake.run

        def run(argv, seconds=0):
            code, text = really(argv, seconds)
            return (124, "timed out") if "set" in argv and "hostname" in argv else (code, text)
        fake.run = run
        self.log = self.apply(fake, wanted)
        self.assertEqual(self.results(self.log)["hostname"], "done")
        self.assertEqual(len([c for c in fake.calls if "hostname" in c and "set" in c]), 1)

    def test_localcli_is_the_last_resort(self):
        self.done(model(ONE[0], [net4("m", "p")], hostname="h"), fail=[{"match": "esxcli system hostname set", "times": -1}])
        self.assertEqual([c[0] for c in self.fake.calls if "hostname" in c and "set" in c], ["esxcli"] * apply.TRIES + ["localcli"])
        self.assertEqual(self.results(self.log)["hostname"], "done")

    def test_management_goes_back(self):
        # The second card's port has no way to the gateway.
        results = self.done(model(*BOND, hostname="h"), wires={0: WIRE, 1: {}})
        self.assertEqual(self.vswitch()["uplinks"], ["vmnic0"])
        self.assertEqual(self.vswitch()["failover"]["load_balancing"], "portid")
        self.assertTrue(self.fake.reachable())
        self.assertIn("the network is as it was", self.events())
        self.assertEqual((results["uplink:vmnic1"], results["mtu:vmk0"]), ("rolled back", "rolled back"))
        self.assertEqual(results["certificates"], "done")

    def test_a_move_goes_back(self):
        wanted = model([link("p", mac(0)), link("v", vlan=vlan(5, "p"))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1")], options={"management_vswitch": "vSwitch22", "management_portgroup": "mgmt"})
        for rule in ({"match": "interface add", "times": 3}, {"match": "ipv4 set", "times": 7}, {"match": "uplink add", "times": 7}):
            self.done(wanted, fail=[rule] if rule["times"] > 3 else [rule])
            self.assertTrue(self.fake.reachable(), rule)
            if rule["times"] > 3:
                self.assertEqual(sorted(self.fake.host["vswitches"]), ["vSwitch0"])
                self.assertEqual(self.fake.host["vmks"]["vmk0"]["portgroup"], "Management Network")

    def test_a_move(self):
        wanted = model(*ONE, options={"management_vswitch": "vSwitch22"})
        self.done(wanted)
        self.assertEqual(self.log.failures(), [])
        self.assertEqual(sorted(self.fake.host["vswitches"]), ["vSwitch22"])
        self.assertEqual(self.fake.host["vmks"]["vmk0"]["mac"], mac(0))
        self.assertTrue(self.fake.reachable())

    def test_what_never_worked_is_not_brought_back(self):
        # The installer got no lease; the static address may be right.
        wanted = model([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1")])
        fake = self.modelled(model(), cards(1), {0: {}})
        self.assertIsNone(fake.host["vmks"]["vmk0"]["ipv4"]["address"])
        self.log = self.apply(fake, wanted)
        self.assertEqual(fake.host["vmks"]["vmk0"]["ipv4"]["address"], "10.0.0.5")
        self.assertEqual(self.log.data["result"], "failed")

    def test_other_networks_that_take_the_route_away(self):
        stolen = {"0": {"gateways": ["10.9.0.1"], "dhcp": {"address": "10.0.0.99/24", "router": "10.9.0.1"}}}
        links = [link("p", mac(0)), link("q", mac(1))]
        wires = {0: {"0": {"gateways": ["192.168.7.1"], "dhcp": {"address": "192.168.7.9/24", "router": "192.168.7.1"}}}, 1: {}}
        results = self.done(model(links, [net4("m", "p"), net4("x", "q")]), wires=wires)
        self.assertTrue(self.fake.reachable(), stolen)
        self.assertEqual(results["interface:vmk1"], "rolled back")
        self.assertNotIn("vmk1", self.fake.host["vmks"])

    def test_ipv6_without_a_gateway_is_tried_by_ipv4(self):
        wires = {0: {"0": {"gateways": ["192.168.7.1"], "dhcp": {"address": "192.168.7.9/24", "router": "192.168.7.1"}}}, 1: {}}
        self.done(model(BOND[0], [net6("m", "b", "2001:db8::5/64")]), wires=wires)
        self.assertTrue(self.fake.reachable())
        self.assertEqual(self.vswitch()["uplinks"], ["vmnic0"])

    def test_without_hostd(self):
        wanted = model(*BOND, hostname="h", ssh={"enable": True})
        fake = self.modelled(wanted, cards(2), {0: WIRE, 1: WIRE})
        fake.state.data["hostd_ready_after"] = None
        self.log = self.apply(fake, wanted)
        self.assertEqual(self.results(self.log)["uplink:vmnic1"], "done")
        self.assertEqual(self.results(self.log)["enable:ssh"], "failed")
        self.assertFalse([c for c in fake.calls if c[0] == "esxcli"])

    def test_unreadable_network_is_left_alone(self):
        results = self.done(model(*BOND, hostname="h"), fail=[{"match": "vswitch standard list", "times": -1}])
        self.assertEqual(sorted(results), ["certificates", "hostname"])
        self.assertEqual(self.log.data["problems"][-1]["path"], "$.networks")

    def test_time_is_bounded(self):
        everything = model(*BOND, hostname="h", fqdn="h.example.org", ntp=["a"], syslog="h", ssh={"enable": True, "shell": True}, ssh_keys=[KEY])
        self.done(everything, fail=[{"match": " set", "times": -1}, {"match": " add", "times": -1}, {"match": "enable", "times": -1}, {"match": "start", "times": -1}])
        self.assertLess(self.fake.state.clock.now(), 40 * 60)
        self.assertTrue(self.fake.reachable())

    def test_services(self):
        wanted = model(*ONE, hostname="h", fqdn="h.example.org", ntp=["a", "10.0.0.9"], syslog="udp://10.0.0.7:514", ssh={"enable": True, "shell": True},
                       ssh_keys=[KEY, KEY2], license="AAAAA-BBBBB-CCCCC-DDDDD-EEEEE")
        self.done(wanted)
        self.assertEqual(self.log.failures(), [])
        host = self.fake.host
        self.assertEqual((host["ntp"], host["ssh"]["running"], host["shell"]["enabled"]), ({"servers": ["a", "10.0.0.9"], "enabled": True}, True, True))
        self.assertEqual((host["syslog"]["loghost"], host["firewall"]["syslog"], host["name"]["fqdn"]), ("udp://10.0.0.7:514", True, "h.example.org"))
        self.assertEqual(host["license"], "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE")
        self.assertNotIn("BBBBB", self.read("var/log/esxi-img.json").decode() + "\n".join(self.said))
        self.assertEqual(self.read("etc/ssh/keys-root/authorized_keys").decode(), KEY + "\n" + KEY2 + "\n")

    def test_six(self):
        self.done(model(*ONE, ntp=["a"]), release="6.7.0")
        self.assertEqual(self.log.failures(), [])
        self.assertIn(b"server a\n", self.read("etc/ntp.conf"))
        self.assertTrue(self.fake.host["services"]["ntpd"])

    def test_the_journal_is_complete_after_every_step(self):
        seen = []
        wanted = model(*BOND)
        fake = self.modelled(wanted, cards(2), {0: WIRE, 1: WIRE})
        really = fake.run

        def run(argv, seconds=0):
            if "--load-balancing" in argv:
                seen.append(json.loads(self.read("var/log/esxi-img.json").decode()))
            return really(argv, seconds)
        fake.run = run
        self.apply(fake, wanted)
        self.assertEqual(seen[0]["result"], "running")
        self.assertIn("uplink:vmnic1", [e["id"] for e in seen[0]["steps"]])

    def test_secrets_are_not_kept(self):
        script = {"when": "run", "text": "echo %s\n" % CANARY, "interpreter": "sh"}
        files = [{"path": "/etc/x", "content_b64": base64.b64encode(CANARY.encode()).decode(), "mode": "0600"}]
        for code in (0, 1):
            fake = self.modelled(model(), cards(1), {})
            really = fake.run
            fake.run = lambda argv, seconds=0: (code, CANARY) if argv[0] in ("sh", CANARY) else really(argv, seconds)
            log = self.apply(fake, model(commands=[script, {"argv": [CANARY]}], write_files=files))
            self.assertEqual(self.results(log)["run:0"], "failed" if code else "done")
            self.assertNotIn(CANARY, self.read("var/log/esxi-img.json").decode() + "\n".join(self.said))

    def test_a_fault_of_ours_is_a_failed_step(self):
        def broken(host, argument, seconds):
            raise RuntimeError(CANARY)
        self.addCleanup(actions.ACTIONS.update, dict(actions.ACTIONS))
        actions.ACTIONS["ssh-keys"] = broken
        results = self.done(model(*ONE, ssh_keys=[KEY], hostname="h"))
        self.assertEqual((results["ssh-keys"], results["certificates"]), ("failed", "done"))
        self.assertNotIn(CANARY, "\n".join(self.said))

    def test_a_full_log_stops_nothing(self):
        self.file("var/log/esxi-img.json.part/x")
        self.assertEqual(self.done(model(*BOND))["uplink:vmnic1"], "done")


class Actions(modelled.FirstBoot):
    def setUp(self):
        super().setUp()
        self.host = esx.Host(self.root)

    def mode(self, path):
        return stat.S_IMODE(os.stat(os.path.join(self.root, path)).st_mode)

    def test_keys(self):
        path = self.file("etc/ssh/keys-root/authorized_keys", b"# \xff\n" + KEY2.encode())
        os.chmod(path, 0o644)
        for expected in (1, 0):
            self.assertEqual(ssh.authorize(self.root, [KEY, KEY2 + " another comment", KEY]), expected)
            self.assertEqual(self.read("etc/ssh/keys-root/authorized_keys"), b"# \xff\n" + (KEY2 + "\n" + KEY + "\n").encode())
            self.assertEqual(self.mode("etc/ssh/keys-root/authorized_keys"), 0o600)

    def test_keys_where_there_are_none(self):
        self.assertEqual(ssh.authorize(self.root, [KEY]), 1)
        self.assertEqual(self.mode("etc/ssh/keys-root/authorized_keys"), 0o600)

    def test_files(self):
        entry = {"path": "/etc/a/b", "content_b64": "eHl6", "mode": "0755"}
        for _ in range(2):
            self.assertEqual(actions.perform(self.host, "write-file", entry, 1)[0], 0)
            self.assertEqual((self.read("etc/a/b"), self.mode("etc/a/b")), (b"xyz", 0o755))
        for path in ("/bootbank/boot.cfg", "/dev/disks/x", "/altbootbank/x", "/tardisks/x", "/bootbank"):
            self.assertEqual(actions.perform(self.host, "write-file", dict(entry, path=path), 1)[0], 1)

    def test_certificates(self):
        pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
        for before in (None, b"", b"old", b"old\n"):
            if before is not None:
                self.file("etc/vmware/ssl/castore.pem", before)
            for _ in range(2):
                actions.perform(self.host, "ca-certificate", pem, 1)
            self.assertEqual(self.read("etc/vmware/ssl/castore.pem").decode(), ("old\n" if before and before.startswith(b"old") else "") + pem)
            os.remove(os.path.join(self.root, "etc/vmware/ssl/castore.pem"))

    def test_scripts(self):
        seen = []

        def run(argv, seconds):
            seen.append((argv[0], self.read(argv[1][len(self.root) + 1:]), self.mode(argv[1][len(self.root) + 1:]), seconds))
            return 7, "output"
        self.host.execute = run
        for interpreter, program in (("sh", "sh"), ("python", "python")):
            script = {"text": "\u00e9\n", "interpreter": interpreter}
            self.assertEqual(actions.perform(self.host, "command", script, 9), (7, ""))
            self.assertEqual(seen[-1], (program, "\u00e9\n".encode("utf-8"), 0o600, 9))
        self.assertEqual(os.listdir(os.path.join(self.root, "tmp")), [])

    def test_arguments(self):
        self.assertEqual(actions.perform(esx.Host(), "command", {"argv": [sys.executable, "-c", "raise SystemExit(5)"]}, 60), (5, ""))


class Reach(modelled.FirstBoot):
    def ask(self, answers, check=None):
        self.now = 0.0
        calls = []

        def run(argv, seconds):
            calls.append(argv)
            return answers(argv)
        host = esx.Host("", run, self.sleep, lambda: self.now)
        return reach.works(host, check or {"vmk": "vmk0", "family": 4, "gateway": "10.0.0.1", "dhcp": False})[0], calls

    def sleep(self, seconds):
        self.now += seconds

    def test_answers(self):
        for code, text, expected in (
            (0, "3 packets transmitted, 3 packets received, 0% packet loss", True), (0, "3 packets transmitted, 0 packets received, 100% packet loss", False),
            (1, "3 packets transmitted, 0 packets received", False), (1, "", False), (0, "", True),
        ):
            self.assertEqual(self.ask(lambda argv: (code, text))[0], expected, (code, text))

    def test_without_vmkping(self):
        for received, expected in (("2", True), ("0", False)):
            result, calls = self.ask(lambda argv: (127, "") if argv[0] == "vmkping" else (0, "Summary:\n   Received: %s\n" % received))
            self.assertEqual(result, expected)
            self.assertEqual(calls[1][:4], ["esxcli", "network", "diag", "ping"])

    def test_families(self):
        check = {"vmk": "vmk0", "family": 6, "gateway": "fe80::1", "dhcp": False}
        self.assertEqual(self.ask(lambda argv: (0, ""), check)[1], [["vmkping", "-6", "-I", "vmk0", "-c", "2", "fe80::1%vmk0"]])

    def test_nobody_to_ask(self):
        self.assertIsNone(self.ask(lambda argv: (0, ""), {"vmk": "vmk0", "family": 4, "gateway": None, "dhcp": False})[0])

    def test_it_ends(self):
        self.ask(lambda argv: (1, ""))
        self.assertLess(self.now, 200)


class Journal(modelled.FirstBoot):
    def test_load(self):
        self.assertIsNone(journal.load(self.root))
        for text in ("", "[]", "{}", "{", '{"steps": 1}', "\xff"):
            self.file("var/log/esxi-img.json", text)
            self.assertIsNone(journal.load(self.root), text)
        log = journal.Journal(self.root)
        log.event("a\nb\u00e9")
        log.problem("$.x", "is bad")
        log.close()
        again = journal.load(self.root)
        self.assertEqual(again.failures(), ["$.x is bad"])
        self.assertEqual(again.data["events"][0]["text"], "a?b?")
        self.assertEqual(again.data["result"], "failed")


if __name__ == "__main__":
    unittest.main()
