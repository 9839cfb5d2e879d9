"""docs/examples.md tells the truth: each configuration is applied, and `explain` says what the page says that it says."""
import pathlib
import re
import shlex

import expect
from labs import suites
from labs.espalier import ROOT, Espalier
from labs.network import Network
from labs.one_site import OneSite
from labs.two_sites import TwoSites, port
from many_tunnels import NATT, Case, ManyTunnels, Transport

EXAMPLES = ROOT / "docs/examples"
DEVICES = {"0000:3b:00.0": port("lan"), "0000:3b:00.1": port("wan")}


def told(page):
    """(configuration, words of an `explain`, the result that the page shows) in the page's order."""
    name, command = None, None
    for line in page.splitlines():
        if found := re.match(r"`docs/examples/(.*\.conf)`", line):
            name = found[1]
        elif line.startswith("    espalier explain "):
            command = shlex.split(line)[1:]
        elif command and line.startswith("    result"):
            yield name, command, line.split(maxsplit=1)[1]
            command = None


def adapted(name, namespace):
    """The text of an example with the devices and the host's namespace of the lab."""
    text = (EXAMPLES / name).read_text()
    for device, here in DEVICES.items():
        text = text.replace(device, here)
    return text.replace('host-namespace = "espalier"', f'host-namespace = "{namespace}"')


def test_the_page_says_what_explain_says(folder):
    """Every example of the page is applied to a gateway, one after the other, and asked what the page asks."""
    cases = list(told((ROOT / "docs/examples.md").read_text()))
    expect.equal(sorted({name for name, _, _ in cases}), sorted(file.name for file in EXAMPLES.iterdir()), "examples of the page")
    with Network("esp-doc") as network:
        machine, far, host = (network.machine(name) for name in ("gw", "far", "host"))
        network.cable(machine, "lan", far, "lan")
        network.cable(machine, "wan", far, "wan")
        host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0")
        gateway, applied = Espalier(machine, pathlib.Path(folder) / "gw"), None
        for name, command, result in cases:
            if applied is None:
                gateway.start(adapted(name, host.name))
            elif name != applied:
                gateway.apply(adapted(name, host.name))
            applied = name
            said = {row["stage"]: row["text"] for row in gateway.ask(*command)["lines"]}
            expect.equal(said["result"], result, f"{name}: {' '.join(command)}")
        gateway.stop()


def test_check_has_no_word_against_the_labs(folder):
    """The configurations of the labs are good ones, so no lint speaks: two sites, one site, a tunnel of each kind."""
    cases = [Case(suite, outer, inner, keywords) for suite in suites.ALL if suite.scapy != "NULL" and suite.hash != "sha1"
             for outer in (4, 6) for inner in (4, 6) for keywords in ({}, NATT)]
    gcm = suites.BY_NAME["aes128gcm128"]
    with TwoSites("esp-doc", folder / "two") as two:
        files = [two.a.write(two.settings_a()), two.b.write(two.settings_b())]
        with OneSite("esp-one", folder / "one") as one:
            files.append(one.gateway.write(one.settings()))
        with ManyTunnels("esp-many", folder / "many", [*cases, Transport(gcm, 4, 4), Transport(gcm, 6, 6)]) as many:
            files += [many.a.write(many.settings_a()), many.b.write(many.settings_b())]
        for file in files:
            expect.equal(two.a.run("check", file).stderr, "", f"warnings about {file}")
