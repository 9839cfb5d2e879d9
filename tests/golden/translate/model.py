"""A recorded Linux gateway as plain values: what the commands of a scenario have set up so far.

Texts stay as Linux writes them ("10.0.0.0/8", "hmac(sha256)"); render.py says the same in Espalier's words.
"""

import dataclasses
import ipaddress
from dataclasses import dataclass, field

PEER_MAC = "02:00:00:00:ff:01"  # of every neighbour, in the recorder as well


class Unsupported(Exception):
    """Espalier has no words for it, by design: the scenario, or one step of it, is left out with this reason."""


def family_of(address):
    """4 or 6, of an address or prefix."""
    return 6 if ":" in address else 4


def prefix_of(text, family=4):
    """The prefix of a Linux text: "default", "any", an address or a prefix."""
    if text in ("default", "any", "all"):
        return "::/0" if family == 6 else "0.0.0.0/0"
    if "/" in text:
        return text
    return f"{text}/{128 if ':' in text else 32}"


@dataclass
class Link:
    name: str
    kind: str = "ethernet"  # or vlan, dummy, gre, vti
    parent: str = ""  # vlan: the port's name
    vlan: int | None = None
    mtu: int | None = None  # None: the kernel's default
    up: bool = True
    addresses: list = field(default_factory=list)
    mac: str = ""
    local: str = ""
    remote: str = ""
    key: int | None = None  # gre
    ttl: int | None = None  # gre; 0: inherited
    marks: tuple = ()  # vti: (of inbound, of outbound) states and policies
    if_id: int | None = None  # vti made from an xfrm interface
    mss_clamp: object = None

    @property
    def is_tunnel(self):
        return self.kind in ("gre", "vti")


@dataclass
class Route:
    prefix: str
    kind: str = "unicast"  # or unreachable, prohibit, blackhole
    hops: list = field(default_factory=list)  # (via or "", link or "")
    metric: int | None = None


@dataclass
class Selector:
    src: str = ""
    dst: str = ""
    protocol: str = ""
    sport: str = ""
    dport: str = ""
    type: str = ""
    code: str = ""
    link: str = ""


@dataclass
class State:
    src: str = ""
    dst: str = ""
    spi: int = 0
    mode: str = "transport"  # what iproute2 takes when nothing is said
    reqid: int = 0
    window: int = 0
    flags: list = field(default_factory=list)
    selector: Selector | None = None
    limits: dict = field(default_factory=dict)  # "packet-hard": 2
    encap: tuple = ()  # (type, sport, dport)
    aead: tuple = ()  # (name, key, ICV bits)
    enc: tuple = ()  # (name, key)
    auth: tuple = ()  # (name, key, ICV bits)
    mark: int | None = None
    if_id: int | None = None
    direction: str = ""
    numbers: dict = field(default_factory=dict)  # "replay-oseq": 5

    @property
    def identity(self):
        return self.dst, self.spi, self.mark


@dataclass
class Template:
    src: str = ""
    dst: str = ""
    spi: int = 0
    reqid: int = 0
    mode: str = "transport"
    level: str = "required"


@dataclass
class Policy:
    direction: str = ""
    selector: Selector = field(default_factory=Selector)
    action: str = "allow"
    priority: int = 0
    templates: list = field(default_factory=list)
    mark: int | None = None
    if_id: int | None = None
    index: int | None = None

    @property
    def identity(self):
        return self.direction, dataclasses.astuple(self.selector), self.mark, self.if_id


class Gateway:
    """Everything that Espalier's configuration is made from."""

    def __init__(self, scenario):
        self.links = {}
        self.routes = []
        self.neighbors = {}  # (link, address): MAC
        self.states = []
        self.policies = []
        for each in scenario["interface"]:
            self.links[each["name"]] = Link(each["name"], mtu=each.get("mtu", 1500), mac=each["mac"],
                                            addresses=list(each.get("addr", [])))
            for address in each.get("neigh", []):
                self.neighbors[each["name"], address] = PEER_MAC

    def own_addresses(self):
        """{address without length: link's name}, of interfaces that are up."""
        return {address.split("/")[0]: link.name for link in self.links.values() if link.up
                for address in link.addresses}

    def espalier_name(self, name):
        """What Espalier calls a link: VLANs are named after their port and number there."""
        link = self.links.get(name)
        return f"{link.parent}.{link.vlan}" if link is not None and link.kind == "vlan" else name

    def owns(self, address):
        wanted = ipaddress.ip_address(address)
        return any(ipaddress.ip_address(own) == wanted for own in self.own_addresses())

    def link_for(self, address):
        """The link that the best route to an address leaves by, or None."""
        target = ipaddress.ip_address(address)
        best, found = -1, None
        for prefix, link in self._forwarding():
            network = ipaddress.ip_network(prefix, strict=False)
            if network.version == target.version and target in network and network.prefixlen > best:
                best, found = network.prefixlen, link
        return self.links.get(found)

    def _forwarding(self):
        for link in self.links.values():
            for address in link.addresses if link.up else ():
                yield address, link.name
        for route in self.routes:
            via, link = route.hops[0] if route.hops else ("", "")
            if not link and via:
                connected = self.link_for_connected(via)
                link = connected.name if connected else ""
            yield route.prefix, link

    def link_for_connected(self, address):
        """The link in whose network an address is, or None."""
        target = ipaddress.ip_address(address)
        for link in self.links.values():
            for own in link.addresses:
                network = ipaddress.ip_network(own, strict=False)
                if network.version == target.version and target in network:
                    return link
        return None

    def vti_of(self, thing, direction):
        """The name of the VTI that a state or policy belongs to by its mark or if_id; "" if it has none."""
        if thing.mark is None and thing.if_id is None:
            return ""
        place = 1 if direction == "out" else 0
        for link in self.links.values():
            if link.kind != "vti":
                continue
            if thing.if_id is not None and link.if_id == thing.if_id:
                return link.name
            if thing.mark is not None and link.marks and link.marks[place] == thing.mark:
                return link.name
        text = f"mark {thing.mark}" if thing.mark is not None else f"if_id {thing.if_id}"
        raise Unsupported(f"{text} on a state or policy, and no VTI or xfrm interface has it")
