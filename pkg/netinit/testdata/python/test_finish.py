"""The whole of %firstboot: from the model to the reboot, once."""
import http.server
import json
import os
import threading
import unittest
from urllib.parse import parse_qs

import modelled
from modelled import BOOT_CFG, KEY, bond, cards, link, mac, model, net4
from esxi_netinit import bootbank, esx, finish, main, report

WIRE = {"0": {"gateways": ["10.0.0.1"]}}
LEFT = BOOT_CFG.replace(b" --- esxiimg.tgz --- esximeta.tgz", b"")


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.got.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, *args):
        pass


class Whole(modelled.FirstBoot):
    def setUp(self):
        super().setUp()
        self.addCleanup(setattr, report, "POST_PAUSE", report.POST_PAUSE)

    def start(self, wanted=None, fail=(), wires=None, **options):
        links = [link("p0", mac(0)), link("p1", mac(1)), link("b", bond=bond("802.3ad", "p0", "p1"))]
        self.wanted = wanted or model(links, [net4("m", "b", "10.0.0.5/24", "10.0.0.1")], hostname="h", ssh_keys=[KEY], ssh={"enable": True}, options=options)
        self.boot_bank(self.wanted)
        self.fake = self.modelled(self.wanted, cards(2), wires or {0: WIRE, 1: WIRE}, fail=fail)

    def configure(self):
        return main.configure(self.fake.esx_host())

    def end(self):
        return main.end(self.fake.esx_host())

    def programs(self, *names):
        """The calls of programs, in their order."""
        calls = [(c[0][len(self.root):] if c[0].startswith(self.root) else c[0]) for c in self.fake.calls]
        return [c for c in calls if c in names]

    def record(self):
        return json.loads(self.read("bootbank/esxiimg.jsn").decode())

    def bank(self):
        return sorted(os.listdir(os.path.join(self.root, "bootbank")))

    def test_all(self):
        self.start()
        self.assertEqual(self.configure(), 0)
        self.assertEqual(self.read("bootbank/boot.cfg"), BOOT_CFG)
        self.assertEqual(self.fake.seen("reboots"), [])
        self.assertEqual(self.end(), 0)
        self.assertEqual(self.read("bootbank/boot.cfg"), LEFT)
        self.assertEqual(self.bank(), ["boot.cfg", "esxiimg.jsn"])
        self.assertEqual(self.programs("/sbin/auto-backup.sh", "/sbin/backup.sh", "/sbin/reboot"), ["/sbin/auto-backup.sh", "/sbin/backup.sh", "/sbin/reboot"])
        self.assertEqual(self.fake.state.data["saved"]["name"]["fqdn"], "h")
        self.assertEqual((self.record()["result"], self.record()["report"]["result"]), ("ok", "ok"))
        self.assertEqual(json.loads(self.read("var/log/esxi-img.json").decode())["events"][-1]["text"], "rebooting")

    def test_once(self):
        self.start()
        self.configure()
        self.end()
        calls = len(self.fake.calls)
        self.assertEqual((self.configure(), self.end()), (0, 0))
        self.assertEqual(len(self.fake.calls), calls)
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def test_a_first_boot_that_never_ends(self):
        self.start()
        for _ in range(finish.MAX_RUNS):
            self.assertEqual(self.configure(), 0)
        calls = len(self.fake.calls)
        self.assertEqual(self.configure(), 1)
        self.assertEqual(len(self.fake.calls), calls)

    def test_no_reboot_without_the_mark(self):
        self.start()
        self.file("bootbank/esxiimg.new/x")  # nothing can be written over it
        self.configure()
        self.assertEqual(self.end(), 1)
        self.assertEqual(self.fake.seen("reboots"), [])
        self.assertEqual(self.programs("/sbin/auto-backup.sh", "/sbin/backup.sh"), ["/sbin/auto-backup.sh", "/sbin/backup.sh"])

    def test_failed_steps(self):
        self.start(fail=[{"match": "uplink add", "times": -1}])
        self.assertEqual(self.configure(), 1)
        self.assertTrue(any(line.startswith("FAILED: uplink vmnic1") for line in self.said))
        self.assertEqual(self.end(), 0)
        self.assertEqual(self.record()["result"], "failed")
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def test_keep(self):
        self.start(keep=True)
        self.configure()
        self.end()
        self.assertEqual(self.read("bootbank/boot.cfg"), BOOT_CFG)
        self.assertEqual(self.bank(), ["boot.cfg", "esxiimg.jsn", "esxiimg.tgz", "esximeta.tgz"])

    def test_no_reboot(self):
        self.start(reboot=False)
        self.configure()
        self.assertEqual(self.end(), 0)
        self.assertEqual(self.fake.seen("reboots"), [])

    def test_maintenance_mode_and_quick_boot(self):
        self.start(maintenance_mode=True, quick_boot=True)
        self.configure()
        self.assertEqual(self.end(), 0)
        self.assertTrue(self.fake.host["maintenance"])
        self.assertEqual(self.programs("loadESXEnable", "/sbin/reboot"), ["loadESXEnable", "/sbin/reboot"])

    def test_no_quick_boot(self):
        self.start(quick_boot=True, fail=[{"match": "loadESXEnable", "times": -1}])
        self.configure()
        self.assertEqual(self.end(), 1)
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def test_a_boot_bank_without_a_modules_line(self):
        self.start()
        self.file("bootbank/boot.cfg", b"kernel=x\n")
        self.configure()
        self.assertEqual(self.end(), 1)
        self.assertIn("esxiimg.tgz", self.bank())
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def test_no_model(self):
        self.start()
        os.remove(os.path.join(self.root, "esxiimg/metadata/model.json"))
        self.assertEqual((self.configure(), self.end()), (0, 0))
        self.assertEqual(self.read("bootbank/boot.cfg"), LEFT)
        self.assertEqual(self.fake.seen("reboots"), [])

    def test_broken_model(self):
        for text in ("{", "[]", '{"version": 2}', '{"version": 1, "x": "Canary"}', b"\xff"):
            self.start()
            self.file("esxiimg/metadata/model.json", text)
            self.assertEqual(self.configure(), 1, text)
            self.end()
            self.assertEqual(self.fake.seen("reboots"), [])
            self.assertNotIn("Canary", "\n".join(self.said))
            os.remove(os.path.join(self.root, "bootbank/esxiimg.jsn"))

    def test_nothing_was_configured_before_the_end(self):
        self.start()
        self.assertEqual(self.end(), 0)
        self.assertEqual(self.record()["result"], "failed")

    def test_a_large_report(self):
        self.start()
        self.configure()
        log = json.loads(self.read("var/log/esxi-img.json").decode())
        log["events"] = [{"time": "", "text": "x" * 400}] * 1000
        self.file("var/log/esxi-img.json", json.dumps(log))
        self.end()
        self.assertNotIn("report", self.record())
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def serve(self, code=200):
        server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
        server.got, server.code = [], code
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def home(self, server, **more):
        self.start(model(hostname="h", phone_home={"url": "http://127.0.0.1:%d/" % server.server_port, "post": [], "tries": 2}, **more), fail=[{"match": "hostname set", "times": -1}] if server.code == 500 else [])
        self.configure()
        return self.end()

    def test_phone_home(self):
        server = self.serve()
        self.assertEqual(self.home(server), 0)
        self.assertEqual((server.got[0]["result"], server.got[0]["hostname"], server.got[0]["stage"]), (["success"], ["h"], ["configured"]))

    def test_phone_home_that_fails(self):
        server = self.serve(500)
        self.assertEqual(self.home(server), 1)
        self.assertEqual(len(server.got), 2)
        self.assertEqual(server.got[0]["result"], ["failure"])
        self.assertIn("host name h: failed", server.got[0]["notes"][0])
        self.assertEqual(len(self.fake.seen("reboots")), 1)

    def test_firewall_is_opened_and_closed(self):
        self.start()
        self.addCleanup(setattr, report, "phone_home", report.phone_home)
        seen = []
        report.phone_home = lambda *args, **more: seen.append(self.fake.host["firewall"].get("httpClient")) or True
        for url, expected in (("http://x/", True), ("https://x", True), ("http://x:80/a:5", True), ("https://[::1]:443/", True), ("http://x:5050/", None)):
            self.fake.host["firewall"].pop("httpClient", None)
            wanted = model(phone_home={"url": url, "post": [], "tries": 1})
            finish.Finish(self.fake.esx_host(), wanted, modelled.journal.Journal(self.root)).phone_home()
            self.assertEqual(seen[-1], expected, url)
            self.assertFalse(self.fake.host["firewall"].get("httpClient"))

    def test_modules_line(self):
        names = (bootbank.OURS, bootbank.METADATA)
        for before, after in (
            (b"modules=a --- esxiimg.tgz --- b --- ESXIMETA.TGZ\n", b"modules=a --- b\n"), (b"modules=esxiimg.tgz --- b\n", b"modules= b\n"),
            (b"x=1\r\nmodules=a --- /x/esximeta.tgz arg\r\ny=2", b"x=1\r\nmodules=a\r\ny=2"), (b"modules=a --- myesxiimg.tgz\n", b"modules=a --- myesxiimg.tgz\n"),
            (b"modules=a  --- b \n", b"modules=a  --- b \n"), (BOOT_CFG, LEFT),
        ):
            self.assertEqual(finish.without(before, names), after)


