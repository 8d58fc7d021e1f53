"""What metadata asks for and does not get is told; limits hold."""
import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "files", "esxi_netinit")
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.dirname(PACKAGE)]

from folders import KEY, META, NETWORK, Folder, drive  # noqa: E402
from esxi_netinit import loader, model, schema  # noqa: E402
from esxi_netinit.errors import MetadataError  # noqa: E402

PEM = "-----BEGIN CERTIFICATE-----\\nMIIB%s\\n-----END CERTIFICATE-----"


def load(files):
    with Folder(files) as folder:
        return loader.load_reported(folder.path)


def found_in(files):
    return [(path, message) for _, path, message in load(files)[2].found]


class TestTold(unittest.TestCase):
    def test_user_data(self):
        """One finding, in that line, with those words."""
        for text, line, words in (
            ("write_files:\n- {path: /a, content: b, color: c}", 3, "not supported"), ("write_files:\n- {path: /a, owner: joe}", 3, "not root"),
            ("write_files:\n- {path: /a, content: x, encoding: gz}", 3, "not supported"), ("write_files:\n- {path: /a, content: '%', encoding: b64}", 3, "base64"),
            ("write_files:\n- {path: /a, permissions: '9'}", 3, "mode"), ("write_files:\n- {content: b}", 3, "no path"), ("write_files: {path: /a}", 2, "a list is wanted"),
            ("ca_certs: {more: x}", 2, "not supported"), ("ca_certs: {remove_defaults: true}", 2, "stay"), ("ca-certs: {trusted: [x]}", 2, "PEM"),
            ("chpasswd: {hash: x}", 2, "not supported"), ("chpasswd: {expire: true}", 2, "expire"), ("chpasswd: {list: no-colon}", 2, "colon"), ("chpasswd: {list: 'joe:x'}", 2, "another user"),
            ("chpasswd: {list: 'root:R'}", 2, "random"), ("chpasswd: {users: [{name: joe, password: x}]}", 2, "another user"), ("chpasswd: {users: [{name: root, password: x, type: RANDOM}]}", 2, "random"),
            ("chpasswd: {users: [{name: root}]}", 2, "no password"), ("chpasswd: {users: [{name: root, password: x, type: odd}]}", 2, "neither"), ("chpasswd: {users: [{name: root, password: x, more: y}]}", 2, "not supported"),
            ("users: [joe]", 2, "another user"), ("users: [{name: root, shell: x}]", 2, "not supported"), ("users: [{name: root, lock_passwd: true}]", 2, "not locked"), ("users: {name: root}", 2, "a list is wanted"),
            ("ntp: {enabled: false, servers: [a]}", 2, "not set"), ("ntp: {ntp_client: x}", 2, "not supported"), ("power_state: {mode: poweroff}", 2, "only reboot"), ("power_state: {mode: reboot, delay: 30}", 2, "not supported"), ("power_state: {}", 2, "no mode"),
            ("phone_home: {post: all}", 2, "no url"), ("phone_home: {url: 'http://x', method: y}", 2, "not supported"), ("phone_home: {url: 'http://x', tries: many}", 2, "whole number"),
            ("esxi: {ssh: {port: 22}}", 2, "not supported"), ("esxi: {syslog: 'a b'}", 2, "log host"), ("esxi: {license: x}", 2, "license key"), ("esxi: {keep: maybe}", 2, "true nor false"), ("esxi: {kernel_options: ['a b']}", 2, "kernel option"),
            ("esxi: {install_disk: {size: big}}", 2, "smallest"), ("esxi: {install_disk: bogus}", 2, "neither a device"), ("esxi: {management_vswitch: ''}", 2, "empty"), ("esxi: {first_extra_vswitch_number: -1}", 2, "whole number"), ("esxi: [a]", 2, "an object is wanted"),
            ("timezone: UTC", 2, "is not supported"), ("'my secret': x", 2, "is not supported"),
        ):
            found = found_in(drive(network=None, user_data="#cloud-config\n" + text + "\n"))
            self.assertEqual([path.split(":$")[0] for path, _ in found], ["user_data:%d" % line], text)
            self.assertIn(words, found[0][1], text)
            self.assertNotIn("secret", found[0][1])

    def test_meta_data(self):
        for change, path in (({"files": [{"path": "/x"}]}, "files"), ({"network_config": {"x": 1}}, "network_config"), ({"odd": 1}, "odd"), ({"meta": {"esxi_odd": "x"}}, "meta.esxi_odd"), ({"meta": "x"}, "meta"),
                             ({"keys": [{"type": "x509", "data": "x"}]}, "keys[0]"), ({"public_keys": {"a": {"b": 1}}}, "public_keys.a"), ({"admin_pass": {}}, "admin_pass"), ({"uuid": []}, "uuid"), ({"hostname": 7.5}, "hostname"), ({"meta": {"esxi_install_disk": []}}, "meta.esxi_install_disk")):
            self.assertEqual([p for p, _ in found_in(drive(meta=dict(META, **change), network=None))], ["meta_data.json:$." + path])
        self.assertEqual(found_in(drive(meta=dict(META, meta={"free": "x"}, public_keys={"0": {"openssh-key": KEY}}), network=None)), [])

    def test_network_data(self):
        """Once for every element, with where it is."""
        for text, words in (("null", "empty"), ("[]", "an object is wanted"), ("{\"x\": 1}", "not supported")):
            self.assertTrue([m for p, m in found_in(drive(network=text)) if p.startswith("network_data.json:$") and words in m], text)
        network = json.loads(json.dumps(NETWORK))
        network["networks"][0]["routes"][1]["network"] = "192.168.1.0"
        network["links"][1]["bond_primary"] = "p2"
        network["networks"][0]["ip_address"] = "10.0.0.5/0"
        del network["networks"][0]["netmask"]
        self.assertEqual(found_in(drive(network=network)), [
            ("network_data.json:$.links[1]", "has a primary link that is not its member"), ("network_data.json:$.networks[0].ip_address", "has a prefix length of 0")])
        network["networks"][0].update(ip_address="10.0.0.5/24", id="n9")
        got = load(drive(network=network))
        self.assertEqual([p for _, p, _ in got[2].found], ["network_data.json:$.links[1]", "network_data.json:$.networks[0].routes[1].network"])
        self.assertEqual(got[0].networks[0]["routes"][1], {"network": "192.168.0.0", "prefix": 16, "gateway": "10.0.0.2"})

    def test_bonds(self):
        """What of a bond has no equal is told, in all three forms of it."""
        def told(mode, policy):
            link = {"id": "b", "type": "bond", "bond_mode": mode, "bond_links": ["p0"], "bond_xmit_hash_policy": policy}
            found = found_in(drive(network={"links": [NETWORK["links"][2], link]}))
            self.assertTrue(all(path == "network_data.json:$.links[1].bond_xmit_hash_policy" for path, _ in found))
            return [message for _, message in found]
        for mode in ("802.3ad", "balance-xor"):
            self.assertEqual(told(mode, "layer2+3"), [])
            for policy in ("layer2", "layer3+4", "encap3+4", "odd"):
                self.assertIn("IP address", "".join(told(mode, policy)), policy)
        self.assertEqual(told("active-backup", "layer2+3"), ["is not used: a bond of this mode has no hash"])
        one = {"id": "b", "type": "bond", "bond_links": ["p0"], "bond_miimon": 100}
        got, _, problems = load(drive(network={"links": [NETWORK["links"][2], one]}))
        self.assertEqual(([p[:2] for p in problems.found], got.link("b")["bond"]["miimon"]), ([("note", "network_data.json:$.links[1].bond_miimon")], 100))
        found = found_in({"network-config": "version: 1\nconfig:\n- {type: physical, name: vmnic0}\n- {type: bond, name: b, bond_interfaces: [vmnic0], params: {bond-mode: 802.3ad, bond-miimon: 100, bond-xmit-hash-policy: layer3+4}}\n"})
        self.assertEqual([path for path, _ in found], ["network-config:4:$.config[1].params." + name for name in ("bond-miimon", "bond-xmit-hash-policy")])

    def test_nocloud(self):
        found = found_in({"meta-data": "instance-id: x\nseedfrom: http://10.0.0.1/\ndsmode: net\nodd: 1\n"})
        self.assertEqual([path for path, _ in found], ["meta-data:%d:$.%s" % where for where in ((2, "seedfrom"), (3, "dsmode"), (4, "odd"))])
        self.assertIn("nothing is fetched", found[0][1])
        self.assertIn("as soon as it is found", found[1][1])

    def test_network_config(self):
        e0 = "  e0:\n    match: {macaddress: '00:11:22:33:44:55'}\n"
        for text, lines in (
            ("version: 2\nethernets:\n  e0: {}\n", [3]), ("version: 2\nethernets:\n" + e0 + "    dhcp4: true\n    addresses: [10.0.0.5/24]\n", [5]), ("version: 2\nethernets:\n" + e0 + "    addresses: [{10.0.0.5/24: {label: x}}]\n", [5]),
            ("version: 2\nethernets:\n" + e0 + "    gateway4: 10.0.0.1\n", [5]), ("version: 2\nethernets:\n" + e0 + "    addresses: [10.0.0.5/24]\n    routes: [{to: default}]\n", [6]), ("version: 2\nethernets:\n" + e0 + "    macaddress: '00:11:22:33:44:66'\n", [3]),
            ("version: 2\nethernets:\n" + e0 + "    nameservers: {addresses: [x], search: [a b]}\n", [5]), ("version: 2\nethernets:\n" + e0 + "    wakeonlan: true\n", [5]), ("version: 2\nethernets:\n" + e0 + "bonds:\n  b: {interfaces: [e0]}\n", [6]),
            ("version: 2\nethernets:\n" + e0 + "bonds:\n  b: {interfaces: [e0, e1], parameters: {mode: active-backup, lacp-rate: fast}}\n", [6]), ("network: {version: 2}\nother: 1\n", [2]),
            ("version: 1\nconfig:\n- {type: bridge, name: b}\n", [3]), ("version: 1\nconfig:\n- {type: physical, name: e}\n", [3]), ("version: 1\nconfig:\n- {type: physical, name: vmnic0, subnets: [{type: odd}]}\n", [3]),
            ("version: 1\nconfig:\n- {type: bond, name: b}\n", [3]), ("version: 1\nconfig:\n- {type: physical, name: vmnic0, subnets: [{type: static}]}\n", [3]),
            ("version: 1\nconfig:\n- type: physical\n  name: vmnic0\n  subnets:\n  - {type: dhcp, routes: [{gateway: 10.0.0.1}]}\n", [6]),
            ("version: 2\nethernets:\n" + e0 + "    nameservers: {addresses: [], option: x}\n", [5]),
            ("version: 1\nconfig:\n- {type: route, destination: 10.0.0.0/8, gateway: 10.0.0.1}\n", [3]), ("version: 1\n", [1]), ("version: 2\nvlans: {v: {id: 1, link: x}}\n", [2]),
        ):
            found = found_in({"meta-data": "", "network-config": text})
            self.assertTrue(found and set(path.split(":$")[0] for path, _ in found) == set("network-config:%d" % n for n in lines), (text, found))
        self.assertEqual(len(found_in({"network-config": "null"})), 1)

    def test_v2_parts(self):
        got, _, problems = load({"network-config": (
            "version: 2\nethernets:\n  vmnic0: {}\n  vmnic1: {}\nbonds:\n  b:\n    interfaces: [vmnic0, vmnic1]\n    addresses: [10.0.0.5/24, 'fd00::5/64']\n"
            "    parameters: {mode: balance-xor, mii-monitor-interval: 50, transmit-hash-policy: layer2, primary: vmnic1}\n"
            "    routes: [{to: default, via: 10.0.0.1}, {to: default, via: 'fe80::1'}, {to: 10.9.0.0/16, via: 10.0.0.2}]\n")})
        parameters = "network-config:9:$.bonds.b.parameters."
        self.assertEqual([path for _, path, _ in problems.found], [parameters + "mii-monitor-interval", parameters + "transmit-hash-policy"])
        self.assertEqual(got.link("b")["bond"], {"mode": "balance-xor", "links": ["vmnic0", "vmnic1"], "primary": "vmnic1", "miimon": 50, "xmit_hash_policy": "layer2"})
        self.assertEqual([[(r["network"], r["prefix"], r["gateway"]) for r in n["routes"]] for n in got.networks],
                         [[("0.0.0.0", 0, "10.0.0.1"), ("10.9.0.0", 16, "10.0.0.2")], [("::", 0, "fe80::1")]])

    def test_v1_routes(self):
        got, _, problems = load({"network-config": "version: 1\nconfig:\n- type: physical\n  name: vmnic0\n  subnets:\n  - type: static\n    address: 10.0.0.5\n    netmask: 255.255.255.0\n"
                                 "    routes:\n    - {network: 10.1.0.0, netmask: 255.255.0.0, gateway: 10.0.0.9}\n  - {type: manual}\n"})
        self.assertEqual(problems.found, [])
        self.assertEqual([n["routes"] for n in got.networks], [[{"network": "10.1.0.0", "prefix": 16, "gateway": "10.0.0.9"}]])

    def test_settings(self):
        got, _, problems = load(drive(meta=dict(META, meta={"esxi_overwritevmfs": "true", "ESXI_OVERWRITEVSAN": "no", "esxi_serial_console": "on", "configure_all_networks": "true", "esxi_shell": "true", "esxi_maintenance_mode": "yes", "esxi_quick_boot": "true"})))
        self.assertEqual(problems.found, [])
        self.assertEqual((got.install["overwritevmfs"], got.install["overwritevsan"], got.serial_console, got.ssh["shell"]), (True, False, True, True))
        self.assertEqual([got.options[k] for k in ("configure_all_networks", "maintenance_mode", "quick_boot", "reboot")], [True] * 4)


