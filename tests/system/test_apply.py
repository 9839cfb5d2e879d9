"""`apply` changes what it must and leaves the rest alone; what is wrong changes nothing."""
import signal
import re

import expect
from labs import configuration
from labs.espalier import Refused
from labs.two_sites import HOST_A, HOST_B, LAN_A, WAN_A, WAN_B

SECOND_HOST, SECOND_LAN = "10.3.0.10", "10.3.0.0/24"


def second_tunnel():
    return configuration.Tunnel(WAN_A, WAN_B, LAN_A, SECOND_LAN, reqid=2, first_spi=0x2000)


def start_with(lab, *tunnels):
    lab.host_b.ip("address", "add", f"{SECOND_HOST}/24", "dev", "eth0")
    lab.a.start(lab.settings_a(tunnels=[lab.tunnel, *tunnels]))
    settings = settings_b(lab, *tunnels)
    lab.b.start(settings)
    return lab


def settings_b(lab, *tunnels):
    settings = lab.settings_b(tunnels=[lab.tunnel, *tunnels])
    settings["interfaces"]["lan"]["address"].append("10.3.0.1/24")
    return settings


class Steady:
    """A ping every 5 ms through the first tunnel; stop() tells how many were sent, and which were not answered."""

    ON_THEIR_WAY = 10  # the last ones: their answers may come after the end

    def __init__(self, lab):
        self.lab, self.file = lab, lab.directory / "steady.txt"
        self.process = lab.host_a.start("ping", "-n", "-i", "0.005", HOST_B, stdout=open(self.file, "w"))

    def stop(self):
        self.lab.a.settle(0.5)
        self.lab.host_a.stop(self.process, signal.SIGINT)
        text = self.file.read_text()
        sent = int(re.search(r"(\d+) packets transmitted", text)[1])
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", text)}
        return sent, [number for number in range(1, sent - self.ON_THEIR_WAY + 1) if number not in answered]


def pids(lab):
    return [(gateway.pid_of("espalierd"), gateway.pid_of("espalier-dataplane")) for gateway in (lab.a, lab.b)]


def test_changing_a_tunnel_loses_no_packet_of_another(folder):
    """The second tunnel gets other keys, goes and comes back; the first one's pings are all answered; the pids stay."""
    with expect.two_sites(folder, start=False) as lab, expect.no_clear_packets(lab):
        start_with(lab, second_tunnel())
        expect.answered(lab)
        expect.answered(lab, to=SECOND_HOST)
        before, steady = pids(lab), Steady(lab)
        for tunnels in ([second_tunnel()], [], [second_tunnel()], [second_tunnel()]):
            lab.a.apply(lab.settings_a(tunnels=[lab.tunnel, *tunnels]))
            lab.b.apply(settings_b(lab, *tunnels))
            lab.a.settle(0.3)
            expect.answered(lab, count=len(tunnels), to=SECOND_HOST) if tunnels else None
        sent, unanswered = steady.stop()
        expect.at_least(sent, 200, "pings that were sent meanwhile")
        expect.nothing(unanswered, "numbers of pings that were not answered")
        expect.equal(pids(lab), before, "process ids")


def test_a_removed_tunnel_carries_nothing(folder):
    """After its policies and SAs are gone by apply nothing is encrypted for it any more; the SAs are gone from show."""
    with expect.two_sites(folder, start=False) as lab:
        second = second_tunnel()
        start_with(lab, second)
        expect.answered(lab, to=SECOND_HOST)
        lab.a.apply(lab.settings_a())
        spis = {row["spi"] for row in lab.a.ask("show", "ipsec", "sa")["sas"]}
        expect.equal(spis, {lab.tunnel.rightward.spi, lab.tunnel.leftward.spi}, "SPIs after apply")
        expect.equal(lab.ping(to=SECOND_HOST, count=2, wait_s=1), 0, "answers through the removed tunnel")


def test_the_same_configuration_again_changes_nothing(folder):
    """Counters and sequence numbers go on after an apply of what already runs."""
    with expect.two_sites(folder) as lab:
        expect.answered(lab, count=5)
        lab.a.apply(lab.settings_a())
        wire = lab.watch("wire", expression="ip proto 50")
        expect.answered(lab, count=1)
        from labs.capture import outer_numbers
        expect.equal(dict(outer_numbers(wire.stop()))[lab.tunnel.rightward.spi], 6, "sequence number after apply")


