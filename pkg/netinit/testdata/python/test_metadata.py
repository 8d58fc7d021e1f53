"""Metadata into the model: what is read, what prevails, what is told."""
import base64
import copy
import json
import os
import pickle
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "files")]

from folders import KEY, META, NETWORK, V1, V2, Folder, drive  # noqa: E402
from esxi_netinit import addresses, loader, model, validate  # noqa: E402
from esxi_netinit.errors import MetadataError  # noqa: E402

HASH = "$6$saltsalt$" + "a" * 86
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----\n"


def load(files, **kwargs):
    with Folder(files) as folder:
        return loader.load_reported(folder.path, **kwargs)


def user(text, **kwargs):
    """(model, secrets, found) of a config drive with that user_data."""
    got = load(drive(user_data=text, network=None, **kwargs))
    return got[0], got[1], got[2].found


def told(found):
    return ["%s: %s" % (path, message) for _, path, message in found]


class TestNetworkData(unittest.TestCase):
    def test_all(self):
        got, _, problems = load(drive())
        self.assertEqual(problems.found, [])
        self.assertEqual([link["id"] for link in got.links], ["vlan0", "bond0", "p0", "p1", "p2"])
        self.assertEqual(got.link("p0")["mac"], "00:11:22:aa:bb:cc")
        self.assertEqual(got.link("p0")["mtu"], None)
        self.assertEqual(got.link("bond0")["bond"], {
            "mode": "802.3ad", "links": ["p0", "p1"], "primary": None, "miimon": None, "xmit_hash_policy": "layer2+3"})
        self.assertEqual(got.link("vlan0")["vlan"], {"id": 101, "link": "bond0", "mac": "00:11:22:33:44:57"})
        n0, n1, n2, n3 = got.networks
        self.assertEqual((n0["family"], n0["method"], n0["address"], n0["prefix"]), (4, "static", "10.0.0.5", 24))
        self.assertEqual(n0["routes"], [
            {"network": "0.0.0.0", "prefix": 0, "gateway": "10.0.0.1"}, {"network": "192.168.0.0", "prefix": 16, "gateway": "10.0.0.2"}])
        self.assertEqual(n0["dns"], ["10.0.0.53", "10.0.0.54"])
        self.assertEqual((n1["address"], n1["prefix"], n1["routes"]), ("fd00::5", 64, [{"network": "::", "prefix": 0, "gateway": "fe80::1"}]))
        self.assertEqual([(n["family"], n["method"]) for n in (n2, n3)], [(4, "dhcp"), (6, "slaac")])
        self.assertEqual(got.dns["servers"], ["10.0.0.53", "10.0.0.55", "10.0.0.54", "fd00::53"])
        self.assertEqual(got.management()["id"], "n0")
        physical, vlan, bond = got.uplinks("vlan0")
        self.assertEqual(([p["id"] for p in physical], vlan, bond["id"]), (["p0", "p1"], 101, "bond0"))
        self.assertEqual([got.mac_of(i) for i in ("vlan0", "bond0", "p0")], ["00:11:22:33:44:57", "00:11:22:33:44:55", "00:11:22:aa:bb:cc"])
        self.assertEqual([got.mtu_of(i) for i in ("vlan0", "bond0", "p2")], [1450, 9000, None])
        self.assertEqual(model.Model.from_dict(json.loads(json.dumps(got.to_dict()))).to_dict(), got.to_dict())

    def change(self, place, value):
        """(model, what is told) with one member set, or gone with KeyError."""
        network = copy.deepcopy(NETWORK)
        node = network
        for key in place[:-1]:
            node = node[key]
        if value is KeyError:
            del node[place[-1]]
        else:
            node[place[-1]] = value
        got, _, problems = load(drive(network=network))
        for severity, path, message in problems.found:
            if severity == "error":
                # Strict reading stops at just that.
                with self.assertRaises(MetadataError) as caught:
                    load(drive(network=network), strict=True)
                self.assertEqual((caught.exception.path, caught.exception.message), (path, message))
                break
        else:
            load(drive(network=network), strict=True)
        return got, told(problems.found)

    def test_wrong(self):
        """A broken element is told with its path; the others stay."""
        cases = [
            # (place, value, path, ids of networks that are left)
            (("links", 0, "vlan_id"), 4095, "$.links[0].vlan_id", "n2 n3"), (("links", 0, "vlan_id"), KeyError, "$.links[0]", "n2 n3"),
            (("links", 0, "vlan_link"), "none", "$.links[0]", "n2 n3"), (("links", 1, "bond_links"), ["x"], "$.links[1]", "n2 n3"),
            (("links", 1, "bond_links"), ["p0", "x"], "$.links[1]", "n0 n1 n2 n3"), (("links", 1, "bond_links"), "p0", "$.links[1].bond_links", "n2 n3"),
            (("links", 0, "vlan_link"), "vlan0", "$.links[0]", "n2 n3"), (("links", 4, "id"), "p1", "$.links[4]", "n0 n1"),
            (("links", 4, "ethernet_mac_address"), "00:11:22", "$.links[4].ethernet_mac_address", "n0 n1 n2 n3"),
            (("links", 4, "ethernet_mac_address"), "ff:ff:ff:ff:ff:ff", "$.links[4].ethernet_mac_address", "n0 n1 n2 n3"),
            (("links", 4, "id"), KeyError, "$.links[4]", "n0 n1"), (("networks", 0, "link"), "x", "$.networks[0].link", "n1 n2 n3"),
            (("networks", 0, "ip_address"), "10.0.0.300", "$.networks[0].ip_address", "n1 n2 n3"),
            (("networks", 0, "ip_address"), "10.0.0.0", "$.networks[0].ip_address", "n1 n2 n3"),
            (("networks", 0, "ip_address"), "10.0.0.255", "$.networks[0].ip_address", "n1 n2 n3"),
            (("networks", 0, "ip_address"), "fd00::1", "$.networks[0].ip_address", "n1 n2 n3"),
            (("networks", 0, "netmask"), "255.0.255.0", "$.networks[0].netmask", "n1 n2 n3"),
            (("networks", 0, "netmask"), KeyError, "$.networks[0].ip_address", "n1 n2 n3"),
            (("networks", 1, "netmask"), "ffff::", "$.networks[1].netmask", "n0 n2 n3"), (("networks", 0, "type"), "ipv5", "$.networks[0].type", "n1 n2 n3"),
            (("networks", 0, "routes", 0, "gateway"), "0.0.0.0", "$.networks[0].routes[0].gateway", "n0 n1 n2 n3"),
            (("networks", 0, "routes", 0, "gateway"), None, "$.networks[0].routes[0]", "n0 n1 n2 n3"),
            (("networks", 0, "routes"), {}, "$.networks[0].routes", "n0 n1 n2 n3"), (("networks", 2), 7, "$.networks[2]", "n0 n1 n3"),
            (("networks",), "x", "$.networks", ""), (("links",), None, "$.networks[0].link", ""),
            (("services", 0, "address"), "dns.example.org", "$.services[0].address", "n0 n1 n2 n3"),
        ]
        for place, value, path, left in cases:
            got, said = self.change(place, value)
            self.assertTrue(any(line.startswith("network_data.json:%s: " % path) for line in said), (place, value, said))
            self.assertEqual([n["id"] for n in got.networks], left.split(), (place, value, said))

    def test_noted(self):
        cases = [
            (("links", 2, "mtu"), 100, "$.links[2].mtu"), (("links", 2, "type"), "carrier pigeon", "$.links[2].type"),
            (("links", 1, "bond_mode"), "best", "$.links[1].bond_mode"), (("links", 2, "speed"), 1, "$.links[2].speed"),
            (("networks", 0, "routes", 0, "gateway"), "10.0.1.1", "$.networks[0]"), (("networks", 3, "id"), "n2", "$.networks[3]"),
            (("services", 0, "type"), "smtp", "$.services[0].type"), (("links", 4, "ethernet_mac_address"), None, "$.links[4]"),
            (("links", 4, "ethernet_mac_address"), "00:11:22:aa:bb:cd", "$.links[4]"),
        ]
        for place, value, path in cases:
            got, said = self.change(place, value)
            self.assertTrue(any(line.startswith("network_data.json:%s: " % path) for line in said), (place, value, said))
            self.assertEqual((len(got.links), len(got.networks)), (5, 4), (place, value))
            self.assertEqual(said, ["%s: %s" % (n["path"], n["message"]) for n in got.notes])

    def test_taken(self):
        cases = [
            (("links", 0, "vlan_id"), "101"), (("links", 2, "mtu"), "1500"), (("links", 2, "mtu"), 1500.0), (("links", 1, "bond_mode"), "4"),
            (("links", 1, "bond_mode"), 4), (("networks", 0, "netmask"), "24"), (("networks", 0, "netmask"), 24), (("networks", 1, "netmask"), None),
            (("links", 2, "ethernet_mac_address"), "0011.22aa.bbcc".replace(".", "")), (("links", 2, "ethernet_mac_address"), "00-11-22-AA-BB-CC"),
            (("links", 2, "id"), "p0"), (("networks", 2, "routes"), None), (("networks", 0, "network_id"), None),
        ]
        for place, value in cases:
            got, said = self.change(place, value)
            self.assertEqual(said, [], (place, value))
            self.assertEqual(got.link("p0")["mac"], "00:11:22:aa:bb:cc")

    def test_order(self):
        """The order of links does not matter."""
        network = dict(NETWORK, links=NETWORK["links"][::-1])
        got, _, problems = load(drive(network=network))
        self.assertEqual(problems.found, [])
        self.assertEqual(got.networks, load(drive())[0].networks)

    def test_files(self):
        """Broken files cost what they hold, and nothing else."""
        for text, message in (("{", "is not JSON"), ("[" * 50, "levels"), ("[]", "a list"), ("1" * 30, "digits"), ("{\"a\": NaN}", "NaN"), (b"\xff", "UTF-8"),
                              (" " * (2 << 20), "bytes"), ("{\"a\": 1e999}", "not supported"), ("\"x\"", "a text")):
            got, _, problems = load(drive(network=text))
            self.assertTrue(any("network_data.json" in line and message in line for line in told(problems.found)), (text[:20], problems.found))
            self.assertEqual(got.hostname, "esx1.example.org")
            got, _, problems = load(drive(meta=text))
            self.assertTrue(any("meta_data.json" in line and message in line for line in told(problems.found)), (text[:20], problems.found))
            self.assertEqual(len(got.networks), 4)
        got, _, problems = load(drive(network="", meta=""))
        self.assertEqual(told(problems.found), ["meta_data.json: is empty", "network_data.json: is empty"])
        self.assertRaises(MetadataError, load, {})
        self.assertRaises(MetadataError, load, {"readme": "x"})


