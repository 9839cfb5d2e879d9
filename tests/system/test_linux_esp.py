"""Every suite and every form of ESP between Espalier and Linux's own ESP: each side opens what the other one sealed.

    host-a ── lan [Espalier] wan ── wire ── wan [Linux, in UML] lan ── host-b
"""
import collections
import contextlib
import re
import time

import expect
from labs import suites, traffic
from labs.capture import UDP, ip_of
from labs.two_sites import GATEWAY_A, HOST_A, WAN_A
from linux_gateway import LinuxGateway
from many_tunnels import (CBC, CHACHA, ECHO, ECHO_PORT, GATEWAY_A6, GCM, HOST_A6, NATT, WAN_A6, Case, ManyTunnels, Transport,
                          echo, ping_sizes, serve_echo)

BEFORE_2_32 = (1 << 32) - 40  # numbers of one SA pass 2^32 within the pings
ESN = {"esn": True, "last-sequence": BEFORE_2_32}


class LinuxPeer(ManyTunnels):
    """Many tunnels, with a Linux gateway at the right."""

    def __init__(self, prefix, directory, cases):
        super().__init__(prefix, directory, cases)
        self.linux = LinuxGateway(self.gateway_b, self.directory / "linux")

    def start(self, **dataplane):
        self.a.start(self.settings_a(**dataplane), wait=False)
        self.linux.start(self.settings_b())
        self.a.wait_ready()
        return self

    def close(self):
        self.linux.stop()
        super().close()


@contextlib.contextmanager
def linux_peer(folder, cases):
    with LinuxPeer("esp-test", folder / "lab", cases) as lab, expect.logs(lab.a):
        yield lab.start()


def carries_everything(lab, sizes):
    """Pings of all sizes and TCP through each case; the counters of both gateways agree that each SA was used."""
    server = serve_echo(lab.host_b)
    ping_sizes(lab.host_a, lab.cases, [56])  # Linux began a moment ago: the first packet of a tunnel may be lost
    expect.nothing(ping_sizes(lab.host_a, lab.cases, sizes), "pings without an answer")
    expect.nothing(echo(lab.host_a, {4: HOST_A, 6: HOST_A6}, [case.host() for case in lab.cases]), "failed echoes")
    lab.host_b.stop(server)
    expect.equal(lab.linux.errors(), {}, "errors of Linux's IPsec")
    expect.equal(unused(lab), [], "SAs without packets in Linux")


def unused(lab):
    text = lab.linux.run("ip -s xfrm state")
    packets = {int(spi, 16): int(count) for spi, count in
               re.findall(r"spi 0x([0-9a-f]+)\b.*?\d+\(bytes\), (\d+)\(packets\)\n\s*add", text, re.S)}
    spis = [sa.spi for tunnel in lab.tunnels for sa in (tunnel.rightward, tunnel.leftward)]
    return [hex(spi) for spi in spis if not packets.get(spi)]


def keepalives_come(lab):
    """RFC 3948 section 2.3: one byte 0xff from port 4500 to 4500, while nothing else is sent; of each SA's addresses."""
    idle = lab.watch("idle", expression="udp port 4500")
    time.sleep(3.5)
    seen = collections.Counter(map(keepalive, idle.stop()))
    for source, has_checksum in ((WAN_A, False), (WAN_A6, True)):
        expect.at_least(seen.pop((source, 4500, 4500, b"\xff", has_checksum), 0), 3, f"keepalives from {source} in 3.5 s")
    expect.equal(seen, {}, "other packets while nothing is sent")


def keepalive(packet):
    """What tells a keepalive from other UDP packets; the last: whether it has a checksum and that is right."""
    ip, udp = ip_of(packet), packet[UDP]
    again = ip.__class__(bytes(ip))
    del again[UDP].chksum
    return ip.src, udp.sport, udp.dport, bytes(udp.payload)[:udp.len - 8], udp.chksum == ip.__class__(bytes(again))[UDP].chksum


def transport_carries(lab, programs):
    """Linux pings Espalier; a program on Espalier's host pings and echoes to Linux."""
    lab.linux.run(f"/usr/bin/python3 {ECHO} serve {ECHO_PORT} >/dev/null 2>&1 & sleep 1")
    for case in lab.cases:
        near = GATEWAY_A if case.inner == 4 else GATEWAY_A6
        lab.linux.run(f"for size in 40 47 53 1200; do ping -n -q -c 1 -W 1 -s $size -I {case.host('1')} {near}; done")
        sizes_lost = traffic.ping_each_size(programs, case.host("1"), [40, 41, 1300], f"-I {near}")
        expect.nothing(sizes_lost, f"sizes without an answer: {case}")
    expect.nothing(echo(programs, {4: GATEWAY_A, 6: GATEWAY_A6}, [case.host("1") for case in lab.cases]), "failed echoes")
    expect.equal(lab.linux.errors(), {}, "errors of Linux's IPsec")
    expect.equal(unused(lab), [], "SAs without packets in Linux")


def test_each_suite(folder):
    """All 26 suites, 17 sizes of ping (every padding) and TCP, tunnel mode, IPv4 in IPv4."""
    with linux_peer(folder, [Case(suite) for suite in suites.ALL]) as lab, expect.no_clear_packets(lab):
        carries_everything(lab, range(40, 57))


def test_each_family(folder):
    """IPv6 in IPv4, IPv4 in IPv6 and IPv6 in IPv6, with a suite of each kind."""
    cases = [Case(suite, outer, inner) for outer, inner in ((4, 6), (6, 4), (6, 6)) for suite in (GCM, CBC, CHACHA)]
    with linux_peer(folder, cases) as lab, expect.no_clear_packets(lab):
        carries_everything(lab, range(40, 57))


def test_extended_sequence_numbers(folder):
    """Both directions of each SA pass 2^32 in the middle of pings."""
    cases = [Case(suite, outer, inner, ESN) for outer, inner in ((4, 4), (6, 6)) for suite in (GCM, CBC, CHACHA)]
    with linux_peer(folder, cases) as lab, expect.no_clear_packets(lab):
        carries_everything(lab, range(40, 97))
        numbers = [row["next_sequence"] for row in lab.a.ask("show", "ipsec", "sa")["sas"] if row["direction"] == "out"]
        expect.at_least(min(numbers), 1 << 32, "the smallest number that an outbound SA has come to")


def test_nat_traversal(folder):
    """ESP in UDP both ways; a keepalive every second when nothing else is sent; none opened as ESP."""
    keep = NATT | {"keepalive": 1}
    cases = [Case(suite, outer, inner, keep) for outer, inner in ((4, 4), (6, 4), (4, 6)) for suite in (GCM, CBC, CHACHA)]
    with linux_peer(folder, cases) as lab:
        lab.linux.open_udp_encapsulation()
        with expect.no_clear_packets(lab, "udp port 4500"):
            carries_everything(lab, range(40, 57))
            keepalives_come(lab)


def test_transport_mode(folder):
    """Between the gateways themselves: pings both ways and TCP of a program on the gateway's host."""
    cases = [Transport(suite, family, family, keywords) for keywords in ({}, ESN, NATT) for family in (4, 6)
             for suite in (GCM, CBC, CHACHA)]
    with LinuxPeer("esp-test", folder / "lab", cases) as lab, expect.logs(lab.a):
        programs = lab.network.machine("host")
        lab.start(**{"host-path": True, "host-namespace": programs.name})
        lab.linux.open_udp_encapsulation()
        with expect.no_clear_packets(lab, f"{expect.ESP} or udp port 4500"):
            transport_carries(lab, programs)
