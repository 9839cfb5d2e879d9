"""The lab of the leak hunt: two sites with two wires between their gateways, and marked traffic in every tunnel there is.

    host-a ── lan [gw-a] wan  ── to-a  [wire]  to-b  ── wan  [gw-b] lan ── host-b     policies: networks 1 and 2
                         wan2 ── to-a2 [wire2] to-b2 ── wan2                          vti1: 3 and 4; gre1 (protect): 5 and 6

Network N is 10.N.0.0/24 and fd00:N::/64; both hosts have address .10 in theirs. Whatever leaves by the default route would be seen on
`wire`: the gateways are each other's default route, in both families.
"""
import json
import secrets
import string
import struct
import sys
import time

from labs import configuration
from labs.network import LabError, wait_until
from labs.two_sites import TwoSites, port

PORT = 7000
SIDES = {"a": (1, "0", (1, 3, 5)), "b": (2, "1", (2, 4, 6))}  # last byte of the gateways' addresses, core, networks
TUNNELS = ("policy", "vti", "gre")


def other(side):
    return "b" if side == "a" else "a"


def prefixes(number):
    return f"10.{number}.0.0/24", f"fd00:{number}::/64"


def hosts(number):
    return f"10.{number}.0.10", f"fd00:{number}::10"


class Keys:
    """A pair of SAs for each tunnel."""

    def __init__(self):
        def pair(first_spi, net, reqid):
            one, two = f"{net}.1", f"{net}.2"
            return (configuration.Sa(first_spi, one, two, reqid, replay_window=1024),
                    configuration.Sa(first_spi + 1, two, one, reqid, replay_window=1024))
        spi = secrets.randbelow(0x70000000) + 0x1000
        self.pairs = {"policy": pair(spi, "192.0.2", 1), "vti": pair(spi + 2, "198.51.100", 2), "gre": pair(spi + 4, "198.51.100", 3)}

    def states(self, side, tunnel):
        out, back = self.pairs[tunnel] if side == "a" else reversed(self.pairs[tunnel])
        more = {"policy": {"flag": ["af-unspec"]}, "vti": {"vti": "vti1"}, "gre": {"mode": "transport"}}[tunnel]
        return [out.state("out") | more, back.state("in") | more]


def interfaces(side):
    last, _, networks = SIDES[side]
    lan = [f"10.{n}.0.1/24" for n in networks] + [f"fd00:{n}::1/64" for n in networks]
    far = 3 - last
    return {
        "lan": {"device": port("lan"), "address": lan},
        "wan": {"device": port("wan"), "address": [f"192.0.2.{last}/24", f"fd00:ff::{last}/64"]},
        "wan2": {"device": port("wan2"), "address": [f"198.51.100.{last}/24"]},
        "vti1": {"type": "vti", "address": [f"10.255.1.{last}/30", f"fd00:255:1::{last}/64"]},
        "gre1": {"type": "gre", "local-ip": f"198.51.100.{last}", "remote-ip": f"198.51.100.{far}", "protect": True,
                 "address": [f"10.255.2.{last}/30", f"fd00:255:2::{last}/64"]},
    }


def routes(side):
    far, _, (_, vti, gre) = SIDES[other(side)]
    through = lambda network, tunnel: [{"prefix": prefix, "via": f"{via}{far}"} for prefix, via in
                                       zip(prefixes(network), (f"10.255.{tunnel}.", f"fd00:255:{tunnel}::"))]
    return [{"prefix": "0.0.0.0/0", "via": f"192.0.2.{far}"}, {"prefix": "::/0", "via": f"fd00:ff::{far}"},
            {"prefix": "203.0.113.0/24", "via": f"198.51.100.{far}"}] + through(vti, 1) + through(gre, 2)


def policies(side):
    last, _, (near, _, _) = SIDES[side]
    far_last, _, (far, _, _) = SIDES[other(side)]
    ends = lambda one, two: {"mode": "tunnel", "reqid": 1, "src": f"192.0.2.{one}", "dst": f"192.0.2.{two}"}
    made = []
    for here, there in zip(prefixes(near), prefixes(far)):
        made.append({"direction": "out", "src": here, "dst": there, "template": ends(last, far_last)})
        made += [{"direction": direction, "src": there, "dst": here, "template": ends(far_last, last)} for direction in ("fwd", "in")]
    own, peer = f"198.51.100.{last}/32", f"198.51.100.{far_last}/32"
    for direction, src, dst in (("out", own, peer), ("in", peer, own)):
        made.append({"direction": direction, "src": src, "dst": dst, "protocol": "gre", "template": {"mode": "transport", "reqid": 3}})
    return [{"action": "protect", "priority": 1000} | policy for policy in made]


def settings(side, keys, without=()):
    """The gateway's configuration; `without`: tunnels that have no SAs."""
    return {
        "dataplane": {"workers": 1, "cores": SIDES[side][1], "poll": "adaptive", "memory": "auto"},
        "interfaces": interfaces(side),
        "routes": routes(side),
        "icmp": {"rate": 0},
        "xfrm": {"state": [state for tunnel in TUNNELS if tunnel not in without for state in keys.states(side, tunnel)],
                 "policy": policies(side)},
    }


