"""Ports, links, ARP and what the gateway itself answers."""
import expect
from labs.network import wait_until
from labs.two_sites import GATEWAY_A, HOST_A, HOST_B, WAN_B
from scapy.all import ARP, ICMP, IP


def link_up(gateway, name):
    return next(row["link_up"] for row in gateway.ask("show", "interfaces")["interfaces"] if row["name"] == name)


def test_link_down_and_up(folder):
    """A link that goes down while running is shown, its packets are counted; when it is up again traffic goes on."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab)
        before = (lab.a.pid_of("espalierd"), lab.a.pid_of("espalier-dataplane"))
        lab.wire.ip("link", "set", "to-a", "down")
        wait_until("the link is shown as down", lambda: not link_up(lab.a, "wan"), 5)
        expect.equal(lab.ping(count=2, wait_s=1), 0, "answers over a link that is down")
        lab.a.wait_drops("no_route", 1)
        lab.wire.ip("link", "set", "to-a", "up")
        wait_until("the link is shown as up", lambda: link_up(lab.a, "wan"), 5)
        wait_until("the tunnel works again", lambda: lab.ping(wait_s=1), 10)
        expect.equal((lab.a.pid_of("espalierd"), lab.a.pid_of("espalier-dataplane")), before, "process ids")


def test_gateway_answers_arp_and_ping(folder):
    """Its own addresses, from 1 to 1472 bytes and in fragments; other addresses not."""
    with expect.two_sites(folder) as lab:
        for size in (1, 56, 1472, 3000):
            expect.answered(lab, to=GATEWAY_A, size=size, count=1)
        expect.equal(lab.ping(to="10.1.0.99", wait_s=1), 0, "answers of an address that nobody has")
        neighbours = lab.host_a.run("ip", "neighbour", "show", "10.1.0.99").stdout
        if "lladdr" in neighbours:
            raise AssertionError(f"somebody answered ARP for 10.1.0.99: {neighbours}")


def test_arp_is_asked_once_and_answered(folder):
    """The gateway resolves its next hop by itself, shows it, and does not lose the packets that wait for it."""
    with expect.two_sites(folder) as lab:
        asked = lab.watch("arp", "eth0", lab.host_b, "arp")
        expect.answered(lab, count=5, interval_s=0.01)
        requests = [packet for packet in asked.stop() if packet[ARP].op == 1 and packet[ARP].pdst == HOST_B]
        expect.at_least(len(requests), 1, "ARP requests for host B")
        rows = {row["address"]: row["state"] for row in lab.b.ask("show", "neighbors")["neighbors"]}
        expect.equal(rows.get(HOST_B), "reachable", f"state of host B among {rows}")


def test_a_next_hop_that_does_not_answer(folder):
    """Packets for an address that nobody has are counted, their sender is told, and nothing of them is sent."""
    with expect.two_sites(folder) as lab:
        sent = lab.watch("sent", expression="not arp")
        told = lab.watch("told", "eth0", lab.host_a, "icmp[0] == 3")
        lab.host_a.run("ping", "-n", "-c", 2, "-W", 4, "192.0.2.77", check=False)
        lab.a.wait_drops("neighbor_unresolved", 2)
        expect.nothing(sent.stop(), "packets to a next hop that does not answer")
        errors = [(packet[IP].src, packet[ICMP].code) for packet in told.stop()]
        expect.equal(errors, [(GATEWAY_A, 1)] * 2, "host unreachable for each ping")


def test_an_error_about_a_decrypted_packet_stays_inside(folder):
    """TTL 2 runs out at gateway B; its ICMP error would be in clear and quote the packet: dropped and counted."""
    with expect.two_sites(folder) as lab, expect.no_clear_packets(lab):
        lab.host_a.run("ping", "-n", "-c", 2, "-W", 1, "-t", 2, HOST_B, check=False)
        lab.b.wait_drops("icmp_error_clear", 2)


def test_a_gateways_restart_keeps_the_interfaces(folder):
    """The same interfaces with the same MAC addresses after a stop and a start."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab)
        key = lambda: [(row["name"], row["mac"], row["mtu_bytes"]) for row in lab.a.ask("show", "interfaces")["interfaces"]]
        before = key()
        lab.a.stop()
        lab.a.start()
        expect.equal(key(), before, "interfaces after the restart")
        wait_until("the tunnel works again", lambda: lab.ping(wait_s=1), 5)


def test_plain_traffic_beside_the_tunnel(folder):
    """What no policy protects is routed in clear, with its TTL lowered once."""
    with expect.two_sites(folder) as lab:
        wire = lab.watch("wire", expression="icmp")
        expect.answered(lab, to=WAN_B, count=1)
        packets = wire.stop()
        expect.equal([(p["IP"].src, p["IP"].dst, p["IP"].ttl) for p in packets if p["ICMP"].type == 8],
                     [(HOST_A, WAN_B, 63)], "the request on the wire")
