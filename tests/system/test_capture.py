"""capture and trace on a live gateway: what is in the files, by scapy and tshark, and how captures end."""
import json
import logging
import os
import pathlib
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

import expect
from labs.capture import ESP, IP
from labs.network import wait_until
from labs.two_sites import GATEWAY_A, HOST_A, HOST_B
from scapy.all import ICMP, Ether, RawPcapNgReader

ECHO_REQUEST, ECHO_REPLY = 8, 0
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # scapy 2.5 warns of comments without a line feed


class Running:
    """`espalier capture` or `trace` in the background, once its tap is in the dataplane."""

    def __init__(self, gateway, *words):
        self.words = [gateway.build / "control/cli/espalier", "--socket", gateway.runtime / "control.sock", *map(str, words)]
        self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        time.sleep(0.5)  # nothing tells that the workers look on

    def end(self, number=signal.SIGINT, timeout=10):
        """(exit status, stdout, stderr); `number`: the signal that ends it, None: it ends by itself."""
        if number is not None:
            self.process.send_signal(number)
        try:
            output, messages = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, output, messages.decode()


def blocks_of(data):
    """(type, body) of each block of a pcapng file; fails where lengths do not fit."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        expect.equal(struct.unpack_from("<I", data, at + length - 4)[0], length, "the length at a block's end")
        yield kind, data[at + 8:at + length - 4]
        at += length


def options_of(data):
    """code -> value."""
    found, at = {}, 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4:at + 4 + length]
        at += 4 + (length + 3) // 4 * 4
    return found


class Seen:
    """A packet of a capture: point, interface, comment, direction flags, and as scapy takes it apart."""

    def __init__(self, interface, link, body):
        _, _, _, captured, self.length = struct.unpack_from("<IIIII", body)
        data = body[20:20 + captured]
        options = options_of(body[20 + (captured + 3) // 4 * 4:])
        self.interface, self.point = interface.split(" ")[:2]
        self.comment = options.get(1, b"").decode()
        self.way = struct.unpack("<I", options[2])[0]
        self.packet = Ether(data) if link == 1 else IP(data)


def packets_of(file):
    """Parsed here by the format's definition; scapy's reader has to find as many."""
    interfaces, seen = [], []
    data = pathlib.Path(file).read_bytes() if not isinstance(file, bytes) else file
    for kind, body in blocks_of(data):
        if kind == 1:
            interfaces.append((options_of(body[8:])[2].decode(), struct.unpack_from("<H", body)[0]))
        if kind == 6:
            seen.append(Seen(*interfaces[struct.unpack_from("<I", body)[0]], body))
    return seen


def tshark(file, *fields):
    """One list of fields per packet, or None without tshark."""
    if not shutil.which("tshark"):
        return None
    words = ["tshark", "-n", "-r", file, "-T", "fields", "-E", "separator=|"]
    for field in fields:
        words += ["-e", field]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [line.split("|") for line in done.stdout.splitlines()]


def at(packets, point, layer):
    return [one for one in packets if one.point == point and layer in one.packet]


def test_a_packet_is_seen_at_each_point(folder):
    """A ping through the tunnel: ESP at rx and tx, the ping inside at plain both ways, nothing dropped."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab, count=1)  # neighbors are known
        running = Running(lab.a, "capture", folder / "all.pcapng")
        expect.answered(lab, count=3)
        status, _, messages = running.end()
        expect.equal((status, messages.split(",")[1].strip()), (0, "0 lost"), "how the capture ended")
        packets = packets_of(folder / "all.pcapng")
        expect.equal(messages.split(" ")[0], str(len(packets)), "packets that the summary tells of")
        expect.equal(sum(1 for _ in RawPcapNgReader(str(folder / "all.pcapng"))), len(packets), "packets that scapy finds")
        for point, interface, way in (("rx", "wan", 1), ("tx", "wan", 2)):
            esp = at(packets, point, ESP)
            expect.equal([(one.interface, one.way) for one in esp], [(interface, way)] * 3, f"ESP at {point}")
        for point, kind in (("rx", ECHO_REQUEST), ("tx", ECHO_REPLY)):
            clear = at(packets, point, ICMP)
            expect.equal([(one.interface, one.packet[ICMP].type) for one in clear], [("lan", kind)] * 3, f"pings at {point}")
        plain = at(packets, "plain", ICMP)
        expect.equal([(one.way, one.packet.src, one.packet[ICMP].type) for one in plain],
                     [(2, HOST_A, ECHO_REQUEST), (1, HOST_B, ECHO_REPLY)] * 3, "pings inside of the tunnel, in order")
        expect.nothing([one.comment for one in packets if one.point == "drop"], "drops")
        expect.equal(stat.S_IMODE(os.stat(folder / "all.pcapng").st_mode), 0o600, "mode of the file")


