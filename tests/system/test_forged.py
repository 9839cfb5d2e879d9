"""Forged and replayed packets on the wire are dropped and counted, and reach nobody."""
import signal

import expect
from labs.capture import packets_of
from labs.network import wait_until
from labs.two_sites import HOST_A, HOST_B
from scapy.all import ICMP, IP, UDP, Ether


def mac(gateway):
    return next(row["mac"] for row in gateway.ask("show", "interfaces")["interfaces"] if row["name"] == "wan")


def dropped(gateway, reason, count, action):
    """The action makes exactly `count` more drops of a reason."""
    before = gateway.drops().get(reason, 0)
    action()
    gateway.wait_drops(reason, before + count)
    gateway.settle()
    expect.equal(gateway.drops().get(reason, 0) - before, count, f"drops of {reason}")


def test_a_clear_packet_with_a_decrypted_flows_tuple(folder):
    """The exact tuple of a flow that comes out of the tunnel, forged in clear: dropped, counted, not delivered."""
    with expect.two_sites(folder) as lab:
        seen = lab.watch("host-b", "eth0", lab.host_b, "icmp or udp")
        ping = lab.host_a.start("ping", "-n", "-i", "0.1", HOST_B)
        wait_until("the flow runs", lambda: lab.b.ask("show", "ipsec", "sa")["sas"], 5)
        lab.b.settle(1)
        request = next(packet for packet in packets_of(seen.file) if ICMP in packet and packet[ICMP].type == 8)
        flow = IP(src=HOST_A, dst=HOST_B, id=4711) / ICMP(id=request[ICMP].id, seq=9999) / (b"forged" * 10)
        other = IP(src=HOST_A, dst=HOST_B, id=4712) / UDP(sport=4711, dport=4712) / (b"forged" * 10)
        frames = [Ether(src="02:00:00:00:00:99", dst=mac(lab.b)) / packet for packet in [flow] * 10 + [other] * 10]
        dropped(lab.b, "in_template_mismatch", 20, lambda: lab.inject("to-b", frames))
        lab.host_a.stop(ping, signal.SIGINT)
        delivered = [packet for packet in seen.stop() if b"forged" in bytes(packet)]
        expect.nothing(delivered, "forged packets that host B got")


def record_esp(lab, count=20):
    """The frames with ESP for gateway B that `count` pings made."""
    wire = lab.watch("recorded", "to-b", expression="ip proto 50", direction="out")
    expect.answered(lab, count=count, interval_s=0.02)
    return wire.stop()


def replay(lab, frames):
    """Replays them all; each is dropped as a replay, none reaches host B."""
    seen = lab.watch("after-replay", "eth0", lab.host_b, "icmp[icmptype] == icmp-echo")
    dropped(lab.b, "esp_replay", len(frames), lambda: lab.inject("to-b", frames))
    expect.nothing(seen.stop(), "replayed packets that host B got")


def test_a_replayed_packet(folder):
    """ESP packets that were accepted once are not accepted again."""
    with expect.two_sites(folder) as lab:
        frames = record_esp(lab)
        expect.equal(len(frames), 20, "recorded packets")
        replay(lab, frames)


def test_a_replayed_packet_after_the_dataplane_died(folder):
    """The replay window outlives a kill -9 of the dataplane."""
    with expect.two_sites(folder) as lab:
        frames = record_esp(lab)
        lab.b.kill("espalier-dataplane")
        wait_until("the tunnel works again", lambda: lab.ping(wait_s=1), 10)
        replay(lab, frames)


def test_a_replayed_packet_after_all_died(folder):
    """Static keys outlive both processes; so does the window: what was accepted before is refused after."""
    with expect.two_sites(folder) as lab:
        frames = record_esp(lab)
        lab.b.kill("espalierd")
        lab.b.kill("espalier-dataplane")
        lab.b.start()
        wait_until("the tunnel works again", lambda: lab.ping(wait_s=1), 10)
        replay(lab, frames)


def test_a_damaged_packet(folder):
    """A changed byte anywhere behind the sequence number: esp_icv, and the window does not move."""
    with expect.two_sites(folder) as lab:
        wire = lab.watch("wire", "to-b", expression="ip proto 50", direction="out")
        lab.b.stop()  # so that nothing is accepted yet
        lab.ping(count=5, wait_s=1)
        frames = wire.stop()
        lab.b.start()
        damaged = []
        for frame in frames:
            raw = bytearray(bytes(frame))
            raw[60] ^= 1
            damaged.append(Ether(bytes(raw)))
        dropped(lab.b, "esp_icv", len(damaged), lambda: lab.inject("to-b", damaged))
        seen = lab.watch("host-b", "eth0", lab.host_b, "icmp[icmptype] == icmp-echo")
        lab.inject("to-b", frames)
        expect.equal(len(seen.stop()), len(frames), "undamaged packets that host B got afterwards")


def test_an_unknown_spi(folder):
    """ESP with an SPI that nobody has: esp_no_state, no answer."""
    with expect.two_sites(folder) as lab:
        frames = record_esp(lab, 2)
        unknown = []
        for frame in frames:
            raw = bytearray(bytes(frame))
            raw[34:38] = b"\xde\xad\xbe\xef"
            unknown.append(Ether(bytes(raw)))
        answers = lab.watch("answers", "to-b", expression="not arp", direction="in")
        dropped(lab.b, "esp_no_state", 2, lambda: lab.inject("to-b", unknown))
        expect.nothing(answers.stop(), "answers to unknown SPIs")
