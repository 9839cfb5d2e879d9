"""Every suite and every form of ESP between Espalier and Linux's own ESP: each side opens what the other one sealed.

    host-a ── lan [Espalier] wan ── wire ── wan [Linux, in UML] lan ── host-b

Each tunnel has a number N: host B has the addresses 10.2.N.10 and fd00:2:0:N::10 for it, the Linux gateway 10.2.N.1 and
fd00:2:0:N::1.
"""
import collections
import contextlib
import dataclasses
import re
import time

import expect
from labs import configuration, suites, traffic
from labs.capture import IP, UDP, IPv6
from labs.network import wait_until
from labs.two_sites import GATEWAY_A, HOST_A, LAN_A, WAN_A, WAN_B, TwoSites, port
from linux_gateway import LinuxGateway

LAN_A6, HOST_A6, GATEWAY_A6 = "fd00:1::/64", "fd00:1::10", "fd00:1::1"
WAN_A6, WAN_B6 = "2001:db8::1", "2001:db8::2"
ECHO_PORT, ECHO_BYTES = 7000, 100_000
ECHO = expect.HERE / "echo.py"
BEFORE_2_32 = (1 << 32) - 40  # numbers of one SA pass 2^32 within the pings

GCM, CBC, CHACHA = (suites.BY_NAME[name] for name in ("aes128gcm128", "aes256-sha256", "chacha20poly1305"))
ESN = {"esn": True, "last-sequence": BEFORE_2_32}
NATT = {"encap": {"type": "espinudp", "sport": 4500, "dport": 4500}}


@dataclasses.dataclass
class Case:
    """One pair of SAs: its suite, the families outside and inside, and further keywords of its states."""
    suite: suites.Suite
    outer: int = 4
    inner: int = 4
    keywords: dict = dataclasses.field(default_factory=dict)
    number: int = 0

    def tunnel(self):
        if self.outer != self.inner:  # as in Linux: without it a state carries the family of its own addresses only
            self.keywords = {"flag": ["af-unspec"]} | self.keywords
        left, right = (WAN_A, WAN_B) if self.outer == 4 else (WAN_A6, WAN_B6)
        near, far = (LAN_A, f"10.2.{self.number}.0/24") if self.inner == 4 else (LAN_A6, f"fd00:2:0:{self.number:x}::/64")
        return self.pair(left, right, near, far)

    def pair(self, left, right, near, far):
        return configuration.Tunnel(left, right, near, far, reqid=self.number, first_spi=0x1000 + 16 * self.number,
                                    suite=self.suite, keywords=self.keywords)

    def host(self, last="10"):
        return f"10.2.{self.number}.{last}" if self.inner == 4 else f"fd00:2:0:{self.number:x}::{last}"

    def __str__(self):
        return f"{self.suite.name}, {self.inner} in {self.outer}, {' '.join(self.keywords)}"


class Transport(Case):
    """Transport mode between the gateways' own addresses in their networks."""

    def tunnel(self):
        self.keywords = {"mode": "transport"} | self.keywords
        near, far = (GATEWAY_A if self.inner == 4 else GATEWAY_A6), self.host("1")
        return self.pair(near, far, near, far)


class LinuxPeer(TwoSites):
    """The two sites, with IPv6, a Linux gateway at the right and a tunnel for each case."""

    def __init__(self, prefix, directory, cases):
        super().__init__(prefix, directory)
        self.cases = cases
        for number, case in enumerate(cases, 1):
            case.number = number
        self.tunnels = [case.tunnel() for case in cases]
        self.linux = LinuxGateway(self.gateway_b, self.directory / "linux")
        add = self.network.add_ipv6
        add(self.host_a, "eth0", [f"{HOST_A6}/64"], GATEWAY_A6)
        add(self.host_b, "eth0", ["fd00:2::10/48"], "fd00:2::1")
        for case in cases:
            self.host_b.ip("address", "add", case.host(), "dev", "eth0", *(["nodad"] if case.inner == 6 else []))

    def start(self, **dataplane):
        near = {"lan": (port("lan"), [f"{GATEWAY_A}/24", f"{GATEWAY_A6}/64"]), "wan": (port("wan"), [f"{WAN_A}/24", f"{WAN_A6}/64"])}
        settings = configuration.gateway(near, [("0.0.0.0/0", WAN_B), ("::/0", WAN_B6)], self.tunnels)
        settings["dataplane"] |= dataplane
        self.a.start(settings, wait=False)
        own = [f"{case.host('1')}/{24 if case.inner == 4 else 64}" for case in self.cases]
        far = {"lan": ("", ["10.2.0.1/24", "fd00:2::1/64", *own]), "wan": ("", [f"{WAN_B}/24", f"{WAN_B6}/64"])}
        self.linux.start(configuration.gateway(far, [("0.0.0.0/0", WAN_A), ("::/0", WAN_A6)], self.tunnels, side="right"))
        self.a.wait_ready()
        return self

    def close(self):
        self.linux.stop()
        super().close()


