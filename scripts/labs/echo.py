"""A server that sends back what it gets, over TCP and UDP, and clients that say how much came back.

usage (inside of a namespace): echo.py serve ADDRESS PORT
                               echo.py tcp ADDRESS PORT BYTES [SOURCE]     prints how many bytes came back unchanged
                               echo.py udp ADDRESS PORT FLOWS [SOURCE]     one datagram of each of FLOWS source ports; prints how many came back
"""
import os
import select
import socket
import socketserver
import sys
import time


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, server = self.request
        server.sendto(data, self.client_address)


def serve(address, port):
    class TcpServer(socketserver.ThreadingTCPServer):
        address_family, allow_reuse_address, daemon_threads = family_of(address), True, True

    class UdpServer(socketserver.UDPServer):
        address_family, allow_reuse_address = family_of(address), True

    servers = [TcpServer((address, port), Tcp), UdpServer((address, port), Udp)]
    while True:
        for ready in select.select(servers, [], [])[0]:
            ready.handle_request()


def tcp(address, port, size, source=None):
    sent = os.urandom(size)
    with socket.create_connection((address, port), timeout=5, source_address=(source, 0) if source else None) as connection:
        received = b""
        for begin in range(0, size, 65536):
            part = sent[begin:begin + 65536]
            connection.sendall(part)
            while len(received) < begin + len(part) and (data := connection.recv(65536)):
                received += data
    return len(received) if received == sent else 0


def udp(address, port, flows, source=None):
    sockets = [socket.socket(family_of(address), socket.SOCK_DGRAM) for _ in range(flows)]
    for number, one in enumerate(sockets):
        if source:
            one.bind((source, 0))
        one.connect((address, port))
        one.send(b"flow %d" % number)
        time.sleep(0.001)
    waiting, end = dict(zip(sockets, range(flows))), time.monotonic() + 2
    while waiting and (left := end - time.monotonic()) > 0:
        for one in select.select(list(waiting), [], [], left)[0]:
            try:
                one.recv(100)
            except OSError:  # an ICMP error is no answer
                continue
            del waiting[one]
    return flows - len(waiting)


def main():
    what, address, port, *others = sys.argv[1:]
    if what == "serve":
        serve(address, int(port))
    print({"tcp": tcp, "udp": udp}[what](address, int(port), int(others[0]), *others[1:]))


if __name__ == "__main__":
    main()
