"""docs/troubleshooting.md tells the truth: its broken set-ups are built, and the commands say what the page says.

A section "### TITLE" of the page has blocks of commands and what they print, "    b# espalier show drops | grep REASON":
on gateway a or b, through `grep WORD` if it says so. How a set-up is broken, and the traffic that shows it, stands here
under the same title. Numbers that change from run to run and the width of columns are not compared (see `comparable`).

    UPDATE=1 tests/system/run troubleshooting     # writes what the commands say today into the page
"""
import itertools
import os
import re
import shlex
import subprocess
import time

import expect
from labs.configuration import Tunnel
from labs.espalier import ROOT
from labs.network import wait_until
from labs.two_sites import HOST_A, HOST_B, LAN_A, LAN_B, WAN_A, WAN_B

PAGE = ROOT / "docs/troubleshooting.md"
PROMPT = re.compile(r"    ([ab])# espalier (.*)")
TRACE_STARTS_S = 0.5


# -- the set-ups: each applies configurations and returns what makes the traffic, or starts a process that does

def apply(lab, a=None, b=None):
    """Both gateways get their usual settings, or these."""
    lab.a.apply(a or lab.settings_a())
    lab.b.apply(b or lab.settings_b())


def ping(lab, to=HOST_B, *words):
    return lambda: lab.host_a.run("ping", "-n", "-c", 3, "-i", 0.2, "-W", 1, *words, to, check=False)


def masquerade_and(*excluded):
    """NAT rules: what is excluded for this remote prefix keeps its source, all else of the LAN is masqueraded."""
    lan = {"outbound-interface": "wan", "source": {"address": LAN_A}}
    excludes = [{"rule": 10 + i, **lan, "destination": {"address": prefix}, "exclude": True} for i, prefix in enumerate(excluded)]
    return {"source": [*excludes, {"rule": 100, **lan, "translation": {"address": "masquerade"}}]}


def with_a_net_below(settings, remote):
    """The policy that keeps what the exclude rules have forgotten from leaving in clear."""
    settings["xfrm"]["policy"].append({"direction": "out", "src": WAN_A, "dst": remote, "action": "discard",
                                       "priority": 2000, "name": "not in clear"})
    return settings


def wrong_exclude(lab):
    apply(lab, with_a_net_below(lab.settings_a(nat=masquerade_and("10.20.0.0/24")), LAN_B))
    return ping(lab)


def partial_exclude(lab):
    wide = {"tunnels": [Tunnel(WAN_A, WAN_B, LAN_A, "10.2.0.0/21", first_spi=0x1100)]}
    nat = {"nat": masquerade_and(LAN_B)}
    apply(lab, with_a_net_below(lab.settings_a(**wide, **nat), "10.2.0.0/21"), lab.settings_b(**wide))
    return ping(lab, "10.2.1.10")


def missing_fwd_policy(lab):
    settings = lab.settings_b()
    settings["xfrm"]["policy"] = [policy for policy in settings["xfrm"]["policy"] if policy["direction"] != "fwd"]
    apply(lab, b=settings)
    return ping(lab)


def wrong_key(lab):
    settings = lab.settings_b()
    inbound = next(state for state in settings["xfrm"]["state"] if state["direction"] == "in")
    inbound["key"] = inbound["key"][:-8] + "00000000"  # the salt; the other side has another
    apply(lab, b=settings)
    return ping(lab)


def replay(lab):
    apply(lab)
    wire = lab.watch("recorded", "to-b", expression="ip proto 50", direction="out")
    expect.answered(lab)
    frames = wire.stop()
    return lambda: lab.inject("to-b", frames)


def too_large_with_df(lab):
    apply(lab)
    return ping(lab, HOST_B, "-s", 1472, "-M", "do")


def no_neighbour(lab):
    apply(lab)
    return lambda: lab.host_a.start("ping", "-n", "-i", 0.2, "-W", 1, "10.2.0.77")  # until the section is done


def unknown_spi(lab):
    apply(lab, b=lab.settings_b(tunnels=[Tunnel(WAN_A, WAN_B, LAN_A, LAN_B, first_spi=0x3000)]))
    return ping(lab)


