"""Sends bytes over TCP and checks that the same come back.

usage: echo.py serve PORT                           until it is ended; IPv4 and IPv6
       echo.py send PORT BYTES SOURCE TARGET...     prints the targets that did not return the same bytes
"""
import concurrent.futures
import os
import socket
import socketserver
import sys
import threading

PATIENCE_S = 15


class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address, daemon_threads = socket.AF_INET6, True, True


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while part := self.request.recv(65536):
            self.request.sendall(part)


def returned(source, target, port, sent):
    with socket.create_connection((target, port), PATIENCE_S, source_address=(source, 0)) as connection:
        def send():
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        with connection.makefile("rb") as stream:
            received = stream.read()
        sender.join()
        return received


def failed(source, target, port, size):
    """What went wrong, or None."""
    sent = os.urandom(size)
    try:
        received = returned(source, target, port, sent)
    except OSError as problem:
        return f"{target}: {problem}"
    if received == sent:
        return None
    same = next((index for index, pair in enumerate(zip(received, sent)) if pair[0] != pair[1]), min(len(received), len(sent)))
    return f"{target}: of {size} bytes {len(received)} came back, the first {same} of them the same"


def main():
    if sys.argv[1] == "serve":
        Server(("::", int(sys.argv[2])), Echo).serve_forever()
    port, size, source, *targets = sys.argv[2:]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda target: failed(source, target, int(port), int(size)), targets)
        for problem in filter(None, results):
            print(problem)


if __name__ == "__main__":
    main()
