"""docs/examples.md tells the truth: each configuration is applied, and `explain` says what the page says that it says."""
import pathlib
import re
import shlex

import expect
from labs.espalier import ROOT, Espalier
from labs.network import Network
from labs.two_sites import port

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
