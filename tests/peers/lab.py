"""Two sites with a router between them; a real peer is the gateway of one, what is tested that of the other.

    192.168.0.10        ours                     router                  peer                    10.0.0.10
    [us-host] --- lan0 [us] wan0 --- left [net] right --- wan0 [gw] lan0 --- [gw-host]
              .0.1          198.51.100.3 .1        .1 203.0.113.2     10.0.0.1/21

IPv6 beside it: fd00:1::/64, 2001:db8:1::3, 2001:db8:2::2, fd00:2::/64. `us` is left bare: a dataplane takes wan0 and
lan0 by AF_PACKET, a User Mode Linux by raw sockets; dress() gives a gateway's addresses to the namespace itself.
The router translates addresses, loses and blocks packets as path() says.
"""
import dataclasses

from labs.network import Network


@dataclasses.dataclass(frozen=True)
class Side:
    """The addresses of one gateway, its host and its next hop."""
    wan: str
    wan6: str
    lan: str
    lan6: str
    host: str
    host6: str
    hop: str
    hop6: str

    @property
    def addresses(self):
        return {"wan0": [self.wan, self.wan6], "lan0": [self.lan, self.lan6]}

    @property
    def hops(self):
        return [self.hop, self.hop6]


US = Side("198.51.100.3/24", "2001:db8:1::3/64", "192.168.0.1/24", "fd00:1::1/64", "192.168.0.10/24", "fd00:1::10/64",
          "198.51.100.1", "2001:db8:1::1")
GW = Side("203.0.113.2/24", "2001:db8:2::2/64", "10.0.0.1/21", "fd00:2::1/64", "10.0.0.10/21", "fd00:2::10/64",
          "203.0.113.1", "2001:db8:2::1")
SIDES = {"us": US, "gw": GW}
FORWARDING = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
              "net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf.all.send_redirects=0"]


def bare(address):
    return address.split("/")[0]


def translations(nat):
    """nft's rules for a NAT in front of "us", of "gw" or of "both"; the peer behind one is reached by a port forwarding."""
    after, before = [], []
    for side, out, ports in (("us", "right", "20000-29999"), ("gw", "left", "30000-39999")):
        if nat in (side, "both"):
            after += [f'oifname "{out}" ip protocol udp masquerade to :{ports}', f'oifname "{out}" masquerade']
    if nat in ("gw", "both"):
        before.append(f'iifname "left" ip daddr {US.hop} udp dport {{ 500, 4500 }} dnat to {bare(GW.wan)}')
    return after, before


def ruleset(nat=None, loss=0, cut=False, drop=()):
    """The router's rules. `loss` in per cent and each direction; `drop`: what it blocks, in nft's words."""
    after, before = translations(nat)
    forward = [f"{words} drop" for words in drop]
    forward += ["drop"] if cut else []
    forward += [f"numgen random mod 100 < {loss} drop"] if loss else []
    chain = lambda name, hook, rules: f" chain {name} {{ type {hook};\n  " + "\n  ".join(rules) + "\n }\n"
    return ("flush ruleset\ntable ip nat {\n" + chain("after", "nat hook postrouting priority srcnat", after)
            + chain("before", "nat hook prerouting priority dstnat", before) + "}\n"
            "table inet path {\n" + chain("transit", "filter hook forward priority 0", forward) + "}\n")


class Lab:
    """Context manager; everything is gone at its end."""

    def __init__(self, prefix):
        self.network = Network(prefix)
        try:
            self._cable()
            self.path()
        except BaseException:
            self.network.close()
            raise

    def _cable(self):
        network = self.network
        self.us, self.net, self.gw = (network.machine(name) for name in ("us", "net", "gw"))
        network.cable(self.net, "left", self.us, "wan0")
        network.cable(self.net, "right", self.gw, "wan0")
        for port, side in (("left", US), ("right", GW)):
            self.net.ip("address", "add", f"{side.hop}/24", "dev", port)
            network.add_ipv6(self.net, port, [f"{side.hop6}/64"])
        self.us_host = self._host("us-host", US, self.us)
        self.gw_host = self._host("gw-host", GW, self.gw)
        self.net.run("sysctl", "-qw", *FORWARDING)

    def _host(self, name, side, gateway):
        host = self.network.host(name, side.host, bare(side.lan))
        self.network.attach_host(host, gateway, "lan0")
        self.network.add_ipv6(host, "eth0", [side.host6], bare(side.lan6))
        return host

    def machine_of(self, side):
        return {"us": self.us, "gw": self.gw}[side]

    def dress(self, side):
        """Gives the gateway's addresses and routes to the namespace's own network stack."""
        machine, spec = self.machine_of(side), SIDES[side]
        for interface, (address, address6) in spec.addresses.items():
            machine.ip("address", "replace", address, "dev", interface)
            self.network.add_ipv6(machine, interface, [])
            machine.ip("address", "replace", address6, "dev", interface, "nodad")
        for hop in spec.hops:
            machine.ip("route", "replace", "default", "via", hop)
        # also for the tunnel device that a daemon makes
        machine.run("sysctl", "-qw", *FORWARDING, "net.ipv6.conf.default.disable_ipv6=0")

    def undress(self, side):
        """Takes them away, so that the namespace's stack answers nothing."""
        machine = self.machine_of(side)
        machine.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
        for interface in ("wan0", "lan0"):
            machine.ip("address", "flush", "dev", interface)
            machine.run("sysctl", "-qw", f"net.ipv6.conf.{interface}.disable_ipv6=1")

    def path(self, **rules):
        """How the router treats what passes it from now on: see ruleset(). Forgets the translations that it has."""
        self.net.run("nft", ruleset(**rules))
        self.net.run("conntrack", "--flush", check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.network.close()
