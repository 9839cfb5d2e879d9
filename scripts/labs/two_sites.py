"""The lab that everything starts from: two sites, a gateway each, and a wire in between that can be watched.

    host-a ── lan [gw-a] wan ── to-a [wire] to-b ── wan [gw-b] lan ── host-b
    10.1.0.10   10.1.0.1  192.0.2.1      192.0.2.2  10.2.0.1   10.2.0.10

`wire` is a bridge: every frame between the gateways passes its ports `to-a` and `to-b`, where it can be captured, and
where frames can be forged.
"""
import pathlib
import shutil

from labs import configuration
from labs.capture import Capture, wrpcap
from labs.espalier import Espalier
from labs.network import Network

HOST_A, GATEWAY_A, LAN_A = "10.1.0.10", "10.1.0.1", "10.1.0.0/24"
HOST_B, GATEWAY_B, LAN_B = "10.2.0.10", "10.2.0.1", "10.2.0.0/24"
WAN_A, WAN_B = "192.0.2.1", "192.0.2.2"


def port(interface):
    """The vdev string of a kernel interface of the namespace."""
    return f"net_af_packet,iface={interface}"


class TwoSites:
    """Context manager; everything is gone at its end. `lasting`: until remove_leftovers() is called."""

    def __init__(self, prefix, directory, build=None, environment=None, lasting=False):
        self.directory = pathlib.Path(directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True, mode=0o700)
        self.tunnel = configuration.Tunnel(WAN_A, WAN_B, LAN_A, LAN_B)
        self.network = Network(prefix, lasting)
        try:
            self._cable()
            make = lambda machine, name: Espalier(machine, self.directory / name, build, environment)
            self.a, self.b = make(self.gateway_a, "gw-a"), make(self.gateway_b, "gw-b")
        except BaseException:
            self.network.close()
            raise

    def _cable(self):
        network = self.network
        self.host_a = network.host("host-a", f"{HOST_A}/24", GATEWAY_A)
        self.gateway_a = network.machine("gw-a")
        self.wire = network.machine("wire")
        self.gateway_b = network.machine("gw-b")
        self.host_b = network.host("host-b", f"{HOST_B}/24", GATEWAY_B)
        network.attach_host(self.host_a, self.gateway_a, "lan")
        network.cable(self.gateway_a, "wan", self.wire, "to-a")
        network.cable(self.gateway_b, "wan", self.wire, "to-b")
        network.attach_host(self.host_b, self.gateway_b, "lan")
        network.bridge(self.wire, ["to-a", "to-b"])

    def settings_a(self, **changes):
        return self._settings(WAN_A, WAN_B, GATEWAY_A, "left", "0", changes)

    def settings_b(self, **changes):
        return self._settings(WAN_B, WAN_A, GATEWAY_B, "right", "1", changes)

    def _settings(self, near, far, lan, side, core, changes):
        interfaces = {"lan": (port("lan"), [f"{lan}/24"]), "wan": (port("wan"), [f"{near}/24"])}
        options = {"tunnels": [self.tunnel], "cores": core} | changes
        return configuration.gateway(interfaces, [("0.0.0.0/0", far)], side=side, **options)

    def start(self, **changes):
        """Starts both gateways; returns when they are ready."""
        self.a.start(self.settings_a(**changes), wait=False)
        self.b.start(self.settings_b(**changes), wait=False)
        self.a.wait_ready()
        self.b.wait_ready()
        return self

    def watch(self, name, interface="to-a", machine=None, expression="", **options):
        """Starts a capture, of the wire if nothing else is named."""
        return Capture(machine or self.wire, interface, self.directory / f"{name}.pcap", expression, **options)

    def inject(self, interface, frames, machine=None):
        """Sends frames byte for byte out of an interface: a port of the wire ("to-a", "to-b"; the gateway behind it gets
        them) if no other machine is named."""
        file = self.directory / "injected.pcap"
        wrpcap(str(file), frames, linktype=1)
        inject = pathlib.Path(__file__).with_name("inject.py")
        (machine or self.wire).run("/usr/bin/python3", inject, interface, file)

    def ping(self, source=None, to=HOST_B, count=1, size=56, wait_s=2, interval_s=0.2):
        """How many of `count` pings were answered."""
        words = ["ping", "-n", "-c", count, "-s", size, "-W", wait_s, "-i", interval_s, to]
        output = (source or self.host_a).run(*words, check=False, timeout=30 + count * (wait_s + interval_s)).stdout
        return output.count(" bytes from ")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.a.stop()
        self.b.stop()
        self.network.close()