class TestLimits(unittest.TestCase):
    def test_elements(self):
        links = [{"id": "p%d" % i, "type": "phy", "ethernet_mac_address": "00:50:56:00:%02x:%02x" % (i >> 8, i & 255)} for i in range(schema.MAX_LINKS + 2)]
        networks = [{"id": "n%d" % i, "type": "ipv4_dhcp", "link": "p0"} for i in range(schema.MAX_NETWORKS + 2)]
        networks[0]["routes"] = [{"network": "10.%d.0.0" % i, "netmask": "255.255.0.0", "gateway": "10.255.0.1"} for i in range(schema.MAX_ROUTES + 2)]
        services = [{"type": "dns", "address": "10.0.0.%d" % (i + 1)} for i in range(schema.MAX_SERVERS + 2)]
        got, _, problems = load(drive(network={"links": links, "networks": networks, "services": services}))
        self.assertEqual((len(got.links), len(got.networks), len(got.networks[0]["routes"]), len(got.dns["servers"])), (schema.MAX_LINKS, schema.MAX_NETWORKS, schema.MAX_ROUTES, schema.MAX_SERVERS))
        self.assertEqual(len(problems.found), 2 + 2 + 1 + 2)
        got = load(drive(network={"links": links[:4] + [{"id": "b", "type": "bond", "bond_links": ["p%d" % i for i in range(33)]}]}))
        self.assertEqual((len(got[0].links), len(got[2].found)), (4, 1))

    def test_user_data(self):
        got, _, problems = load(drive(network=None, user_data=json.dumps({
            "runcmd": ["a"] * (schema.MAX_COMMANDS + 1), "write_files": [{"path": "/a%d" % i} for i in range(schema.MAX_FILES + 1)],
            "ssh_authorized_keys": ["ssh-rsa AAA%03d" % i for i in range(schema.MAX_KEYS + 1)], "esxi": {"kernel_options": ["o%d" % i for i in range(70)]}})))
        self.assertEqual((len(got.commands), len(got.write_files), len(got.ssh_keys), len(got.kernel_options)), (schema.MAX_COMMANDS, schema.MAX_FILES, schema.MAX_KEYS, 64))
        self.assertEqual(len(problems.found), 4)
        text = "ca_certs: {trusted: [%s]}" % ", ".join("\"%s\"" % (PEM % ("%04d" % i)) for i in range(schema.MAX_CERTIFICATES + 1))
        got, _, problems = load(drive(network=None, user_data=text))
        self.assertEqual((len(got.ca_certs), len(problems.found)), (schema.MAX_CERTIFICATES, 1))

    def test_notes(self):
        """Never more than the model takes."""
        got, _, problems = load(drive(network={"k%d" % i: 1 for i in range(1200)}))
        self.assertEqual((len(got.notes), got.notes[-1]["message"], len(problems.found)), (schema.MAX_NOTES, "more notes were left out", problems.MAX))
        got.to_dict()

    def test_pipe(self):
        """A pipe would never end; it is not opened."""
        if not hasattr(os, "mkfifo"):
            return
        with Folder(drive()) as folder:
            os.mkfifo(os.path.join(folder.path, "openstack", "latest", "user_data"))
            problems = loader.load_reported(folder.path)[2]
        self.assertEqual([p[1:] for p in problems.found], [("user_data", "is not a file")])


