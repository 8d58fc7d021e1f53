"""Folders of metadata for the tests."""
import copy
import json
import os
import shutil
import tempfile

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@home"
META = {
    "uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "hostname": "esx1.example.org", "name": "esx1",
    "public_keys": {"mine": KEY}, "keys": [{"name": "mine", "type": "ssh", "data": KEY}],
}
NETWORK = {
    "links": [
        {"id": "vlan0", "type": "vlan", "vlan_id": 101, "vlan_link": "bond0", "vlan_mac_address": "00:11:22:33:44:57",
         "mtu": 1450},
        {"id": "bond0", "type": "bond", "bond_mode": "802.3ad", "bond_links": ["p0", "p1"],
         "bond_xmit_hash_policy": "layer2+3", "ethernet_mac_address": "00:11:22:33:44:55"},
        {"id": "p0", "type": "phy", "ethernet_mac_address": "00:11:22:AA:BB:CC", "mtu": None, "vif_id": "x"},
        {"id": "p1", "type": "ovs", "ethernet_mac_address": "00:11:22:aa:bb:cd", "mtu": 9000},
        {"id": "p2", "type": "phy", "ethernet_mac_address": "00:11:22:aa:bb:ce"},
    ],
    "networks": [
        {"id": "n0", "type": "ipv4", "link": "vlan0", "network_id": "a", "ip_address": "10.0.0.5", "netmask": "255.255.255.0",
         "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1",
                     "services": [{"type": "dns", "address": "10.0.0.53"}]},
                    {"network": "192.168.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.2"}],
         "services": [{"type": "dns", "address": "10.0.0.54"}]},
        {"id": "n1", "type": "ipv6", "link": "vlan0", "network_id": "a", "ip_address": "FD00::5/64",
         "netmask": "ffff:ffff:ffff:ffff::", "routes": [{"network": "::", "netmask": "::", "gateway": "fe80::1"}],
         "dns_nameservers": ["fd00::53"]},
        {"id": "n2", "type": "ipv4_dhcp", "link": "p2"}, {"id": "n3", "type": "ipv6_slaac", "link": "p2"},
    ],
    "services": [{"type": "dns", "address": "10.0.0.53"}, {"type": "dns", "address": "10.0.0.55"}],
}
V2 = """network:
  version: 2
  ethernets:
    e0:
      match: {macaddress: "00:11:22:AA:BB:CC"}
      mtu: 9000
    vmnic3: {dhcp4: true, accept-ra: true}
  bonds:
    b0:
      interfaces: [e0]
      parameters: {mode: active-backup, primary: e0}
      addresses: [10.0.0.5/24, "fd00::5/64"]
      gateway4: 10.0.0.1
      nameservers: {addresses: [10.0.0.53], search: [example.org]}
      routes:
        - {to: 192.168.0.0/16, via: 10.0.0.2}
        - to: "::/0"
          via: fe80::1
  vlans:
    v7: {id: 7, link: b0, dhcp6: true}
"""
V1 = """version: 1
config:
  - type: physical
    name: e0
    mac_address: '00:11:22:AA:BB:CC'
    subnets:
      - type: static
        address: 10.0.0.5/24
        gateway: 10.0.0.1
        dns_nameservers: [10.0.0.53]
        dns_search: [example.org]
  - type: bond
    name: b0
    bond_interfaces: [e1]
    params: {bond-mode: active-backup, bond-primary: e1}
  - {type: physical, name: e1, mac_address: '00:11:22:AA:BB:CD'}
  - type: vlan
    name: v7
    vlan_link: b0
    vlan_id: 7
    subnets: [{type: dhcp6}]
  - {type: nameserver, address: [10.0.0.54], search: [lab.example.org]}
  - {type: route, destination: 192.168.0.0/16, gateway: 10.0.0.2}
"""


class Folder(object):
    """A temporary folder with files; text, bytes, or what becomes JSON."""

    def __init__(self, files):
        self.path = tempfile.mkdtemp()
        for name, data in files.items():
            self.write(name, data)

    def write(self, name, data):
        if not isinstance(data, (bytes, str)):
            data = json.dumps(data)
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
        path = os.path.join(self.path, *name.split("/"))
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, "wb") as f:
            f.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)


def drive(meta=META, network=NETWORK, **others):
    """The files of a config drive; vendor_data and user_data by keyword."""
    files = {"openstack/latest/" + name: data for name, data in others.items()}
    if meta is not None:
        files["openstack/latest/meta_data.json"] = copy.deepcopy(meta)
    if network is not None:
        files["openstack/latest/network_data.json"] = copy.deepcopy(network)
    return files
