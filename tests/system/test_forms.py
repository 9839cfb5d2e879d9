"""Every form of ESP between two Espaliers: opened by scapy, under load, and through a NAT."""
import collections
import json
import time

import expect
from labs import suites, traffic
from labs.capture import ESP, IP, Opener, IPv6, ip_of
from labs.two_sites import HOST_A, WAN_A
from many_tunnels import CBC, CHACHA, GCM, HOST_A6, NATT, Case, ManyTunnels, echo, ping_sizes, serve_echo

PLAIN = suites.BY_NAME["null-sha256"]
ESN = {"esn": True, "last-sequence": 5 << 32}
FORMS = [(GCM, 4, 6, {}), (GCM, 6, 4, {}), (GCM, 6, 6, {}), (GCM, 4, 4, NATT), (CBC, 6, 4, NATT), (CBC, 4, 4, {}), (CHACHA, 4, 4, {}),
         (PLAIN, 4, 4, {}), (GCM, 4, 4, ESN)]
PINGS = range(40, 44)


class BothEspalier(ManyTunnels):
    def start(self):
        self.a.start(self.settings_a(), wait=False)
        self.b.start(self.settings_b(), wait=False)
        self.a.wait_ready()
        self.b.wait_ready()
        return self


def forms(folder):
    return BothEspalier("esp-test", folder / "lab", [Case(*form) for form in FORMS])


def test_scapy_opens_every_form(folder):
    """What is inside of each ESP packet is what host A sent or received, by an implementation that is not ours."""
    with forms(folder) as lab, expect.logs(lab.a, lab.b):
        lab.start()
        wire, host = lab.watch("wire"), lab.watch("host", "eth0", lab.host_a, "icmp or (icmp6 and ip6[40] <= 129)")
        expect.nothing(ping_sizes(lab.host_a, lab.cases, PINGS), "pings without an answer")
        opener = Opener([sa for tunnel in lab.tunnels for sa in (tunnel.rightward, tunnel.leftward)])
        inner = [opener.open_one(ip_of(packet)) for packet in wire.stop() if ESP in packet]
        expect.equal(len(inner), 2 * len(PINGS) * len(FORMS), "ESP packets on the wire")
        inside, outside = (collections.Counter(map(without_hops, packets)) for packets in (inner, map(ip_of, host.stop())))
        expect.nothing(inside - outside, "packets inside of the ESP that host A does not know")
        expect.nothing(outside - inside, "packets of host A that were not inside of ESP")


def without_hops(packet):
    """An IP packet's bytes without what a router changes."""
    copy = packet.__class__(bytes(packet))
    if IPv6 in copy:
        copy.hlim = 0
    else:
        copy[IP].ttl = copy[IP].chksum = 0
    return bytes(copy)


def test_every_form_under_load(folder):
    """iperf3 through each form, TCP both ways at once."""
    with forms(folder) as lab, expect.logs(lab.a, lab.b):
        lab.start()
        with expect.no_clear_packets(lab, f"{expect.ESP} or udp port 4500"):
            for case in lab.cases:
                rates = [rate / 1e6 for rate in both_ways(lab, case)]
                print(f"     {case}: {rates[0]:.0f} and {rates[1]:.0f} Mbit/s")
                expect.at_least(min(rates), 5, f"Mbit/s: {case}")


def both_ways(lab, case):
    """Bits per second received by host B and by host A."""
    server = traffic.Iperf(lab.host_b, case.host())
    report = server.run(lab.host_a, 1, "--bidir")
    server.stop()
    expect.equal(report.get("error"), None, f"iperf3's error: {case}")
    return [report["end"][name]["bits_per_second"] for name in ("sum_received", "sum_received_bidir_reverse")]


class BehindNat(BothEspalier):
    """The wire is a router that hides gateway A behind its own address and forgets UDP flows within 2 seconds."""
    wan_b, nat = "198.51.100.2", "198.51.100.254"
    beyond_a, beyond_b = ("192.0.2.254", "2001:db8::fe"), (nat, "2001:db8::fe")

    def _cable(self):
        super()._cable()
        router = self.wire
        router.ip("link", "del", "wire")
        router.ip("address", "add", "192.0.2.254/24", "dev", "to-a")
        router.ip("address", "add", f"{self.nat}/24", "dev", "to-b")
        router.run("nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority srcnat; }; "
                          "add rule ip nat out oifname to-b masquerade")
        timeouts = [f"net.netfilter.nf_conntrack_udp_timeout{name}=2" for name in ("", "_stream")]
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", *timeouts)

    def settings_b(self):
        """Gateway B knows gateway A by the NAT's address."""
        return json.loads(json.dumps(super().settings_b()).replace(f'"{WAN_A}"', f'"{self.nat}"'))


def test_through_a_nat(folder):
    """A NAT in between: TCP and pings, and after 4 idle seconds host B reaches host A, thanks to the keepalives only."""
    for keepalive, reached in ((1, 1), (0, 0)):
        cases = [Case(suite, 4, 4, NATT | {"keepalive": keepalive}) for suite in (GCM, CBC)]
        with BehindNat("esp-test", folder / str(keepalive), cases) as lab, expect.logs(lab.a, lab.b):
            lab.start()
            server = serve_echo(lab.host_b)
            expect.nothing(ping_sizes(lab.host_a, lab.cases, PINGS), "pings without an answer")
            expect.nothing(echo(lab.host_a, {4: HOST_A, 6: HOST_A6}, [case.host() for case in lab.cases]), "failed echoes")
            lab.host_b.stop(server)
            time.sleep(4)
            for case in lab.cases:
                words = ["ping", "-n", "-c", 1, "-W", 1, "-I", case.host(), HOST_A]
                answers = lab.host_b.run(*words, check=False).stdout.count(" bytes from ")
                expect.equal(answers, reached, f"answers to host B after idle seconds, with a keepalive of {keepalive} s")