def test_drops_have_their_reason(folder):
    """A replayed, a forged and a stranger's frame are in the capture with the reason that `show drops` counts."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab, count=1)
        watched = lab.watch("esp", expression="proto 50", direction="in", interface="to-b")
        expect.answered(lab, count=1)
        esp = watched.stop()[0]
        running = Running(lab.a, "capture", "--point", "drop", "--count", 3, folder / "drops.pcapng")
        forged = esp.copy()
        forged[ESP].seq += 1000
        stranger = esp.copy()
        stranger.dst = "02:00:00:00:00:99"
        lab.inject("to-a", [esp, forged, stranger])
        status, _, messages = running.end(None)
        expect.equal((status, messages.strip()), (0, "3 packets captured, 0 lost"), "how the capture ended")
        packets = packets_of(folder / "drops.pcapng")
        reasons = [one.comment.split(": ")[1] for one in packets]
        expect.equal(sorted(reasons), ["esp_icv", "esp_replay", "ethernet_not_for_us"], "reasons in the comments")
        rows = {row["reason"]: row for row in lab.a.ask("show", "drops")["drops"]}
        for one, reason in zip(packets, reasons):
            expect.equal(one.comment.split("; tunnel")[0], f"drop: {reason}: {rows[reason]['help']}", "the comment")
            expect.equal("Ether" in one.packet or isinstance(one.packet, Ether), reason == "ethernet_not_for_us", "has a frame")
        by_tshark = tshark(folder / "drops.pcapng", "frame.comment", "frame.interface_name")
        if by_tshark is not None:
            expect.equal([row[0] for row in by_tshark], [one.comment for one in packets], "comments as tshark shows them")


def test_a_filter_and_a_tunnel_choose(folder):
    """tcpdump's words choose packets at every point; a tunnel chooses its own; a bad filter is refused with libpcap's words."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab, count=1)
        name = lab.a.ask("show", "ipsec", "sa")["sas"][0]["connection"]
        filtered = Running(lab.a, "capture", "icmp[icmptype] = icmp-echo and host", HOST_B, folder / "filter.pcapng")
        tunnel = Running(lab.a, "capture", "--tunnel", name, folder / "tunnel.pcapng")
        expect.answered(lab, count=2)
        lab.host_a.run("ping", "-c", 1, "-W", 1, GATEWAY_A)
        expect.equal((filtered.end()[0], tunnel.end()[0]), (0, 0), "exit status")
        packets = packets_of(folder / "filter.pcapng")
        expect.equal(sorted(one.point for one in packets), ["plain", "plain", "rx", "rx"], "points of echo requests")
        expect.equal({one.packet[ICMP].type for one in packets}, {ECHO_REQUEST}, "types")
        packets = packets_of(folder / "tunnel.pcapng")
        expect.equal(sorted(one.point for one in packets), ["plain"] * 4 + ["rx"] * 2 + ["tx"] * 2, "points of the tunnel's")
        expect.equal({ESP in one.packet for one in packets if one.point != "plain"}, {True}, "all of them ESP on the wire")
        names = {row["connection"] for row in lab.a.ask("show", "ipsec", "sa")["sas"]}
        expect.equal({one.comment.removeprefix("tunnel ").split(",")[0] for one in packets}, names, "names in the comments")
        done = lab.a.run("capture", "icmp and (", folder / "bad.pcapng")
        expect.equal((done.returncode, done.stderr.startswith("espalier: the filter 'icmp and (': ")), (1, True), done.stderr)
        done = lab.a.run("capture", "--tunnel", "nobody", folder / "bad.pcapng")
        expect.equal((done.returncode, done.stderr.strip()), (1, 'espalier: no SA "nobody"; show ipsec sa lists them'), "a tunnel")
        expect.equal((folder / "bad.pcapng").exists(), False, "a file of a capture that was refused")
        done = lab.a.run("capture", "--point", "drop,nowhere", folder / "bad.pcapng")
        expect.equal((done.returncode, done.stderr.strip()), (1, 'espalier: no point "nowhere": rx, plain, tx or drop'), "a point")


