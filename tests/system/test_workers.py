"""Several workers per gateway: real threads on one SA, one session table, and a configuration that changes under them."""
import threading
import time

import expect
from labs import configuration, traffic
from labs.network import wait_until
from labs.two_sites import HOST_B, LAN_A, LAN_B, WAN_A, WAN_B
from test_recovery import Outages, no_number_twice

WORKERS = 3
RESUMES_WITHIN_S = 10  # another test may have one of the two cores; test_recovery.py measures on a quiet machine
SOURCE_NAT = {"source": [{"rule": 10, "outbound-interface": "wan", "source": {"address": LAN_A},
                          "translation": {"address": "10.1.0.200-10.1.0.201"}}]}


class Restless:
    """Changes routes and ports of gateway A again and again; each change must be accepted."""

    def __init__(self, lab, **settings):
        self.lab, self.settings, self.applied, self.failed = lab, settings, 0, []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.ended.wait(0.2):
            settings = self.lab.settings_a(**self.settings)
            if self.applied % 2:
                settings["routes"].append({"prefix": "10.99.0.0/16", "blackhole": True})
            if self.applied % 4 < 2:  # in front of the others: their queues shall stay with their workers
                spare = {"spare": {"device": "net_ring_spare", "address": ["10.77.0.1/24"]}}
                settings["interfaces"] = spare | settings["interfaces"]
            done = self.lab.a.run("apply", self.lab.a.write(settings, "restless.conf"))
            if done.returncode:
                self.failed.append(done.stderr)
            self.applied += 1

    def stop(self):
        self.ended.set()
        self.thread.join()
        expect.nothing(self.failed, "configurations that were refused")
        return self.applied


def busy_workers(gateway):
    return sum(row["flow_hits"] > 100 for row in gateway.ask("show", "workers")["workers"])


def run_all_kinds(lab, server):
    for options in (["--parallel", 8], ["--parallel", 8, "--reverse"],
                    ["--parallel", 8, "--udp", "--bitrate", "2M", "--length", 1200]):
        report = server.run(lab.host_a, 3, *options)
        expect.equal(report.get("error"), None, f"iperf3's error with {options}")
        summary = report["end"].get("sum_received") or report["end"]["sum"]
        expect.at_least(summary["bits_per_second"], 1e6, f"bits per second with {options}")  # the machine is busy with others


def share_the_work(folder, nat):
    changes = {"workers": WORKERS, "cores": ""}
    with expect.two_sites(folder, start=False) as lab, expect.no_clear_packets(lab):
        lab.tunnel = configuration.Tunnel(WAN_A, WAN_B, LAN_A, LAN_B, replay_window=1024)
        lab.a.start(lab.settings_a(nat=nat, **changes))
        lab.b.start(lab.settings_b(**changes))
        wire = lab.watch("all", expression="ip proto 50", snap_length=64)
        restless = Restless(lab, nat=nat, **changes)
        run_all_kinds(lab, traffic.Iperf(lab.host_b, HOST_B))
        expect.at_least(restless.stop(), 10, "configurations that were applied meanwhile")
        for gateway in (lab.a, lab.b):
            expect.at_least(busy_workers(gateway), 2, "workers that had packets")
        outage = kill_the_dataplane(lab)
        wire.stop_only()
        print(f"     {no_number_twice(wire.file)} ESP packets, no number twice; outage {outage:.2f} s")
        expect.at_least(RESUMES_WITHIN_S, outage, "seconds within which traffic resumes")


def kill_the_dataplane(lab):
    """kill -9 of gateway A's dataplane; the seconds without an answer."""
    outages = Outages(lab)
    wait_until("pings are answered", outages.times, 10)
    lab.a.kill("espalier-dataplane")
    killed = time.time()
    wait_until("pings are answered again", lambda: outages.answered_after(killed + 0.2), 20)
    return max(outages.stop())


def test_workers_share_a_tunnel(folder):
    """Three workers a gateway: eight TCP and UDP flows both ways while routes change; a kill -9; no number twice."""
    share_the_work(folder, None)


def test_workers_share_sessions(folder):
    """The same with source NAT: every session has one owner, whichever worker its packets come to."""
    share_the_work(folder, SOURCE_NAT)
