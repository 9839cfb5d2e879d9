"""SAs, policies and tunnel interfaces of a random scenario, right ones and wrong ones."""

from dataclasses import dataclass, field

from .source import narrowed, whole, widened

GCM, CHACHA, CBC, NULL = "rfc4106(gcm(aes))", "rfc7539esp(chacha20,poly1305)", "cbc(aes)", "ecb(cipher_null)"
HASHES = (("hmac(sha1)", 20, 96), ("hmac(sha256)", 32, 128), ("hmac(sha384)", 48, 192), ("hmac(sha512)", 64, 256))
FIRST_SPI = 0x1001
NATT_PORT = 4500
UNKNOWN_REQID = 77


@dataclass
class Association:
    spi: int
    src: str
    dst: str
    mode: str
    text: str
    mark: str = ""
    natt: bool = False
    esn: bool = False

    def add(self):
        return f"xfrm state add {self.text}"

    def delete(self):
        return f"xfrm state delete src {self.src} dst {self.dst} proto esp spi 0x{self.spi:x}{self.mark}"


@dataclass
class Policy:
    direction: str
    selector: str
    rest: str  # what follows the selector

    def add(self, verb="add"):
        return f"xfrm policy {verb} dir {self.direction} {self.selector} {self.rest}"

    def delete(self):
        return f"xfrm policy delete dir {self.direction} {self.selector}"


@dataclass
class Tunnel:
    kind: str  # policy, nested, transport, vti, gre
    number: int
    local: str
    peer: str
    near: str  # what is on our side of it
    far: str
    family: int  # of near and far
    link: str = ""  # vti, gre
    key: int | None = None  # gre
    mark: int | None = None  # vti
    mode: str = "tunnel"
    style: dict = field(default_factory=dict)  # what both SAs have in common
    outbound: list = field(default_factory=list)
    inbound: list = field(default_factory=list)
    around: "Tunnel | None" = None  # nested: the outer one

    @property
    def reqid(self):
        return self.number + 1