class Plan(modelled.FirstBoot):
    """main.py --plan."""

    class Out(list):
        def write(self, text):
            self.append(text)

    def plan(self, meta, *args, **more):
        self.file("cd/openstack/latest/meta_data.json", json.dumps(meta))
        if "network" in more:
            self.file("cd/openstack/latest/network_data.json", json.dumps(more["network"]))
        nics = self.file("nics", json.dumps(cards(2)))
        out = self.Out()
        code = main.main(["--plan", "--metadata", os.path.join(self.root, "cd"), "--nics", nics] + list(args), self.root, out)
        return code, "".join(out)

    META = {"uuid": "u", "hostname": "h.example.org", "admin_pass": "Canary-4711", "public_keys": {"k": KEY}}

    def test_text(self):
        code, text = self.plan(self.META)
        self.assertEqual(code, 0)
        for line in ("# the installer: network --bootproto=dhcp", "esxcli system hostname set --fqdn=h.example.org", "vim-cmd hostsvc/enable_ssh", "# 1 SSH keys of root: (ssh-keys)"):
            self.assertIn(line + "\n", text)
        self.assertNotIn("4711", text)

    def test_secure_boot(self):
        code, text = self.plan(self.META, "--secure-boot")
        self.assertEqual(code, 0)
        self.assertIn("there is no first boot", text)
        self.assertIn("# not applied: esxcli system hostname set --fqdn=h.example.org\n", text)
        self.assertFalse([line for line in text.splitlines() if line and not line.startswith("#")])

    def test_json(self):
        code, text = self.plan(self.META, "--json", "--secure-boot")
        data = json.loads(text)
        self.assertEqual((code, data["secure_boot"], data["installer"]["network"]), (0, True, "network --bootproto=dhcp"))
        self.assertIn(["esxcli", "system", "hostname", "set", "--fqdn=h.example.org"], [s["command"] for s in data["steps"]])
        self.assertNotIn("4711", text)

    def test_problems(self):
        network = {"links": [{"id": "p", "type": "phy", "ethernet_mac_address": "00:11:22:33:44:99"}], "networks": [{"id": "n", "link": "p", "type": "ipv4_dhcp"}]}
        code, text = self.plan(self.META, network=network)
        self.assertEqual(code, 4)
        self.assertIn("# problem: $.links[p]: the host has no card", text)

    def test_nothing_is_written(self):
        before = sorted(os.listdir(self.root))
        self.plan(self.META)
        self.assertEqual(sorted(os.listdir(self.root)), before + ["cd", "nics"])


if __name__ == "__main__":
    unittest.main()
