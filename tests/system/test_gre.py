"""GRE between Espalier and Linux's own GRE, with and without a key, over IPv4 and IPv6, in clear and in transport mode ESP.

    host-a ── lan [Espalier] wan ── wire ── wan [Linux, in UML] lan ── host-b

Each tunnel has a number N: host B has the addresses 10.2.N.10 and fd00:2:0:N::10 behind it, the tunnel itself 10.9.N.0/30.
"""
import contextlib
import dataclasses

import expect
from labs import capture, traffic
from labs.capture import IP, IPv6
from labs.two_sites import HOST_A, WAN_A, WAN_B
from linux_gateway import LinuxGateway, policy_line, state_line
from scapy.all import GRE

HOST_A6, GATEWAY_A6, WAN_A6, WAN_B6 = "fd00:1::10", "fd00:1::1", "2001:db8::1", "2001:db8::2"


@dataclasses.dataclass
class Tunnel:
    """One tunnel, as both ends are told to make it."""
    number: int
    outer: int = 4
    key: int | None = None
    ttl: int = 64
    mtu: int | None = None

    def ends(self):
        return (WAN_A, WAN_B) if self.outer == 4 else (WAN_A6, WAN_B6)

    def host(self, inner=4):
        return f"10.2.{self.number}.10" if inner == 4 else f"fd00:2:0:{self.number}::10"

    def interface(self):
        """Of Espalier's configuration."""
        given = {name: value for name, value in (("key", self.key), ("mtu", self.mtu)) if value is not None}
        address = [f"10.9.{self.number}.1/30", f"fd00:9:0:{self.number}::1/64"]
        return {"type": "gre", "local-ip": self.ends()[0], "remote-ip": self.ends()[1], "address": address, "ttl": self.ttl, **given}

    def routes(self):
        return [{"prefix": f"10.2.{self.number}.0/24", "interface": self.name()},
                {"prefix": f"fd00:2:0:{self.number}::/64", "interface": self.name()}]

    def name(self):
        return f"gre{self.number}"

    def batch(self):
        """Of the other end, in the words of `ip -batch`."""
        near, far = reversed(self.ends())
        kind = "gre" if self.outer == 4 else "ip6gre"
        limit = f"ttl {self.ttl or 'inherit'}" if self.outer == 4 else f"hoplimit {self.ttl} encaplimit none"
        key = "" if self.key is None else f"key {self.key}"
        name = f"tun{self.number}"
        return (f"link add {name} type {kind} local {near} remote {far} {limit} {key}\n"
                f"link set {name} {f'mtu {self.mtu}' if self.mtu else ''} up\n"
                f"address add 10.9.{self.number}.2/30 dev {name}\naddress add fd00:9:0:{self.number}::2/64 dev {name} nodad\n"
                f"address add 10.2.{self.number}.1/24 dev lan\naddress add fd00:2:0:{self.number}::1/64 dev lan nodad\n"
                f"rule add pref 2 from 10.2.{self.number}.0/24 table {self.number}\n"
                f"route add default dev {name} table {self.number}\nroute add ::/0 dev {name} table {self.number}\n")


TUNNELS = [Tunnel(1), Tunnel(2, key=0), Tunnel(3, key=0xdeadbeef), Tunnel(4, outer=6), Tunnel(5, outer=6, key=7), Tunnel(6, key=6, ttl=0)]


def settings_of(lab, tunnels):
    settings = lab.settings_a(tunnels=[])
    settings["interfaces"]["lan"]["address"].append(f"{GATEWAY_A6}/64")
    settings["interfaces"]["wan"]["address"].append(f"{WAN_A6}/64")
    settings["interfaces"] |= {tunnel.name(): tunnel.interface() for tunnel in tunnels}
    settings["routes"] = [route for tunnel in tunnels for route in tunnel.routes()]
    return settings


