"""Sends the frames of a capture file out of an interface, byte for byte, in order.

usage: inject.py INTERFACE FILE.pcap    (inside of the namespace)
"""
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from labs.capture import packets_of  # noqa: E402


def main():
    interface, file = sys.argv[1:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for packet in packets_of(file):
            sender.send(bytes(packet))


if __name__ == "__main__":
    main()
