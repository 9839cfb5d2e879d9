"""Soaks of two Espaliers that negotiate their tunnels by IKE: see scripts/soak-ike.

Traffic is in every tunnel all the time (marked_traffic.py). No tunnel may be silent for 10 s at any time, in either
direction; nothing but ESP and IKE is on the wire, and no process grows.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from labs.capture import Capture, packets_of  # noqa: E402
from labs.ike_sites import IkeSites, host  # noqa: E402
from labs.network import LabError, wait_until  # noqa: E402

IKE = "espalier-ike"
PROGRAMS = ("espalierd", "espalier-dataplane", IKE)
TRAFFIC = pathlib.Path(__file__).with_name("marked_traffic.py")
MARKER = "SoakOfTunnels"
ALLOWED = "arp or proto 50 or udp port 500 or udp port 4500"
RECOVERY_S = 10
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
TICKS = os.sysconf("SC_CLK_TCK")


def memory_kb(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Traffic:
    """Marked packets between the sites' hosts through every tunnel, counted by the host that gets them."""

    def __init__(self, lab):
        self.lab = lab
        self.files = {site: lab.directory / f"traffic-{site}.json" for site in (1, 2)}
        self.heard = {}  # flow -> (packets, when they were as many for the first time)
        for site, machine in ((1, lab.host_a), (2, lab.host_b)):
            flows = lab.directory / f"flows-{site}"
            flows.write_text(lab.flows(site))
            with open(flows) as lines:
                machine.start("/usr/bin/python3", TRAFFIC, self.files[site], MARKER, stdin=lines)

    def counts(self):
        """(receiving site, address of the sender) -> packets."""
        found = {}
        for site, file in self.files.items():
            if file.exists():
                found |= {(site, sender): number for sender, number in json.loads(file.read_text()).items()}
        return found

    def silences(self):
        """Flow -> for how many seconds nothing of it came."""
        now, counts = time.monotonic(), self.counts()
        flows = [(site, host(3 - site, number)) for site in (1, 2) for number in self.lab.numbers]
        for flow in flows:
            if flow not in self.heard or counts.get(flow, 0) > self.heard[flow][0]:
                self.heard[flow] = (counts.get(flow, 0), now)
        return {flow: now - self.heard[flow][1] for flow in flows}

    def wait_all(self, timeout):
        """Until every tunnel has carried packets in both directions."""
        wait_until("all tunnels carry traffic", lambda: self.silences() and all(number for number, _ in self.heard.values()),
                   timeout, 0.2)


def spis(gateway):
    """(direction, SPI) of every SA of a gateway that is up."""
    return {(row["direction"], row["spi"]) for row in gateway.ask("show", "ipsec", "sa")["sas"] if row["state"] == "up"}


def orphans(lab):
    """SAs that only one of the two gateways has, as the first sees them."""
    flip = {"in": "out", "out": "in"}
    return spis(lab.a) ^ {(flip[direction], spi) for direction, spi in spis(lab.b)}


