"""The surroundings of a random gateway: interfaces, hosts, the networks behind it, and its routes.

Networks on links are so small that every address has a permanent neighbour: what NAT makes of an address is never
waiting for ARP, whose timing is no part of the comparison.
"""

from dataclasses import dataclass, field

from .source import family_of, host, whole

OWN, SECOND, ROUTER = 1, 10, 14
PEERS = (2, 3, 4)
HOSTS = (2, 3, 4, 5)
PLAN = {4: {"lan": "192.168.{}.0/28", "wan": "203.0.113.0/28", "far": "10.{}.0.0/28", "virtual": "172.20.{}.0/28",
            "internet": "198.51.100.0/24"},
        6: {"lan": "fd00:1{}::/124", "wan": "2001:db8:2::/124", "far": "fd00:a{}::/124",
            "virtual": "fd00:20{}::/124", "internet": "2001:db8:99::/64"}}
DEAD = {4: {"blackhole": "10.66.0.0/28", "unreachable": "10.67.0.0/28", "prohibit": "10.68.0.0/28"},
        6: {"blackhole": "fd00:66::/124", "unreachable": "fd00:67::/124", "prohibit": "fd00:68::/124"}}


@dataclass
class Link:
    name: str
    mtu: int
    networks: list  # prefixes of the link
    own: list = field(default_factory=list)  # the gateway's addresses on it

    def toml(self, number):
        neighbors = [host(network, each) for network in self.networks for each in range(1, 15)]
        lengths = {network: network.partition("/")[2] for network in self.networks}
        return {"name": self.name, "mac": f"02:00:00:00:{number:02x}:01", "mtu": self.mtu,
                "addr": [f"{address}/{lengths[network]}" for network, address in self.own],
                "neigh": [each for each in neighbors if each not in self.addresses()]}

    def addresses(self):
        return [address for _, address in self.own]


class World:
    """Interfaces and routes; others ask it for addresses that mean something."""

    def __init__(self, source):
        self.source = source
        self.families = source.weighted([((4,), 6), ((6,), 2), ((4, 6), 3)])
        self.lans = [self._link(f"lan{n}", "lan", 10 + n) for n in range(source.weighted([(1, 6), (2, 4)]))]
        self.wan = self._link("wan0", "wan", 0)
        self.links = [*self.lans, self.wan]
        self.far_networks = 0
        self.dead = [self.source.choice(list(DEAD[family].items())) for family in self.families]
        self.routes = self._routes()

    def _link(self, name, kind, number):
        networks = [PLAN[family][kind].format(number) for family in self.families]
        link = Link(name, self._mtu(kind), networks)
        for network in networks:
            link.own.append((network, host(network, OWN)))
            if self.source.chance(25):
                link.own.append((network, host(network, SECOND)))
        return link

    def _mtu(self, kind):
        small = [1400, 1440] if 6 in self.families else [800, 1280, 1400]  # tunnels leave 1280 bytes of IPv6
        return self.source.choice(small) if self.source.chance(30 if kind == "wan" else 12) else 1500

    def _routes(self):
        """A default route, or one to the outside only: then the tunnels' far ends have none."""
        routes, everywhere = [], self.source.chance(90)
        for (kind, prefix), family in zip(self.dead, self.families):
            routes.append(f"route add {kind} {prefix}")
            target = whole(family) if everywhere else PLAN[family]["internet"]
            routes.append(f"route add {target} via {self.router(family)} dev wan0")
        return routes

    # ---- addresses -----------------------------------------------------------------------

    def network(self, link, family):
        return next(each for each in link.networks if family_of(each) == family)

    def router(self, family):
        return host(self.network(self.wan, family), ROUTER)

    def peer(self, number, family):
        return host(self.network(self.wan, family), PEERS[number])

    def outer(self, family):
        """One of the gateway's addresses towards its peers."""
        return self.source.choice([each for each in self.wan.addresses() if family_of(each) == family])

    def lan(self):
        return self.source.choice(self.lans)

    def lan_network(self, family):
        return self.network(self.lan(), family)

    def new_far_network(self, family):
        self.far_networks += 1
        return PLAN[family]["far"].format(self.far_networks)

    def virtual_network(self, family):
        return PLAN[family]["virtual"].format(self.source.randint(1, 2))

    def host(self, prefix):
        """One of few hosts of a network, so that packets meet the same ones again."""
        return host(prefix, self.source.choice(HOSTS)) if not prefix.endswith(("/32", "/128")) else host(prefix, 0)

    def internet_host(self, family):
        return host(PLAN[family]["internet"], self.source.choice((7, 8)))

    def public_address(self, family):
        """An address of the outside network: the gateway's own, or one that nobody has."""
        own = [each for each in self.wan.addresses() if family_of(each) == family]
        return self.source.choice([*own, own[0], host(self.network(self.wan, family), 9)])

    def link_of(self, address):
        """The link that an address is on, or the one to the outside."""
        return next((link for link in self.links for network in link.networks
                     if family_of(network) == family_of(address) and _contains(network, address)), self.wan)


def _contains(network, address):
    import ipaddress
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)
