"""One seed, one scenario: the structure that the recorder's TOML files have."""

from .changes import Changes
from .packets import Packets
from .security import NATT_PORT, Security
from .source import Source
from .translation import Translation
from .world import World

HOST_PORT = 443  # of a socket on the gateway's host
FEWEST_STEPS, MOST_STEPS = 36, 44  # some have nothing to answer and send nothing


def generate(seed):
    """The scenario of a seed; always the same one."""
    source = Source(seed)
    world = World(source)
    security = Security(world)
    translation = Translation(world, security)
    scenario = {"title": f"random scenario {seed}", "ip": "".join(
        line + "\n" for line in [*world.routes, *security.commands()])}
    vtis = [each.link for each in security.tunnels if each.kind == "vti"]
    if vtis:
        scenario["sysctl"] = {f"net.ipv4.conf.{name}.disable_policy": 1 for name in vtis}
    scenario |= translation.texts()
    if security.encap:
        scenario["encap_ports"] = [NATT_PORT]
    packets = Packets(world, security, translation)
    if packets.with_host and 6 not in world.families:  # the recorder opens sockets of IPv4
        scenario["udp_ports"] = [HOST_PORT]
    scenario["interface"] = [link.toml(number) for number, link in enumerate(world.links, 1)]
    scenario["packet"] = _steps(packets, Changes(world, security, translation))
    return scenario


def _steps(packets, changes):
    source = packets.source
    changing = source.choice((0, 8, 20))  # percent of the steps
    steps = []
    for _ in range(source.randint(FEWEST_STEPS, MOST_STEPS)):
        changed = changes.next() if source.chance(changing) else {}
        steps.append(packets.step() | changed)
    return steps
