"""Two gateways with static keys carry what hosts send, and nothing of it in clear."""
import os

import expect
from labs import capture, suites, traffic
from labs.network import wait_until
from labs.two_sites import HOST_A, HOST_B
from scapy.all import ICMP, IP


def test_scapy_decrypts_what_the_hosts_sent(folder):
    """Pings of every kind of size, opened by scapy with the keys: the same bytes as on both hosts."""
    with expect.two_sites(folder) as lab:
        running = {"wire": lab.watch("wire"),
                   "a": lab.watch("a", "eth0", lab.host_a, "icmp"), "b": lab.watch("b", "eth0", lab.host_b, "icmp")}
        sizes = [1, 2, 3, 4, 63, 64, 65, 1399, 1400, 1417, 1418, 1419, 1472, 1473, 8000, 60000]
        expect.nothing(traffic.ping_each_size(lab.host_a, HOST_B, sizes, "-M dont"), "sizes without an answer")
        packets = {name: one.stop() for name, one in running.items()}
        expect.nothing(capture.foreign(packets["wire"]), "frames that are neither ESP nor ARP")
        inner = capture.comparable(expect.opener(lab).open(packets["wire"]))
        expect.equal(inner.total(), 2 * len(sizes), "packets inside of the ESP")
        for name in ("a", "b"):
            if capture.comparable(packets[name]) != inner:
                raise AssertionError(f"host {name} saw other packets than are inside of the ESP")


def test_sequence_numbers_count_up_from_one(folder):
    """RFC 4303 section 3.3.3: each SA's first packet has number 1, none repeats, none is left out."""
    with expect.two_sites(folder) as lab:
        wire = lab.watch("wire")
        expect.answered(lab, count=20, interval_s=0.05)
        numbers = capture.outer_numbers(wire.stop())
        for sa in (lab.tunnel.rightward, lab.tunnel.leftward):
            expect.equal([seq for spi, seq in numbers if spi == sa.spi], list(range(1, 21)), f"numbers of SPI {sa.spi:#x}")


def test_an_sa_tells_when_it_was_used(folder):
    """`idle_s` is not there before the first packet, and small after it, in both directions."""
    with expect.two_sites(folder) as lab:
        def idle():
            return [row.get("idle_s") for row in lab.a.ask("show", "ipsec", "sa")["sas"]]
        expect.equal(idle(), [None, None], "idle_s of SAs that were never used")
        expect.answered(lab, count=2)
        wait_until("both SAs were used lately", lambda: all(each is not None and each < 5 for each in idle()), 3)


def test_every_key_length(folder):
    """AES-GCM with 192 and 256 bits, and a replay window of 1024; opened by scapy."""
    for bits in (192, 256):
        with expect.two_sites(folder, start=False) as lab:
            lab.tunnel = type(lab.tunnel)(**{**vars_of(lab.tunnel), "suite": suites.BY_NAME[f"aes{bits}gcm128"], "replay_window": 1024})
            lab.start()
            wire = lab.watch("wire")
            expect.answered(lab)
            expect.equal(len(expect.opener(lab).open(wire.stop())), 6, f"packets inside of AES-{bits} ESP")


def vars_of(tunnel):
    return {name: getattr(tunnel, name) for name in ("left", "right", "left_prefix", "right_prefix", "reqid", "first_spi")}


def test_iperf_and_a_file(folder):
    """TCP both ways, UDP, and 20 MB by HTTP with equal checksums; only ESP and ARP on the wire."""
    with expect.two_sites(folder) as lab, expect.no_clear_packets(lab):
        server = traffic.Iperf(lab.host_b, HOST_B)
        for options in ([], ["--reverse"], ["--udp", "--bitrate", "20M", "--length", "1200"]):
            report = server.run(lab.host_a, 3, *options)
            expect.equal(report.get("error"), None, f"iperf3's error with {options}")
            summary = report["end"].get("sum_received") or report["end"]["sum"]
            expect.at_least(summary["bits_per_second"], 5e6, f"bits per second with {options}")
        source, target = lab.directory / "sent", lab.directory / "received"
        source.write_bytes(os.urandom(20_000_000))
        traffic.copy_file(lab.host_b, HOST_B, lab.host_a, source, target)
        expect.equal(traffic.checksum(lab.host_a, target), traffic.checksum(lab.host_b, source), "checksum of the file")


def test_too_big_with_df_is_answered_with_the_tunnels_mtu(folder):
    """1446 is the largest inner packet of a 1500 byte way (packet-order 16-pmtu); more and DF gives ICMP 3/4."""
    with expect.two_sites(folder) as lab:
        expect.equal(lab.ping(size=1446 - 28, count=1), 1, "answers to a packet of 1446 bytes")
        answers = lab.watch("answers", "eth0", lab.host_a, "icmp[icmptype] == icmp-unreach")
        lab.host_a.run("ping", "-n", "-c", 1, "-W", 1, "-M", "do", "-s", 1447 - 28, HOST_B, check=False)
        packets = answers.stop()
        expect.equal([(packet[ICMP].code, packet[ICMP].nexthopmtu, packet[IP].dst) for packet in packets],
                     [(4, 1446, HOST_A)], "answers (code, MTU, destination)")


def test_no_sa_means_drop_and_count(folder):
    """A policy whose SA is missing: nothing leaves, out_no_state counts."""
    with expect.two_sites(folder, start=False) as lab:
        settings = lab.settings_a()
        settings["xfrm"]["state"] = [state for state in settings["xfrm"]["state"] if state["direction"] == "in"]
        lab.a.start(settings)
        lab.b.start(lab.settings_b())
        wire = lab.watch("wire", expression="not arp")
        expect.equal(lab.ping(count=3, wait_s=1), 0, "answers without an SA")
        lab.a.wait_drops("out_no_state", 3)
        expect.nothing([packet.summary() for packet in wire.stop()], "frames on the wire")
