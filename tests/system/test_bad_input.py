"""Any bytes at any door: counted, refused, never a crash, never clear text."""
import json
import os
import random
import socket
import time

import expect
from labs.two_sites import HOST_A, HOST_B
from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw


def alive(lab, before):
    expect.equal([(g.pid_of("espalierd"), g.pid_of("espalier-dataplane")) for g in (lab.a, lab.b)], before, "process ids")
    expect.answered(lab)


def pids(lab):
    return [(g.pid_of("espalierd"), g.pid_of("espalier-dataplane")) for g in (lab.a, lab.b)]


def talk(path, data, wait_s=1.0):
    """Sends bytes to the control socket; what came back until it was closed or quiet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(wait_s)
        line.connect(str(path))
        received = b""
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            while part := line.recv(65536):
                received += part
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass  # being hung up on is a good answer to garbage
        return received


def garbage_requests(source):
    yield b""
    yield b"\n\n\n"
    yield b"hello\n"
    yield b"{}\n"
    yield b"[]\n"
    yield b"null\n"
    yield b'{"command": 4}\n'
    yield b'{"command": "show interfaces", "surprise": [1, {"a": null}]}\n'
    yield b'{"command": "' + b"A" * 3_000_000 + b'"}\n'
    yield b"[" * 200_000 + b"\n"
    yield b'{"command": "\xff\xfe"}\n'
    for _ in range(50):
        yield source.randbytes(source.randrange(1, 4000))
    for _ in range(50):
        request = bytearray(b'{"command": "explain", "in": "lan", "src": "10.1.0.10", "dst": "10.2.0.10"}\n')
        request[source.randrange(len(request))] = source.randrange(256)
        yield bytes(request)


def test_garbage_on_the_control_socket(folder):
    """Requests that are none, far too long or cut off; many connections that say nothing."""
    with expect.two_sites(folder) as lab:
        before, door = pids(lab), lab.a.runtime / "control.sock"
        for request in garbage_requests(random.Random(2)):
            answer = talk(door, request)
            for line in answer.splitlines():
                json.loads(line)  # whatever is answered is JSON
        silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(200)]
        for line in silent:
            try:
                line.settimeout(1)
                line.connect(str(door))
            except OSError:
                break  # refusing more is right
        for line in silent:
            line.close()
        alive(lab, before)
        lab.a.text("show", "workers")


def test_the_control_socket_is_for_its_group_only(folder):
    """Mode 0660."""
    with expect.two_sites(folder) as lab:
        expect.equal(oct(os.stat(lab.a.runtime / "control.sock").st_mode & 0o777), "0o660", "mode of the socket")


def good_frames(target):
    ether = Ether(src="02:00:00:00:00:99", dst=target)
    inner = IP(src=HOST_A, dst=HOST_B)
    return [bytes(ether / inner / ICMP() / Raw(b"x" * 40)), bytes(ether / inner / UDP(sport=1, dport=2) / Raw(b"y" * 60)),
            bytes(ether / inner / TCP(sport=1, dport=2, flags="S")),
            bytes(ether / IP(src="192.0.2.1", dst="192.0.2.2", proto=50) / Raw(b"\0\0\x10\1\0\0\0\1" + b"z" * 40)),
            bytes(ether / IP(src=HOST_A, dst=HOST_B, flags="MF", frag=0) / Raw(b"f" * 64)),
            bytes(ether / IP(src=HOST_A, dst=HOST_B, frag=9) / Raw(b"g" * 64))]


def garbage_frames(target, count=3000):
    """Random bytes, and good frames that were cut or changed in some bytes; all addressed to the gateway."""
    source = random.Random(3)
    good = good_frames(target)
    header = good[0][:12]
    for number in range(count):
        if number % 3 == 0:
            yield header + source.choice([b"\x08\x00", b"\x08\x06", b"\x81\x00\x00\x05\x08\x00"]) + source.randbytes(source.randrange(0, 1400))
            continue
        frame = bytearray(source.choice(good))
        for _ in range(source.randrange(1, 6)):
            frame[source.randrange(12, len(frame))] = source.randrange(256)
        yield bytes(frame[:source.randrange(14, len(frame) + 1)])


def mac(gateway, name):
    return next(row["mac"] for row in gateway.ask("show", "interfaces")["interfaces"] if row["name"] == name)


def test_garbage_frames_on_the_wire(folder):
    """3000 broken frames into gateway B: it counts drops, lives, and sends none of them on."""
    with expect.two_sites(folder) as lab:
        before = pids(lab)
        seen = lab.watch("host-b", "eth0", lab.host_b, f"src host {HOST_A}")
        lab.inject("to-b", [Raw(frame) for frame in garbage_frames(mac(lab.b, "wan"))])
        time.sleep(1)
        expect.nothing([packet.summary() for packet in seen.stop()], "clear packets of the other site that host B got")
        expect.at_least(sum(lab.b.drops().values()), 2500, "counted drops")
        alive(lab, before)


def test_garbage_frames_from_a_host(folder):
    """The same into the LAN side: whatever a host sends, nothing of it leaves in clear."""
    with expect.two_sites(folder) as lab:
        before = pids(lab)
        clear = lab.watch("clear", expression=f"not ip proto 50 and host {HOST_A} and host {HOST_B}")
        lab.inject("eth0", [Raw(frame) for frame in garbage_frames(mac(lab.a, "lan"))], lab.host_a)
        time.sleep(1)
        expect.nothing([packet.summary() for packet in clear.stop()], "clear packets between the sites")
        alive(lab, before)
