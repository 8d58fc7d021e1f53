"""Plans, which need no host: from a model and a state to commands."""
import unittest

import modelled
from modelled import bond, cards, link, mac, model, net4, net6, route, vlan
from esxi_netinit import baseline, plan as planning
from esxi_netinit.step import quoted

SW = "esxcli network vswitch standard "
IF = "esxcli network ip interface "
NO = " --allow-promiscuous no --allow-forged-transmits no --allow-mac-change no"


def planned(wanted, nics=None, change=None):
    """(plan, state, commands that would run)."""
    state, _, _ = baseline.installed(wanted, nics or cards(4))
    if change is not None:
        change(state)
    plan = planning.make(wanted, state)
    return plan, state, [step.shown() for step in plan.steps if step.pending(state)]


class Network(unittest.TestCase):
    maxDiff = None

    def commands(self, links, networks, nics=None, change=None, **more):
        plan, _, commands = planned(model(links, networks, **more), nics, change)
        self.plan = plan
        # The installer's switch has no policy that is known.
        return [c for c in commands if c != SW + "policy security set --vswitch-name vSwitch0" + NO]

    def paths(self, kind="problems"):
        return [entry["path"] for entry in getattr(self.plan, kind)]

    def test_installer_did_it_all(self):
        for found, where in (
            (link("a", mac(0)), net4("n", "a", "10.0.0.5/24", "10.0.0.1")),
            (link("a", mac(2)), net4("n", "a", "10.0.0.5/24", "10.0.0.1")),
            (link("a", mac(0)), net4("n", "a")),
            (link("a", nic="vmnic1"), net4("n", "a")),
            (link("a"), net4("n", "a", "10.0.0.5/24", "10.0.0.1")),
        ):
            self.assertEqual(self.commands([found], [where]), [], (found, where))
            self.assertEqual(self.plan.problems, [])

    def test_no_metadata(self):
        self.assertEqual(self.commands([], []), [])
        self.assertIsNone(self.plan.check)

    def test_links_in_any_order(self):
        links = [link("v", vlan=vlan(10, "b")), link("b", bond=bond("active-backup", "p1", "p0")), link("p0", mac(0)), link("p1", mac(1))]
        nets = [net4("n", "v", "10.0.0.5/24", "10.0.0.1")]
        for order in (links, links[::-1], links[2:] + links[:2]):
            self.assertEqual(self.commands(order, nets), [
                SW + "uplink add --uplink-name vmnic0 --vswitch-name vSwitch0",
                SW + "policy failover set --vswitch-name vSwitch0 --active-uplinks vmnic1 --standby-uplinks vmnic0 --load-balancing explicit",
                SW + "portgroup policy failover set --portgroup-name 'Management Network' --use-vswitch",
            ])

    def test_bonds(self):
        for mode, expected in (
            ("802.3ad", "--active-uplinks vmnic0,vmnic1 --load-balancing iphash"), ("balance-xor", "--active-uplinks vmnic0,vmnic1 --load-balancing iphash"),
            ("balance-rr", "--active-uplinks vmnic0,vmnic1 --load-balancing portid"), ("balance-alb", "--active-uplinks vmnic0,vmnic1 --load-balancing portid"),
            ("balance-tlb", "--active-uplinks vmnic0,vmnic1 --load-balancing portid"), ("broadcast", "--active-uplinks vmnic0,vmnic1 --load-balancing portid"),
            ("active-backup", "--active-uplinks vmnic0 --standby-uplinks vmnic1 --load-balancing explicit"),
        ):
            links = [link("p0", mac(0)), link("p1", mac(1)), link("b", bond=bond(mode, "p0", "p1"))]
            commands = self.commands(links, [net4("n", "b", "10.0.0.5/24", "10.0.0.1")])
            # The policy of port id is the default: uplinks that are there need no other.
            self.assertIn(SW + "policy failover set --vswitch-name vSwitch0 " + expected, commands)
            self.assertEqual(bool(self.plan.notes), mode in ("802.3ad", "balance-xor", "broadcast"), mode)

    def test_primary(self):
        links = [link("p0", mac(0)), link("p1", mac(1)), link("p2", mac(2)), link("b", bond=bond("active-backup", "p0", "p1", "p2", primary="p2"))]
        commands = self.commands(links, [net4("n", "b", "10.0.0.5/24", "10.0.0.1")])
        self.assertIn(SW + "policy failover set --vswitch-name vSwitch0 --active-uplinks vmnic2 --standby-uplinks vmnic0,vmnic1 --load-balancing explicit", commands)

    def test_bond_with_a_missing_card(self):
        links = [link("p0", mac(0)), link("p9", mac(9)), link("b", bond=bond("802.3ad", "p0", "p9"))]
        self.assertEqual(self.commands(links, [net4("n", "b", "10.0.0.5/24", "10.0.0.1")]), [])
        self.assertEqual(self.paths(), ["$.links[p9]"])

    def test_three_vlans_over_two_cards(self):
        links = [link("p0", mac(0)), link("p1", mac(1)), link("v10", vlan=vlan(10, "p0")), link("v20", vlan=vlan(20, "p1", "00:50:56:00:00:20")), link("v30", vlan=vlan(30, "p1"))]
        nets = [net4("storage", "v20", "10.20.0.5/24"), net4("mgmt", "v10", "10.10.0.5/24", "10.10.0.1"), net4("vmotion", "v30", "10.30.0.5/24")]
        self.assertEqual(self.commands(links, nets), [
            SW + "add --ports 128 --vswitch-name vSwitch1",
            SW + "uplink add --uplink-name vmnic1 --vswitch-name vSwitch1",
            SW + "policy security set --vswitch-name vSwitch1" + NO,
            SW + "policy failover set --vswitch-name vSwitch1 --active-uplinks vmnic1",
            SW + "portgroup add --portgroup-name storage --vswitch-name vSwitch1",
            SW + "portgroup set --portgroup-name storage --vlan-id 20",
            IF + "add --interface-name vmk1 --portgroup-name storage --mac-address 00:50:56:00:00:20",
            IF + "ipv4 set --interface-name vmk1 --type=static --ipv4 10.20.0.5 --netmask 255.255.255.0",
            SW + "portgroup add --portgroup-name vmotion --vswitch-name vSwitch1",
            SW + "portgroup set --portgroup-name vmotion --vlan-id 30",
            IF + "add --interface-name vmk2 --portgroup-name vmotion --mac-address " + mac(1),
            IF + "ipv4 set --interface-name vmk2 --type=static --ipv4 10.30.0.5 --netmask 255.255.255.0",
        ])

    def test_only_management(self):
        links = [link("p0", mac(0)), link("p1", mac(1))]
        nets = [net4("a", "p1", "10.1.0.5/24"), net4("b", "p0", "10.0.0.5/24", "10.0.0.1")]
        self.assertEqual(self.commands(links, nets, options={"configure_all_networks": False}), [])
        self.assertEqual(self.paths("notes"), ["$.networks[a]"])
        for everything in (None, True):
            self.assertEqual(len(self.commands(links, nets, options={"configure_all_networks": everything})), 7)

    def test_predecessors_names(self):
        links = [link("p0", mac(0)), link("p1", mac(1)), link("v", vlan=vlan(22, "p1"))]
        nets = [net4("a", "v", "10.1.0.5/24"), net4("b", "p0", "10.0.0.5/24", "10.0.0.1")]
        commands = self.commands(links, nets, options={
            "management_vswitch": "vSwitch22", "management_portgroup": "mgmt", "first_extra_vswitch_number": 31, "extra_portgroup_prefix": "internal_net_vid_",
        })
        self.assertEqual([c for c in commands if "security" not in c], [
            SW + "add --ports 128 --vswitch-name vSwitch22",
            SW + "portgroup add --portgroup-name mgmt --vswitch-name vSwitch22",
            SW + "uplink remove --uplink-name vmnic0 --vswitch-name vSwitch0",
            SW + "uplink add --uplink-name vmnic0 --vswitch-name vSwitch22",
            SW + "policy failover set --vswitch-name vSwitch22 --active-uplinks vmnic0",
            IF + "remove --interface-name vmk0",
            IF + "add --interface-name vmk0 --portgroup-name mgmt --mac-address %s --mtu 1500" % mac(0),
            IF + "ipv4 set --interface-name vmk0 --type=static --ipv4 10.0.0.5 --netmask 255.255.255.0",
            IF + "tag add --interface-name vmk0 --tagname Management",
            "esxcli network ip route ipv4 add --gateway 10.0.0.1 --network default",
            SW + "portgroup remove --portgroup-name 'Management Network' --vswitch-name vSwitch0",
            SW + "remove --vswitch-name vSwitch0",
            SW + "add --ports 128 --vswitch-name vSwitch31",
            SW + "uplink add --uplink-name vmnic1 --vswitch-name vSwitch31",
            SW + "policy failover set --vswitch-name vSwitch31 --active-uplinks vmnic1",
            SW + "portgroup add --portgroup-name internal_net_vid_22 --vswitch-name vSwitch31",
            SW + "portgroup set --portgroup-name internal_net_vid_22 --vlan-id 22",
            IF + "add --interface-name vmk1 --portgroup-name internal_net_vid_22 --mac-address " + mac(1),
            IF + "ipv4 set --interface-name vmk1 --type=static --ipv4 10.1.0.5 --netmask 255.255.255.0",
        ])

    def test_a_switch_with_other_users_stays(self):
        def used(state):
            state.portgroups["VM Network"]["clients"] = 1
        commands = self.commands([link("p0", mac(0))], [net4("b", "p0", "10.0.0.5/24", "10.0.0.1")], change=used, options={"management_vswitch": "vSwitch5", "management_portgroup": "m"})
        self.assertNotIn(SW + "remove --vswitch-name vSwitch0", commands)

    def test_mtu(self):
        nets = [net4("n", "v", "10.0.0.5/24", "10.0.0.1")]
        size = SW + "set --mtu 9000 --vswitch-name vSwitch0"
        for below, own, expected in (
            (None, None, []), (1500, None, []), (9000, None, [size, IF + "set --interface-name vmk0 --mtu 9000"]),
            (9000, 1500, []), (None, 9000, [size, IF + "set --interface-name vmk0 --mtu 9000"]), (None, 1400, [IF + "set --interface-name vmk0 --mtu 1400"]),
        ):
            self.assertEqual(self.commands([link("p", mac(0), below), link("v", mtu=own, vlan=vlan(5, "p"))], nets), expected, (below, own))

    def test_a_switch_has_the_largest_of_its_interfaces(self):
        links = [link("p", mac(0)), link("v", mtu=1500, vlan=vlan(5, "p")), link("w", mtu=9000, vlan=vlan(6, "p"))]
        commands = self.commands(links, [net4("n", "v", "10.0.0.5/24", "10.0.0.1"), net4("s", "w", "10.1.0.5/24")])
        self.assertEqual(commands[0], SW + "set --mtu 9000 --vswitch-name vSwitch0")
        self.assertIn(IF + "set --interface-name vmk1 --mtu 9000", commands)
        self.assertNotIn(IF + "set --interface-name vmk0 --mtu 9000", commands)

    def test_ipv4_and_ipv6_share_an_interface(self):
        nets = [net4("n4", "p", "10.0.0.5/24", "10.0.0.1"), net6("n6", "p", "2001:db8::5/64", "2001:db8::1", [route("2001:db8:5::/48", "2001:db8::2")])]
        for order in (nets, nets[::-1]):
            self.assertEqual(self.commands([link("p", mac(0))], order), [
                IF + "ipv6 address add --interface-name vmk0 --ipv6 2001:db8::5/64",
                "esxcli network ip route ipv6 add --gateway 2001:db8::1 --network default",
                "esxcli network ip route ipv6 add --gateway 2001:db8::2 --network 2001:db8:5::/48",
            ])

    def test_ipv6_methods(self):
        for method, options in (("slaac", "--enable-router-adv true"), ("dhcpv6", "--enable-dhcpv6 true --enable-router-adv true"), ("dhcpv6-stateless", "--enable-dhcpv6 true --enable-router-adv true")):
            commands = self.commands([link("p", mac(0)), link("q", mac(1))], [net4("m", "p"), net6("n", "q", method=method)])
            self.assertEqual(commands[-1], IF + "ipv6 set --interface-name vmk1 --enable-ipv6 true " + options)

    def test_link_local_gateway(self):
        commands = self.commands([link("p", mac(0))], [net4("m", "p"), net6("n", "p", "2001:db8::5/64", "fe80::1")])
        self.assertEqual(commands[-1], "esxcli network ip route ipv6 add --gateway fe80::1%vmk0 --network default")

    def test_two_ipv4_networks_on_a_link(self):
        commands = self.commands([link("p", mac(0))], [net4("a", "p", "10.0.0.5/24", "10.0.0.1"), net4("b", "p", "10.1.0.5/24")])
        self.assertEqual(commands, [
            SW + "portgroup add --portgroup-name b --vswitch-name vSwitch0",
            IF + "add --interface-name vmk1 --portgroup-name b",
            IF + "ipv4 set --interface-name vmk1 --type=static --ipv4 10.1.0.5 --netmask 255.255.255.0",
        ])

    def test_a_vlan_shares_the_management_switch(self):
        commands = self.commands([link("p", mac(0)), link("v", vlan=vlan(7, "p"))], [net4("a", "p", "10.0.0.5/24", "10.0.0.1"), net4("b", "v")])
        self.assertEqual(commands[:2], [SW + "portgroup add --portgroup-name b --vswitch-name vSwitch0", SW + "portgroup set --portgroup-name b --vlan-id 7"])
        self.assertEqual(commands[-1], IF + "ipv4 set --interface-name vmk1 --type=dhcp --peer-dns=true")
        # DHCP would know the card's address, and management has that.
        self.assertEqual(self.paths("notes"), ["$.networks[b]"])

    def test_overlapping_uplinks(self):
        links = [link("p0", mac(0)), link("p1", mac(1)), link("b", bond=bond("802.3ad", "p0", "p1"))]
        self.commands(links, [net4("m", "b", "10.0.0.5/24", "10.0.0.1"), net4("x", "p1", "10.1.0.5/24")])
        self.assertEqual(self.paths(), ["$.networks[x]"])

    def test_in_managements_network_elsewhere(self):
        links = [link("p", mac(0)), link("v", vlan=vlan(7, "p"))]
        chief = net4("m", "p", "10.0.0.5/24", "10.0.0.1")
        for other, left in (("10.0.0.9/24", False), ("10.0.0.9/30", False), ("10.0.1.9/16", False), ("10.0.1.9/24", True)):
            commands = self.commands(links, [chief, net4("x", "v", other)])
            self.assertEqual((self.paths(), bool(commands)), ([] if left else ["$.networks[x]"], left), other)
        # On the same wire it does no harm; and IPv6 of the same link stays.
        self.commands(links, [chief, net4("x", "p", "10.0.0.9/24")])
        self.assertEqual(self.paths(), [])
        commands = self.commands(links, [chief, net4("x", "v", "10.0.0.9/24"), net6("y", "v", "2001:db8::5/64")])
        self.assertTrue([c for c in commands if "2001:db8::5/64" in c] and not [c for c in commands if "10.0.0.9" in c])

    def test_unknown_card(self):
        commands = self.commands([link("p", mac(9)), link("q", mac(1))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1"), net4("x", "q", "10.1.0.5/24")])
        self.assertEqual(self.paths(), ["$.links[p]", "$.networks[m]"])
        # The other network is added, and management is not touched.
        self.assertIn(SW + "add --ports 128 --vswitch-name vSwitch1", commands)
        self.assertFalse([c for c in commands if "vSwitch0" in c or "vmk0" in c])

    def test_a_network_on_the_card_that_carries_unplanned_management(self):
        nets = [net4("m", "p", "10.0.0.5/24", "10.0.0.1"), net4("x", "q", "10.1.0.5/24")]
        commands = self.commands([link("p", mac(9)), link("q", mac(0))], nets)
        self.assertEqual(commands[0], SW + "portgroup add --portgroup-name x --vswitch-name vSwitch0")
        self.commands([link("p", mac(9)), link("q", mac(0)), link("r", mac(1)), link("b", bond=bond("802.3ad", "q", "r"))], [nets[0], net4("x", "b", "10.1.0.5/24")])
        self.assertIn("$.networks[x]", self.paths())

    def test_gateway_outside_the_subnet(self):
        commands = self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.9.9.1", [route("10.5.0.0/16", "10.0.0.7")])])
        self.assertEqual(commands, [])
        self.assertEqual(self.paths(), ["$.networks[m].routes", "$.networks[m]"])
        self.assertEqual(self.plan.check, {"vmk": "vmk0", "family": 4, "gateway": None, "dhcp": True})

    def test_invented_gateway_goes(self):
        def invented(state):
            state.routes[4] = [{"network": "0.0.0.0", "prefix": 0, "gateway": "10.0.0.254", "interface": "vmk0", "source": "MANUAL"}]
        gone = "esxcli network ip route ipv4 remove --gateway 10.0.0.254 --network default"
        self.assertEqual(self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24")], change=invented), [gone])
        self.assertEqual(self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1")], change=invented), [gone, "esxcli network ip route ipv4 add --gateway 10.0.0.1 --network default"])

    def test_several_default_routes(self):
        links = [link("p", mac(0)), link("q", mac(1))]
        commands = self.commands(links, [net4("m", "p", "10.0.0.5/24", "10.0.0.1"), net4("x", "q", "10.1.0.5/24", "10.1.0.1")])
        self.assertFalse([c for c in commands if "--network default" in c])
        self.assertEqual(self.paths("notes"), ["$.networks[x].routes"])

    def test_static_routes(self):
        routes = [route("10.5.0.0/16", "10.0.0.9"), route("10.6.0.0/16", "10.7.7.7"), route("10.5.0.0/16", "10.0.0.9")]
        commands = self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1", routes)])
        self.assertEqual(commands, ["esxcli network ip route ipv4 add --gateway 10.0.0.9 --network 10.5.0.0/16"])
        self.assertEqual(self.paths(), ["$.networks[m].routes"])

    def test_wrong_card_of_the_installer(self):
        def other(state):
            state.switches["vSwitch0"].update(uplinks=["vmnic3"], active=["vmnic3"])
            state.vmks["vmk0"]["mac"] = mac(3)
        self.assertEqual(self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1")], change=other), [
            SW + "uplink add --uplink-name vmnic0 --vswitch-name vSwitch0",
            SW + "policy failover set --vswitch-name vSwitch0 --active-uplinks vmnic0",
            # It has the MAC address of another card.
            IF + "remove --interface-name vmk0",
            IF + "add --interface-name vmk0 --portgroup-name 'Management Network' --mac-address %s --mtu 1500" % mac(0),
            IF + "ipv4 set --interface-name vmk0 --type=static --ipv4 10.0.0.5 --netmask 255.255.255.0",
            IF + "tag add --interface-name vmk0 --tagname Management",
            "esxcli network ip route ipv4 add --gateway 10.0.0.1 --network default",
            SW + "uplink remove --uplink-name vmnic3 --vswitch-name vSwitch0",
        ])

    def test_mac_addresses_of_management(self):
        own = "00:50:56:11:22:33"
        for where, moved in ((net4("m", "v", "10.0.0.5/24", "10.0.0.1"), False), (net4("m", "v"), True)):
            commands = self.commands([link("p", mac(0)), link("v", vlan=vlan(5, "p", own))], [where])
            self.assertEqual(any(own in c for c in commands), moved)
            self.assertEqual(self.paths("notes"), [] if moved else ["$.networks[m]"])

    def test_dns(self):
        nets = [net4("m", "p", "10.0.0.5/24", "10.0.0.1", dns=["10.0.0.2"]), net4("x", "q", "10.1.0.5/24", dns=["10.1.0.2", "10.1.0.3"])]
        commands = self.commands([link("p", mac(0)), link("q", mac(1))], nets, dns={"servers": ["10.0.0.3", "10.0.0.2"], "search": ["example.org"]})
        self.assertEqual([c for c in commands if " dns " in c], [
            "esxcli network ip dns server add --server 10.1.0.2", "esxcli network ip dns search add --domain example.org",
        ])
        self.assertEqual(self.paths("notes"), ["$.dns.servers"])

    def test_dns_servers_that_nobody_named(self):
        def other(state):
            state.dns["servers"] = ["10.9.9.9"]
        gone = "esxcli network ip dns server remove --server 10.9.9.9"
        self.assertIn(gone, self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1", dns=["10.0.0.2"])], change=other))
        self.assertNotIn(gone, self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1")], change=other))
        # DHCP gave it.
        self.assertNotIn(gone, self.commands([link("p", mac(0))], [net4("m", "p", dns=["10.0.0.2"])], change=other))

    def test_vmk_numbers(self):
        def more(state):
            state.vmks["vmk1"] = dict(state.vmks["vmk0"], portgroup="other", tags=[], mac="00:50:56:00:00:01")
        commands = self.commands([link("p", mac(0)), link("q", mac(1))], [net4("x", "q", "10.1.0.5/24"), net4("m", "p", "10.0.0.5/24", "10.0.0.1")], change=more)
        self.assertTrue(any("--interface-name vmk2" in c for c in commands))
        self.assertFalse(any("--interface-name vmk1" in c for c in commands))

    def test_port_group_names(self):
        for id, name in (("a/b%c\\d", "a_b_c_d"), ("x" * 200, "x" * 76), ("--net", "net"), ("\u00e9t\u00e9", "_t_"), ("it's", "it_s"), ("VM Network", "'VM Network-2'"), ("Management Network", "'Management Network-2'")):
            commands = self.commands([link("p", mac(0)), link("q", mac(1))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1"), net4(id, "q", "10.1.0.5/24")])
            self.assertIn(SW + "portgroup add --portgroup-name %s --vswitch-name vSwitch1" % name, commands)

    def test_taken_switch_names(self):
        def taken(state):
            state.switches["vSwitch1"] = {"mtu": 1500, "uplinks": [], "active": [], "standby": [], "balance": "portid", "security": None}
        commands = self.commands([link("p", mac(0)), link("q", mac(1))], [net4("m", "p"), net4("x", "q", "10.1.0.5/24")], change=taken)
        self.assertIn(SW + "add --ports 128 --vswitch-name vSwitch2", commands)

    def test_no_interface_at_all(self):
        def bare(state):
            state.vmks, state.switches, state.portgroups, state.routes = {}, {}, {}, {4: [], 6: []}
        commands = self.commands([link("p", mac(0))], [net4("m", "p", "10.0.0.5/24", "10.0.0.1")], change=bare)
        self.assertEqual(commands[0], SW + "add --ports 128 --vswitch-name vSwitch0")
        self.assertIn(IF + "add --interface-name vmk0 --portgroup-name 'Management Network' --mac-address " + mac(0), commands)


class Everything(unittest.TestCase):
    def commands(self, change=None, **more):
        self.plan, self.state, commands = planned(model(**more), change=change)
        return commands

    def test_nothing(self):
        self.assertEqual(self.commands(), [])

    def test_host_name(self):
        self.assertEqual(self.commands(hostname="h", fqdn="h.example.org"), ["esxcli system hostname set --fqdn=h.example.org", "/sbin/generate-certificates"])
        self.assertEqual(self.commands(hostname="h"), ["esxcli system hostname set --host=h", "/sbin/generate-certificates"])

    def test_ssh(self):
        on = ["vim-cmd hostsvc/enable_ssh", "vim-cmd hostsvc/start_ssh", "esxcli system settings advanced set --option /UserVars/SuppressShellWarning --int-value 1"]
        self.assertEqual(self.commands(ssh={"enable": True}), on)
        self.assertEqual(self.commands(ssh={"enable": True}, ssh_keys=[modelled.KEY]), ["(ssh-keys)"] + on)
        self.assertEqual(self.commands(ssh={"enable": False}, ssh_keys=[modelled.KEY])[0], "(ssh-keys)")
        self.assertEqual(self.commands(ssh={"shell": True}), ["vim-cmd hostsvc/enable_esx_shell", "vim-cmd hostsvc/start_esx_shell"] + on[2:])

    def test_time(self):
        self.assertEqual(self.commands(ntp=["a", "10.0.0.1"]), ["esxcli system ntp set --server a --server 10.0.0.1", "esxcli system ntp set --enabled true"])

    def test_time_on_6(self):
        def old(state):
            state.version = "6.7.0"
        self.assertEqual(self.commands(ntp=["a"], change=old), [
            "(ntp-conf)", "esxcli network firewall ruleset set --enabled true --ruleset-id ntpClient", "chkconfig ntpd on", "/etc/init.d/ntpd restart",
        ])

    def test_log_host(self):
        self.assertEqual(self.commands(syslog="udp://10.0.0.1:514"), [
            "esxcli system syslog config set --loghost=udp://10.0.0.1:514", "esxcli system syslog reload",
            "esxcli network firewall ruleset set --enabled true --ruleset-id syslog",
        ])

    def test_license_is_not_shown(self):
        key = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"
        self.assertEqual(self.commands(license=key), ["vim-cmd vimsvc/license ***"])
        self.assertNotIn(key, repr(self.plan.to_dict(self.state)))

    def test_order(self):
        self.commands(
            hostname="h", ssh_keys=[modelled.KEY], ssh={"enable": True}, ntp=["a"],
            commands=[{"when": "run", "argv": ["last"]}, {"when": "boot", "text": "first\n", "interpreter": "sh"}],
            write_files=[{"path": "/etc/x", "content_b64": "eA==", "mode": "0644"}],
            links=[link("p", mac(1))], networks=[net4("m", "p", "10.0.0.5/24", "10.0.0.1", dns=["1.1.1.1"])],
        )
        stages = [step.stage for step in self.plan.steps]
        self.assertEqual([s for i, s in enumerate(stages) if i == 0 or stages[i - 1] != s], ["boot", "files", "name", "access", "management", "dns", "services", "certificates", "run"])

    def test_needs_name_steps_before(self):
        links = [link("p0", mac(0)), link("p1", mac(1)), link("b", mtu=9000, bond=bond("802.3ad", "p0", "p1")), link("v", vlan=vlan(5, "b")), link("w", vlan=vlan(6, "b"))]
        nets = [net4("m", "v", "10.0.0.5/24", "10.0.0.1", dns=["1.1.1.1"]), net6("s", "v", "2001:db8::5/64", "2001:db8::1"), net4("x", "w", routes=[route("10.9.0.0/16", "10.8.0.1")])]
        for options in ({}, {"management_vswitch": "vSwitch22"}, {"management_vswitch": "vSwitch22", "management_portgroup": "mgmt"}):
            plan, _, _ = planned(model(links, nets, options=options, hostname="h"))
            seen = set()
            for step in plan.steps:
                self.assertLessEqual(set(step.needs), seen, step.id)
                seen.add(step.id)

    def test_quoting(self):
        for word, expected in (("a-b_c.d/e:f=g,h@i%j+k", "a-b_c.d/e:f=g,h@i%j+k"), ("", "''"), ("a b", "'a b'"), ("it's", "'it'\"'\"'s'"), ("$(x)", "'$(x)'")):
            self.assertEqual(quoted(word), expected)


if __name__ == "__main__":
    unittest.main()
