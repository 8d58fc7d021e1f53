"""What esxcli prints, read; and commands that hang, fail or are missing."""
import os
import sys
import unittest

import modelled
from modelled import cards, link, mac, model, net4
from esxi_netinit import baseline, certificate, esx

NICS = """Name     PCI Device    Driver      Admin Status  Link Status  Speed  Duplex  MAC Address         MTU  Description
-------  ------------  ----------  ------------  -----------  -----  ------  -----------------  ----  -----------
vmnic0   0000:02:00.0  nmlx5_core  Up            Up           25000  Full    00:11:22:33:44:AA  1500  Mellanox Technologies  ConnectX-5
vmnic10  0000:02:00.1  nmlx5_core  Up            Down             0  Half    00:11:22:33:44:0b  9000
"""
PORTGROUPS = """Name                Virtual Switch  Active Clients  VLAN ID
------------------  --------------  --------------  -------
Management Network  vSwitch0                     1       12
VM - - Network      vSwitch0                     0        0
"""
SWITCHES = """vSwitch0
   Name: vSwitch0
   Class: cswitch
   MTU: 9000
   Beacon Required By: \n   Uplinks: vmnic1, vmnic0
   Portgroups: VM Network, Management Network

vSwitch1
   Name: vSwitch1
   MTU: 1500
   Uplinks: \n"""
ROUTES = """Network      Netmask        Gateway      Interface  Source
-----------  -------------  -----------  ---------  ------
default      0.0.0.0        10.0.0.1     vmk0       MANUAL
10.0.0.0     255.255.255.0  0.0.0.0      vmk0       MANUAL
10.5.0.0     255.255.0.0    10.0.0.9     vmk0       MANUAL
junk         255.255.0.0    10.0.0.9     vmk0       MANUAL
"""
ROUTES6 = """Network         Prefix  Gateway  Interface  Source
--------------  ------  -------  ---------  ------
default              0  fe80::1  vmk0       RA
2001:db8:5::        48  fe80::2  vmk1       MANUAL
2001:db8::          64  ::       vmk0       MANUAL
"""


