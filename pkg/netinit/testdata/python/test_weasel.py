"""What the installer is told, and that it would take it."""
import os
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import NICS  # noqa: E402
from esxi_netinit import disks, parttable, shacrypt, weasel  # noqa: E402
from esxi_netinit.model import Model  # noqa: E402
from esxi_netinit.stage import Refused  # noqa: E402


class ShaCrypt(unittest.TestCase):
    # Of Ulrich Drepper's description, the last three with a salt that is cut
    # to 16 characters already.
    VECTORS = (
        ("saltstring", 5000, "Hello world!",
         "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"),
        ("short", 77777, "we have a short salt string but not a short password",
         "$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0"),
        ("saltstringsaltst", 10000, "Hello world!",
         "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."),
        ("anotherlongsalts", 1400, "a very much longer text to encrypt.  This one even stretches over morethan one line.",
         "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"),
        ("asaltof16chars..", 123456, "a short string",
         "$6$rounds=123456$asaltof16chars..$BtCwjqMJGx5hrJhZywWvt0RLE8uZ4oPwcelCjmw2kSYu.Ec6ycULevoBK25fs2xXgMNrCzIMVcgEJAstJeonj1"),
    )

    def test_vectors(self):
        for salt, rounds, password, want in self.VECTORS:
            self.assertEqual(shacrypt.crypt(password, salt, rounds), want)

    def test_openssl_agrees(self):
        for password in ("a", "x" * 63, "x" * 64, "x" * 65, "y" * 200, "K\u00fcche \U0001f4be", "it's \"$HOME\" \\"):
            salt = shacrypt.salt()
            process = subprocess.Popen(["openssl", "passwd", "-6", "-salt", salt, "-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            out = process.communicate(password.encode("utf-8") + b"\n")[0].decode("ascii").strip()
            self.assertEqual(shacrypt.crypt(password, salt), out)

    def test_installer_takes_it(self):
        for _ in range(20):
            line = weasel.rootpw(shacrypt.crypt("x"))
            words = shlex.split(line, True)
            self.assertEqual(words[:2], ["rootpw", "--iscrypted"])
            self.assertTrue(weasel.takes(words[2]))
        self.assertNotEqual(shacrypt.crypt("x"), shacrypt.crypt("x"))
        self.assertEqual(len(set(shacrypt.random_password() for _ in range(50))), 50)

    def test_refused(self):
        for value in ("x" * 513, "\0", "\ud800"):
            self.assertRaises(ValueError, shacrypt.crypt, value)
        good = shacrypt.crypt("x", "salt")
        for value in (None, "", 1, "x", good + "x", good + "\n", good[:-1], self.VECTORS[1][3], good.replace("salt", "s" * 17),
                      good.replace("salt", ""), good.replace("salt", "s-lt"), "$1$abc$" + "x" * 22, "$y$j9T$abc$def"):
            self.assertRaises(Refused, weasel.rootpw, value)


def model(networks=(), links=(), **more):
    data = {"version": 1, "links": list(links), "networks": [dict(n, id="n%d" % i) for i, n in enumerate(networks)]}
    data.update(more)
    return Model.from_dict(data)


LINK = {"id": "l0", "mac": "52:54:00:aa:bb:02"}
STATIC = {"link": "l0", "family": 4, "method": "static", "address": "192.0.2.10", "prefix": 24,
          "routes": [{"network": "0.0.0.0", "prefix": 0, "gateway": "192.0.2.1"}]}
DHCP = {"link": "l0", "family": 4, "method": "dhcp"}


class Network(unittest.TestCase):
    def line(self, m, notes=0):
        said = []
        line = weasel.network(m, weasel.parse_nics(NICS), said.append)
        self.assertEqual(len(said), notes, said)
        self.said = said
        return line

    def test_static(self):
        m = model([STATIC], [LINK], hostname="h1", fqdn="h1.example.org", dns={"servers": ["192.0.2.2", "2001:db8::1", "192.0.2.3", "192.0.2.4"]})
        self.assertEqual(self.line(m), "network --bootproto=static --device=52:54:00:AA:BB:02 --ip=192.0.2.10 --netmask=255.255.255.0"
                         " --gateway=192.0.2.1 --nameserver=192.0.2.2,192.0.2.3 --hostname=h1.example.org")
        m.networks[0]["dns"] = ["198.51.100.1"]
        self.assertIn("--nameserver=198.51.100.1,192.0.2.2 ", self.line(m))

    def test_without_gateway(self):
        line = self.line(model([dict(STATIC, routes=[])], [LINK]), 1)
        self.assertEqual(line, "network --bootproto=static --device=52:54:00:AA:BB:02 --ip=192.0.2.10 --netmask=255.255.255.0")

    def test_dhcp(self):
        self.assertEqual(self.line(model([DHCP], [LINK], hostname="h", dns={"servers": ["192.0.2.2"]})), "network --bootproto=dhcp --device=52:54:00:AA:BB:02")
        self.assertEqual(self.line(model()), "network --bootproto=dhcp")
        self.assertEqual(self.line(model([DHCP], [{"id": "l0"}])), "network --bootproto=dhcp")
        self.assertEqual(self.line(model([DHCP], [{"id": "l0", "nic": "vmnic10"}])), "network --bootproto=dhcp --device=52:54:00:aa:bb:0a")
        # vmnic1 is not vmnic10.
        self.assertEqual(self.line(model([DHCP], [{"id": "l0", "nic": "vmnic1"}])), "network --bootproto=dhcp --device=52:54:00:AA:BB:02")

    def test_vlan(self):
        links = [LINK, {"id": "v", "kind": "vlan", "vlan": {"id": 101, "link": "l0", "mac": "52:54:00:00:00:99"}}]
        self.assertIn("--device=52:54:00:AA:BB:02 --vlanid=101 --ip=", self.line(model([dict(STATIC, link="v")], links)))
        self.assertEqual(self.line(model([dict(DHCP, link="v")], links)), "network --bootproto=dhcp --device=52:54:00:AA:BB:02 --vlanid=101")
        links[1]["vlan"]["id"] = 0
        self.assertNotIn("vlanid", self.line(model([dict(STATIC, link="v")], links)))

    def test_bond(self):
        """The first card with a carrier; vmnic0 has none."""
        links = [{"id": "a", "mac": "52:54:00:aa:bb:01"}, {"id": "b", "mac": "52:54:00:aa:bb:0a"},
                 {"id": "l0", "kind": "bond", "bond": {"mode": "802.3ad", "links": ["a", "b"]}},
                 {"id": "v", "kind": "vlan", "vlan": {"id": 7, "link": "l0"}}]
        self.assertIn("--device=52:54:00:aa:bb:0a --ip=", self.line(model([STATIC], links), 1))
        self.assertIn("--device=52:54:00:aa:bb:0a --vlanid=7 ", self.line(model([dict(STATIC, link="v")], links), 1))
        links[1]["mac"] = "52:54:00:aa:bb:ff"
        self.assertIn("--device=52:54:00:aa:bb:01 ", self.line(model([STATIC], links), 1))
        links[0]["mac"] = "52:54:00:aa:bb:fe"
        self.assertEqual(self.line(model([STATIC], links), 1), "network --bootproto=dhcp")

    def test_what_the_installer_refuses(self):
        gateway = lambda g: [{"network": "0.0.0.0", "prefix": 0, "gateway": g}]  # noqa: E731
        for change in ({"routes": gateway("198.51.100.1")}, {"routes": gateway("192.0.2.255")}, {"routes": gateway("192.0.2.10")},
                       {"address": "192.0.2.0"}, {"address": "192.0.2.255"}, {"address": "127.0.0.1", "routes": []}, {"address": "224.0.0.5", "routes": []},
                       {"address": "0.1.2.3", "routes": []}, {"address": "192.0.2.2", "prefix": 31, "routes": gateway("192.0.2.3")}):
            self.assertEqual(self.line(model([dict(STATIC, **change)], [LINK]), 1), "network --bootproto=dhcp --device=52:54:00:AA:BB:02", change)
            self.assertIn("the installer takes DHCP", self.said[0])

    def test_unknown_card(self):
        self.assertEqual(self.line(model([STATIC], [dict(LINK, mac="52:54:00:aa:bb:ff")]), 1), "network --bootproto=dhcp")
        self.assertEqual(self.line(model([STATIC], [dict(LINK, mac="00:11:22:33:44:55")]), 1), "network --bootproto=dhcp")  # of a description

    def test_ipv6(self):
        six = {"link": "l0", "family": 6, "method": "static", "address": "2001:db8::10", "prefix": 64, "routes": []}
        self.assertEqual(self.line(model([six], [LINK]), 1), "network --bootproto=dhcp --device=52:54:00:AA:BB:02")
        self.assertIn("--ip=192.0.2.10", self.line(model([six, STATIC], [LINK])))

    def test_cards(self):
        found = weasel.parse_nics(NICS)
        self.assertEqual([(n.name, n.mac, n.up) for n in found], [
            ("vmnic0", "52:54:00:aa:bb:01", False), ("vmnic1", "52:54:00:AA:BB:02", True), ("vmnic10", "52:54:00:aa:bb:0a", True)])
        for text in ("", "x", "vmnic0", "vmnic0 Up Up", NICS[:150]):
            self.assertEqual(weasel.parse_nics(text), [])
        old = "Name    PCI          Driver      Link Speed      Duplex MAC Address       MTU    Description\n" \
              "vmnic0  0000:02:00.0 ixgben      Up   10000Mbps  Full   52:54:00:aa:bb:01 1500   Intel\n"
        self.assertEqual([(n.mac, n.up) for n in weasel.parse_nics(old)], [("52:54:00:aa:bb:01", True)])


class Install(unittest.TestCase):
    def line(self, kinds=(), name="naa.1", problem=None, **settings):
        merged = dict({"disk": None, "overwritevmfs": None, "overwritevsan": None}, **settings)
        disk = disks.Disk(name, "/dev/disks/" + name)
        disk.problem = problem
        disk.table = parttable.Table("x", [parttable.Partition(1, kind, "g", 0, 1) for kind in kinds])
        return weasel.install(disks.Choice(disk=disk, reason="why"), merged)

    def test_disk(self):
        self.assertEqual(self.line(), "install --disk=naa.1 --overwritevmfs")
        self.assertEqual(self.line(name="mpx.vmhba0:C0:T0:L0"), "install --disk=mpx.vmhba0:C0:T0:L0 --overwritevmfs")
        line = self.line(name="t10.x 'y\"")
        self.assertEqual(shlex.split(line, True), ["install", "--disk=t10.x 'y\"", "--overwritevmfs"])

    def test_vmfs(self):
        for kind in parttable.VMFS:
            self.assertRaises(Refused, self.line, [kind])
            self.assertEqual(self.line([kind], overwritevmfs=True), "install --disk=naa.1 --overwritevmfs")
            self.assertEqual(self.line([kind], overwritevmfs=False), "install --disk=naa.1 --preservevmfs")

    def test_disk_that_can_not_be_read(self):
        """What it holds isn't known: the installer stops at a datastore."""
        self.assertEqual(self.line(problem="x"), "install --disk=naa.1")
        self.assertEqual(self.line(problem="x", overwritevmfs=True), "install --disk=naa.1 --overwritevmfs")

    def test_vsan(self):
        for kind in parttable.VSAN:
            self.assertRaises(Refused, self.line, [kind])
            self.assertRaises(Refused, self.line, [kind], overwritevmfs=True)
            self.assertEqual(self.line([kind], overwritevsan=True), "install --disk=naa.1 --overwritevmfs --overwritevsan")
        self.assertNotIn("vsan", self.line(overwritevsan=True))

    def test_firstdisk(self):
        settings = {"disk": None, "overwritevmfs": None, "overwritevsan": None}
        choice = disks.Choice(firstdisk=["ST 300", "local"])
        self.assertEqual(shlex.split(weasel.install(choice, settings)), ["install", "--firstdisk=ST 300,local"])
        self.assertIn("--overwritevmfs", weasel.install(choice, dict(settings, overwritevmfs=True)))
        self.assertIn("--preservevmfs", weasel.install(choice, dict(settings, overwritevmfs=False)))
        self.assertEqual(weasel.install(None, settings), "install --firstdisk=DELL,hpsa,nhpsa,smartpqi,local --overwritevmfs")


class NoImage(unittest.TestCase):
    def test_vmfs_as_told(self):
        for told, option in ((None, "--overwritevmfs"), (True, "--overwritevmfs"), (False, "--preservevmfs")):
            self.assertEqual(weasel.install(None, {"disk": None, "overwritevmfs": told, "overwritevsan": None}),
                             "install --firstdisk=%s %s" % (weasel.FIRSTDISK, option))


if __name__ == "__main__":
    unittest.main()
