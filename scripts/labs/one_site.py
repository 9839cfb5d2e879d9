"""One gateway between two LAN hosts on a switch and a far host with two links; IPv4 and IPv6 everywhere, nothing encrypted.

    host-a 10.1.0.10 ─┐                  wan1 192.0.2.1    ── 192.0.2.2    eth1 ┐
                  [switch] ── lan [gw]                                     [far] 203.0.113.1
    host-c 10.1.0.30 ─┘    10.1.0.1      wan2 198.51.100.1 ── 198.51.100.2 eth2 ┘

IPv6 has the same host numbers in fd00:1::/64, 2001:db8:1::/64 and 2001:db8:2::/64; the far host's own is 2001:db8:ff::1.
"""
import pathlib

from labs import configuration
from labs.capture import Capture, wrpcap
from labs.espalier import Espalier
from labs.network import Network
from labs.two_sites import port

LAN, HOST_A, HOST_C, GATEWAY = "10.1.0.0/24", "10.1.0.10", "10.1.0.30", "10.1.0.1"
LAN6, HOST_A6, HOST_C6, GATEWAY6 = "fd00:1::/64", "fd00:1::10", "fd00:1::30", "fd00:1::1"
WANS = ("192.0.2", "198.51.100")
WANS6 = ("2001:db8:1:", "2001:db8:2:")
FAR, FAR6 = "203.0.113.1", "2001:db8:ff::1"


class OneSite:
    """Context manager; everything is gone at its end. start() starts the gateway."""

    def __init__(self, prefix, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, mode=0o700)
        self.network = Network(prefix)
        try:
            self._cable()
            self.gateway = Espalier(self.machine, self.directory / "gw")
        except BaseException:
            self.network.close()
            raise

    def _cable(self):
        network = self.network
        self.machine, self.switch, self.far = (network.machine(name) for name in ("gw", "switch", "far"))
        network.cable(self.machine, "lan", self.switch, "to-gw")
        self.host_a = self._host("host-a", "to-a", HOST_A, HOST_A6)
        self.host_c = self._host("host-c", "to-c", HOST_C, HOST_C6)
        network.bridge(self.switch, ["to-gw", "to-a", "to-c"])
        self.far.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
        for number, (wan, wan6) in enumerate(zip(WANS, WANS6), 1):
            network.cable(self.machine, f"wan{number}", self.far, f"eth{number}")
            self.far.ip("address", "add", f"{wan}.2/24", "dev", f"eth{number}")
            network.add_ipv6(self.far, f"eth{number}", [f"{wan6}:2/64"])
        self.far.ip("address", "add", f"{FAR}/32", "dev", "lo")
        network.add_ipv6(self.far, "lo", [f"{FAR6}/128"])
        for lan, wans in ((LAN, [f"{wan}.1" for wan in WANS]), (LAN6, [f"{wan}:1" for wan in WANS6])):
            self.far.ip("route", "add", lan, *(word for wan in wans for word in ("nexthop", "via", wan)))

    def _host(self, name, switch_port, address, address6):
        host = self.network.host(name, f"{address}/24", GATEWAY)
        self.network.attach_host(host, self.switch, switch_port)
        self.network.add_ipv6(host, "eth0", [f"{address6}/64"], GATEWAY6)
        return host

    def settings(self, **changes):
        """Two next hops for everything, in both families. `changes` are groups of the configuration."""
        interfaces = {"lan": (port("lan"), [f"{GATEWAY}/24", f"{GATEWAY6}/64"])}
        for number, (wan, wan6) in enumerate(zip(WANS, WANS6), 1):
            interfaces[f"wan{number}"] = port(f"wan{number}"), [f"{wan}.1/24", f"{wan6}:1/64"]
        routes = [("0.0.0.0/0", [f"{wan}.2" for wan in WANS]), ("::/0", [f"{wan}:2" for wan in WANS6])]
        return configuration.gateway(interfaces, routes) | changes

    def start(self, **changes):
        self.gateway.start(self.settings(**changes))
        return self

    def watch(self, name, machine, interface="eth0", expression="", **options):
        return Capture(machine, interface, self.directory / f"{name}.pcap", expression, **options)

    def inject(self, machine, interface, frames):
        """Sends frames byte for byte out of a machine's interface."""
        file = self.directory / "injected.pcap"
        wrpcap(str(file), frames, linktype=1)
        machine.run("/usr/bin/python3", pathlib.Path(__file__).with_name("inject.py"), interface, file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.gateway.stop()
        self.network.close()