@contextlib.contextmanager
def linux_peer(folder, tunnels):
    """The two sites with Linux at the right; answers of each of host B's addresses take the tunnel that it is behind."""
    with expect.two_sites(folder, start=False) as lab, LinuxGateway(lab.gateway_b, lab.directory / "linux") as linux:
        lab.linux = linux
        lab.network.add_ipv6(lab.host_a, "eth0", [f"{HOST_A6}/64"], GATEWAY_A6)
        lab.network.add_ipv6(lab.host_b, "eth0", [f"{tunnel.host(6)}/64" for tunnel in tunnels], f"fd00:2:0:{tunnels[0].number}::1")
        for tunnel in tunnels:
            lab.host_b.ip("address", "add", f"{tunnel.host()}/24", "dev", "eth0")
        lab.host_b.ip("route", "replace", "default", "via", f"10.2.{tunnels[0].number}.1")
        lab.a.start(settings_of(lab, tunnels), wait=False)
        linux.boot()
        linux.run("/run/modprobe -a ip_gre ip6_gre")
        linux.run("echo 1 >/proc/sys/net/ipv6/conf/default/forwarding")
        batch = f"address add {WAN_B}/24 dev wan\naddress add {WAN_B6}/64 dev wan nodad\n" + "".join(t.batch() for t in tunnels)
        linux.batch("gre", batch)
        linux.run("ip rule add pref 1 to 10.2.0.0/16 table main")
        linux.run("ip -6 rule add pref 1 to fd00:2::/48 table main")
        for tunnel in tunnels:
            linux.run(f"ip -6 rule add pref 2 from fd00:2:0:{tunnel.number}::/64 table {tunnel.number}")
        lab.a.wait_ready()
        yield lab


def outer_of(packets, tunnel):
    """The GRE packets of one tunnel on the wire, as scapy reads them."""
    layer = IP if tunnel.outer == 4 else IPv6
    key = lambda packet: packet[GRE].key if packet[GRE].key_present else None
    return [packet for packet in packets if GRE in packet and isinstance(packet[1], layer) and key(packet) == tunnel.key]


def carries(lab, tunnel, echoes):
    """Pings small, full and in fragments, and TCP, of both families."""
    for inner, echo in echoes.items():
        host = tunnel.host(inner)
        if inner == 6:
            traffic.ping_each_size(lab.host_a, host, [3000] * 2, "-W 0.3")  # both hosts learn the MTU: nobody cuts IPv6 on the way
        expect.nothing(traffic.ping_each_size(lab.host_a, host, [1, 56, 1452, 3000], "-M dont"), f"sizes without an answer from {host}")
        expect.equal(echo.tcp(lab.host_a, to=host), True, f"whether {host} sent everything back")


def test_with_linux_at_the_other_end(folder):
    """No key, key 0 and others, IPv4 and IPv6 outside and inside, a TTL that is inherited: what Linux sends and takes."""
    with linux_peer(folder, TUNNELS) as lab:
        echoes = {4: traffic.Echo(lab.host_b, "0.0.0.0"), 6: traffic.Echo(lab.host_b, "::", port=7008)}
        wire = lab.watch("wire", expression="ip proto 47 or ip6 proto 47")
        for tunnel in TUNNELS:
            carries(lab, tunnel, echoes)
        packets = wire.stop()
        expect.equal(sum(len(outer_of(packets, tunnel)) for tunnel in TUNNELS), len(packets), "packets that are of a tunnel")
        for tunnel in TUNNELS:
            sent = [packet for packet in outer_of(packets, tunnel) if packet[1].src == tunnel.ends()[0]]
            expect.at_least(len(sent), 20, f"packets of {tunnel}")
            limits = {packet[1].ttl if tunnel.outer == 4 else packet[1].hlim for packet in sent}
            expect.equal(limits, {tunnel.ttl or 63}, f"outer TTL of {tunnel}")


# -- inside of ESP


