"""The two sites with many tunnels between them, for IPv4 and IPv6 outside and inside.

Each tunnel has a number N: host B has the addresses 10.2.N.10 and fd00:2:0:N::10 for it, gateway B 10.2.N.1 and
fd00:2:0:N::1 in its network.
"""
import dataclasses

import expect
from labs import configuration, suites
from labs.network import wait_until
from labs.two_sites import GATEWAY_A, HOST_A, LAN_A, WAN_A, WAN_B, TwoSites, port

LAN_A6, HOST_A6, GATEWAY_A6 = "fd00:1::/64", "fd00:1::10", "fd00:1::1"
WAN_A6, WAN_B6 = "2001:db8::1", "2001:db8::2"
ECHO_PORT, ECHO_BYTES = 7000, 100_000
ECHO = expect.HERE / "echo.py"

GCM, CBC, CHACHA = (suites.BY_NAME[name] for name in ("aes128gcm128", "aes256-sha256", "chacha20poly1305"))
NATT = {"encap": {"type": "espinudp", "sport": 4500, "dport": 4500}}


@dataclasses.dataclass
class Case:
    """One pair of SAs: its suite, the families outside and inside, and further keywords of its states."""
    suite: suites.Suite
    outer: int = 4
    inner: int = 4
    keywords: dict = dataclasses.field(default_factory=dict)
    number: int = 0

    def tunnel(self, wan_b, wan_b6):
        if self.outer != self.inner:  # as in Linux: without it a state carries the family of its own addresses only
            self.keywords = {"flag": ["af-unspec"]} | self.keywords
        left, right = (WAN_A, wan_b) if self.outer == 4 else (WAN_A6, wan_b6)
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

    def tunnel(self, *_):
        self.keywords = {"mode": "transport"} | self.keywords
        near, far = (GATEWAY_A if self.inner == 4 else GATEWAY_A6), self.host("1")
        return self.pair(near, far, near, far)


class ManyTunnels(TwoSites):
    """The two sites, with IPv6 and a tunnel for each case."""
    lan_mtu = 1500
    wan_b, wan_b6 = WAN_B, WAN_B6
    beyond_a, beyond_b = (WAN_B, WAN_B6), (WAN_A, WAN_A6)  # next hops of the gateways' default routes

    def __init__(self, prefix, directory, cases):
        super().__init__(prefix, directory)
        self.cases = cases
        for number, case in enumerate(cases, 1):
            case.number = number
        self.tunnels = [case.tunnel(self.wan_b, self.wan_b6) for case in cases]
        for host, gateway in ((self.host_a, self.gateway_a), (self.host_b, self.gateway_b)):
            host.ip("link", "set", "eth0", "mtu", self.lan_mtu)
            gateway.ip("link", "set", "lan", "mtu", self.lan_mtu)
        self.network.add_ipv6(self.host_a, "eth0", [f"{HOST_A6}/64"], GATEWAY_A6)
        self.network.add_ipv6(self.host_b, "eth0", ["fd00:2::10/64"], "fd00:2::1")
        for case in cases:
            self.host_b.ip("address", "add", case.host(), "dev", "eth0", *(["nodad"] if case.inner == 6 else []))

    def settings_a(self, **dataplane):
        lan, wan = [f"{GATEWAY_A}/24", f"{GATEWAY_A6}/64"], [f"{WAN_A}/24", f"{WAN_A6}/64"]
        return self._site(lan, wan, self.beyond_a, "left", "0", dataplane)

    def settings_b(self, **dataplane):
        own = [f"{case.host('1')}/{24 if case.inner == 4 else 64}" for case in self.cases]
        lan, wan = ["10.2.0.1/24", "fd00:2::1/64", *own], [f"{self.wan_b}/24", f"{self.wan_b6}/64"]
        return self._site(lan, wan, self.beyond_b, "right", "1", dataplane)

    def _site(self, lan, wan, beyond, side, core, dataplane):
        interfaces = {"lan": (port("lan"), lan), "wan": (port("wan"), wan)}
        routes = [("0.0.0.0/0", beyond[0]), ("::/0", beyond[1])]
        settings = configuration.gateway(interfaces, routes, self.tunnels, side=side, cores=core)
        settings["interfaces"]["lan"]["mtu"] = self.lan_mtu
        for interface in settings["interfaces"].values():
            interface["dad"] = False  # its addresses answer at once
        settings["dataplane"] |= dataplane
        return settings


def ping_sizes(machine, cases, sizes, source=None):
    """One ping of every size to every case's host; what was not answered, though neighbor discovery may need a second try."""
    lost = []
    for case in cases:
        words = f"ping -n -q -c 1 -W 3 {f'-I {source}' if source else ''} -s $size {case.host()}"
        script = f"for size in {' '.join(map(str, sizes))}; do {words} >/dev/null || echo $size; done"
        sizes_lost = machine.run("sh", "-c", script, timeout=4 * len(sizes)).stdout.split()
        lost += [f"{case}: {sizes_lost}"] if sizes_lost else []
    return lost


def serve_echo(machine):
    server = machine.start("/usr/bin/python3", ECHO, "serve", ECHO_PORT)
    wait_until("the echo server listens", lambda: f":{ECHO_PORT}" in machine.run("ss", "-Hltn").stdout)
    return server


def echo(client, sources, targets):
    """TCP in both directions at once; the targets that did not return what was sent."""
    lost = []
    for family, source in sources.items():
        of_family = [target for target in targets if (":" in target) == (family == 6)]
        if of_family:
            done = client.run("/usr/bin/python3", ECHO, "send", ECHO_PORT, ECHO_BYTES, source, *of_family, timeout=60)
            lost += done.stdout.splitlines()
    return lost
