"""The NAT stories of packet-order.md with real hosts; `explain` names the same rule, policy and SA as the wire shows."""
import expect
from labs import capture, configuration, traffic
from labs.two_sites import HOST_A, HOST_B, LAN_A, LAN_B, WAN_A, WAN_B
from scapy.all import IP

NAT_ADDRESS = "172.16.17.45"


def masquerade(number=20):
    return {"rule": number, "outbound-interface": "wan", "source": {"address": LAN_A},
            "translation": {"address": "masquerade"}}


def exclude(number=10):
    return {"rule": number, "outbound-interface": "wan", "source": {"address": LAN_A},
            "destination": {"address": LAN_B}, "exclude": True}


def addresses(packets):
    return {(packet[IP].src, packet[IP].dst) for packet in packets if IP in packet}


def explained(lab, **changes):
    """`explain` of an ICMP echo request from host A to host B on gateway A: stage -> text."""
    options = {"in": "lan", "src": HOST_A, "dst": HOST_B, "protocol": "icmp"} | changes
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return {row["stage"]: row["text"] for row in lab.a.ask("explain", *words)["lines"]}


def says(explanation, stage, *parts):
    for part in parts:
        if part not in explanation.get(stage, ""):
            raise AssertionError(f"explain's stage {stage} does not say {part!r}: {explanation}")


def names_the_sa(lab, explanation):
    says(explanation, "result", "leaves as ESP", f"SPI {lab.tunnel.rightward.spi:#x} ")


def test_a_rule_that_does_not_exclude_the_tunnel_wins(folder):
    """06: the packets leave in clear with the translated source, and their answers come back in clear."""
    with expect.two_sites(folder, start=False) as lab:
        lab.a.start(lab.settings_a(nat={"source": [masquerade()]}))
        lab.b.start(lab.settings_b())
        wire = lab.watch("wire", expression="not arp")
        expect.answered(lab)
        packets = wire.stop()
        expect.equal(addresses(packets), {(WAN_A, HOST_B), (HOST_B, WAN_A)}, "addresses on the wire")
        expect.equal(len(capture.foreign(packets)), 6, "packets in clear")
        said = explained(lab)
        says(said, "source_nat", "rule 20", WAN_A)
        says(said, "result", "leaves IN CLEAR")


def test_an_exclude_rule_keeps_the_tunnels_traffic(folder):
    """07: with `exclude` before it the packets keep their source and are encrypted."""
    with expect.two_sites(folder, start=False) as lab:
        lab.a.start(lab.settings_a(nat={"source": [exclude(), masquerade()]}))
        lab.b.start(lab.settings_b())
        wire = lab.watch("wire", expression="not arp")
        expect.answered(lab)
        packets = wire.stop()
        expect.nothing(capture.foreign(packets), "packets in clear")
        expect.equal(addresses(expect.opener(lab).open(packets)), {(HOST_A, HOST_B), (HOST_B, HOST_A)}, "inner addresses")
        said = explained(lab)
        says(said, "source_nat", "rule 10 excludes it")
        names_the_sa(lab, said)


def test_masqueraded_traffic_beside_the_tunnel_still_works(folder):
    """07: what the exclude rule does not cover is translated: host B's gateway sees only the WAN address."""
    with expect.two_sites(folder, start=False) as lab:
        lab.a.start(lab.settings_a(nat={"source": [exclude(), masquerade()]}))
        lab.b.start(lab.settings_b())
        wire = lab.watch("wire", expression="not arp")
        expect.answered(lab, to=WAN_B)
        expect.equal(addresses(wire.stop()), {(WAN_A, WAN_B), (WAN_B, WAN_A)}, "addresses on the wire")


def nat_before_ipsec(lab):
    """09: host A is 172.16.17.45 inside of the tunnel, in both directions."""
    lab.tunnel = configuration.Tunnel(WAN_A, WAN_B, f"{NAT_ADDRESS}/32", LAN_B)
    nat = {"source": [{"rule": 10, "outbound-interface": "any", "source": {"address": HOST_A},
                       "destination": {"address": LAN_B}, "translation": {"address": NAT_ADDRESS}}],
           "destination": [{"rule": 10, "inbound-interface": "any", "destination": {"address": NAT_ADDRESS},
                            "translation": {"address": HOST_A}}]}
    lab.a.start(lab.settings_a(nat=nat))
    lab.b.start(lab.settings_b())


def test_nat_before_ipsec_works_both_ways(folder):
    """09: pings and TCP from either side; only ESP on the wire, 172.16.17.45 inside; explain agrees."""
    with expect.two_sites(folder, start=False) as lab:
        nat_before_ipsec(lab)
        wire = lab.watch("wire", expression="not arp")
        expect.answered(lab)
        expect.answered(lab, source=lab.host_b, to=NAT_ADDRESS)
        for server, address, client in ((lab.host_b, HOST_B, lab.host_a), (lab.host_a, NAT_ADDRESS, lab.host_b)):
            running = traffic.Iperf(server, address)
            report = running.run(client, 1, "--bitrate", "2M")
            running.stop()
            expect.at_least(report["end"]["sum_received"]["bytes"], 100_000, "bytes that TCP carried")
        packets = wire.stop()
        expect.nothing(capture.foreign(packets), "packets in clear")
        expect.equal(addresses(expect.opener(lab).open(packets)), {(NAT_ADDRESS, HOST_B), (HOST_B, NAT_ADDRESS)},
                     "inner addresses")
        said = explained(lab)
        says(said, "source_nat", "rule 10", NAT_ADDRESS)
        says(said, "out_policy_after_snat", "policy")
        names_the_sa(lab, said)


def test_explain_changes_nothing(folder):
    """`explain` of a flow that nobody sent makes no session and sends nothing."""
    with expect.two_sites(folder, start=False) as lab:
        nat_before_ipsec(lab)
        wire = lab.watch("wire", expression="not arp")
        for _ in range(3):
            explained(lab)
        lab.a.settle()
        expect.nothing(lab.a.ask("show", "nat", "translations")["translations"], "sessions after explain")
        expect.nothing(wire.stop(), "frames on the wire after explain")


def test_clear_packets_to_the_nat_address_are_refused(folder):
    """09: what comes in clear for 172.16.17.45 from the tunnel's other side is dropped after DNAT and counted."""
    with expect.two_sites(folder, start=False) as lab:
        nat_before_ipsec(lab)
        expect.answered(lab)  # the tunnel itself works
        settings = lab.settings_b()
        settings["xfrm"] = {"state": [], "policy": []}
        lab.b.apply(settings)
        seen = lab.watch("host-a", "eth0", lab.host_a, "icmp")
        before = lab.a.drops().get("in_template_mismatch", 0)
        expect.equal(lab.ping(source=lab.host_b, to=NAT_ADDRESS, count=3, wait_s=1), 0, "answers in clear")
        lab.a.wait_drops("in_template_mismatch", before + 3)
        expect.nothing(seen.stop(), "packets that reached host A")