def test_how_captures_end(folder):
    """By count on stdout; by their dataplane's death, with a valid file; who is not read ends; a symbolic link is not followed."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab, count=1)
        counted = Running(lab.a, "capture", "--count", 2, "--point", "rx", "icmp", "-")
        expect.answered(lab, count=3)
        status, output, messages = counted.end(None)
        expect.equal((status, len(packets_of(output)), messages.strip()), (0, 2, "2 packets captured, 0 lost"), "by count")

        (folder / "elsewhere").write_text("precious")
        (folder / "link.pcapng").symlink_to(folder / "elsewhere")
        done = lab.a.run("capture", folder / "link.pcapng")
        expect.equal((done.returncode, (folder / "elsewhere").read_text()), (1, "precious"), "through a symbolic link")

        most = [Running(lab.a, "capture", folder / f"{i}.pcapng") for i in range(4)]
        done = lab.a.run("capture", folder / "fifth.pcapng")
        expect.equal((done.returncode, done.stderr.strip()),
                     (1, "espalier: 4 captures and traces run already; end one of them first"), "a fifth")
        for running in most[1:]:
            running.process.kill()
            running.process.communicate()
        wait_until("captures whose readers died have ended", lambda: can_capture(lab.a), 10)

        expect.answered(lab, count=2)
        lab.a.settle()  # they were read
        lab.a.kill("espalier-dataplane")
        status, _, messages = most[0].end(None, timeout=20)
        expect.equal((status, "espalier: the capture ended: " in messages), (1, True), messages)
        expect.at_least(len(at(packets_of(folder / "0.pcapng"), "plain", ICMP)), 4, "packets before the dataplane died")
        lab.a.wait_ready()
        wait_until("the tunnel works again", lambda: lab.ping(count=1) == 1, 20)


def can_capture(gateway):
    request = {"command": "capture start", "points": "rx", "ethernet_filter": "6 0 0 0"}
    return ask(gateway, request)["ok"]


def ask(gateway, request):
    """One request on the socket itself."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(gateway.runtime / "control.sock"))
        client.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(client.makefile().readline())


def test_hostile_requests_are_refused(folder):
    """Programs that jump back, end nowhere, are no numbers, or are too long; taps that are not; the gateway lives on."""
    jump_back = "5 0 0 4294967295"
    with expect.one_site(folder) as lab:
        pid = lab.gateway.pid_of("espalier-dataplane")
        for text, error in ((jump_back, "a message was refused: filter with a jump that leads out of it or back"),
                            ("112 0 0 0", "a message was refused: filter with an unknown instruction"),
                            ("32 0 0 0", "the filter is no valid BPF program"),
                            ("5 0 0 7,6 0 0 0", "the filter is no valid BPF program"),
                            ("6 0 0", '"ethernet_filter" holds "6 0 0", which is no "CODE JT JF K"'),
                            ("6 0 0 -1", '"ethernet_filter" holds "6 0 0 -1", which is no "CODE JT JF K"'),
                            (",".join(["6 0 0 1"] * 2049), '"ethernet_filter" has more than 2048 instructions')):
            answer = ask(lab.gateway, {"command": "capture start", "ethernet_filter": text})
            expect.equal((answer["ok"], answer.get("error")), (False, error), text[:40])
        for id, error in ((1, "it has ended: nobody read it, or the dataplane was restarted"), (0, '"id" has to be a whole number')):
            answer = ask(lab.gateway, {"command": "capture read", "id": id})
            expect.equal((answer["ok"], answer["error"].startswith(error)), (False, True), answer)
        expect.equal(ask(lab.gateway, {"command": "capture stop", "id": 7})["error"], "it has ended already", "stop")
        longest = ",".join(["0 0 0 0"] * 2047 + ["6 0 0 1"])
        expect.equal(ask(lab.gateway, {"command": "capture start", "ethernet_filter": longest})["ok"], True, "2048 instructions")
        expect.equal(lab.gateway.pid_of("espalier-dataplane"), pid, "the dataplane")


def test_trace_tells_what_decides(folder):
    """A ping through the tunnel and one to nowhere: policy, SA and sequence number, and why it was dropped."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab, count=1)
        running = Running(lab.a, "--json", "trace", "--count", 3, "icmp and host", HOST_A)
        expect.answered(lab, count=2)  # of an established flow
        lab.host_a.run("ping", "-c", 1, "-W", 1, "192.0.2.77", check=False)  # nobody there
        status, output, messages = running.end(None, timeout=15)
        expect.equal((status, messages), (0, ""), "how the trace ended")
        document = json.loads(output)
        expect.equal((document["ok"], document["not_traced"], len(document["stories"])), (True, 0, 3), "the document")
        policy = lab.a.ask("show", "policy")["policies"][0]["name"]
        for story in document["stories"][:2]:
            said = {line["stage"]: line["text"] for line in story["lines"]}
            expect.equal(story["interface"], "lan", "where it came in")
            expect.equal(policy in said["out_policy"], True, said["out_policy"])
            expect.equal("SPI 0x1001" in said["esp_output"], True, said["esp_output"])
            expect.equal("by wan" in said["transmit"], True, said["transmit"])
        said = {line["stage"]: line["text"] for line in document["stories"][2]["lines"]}
        expect.equal(said["result"].startswith("dropped (neighbor_unresolved): "), True, said["result"])

        running = Running(lab.b, "trace", "--count", 1, "esp")
        expect.answered(lab, count=1)
        status, output, _ = running.end(None)
        expect.equal(status, 0, "exit status")
        lines = output.decode().splitlines()
        expect.equal((lines[0].split()[0], lines[0].split()[-1], lines[1].split()[0]), ("#1", "wan", "received"), lines[:2])
        expect.equal([line.split()[0] for line in lines].count("esp_input"), 1, "lines of esp_input")