class LeakSites(TwoSites):
    """Context manager, as TwoSites. From start() on traffic flows, and both wires are captured."""

    def __init__(self, prefix, directory):
        super().__init__(prefix, directory)
        self.keys = Keys()
        word = lambda: "".join(secrets.choice(string.ascii_letters) for _ in range(16))
        self.marker, self.control = word(), word()
        self.timeline = []  # (time, what happens from then on)

    def _cable(self):
        super()._cable()
        network = self.network
        self.wire2 = network.machine("wire2")
        network.cable(self.gateway_a, "wan2", self.wire2, "to-a2")
        network.cable(self.gateway_b, "wan2", self.wire2, "to-b2")
        network.bridge(self.wire2, ["to-a2", "to-b2"])
        for host, (_, _, networks) in ((self.host_a, SIDES["a"]), (self.host_b, SIDES["b"])):
            host.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0", "net.ipv6.conf.eth0.accept_ra=0")
            for number in networks:
                for address, length in zip(hosts(number), (24, 64)):
                    host.run("ip", "address", "replace", f"{address}/{length}", "dev", "eth0", "nodad")
            host.run("ip", "-6", "route", "add", "default", "via", f"fd00:{networks[0]}::1")

    def gateway(self, side):
        return self.a if side == "a" else self.b

    def settings(self, side, without=()):
        return settings(side, self.keys, without)

    def start(self):
        self.captures = [self.watch("wan"), self.watch("wan2", "to-a2", self.wire2)]
        for side in SIDES:
            self.gateway(side).start(self.settings(side), wait=False)
        for side in SIDES:
            self.gateway(side).wait_ready()
        self.status = {side: self.directory / f"traffic-{side}.json" for side in SIDES}
        self._send("a", self.host_a)
        self._send("b", self.host_b)
        self.wait_traffic()
        return self

    def _send(self, side, host):
        near, far = SIDES[side][2], SIDES[other(side)][2]
        pairs = [pair for n, f in zip(near, far) for pair in zip(hosts(n), hosts(f))]
        flows = self.directory / f"flows-{side}.txt"
        flows.write_text("".join(f"{source} {destination} {PORT}\n" for source, destination in pairs))
        script = sys.modules["labs"].__path__[0] + "/marked_traffic.py"
        with open(flows) as lines, open(self.directory / f"traffic-{side}.log", "w") as log:
            host.start("/usr/bin/python3", script, self.status[side], self.marker, stdin=lines, stderr=log)

    def counts(self):
        """(side, address of the peer) -> packets that came from there."""
        return {(side, peer.removeprefix("::ffff:")): count for side in SIDES if self.status[side].exists()
                for peer, count in json.loads(self.status[side].read_text()).items()}

    def wait_traffic(self, timeout=20):
        """Until every tunnel carries both families in both directions (again)."""
        wanted = [(side, host) for side in SIDES for network in SIDES[other(side)][2] for host in hosts(network)]
        time.sleep(0.1)  # what was on its way is counted
        before = self.counts()

        def missing():
            now = self.counts()
            return [key for key in wanted if now.get(key, 0) < before.get(key, 0) + 3]
        try:
            wait_until("traffic in every tunnel", lambda: not missing(), timeout, pause=0.02)
        except LabError as problem:
            raise LabError(f"{problem}; nothing comes to (side, from): {missing()}") from None

    def note(self, what):
        self.timeline.append((time.time(), what))

    def restore(self):
        """Both gateways run with everything in place, whatever was done to them."""
        for side in SIDES:
            gateway = self.gateway(side)
            if gateway.daemon.poll() is not None:
                gateway.start(self.settings(side))
        for side in SIDES:
            wait_until("an apply of what shall be", lambda: self.restored(side), 20)
        self.wait_traffic()

    def restored(self, side):
        gateway = self.gateway(side)
        return gateway.run("apply", gateway.write(self.settings(side), "restored.conf")).returncode == 0

    def send_control(self):
        """In clear by both wires, as the configuration says: what proves that a leak would be seen."""
        for to in ("192.0.2.2", "203.0.113.9"):
            self.host_a.run("ping", "-n", "-c", 1, "-W", 0.2, "-t", 2, "-s", 64, "-p", self.control.encode().hex(), to, check=False)

    def stop_captures(self):
        for capture in self.captures:
            capture.stop_only()
        return [capture.file for capture in self.captures]

    def happening(self, moment):
        return next((what for begin, what in reversed(self.timeline) if begin <= moment), "start")


def frames_of(file):
    """(time, frame) of a capture; read without scapy, which takes 100 times as long."""
    data = file.read_bytes()
    position = 24
    while position + 16 <= len(data):
        seconds, micros, length = struct.unpack_from("<III", data, position)
        yield seconds + micros / 1e6, data[position + 16:position + 16 + length]
        position += 16 + length


def is_inner(frame):
    """Whether the frame is from a protected network to one, whatever it carries."""
    if frame[12:14] == b"\x08\x00":
        return all(address[0] == 10 and 1 <= address[1] <= 6 for address in (frame[26:30], frame[30:34]))
    if frame[12:14] == b"\x86\xdd":
        return all(address[:3] == b"\xfd\x00\x00" and 1 <= address[3] <= 6 for address in (frame[22:38], frame[38:54]))
    return False


def leaks(file, marker):
    """(time, frame) of what a capture has in clear of marked packets or between protected networks."""
    word = marker.encode()
    return [(moment, frame) for moment, frame in frames_of(file) if word in frame or is_inner(frame)]