class Soak:
    def __init__(self, lab, seed):
        self.lab, self.random = lab, random.Random(seed)
        self.longest_s, self.events, self.rekeys, self.memory = 0.0, 0, 0, []
        self.watch = Capture(lab.wire, "to-a", lab.directory / "clear.pcap", f"not ({ALLOWED})")
        self.traffic = Traffic(lab)

    def gateways(self):
        return (self.lab.a, self.lab.b)

    def watch_tunnels(self, seconds):
        """For so long, and since the last call, none may be silent for too long."""
        end = time.monotonic() + seconds
        while True:
            silences = self.traffic.silences()
            self.longest_s = max(self.longest_s, *silences.values())
            silent = [flow for flow, silence in silences.items() if silence > RECOVERY_S]
            if silent:
                raise LabError(f"no packets of {silent[:5]} for {RECOVERY_S} s, {len(silent)} of {len(silences)} flows")
            if time.monotonic() >= end:
                return
            time.sleep(0.2)

    def recover(self, seconds):
        """The tunnels are watched for so long after an event, and every program must run again."""
        self.events += 1
        self.watch_tunnels(seconds)
        wait_until("all programs run again", lambda: all(gateway.pid_of(program) for gateway in self.gateways()
                                                         for program in PROGRAMS), RECOVERY_S)

    def sample_memory(self):
        self.memory.append({(gateway.machine.name, program): memory_kb(pid) for gateway in self.gateways()
                            for program in PROGRAMS if (pid := gateway.pid_of(program))})

    def kill_at_random(self):
        self.random.choice(self.gateways()).kill(IKE)

    def kill_inside_of_a_rekey(self):
        """kill -9 some milliseconds after one side began to rekey something."""
        rekeying, killed = self.random.choice(self.gateways()), self.random.choice(self.gateways())
        peer, tunnel = (self.random.randrange(self.lab.peers), self.random.randrange(self.lab.tunnels_each))
        what = [f"peer{peer}"] + ([f"tunnel-{tunnel}"] if self.random.random() < 0.7 else [])
        self.rekeys += rekeying.run("rekey", *what).returncode == 0  # refused where another one is under way
        time.sleep(self.random.random() * 0.05)
        killed.kill(IKE)

    def finish(self):
        """What the whole must show at its end."""
        self.watch_tunnels(RECOVERY_S)
        self.watch.stop_only()
        clear = packets_of(self.watch.file)
        if clear:
            raise LabError(f"{len(clear)} packets on the wire that are neither ESP nor IKE: {clear[0].summary()}")
        self.check_memory()
        print(f"{self.events} events, no tunnel was silent for more than {self.longest_s:.1f} s; nothing in clear")

    def check_memory(self):
        """Flat: at the end at most a twentieth and 2 MB more than after the first quarter."""
        early, late = self.memory[len(self.memory) // 4], self.memory[-1]
        for key, kb in late.items():
            print(f"{key[0]} {key[1]}: {early.get(key, 0)} kB, at the end {kb} kB")
            if key in early and kb > early[key] * 1.05 + 2048:
                raise LabError(f"{key[1]} of {key[0]} grows: {early[key]} kB, {kb} kB at the end")


def start(lab):
    lab.start()
    wait_until("all tunnels are up", lambda: len(spis(lab.a)) >= 2 * lab.count and not orphans(lab), 60, 0.5)


def soak_minutes(folder, args):
    """Short lifetimes, 2 % loss, and kill -9 of either IKE process at random."""
    with IkeSites("esp-soak", folder / "soak", 4, args.tunnels // 4, short=True) as lab:
        start(lab)
        lab.lose(2)
        soak = Soak(lab, args.seed)
        soak.traffic.wait_all(30)
        end = time.monotonic() + args.minutes * 60
        while time.monotonic() < end:
            soak.kill_at_random()
            soak.recover(soak.random.uniform(0, 8))
            soak.sample_memory()
        lab.lose(0)
        soak.finish()


def kills_inside_of_rekeys(folder, args):
    """kill -9 at random moments of rekeys; nothing is orphaned on either side."""
    with IkeSites("esp-kills", folder / "kills", 4, 2) as lab:
        start(lab)
        soak = Soak(lab, args.seed)
        soak.traffic.wait_all(30)
        for _ in range(args.rekey_kills):
            soak.kill_inside_of_a_rekey()
            soak.recover(0.5)
            soak.sample_memory()
        if soak.rekeys < soak.events / 2:
            raise LabError(f"only {soak.rekeys} of {soak.events} rekeyings began")
        wait_until("both gateways have the same SAs, two of each tunnel",
                   lambda: not orphans(lab) and len(spis(lab.a)) == 2 * lab.count, 30, 0.5)
        soak.finish()


def many_peers(folder, args):
    """How fast many peers come up, what they cost, and how fast the operator is answered."""
    with IkeSites("esp-peers", folder / "peers", args.peers, 1, hosts=1) as lab:
        lab.b.start(lab.settings_b())
        before = memory_kb(lab.b.pid_of(IKE))
        begin = time.monotonic()
        lab.a.start(lab.settings_a())
        wait_until(f"{args.peers} tunnels are up", lambda: len(spis(lab.a)) >= 2 * args.peers, 300, 0.5)
        seconds = time.monotonic() - begin
        used = {side: cpu_s(gateway.pid_of(IKE)) for side, gateway in (("initiator", lab.a), ("responder", lab.b))}
        each_kb = (memory_kb(lab.b.pid_of(IKE)) - before) / args.peers
        print(f"{args.peers} peers in {seconds:.1f} s; " + ", ".join(
            f"{side} {args.peers / spent:.0f} tunnels per second of a core" for side, spent in used.items() if spent))
        print(f"{each_kb:.1f} kB for an IKE SA with its child")
        for words in (("ike", "sa"), ("ipsec", "sa"), ("connections",)):
            check_speed(lab.a, words)


def check_speed(gateway, words):
    begin = time.monotonic()
    gateway.ask("show", *words)
    seconds = time.monotonic() - begin
    print(f"show {' '.join(words)}: {seconds:.2f} s")
    if seconds > 1:
        raise LabError(f"show {' '.join(words)} took {seconds:.1f} s")


def main():
    parser = argparse.ArgumentParser(prog="soak-ike", description="Soaks of tunnels that IKE negotiates.")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--tunnels", type=int, default=20)
    parser.add_argument("--rekey-kills", type=int, default=0)
    parser.add_argument("--peers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-ike-"))
    print(f"seed {args.seed}, files in {folder}", flush=True)
    for wanted, run in ((args.minutes, soak_minutes), (args.rekey_kills, kills_inside_of_rekeys), (args.peers, many_peers)):
        if wanted:
            print(f"== {run.__doc__.splitlines()[0]}", flush=True)
            run(folder, args)
    shutil.rmtree(folder)
    print("soak-ike: all was as it should be")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"soak-ike: {error}")
