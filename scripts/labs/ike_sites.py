"""The two sites of two_sites.py with tunnels that IKE negotiates: many peers, each with some tunnels.

Tunnel N of all is between 10.1.N.0/24 and 10.2.N.0/24 (from 256 on 10.3.0.0/24 and 10.4.0.0/24 ...); each network's host is
.10. Peers differ by their ids and their keys, and share the gateways' addresses.
"""
from labs import configuration
from labs.two_sites import WAN_A, WAN_B, TwoSites, port

SIDES = {"a": (WAN_A, WAN_B, 1, 2, "0"), "b": (WAN_B, WAN_A, 2, 1, "1")}


def network(site, number):
    """The beginning of the addresses in a site's LAN: "10.1.0." of site 1, number 0."""
    return f"10.{site + 2 * (number // 256)}.{number % 256}."


def host(site, number):
    return f"{network(site, number)}10"


def psks(peers):
    return {f"peer{number}": {"id": [f"a{number}.test", f"b{number}.test"], "secret": f"secret of peer {number}"}
            for number in range(peers)}


def tunnels(near, far, numbers):
    return [{"number": index, "local": {"prefix": [f"{network(near, number)}0/24"]},
             "remote": {"prefix": [f"{network(far, number)}0/24"]}} for index, number in enumerate(numbers)]


def peers_of(side, peers, tunnels_each):
    near_wan, far_wan, near, far, _ = SIDES[side]
    own, other = side, "b" if side == "a" else "a"
    return {f"peer{number}": {
        "authentication": {"mode": "pre-shared-secret", "local-id": f"{own}{number}.test", "remote-id": f"{other}{number}.test"},
        "connection-type": "initiate" if side == "a" else "respond", "ike-group": "ike", "default-esp-group": f"esp{number % 6}",
        "local-address": near_wan, "remote-address": [far_wan],
        "tunnel": tunnels(near, far, range(number * tunnels_each, (number + 1) * tunnels_each))} for number in range(peers)}


def vpn(side, peers, tunnels_each, short):
    """`short`: lifetimes of 5 to 10 s, for soaks."""
    esp = lambda number: {"lifetime": 5 + number if short else 3600, "mode": "tunnel", "pfs": "dh-group19",
                          "proposal": [{"number": 1, "encryption": "aes128gcm128"}]}
    ike = {"key-exchange": "ikev2", "lifetime": 10 if short else 28800, "close-action": "start" if side == "a" else "none",
           "disable-mobike": True,
           "dead-peer-detection": {"action": "restart" if side == "a" else "clear", "interval": 2, "timeout": 10},
           "proposal": [{"number": 1, "encryption": "aes128gcm128", "prf": "prfsha256", "dh-group": 19}]}
    return {"ipsec": {
        "interface": ["wan"], "authentication": {"psk": psks(peers)}, "esp-group": {f"esp{n}": esp(n) for n in range(6)},
        "ike-group": {"ike": ike}, "options": {"short-lifetimes": short},
        "site-to-site": {"peer": peers_of(side, peers, tunnels_each)}}}


class IkeSites(TwoSites):
    """`peers` with `tunnels_each`; hosts have an address in every network that `hosts` says (all: None)."""

    def __init__(self, prefix, directory, peers, tunnels_each, short=False, hosts=None):
        self.peers, self.tunnels_each, self.short = peers, tunnels_each, short
        self.count = peers * tunnels_each
        self.numbers = range(self.count if hosts is None else hosts)
        super().__init__(prefix, directory)

    def _cable(self):
        super()._cable()
        for machine, site in ((self.host_a, 1), (self.host_b, 2)):
            for number in self.numbers[1:]:  # the first one it has
                machine.ip("address", "add", f"{host(site, number)}/24", "dev", "eth0")

    def _settings(self, near, far, lan, side, core, changes):
        name = "a" if side == "left" else "b"
        site = SIDES[name][2]
        addresses = [f"{network(site, number)}1/24" for number in self.numbers]
        interfaces = {"lan": (port("lan"), addresses), "wan": (port("wan"), [f"{near}/24"])}
        settings = configuration.gateway(interfaces, [("0.0.0.0/0", far)], cores=core)
        del settings["xfrm"]
        return settings | {"vpn": vpn(name, self.peers, self.tunnels_each, self.short)} | changes

    def lose(self, percent):
        """From now on the wire loses so many per cent of the frames, in each direction."""
        chains = "".join(f" chain {name.replace('-', '_')} {{\n  type filter hook ingress device \"{name}\" priority 0;\n"
                         f"  numgen random mod 100 < {percent} drop\n }}\n" for name in ("to-a", "to-b"))
        self.wire.run("nft", "flush ruleset\n" + (f"table netdev loss {{\n{chains}}}\n" if percent else ""))

    def flows(self, site):
        """Lines for marked_traffic.py on a site's host: to the other site's host through every tunnel."""
        return "".join(f"{host(site, number)} {host(3 - site, number)} 7000\n" for number in self.numbers)
