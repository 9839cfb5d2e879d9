"""Packets that do not fit: 9000 bytes on the sites' networks, 1500 and less between the gateways."""
import re

import expect
from labs.capture import IP, TCP, IPv6
from labs.two_sites import HOST_A
from many_tunnels import GCM, HOST_A6, NATT, Case, ManyTunnels, echo, serve_echo

CASES = [(outer, inner, keywords) for keywords in ({}, NATT) for outer in (4, 6) for inner in (4, 6)]
JUMBO, LINK_MTU = 9000, 1500
PING_BYTES = {4: 28, 6: 48}  # IP and ICMP around what ping sends
TCP_BYTES = {4: 40, 6: 60}


def inner_mtu(case, way):
    """RFC 4303: what fits into a packet of `way` bytes beside outer IP, UDP, ESP, IV, padding to 4 bytes, trailer, ICV.
    Of IPv6 never less than 1280 (RFC 8200 section 5): the ESP packet is cut then."""
    around = {4: 20, 6: 40}[case.outer] + (8 if "encap" in case.keywords else 0) + 8 + 8 + 16
    fits = (way - around) // 4 * 4 - 2
    return max(fits, 1280) if case.inner == 6 else fits


class JumboSites(ManyTunnels):
    """Two Espaliers whose networks have an MTU of 9000, and 1500 between them."""
    lan_mtu = JUMBO

    def start(self, clamp=None):
        for gateway, settings in ((self.a, self.settings_a()), (self.b, self.settings_b())):
            if clamp:
                settings["interfaces"]["wan"]["mss-clamp"] = clamp
            gateway.start(settings, wait=False)
        self.a.wait_ready()
        self.b.wait_ready()
        return self


class RouterBetween(JumboSites):
    """The same with a router in between, behind which the way to gateway B bears 1320 bytes."""
    narrow = 1320
    wan_b, wan_b6 = "198.51.100.2", "2001:db8:b::2"
    beyond_a, beyond_b = ("192.0.2.254", "2001:db8::fe"), ("198.51.100.254", "2001:db8:b::fe")

    def settings_b(self, **dataplane):
        settings = super().settings_b(**dataplane)
        settings["interfaces"]["wan"]["mtu"] = self.narrow
        return settings

    def _cable(self):
        super()._cable()
        router = self.wire
        router.ip("link", "del", "wire")
        for port, addresses in (("to-a", self.beyond_a), ("to-b", self.beyond_b)):
            router.ip("address", "add", f"{addresses[0]}/24", "dev", port)
            self.network.add_ipv6(router, port, [f"{addresses[1]}/64"])
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        router.ip("link", "set", "to-b", "mtu", self.narrow)
        self.gateway_b.ip("link", "set", "wan", "mtu", self.narrow)


def jumbo(folder, lab_type=JumboSites):
    return lab_type("esp-test", folder / "lab", [Case(GCM, *case) for case in CASES])


def ping(lab, case, packet_bytes, *options, wait_s=1):
    """ping's output, for IP packets of this size."""
    words = ["ping", "-n", "-W", wait_s, "-i", 0.2, "-s", packet_bytes - PING_BYTES[case.inner], *options, case.host()]
    return lab.host_a.run(*words, check=False).stdout


def answers(output):
    return output.count(" bytes from ")


def mtus(output):
    """The MTUs that were told."""
    return {int(number) for number in re.findall(r"mtu ?= ?(\d+)", output)}


def bears_large_packets(lab, way):
    """For every case: with DF the sender is told the exact size; 9000 bytes that may be cut arrive; TCP finds its way."""
    server = serve_echo(lab.host_b)
    for case in lab.cases:
        mtu = inner_mtu(case, way)
        # As Linux does, IPv6 is first asked whether the link bears it, and only then whether ESP leaves room.
        sizes, steps = ((JUMBO,), {mtu}) if case.inner == 4 else ((JUMBO, LINK_MTU), {LINK_MTU, mtu})
        told = set().union(*(mtus(ping(lab, case, size, "-M", "do", "-c", 2)) for size in sizes))
        expect.equal(told, steps, f"MTUs that host A was told: {case}")
        fits, too_large = ping(lab, case, mtu, "-M", "do", "-c", 1), ping(lab, case, mtu + 1, "-M", "probe", "-c", 1, wait_s=0.3)
        expect.equal((answers(fits), answers(too_large)), (1, 0), f"answers to {mtu} bytes with DF and to one more: {case}")
        # Of IPv6 the first two answers are lost: they tell host B of the link's MTU, then of what ESP leaves.
        cut = ping(lab, case, JUMBO, "-M", "dont", "-c", 3)
        expect.at_least(answers(cut), 1, f"answers to 9000 bytes that may be cut: {case}")
    expect.nothing(echo(lab.host_a, {4: HOST_A, 6: HOST_A6}, [case.host() for case in lab.cases]), "failed echoes")
    lab.host_b.stop(server)


def test_larger_than_the_way(folder):
    """9000-byte pings and TCP over 1500 bytes: DF and not, IPv4 and IPv6 outside and inside, with NAT traversal and without."""
    with jumbo(folder) as lab, expect.logs(lab.a, lab.b):
        lab.start()
        with expect.no_clear_packets(lab, f"{expect.ESP} or udp port 4500 or ip[6:2] & 0x1fff != 0 or ip6 proto 44"):
            bears_large_packets(lab, 1500)


def test_a_router_with_less(folder):
    """A router tells of 1320 bytes by ICMP about ESP: the SA learns it, and the senders inside are told what is left."""
    with jumbo(folder, RouterBetween) as lab, expect.logs(lab.a, lab.b):
        lab.start()
        for case in lab.cases:
            lost = ping(lab, case, 1300, "-M", "do", "-c", 1, wait_s=0.3)
            expect.equal(answers(lost), 0, f"answers before the way is known: {case}")
        learned = {row.get("path_mtu_bytes") for row in lab.a.ask("show", "ipsec", "sa")["sas"] if row["direction"] == "out"}
        expect.equal(learned, {lab.narrow}, "path MTU of gateway A's outbound SAs")
        bears_large_packets(lab, lab.narrow)


def test_mss_clamp(folder):
    """SYNs pass with the MSS that fits the tunnel, or the number that is configured; data then needs no ICMP."""
    for clamp in ("pmtu", 1200):
        with jumbo(folder / str(clamp)) as lab, expect.logs(lab.a, lab.b):
            lab.start(clamp)
            syns = lab.watch("syns", "eth0", lab.host_b, "tcp or ip6 proto 6")
            server = serve_echo(lab.host_b)
            expect.nothing(echo(lab.host_a, {4: HOST_A, 6: HOST_A6}, [case.host() for case in lab.cases]), "failed echoes")
            lab.host_b.stop(server)
            fits = {case.host(): inner_mtu(case, 1500) - TCP_BYTES[case.inner] for case in lab.cases}
            wanted = fits if clamp == "pmtu" else dict.fromkeys(fits, clamp)
            expect.equal(mss_of(syns.stop()), wanted, f"MSS that came to host B (mss-clamp {clamp})")
            for gateway in (lab.a, lab.b):
                expect.equal(gateway.drops().get("too_big", 0), 0, "packets that were too big")


def mss_of(packets):
    """Destination -> MSS, of SYNs."""
    return {(packet[IPv6] if IPv6 in packet else packet[IP]).dst: dict(packet[TCP].options)["MSS"]
            for packet in packets if TCP in packet and packet[TCP].flags == "S"}