def expired_sa(lab):
    tunnel = {"tunnels": [Tunnel(WAN_A, WAN_B, LAN_A, LAN_B, first_spi=0x2000)]}
    settings = lab.settings_a(**tunnel)
    settings["xfrm"]["state"][0]["limit"] = {"soft-packets": 4, "hard-packets": 5}
    apply(lab, settings, lab.settings_b(**tunnel))
    return ping(lab, HOST_B, "-c", 10)


def full_port_range(lab):
    rule = {"rule": 100, "outbound-interface": "wan", "protocol": "udp", "source": {"address": LAN_A},
            "translation": {"address": "masquerade", "port": "50000-50001"}}
    apply(lab, lab.settings_a(nat={"source": [rule]}))
    flows = f"""import socket
for port in range(4001, 4006):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("{HOST_A}", port))
        s.sendto(b"x", ("{WAN_B}", 53))"""
    return lambda: lab.host_a.run("/usr/bin/python3", "-c", flows)


def gre(near, far, address, **keywords):
    return {"type": "gre", "local-ip": near, "remote-ip": far, "address": address, "mtu": 1400, **keywords}


def gre_in_clear(lab):
    """Gateway b has all that belongs to it; a has the interface and the route, and no policy."""
    tunnel = Tunnel(WAN_A, WAN_B, f"{WAN_A}/32", f"{WAN_B}/32", first_spi=0x4000, keywords={"mode": "transport"})
    a, b = lab.settings_a(tunnels=[]), lab.settings_b(tunnels=[tunnel])
    b["xfrm"]["policy"] = [{**policy, "protocol": "gre"} for policy in b["xfrm"]["policy"] if policy["direction"] != "fwd"]
    a["interfaces"]["tun0"] = gre(WAN_A, WAN_B, "10.9.0.1/30")
    b["interfaces"]["tun0"] = gre(WAN_B, WAN_A, "10.9.0.2/30", protect=True)
    a["routes"].append({"prefix": LAN_B, "interface": "tun0"})
    b["routes"].append({"prefix": LAN_A, "interface": "tun0"})
    apply(lab, a, b)
    return ping(lab)


def vti_that_is_down(lab):
    tunnel = Tunnel(WAN_A, WAN_B, LAN_A, LAN_B, first_spi=0x5000, keywords={"vti": "vti1"})
    a = lab.settings_a(tunnels=[tunnel])
    a["xfrm"] = {"state": [state for state in a["xfrm"]["state"] if state["direction"] == "out"]}
    a["interfaces"]["vti1"] = {"type": "vti", "address": "10.9.1.1/30", "mtu": 1400}
    a["routes"].append({"prefix": LAN_B, "interface": "vti1"})
    apply(lab, a)
    return ping(lab)


# -- tunnels by IKE: a initiates, b answers

SECRET = "SomePreSharedKey"
GCM256 = {"number": 1, "encryption": "aes256gcm128", "prf": "prfsha256", "dh-group": 19}


def authenticated(*names, **more):
    """By a pre-shared secret, with names as ids: local-id, remote-id."""
    return {"mode": "pre-shared-secret", **dict(zip(("local-id", "remote-id"), names)), **more}


def by_ike(lab, side, proposal=GCM256, secret=SECRET, remote=None, authentication=None):
    """The gateway's settings with the other one as a peer; defaults are what fits."""
    make, near, far, lans, other = ((lab.settings_a, WAN_A, WAN_B, (LAN_A, LAN_B), "b") if side == "a" else
                                    (lab.settings_b, WAN_B, WAN_A, (LAN_B, LAN_A), "a"))
    peer = {"authentication": authentication or authenticated(near, far), "connection-type": "initiate" if side == "a" else "respond",
            "ike-group": "ike", "default-esp-group": "esp", "local-address": near, "remote-address": far,
            "tunnel": [{"number": 0, "local": {"prefix": lans[0]}, "remote": {"prefix": remote or lans[1]}}]}
    ipsec = {"authentication": {"psk": {"a-b": {"id": [WAN_A, WAN_B, "a.test", "b.test"], "secret": secret}}},
             "esp-group": {"esp": {"proposal": [{"number": 1, "encryption": "aes256gcm128"}]}},
             "ike-group": {"ike": {"proposal": [proposal]}}, "site-to-site": {"peer": {other: peer}}}
    return make(tunnels=[]) | {"vpn": {"ipsec": ipsec}}


