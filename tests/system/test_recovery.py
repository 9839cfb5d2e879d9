"""kill -9 at random moments under iperf3: traffic resumes, no number is used twice, nothing leaves in clear.

KILLS=N in the environment is the number of kills (6 without it), SEED=N makes the moments those of an earlier run.
"""
import os
import random
import re
import signal
import struct
import subprocess
import time

import expect
from labs import configuration, traffic
from labs.espalier import ROOT
from labs.network import wait_until
from labs.two_sites import HOST_B, LAN_A, WAN_A, WAN_B

RESUMES_WITHIN_S = 3.0
KILLS = int(os.environ.get("KILLS", "6"))


class Outages:
    """A ping every 20 ms from host A to host B; the gaps between its answers."""

    def __init__(self, lab):
        self.lab = lab
        self.file = lab.directory / "outages.txt"
        self.process = lab.host_a.start("ping", "-n", "-D", "-i", "0.02", HOST_B, stdout=open(self.file, "w"))

    def times(self):
        return [float(found) for found in re.findall(r"^\[([0-9.]+)\] .* bytes from", self.file.read_text(), re.MULTILINE)]

    def answered_after(self, moment):
        times = self.times()
        return bool(times) and times[-1] > moment

    def stop(self):
        """Ends it; all gaps in seconds."""
        self.lab.host_a.stop(self.process, signal.SIGINT)
        times = self.times()
        return [after - before for before, after in zip(times, times[1:])]


def esp_numbers(file):
    """(destination, SPI, sequence number) of each ESP packet of a capture; read without scapy, which takes 100 times as long."""
    data = file.read_bytes()
    position = 24
    while position + 16 <= len(data):
        length = struct.unpack_from("<I", data, position + 8)[0]
        frame = data[position + 16:position + 16 + length]
        position += 16 + length
        fragment_offset = struct.unpack_from(">H", frame, 20)[0] & 0x1fff
        if frame[12:14] == b"\x08\x00" and frame[23] == 50 and not fragment_offset:
            yield frame[30:34], *struct.unpack_from(">II", frame, 14 + 4 * (frame[14] & 15))


def no_number_twice(file):
    seen, twice, count = set(), [], 0
    for number in esp_numbers(file):
        count += 1
        if number in seen:
            twice.append(number)
        seen.add(number)
    expect.nothing(twice, "(destination, SPI, sequence number) that were on the wire twice")
    return count


def strike(gateway, target):
    """Kills; espalierd is started again, as systemd would do."""
    if target in ("espalier-dataplane", "both"):
        gateway.kill("espalier-dataplane")
    if target in ("espalierd", "both"):
        gateway.kill("espalierd")
        gateway.start(wait=False)


def kill_and_wait(lab, outages, random_source):
    gateway = random_source.choice([lab.a, lab.b])
    target = random_source.choice(["espalier-dataplane", "espalierd", "both"])
    time.sleep(random_source.uniform(0.2, 1.5))
    strike(gateway, target)
    struck = time.time()
    wait_until(f"traffic goes on after kill -9 of {target} of {gateway.machine.name}",
               lambda: outages.answered_after(struck + 0.2), 20, pause=0.02)
    return f"{gateway.machine.name} {target}"


def replay_old_packets(lab, frames):
    """ESP packets from before the kills are refused."""
    seen = lab.watch("replayed-host-b", "eth0", lab.host_b, f"icmp and icmp[4:2] == {frames.identifier}")
    before = lab.b.drops().get("esp_replay", 0)
    lab.inject("to-b", frames.packets)
    lab.b.wait_drops("esp_replay", before + len(frames.packets))
    expect.nothing(seen.stop(), "replayed packets that host B got")


class Recorded:
    """The ESP frames of some pings with an ICMP identifier of their own."""

    def __init__(self, lab, identifier=4242, count=10):
        self.identifier = identifier
        wire = lab.watch("recorded", "to-b", expression="ip proto 50", direction="out")
        lab.host_a.run("ping", "-n", "-c", count, "-i", "0.02", "-e", identifier, HOST_B)
        self.packets = wire.stop()
        expect.equal(len(self.packets), count, "recorded packets")