class Reading(unittest.TestCase):
    def test_cards(self):
        self.assertEqual(esx.parse_nics(NICS), [
            {"name": "vmnic0", "mac": "00:11:22:33:44:aa", "link": "Up"}, {"name": "vmnic10", "mac": "00:11:22:33:44:0b", "link": "Down"},
        ])

    def test_tables(self):
        self.assertEqual([(row["Name"], row["VLAN ID"]) for row in esx.table(PORTGROUPS)], [("Management Network", "12"), ("VM - - Network", "0")])
        for text in ("", "\n", "Error: x", "----", "a\nb\n", "Name\n----\n"):
            self.assertEqual(esx.table(text), [], text)

    def test_blocks(self):
        found = dict(esx.blocks(SWITCHES))
        self.assertEqual(esx.words(found["vSwitch0"]["Uplinks"]), ["vmnic1", "vmnic0"])
        self.assertEqual(esx.words(found["vSwitch1"]["Uplinks"]), [])
        self.assertEqual(esx.fields("   DNSServers: 1.1.1.1, 2.2.2.2\n"), {"DNSServers": "1.1.1.1, 2.2.2.2"})
        self.assertEqual(esx.fields("   Remote Host: <none>\n   MAC Address: 00:11\n"), {"Remote Host": "<none>", "MAC Address": "00:11"})
        self.assertEqual(esx.words("<none>"), [])

    def test_routes(self):
        self.assertEqual([(r["network"], r["prefix"], r["gateway"]) for r in esx.parse_routes(ROUTES, 4)], [("0.0.0.0", 0, "10.0.0.1"), ("10.5.0.0", 16, "10.0.0.9")])
        self.assertEqual([(r["network"], r["prefix"], r["gateway"], r["source"]) for r in esx.parse_routes(ROUTES6, 6)], [("::", 0, "fe80::1", "RA"), ("2001:db8:5::", 48, "fe80::2", "MANUAL")])
        self.assertEqual(esx.parse_routes(ROUTES.replace("default", "0.0.0.0"), 4)[0]["prefix"], 0)

    def test_any_text_is_read(self):
        for text in ("", "\x00", "- - -", "a  b\n-  -\n\u00e9", "   : \n", "x\n ---- ----\nabc def\n"):
            for function in (esx.table, esx.blocks, esx.fields, esx.parse_nics, lambda t: esx.parse_routes(t, 4)):
                function(text)

    def test_certificate(self):
        def pem(name, kind=b"\x0c"):
            der = b"junk\x55\x04\x03junk" + b"\x55\x04\x03" + kind + bytes([len(name)]) + name + b"tail"
            return b"-----BEGIN CERTIFICATE-----\n" + modelled_base64(der) + b"\n-----END CERTIFICATE-----\n"
        self.assertTrue(certificate.names(pem(b"h.example.org"), "H.example.org"))
        for bad in (pem(b"h.example.orgx"), pem(b"xh.example.org"), b"", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", pem(b"h.example.org")[:40]):
            self.assertFalse(certificate.names(bad, "h.example.org"), bad)
        self.assertFalse(certificate.names(pem(b"x" * 100), "x" * 200))


def modelled_base64(data):
    import base64
    return base64.b64encode(data)


class Commands(modelled.FirstBoot):
    def test_they_really_run(self):
        self.assertEqual(esx.run_command([sys.executable, "-c", "import sys; print(1); sys.stderr.write('x')"], 60), (0, "1\nx") if os.name != "nt" else (0, "1\r\nx"))
        self.assertEqual(esx.run_command(["/no/such/program"], 60)[0], 127)
        self.assertEqual(esx.run_command(["a\0b"], 60)[0], 127)
        self.assertEqual(esx.run_command([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)[0], 124)
        self.assertLessEqual(len(esx.run_command([sys.executable, "-c", "print('x' * (3 << 20))"], 60)[1]), esx.MAX_OUTPUT)

    def test_a_child_that_stays_is_not_waited_for(self):
        script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)']); time.sleep(20)"
        self.assertEqual(esx.run_command([sys.executable, "-c", script], 0.5)[0], 124)

    def test_state_of_a_host(self):
        wanted = model([link("p", mac(1))], [net4("n", "p", "10.0.0.5/24", "10.0.0.1", dns=["10.0.0.2"])], hostname="h.example.org", fqdn="h.example.org")
        fake = self.modelled(wanted, cards(2), {1: {"0": {"gateways": ["10.0.0.1"]}}})
        state = esx.read_state(fake.esx_host())
        expected, _, _ = baseline.installed(wanted, cards(2))
        for name in ("nics", "vmks", "routes", "dns", "hostname"):
            got = getattr(state, name)
            if name == "vmks":
                for vmk in got.values():
                    # Link-local addresses come by themselves.
                    vmk["ipv6"]["addresses"] = []
            self.assertEqual(got, getattr(expected, name), name)
        self.assertEqual(state.switches["vSwitch0"]["active"], ["vmnic1"])
        self.assertEqual(fake.seen("unknown"), [])

    def test_unreadable(self):
        fake = self.modelled(model(), cards(1), {})
        fake.state.data["fail"] = [{"match": "nic list", "times": -1}]
        self.assertRaises(esx.Unreadable, esx.read_state, fake.esx_host())

    def test_without_hostd(self):
        fake = self.modelled(model(), cards(1), {})
        fake.state.data["hostd_ready_after"] = None
        host = fake.esx_host()
        self.assertFalse(host.wait())
        self.assertLess(fake.state.clock.now(), esx.HOSTD_SECONDS + 60)
        self.assertEqual(len(esx.read_state(host).nics), 1)
        self.assertEqual(set(call[0] for call in fake.calls), set(["vim-cmd", "localcli"]))

    def test_hostd_that_is_late(self):
        fake = self.modelled(model(), cards(1), {})
        fake.state.data["hostd_ready_after"] = 300
        self.assertTrue(fake.esx_host().wait())


class Cards(modelled.FirstBoot):
    def refused(self, text):
        path = self.file("nics", text)
        with self.assertRaises(baseline.Refused) as caught:
            baseline.read_nics(path)
        return str(caught.exception)

    def test_lists(self):
        want = [{"name": "vmnic0", "mac": mac(0), "link": "Up"}]
        for text in ('[{"name": "vmnic0", "mac": "00-11-22-33-44-00"}]', '{"nics": [{"name": "vmnic0", "mac": "001122334400", "x": 1}]}', "\ufeff" + '[{"name": "vmnic0", "mac": "00:11:22:33:44:00", "link": "Up"}]'):
            self.assertEqual(baseline.read_nics(self.file("nics", text)), want)
        self.assertEqual(len(baseline.read_nics(self.file("nics", NICS))), 2)

    def test_refused(self):
        for text in ("", "[]", "{}", "[1]", "[" * 100000, '[{"name": "eth0", "mac": "00:11:22:33:44:00"}]', '[{"name": "vmnic0"}]', '[{"name": "vmnic0", "mac": 1}]', "nothing", "\xff"):
            self.assertIn("nics: ", self.refused(text), text[:40])
        one = '{"name": "vmnic0", "mac": "00:11:22:33:44:00"}'
        self.assertIn("twice", self.refused("[%s, %s]" % (one, one)))
        self.refused("x" * (baseline.MAX_FILE + 1))
        self.assertRaises(baseline.Refused, baseline.read_nics, os.path.join(self.root, "missing"))


if __name__ == "__main__":
    unittest.main()
