"""What passed the wire between the gateways: ESP and IKE, and nothing that should have been inside of ESP."""
import collections
import ipaddress
import struct

from labs.capture import Capture
from scapy.all import RawPcapReader

INSIDE = [ipaddress.ip_network(prefix) for prefix in ("192.168.0.0/16", "10.0.0.0/8", "fd00::/8")]
ICMP, UDP, ICMP6, FRAGMENT6, ESP = 1, 17, 58, 44, 50
LINK_MULTICAST = ipaddress.ip_network("ff02::/16")  # router solicitations, MLD
IKE_PORTS = (500, 4500)
NEIGHBORS = range(133, 138)  # ICMPv6 types of RFC 4861
ERRORS = (3, 11)             # ICMP types that routers send; they quote no more than they got


class Wire:
    """Captures one port of the router from now to stop(); `expression`: of tcpdump, what of it."""

    def __init__(self, machine, interface, file, expression=""):
        self.capture = Capture(machine, interface, file, expression, snap_length=128)

    def stop(self):
        self.capture.stop_only()
        frames = RawPcapReader(str(self.capture.file))
        try:
            return Seen(frame for frame, _ in frames)
        finally:
            frames.close()


class Seen:
    """Packets by kind: "esp", "esp-in-udp", "ike", "keepalive", "neighbor", "error", "fragment", "clear"."""

    def __init__(self, frames):
        self.kinds, self.spis, self.clear = collections.Counter(), collections.Counter(), []
        for frame in frames:
            kind, detail = classify(frame)
            self.kinds[kind] += 1
            if kind in ("esp", "esp-in-udp"):
                self.spis[detail] += 1
            if kind == "clear":
                self.clear.append(detail)

    @property
    def esp(self):
        return self.kinds["esp"] + self.kinds["esp-in-udp"]


def classify(frame):
    """(kind, SPI or description) of an Ethernet frame."""
    kind = struct.unpack("!H", frame[12:14])[0]
    if kind == 0x0806:
        return "neighbor", None
    if kind == 0x0800:
        return classify_ipv4(frame[14:])
    if kind == 0x86dd:
        return classify_ipv6(frame[14:])
    return "clear", f"ethertype {kind:#06x}"


def classify_ipv4(packet):
    header, offset = (packet[0] & 15) * 4, struct.unpack("!H", packet[6:8])[0] & 0x1fff
    return judge(packet[12:16], packet[16:20], packet[9], packet[header:], offset != 0)


def classify_ipv6(packet):
    protocol, payload, later = packet[6], packet[40:], False
    if protocol == FRAGMENT6:
        later = struct.unpack("!H", payload[2:4])[0] >> 3 != 0
        protocol, payload = payload[0], payload[8:]
    return judge(packet[8:24], packet[24:40], protocol, payload, later)


def judge(source, destination, protocol, payload, later_fragment):
    ends = [ipaddress.ip_address(bytes(end)) for end in (source, destination)]
    if any(end in prefix for end in ends for prefix in INSIDE if end.version == prefix.version):
        return "clear", f"{ends[0]} > {ends[1]} protocol {protocol}"
    if ends[1] in LINK_MULTICAST:
        return "neighbor", None
    if later_fragment:
        return "fragment", None
    if protocol == ESP:
        return "esp", struct.unpack("!I", payload[:4])[0]
    if protocol == UDP:
        return judge_udp(ends, payload)
    if protocol == ICMP6 and payload[0] in NEIGHBORS:
        return "neighbor", None
    if (protocol == ICMP and payload[0] in ERRORS) or (protocol == ICMP6 and payload[0] < 128):
        return "error", None
    return "clear", f"{ends[0]} > {ends[1]} protocol {protocol}"


def judge_udp(ends, datagram):
    ports, data = struct.unpack("!HH", datagram[:4]), datagram[8:]
    if not any(port in IKE_PORTS for port in ports):
        return "clear", f"{ends[0]} > {ends[1]} UDP {ports[0]} > {ports[1]}"
    if 4500 not in ports or data[:4] == bytes(4):
        return "ike", None
    if len(data) < 8 or data[:1] == b"\xff" and not any(data[1:8]):
        return "keepalive", None
    return "esp-in-udp", struct.unpack("!I", data[:4])[0]