class TestHelpers(unittest.TestCase):
    def test_model(self):
        got = load(drive())[0]
        self.assertEqual((model.gateway(got.networks[0]), model.gateway(got.networks[2])), ("10.0.0.1", None))
        got.link("bond0")["mac"] = None
        got.link("vlan0")["vlan"]["mac"] = None
        self.assertEqual((got.mac_of("vlan0"), got.mac_of("none"), got.mtu_of("none"), got.uplinks("none")), ("00:11:22:aa:bb:cc", None, None, ([], None, None)))
        got.link("bond0")["bond"]["primary"] = "p1"
        self.assertEqual([link["id"] for link in got.uplinks("vlan0")[0]], ["p1", "p0"])

    def test_fault(self):
        """A fault of ours becomes a MetadataError that shows no data."""
        before = loader._load
        loader._load = lambda *_: {}["Canary"]
        try:
            with Folder(drive()) as folder:
                with self.assertRaises(MetadataError) as caught:
                    loader.load(folder.path)
        finally:
            loader._load = before
        self.assertIn("KeyError", str(caught.exception))
        self.assertNotIn("Canary", str(caught.exception))
        self.assertIsNone(caught.exception.__context__)

    def test_validate_program(self):
        def run(*args):
            process = subprocess.Popen([sys.executable, "-I", "-B", os.path.join(PACKAGE, "validate.py")] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            out = process.communicate(timeout=60)[0]
            return process.returncode, out.decode("ascii")
        with Folder(drive(meta=dict(META, admin_pass="x"))) as folder:
            self.assertEqual(run(folder.path), (0, "\n".join((
                "nothing to mend", "", "host name      esx1.example.org", "root password  plain text", "SSH keys       1",
                "management     n0: static 10.0.0.5/24, gateway 10.0.0.1, VLAN 101", "networks       4 on 5 links", "commands       0",
                "files          0", ""))))
            code, out = run("--json", folder.path)
            self.assertEqual((code, json.loads(out)["summary"]["hostname"]), (0, "esx1.example.org"))
            folder.write("openstack/latest/network_data.json", "{")
            self.assertEqual(run(folder.path)[0], 3)
        for args in ((), ("a", "b"), ("--json",) * 3):
            self.assertEqual(run(*args), (2, ""))


if __name__ == "__main__":
    unittest.main()