def apply_ike(lab, a=None, b=None):
    """Each side with these changes; b first, which has to be there when a begins. Without peers what failed before is forgotten."""
    apply(lab)
    lab.b.apply(by_ike(lab, "b", **(b or {})))
    lab.a.apply(by_ike(lab, "a", **(a or {})))
    return lambda: None


def other_secret(lab):
    return apply_ike(lab, b={"secret": "AnotherSecret"})


def other_id(lab):
    return apply_ike(lab, a={"authentication": authenticated("a.test", WAN_B)}, b={"authentication": authenticated("b.test", WAN_A)})


def other_proposal(lab):
    return apply_ike(lab, b={"proposal": {"number": 1, "encryption": "aes256", "hash": "sha512", "dh-group": 20}})


def other_selectors(lab):
    return apply_ike(lab, b={"remote": "10.20.0.0/24"})


def other_authority(lab):
    """b trusts another certificate than a's."""
    for gateway in (lab.a, lab.b):
        for name in ("a", "b", "c"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                            "-subj", f"/CN={name}.test", "-addext", f"subjectAltName=DNS:{name}.test", "-addext",
                            "keyUsage=digitalSignature", "-keyout", gateway.directory / f"{name}.key", "-out",
                            gateway.directory / f"{name}.pem"], check=True, capture_output=True)
    own = lambda name, other, authority: {"authentication": authenticated(
        f"{name}.test", f"{other}.test", mode="x509",
        x509={"certificate": f"{name}.pem", "key": f"{name}.key", "ca-certificate": authority})}
    return apply_ike(lab, a=own("a", "b", "b.pem"), b=own("b", "a", "c.pem"))


BY_IKE = {
    "Another secret": other_secret,
    "An id that nobody expects": other_id,
    "No proposal in common": other_proposal,
    "Selectors that do not fit": other_selectors,
    "A certificate that is refused": other_authority,
}
SET_UPS = {
    "An exclude rule for the wrong network": wrong_exclude,
    "An exclude rule for a part of the network": partial_exclude,
    "No policy of direction fwd": missing_fwd_policy,
    "Different keys": wrong_key,
    "Numbers that begin anew": replay,
    "Too large, and not to be fragmented": too_large_with_df,
    "A host that does not answer": no_neighbour,
    "An SPI that nobody knows": unknown_spi,
    "An SA at its limit": expired_sa,
    "No port left": full_port_range,
    "GRE in clear": gre_in_clear,
    "A route into a VTI that is down": vti_that_is_down,
}


# -- the page

class Transcript:
    """A command of the page with what it printed there: lines [begin, end) of the page."""

    def __init__(self, title, gateway, command, begin):
        self.title, self.gateway, self.command, self.begin, self.end = title, gateway, command, begin, begin

    def __repr__(self):
        return f"{self.title}: {self.gateway}# espalier {self.command}"


def transcripts(lines):
    title, found, inside = None, [], False
    for number, line in enumerate(lines):
        if line.startswith("#"):
            title = line.removeprefix("### ") if line.startswith("### ") else None
        if match := PROMPT.fullmatch(line):
            found.append(Transcript(title, match[1], match[2], number + 1))
            inside = True
        elif inside and line.startswith("    "):
            found[-1].end = number + 1
        else:
            inside = False
        if found and inside:
            found[-1].end = number + 1
    return found


VARIES = [
    (r"\d\d:\d\d:\d\d\.\d+", "TIME"),  # of a trace
    (r"\bid \d+", "id N"),             # ICMP identifier
    (r"\b\d+h\d+m\b", "H"),            # when a key changes
    (r"(?<= )[-\d]+/\d+(?= |$)", "N/N"),  # packets and bytes, numbers of both directions
    (r"(?<= )\d+s?(?= |$)", "N"),     # numbers that stand alone, as counts and ages do
    (r":5000[01]\b", ":50000"),        # the port that NAT chose
    (r"(?<=number )\d+|(?<=so far )\d+", "N"),  # sequence numbers
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r" +", " "),                      # columns are as wide as their widest cell
]