class TestUserData(unittest.TestCase):
    def test_kinds(self):
        for text, want in (("#!/bin/sh\necho", "sh"), ("#!/bin/python\nx", "python"), ("#!/usr/bin/env python3\nx", "python"), ("#! /bin/busybox ash\nx", "sh"), ("#!/bin/python3.8\r\nx\r\n", "python")):
            got, _, found = user(text)
            self.assertEqual(([c["interpreter"] for c in got.commands], found), ([want], []), text)
            self.assertNotIn("\r", got.commands[0]["text"])
        for text, message in (("#!/bin/bash\necho", "interpreter"), ("#!\nx", "interpreter"), ("Content-Type: multipart/mixed; boundary=x\n\n--x\n", "MIME"), (b"\x1f\x8b\x08\x00", "compressed"),
                              ("#include\nhttp://x", "include"), ("## template: jinja\n#cloud-config\na: b\n", "Jinja"), ("just text\n", "neither"), ("#cloud-config\n- a\n", "neither"), ("#cloud-config\na: &b c\n", "anchor"), (b"#cloud-config\n\xff", "UTF-8")):
            got, _, found = user(text)
            self.assertTrue(len(found) == 1 and message in found[0][2] and found[0][1].startswith("user_data"), (text, found))
            self.assertEqual((got.commands, got.hostname), ([], "esx1.example.org"))
        for text in ("", "\n", "#cloud-config\n", "# nothing\n"):
            self.assertEqual(user(text)[2], [])

    def test_forms(self):
        """JSON, YAML, and the predecessor's YAML without a first line."""
        for text in ("#cloud-config\n{\"hostname\": \"h9\", \"configure_all_networks\": true, \"first_extra_vswitch_number\": 31}", "{\"hostname\": \"h9\", \"configure_all_networks\": true, \"first_extra_vswitch_number\": 31}",
                     "#cloud-config\nhostname: h9\nconfigure_all_networks: yes\nfirst_extra_vswitch_number: 31\n", "hostname: h9\nconfigure_all_networks: true\nfirst_extra_vswitch_number: 31\n", "\ufeff#cloud-config\r\nhostname: 'h9'\r\nconfigure_all_networks: True\r\nfirst_extra_vswitch_number: \"31\"\r\n",
                     "#cloud-config\n{hostname: h9, configure_all_networks: on, first_extra_vswitch_number: 31}\n"):
            got, _, found = user(text)
            self.assertEqual((got.hostname, got.fqdn, got.options["configure_all_networks"], got.options["first_extra_vswitch_number"], found), ("h9", None, True, 31, []), text)

    def test_predecessor(self):
        for last in ("extra_portgroup_prefix: internal_net_vid_", "esxi: {extra_portgroup_prefix: internal_net_vid_}"):
            got, _, found = user("configure_all_networks: false\nmanagement_vswitch: \"vSwitch22\"\nmanagement_portgroup: mgmt\nfirst_extra_vswitch_number: 31\n%s\n" % last)
            self.assertEqual(found, [], last)
            want = {"configure_all_networks": False, "management_vswitch": "vSwitch22", "management_portgroup": "mgmt", "first_extra_vswitch_number": 31, "extra_portgroup_prefix": "internal_net_vid_"}
            self.assertEqual({key: got.options[key] for key in want}, want)
        self.assertIsNone(user("hostname: x")[0].options["configure_all_networks"])

    def test_names(self):
        for text, want in (("hostname: a", ("a", None)), ("fqdn: a.b", ("a.b", "a.b")), ("hostname: a\nfqdn: c.d", ("a", "c.d")), ("hostname: a.b", ("a.b", "a.b")), ("hostname: a_b", ("esx1.example.org", "esx1.example.org")), ("hostname: localhost", ("esx1.example.org", "esx1.example.org")), ("fqdn: h.b.", ("h.b", "h.b"))):
            got = user(text)[0]
            self.assertEqual((got.hostname, got.fqdn), want, text)
        got = load(drive(meta={"hostname": "My Server!", "name": "s1"}))
        self.assertEqual((got[0].hostname, len(got[2].found)), ("s1", 1))

    def test_passwords(self):
        for text, want in (("password: 0123456", ("0123456", None)), ("password: 'a # b'", ("a # b", None)), ("{\"password\": 12345678}", ("12345678", None)), ("password: " + HASH, (None, HASH)), ("chpasswd:\n  list: |\n    other:no\n    root:a:b c\n", ("a:b c", None)),
                           ("chpasswd: {expire: false, list: ['root:x y']}", ("x y", None)), ("chpasswd:\n  users:\n    - {name: root, password: pw9, type: text}\n", ("pw9", None)), ("chpasswd:\n  users:\n    - {name: root, password: \"%s\"}\n" % HASH, (None, HASH)),
                           ("users:\n- default\n- name: root\n  passwd: %s\n" % HASH, (None, HASH)), ("users: [{name: root, plain_text_passwd: pp}]", ("pp", None)), ("chpasswd: {list: 'root:last'}\npassword: mid\nusers: [{name: root, plain_text_passwd: pp}]", ("last", None)),
                           ("hostname: x", ("from meta", None)), ("password: ''", ("from meta", None)), ("chpasswd: {list: 'root:RANDOM'}", ("from meta", None)), ("password: $6$rounds=5000$salt$" + "a" * 86, ("from meta", None)), ("users: [{name: root, passwd: '*'}]", ("from meta", None)), ("password: [a]", ("from meta", None)), ("{\"password\": true}", ("from meta", None)), ("{\"password\": \"a\\u0000\"}", ("from meta", None)), ("{\"password\": \"\\ud800\"}", ("from meta", None))):
            got, secrets, _ = user(text, meta=dict(META, admin_pass="from meta"))
            self.assertEqual((secrets.root_password, secrets.root_hash), want, text)
            self.assertNotIn(want[0] or want[1], json.dumps(got.to_dict()), text)
        for password in (None, ""):
            self.assertFalse(load(drive(meta=dict(META, admin_pass=password)))[1])
        self.assertEqual(load(drive(meta=dict(META, admin_pass=7)))[1].root_password, "7")

    def test_hashes(self):
        """A hash that the installer refuses costs neither another password
        nor the host: it is told, and as if it were not there."""
        refused = ("$1$salt$" + "a" * 22, "$5$salt$" + "a" * 43, "$6$rounds=5000$salt$" + "a" * 86, "$6$" + "s" * 17 + "$" + "a" * 86, "$2b$10$" + "a" * 53, "$y$j9T$salt$" + "a" * 43)
        for given in refused:
            for text, key in (("password: '%s'", "password"), ("users: [{name: root, passwd: '%s'}]", "users[0].passwd"), ("users: [{name: root, hashed_passwd: '%s'}]", "users[0].hashed_passwd"),
                              ("chpasswd: {users: [{name: root, password: '%s'}]}", "chpasswd.users[0].password"), ("chpasswd: {list: ['root:%s']}", "chpasswd.list[0]")):
                _, secrets, found = user(text % given, meta=dict(META, admin_pass="from meta"))
                self.assertEqual((secrets.root_password, secrets.root_hash), ("from meta", None), given)
                self.assertEqual([(severity, path) for severity, path, _ in found], [("error", "user_data:1:$." + key)], given)
                self.assertIn("openssl passwd -6", found[0][2])
                self.assertFalse(user(text % given)[1])
        # A plain password elsewhere in the same file is used.
        self.assertEqual(user("password: plain1\nusers: [{name: root, passwd: '%s'}]" % refused[0])[1].root_password, "plain1")

    def test_secrets_stay(self):
        secrets = model.Secrets("Canary", "x")
        self.assertNotIn("Canary", repr(secrets) + str(secrets) + "%r" % ([secrets],))
        self.assertRaises(TypeError, pickle.dumps, secrets)
        self.assertRaises(TypeError, copy.deepcopy, secrets)
        self.assertRaises(TypeError, json.dumps, secrets)

    def test_scrubbed(self):
        """What repeats root's password does not go to the boot bank."""
        text = ("#cloud-config\npassword: Canary4711\nruncmd: ['echo Canary4711', [a, xCanary4711y], ls]\nbootcmd: [date]\nphone_home: {url: 'http://x/?p=Canary4711'}\nwrite_files:\n"
                "- {path: /a, content: %s, encoding: b64}\n- {path: /b, content: ok}\nesxi: {kernel_options: [a=Canary4711, b]}\n" % base64.b64encode(b"x Canary4711").decode())
        got, _, found = user(text)
        self.assertNotIn("Canary", json.dumps(got.to_dict()))
        self.assertEqual([c["text"] for c in got.commands], ["date", "ls"])
        self.assertEqual([f["path"] for f in got.write_files], ["/b"])
        # Nor is it told as the name of something.
        got, _, found = user("#cloud-config\npassword: Canary4711\nchpasswd: {Canary4711: x}\n")
        self.assertNotIn("Canary", json.dumps(got.to_dict()) + repr(found))
        got, _, found = user(text)
        self.assertEqual((got.phone_home, got.kernel_options, len(found)), (None, ["b"], 5))

    def test_keys(self):
        other = "ssh-rsa AAAAB3NzaC1yc2E= \u00fc@x"
        got, _, found = user("ssh_authorized_keys:\n- %s\nusers:\n- name: root\n  ssh_authorized_keys: ['%s', nonsense]\n- name: joe\n  ssh_authorized_keys: [ssh-rsa AAAA joe]\n" % (KEY, other))
        self.assertEqual(got.ssh_keys, [KEY, "ssh-rsa AAAAB3NzaC1yc2E="])
        self.assertEqual(told(found), ["user_data:5:$.users[0].ssh_authorized_keys[1]: is not an SSH public key", "user_data:6:$.users[1]: is another user than root: ignored"])
        self.assertEqual(got.ssh, {"enable": True, "shell": False})
        self.assertEqual(user("esxi: {ssh: {enable: false, shell: true}}")[0].ssh, {"enable": False, "shell": True})
        self.assertEqual(load(drive(meta={}))[0].ssh, {"enable": False, "shell": False})

    def test_commands(self):
        got, _, found = user("runcmd:\n- echo a\n- [ls, -l]\n- {x: y}\n- ''\nbootcmd: [date]\n", **{"vendor_data.json": {"cloud-init": "#!/bin/sh\nvendor\n"}})
        self.assertEqual([(c["when"], c.get("text", c.get("argv"))) for c in got.commands], [("boot", "date"), ("run", "#!/bin/sh\nvendor\n"), ("run", "echo a"), ("run", ["ls", "-l"])])
        self.assertEqual([path for _, path, _ in found], ["user_data:4:$.runcmd[2]", "user_data:5:$.runcmd[3]"])
        self.assertEqual([c["origin"] for c in got.commands], ["user_data:6:$.bootcmd[0]", "vendor_data.json:$.cloud-init", "user_data:2:$.runcmd[0]", "user_data:3:$.runcmd[1]"])

    def test_others(self):
        pem = "\n".join("    " + line for line in PEM.splitlines())
        got, _, found = user("#cloud-config\nntp: {servers: [10.0.0.9, bad_name], pools: [p.example.org]}\nca_certs:\n  trusted:\n  - |\n%s\nphone_home: {url: 'http://10.0.0.1/$INSTANCE_ID/', post: [hostname, weight], tries: 3}\n"
                             "power_state: {mode: reboot, delay: now}\nwrite_files:\n- {path: /etc/x, content: hi, permissions: 0600}\n- {path: x, content: hi}\n- {path: /y, content: hi, append: true}\npackages: [vim]\n"
                             "esxi:\n  syslog: udp://10.0.0.7:514\n  license: aaaaa-bbbbb-ccccc-ddddd-00000\n  serial_console: true\n  kernel_options: a=b c\n  keep: true\n  reboot: false\n  colour: red\n" % pem)
        self.assertEqual((got.ntp, got.ca_certs), (["10.0.0.9", "p.example.org"], [PEM]))
        self.assertEqual(got.phone_home, {"url": "http://10.0.0.1/%s/" % META["uuid"], "post": ["hostname"], "tries": 3})
        self.assertEqual(got.write_files, [{"path": "/etc/x", "mode": "0600", "content_b64": "aGk="}])
        self.assertEqual((got.syslog, got.license, got.serial_console, got.kernel_options), ("udp://10.0.0.7:514", "AAAAA-BBBBB-CCCCC-DDDDD-00000", True, ["a=b", "c"]))
        self.assertEqual((got.options["keep"], got.options["reboot"]), (True, False))
        self.assertEqual(len(found), 6, found)
        self.assertIn("user_data:16:$.packages: is not supported", told(found))
        self.assertIsNone(user("phone_home: {url: 'http://me:pw@x/'}")[0].phone_home)

    def test_vendor(self):
        """vendor-data before user-data, by key."""
        vendor = {"cloud-init": "#cloud-config\nhostname: v1\nruncmd: [v]\nntp: {servers: [10.0.0.1], pools: [p.x]}\npassword: vendor\n"}
        got, secrets, found = user("#cloud-config\nruncmd: [u]\nntp: {servers: [10.0.0.2]}\n", **{"vendor_data.json": vendor, "vendor_data2.json": {"static": {"cloud-init": "fqdn: v2.x\n"}}})
        self.assertEqual((got.hostname, got.fqdn, [c["text"] for c in got.commands], got.ntp, secrets.root_password, found), ("v1", "v2.x", ["u"], ["10.0.0.2", "p.x"], "vendor", []))
        for vendor, n in (({}, 0), ({"x": 1}, 1), ("#cloud-config\na: *b", 1), (["hostname: q"], 0), (7, 1), ({"cloud-init": 7}, 1)):
            self.assertEqual(len(user("", **{"vendor_data.json": vendor})[2]), n, vendor)

    def test_disk_of_the_image(self):
        """The program that builds an image reads the same words the same way."""
        with open(os.path.join(HERE, "..", "..", "..", "imager", "testdata", "install-disk.json"), "rb") as f:
            vectors = json.loads(f.read().decode("utf-8"))
        for vector in vectors:
            got, _, problems = load(drive(meta=dict(META, meta={"esxi_install_disk": vector["spec"]}), network=None))
            disk = got.install["disk"]
            found = None if disk is None else {k: v for k, v in disk.items() if v not in (None, False, [])}
            self.assertEqual((found, len(problems.found)), (vector.get("disk"), int("disk" not in vector)), vector["spec"])

    def test_disk(self):
        for text, want in (("serial=A B", {"serial": "A B"}), ("wwn=naa.600508B1001C4D41", {"wwn": "0x600508b1001c4d41"}), ("smallest", {"size": "smallest"}), ("size=largest;model=X Y;min_gib=32", {"size": "largest", "model": "X Y", "min_bytes": 32 << 30}),
                           ("naa.123", {"path": "naa.123"}), ("/vmfs/devices/disks/x", {"path": "/vmfs/devices/disks/x"}), ("image", {"image": True}), ("firstdisk=local,esx", {"firstdisk": ["local", "esx"]}), ("{\"serial\": \"S\"}", {"serial": "S"}),
                           ({"firstdisk": ["a", "b"]}, {"firstdisk": ["a", "b"]}), ("junk", None), ("x=y", None), ("", None), ("image=true;serial=x", None), ("{", None), ("wwn=zz", None), ("size=big", None), ("{\"a\": 1}", None), ("serial=", None), ("min_gib=-1", None)):
            key, meta = ("esxi_install_disk", text) if isinstance(text, str) else ("x", "y")
            got, _, problems = load(drive(meta=dict(META, meta={key: meta}), user_data="" if isinstance(text, str) else json.dumps({"esxi": {"install_disk": text}})))
            disk = got.install["disk"]
            if want is not None:
                self.assertEqual(problems.found, [], text)
                self.assertEqual({k: v for k, v in disk.items() if v not in (None, False, [])}, want, text)
            else:
                self.assertEqual((disk, [p[1].rpartition(":$.a")[0] or p[1] for p in problems.found]), (None, ["meta_data.json:$.meta.esxi_install_disk"]), text)