class Security:
    """The tables as they are now; changes keep them up to date."""

    def __init__(self, world):
        self.world, self.source = world, world.source
        self.next_spi = FIRST_SPI
        self.tunnels, self.policies, self.setup = [], [], []
        self.encap = False
        for number in range(self.source.weighted([(0, 1), (1, 6), (2, 5), (3, 2)])):
            self._add_tunnel(number)
        self._add_strays()

    # ---- tunnels -------------------------------------------------------------------------

    def _add_tunnel(self, number):
        source, world = self.source, self.world
        family = source.choice(world.families)
        outer = family if source.chance(75) else source.choice(world.families)
        kinds = [("policy", 12), ("transport", 2)]
        if family == 4 or world.wan.mtu == 1500:
            kinds.append(("nested", 1))
        if family == outer == 4:
            kinds += [("vti", 3), ("gre", 3)]
        tunnel = Tunnel(source.weighted(kinds), number, world.outer(outer), world.peer(number, outer),
                        self._near(family), world.new_far_network(family), family)
        tunnel.style = self._style(tunnel, outer)
        {"policy": self._policy_tunnel, "nested": self._nested, "transport": self._transport, "vti": self._vti,
         "gre": self._gre}[tunnel.kind](tunnel)
        self.tunnels.append(tunnel)

    def _near(self, family):
        """Mostly a LAN; else what NAT makes of one."""
        return self.world.lan_network(family) if self.source.chance(70) else self.world.virtual_network(family)

    def _style(self, tunnel, outer):
        source = self.source
        style = {"cipher": source.weighted([(GCM, 5), (CBC, 3), (CHACHA, 2), (NULL, 1)]), "esn": source.chance(20),
                 "window": source.choice((0, 32, 32, 64, 128)), "flags": source.some(
                     ("noecn", "decap-dscp", "nopmtudisc"), 1) if source.chance(25) else [],
                 "natt": outer == 4 and tunnel.kind == "policy" and source.chance(20)}
        self.encap |= style["natt"]
        return style

    def _policy_tunnel(self, tunnel):
        self._pair(tunnel)
        self._three_policies(tunnel, self._template)

    def _nested(self, tunnel):
        """Two templates: a tunnel to the peer inside of one to another gateway."""
        around = Tunnel("policy", 4 + tunnel.number, tunnel.local, tunnel.peer, tunnel.near, tunnel.far, tunnel.family)
        around.style = {**tunnel.style, "natt": False, "inner": tunnel.local}
        tunnel.around = around
        self._pair(tunnel)
        self._pair(around)
        self._three_policies(tunnel, lambda each, out: f"{self._template(each, out)} {self._template(around, out)}")

    def _transport(self, tunnel):
        """Between the gateway's own address and its peer."""
        tunnel.mode, tunnel.near, tunnel.far = "transport", _host_prefix(tunnel.local), _host_prefix(tunnel.peer)
        tunnel.family = 6 if ":" in tunnel.local else 4
        self._pair(tunnel)
        level = self.source.weighted([("", 3), (" level use", 1)])
        upper = self.source.weighted([("", 2), (" proto udp", 1), (" proto icmp" if tunnel.family == 4 else "", 1)])
        for direction, selector in (("out", _selector(tunnel.near, tunnel.far)), ("in", _selector(tunnel.far, tunnel.near))):
            self._policy(direction, selector + upper, "tmpl proto esp"
                         f" reqid {tunnel.reqid} mode transport{level}")

    def _vti(self, tunnel):
        tunnel.link, tunnel.mark = f"vti{tunnel.number + 1}", 16 * (tunnel.number + 1)
        mark = tunnel.mark
        self._tunnel_link(tunnel, f"type vti local {tunnel.local} remote {tunnel.peer} ikey {mark} okey {mark + 1}",
                          (1400, 1436, 1300))
        self._pair(tunnel)
        any_to_any = _selector(whole(4), whole(4))
        for direction in ("out", "fwd", "in"):
            own = mark + 1 if direction == "out" else mark
            self._policy(direction, f"{any_to_any} mark {own}", self._template(tunnel, direction == "out"))

    def _gre(self, tunnel):
        tunnel.link, tunnel.mode = f"gre{tunnel.number + 1}", self.source.choice(("transport", "tunnel"))
        tunnel.key = self.source.choice((None, None, 5))
        key = f" key {tunnel.key}" if tunnel.key is not None else ""
        # Room for ESP: its packets are cut where the inner ones have no DF; Linux drops those, GRE having set DF.
        self._tunnel_link(tunnel, f"type gre local {tunnel.local} remote {tunnel.peer} ttl 64{key}",
                          (self.world.wan.mtu - 140,))
        if self.source.chance(20):
            return  # in clear
        self._pair(tunnel)
        ends = _host_prefix(tunnel.local), _host_prefix(tunnel.peer)
        for direction, selector in (("out", _selector(*ends)), ("in", _selector(*ends[::-1]))):
            out = direction == "out"
            template = self._template(tunnel, out) if tunnel.mode == "tunnel" else (
                f"tmpl proto esp reqid {tunnel.reqid} mode transport")
            self._policy(direction, f"{selector} proto gre", template)

    def _tunnel_link(self, tunnel, kind, mtus):
        link = tunnel.link
        self.setup += [f"link add {link} {kind}", f"link set {link} up mtu {self.source.choice(mtus)}",
                       f"address add 172.30.{tunnel.number}.1/30 dev {link}", f"route add {tunnel.far} dev {link}"]

    # ---- SAs -----------------------------------------------------------------------------

    def _pair(self, tunnel):
        """An SA for each direction; now and then one is missing (of a VTI none, whose routes would go with it)."""
        is_vti = tunnel.kind == "vti"
        if is_vti or self.source.chance(95):
            tunnel.outbound.append(self.association(tunnel, True))
        if is_vti or self.source.chance(97):
            tunnel.inbound.append(self.association(tunnel, False))

    def association(self, tunnel, out):
        """A new SA with a key of its own; now and then with a wrong reqid."""
        ends = (tunnel.local, tunnel.peer) if out else (tunnel.peer, tunnel.local)
        style, spi = tunnel.style, self.next_spi
        self.next_spi += 1
        reqid = tunnel.reqid if self.source.chance(97) else UNKNOWN_REQID
        mark = f" mark {tunnel.mark + out}" if tunnel.mark is not None else ""
        window = max(style["window"], 32) if style["esn"] else style["window"]
        words = [f"src {ends[0]} dst {ends[1]} proto esp spi 0x{spi:x} reqid {reqid} mode {tunnel.mode}",
                 f"replay-window {window}{mark}"]
        flags = ["esn"] * style["esn"] + style["flags"]
        words += [f"flag {' '.join(flags)}"] if flags else []
        words += [f"encap espinudp {NATT_PORT} {NATT_PORT} 0.0.0.0"] if style["natt"] else []
        words += [self._algorithms(style["cipher"]), self._state_selector(tunnel, ends[0], out)]
        return Association(spi, *ends, tunnel.mode, " ".join(words).rstrip(), mark, style["natt"], style["esn"])

    def _algorithms(self, cipher):
        source = self.source
        if cipher == GCM:
            return f"aead '{GCM}' {self._key(source.choice((16, 24, 32)) + 4)} {source.choice((128, 128, 96, 64))}"
        if cipher == CHACHA:
            return f"aead '{CHACHA}' {self._key(36)} 128"
        name, size, bits = source.choice(HASHES)
        enc = f"enc '{CBC}' {self._key(source.choice((16, 24, 32)))}" if cipher == CBC else f"enc '{NULL}' ''"
        return f"{enc} auth-trunc '{name}' {self._key(size)} {bits}"

    def _key(self, size):
        return "0x" + self.source.randbytes(size).hex()

    def _state_selector(self, tunnel, end, out):
        """Needed where the inner family is another; on inbound SAs sometimes a narrow one."""
        inner = 6 if ":" in tunnel.style.get("inner", tunnel.near) else 4
        if tunnel.kind == "gre":
            inner = 4
        if inner != (6 if ":" in end else 4):
            return f"sel {_selector(whole(inner), whole(inner))}"
        if not out and tunnel.kind == "policy" and "inner" not in tunnel.style and self.source.chance(10):
            return f"sel {_selector(narrowed(self.source, tunnel.far), whole(inner))}"
        return ""

    # ---- policies ------------------------------------------------------------------------

    def _policy(self, direction, selector, rest, verb_free=""):
        """One more policy, unless there is one with this selector: the kernel refuses the second."""
        if any((each.direction, each.selector) == (direction, selector) for each in self.policies):
            return None
        self.policies.append(Policy(direction, selector, rest + verb_free))
        return self.policies[-1]

    def _template(self, tunnel, out):
        ends = (tunnel.local, tunnel.peer) if out else (tunnel.peer, tunnel.local)
        reqid = tunnel.reqid if self.source.chance(96) else UNKNOWN_REQID - 1
        return f"tmpl src {ends[0]} dst {ends[1]} proto esp reqid {reqid} mode {tunnel.mode}"

    def _three_policies(self, tunnel, template):
        """out, fwd and in; now and then one is missing or narrower than its partners."""
        near, far = tunnel.near, tunnel.far
        upper = self._upper(tunnel.family) if self.source.chance(15) else ""
        priority = self._priority()
        for direction in ("out", "fwd", "in"):
            if self.source.chance(8):
                continue
            ends = (near, far) if direction == "out" else (far, near)
            if self.source.chance(12):
                ends = tuple(narrowed(self.source, each) for each in ends)
            self._policy(direction, _selector(*ends) + upper, priority + template(tunnel, direction == "out"))

    def _priority(self):
        return self.source.weighted([("", 4), ("priority 10 ", 2), ("priority 20 ", 2)])

    def _upper(self, family):
        """A selector's protocol and ports."""
        echo = "icmp type 8" if family == 4 else "ipv6-icmp type 128"
        return " proto " + self.source.choice(("udp", "tcp", "udp dport 5000", "tcp dport 80", "udp sport 4000", echo))

    def _add_strays(self):
        """Bypass and block policies, and further protecting ones, that overlap with the tunnels'."""
        for tunnel in list(self.tunnels):
            if tunnel.kind == "policy" and self.source.chance(45):
                self.stray(tunnel)

    def stray(self, tunnel):
        """A policy that competes with the tunnel's; None if there is one like it."""
        source = self.source
        direction = source.weighted([("out", 5), ("fwd", 3), ("in", 1)])
        ends = [source.choice((narrowed(source, each), each, widened(each, 4))) for each in (tunnel.near, tunnel.far)]
        selector = _selector(*(ends if direction == "out" else ends[::-1]))
        if source.chance(50):
            selector += self._upper(tunnel.family)
        elif direction == "out" and source.chance(20):
            selector += f" dev {source.choice([each.name for each in self.world.links])}"
        kind = source.weighted([("", 3), ("block", 2), ("tunnel", 3)])
        rest = self._template(source.choice([each for each in self.tunnels if each.kind == "policy"]),
                              direction == "out") if kind == "tunnel" else ""
        action = "action block " if kind == "block" else ""
        return self._policy(direction, selector, f"{action}{self._priority()}{rest}".rstrip())

    def commands(self):
        """The `ip` text of all that there is at the start."""
        states = [each.add() for tunnel in self.all_tunnels() for each in tunnel.outbound + tunnel.inbound]
        return self.setup + states + [each.add() for each in self.policies]

    def all_tunnels(self):
        return [each for tunnel in self.tunnels for each in (tunnel, tunnel.around) if each]


def _selector(src, dst):
    return f"src {src} dst {dst}"


def _host_prefix(address):
    return address + ("/128" if ":" in address else "/32")
