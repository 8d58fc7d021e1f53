"""The way back, from any state to any other, as a host takes the commands."""
import random
import unittest

import modelled
from modelled import bond, cards, link, mac, model, net4, net6, vlan
from esxi_netinit import esx, plan as planning, restore

WIRE = {"0": {"gateways": ["10.0.0.1", "10.1.0.1", "2001:db8::1"]}, "5": {"gateways": ["10.0.0.1"]}}


class Restore(modelled.FirstBoot):
    def host(self, **options):
        links = [link("p0", mac(0)), link("p1", mac(1)), link("p2", mac(2)), link("b", mtu=9000, bond=bond("802.3ad", "p0", "p1")), link("v", vlan=vlan(5, "b"))]
        nets = [net4("m", "b", "10.0.0.5/24", "10.0.0.1"), net6("m6", "b", "2001:db8::5/64"), net4("x", "v", "10.1.0.5/24"), net4("y", "p2")]
        self.wanted = model(links, nets, options=options)
        return self.modelled(self.wanted, cards(3), dict((i, WIRE) for i in range(3)))

    def read(self, fake):
        return esx.read_network(fake.esx_host(), esx.State())

    def test_nothing_to_do(self):
        fake = self.host()
        state = self.read(fake)
        self.assertEqual(restore.commands(state, state.copy()), [])
        self.assertTrue(restore.same(state, state.copy()))

    def test_after_any_step(self):
        for options in ({}, {"management_vswitch": "vSwitch22"}, {"management_vswitch": "vSwitch22", "management_portgroup": "mgmt"}, {"management_portgroup": "mgmt"}):
            fake = self.host(**options)
            steps = [s for s in planning.make(self.wanted, self.read(fake)).steps if s.stage in ("management", "tidy", "networks")]
            for n in range(1, len(steps) + 1):
                fake = self.host(**options)
                before, host = self.read(fake), modelled.saved(fake)
                reachable = fake.reachable()
                state = before.copy()
                for step in steps[:n]:
                    esx.read_network(fake.esx_host(), state)
                    if not step.already(state):
                        self.assertEqual(fake.run(step.command)[0], 0, step.id)
                now = self.read(fake)
                for command in restore.commands(before, now):
                    code, text = fake.run(list(command))
                    self.assertEqual(code, 0, (n, steps[n - 1].id, command, text))
                after = self.read(fake)
                self.assertTrue(restore.same(before, after), (options, n, steps[n - 1].id))
                self.assertEqual(fake.reachable(), reachable)
                self.assertEqual(sorted(fake.host["vmks"]), sorted(host["vmks"]))
                self.assertEqual(sorted(fake.host["vswitches"]), sorted(host["vswitches"]))
                self.assertEqual(fake.host["routes"], host["routes"])
                for name, one in host["vswitches"].items():
                    self.assertEqual(set(fake.host["vswitches"][name]["uplinks"]), set(one["uplinks"]))
                    self.assertEqual(dict((k, v["vlan"]) for k, v in fake.host["vswitches"][name]["portgroups"].items()), dict((k, v["vlan"]) for k, v in one["portgroups"].items()))

    def test_what_was_changed_by_others(self):
        r = random.Random(1)
        fake = self.host()
        before = self.read(fake)
        for _ in range(30):
            fake = self.host()
            for command in r.sample([
                "ip interface ipv4 set --interface-name vmk0 --type=dhcp", "ip interface set --interface-name vmk0 --mtu 1400", "ip interface remove --interface-name vmk0",
                "vswitch standard uplink add --uplink-name vmnic1 --vswitch-name vSwitch0", "vswitch standard uplink remove --uplink-name vmnic0 --vswitch-name vSwitch0",
                "ip route ipv4 remove --gateway 10.0.0.1 --network default", "ip interface tag remove --interface-name vmk0 --tagname Management",
                "vswitch standard add --vswitch-name other",
            ], 4):
                fake.run(["esxcli", "network"] + command.split())
            for command in restore.commands(before, self.read(fake)):
                self.assertEqual(fake.run(list(command))[0], 0, command)
            self.assertTrue(restore.same(before, self.read(fake)))
            self.assertTrue(fake.reachable())

    def test_same_sees_differences(self):
        fake = self.host()
        before = self.read(fake)
        for change in (
            lambda s: s.vmks.clear(), lambda s: s.vmks["vmk0"].update(portgroup="x"), lambda s: s.vmks["vmk0"].update(mac="x"), lambda s: s.vmks["vmk0"].update(tags=[]),
            lambda s: s.vmks["vmk0"]["ipv4"].update(address="10.9.9.9"), lambda s: s.vmks["vmk0"]["ipv4"].update(type="dhcp"), lambda s: s.portgroups["Management Network"].update(vlan=3),
            lambda s: s.portgroups["Management Network"].update(switch="x"), lambda s: s.switches.clear(), lambda s: s.switches["vSwitch0"].update(uplinks=[]),
            lambda s: s.switches["vSwitch0"].update(active=[]), lambda s: s.routes[4].clear(),
        ):
            now = before.copy()
            change(now)
            self.assertFalse(restore.same(before, now))
            self.assertTrue(restore.commands(before, now))


if __name__ == "__main__":
    unittest.main()
