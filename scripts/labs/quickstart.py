"""What scripts/quickstart shows after the build; ends with status 0 only if all of it was as it should be."""
import os
import pathlib
import signal
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from labs import capture, traffic  # noqa: E402
from labs.network import LabError, wait_until  # noqa: E402
from peers import bed, credentials, packages, sas  # noqa: E402
from peers.bed import HOST_GW, HOST_US  # noqa: E402
from peers.espalier_gateway import EspalierGateway  # noqa: E402
from peers.lab import Lab  # noqa: E402
from peers.place import NamespacePlace  # noqa: E402
from peers.row import INITIATE  # noqa: E402
from peers.strongswan import StrongSwan  # noqa: E402
from peers.wire import Wire  # noqa: E402

FILE_BYTES = 100_000_000
PING_SIZES = [*range(1, 1401), 8000]
PEER = bed.KINDS["native"]
EXAMPLE = bed.EXAMPLES / "ikev2-psk-gcm"


class Failed(Exception):
    """Something was not as it should be; the text says what."""


def say(text):
    print(f"\n== {text}")


def require(true, text):
    if not true:
        raise Failed(text)
    print(f"   {text}")


class Sites:
    """Both sites with their gateways; a context manager that leaves nothing behind."""

    def __init__(self, directory):
        self.directory = directory
        keys = credentials.make(directory / "credentials")  # certificates; this example needs none
        root = packages.root_of(PEER.implementation)
        self.lab = Lab("esp-qs")
        folder = directory / "strongswan"
        folder.mkdir()
        self.a = EspalierGateway(self.lab, directory / "espalier", keys)
        self.b = StrongSwan(NamespacePlace(self.lab, "gw", root, folder), keys, PEER.path)

    def start(self):
        self.b.start((EXAMPLE / "gw.conf").read_text())
        self.a.start(bed.edited((EXAMPLE / "espalier.conf").read_text(), [INITIATE]))
        self.a.initiate()

    def watch(self, name, machine, interface, expression=""):
        return capture.Capture(machine, interface, self.directory / f"{name}.pcap", expression)

    def wire(self, name, expression=""):
        """From now on what an eavesdropper between the gateways sees."""
        return Wire(self.lab.net, "left", self.directory / f"{name}.pcap", expression)

    def espalier(self, *words):
        """The operator's command line of gateway A."""
        return self.a.gateway.text(*words)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for gateway in (self.a, self.b):
            gateway.stop()
        self.lab.network.close()


def show_sas(sites):
    say("swanctl --list-sas, of strongSwan")
    print(sites.b.list_sas())
    for words in (("show", "ike", "sa"), ("show", "ipsec", "sa")):
        say(f"espalier {' '.join(words)}, on gateway A")
        print(sites.espalier(*words))
    same = lambda: sas.other_side(sites.b.sas()) == sites.a.sas() and sites.a.sas()
    require(wait_until("both see the same SAs", same), "both see the same SAs")


def show_pings(sites):
    say("ping through the tunnel, every size from 1 to 1400 bytes, and 8000 (fragments)")
    wire = sites.wire("pings-wire")
    hosts = [sites.watch(f"pings-{host.name}", host, "eth0", "icmp") for host in (sites.lab.us_host, sites.lab.gw_host)]
    lost = traffic.ping_each_size(sites.lab.us_host, HOST_GW, PING_SIZES)
    require(not lost, f"{len(PING_SIZES) - len(lost)} of {len(PING_SIZES)} sizes answered {lost or ''}")
    a, b = (capture.comparable(host.stop()) for host in hosts)
    require(a == b, f"{a.total()} packets of host-a and {b.total()} of host-b: the same bytes")
    seen = wire.stop()
    say("what an eavesdropper on the wire saw: tcpdump -n -c 3 esp")
    print(sites.lab.net.run("tcpdump", "-n", "-c", "3", "-r", sites.directory / "pings-wire.pcap", "esp").stdout.rstrip())
    known = {sa.spi for sa in sites.a.sas()}
    require(seen.esp and set(seen.spis) == known, f"{seen.esp} ESP packets, of these SAs' SPIs and no others")


