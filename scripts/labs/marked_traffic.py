"""UDP between two hosts in which every packet carries a marker, so that any piece of it is found in a capture of a wire.

usage: marked_traffic.py STATUS-FILE MARKER (inside of a namespace); one line "SOURCE DESTINATION PORT" for each flow on standard input

Sends to each destination what a gateway treats in different ways: small packets, packets that must be fragmented, too big ones with
DF, packets whose TTL ends at this gateway and at the next one; from new ports again and again, so that new flows begin all the time.
What comes in is answered once. Every 100 ms the status file says how many packets came from whom: a JSON object, address to number.
"""
import ipaddress
import json
import os
import pathlib
import selectors
import socket
import sys
import time

PAUSE_S = 0.02
NEW_PORT_AFTER = 10  # rounds
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, DONT, PROBE = 10, 23, 0, 3  # linux/in.h, linux/in6.h
REQUEST, ANSWER = b"Q", b"A"
# (bytes of payload, hop limit, DF)
KINDS = [(200, 64, False), (3000, 64, False), (1460, 64, True), (200, 1, False), (200, 2, False), (1500, 2, False)]


def open_socket(address, port, hop_limit, dont_fragment):
    family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.setblocking(False)
    discover = PROBE if dont_fragment else DONT
    if family == socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
        opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hop_limit)
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, discover)
    opened.bind((address, port))
    return opened


class Flow:
    """From one address to one other, in all kinds."""

    def __init__(self, line, marker):
        self.source, self.destination, port = line.split()
        self.port, self.marker, self.rounds, self.sockets = int(port), marker, 0, []

    def send(self):
        if self.rounds % NEW_PORT_AFTER == 0:
            for one in self.sockets:
                one.close()
            self.sockets = [open_socket(self.source, 0, limit, df) for _, limit, df in KINDS]
        self.rounds += 1
        for one, (size, _, _) in zip(self.sockets, KINDS):
            try:
                one.sendto(REQUEST + (self.marker * (size // len(self.marker) + 1))[:size], (self.destination, self.port))
            except OSError:
                pass  # an ICMP error, or the path MTU that one told: what this is for


def answer(listener, counts):
    try:
        while True:
            data, peer = listener.recvfrom(65536)
            counts[peer[0]] = counts.get(peer[0], 0) + 1
            if data[:1] == REQUEST:
                listener.sendto(ANSWER + data[1:], peer)
    except OSError:
        pass  # nothing more, or an ICMP error


def tell(file, counts):
    new = file.with_suffix(".new")
    new.write_text(json.dumps(counts))
    os.replace(new, file)


def main():
    status, marker = pathlib.Path(sys.argv[1]), sys.argv[2].encode()
    flows = [Flow(line, marker) for line in sys.stdin if line.strip()]
    listening = selectors.DefaultSelector()
    for address, port in sorted({(flow.source, flow.port) for flow in flows}):
        listening.register(open_socket(address, port, 64, False), selectors.EVENT_READ)
    counts, told = {}, 0.0
    while True:
        due = time.monotonic() + PAUSE_S
        for flow in flows:
            flow.send()
        while (left := due - time.monotonic()) > 0:
            for key, _ in listening.select(left):
                answer(key.fileobj, counts)
        if due - told > 0.1:
            told = due
            tell(status, counts)


if __name__ == "__main__":
    main()