def refused(lab, change):
    """The line that espalier prints when it refuses the settings as `change` made them."""
    settings = lab.settings_a()
    change(settings)
    try:
        lab.a.apply(settings, "refused.conf")
    except Refused as refusal:
        expect.equal(refusal.status, 1, "exit status")
        return refusal.text
    raise AssertionError(f"apply accepted {settings}")


def test_what_is_wrong_is_refused_and_changes_nothing(folder):
    """Errors name file and line; what runs goes on."""
    with expect.two_sites(folder) as lab:
        wrong = {
            "an unknown keyword": lambda s: s["dataplane"].update(wrokers=1),
            "an address that is none": lambda s: s["routes"][0].update(via="192.0.2.256"),
            "a template without a state's reqid form": lambda s: s["xfrm"]["policy"][0]["template"].update(reqid=-1),
            "the same SPI twice": lambda s: s["xfrm"]["state"].append(s["xfrm"]["state"][1]),
            "the same key in two states": lambda s: s["xfrm"]["state"][1].update(key=s["xfrm"]["state"][0]["key"]),
        }
        before, steady = pids(lab), Steady(lab)
        for what, change in wrong.items():
            text = refused(lab, change)
            if not re.search(r"refused\.conf:\d+: error: ", text):
                raise AssertionError(f"{what}: the message has no file and line: {text!r}")
        sent, unanswered = steady.stop()
        expect.equal(unanswered, [], f"of {sent} pings, those that were not answered")
        expect.equal(pids(lab), before, "process ids")


def test_a_peer_that_is_left_out_is_warned_of(folder):
    """The configuration runs, without the peer whose certificate is none; `apply` says so, and no more once it is gone."""
    with expect.two_sites(folder, start=False) as lab:
        lab.a.start(lab.settings_a())
        peer = {"authentication": {"mode": "x509", "x509": {"certificate": "none.pem", "ca-certificate": "none.pem"}},
                "ike-group": "ike", "default-esp-group": "esp", "local-address": WAN_A, "remote-address": WAN_B,
                "tunnel": [{"number": 0, "local": {"prefix": LAN_A}, "remote": {"prefix": SECOND_LAN}}]}
        proposal = {"number": 1, "encryption": "aes256gcm128"}
        vpn = {"ipsec": {"esp-group": {"esp": {"proposal": [proposal]}}, "site-to-site": {"peer": {"B": peer}},
                         "ike-group": {"ike": {"proposal": [proposal | {"prf": "prfsha256", "dh-group": 19}]}}}}
        file = lab.a.write(lab.settings_a() | {"vpn": vpn}, "next.conf")
        file.with_name("none.pem").write_text("no certificate\n")
        done = lab.a.run("apply", file)
        expect.equal(done.returncode, 0, "apply's status")
        expect.equal(re.findall("warning: peer B is left out: key: not a private key", done.stderr) != [], True, f"warned of in {done.stderr!r}")
        expect.equal([trouble.split(": ")[0] for trouble in lab.a.ask("apply", file)["troubles"]], ["peer B is left out"], "troubles")
        done = lab.a.run("apply", lab.a.write(lab.settings_a(), "next.conf"))
        expect.equal((done.returncode, done.stderr), (0, ""), "apply's status and what it says without the peer")


def test_check_needs_no_daemon(folder):
    """`check` ends 0 for a good file, 1 with FILE:LINE for a bad one, 2 for wrong usage."""
    with expect.two_sites(folder, start=False) as lab:
        good = lab.a.write(lab.settings_a(), "good.conf")
        bad = lab.a.write("dataplane = { workers = 1; };\nrubbish = 4;\n", "bad.conf")
        expect.equal(lab.a.run("check", good).returncode, 0, "status for a good file")
        done = lab.a.run("check", bad)
        expect.equal(done.returncode, 1, "status for a bad file")
        if f"{bad}:2: error: " not in done.stdout + done.stderr:
            raise AssertionError(f"no file and line in {done.stdout + done.stderr!r}")
        expect.equal(lab.a.run("check").returncode, 2, "status without a file")
        expect.equal(lab.a.run("no-such-command").returncode, 2, "status of an unknown command")
        expect.equal(lab.a.run("--help").returncode, 0, "status of --help")