def show_iperf(sites):
    say("iperf3: TCP both ways, UDP")
    server = traffic.Iperf(sites.lab.gw_host, HOST_GW)
    for title, options in (("TCP a to b", []), ("TCP b to a", ["--reverse"]), ("UDP a to b", ["--udp", "--bitrate", "50M", "--length", "1200"])):
        report = server.run(sites.lab.us_host, 5, *options)
        require("error" not in report and "end" in report, f"{title}: iperf3 ended without an error {report.get('error', '')}")
        end = report["end"].get("sum_received") or report["end"]["sum"]
        loss = f", {end['lost_percent']:.2f} % lost" if "lost_percent" in end else ""
        require(end["bits_per_second"] > 1e6, f"{title}: {end['bits_per_second'] / 1e6:.0f} Mbit/s{loss}")
    server.stop()


def show_copy(sites):
    say(f"a file of {FILE_BYTES // 1_000_000} MB by HTTP from host-b to host-a")
    source, target = sites.directory / "sent.bin", sites.directory / "received.bin"
    source.write_bytes(os.urandom(FILE_BYTES))
    seconds = traffic.copy_file(sites.lab.gw_host, HOST_GW, sites.lab.us_host, source, target)
    sums = traffic.checksum(sites.lab.gw_host, source), traffic.checksum(sites.lab.us_host, target)
    require(sums[0] == sums[1], f"{seconds:.1f} s, equal SHA-256 {sums[0][:16]}...")


def show_rekey(sites):
    say("espalier rekey site tunnel-0, on gateway A")
    before = sites.a.sas()
    sites.a.rekey_child()
    fresh = lambda: not before & sites.a.sas() and sas.other_side(sites.b.sas()) == sites.a.sas()
    require(wait_until("both see other SAs", fresh), "both see other SAs")
    say("espalier show ipsec sa, on gateway A")
    print(sites.espalier("show", "ipsec", "sa"))
    question = ("explain", "--in", "lan", "--src", HOST_US, "--dst", HOST_GW, "--protocol", "icmp")
    say(f"espalier {' '.join(question)}, on gateway A")
    print(sites.espalier(*question))


def show(sites):
    say("two sites in network namespaces: host-a - Espalier - router - strongSwan - host-b")
    # For all that follows: whatever is on the wire and is neither ESP, IKE nor neighbor discovery would be in this file.
    clear = sites.wire("clear", "not ip proto 50")
    sites.start()
    require(sites.b.role() == "responder", "IKE: Espalier initiated, strongSwan answered")
    show_sas(sites)
    show_pings(sites)
    show_iperf(sites)
    show_copy(sites)
    show_rekey(sites)
    say("the wire over all of it")
    seen = clear.stop()
    require(not seen.clear, f"{seen.kinds['ike']} IKE messages, and nothing that was neither ESP, IKE nor ARP {seen.clear[:3] or ''}")


NEXT = """
What to try next:
  tests/peers/peer play ikev2-psk-gcm native --espalier   the same two sites, left running, with commands to look around
  scripts/interop --quick                                 more of it: certificates, NAT, rekeying, what is refused, other peers
  scripts/lab up                                          two Espaliers with static keys, left running
  scripts/lab cli a explain --in lan --src 10.1.0.10 --dst 10.2.0.10 --protocol tcp --dport 443
  scripts/lab exec wire tcpdump -n -i to-a                what an eavesdropper sees there
  scripts/lab down
  README.md has a first configuration of your own, docs/ike.md more of tunnels by IKE.
"""


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="espalier-quickstart-") as directory:
        try:
            with Sites(pathlib.Path(directory)) as sites:
                try:
                    show(sites)
                except (Failed, LabError, AssertionError) as problem:
                    print(f"\nquickstart: {problem}", file=sys.stderr)
                    for name, gateway in (("Espalier", sites.a), ("strongSwan", sites.b)):
                        tail = "\n".join(gateway.log().splitlines()[-40:])
                        print(f"\nlog of {name}:\n{tail}", file=sys.stderr)
                    return 1
        except LabError as problem:
            print(f"\nquickstart: {problem}", file=sys.stderr)
            return 1
    print(NEXT)
    print("quickstart: all of it worked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