@contextlib.contextmanager
def linux_peer(folder, cases):
    with LinuxPeer("esp-test", folder / "lab", cases) as lab, expect.logs(lab.a):
        yield lab.start()


def ping_sizes(machine, cases, sizes, source=None):
    """One ping of every size to every case's host; what was not answered."""
    lost = []
    for case in cases:
        words = f"ping -n -q -c 1 -W 1 {f'-I {source}' if source else ''} -s $size {case.host()}"
        script = f"for size in {' '.join(map(str, sizes))}; do {words} >/dev/null || echo $size; done"
        sizes_lost = machine.run("sh", "-c", script, timeout=3 * len(sizes)).stdout.split()
        lost += [f"{case}: {sizes_lost}"] if sizes_lost else []
    return lost


def echo(lab, client, sources, targets):
    """TCP in both directions at once; the targets that did not return what was sent."""
    lost = []
    for family, source in sources.items():
        of_family = [target for target in targets if (":" in target) == (family == 6)]
        if of_family:
            done = client.run("/usr/bin/python3", ECHO, "send", ECHO_PORT, ECHO_BYTES, source, *of_family, timeout=60)
            lost += done.stdout.splitlines()
    return lost


def carries_everything(lab, sizes):
    """Pings of all sizes and TCP through each case; the counters of both gateways agree that each SA was used."""
    server = lab.host_b.start("/usr/bin/python3", ECHO, "serve", ECHO_PORT)
    wait_until("the echo server listens", lambda: f":{ECHO_PORT}" in lab.host_b.run("ss", "-Hltn").stdout)
    expect.nothing(ping_sizes(lab.host_a, lab.cases, sizes), "pings without an answer")
    expect.nothing(echo(lab, lab.host_a, {4: HOST_A, 6: HOST_A6}, [case.host() for case in lab.cases]), "failed echoes")
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
    seen = collections.Counter(
        (packet[IPv6].src if IPv6 in packet else packet[IP].src, packet[UDP].sport, packet[UDP].dport, bytes(packet[UDP].payload)[:1],
         packet[UDP].len) for packet in idle.stop())
    for source in (WAN_A, WAN_A6):
        expect.at_least(seen.pop((source, 4500, 4500, b"\xff", 9), 0), 3, f"keepalives from {source} in 3.5 s")
    expect.equal(seen, {}, "other packets while nothing is sent")


def transport_carries(lab, programs):
    """Linux pings Espalier; a program on Espalier's host pings and echoes to Linux."""
    lab.linux.run(f"/usr/bin/python3 {ECHO} serve {ECHO_PORT} >/dev/null 2>&1 & sleep 1")
    for case in lab.cases:
        near = GATEWAY_A if case.inner == 4 else GATEWAY_A6
        lab.linux.run(f"for size in 40 47 53 1200; do ping -n -q -c 1 -W 1 -s $size -I {case.host('1')} {near}; done")
        sizes_lost = traffic.ping_each_size(programs, case.host("1"), [40, 41, 1300], f"-I {near}")
        expect.nothing(sizes_lost, f"sizes without an answer: {case}")
    expect.nothing(echo(lab, programs, {4: GATEWAY_A, 6: GATEWAY_A6}, [case.host("1") for case in lab.cases]), "failed echoes")
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