class TestNoCloud(unittest.TestCase):
    def test_v2(self):
        got, _, problems = load({"meta-data": "instance-id: i1\nlocal-hostname: h1.x\npublic-keys: {k: %s}\n" % KEY, "network-config": V2, "USER-DATA": "#cloud-config\nntp: {servers: [t.x]}\n"})
        self.assertEqual(problems.found, [])
        self.assertEqual((got.source, got.instance_id, got.fqdn, got.ssh_keys, got.ntp), ("nocloud", "i1", "h1.x", [KEY], ["t.x"]))
        self.assertEqual([(link["id"], link["kind"], link["mac"], link["nic"]) for link in got.links], [("e0", "physical", "00:11:22:aa:bb:cc", None), ("vmnic3", "physical", None, "vmnic3"), ("b0", "bond", None, None), ("v7", "vlan", None, None)])
        self.assertEqual([(n["id"], n["method"]) for n in got.networks], [("vmnic3-ipv4", "dhcp"), ("vmnic3-ipv6", "slaac"), ("b0-ipv4", "static"), ("b0-ipv6", "static"), ("v7-ipv6", "dhcpv6")])
        self.assertEqual((got.management()["id"], got.networks[2]["dns"], got.dns), ("b0-ipv4", ["10.0.0.53"], {"servers": ["10.0.0.53"], "search": ["example.org"]}))
        self.assertEqual([r["gateway"] for r in got.networks[2]["routes"] + got.networks[3]["routes"]], ["10.0.0.1", "10.0.0.2", "fe80::1"])

    def test_v1(self):
        got, _, problems = load({"meta-data": "", "network-config": V1})
        self.assertEqual(problems.found, [])
        self.assertEqual([(link["id"], link["kind"]) for link in got.links], [("e0", "physical"), ("b0", "bond"), ("e1", "physical"), ("v7", "vlan")])
        self.assertEqual([(n["id"], n["method"], len(n["routes"])) for n in got.networks], [("e0-ipv4", "static", 2), ("v7-ipv6", "dhcpv6", 0)])
        self.assertEqual((got.dns, got.link("b0")["bond"]["primary"]), ({"servers": ["10.0.0.54", "10.0.0.53"], "search": ["lab.example.org", "example.org"]}, "e1"))

    def test_wrong(self):
        for text, path in (("version: 3\n", "network-config:1:$.version"), ("a: b\n", "network-config:1"), ("version: 2\nethernets:\n  e0: {match: {name: 'eth*'}}\n", "network-config:3:$.ethernets.e0.match.name"), ("version: 2\nbridges:\n  b: {}\n", "network-config:2:$.bridges"),
                           ("version: 1\nconfig:\n- {type: physical}\n", "network-config:3:$.config[0]"), ("version: 2\nvlans:\n  v: {id: 9999, link: x}\n", "network-config:3:$.vlans.v.id"), ("{\"version\": 2, \"ethernets\": {\"e0\": 7}}", "network-config:$.ethernets.e0")):
            self.assertIn(path, [p for _, p, _ in load({"network-config": text})[2].found], text)
        got, _, problems = load({"network-config": "network: {config: disabled}\n"})
        self.assertEqual((got.networks, len(problems.found)), ([], 1))

    def test_layouts(self):
        """A config drive prevails; a dated folder stands in for latest."""
        both = dict(drive(), **{"meta-data": "local-hostname: other\n"})
        got, _, problems = load(both)
        self.assertEqual((got.source, got.hostname, told(problems.found)), ("openstack", "esx1.example.org", ["meta-data: is not read: there is a config drive beside it"]))
        dated = {"OPENSTACK/%s/META_DATA.JSON" % d: {"hostname": h} for d, h in (("2012-08-10", "old"), ("2018-08-27", "new"), ("junk", "no"))}
        self.assertEqual(load(dated)[0].hostname, "new")
        self.assertEqual(load(drive(), source="image")[0].source, "image")


