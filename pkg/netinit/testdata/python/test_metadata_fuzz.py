"""Any metadata becomes a model or a MetadataError with a path, in time, and
never shows a password. Random, but seeded: a failure prints its folder."""
import copy
import json
import os
import random
import sys
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "files")]

from folders import KEY, META, NETWORK, V1, V2, Folder, drive  # noqa: E402
from esxi_netinit import addresses, loader, model, schema  # noqa: E402
from esxi_netinit.errors import MetadataError  # noqa: E402
from esxi_netinit.readers import Problems  # noqa: E402

SECONDS = float(os.environ.get("ESXI_FUZZ_SECONDS", "0"))  # for each test; 0: only so many rounds as it wants
PART, PARTS = (int(n) for n in os.environ.get("ESXI_FUZZ_PART", "0/1").split("/"))  # other parts are others' business
ROUNDS = 400 // PARTS
SEED = int(os.environ.get("ESXI_FUZZ_SEED", "1"))
CANARY = "Canary'x\" #4711"
ONE = 60  # seconds for one folder; most take milliseconds

USER = """#cloud-config
hostname: h1
fqdn: h1.example.org
password: %s
chpasswd: {expire: false, list: ['root:xyz']}
ssh_authorized_keys:
  - %s
users:
  - default
  - name: root
    passwd: $6$abc$def
ntp: {servers: [10.0.0.1], pools: [p.x]}
runcmd:
  - echo hi
  - [ls, -l]
bootcmd: [date]
write_files:
  - path: /etc/x
    content: |
      some text
    permissions: '0600'
phone_home: {url: "http://10.0.0.1/", post: all, tries: 3}
power_state: {mode: reboot}
ca_certs: {trusted: ["-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----"]}
configure_all_networks: true
management_vswitch: vSwitch0
esxi:
  install_disk: {serial: abc}
  syslog: udp://10.0.0.1:514
  kernel_options: [a, b=c]
  ssh: {enable: true, shell: false}
""" % (json.dumps(CANARY), KEY)
ODD = [
    None, True, False, 0, -1, 1, 4095, 1 << 62, 10 ** 17, 1.5, 1e308, 1e999, -0.0, "", " ", "x", "0", "null", "a/b", "10.0.0.1", "10.0.0.1/33", "fe80::1%1",
    "::", "/", "\u0000", "\ud800", "\u20ac", "\u2028", "a\nb", "$6$a$b", "%s%n{}", "00:11:22:aa:bb:cc", "n0", "p0", "vlan0", "bond0", [], {}, [[]], [None], {"": ""},
    {"a": {"b": [1]}}, "x" * 5000, ["x"] * 300, {"type": "dns", "address": "10.0.0.1"}, "ipv4", "ipv6_dhcpv6-stateless", "vlan", "bond", "phy", "255.255.255.0", CANARY,
]


def places(node, path=()):
    """All containers of a tree with a key in each."""
    out = []
    if isinstance(node, dict):
        keys = list(node)
    elif isinstance(node, list):
        keys = range(len(node))
    else:
        return out
    for key in keys:
        out.append((node, key))
        out += places(node[key])
    return out


def mutate_tree(rand, tree):
    tree = copy.deepcopy(tree)
    for _ in range(rand.choice((1, 1, 2, 3, 8))):
        found = places(tree)
        if not found:
            break
        node, key = rand.choice(found)
        action = rand.random()
        if action < 0.5:
            node[key] = copy.deepcopy(rand.choice(ODD))
        elif action < 0.65:
            del node[key]
        elif action < 0.85:
            other = rand.choice(found)
            node[key] = copy.deepcopy(other[0][other[1]]) if other[1] in other[0] or isinstance(other[0], list) and len(other[0]) > other[1] else None
        elif isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        else:
            node[rand.choice(("type", "id", "x y", "\u20ac", "services", "routes", "mtu", "netmask", ""))] = copy.deepcopy(rand.choice(ODD))
    return tree


def mutate_bytes(rand, data):
    data = bytearray(data)
    for _ in range(rand.choice((1, 2, 5, 20))):
        if not data:
            break
        i = rand.randrange(len(data))
        action = rand.random()
        if action < 0.4:
            data[i] = rand.choice(b"{}[]:,\"'\\ \n\t-#|>&*!%0919azAZ\x00\xff\x80\xe2")
        elif action < 0.6:
            del data[i:i + rand.choice((1, 2, 30))]
        elif action < 0.8:
            data[i:i] = data[i:i + rand.choice((1, 5, 60))]
        else:
            data[i:i] = rand.choice((b"\n", b"  ", b": ", b"- ", b"{", b"[", b"\xef\xbb\xbf", b"\r\n", b"\"", b"'"))
    return bytes(data)