def test_random_kills_under_iperf(folder):
    """Dataplane, espalierd, or both of a random gateway die at random moments."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"     {KILLS} kills, SEED={seed}")
    random_source = random.Random(seed)
    with expect.two_sites(folder) as lab:
        frames = Recorded(lab)
        with expect.no_clear_packets(lab):
            wire = lab.watch("all", expression="ip proto 50", snap_length=64)
            server = traffic.Iperf(lab.host_b, HOST_B)
            client = server.start(lab.host_a, KILLS * 15 + 30, "--bitrate", "10M")
            outages = Outages(lab)
            wait_until("traffic flows", outages.times, 10)
            for number in range(KILLS):
                what = kill_and_wait(lab, outages, random_source)
                gaps = longest_gap(outages)
                print(f"     kill {number + 1}: {what}; longest outage so far {gaps:.2f} s", flush=True)
            expect.equal(client.poll(), None, "iperf3's exit status while it should still run")
            lab.host_a.stop(client, signal.SIGINT)
            gaps = outages.stop()
            wire.stop_only()
        print(f"     {no_number_twice(wire.file)} ESP packets, no number twice; longest outage {max(gaps):.2f} s")
        expect.nothing([gap for gap in gaps if gap > RESUMES_WITHIN_S], f"outages over {RESUMES_WITHIN_S} s")
        replay_old_packets(lab, frames)


test_random_kills_under_iperf.timeout_s = 60 + KILLS * 20


def longest_gap(outages):
    times = outages.times()
    return max((after - before for before, after in zip(times, times[1:])), default=0.0)


def kill_points():
    """The names of all places where a process of this lab can be made to die. Not the making of sa-numbers, which is made once in
    the life of its keys (tests/unit/vault has it), and not the states of IKE SAs: here are none (tests/unit/ike_daemon has them)."""
    found = subprocess.run(["git", "-C", ROOT, "grep", "-hoE", "--untracked", r'KILL_POINT\("[a-z_.]+"\)', "--", "*.cpp"],
                           check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(re.findall(r'"([a-z_.]+)"', found)) if not name.startswith(("sequence_file.", "ike_state.")))


def die_at(lab, point, count):
    """Gateway A's processes die at `count` passes of a kill point, again and again, and are started again."""
    lab.a.stop()
    if point.startswith("sa_cells."):
        (lab.a.runtime / "sa-cells").unlink(missing_ok=True)  # as after a reboot: only then is it made
    lab.a.environment = {"ESPALIER_KILL_AT": f"{point}:{count}"}
    lab.a.start(wait=False)


def killed_dataplanes(gateway):
    """How many its espalierd has buried so far."""
    return gateway.log.read_text().count("was killed by signal 9")


def live_through(lab, seconds):
    """Keeps espalierd of gateway A alive, and gives it a second tunnel with new keys again and again, for some seconds; the
    number of deaths."""
    deaths = -killed_dataplanes(lab.a)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if lab.a.daemon.poll() is not None:
            deaths += 1
            lab.a.start(wait=False)
        second = configuration.Tunnel(WAN_A, WAN_B, LAN_A, "10.99.0.0/24", reqid=2, first_spi=0x2000)
        lab.a.run("apply", lab.a.write(lab.settings_a(tunnels=[lab.tunnel, second]), "changing.conf"))
        time.sleep(0.1)
    return deaths + killed_dataplanes(lab.a) + (lab.a.daemon.poll() is not None)


def test_deaths_inside_of_writes_to_shared_memory(folder):
    """Every kill point of the sources (--build asan has them): after it the tunnel works and no number was used twice."""
    with expect.two_sites(folder) as lab, expect.no_clear_packets(lab):
        frames = Recorded(lab)
        wire = lab.watch("all", expression="ip proto 50", snap_length=64)
        outages = Outages(lab)
        for point in kill_points():
            deaths = 0
            for count in (1, 5, 40):
                die_at(lab, point, count)
                deaths += live_through(lab, 1.5)
            lab.a.stop()
            lab.a.environment = {}
            lab.a.start()
            now = time.time()
            wait_until(f"the tunnel works after deaths at {point}", lambda: outages.answered_after(now), 10)
            print(f"     {point}: {deaths} deaths", flush=True)
            expect.at_least(deaths, 1, f"deaths at {point}")
        outages.stop()
        wire.stop_only()
        print(f"     {no_number_twice(wire.file)} ESP packets, no number twice")
        replay_old_packets(lab, frames)


test_deaths_inside_of_writes_to_shared_memory.timeout_s = 400
test_deaths_inside_of_writes_to_shared_memory.on_request = True  # the release has no kill points