class TestModel(unittest.TestCase):
    def test_refused(self):
        good = load(drive())[0].to_dict()
        model.Model.from_dict(good)
        cases = [
            ((), {}, "$.version"), (("version",), 2, "$.version"), (("extra",), 1, "$.extra"), (("hostname",), 1, "$.hostname"), (("hostname",), "a b", "$.hostname"), (("ssh", "enable"), 1, "$.ssh.enable"),
            (("links", 0, "vlan", "link"), "vlan0", "$.links[0].vlan.link"), (("links", 1, "bond", "links", 0), "vlan0", "$.links[1].bond.links[0]"), (("links", 2, "mac"), "00:11:22:AA:BB:CC", "$.links[2].mac"), (("links", 4, "kind"), "bond", "$.links[4].bond"),
            (("links", 2, "id"), "p1", "$.links[3].id"), (("networks", 0, "link"), "x", "$.networks[0].link"), (("networks", 0, "address"), None, "$.networks[0].address"), (("networks", 0, "address"), "fd00::1", "$.networks[0].address"), (("networks", 0, "prefix"), 33, "$.networks[0].prefix"),
            (("networks", 0, "family"), True, "$.networks[0].family"), (("networks", 2, "method"), "slaac", "$.networks[2].method"), (("networks", 0, "routes", 0, "gateway"), "fe80::1", "$.networks[0].routes[0].gateway"), (("ssh_keys",), ["command=\"x\" ssh-rsa AAAA"], "$.ssh_keys[0]"), (("ssh_keys",), ["ssh-rsa AAAA\nssh-rsa BBBB"], "$.ssh_keys[0]"),
            (("license",), "x", "$.license"), (("commands",), [{"text": "x", "argv": ["y"]}], "$.commands[0].text"), (("commands",), [7], "$.commands[0]"), (("write_files",), [{"path": "/a/../b", "content_b64": ""}], "$.write_files[0].path"), (("write_files",), [{"path": "/a", "content_b64": "%"}], "$.write_files[0].content_b64"),
            (("kernel_options",), ["a b"], "$.kernel_options[0]"), (("kernel_options",), ["a---b"], "$.kernel_options[0]"), (("phone_home",), {"url": "ftp://x"}, "$.phone_home.url"), (("root_password",), "x", "$.root_password"), (("dns", "servers"), ["x"], "$.dns.servers[0]"), (("ca_certs",), ["x"], "$.ca_certs[0]"),
        ]
        for place, value, path in cases:
            data = copy.deepcopy(good)
            node = data
            for key in place[:-1]:
                node = node[key]
            if place:
                node[place[-1]] = value
            else:
                data = value
            with self.assertRaises(MetadataError) as caught:
                model.Model.from_dict(data)
            self.assertEqual(caught.exception.path, path, (place, value))

    def test_management(self):
        """The first static one with a default route, else DHCP, else any."""
        def network(name, family, method, default):
            address, prefix = ("10.0.0.2", 24) if family == 4 else ("fd00::2", 64)
            route = {"network": "0.0.0.0" if family == 4 else "::", "prefix": 0, "gateway": "10.0.0.1" if family == 4 else "fe80::1"}
            static = method == "static"
            return {"id": name, "link": "l", "family": family, "method": method, "address": address if static else None, "prefix": prefix if static else None, "routes": [route] if default else [], "dns": []}
        plain, routed, dhcp, six = network("plain", 4, "static", False), network("routed", 4, "static", True), network("dhcp", 4, "dhcp", False), network("six", 6, "static", True)
        for networks, want in (([plain, dhcp, six, routed], "routed"), ([six, plain, dhcp], "dhcp"), ([six, plain], "plain"), ([network("x", 6, "slaac", False), six], "six"), ([], None)):
            data = model.Model().to_dict()
            data.update(links=[{"id": "l"}], networks=networks)
            got = model.Model.from_dict(data).management()
            self.assertEqual(got and got["id"], want)

    def test_fresh(self):
        """Two models share nothing."""
        one, two = model.Model(), model.Model()
        one.ssh_keys.append(KEY)
        one.ssh["enable"] = True
        one.dns["servers"].append("10.0.0.1")
        self.assertEqual(two.to_dict(), model.Model().to_dict())
        self.assertEqual((two.ssh_keys, two.ssh["enable"], two.dns["servers"]), ([], False, []))