def random_value(rand, depth=0):
    if depth > 4 or rand.random() < 0.3:
        return copy.deepcopy(rand.choice(ODD))
    if rand.random() < 0.4:
        return [random_value(rand, depth + 1) for _ in range(rand.randrange(4))]
    keys = ("links", "networks", "services", "id", "type", "link", "routes", "ip_address", "netmask", "hostname", "keys", "meta", "admin_pass", "mtu")
    return {rand.choice(keys): random_value(rand, depth + 1) for _ in range(rand.randrange(5))}


def random_network(rand):
    """A network_data.json that is valid, apart from what may be odd."""
    links, networks = [], []
    macs = ["00:50:56:%02x:%02x:%02X" % (rand.randrange(256), rand.randrange(256), i) for i in range(8)]
    for i in range(rand.randrange(1, 6)):
        links.append({"id": "p%d" % i, "type": rand.choice(("phy", "ovs", "vif", "tap", "hw_veb")), "ethernet_mac_address": macs[i], "mtu": rand.choice((None, 1500, 9000))})
    base, free = list(links), [link["id"] for link in links]
    if len(free) > 1 and rand.random() < 0.5:
        n = rand.randrange(1, len(free))
        base.append({"id": "b0", "type": "bond", "bond_links": free[:n], "bond_mode": rand.choice(schema.BOND_MODES), "bond_miimon": 100})
    tops = list(base)
    for i in range(rand.randrange(4)):
        tops.append({"id": "v%d" % i, "type": "vlan", "vlan_id": rand.randrange(1, 4095), "vlan_link": rand.choice(base)["id"], "vlan_mac_address": macs[7 - i]})
    for i in range(rand.randrange(6)):
        kind = rand.choice(("ipv4", "ipv4_dhcp", "ipv6", "ipv6_slaac", "ipv6_dhcp", "ipv6_dhcpv6-stateless", "ipv6_dhcpv6-stateful"))
        network = {"id": "n%d" % i, "type": kind, "link": rand.choice(tops)["id"], "network_id": "x"}
        if kind == "ipv4":
            network.update(ip_address="10.%d.%d.%d" % (i, rand.randrange(256), rand.randrange(1, 255)), netmask=rand.choice(("255.255.255.0", "255.255.0.0", "255.0.0.0")))
            network["routes"] = [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.%d.0.254" % i}] * rand.randrange(2)
        elif kind == "ipv6":
            network.update(ip_address="fd00:%x::%x" % (i, rand.randrange(1, 1 << 16)), netmask="ffff:ffff:ffff:ffff::")
            network["routes"] = [{"network": "::", "netmask": "::", "gateway": "fe80::1"}] * rand.randrange(2)
        networks.append(network)
    rand.shuffle(tops)
    return {"links": tops, "networks": networks, "services": [{"type": "dns", "address": "10.0.0.53"}] * rand.randrange(3)}


class TestAny(unittest.TestCase):
    def judge(self, files):
        """Loads a folder in both ways and checks what has to hold."""
        with Folder(files) as folder:
            for strict in (False, True):
                start = time.process_time()
                try:
                    try:
                        # Without the guard of load: no other error at all.
                        problems = Problems(strict)
                        got, secrets = loader._load(folder.path, None, problems)
                    except MetadataError as err:
                        self.assertTrue(err.path, files)
                        self.no_canary(str(err) + repr(err) + traceback.format_exc(), files)
                        if not strict:
                            self.assertEqual(err.path, "metadata")
                        continue
                    self.hold(got, secrets, problems, files)
                except AssertionError:
                    raise
                except Exception:
                    self.fail("%r\n%s" % (files, traceback.format_exc()))
                self.assertLess(time.process_time() - start, ONE, files)

    def no_canary(self, text, files):
        for piece in (CANARY, "4711", json.dumps(CANARY)[1:-1]):
            self.assertNotIn(piece, text, files)

    def hold(self, got, secrets, problems, files):
        data = got.to_dict()
        text = json.dumps(data, sort_keys=True)
        again = model.Model.from_dict(json.loads(text))
        self.assertEqual(json.dumps(again.to_dict(), sort_keys=True), text)
        self.assertTrue(all(path and message for _, path, message in problems.found), files)
        if secrets.root_password == CANARY:
            self.no_canary(json.dumps([got.commands, got.write_files, got.phone_home, got.kernel_options]), files)
        self.no_canary(json.dumps(got.notes) + repr(secrets), files)
        for network in got.networks:
            physical = got.uplinks(network["link"])[0]
            self.assertTrue(physical and all(link["kind"] == "physical" for link in physical), files)
            got.mac_of(network["link"])
            got.mtu_of(network["link"])
        self.assertEqual(got.management() is None, not got.networks)

    def rounds(self, make):
        rand, end, done = random.Random(SEED + PART), time.time() + SECONDS, 0
        while time.time() < end or done < ROUNDS:
            self.judge(make(rand))
            done += 1

    def test_trees(self):
        """Known documents with values replaced, removed, moved, doubled."""
        meta = dict(META, admin_pass=CANARY, meta={"esxi_install_disk": "serial=x"}, files=[{"path": "/x"}])
        vendor = {"cloud-init": USER}

        def make(rand):
            files = drive(mutate_tree(rand, meta), mutate_tree(rand, NETWORK))
            if rand.random() < 0.3:
                files["openstack/latest/vendor_data.json"] = mutate_tree(rand, vendor)
            if rand.random() < 0.3:
                files["openstack/latest/user_data"] = json.dumps(mutate_tree(rand, {
                    "users": [{"name": "root", "passwd": "x", "ssh_authorized_keys": [KEY]}], "chpasswd": {"list": "root:" + CANARY, "users": [{"name": "root", "password": "x"}]},
                    "runcmd": ["a", ["b"]], "ntp": {"servers": ["a"]}, "write_files": [{"path": "/x", "content": "y"}], "esxi": {"install_disk": {"wwn": "0x12345678", "firstdisk": ["a"]}, "kernel_options": ["x"], "license": "x"},
                    "phone_home": {"url": "http://x", "post": ["hostname"]}, "ca_certs": {"trusted": ["x"]}, "power_state": {"mode": "reboot"}, "bootcmd": ["x"], "fqdn": "a.b", "password": CANARY,
                }))
            return files

        self.rounds(make)

    def test_bytes(self):
        """Known files with bytes changed."""
        network = json.dumps(NETWORK).encode()
        meta = json.dumps(dict(META, admin_pass=CANARY)).encode()

        def make(rand):
            if rand.random() < 0.5:
                files = {"openstack/latest/meta_data.json": meta, "openstack/latest/network_data.json": network, "openstack/latest/user_data": USER.encode()}
            else:
                files = {"meta-data": b"instance-id: i\nlocal-hostname: h\npublic-keys: [" + KEY.encode() + b"]\n", "user-data": USER.encode(), "network-config": rand.choice((V1, V2)).encode()}
            for name in sorted(files):
                if rand.random() < 0.6:
                    files[name] = mutate_bytes(rand, files[name])
            return files

        self.rounds(make)

    def test_random(self):
        """Documents out of nowhere."""
        self.rounds(lambda rand: drive(random_value(rand), random_value(rand), user_data=json.dumps(random_value(rand))))

    def test_valid_networks(self):
        """Every valid network_data.json is taken over without a complaint."""
        rand, end, done = random.Random(SEED + PART), time.time() + SECONDS, 0
        while time.time() < end or done < ROUNDS:
            network = random_network(rand)
            with Folder(drive(network=network)) as folder:
                got, _, problems = loader.load_reported(folder.path, strict=True)
            wanted = [p for p in problems.found if "gateway outside" not in p[2] and "address of another" not in p[2] and "is not used" not in p[2]]
            self.assertEqual(wanted, [], network)
            self.assertEqual((len(got.links), len(got.networks)), (len(network["links"]), len(network["networks"])), network)
            for mine, theirs in zip(got.networks, network["networks"]):
                self.assertEqual((mine["id"], mine["link"]), (theirs["id"], theirs["link"]))
                if "ip_address" in theirs:
                    self.assertEqual(mine["address"], addresses.address(theirs["ip_address"]))
            done += 1

    def test_slow(self):
        """Large and nasty files end in time."""
        n = 1 << 16
        for text in ("[" * n, "{\"a\":" * 1000, "\"" + "\\\"" * n, "\"\\\"" * (n // 3), "[" + "1," * n + "1]", "[" + "9" * n + "]", "{" * n, "[0." + "1" * n + "]", "[\"" + "\\u0041" * 100000 + "\"]",
                     " " * n, "\\" * n, "{" + ",".join("\"k%d\": 1" % i for i in range(20000)) + "}", "[" + "1e999," * 1000 + "1]", "{\"links\": [" + ",".join("{\"id\": \"%d\"}" % i for i in range(8000)) + "]}",
                     "{\"networks\": [" + ",".join("{\"type\": \"ipv4\"}" for i in range(8000)) + "]}"):
            for files in (drive(text, None), drive(None, text), drive(None, None, user_data="#cloud-config\n" + text)):
                start = time.process_time()
                self.judge(files)
                self.assertLess(time.process_time() - start, 2 * ONE, text[:40])


if __name__ == "__main__":
    unittest.main()
