"""Captures of a wire, and what is inside the ESP on them, by scapy: an implementation that is not ours."""
import collections
import signal
import time
import warnings

from labs.network import wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy's own, about ciphers that we do not use
    from scapy.all import ARP, IP, TCP, UDP, IPv6, PcapReader, defragment, wrpcap  # noqa: F401
    from scapy.layers.ipsec import ESP, SecurityAssociation


class Capture:
    """tcpdump on one interface of a machine, from start() (in the constructor) to stop()."""

    def __init__(self, machine, interface, file, expression="", snap_length=0, direction=None):
        self.machine, self.file = machine, file
        words = ["tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-B", "65536", "-s", snap_length, "-w", file]
        if direction:
            words += ["-Q", direction]
        self.log = open(f"{file}.log", "w+")
        self.process = machine.start(*words, *expression.split(), stderr=self.log)
        wait_until(f"tcpdump on {interface} listens", lambda: "listening on" in self.messages(), 10)

    def messages(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        """Ends the capture and returns its packets; fails if the kernel lost any of them."""
        self.stop_only()
        return packets_of(self.file)

    def stop_only(self):
        """As stop(), for captures that are too large for scapy."""
        time.sleep(0.3)  # tcpdump throws away what it has not yet read when it is told to stop
        self.machine.stop(self.process, signal.SIGINT)
        messages = self.messages()
        self.log.close()
        lost = [line for line in messages.splitlines() if "dropped by kernel" in line and not line.startswith("0 ")]
        if lost:
            raise AssertionError(f"the capture {self.file} is incomplete: {lost[0]}")


def packets_of(file):
    with PcapReader(str(file)) as reader:
        return list(reader)


def ip_of(packet):
    """The IP packet of a frame, without the padding that a short frame has."""
    if IP in packet:
        return IP(bytes(packet[IP])[:packet[IP].len])
    return IPv6(bytes(packet[IPv6])[:40 + packet[IPv6].plen])


def foreign(packets):
    """The packets that are neither ESP between gateways (whole or in fragments) nor ARP."""
    return [packet for packet in packets if not (ARP in packet or (IP in packet and packet[IP].proto == 50))]


SCAPY_HASHES = {"sha1": "HMAC-SHA1-96", "sha256": "SHA2-256-128", "sha384": "SHA2-384-192", "sha512": "SHA2-512-256"}


def association(sa):
    """What scapy needs to open one SA's packets."""
    header = IPv6 if ":" in sa.src else IP
    hashed = {"auth_algo": SCAPY_HASHES[sa.suite.hash], "auth_key": sa.key("auth-key")} if sa.suite.hash else {}
    cipher = {} if sa.suite.scapy == "NULL" else {"crypt_key": sa.key()}
    icv = {} if sa.suite.hash else {"crypt_icv_size": sa.suite.icv_bits // 8}
    number = {"esn_en": True, "esn": sa.keywords.get("last-sequence", 0) >> 32} if sa.keywords.get("esn") else {}
    return SecurityAssociation(ESP, spi=sa.spi, crypt_algo=sa.suite.scapy, **cipher, **icv, **hashed, **number,
                               tunnel_header=header(src=sa.src, dst=sa.dst))


class Opener:
    """Decrypts ESP with the keys of the SAs, by SPI."""

    def __init__(self, sas):
        self.by_spi = {sa.spi: association(sa) for sa in sas}

    def open(self, packets):
        """The inner IP packets of the ESP packets, whole ones of fragments, in order; raises if one is not authentic."""
        outer = [ip_of(packet) for packet in packets if IP in packet and packet[IP].proto == 50]
        return [self.open_one(packet) for packet in defragment(outer)]

    def open_one(self, packet):
        """The inner IP packet of one whole outer packet, IPv4 or IPv6, with ESP bare or in UDP."""
        return self.by_spi[packet[ESP].spi].decrypt(packet)


def outer_numbers(packets):
    """(SPI, sequence number) of every ESP packet, first fragments only."""
    return [(packet[ESP].spi, packet[ESP].seq) for packet in packets if ESP in packet]


def comparable(packets):
    """A multiset of IP packets without what a router may change: TTL and header checksum; fragments put together."""
    whole = defragment([ip_of(packet) for packet in packets if IP in packet])
    return collections.Counter(_normal(packet) for packet in whole)


def _normal(packet):
    copy = IP(bytes(packet))
    copy.ttl, copy.chksum = 0, 0
    return bytes(copy)