def comparable(lines):
    """The lines without what changes from run to run."""
    result = []
    for line in lines:
        line = line.strip()
        for pattern, replacement in VARIES:
            line = re.sub(pattern, replacement, line)
        result.append(line)
    return result


# -- running the page's commands

class Case:
    """One set-up of the page with its commands, which come in the page's order."""

    def __init__(self, lab, title):
        self.lab, self.gateways = lab, {"a": lab.a, "b": lab.b}
        self.title, self.make_traffic = title, (SET_UPS | BY_IKE)[title](lab)
        self.traffic, self.begun = None, False

    def provoke(self):
        self.traffic, self.begun = self.make_traffic(), True

    def close(self):
        if isinstance(self.traffic, subprocess.Popen):
            self.lab.host_a.stop(self.traffic)

    def output(self, transcript):
        """What the command prints, as lines."""
        gateway = self.gateways[transcript.gateway]
        command, _, word = transcript.command.partition(" | grep ")
        words = shlex.split(command)
        if words[0] == "trace":
            text = self.traced(gateway, words)
        else:
            if not self.begun:
                self.provoke()
            text = self.printed(gateway, words, word)
        lines = [line for line in text.splitlines() if word in line]
        return [re.sub(r"(?<=\S)  +", "  ", line) for line in lines] if words[0] == "show" else lines

    def printed(self, gateway, words, word):
        if words[0] == "check":
            path = gateway.directory / "next.conf"
            return gateway.run("check", path).stderr.replace(str(path), words[1])
        if word:
            wait_until(f"{words} prints {word}", lambda: word in gateway.run(*words).stdout, 10)
        return gateway.text(*words)

    def traced(self, gateway, words):
        """The traffic comes while the trace runs, which ends after its --count."""
        command = [gateway.build / "control/cli/espalier", "--socket", gateway.runtime / "control.sock", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trace:
            try:
                time.sleep(TRACE_STARTS_S)
                self.provoke()
                output, errors = trace.communicate(timeout=10)
            finally:
                trace.kill()
        expect.equal(trace.returncode, 0, f"exit status of {words}: {errors}")
        return output


def test_the_page_says_what_the_commands_say(folder):
    """Broken set-ups, one after the other on two gateways, each asked what the page asks."""
    lines = PAGE.read_text().splitlines()
    known = SET_UPS.keys() | BY_IKE.keys()
    found = [transcript for transcript in transcripts(lines) if transcript.title in known]
    expect.equal({transcript.title for transcript in found}, known, "set-ups of the page")
    seen = {}
    with expect.two_sites(folder) as lab:
        for title, commands in itertools.groupby(found, lambda transcript: transcript.title):
            case = Case(lab, title)
            for transcript in commands:
                seen[transcript] = case.output(transcript)
                expect.at_least(len(seen[transcript]), 1, f"lines that {transcript} prints")
            case.close()
    if os.environ.get("UPDATE"):
        return update(lines, seen)
    for transcript, printed in seen.items():
        expect.equal(comparable(printed), comparable(lines[transcript.begin:transcript.end]), repr(transcript))


def update(lines, seen):
    """Writes the page anew, from its end so that the numbers of the lines before stay right."""
    for transcript, printed in reversed(seen.items()):
        lines[transcript.begin:transcript.end] = ["    " + line for line in printed]
    PAGE.write_text("\n".join(lines) + "\n")


def test_every_set_up_is_counted_and_explained(folder):
    """Each section of the page shows `show drops`, and before it a command that names the cause."""
    del folder
    for title in SET_UPS:
        commands = [t.command for t in transcripts(PAGE.read_text().splitlines()) if t.title == title]
        expect.equal(any(c.startswith("show drops | grep ") for c in commands), True, f"show drops in {title}")
        expect.equal(any(c.startswith(("explain", "trace")) for c in commands), True, f"explain or trace in {title}")