def protected_settings(lab, with_states=True):
    """The tunnel with `protect`, and the policies and states of transport mode ESP for GRE between its ends."""
    settings = settings_of(lab, [PROTECTED])
    settings["interfaces"][PROTECTED.name()] ["protect"] = True
    settings["xfrm"] = {"state": [state | {"mode": "transport"} for state in lab.tunnel.states("left")] if with_states else [],
                        "policy": [gre_policy("out", WAN_A, WAN_B), gre_policy("in", WAN_B, WAN_A)]}
    return settings


def gre_policy(direction, src, dst):
    return {"direction": direction, "src": f"{src}/32", "dst": f"{dst}/32", "protocol": "gre", "action": "protect",
            "priority": 100, "template": {"src": src, "dst": dst, "mode": "transport", "reqid": 1}}


PROTECTED = Tunnel(1, key=1, mtu=1400)


def protect_on_linux(lab):
    states = [state_line(state | {"mode": "transport"}) for state in lab.tunnel.states("right")]
    policies = [policy_line(gre_policy(*words)) for words in (("out", WAN_B, WAN_A), ("in", WAN_A, WAN_B))]
    lab.linux.batch("xfrm", "".join(line + "\n" for line in states + policies))


def test_protected_with_linux_at_the_other_end(folder):
    """`protect`: GRE in transport mode ESP, opened by Linux and by scapy; clear GRE of Linux is refused, none of ours leaves."""
    with linux_peer(folder, [PROTECTED]) as lab:
        protect_on_linux(lab)
        lab.a.apply(protected_settings(lab))
        echoes = {4: traffic.Echo(lab.host_b, "0.0.0.0"), 6: traffic.Echo(lab.host_b, "::", port=7008)}
        wire = lab.watch("wire", expression="not arp and not ip6 multicast")
        carries(lab, PROTECTED, echoes)
        packets = wire.stop()
        expect.nothing([packet.summary() for packet in capture.foreign(packets)], "packets in clear")
        opened = expect.opener(lab).open(packets)
        expect.equal({(type(packet), packet[GRE].key) for packet in opened}, {(GRE, PROTECTED.key)}, "what is inside of the ESP")
        expect.equal(lab.linux.errors(), {}, "Linux's errors of IPsec")

        refuses_clear_gre(lab)
        sends_no_clear_gre(lab)


def refuses_clear_gre(lab):
    """Linux goes on without policies: what it sends is dropped and counted, and reaches nobody."""
    lab.linux.run("ip xfrm policy flush")
    seen = lab.watch("host-a", "eth0", lab.host_a, "icmp")
    settings = protected_settings(lab)
    without_in_policy = settings | {"xfrm": settings["xfrm"] | {"policy": [gre_policy("out", WAN_A, WAN_B)]}}
    for applied, reason in ((settings, "in_template_mismatch"), (without_in_policy, "gre_clear")):
        lab.a.apply(applied)
        before = lab.a.drops().get(reason, 0)
        ping = ["ping", "-n", "-c", 3, "-i", "0.2", "-W", 1, "-I", PROTECTED.host(), HOST_A]
        expect.equal(lab.host_b.run(*ping, check=False).stdout.count(" bytes from "), 0, "answers to clear GRE")
        lab.a.wait_drops(reason, before + 3)
    expect.nothing([packet.summary() for packet in seen.stop()], "packets that came in clear")


def sends_no_clear_gre(lab):
    """Without an SA, and without the policy as well."""
    for settings, reason in ((protected_settings(lab, with_states=False), "out_no_state"),
                             (protected_settings(lab) | {"xfrm": {"state": [], "policy": []}}, "gre_unprotected")):
        lab.a.apply(settings)
        wire = lab.watch("no-sa", expression="ip")
        before = lab.a.drops().get(reason, 0)
        expect.equal(lab.ping(to=PROTECTED.host(), count=3, wait_s=1), 0, "answers without an SA")
        lab.a.wait_drops(reason, before + 3)
        expect.nothing([packet.summary() for packet in wire.stop()], "IP packets on the wire")
