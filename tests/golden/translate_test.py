"""The translator reads what iproute2 and iptables users write, and says by name what it cannot say."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "oracle")]
sys.dont_write_bytecode = True

from translate import expectations, ip_batch, random_values, render, rule_sets, settings  # noqa: E402
from translate.model import Gateway, Unsupported  # noqa: E402

SCENARIO = {"interface": [
    {"name": "lan0", "mac": "02:00:00:00:01:01", "addr": ["192.168.10.1/24"], "neigh": ["192.168.10.45"]},
    {"name": "wan0", "mac": "02:00:00:00:02:01", "addr": ["203.0.113.1/24", "2001:db8:2::1/64"]}], "packet": []}
GCM = "aead 'rfc4106(gcm(aes))' 0x2121212121212121212121212121212121212121 128"
STATE = "xfrm state add src 203.0.113.1 dst 203.0.113.2 proto esp spi 0x2001 mode tunnel "


def gateway(text=""):
    found = Gateway(SCENARIO)
    ip_batch.apply(found, text)
    return found


def configuration(text="", iptables="", ip6tables=""):
    found = gateway(text)
    return render.configuration(found, [rule_sets.read(iptables, 4, found), rule_sets.read(ip6tables, 6, found)],
                                settings.Settings())


def nat(rules):
    return configuration(iptables=f"*nat\n{rules}\nCOMMIT\n")


class IpBatch(unittest.TestCase):
    def test_routes(self):
        text = configuration("route add default via 203.0.113.254 dev wan0\nr a 10.0.0.0/8 nexthop via 203.0.113.2 "
                             "nexthop via 203.0.113.3\n-6 route add unreachable default\nroute add 10.9.9.9 dev lan0")
        self.assertIn('{ prefix = "0.0.0.0/0"; via = "203.0.113.254"; }', text)
        self.assertIn('{ prefix = "10.0.0.0/8"; via = [ "203.0.113.2", "203.0.113.3" ]; }', text)
        self.assertIn('{ prefix = "::/0"; unreachable = true; }', text)
        self.assertIn('{ prefix = "10.9.9.9/32"; interface = "lan0"; }', text)

    def test_metrics_are_said_where_they_decide(self):
        text = configuration("route add 10.0.0.0/8 via 203.0.113.2 metric 5\nroute add 10.0.0.0/8 via 203.0.113.3\n"
                             "route add 10.1.0.0/16 via 203.0.113.2 metric 5")
        self.assertIn('via = "203.0.113.2"; metric = 5; }', text)
        self.assertIn('{ prefix = "10.1.0.0/16"; via = "203.0.113.2"; }', text)

    def test_changes(self):
        found = gateway("route add 10.0.0.0/8 via 203.0.113.2\nroute replace 10.0.0.0/8 via 203.0.113.3\n"
                        "route add 10.1.0.0/16 via 203.0.113.2\nroute del 10.1.0.0/16\nlink set wan0 down\n"
                        "addr del 192.168.10.1/24 dev lan0\nneigh del 192.168.10.45 dev lan0")
        self.assertEqual([(each.prefix, each.hops) for each in found.routes], [("10.0.0.0/8", [("203.0.113.3", "")])])
        self.assertFalse(found.links["wan0"].up)
        self.assertEqual((found.links["lan0"].addresses, found.neighbors), ([], {}))

    def test_tunnel_interfaces(self):
        text = configuration("link add gre1 type gre local 203.0.113.1 remote 203.0.113.2 ttl 64 key 7\nlink set gre1 up\n"
                             "link add vti1 type vti local 203.0.113.1 remote 203.0.113.2 ikey 7 okey 8\n"
                             f"link set vti1 up mtu 1400\n{STATE} mark 8 {GCM}\n"
                             "link add ipsec1 type xfrm dev wan0 if_id 42\nlink set ipsec1 up\n"
                             "xfrm policy add dir in src 10.0.0.0/8 dst 10.9.0.0/16 if_id 0x2a tmpl proto esp mode tunnel")
        self.assertIn('gre1 = { type = "gre"; local-ip = "203.0.113.1"; remote-ip = "203.0.113.2"; key = 7; ttl = 64; }', text)
        self.assertIn('vti1 = { type = "vti"; mtu = 1400;', text)
        self.assertRegex(text, r'spi = 8193.*vti = "vti1"')
        self.assertRegex(text, r'direction = "in"; src = "10.0.0.0/8".*vti = "ipsec1"')

    def test_what_cannot_be_said_is_named(self):
        for text, reason in (("rule add from 10.0.0.0/8 table 7", "ip rule"),
                             ("route add 10.0.0.0/8 via 203.0.113.2 table 7", "other tables"),
                             ("link add b0 type bridge", "type bridge"),
                             (STATE + "mode beet " + GCM, "mode beet"),
                             (STATE + "aead 'rfc4309(ccm(aes))' 0x00 128", "aead rfc4309(ccm(aes))"),
                             (STATE + "mark 9 " + GCM, "mark 9 on a state or policy")):
            with self.assertRaises(Unsupported) as raised:
                configuration(text)
            self.assertIn(reason, str(raised.exception))


class Xfrm(unittest.TestCase):
    def test_every_option_of_a_state(self):
        text = configuration(STATE + "reqid 1 replay-window 64 flag esn extra-flag dont-encap-dscp limit packet-hard 9 "
                             "encap espinudp 4500 4501 0.0.0.0 enc 'cbc(aes)' 0x00112233445566778899aabbccddeeff "
                             "auth-trunc 'hmac(sha256)' 0x" + 32 * "aa" + " 128 replay-oseq-hi 1 replay-oseq 5 "
                             "sel src 10.0.0.0/8 dst ::/0 proto udp dport 53")
        for part in ('encryption = "aes128"', 'hash = "sha256"', "esn = true", "replay-window = 64",
                     'flag = [ "dont-encap-dscp" ]', 'encap = { type = "espinudp"; sport = 4500; dport = 4501; }',
                     "limit = { hard-packets = 9; }", "last-sequence = 4294967301L",
                     'selector = { src = "10.0.0.0/8"; dst = "::/0"; protocol = "udp"; dst-port = "53"; }'):
            self.assertIn(part, text)
        self.assertNotIn("auth-trunc", text)

    def test_hmac_sha256_of_auth_has_96_bits(self):
        text = configuration(STATE + "enc 'ecb(cipher_null)' '' auth 'hmac(sha256)' 0x" + 32 * "aa")
        self.assertIn('encryption = "null"; hash = "sha256"', text)
        self.assertIn("auth-trunc = 96", text)

    def test_direction_follows_from_own_addresses(self):
        found = gateway(STATE + GCM + "\nxfrm state add src 203.0.113.2 dst 203.0.113.1 proto esp spi 7 mode tunnel " + GCM)
        self.assertEqual([render.direction_of(found, each) for each in found.states], ["out", "in"])

    def test_policies(self):
        text = configuration("xfrm policy add dir out src 10.0.0.0/8 dst 10.9.0.0/16 proto icmp type 8 code 0 dev wan0 "
                             "priority 7 tmpl proto esp reqid 2 mode transport tmpl src 203.0.113.1 dst 203.0.113.2 "
                             "proto esp reqid 1 mode tunnel level use\n"
                             "xfrm policy add dir out action block src 10.2.0.0/16 dst 0.0.0.0/0\n"
                             "xfrm policy add dir fwd src 10.3.0.0/16 dst 0.0.0.0/0")
        self.assertIn('icmp-type = 8; icmp-code = 0; interface = "wan0"; priority = 7; action = "protect";', text)
        self.assertIn('template = ( { mode = "transport"; reqid = 2; }, { src = "203.0.113.1"; dst = "203.0.113.2"; '
                      'mode = "tunnel"; reqid = 1; level = "use"; } ); }', text)
        self.assertIn('src = "10.2.0.0/16"; dst = "0.0.0.0/0"; priority = 0; action = "discard"; }', text)
        self.assertIn('src = "10.3.0.0/16"; dst = "0.0.0.0/0"; priority = 0; action = "bypass"; }', text)

    def test_updates_and_deletions(self):
        policy = "src 10.0.0.0/8 dst 10.9.0.0/16"
        found = gateway(f"xfrm policy add dir out {policy}\nxfrm policy add dir fwd {policy}\n"
                        f"xfrm policy update dir out {policy} action block\nxfrm policy delete dir fwd {policy}\n"
                        f"{STATE}{GCM}\nxfrm state delete src 203.0.113.1 dst 203.0.113.2 proto esp spi 0x2001")
        self.assertEqual([(each.direction, each.action) for each in found.policies], [("out", "block")])
        self.assertEqual(found.states, [])

    def test_an_expired_state_may_be_added_again(self):
        found = gateway(f"{STATE}reqid 1 limit packet-hard 1 {GCM}\n{STATE}reqid 2 {GCM}")
        self.assertEqual([each.reqid for each in found.states], [2])


class Rules(unittest.TestCase):
    def test_translations(self):
        text = nat("-A POSTROUTING -o wan0 -s 10.0.0.0/8 ! -d 10.9.0.0/16 -j SNAT --to-source 203.0.113.9:600-601\n"
                   "-A PREROUTING -i wan0 -p tcp --dport 80:81 -j DNAT --to-destination 192.168.10.45:8080\n"
                   "-A POSTROUTING -s 10.7.0.0/24 -j NETMAP --to 10.8.0.0/24\n-A OUTPUT -d 10.1.1.1 -j DNAT --to 10.1.1.2")
        self.assertIn('{ rule = 10; outbound-interface = "wan0"; source = { address = "10.0.0.0/8"; }; destination = '
                      '{ address = "!10.9.0.0/16"; }; translation = { address = "203.0.113.9"; port = "600-601"; }; }', text)
        self.assertIn('protocol = "tcp"; destination = { port = "80-81"; }; translation = '
                      '{ address = "192.168.10.45"; port = "8080"; }', text)
        self.assertIn('source = { address = "10.7.0.0/24"; }; translation = { address = "10.8.0.0/24"; }', text)
        self.assertIn('inbound-interface = "local"', text)

    def test_lists_become_a_rule_each(self):
        text = nat("-A POSTROUTING -s 10.1.0.0/16,10.2.0.0/16 -p udp -m multiport --dports 53,60:61 -j MASQUERADE")
        self.assertEqual(text.count("masquerade"), 4)
        self.assertIn('rule = 40;', text)

    def test_negated_and_unknown_interfaces(self):
        text = nat("-A POSTROUTING ! -o lan0 -j MASQUERADE\n-A POSTROUTING -o ppp0 -j SNAT --to-source 10.1.1.1")
        self.assertIn('outbound-interface = "wan0"', text)
        self.assertNotIn("ppp0", text)

    def test_policy_match(self):
        self.assertIn('ipsec = "match-none"', nat("-A POSTROUTING -m policy --dir out --pol none -j MASQUERADE"))
        with self.assertRaises(Unsupported):
            nat("-A POSTROUTING -m policy --dir in --pol none -j MASQUERADE")

    def test_inserted_rules_come_first(self):
        text = nat("-A POSTROUTING -s 10.1.0.0/16 -j MASQUERADE\n-I POSTROUTING -s 10.2.0.0/16 -j ACCEPT")
        self.assertLess(text.index("10.2.0.0/16"), text.index("10.1.0.0/16"))

    def test_what_makes_linux_track(self):
        self.assertNotIn("nat", nat("-A POSTROUTING -j ACCEPT"))
        text = configuration(iptables="*filter\n-A FORWARD -m conntrack --ctstate INVALID\nCOMMIT\n")
        self.assertIn('sessions = "always"', text)

    def test_what_cannot_be_said_is_named(self):
        for rules, reason in (("-A POSTROUTING -m mark --mark 1 -j MASQUERADE", "-m mark"),
                              ("-A POSTROUTING -j MASQUERADE --random", "--random"),
                              (":MINE - [0:0]", "user-defined chains")):
            with self.assertRaises(Unsupported) as raised:
                nat(rules)
            self.assertIn(reason, str(raised.exception))


class Expectations(unittest.TestCase):
    @staticmethod
    def drops(counters, out=(), host_path=False):
        step = {"counters": counters, "in": "lan0", "sent": [], "out": list(out), "socket": [], "hooks": []}
        return [(each["any_of"][0], each["count"]) for each in expectations.drops(step, host_path)
                if not each.get("may_be_none")]

    def test_one_packet_is_expected_once(self):
        self.assertEqual(self.drops({"IpFragFails": 1, "IcmpOutDestUnreachs": 1}, ["x"]), [("too_big", 1)])
        self.assertEqual(self.drops({"Ip6FragFails": 1, "Icmp6OutPktTooBigs": 1}, ["x"]), [("too_big", 1)])
        self.assertEqual(self.drops({"IpInHdrErrors": 1, "IcmpOutTimeExcds": 1}, ["x"]), [("ttl_exceeded", 1)])
        self.assertEqual(self.drops({"IcmpOutDestUnreachs": 1, "UdpNoPorts": 1}, ["x"]), [("local_no_service", 1)])
        self.assertEqual(self.drops({"IcmpOutDestUnreachs": 1, "XfrmOutStateModeError": 1}, ["x"]), [("no_route", 1)])

    def test_silence_is_some_drop_and_delivery_is_none(self):
        self.assertEqual(self.drops({}), [("route_blackhole", None)])
        self.assertEqual(self.drops({"IpInDelivers": 1}), [])
        self.assertEqual(self.drops({"UdpNoPorts": 1, "IpInDelivers": 1}, host_path=True), [])

    def test_filters_show_in_the_hooks(self):
        forward, leave = "mangle.FORWARD [lan0>wan0] a > b UDP", "mangle.POSTROUTING [>wan0] a > b UDP"
        made = ["mangle.OUTPUT [>wan0] c > d ESP", "mangle.POSTROUTING [>wan0] c > d ESP"]
        chains = {"FORWARD", "OUTPUT", "INPUT"}

        def filtered(hooks, delivered=0):
            return expectations.filtered({"hooks": hooks, "counters": {"IpInDelivers": delivered}}, chains)

        self.assertEqual(filtered([forward, leave, *made]), "")
        self.assertEqual(filtered([forward]), "FORWARD")
        self.assertEqual(filtered([forward, leave, made[0]]), "OUTPUT")
        self.assertEqual(filtered(["mangle.INPUT [wan0>] a > b ESP"]), "INPUT")
        self.assertEqual(filtered(["mangle.INPUT [wan0>] a > b ESP"], delivered=1), "")


class RandomValues(unittest.TestCase):
    def test_classes_of_ports(self):
        for value, given, wanted in ((40000, [("port", 4000), ("port", 53)], (1024, 65535)),
                                     (77, [("port", 123), ("port", 53)], (1, 511)),
                                     (6003, [("port", 6001), ("port", 53)], (6000, 6005))):
            entry = random_values._entry("port", value, given, [(6000, 6005)])
            self.assertEqual((entry["low"], entry["high"], entry["not"]), (*wanted, given[0][1]))


if __name__ == "__main__":
    unittest.main()
