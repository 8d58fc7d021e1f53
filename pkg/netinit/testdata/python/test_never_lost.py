"""A host is never lost: any network that metadata may ask for, on any wires,
with commands that fail now and then. Whoever could reach the host before can
reach it afterwards, and a second run changes nothing."""
import json
import os
import random
import unittest

import modelled
from modelled import bond, cards, link, mac, net4, net6, route, vlan

SEEDS = int(os.environ.get("ESXI_IMG_SEEDS", "120"))
PART, PARTS = (int(n) for n in os.environ.get("ESXI_FUZZ_PART", "0/1").split("/"))  # other parts are others' business
MODES = ("802.3ad", "balance-xor", "balance-rr", "active-backup", "balance-tlb", "broadcast")
FAILING = (
    "uplink add", "uplink remove", "portgroup add", "portgroup set", "interface add", "interface remove", "ipv4 set", "ipv4 get",
    "route ipv4 add", "failover set", "vswitch standard add", "portgroup list", "set --mtu", "tag add", "ipv6 address add",
)


def links(r):
    """(links, those that networks may lie on)."""
    n = r.randint(1, 4)
    out = [link("p%d" % i, mac(i if r.random() < 0.95 else i + 100), r.choice([None, None, 1500, 9000, 1400])) for i in range(n)]
    free, tops = list(range(n)), []
    r.shuffle(free)
    while free:
        members = [free.pop() for _ in range(min(len(free), r.choice([1, 1, 2, 3])))]
        name = "p%d" % members[0]
        if len(members) > 1 or r.random() < 0.1:
            name = "b%d" % members[0]
            ids = ["p%d" % i for i in members]
            out.append(link(name, r.choice([None, mac(members[0])]), r.choice([None, 9000]), bond=bond(r.choice(MODES), *ids, primary=r.choice([None, ids[-1]]))))
        tops.append(name)
    for top in list(tops):
        for number in r.sample([10, 20, 30], r.randint(0, 2)):
            own = r.choice([None, "00:11:22:33:%02x:%02x" % (0x80 + number, len(out))])
            out.append(link("v%d%s" % (number, top), mtu=r.choice([None, 1500]), vlan=vlan(number, top, own)))
            tops.append(out[-1]["id"])
    r.shuffle(out)
    return out, tops, n


def networks(r, tops):
    out = []
    for where in r.sample(tops, r.randint(1, len(tops))):
        for _ in range(r.choice([1, 1, 1, 2])):
            c = len(out) + 1
            subnet, id = "10.%d.0." % c, "n%d" % c
            routes = r.choice([[], [route("172.16.%d.0/24" % r.randint(0, 2), subnet + "1")]])
            gateway6 = r.choice([None, "2001:db8:%d::1" % c, "fe80::1"])
            out.append(r.choice([
                net4(id, where, subnet + "5/24", r.choice([None, subnet + "1", subnet + "1", "10.99.0.1"]), routes, r.choice([[], ["8.8.8.8"], ["1.1.1.1", "9.9.9.9"]])),
                net4(id, where, subnet + "5/24", subnet + "1"),
                net4(id, where),
                net6(id, where, "2001:db8:%d::5/64" % c, gateway6),
                net6(id, where, method=r.choice(["slaac", "dhcpv6", "dhcpv6-stateless"])),
            ]))
    return out


def world(r, n, networks):
    gateways = ["10.%d.0.1" % (i + 1) for i in range(len(networks))] + ["2001:db8:%d::1" % (i + 1) for i in range(len(networks))]
    out = {}
    for i in range(n + 1):
        out[i] = {}
        for number in ("0", "10", "20", "30"):
            if r.random() < 0.85:
                segment = out[i][number] = {"gateways": [g for g in gateways if r.random() < 0.9] + ["192.168.7.1"]}
                if r.random() < 0.5:
                    segment["dhcp"] = {"address": "192.168.7.%d/24" % (10 + i), "router": "192.168.7.1"}
                if r.random() < 0.3:
                    segment["ra"] = {"prefix": "2001:db8:aa::/64", "router": "fe80::1"}
    return out


def options(r):
    out = {"configure_all_networks": r.choice([None, None, True, False])}
    if r.random() < 0.3:
        out.update(management_vswitch=r.choice(["vSwitch0", "vSwitch22"]), management_portgroup=r.choice(["Management Network", "mgmt"]),
                   first_extra_vswitch_number=r.choice([1, 31]), extra_portgroup_prefix=r.choice([None, "internal_net_vid_"]))
    return out


class NeverLost(modelled.FirstBoot):
    def setUp(self):
        super().setUp()
        # The file is written anew after each step, which takes more time than
        # all the rest; others look into it.
        self.addCleanup(setattr, modelled.journal.Journal, "save", modelled.journal.Journal.save)
        modelled.journal.Journal.save = lambda log: None

    def test_any_network(self):
        fine, seeds = 0, range(SEEDS)[PART::PARTS]
        for seed in seeds:
            with self.subTest(seed=seed):
                fine += self.one(random.Random(seed))
        # Most must come to something, or nothing was tested.
        self.assertGreater(fine, len(seeds) // 6)

    def one(self, r):
        found, tops, n = links(r)
        nets = networks(r, tops)
        wanted = modelled.model(found, nets, options=options(r), hostname=r.choice([None, "h1", "h1.example.org"]),
                                dns={"servers": r.choice([[], ["8.8.4.4"]])})
        fail = [{"match": r.choice(FAILING), "times": r.choice([1, 2, 4, 7])} for _ in range(r.choice([0, 0, 1, 3]))]
        nics = cards(max(1, n - (r.random() < 0.1) + r.randint(0, 1)), down=[i for i in range(n) if r.random() < 0.05])
        fake = self.modelled(wanted, nics, world(r, n, nets))
        fake.state.data["fail"] = [dict(rule) for rule in fail]
        before = fake.reachable()
        log = self.apply(fake, wanted)
        if before:
            self.assertTrue(fake.reachable(), log.data["events"])
        self.assertEqual(fake.seen("unknown"), [])
        self.assertEqual(fake.seen("hazards"), [])
        self.assertFalse([e for e in log.data["events"] if "NOT AS IT WAS" in e["text"] or "does not show" in e["text"]])
        if fail or log.failures():
            return 0
        self.assertEqual([c for c in fake.seen("refused") if "vmkping" not in c["command"]], [])
        state = modelled.saved(fake)
        again = self.apply(fake, wanted)
        self.assertEqual([e["id"] for e in again.data["steps"] if e["result"] != "already" and e["id"] != "certificates"], [])
        self.assertEqual(json.dumps(state, sort_keys=True), json.dumps(fake.host, sort_keys=True))
        return 1


if __name__ == "__main__":
    unittest.main()
