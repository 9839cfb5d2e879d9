"""What scripts/quickstart shows after the build; ends with status 0 only if all of it was as it should be."""
import os
import pathlib
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from labs import capture, traffic  # noqa: E402
from labs.network import LabError  # noqa: E402
from labs.two_sites import HOST_A, HOST_B, TwoSites  # noqa: E402

FILE_BYTES = 100_000_000
PING_SIZES = [*range(1, 1401), 8000]


class Failed(Exception):
    """Something was not as it should be; the text says what."""


def say(text):
    print(f"\n== {text}")


def require(true, text):
    if not true:
        raise Failed(text)
    print(f"   {text}")


def show_pings(lab):
    say("ping through the tunnel, every size from 1 to 1400 bytes, and 8000 (fragments)")
    captures = {"wire": lab.watch("pings-wire"),
                "a": lab.watch("pings-host-a", "eth0", lab.host_a, "icmp"),
                "b": lab.watch("pings-host-b", "eth0", lab.host_b, "icmp")}
    lost = traffic.ping_each_size(lab.host_a, HOST_B, PING_SIZES)
    require(not lost, f"{len(PING_SIZES) - len(lost)} of {len(PING_SIZES)} sizes answered {lost or ''}")
    return {name: running.stop() for name, running in captures.items()}


def show_wire(lab, captured):
    say("what an eavesdropper on the wire saw: tcpdump -n -c 3 esp")
    print(lab.wire.run("tcpdump", "-n", "-c", "3", "-r", lab.directory / "pings-wire.pcap", "esp").stdout.rstrip())
    say("the same, decrypted by scapy")
    foreign = capture.foreign(captured["wire"])
    require(not foreign, f"{len(captured['wire'])} frames on the wire, {len(foreign)} of them neither ESP nor ARP")
    opener = capture.Opener([lab.tunnel.rightward, lab.tunnel.leftward])
    inner = capture.comparable(opener.open(captured["wire"]))
    for name in ("a", "b"):
        seen = capture.comparable(captured[name])
        require(seen == inner, f"{seen.total()} packets of host-{name}, {inner.total()} inside the ESP: the same bytes")


def show_iperf(lab):
    say("iperf3: TCP both ways, UDP")
    server = traffic.Iperf(lab.host_b, HOST_B)
    for title, options in (("TCP a to b", []), ("TCP b to a", ["--reverse"]), ("UDP a to b", ["--udp", "--bitrate", "50M", "--length", "1200"])):
        report = server.run(lab.host_a, 5, *options)
        require("error" not in report and "end" in report, f"{title}: iperf3 ended without an error {report.get('error', '')}")
        end = report["end"].get("sum_received") or report["end"]["sum"]
        loss = f", {end['lost_percent']:.2f} % lost" if "lost_percent" in end else ""
        require(end["bits_per_second"] > 1e6, f"{title}: {end['bits_per_second'] / 1e6:.0f} Mbit/s{loss}")
    server.stop()


def show_copy(lab):
    say(f"a file of {FILE_BYTES // 1_000_000} MB by HTTP from host-b to host-a")
    source, target = lab.directory / "sent.bin", lab.directory / "received.bin"
    source.write_bytes(os.urandom(FILE_BYTES))
    seconds = traffic.copy_file(lab.host_b, HOST_B, lab.host_a, source, target)
    sums = traffic.checksum(lab.host_b, source), traffic.checksum(lab.host_a, target)
    require(sums[0] == sums[1], f"{seconds:.1f} s, equal SHA-256 {sums[0][:16]}...")


def show_state(lab):
    say("espalier show ipsec sa, on gateway A")
    print(lab.a.text("show", "ipsec", "sa"))
    say(f"espalier explain --in lan --src {HOST_A} --dst {HOST_B} --protocol icmp, on gateway A")
    print(lab.a.text("explain", "--in", "lan", "--src", HOST_A, "--dst", HOST_B, "--protocol", "icmp"))


def show(lab):
    say("two sites: host-a - gw-a - wire - gw-b - host-b, in network namespaces")
    lab.start()
    require(lab.ping(count=3) == 3, "host-a reaches host-b")
    # For all that follows: whatever is on the wire and is neither ESP nor ARP would be in this file.
    clear = lab.watch("clear", expression="not arp and not ip proto 50")
    captured = show_pings(lab)
    show_wire(lab, captured)
    show_iperf(lab)
    show_copy(lab)
    show_state(lab)
    say("the wire over all of it")
    in_clear = clear.stop()
    require(not in_clear, f"{len(in_clear)} frames that were neither ESP nor ARP")


NEXT = """
What to try next:
  scripts/lab up                                   the same two sites, left running
  scripts/lab exec host-a ping 10.2.0.10           as a host behind gateway A
  scripts/lab cli a show drops                     the operator's command line of gateway A
  scripts/lab cli a explain --in lan --src 10.1.0.10 --dst 10.2.0.10 --protocol tcp --dport 443
  scripts/lab exec wire tcpdump -n -i to-a         what an eavesdropper sees
  scripts/lab down
  README.md has a first configuration of your own, docs/ the operator's manual.
"""


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="espalier-quickstart-") as directory:
        try:
            with TwoSites("esp-qs", pathlib.Path(directory) / "lab") as lab:
                try:
                    show(lab)
                except (Failed, LabError, AssertionError) as problem:
                    print(f"\nquickstart: {problem}", file=sys.stderr)
                    for gateway in (lab.a, lab.b):
                        print(f"\nlog of {gateway.machine.name}:\n{gateway.log_tail()}", file=sys.stderr)
                    return 1
        except LabError as problem:
            print(f"\nquickstart: {problem}", file=sys.stderr)
            return 1
    print(NEXT)
    print("quickstart: all of it worked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