class TestAddresses(unittest.TestCase):
    def test_refused(self):
        for value in ("", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 5", "fe80::1%eth0", "::1::2", "12345::", None, 7, "1.2.3.4\n5", "\u0661.2.3.4", ":", "x"):
            self.assertRaises(ValueError, addresses.address, value)
        for value in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"):
            self.assertRaises(ValueError, addresses.usable, value)
        for value in ("00:11:22:33:44", "00:11:22-33:44:55", "00:00:00:00:00:00", "01:00:5e:00:00:01", "0g:11:22:33:44:55", None, "00:11:22:33:44:55:66"):
            self.assertRaises(ValueError, addresses.mac, value)
        for value in ("-a", "a-", "a..b", "a" * 64, ".a", "", "a b", "a_b", "\u00e4", None, "a." * 127 + "aa"):
            self.assertRaises(ValueError, addresses.host_name, value)
        for value in ("10.0.0.300", "1.2.3", "a_b"):
            self.assertRaises(ValueError, addresses.server, value)
        for value, family in (("255.0.255.0", 4), ("33", 4), (129, 6), ("ffff::1", 6), (True, 4), (-1, 4), ("255.255.255.0", 6), (None, 4), ("1e1", 4)):
            self.assertRaises(ValueError, addresses.prefix_length, value, family)

    def test_taken(self):
        self.assertEqual([addresses.prefix_length(v, f) for v, f in (("255.255.255.128", 4), ("0.0.0.0", 4), ("24", 4), (32, 4), ("ffff:ffff::", 6), ("::", 6))], [25, 0, 24, 32, 32, 0])
        self.assertEqual([addresses.netmask(p) for p in (0, 9, 32)], ["0.0.0.0", "255.128.0.0", "255.255.255.255"])
        self.assertEqual(addresses.address("FD00:0::5"), "fd00::5")


class TestValidate(unittest.TestCase):
    def test_result(self):
        with Folder(drive(meta=dict(META, admin_pass="Canary 4711"))) as folder:
            result = validate.validate(folder.path)
        self.assertEqual((result["findings"], result["summary"]["root_password"], result["summary"]["management"]["vlan"]), ([], "plain text", 101))
        self.assertNotIn("4711", json.dumps(result))
        with Folder({}) as folder:
            self.assertEqual((validate.validate(folder.path)["summary"], validate.validate(folder.path)["findings"][0]["severity"]), (None, "error"))


if __name__ == "__main__":
    unittest.main()
