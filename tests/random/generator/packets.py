"""The packets of a random scenario: flows that the tables speak of, answers to them, errors about them, attacks on them."""

from dataclasses import dataclass

from .source import family_of
from .translation import PORTS
from .world import DEAD

SIZES = (0, 16, 16, 16, 100, 1000)
ABOUT_LIMITS = (1500, 1446, 1438, 1442, 1426, 1418, 1400, 1372, 1352, 1280, 800)
HEADERS = {4: 28, 6: 48}
OTHER_PROTOCOLS = (89, 103, 253)
FIRST_FRAGMENT_ID = 0x2000


@dataclass
class Flow:
    """Where a step's packet goes in, and what is around it."""
    step: dict  # in, src, dst, proto, ports
    tunnel: object = None  # it came by this one
    answered_by: object = None  # the tunnel that the answer probably comes by
    depth: int = 0  # 1: an answer, 2: an answer to one


class Packets:
    def __init__(self, world, security, translation):
        self.world, self.security, self.translation, self.source = world, security, translation, world.source
        self.with_host = security.encap or self.source.chance(40)  # the gateway has a host that sends, too
        self.flows = {}  # id of the step: Flow, of those that can be answered or repeated
        self.count = 0

    def step(self):
        """The next step."""
        self.count += 1
        makers = [(self._new, 30)]
        if self.flows:
            makers += [(self._reply, 24), (self._again, 16), (self._error, 6), (self._repeat, 3)]
        if any(each.inbound for each in self.security.tunnels):
            makers += [(self._esp_fault, 6)]
        flow, extra = self.source.weighted(makers)()
        name = f"p{self.count}"
        step = {"id": name, **flow.step, **extra}
        if not extra.get("unanswerable"):
            self.flows[name] = flow
        step.pop("unanswerable", None)
        return step

    # ---- kinds of steps ------------------------------------------------------------------

    def _new(self):
        makers = [(self._to_internet, 8), (self._from_internet, 8), (self._between_lans, 3), (self._dead_end, 1),
                  (self._to_gateway, 2)] + [(self._local, 4)] * self.with_host
        if self.security.tunnels:
            makers += [(self._into_tunnel, 16), (self._from_tunnel, 14), (self._clear_from_far, 2), (self._through, 2)]
        flow = self.source.weighted(makers)()
        return flow, self._variation(flow)

    def _reply(self):
        name = self.source.choice(list(self.flows)[-8:])
        flow = self.flows[name]
        if flow.tunnel is not None and self._esp_is_sent_on():
            return self._new()  # who got the ESP would be taken for one who answers with the gateway's own address
        tunnel = flow.answered_by
        step = {"reply_to": name, "optional": True}
        if tunnel is not None and self.source.chance(93):
            step |= {"in": self.world.wan.name} | self._wrapped(tunnel)
        if flow.depth:
            step["flags"] = "A"
        if self.source.chance(15):
            step["data"] = self.source.choice(SIZES)
        return Flow(step, tunnel, flow.tunnel, flow.depth + 1), {}

    def _esp_is_sent_on(self):
        """Whether a destination rule may take the gateway's own ESP."""
        return any("PREROUTING" in rule and self.translation.touches_esp(rule)
                   for rules in self.translation.rules.values() for rule in rules)

    def _again(self):
        """Another packet of a flow: the flow cache has it."""
        plain = [flow for flow in self.flows.values() if "reply_to" not in flow.step and "repeat_of" not in flow.step]
        flow = self.source.choice(plain[-6:]) if plain else self._into_or_out()
        return flow, self._variation(flow) if self.source.chance(40) else {}

    def _into_or_out(self):
        return self._to_internet() if not self.security.tunnels else self._into_tunnel()

    def _repeat(self):
        """The same bytes again: of ESP a replay."""
        name = self.source.choice(list(self.flows)[-5:])
        link = self.flows[name].step.get("in", self.world.wan.name)
        if link == "local":
            return self._new()
        return Flow({"repeat_of": name, "in": link, "optional": True}), {"unanswerable": True}

    def _error(self):
        """A router or the receiver complains about what came out."""
        name = self.source.choice(list(self.flows)[-5:])
        flow = self.flows[name]
        if "gre" in flow.step:  # what answers it may be GRE in clear
            return self._new()
        family = self._family(flow)
        kinds = [(3, 1), (3, 3), (3, 4), (11, 0)] if family == 4 else [(1, 0), (1, 4), (3, 0)]
        if family == 6 and flow.answered_by is not None:
            kinds.append((2, 0))  # not about what left in clear: Linux learns it, and drops what it forwards there
        kind, code = self.source.choice(kinds)
        error = {"of": name, "type": kind, "code": code}
        if (kind, code) in ((3, 4), (2, 0)):
            error["mtu"] = self.source.choice((1280, 1300, 1400))
            if flow.answered_by is None:  # Linux remembers it for its own packets, which are cut then
                error |= {"code": 1, "mtu": 0}
        step = {"icmp_error": error, "optional": True, "in": self.world.wan.name}
        tunnel = flow.answered_by
        if tunnel is not None and (tunnel.kind == "gre" or self.source.chance(70)):  # one about GRE makes Linux doubt it
            error["inner"] = True
            step |= self._wrapped(flow.answered_by)
        elif self.source.chance(50):
            error["src"] = self.world.internet_host(family)
        return Flow(step), {"unanswerable": True}

    def _family(self, flow):
        while "src" not in flow.step:  # it answers another one
            flow = self.flows[flow.step["reply_to"]]
        return family_of(flow.step["src"])

    def _esp_fault(self):
        tunnels = [each for each in self.security.tunnels if each.inbound]
        flow = self._from_tunnel(self.source.choice(tunnels))
        layer = dict(flow.step["esp"][-1])
        fault = self.source.choice(({"tamper": "icv"}, {"tamper": "payload"}, {"wire_spi": 0x4444},
                                    {"seq": self.source.choice((0, 1, 2, 40, 90, 200))}, {"ttl": 1}, {"tos": 0xb8}))
        return Flow(flow.step | {"esp": [*flow.step["esp"][:-1], layer | fault]}, flow.tunnel), {"unanswerable": True}

    # ---- flows ---------------------------------------------------------------------------

    def _flow(self, link, src, dst, tunnel=None, answered_by=None):
        step = {"in": link, "src": src, "dst": dst} | self._protocol(family_of(src))
        return Flow(step, tunnel, answered_by)

    def _protocol(self, family):
        source = self.source
        name = source.weighted([("udp", 8), ("tcp", 5), ("icmp" if family == 4 else "icmp6", 3), ("other", 1)])
        if name == "other":
            return {"proto": source.choice(OTHER_PROTOCOLS), "data_hex": bytes(range(24)).hex()}
        if name.startswith("icmp"):
            return {"proto": name, "icmp_id": source.choice((7, 8))}
        return {"proto": name, "sport": source.choice((4000, 4000, 4001, 600, 30001)), "dport": source.choice(PORTS)}

    def _to_internet(self):
        family = self.source.choice(self.world.families)
        link = self.world.lan()
        return self._flow(link.name, self.world.host(self.world.network(link, family)), self.world.internet_host(family))

    def _from_internet(self):
        family = self.source.choice(self.world.families)
        target = self.source.choice((self._translated_target(family), self.world.public_address(family),
                                     self.world.host(self.world.virtual_network(family))))
        flow = self._flow(self.world.wan.name, self.world.internet_host(family), target)
        return self._known_to_us(flow)

    def _translated_target(self, family):
        """What a destination rule asks for."""
        words = [rule.split() for rule in self.translation.rules[family] if " -d " in rule and "PREROUTING" in rule]
        if not words:
            return self.world.host(self.world.lan_network(family))
        chosen = self.source.choice(words)
        return self.world.host(chosen[chosen.index("-d") + 1]) if "/" in chosen[chosen.index("-d") + 1] else chosen[
            chosen.index("-d") + 1]

    def _between_lans(self):
        """From one to the other; or by a public address to the own one (hairpin)."""
        family = self.source.choice(self.world.families)
        link, other = self.world.lan(), self.world.lan()
        target = self.world.host(self.world.network(other, family))
        if link is other:
            target = self._translated_target(family)
        src = self.world.host(self.world.network(link, family))
        return self._known_to_us(self._flow(link.name, src, target if target != src else self.world.internet_host(family)))

    def _dead_end(self):
        family = self.source.choice(self.world.families)
        link = self.world.lan()
        prefix = self.source.choice(list(DEAD[family].values()))
        return self._flow(link.name, self.world.host(self.world.network(link, family)), self.world.host(prefix))

    def _local(self):
        """A UDP packet of the gateway itself."""
        family = self.source.choice(self.world.families)
        link = self.source.choice(self.world.links)
        own = self.source.choice([each for each in link.addresses() if family_of(each) == family])
        targets = [self.world.internet_host(family), self.world.host(self.world.lan_network(family))]
        targets += [self.world.host(each.far) for each in self.security.tunnels if each.family == family]
        targets += [self.world.host(self.world.virtual_network(family))]
        return Flow({"in": "local", "src": own, "dst": self.source.choice(targets), "proto": "udp", "sport": 4100,
                     "dport": self.source.choice(PORTS)})

    def _to_gateway(self):
        """A ping, mostly."""
        link = self.source.choice(self.world.links)
        target = self.source.choice(link.addresses())
        family = family_of(target)
        came = self.world.lan()
        flow = self._flow(came.name, self.world.host(self.world.network(came, family)), target)
        flow.step |= {"proto": "icmp" if family == 4 else "icmp6"}
        flow.step = {key: value for key, value in flow.step.items() if key not in ("sport", "dport", "data_hex")}
        return flow

    def _near_host(self, tunnel):
        """A host that the tunnel is for: in the LAN whether the tunnel's own side is that or what NAT makes of it."""
        network = tunnel.near if tunnel.near in [n for link in self.world.lans for n in link.networks] else (
            self.world.lan_network(tunnel.family))
        return self.world.host(network)

    def _into_tunnel(self):
        tunnel = self.source.choice(self.security.tunnels)
        if tunnel.kind == "transport" and not self.with_host:
            return self._from_tunnel(tunnel)
        if tunnel.kind == "transport":
            return Flow({"in": "local", "src": tunnel.local, "dst": tunnel.peer, "proto": "udp", "sport": 4100,
                         "dport": 5000}, None, tunnel)
        src = self._near_host(tunnel)
        return self._flow(self.world.link_of(src).name, src, self.world.host(tunnel.far), None, tunnel)

    def _from_tunnel(self, tunnel=None):
        tunnel = tunnel or self.source.choice(self.security.tunnels)
        if tunnel.kind == "transport":
            flow = self._flow(self.world.wan.name, tunnel.peer, tunnel.local, tunnel)
        else:
            target = self.source.choice((self.world.host(tunnel.near), self._near_host(tunnel),
                                         self._translated_target(tunnel.family)))
            flow = self._flow(self.world.wan.name, self.world.host(tunnel.far), target, tunnel)
        flow = self._known_to_us(flow)
        flow.step |= self._wrapped(tunnel)
        return flow

    def _through(self):
        """Out of one tunnel and into another, or to the Internet."""
        tunnel = self.source.choice(self.security.tunnels)
        others = [each for each in self.security.tunnels if each.family == tunnel.family and each.kind != "transport"]
        if tunnel.kind == "transport" or not others:
            return self._from_internet()
        other = self.source.choice(others)
        target = self.world.host(other.far) if other is not tunnel else self.world.internet_host(tunnel.family)
        flow = self._flow(self.world.wan.name, self.world.host(tunnel.far), target, tunnel)
        flow.step |= self._wrapped(tunnel)
        return flow

    def _clear_from_far(self):
        """What should have come by the tunnel comes in clear."""
        tunnel = self.source.choice(self.security.tunnels)
        flow = self._from_tunnel(tunnel)
        return Flow({key: value for key, value in flow.step.items() if key not in ("esp", "gre")})

    def _wrapped(self, tunnel):
        """The keys of a step that comes by a tunnel."""
        found = {}
        if tunnel.kind == "gre":
            found["gre"] = {"src": tunnel.peer, "dst": tunnel.local}
            found["gre"] |= {"key": tunnel.key} if tunnel.key is not None else {}
        layers = [self._layer(each) for each in (tunnel, tunnel.around) if each and each.inbound]
        return found | ({"esp": layers} if layers else {})

    def _layer(self, tunnel):
        newest = tunnel.inbound[-1] if self.source.chance(85) else self.source.choice(tunnel.inbound)
        return {"spi": newest.spi} | ({"natt": True} if newest.natt else {})

    def _known_to_us(self, flow):
        """The gateway has no TCP, and how it or its host refuse that and other protocols is not what is compared."""
        own = [each for link in self.world.links for each in link.addresses()]
        if flow.step["dst"] in own and flow.step["proto"] not in ("udp", "icmp", "icmp6"):
            flow.step |= {"proto": "udp", "sport": 4000, "dport": 5000}
            flow.step.pop("data_hex", None)
        return flow

    # ---- variations ----------------------------------------------------------------------

    def _variation(self, flow):
        """Sizes, TTLs, TOS and fragments."""
        source, step = self.source, flow.step
        extra = {}
        if "data_hex" in step or "reply_to" in step:
            return extra
        family = family_of(step["src"])
        kind = source.weighted([("plain", 50), ("size", 12), ("df", 10), ("ttl", 5), ("tos", 6), ("fragments", 8),
                                ("limit", 9)])
        if kind == "size":
            extra["data"] = source.choice(SIZES)
        elif kind in ("df", "limit") and not (step["in"] == "local" and self._cut_by_the_host(step)):
            extra["data"] = max(0, source.choice(ABOUT_LIMITS) - HEADERS[family] + source.choice((-1, 0, 1, 2, 60)))
            extra |= {"df": True} if kind == "df" and family == 4 else {}
        elif kind == "ttl":
            extra["ttl"] = source.choice((1, 1, 2))
        elif kind == "tos":
            extra["tos"] = source.choice((0xb8, 0x01, 0x02, 0x03, 0x20))
        elif kind == "fragments" and family == 4 and step["in"] != "local" and not self._keeps_fragments(flow):
            extra |= self._fragments("esp" in step and flow.tunnel.mode == "tunnel")
        return extra

    @staticmethod
    def _keeps_fragments(flow):
        """Linux decrypts transport mode piece by piece, and cuts what is sent on where the pieces met; a VTI that has
        no SA complains of the pieces that it was cut into."""
        into = flow.answered_by
        return (flow.tunnel is not None and flow.tunnel.mode == "transport") or (into is not None and into.kind == "vti")

    def _cut_by_the_host(self, step):
        """Of IPv6 or into a VTI the host's own kernel cuts what is too big, before the gateway sees it."""
        into = [each for each in self.security.tunnels if each.kind in ("vti", "gre")]
        return family_of(step["src"]) == 6 or bool(into)

    def _fragments(self, inside):
        """Of the packet, or of what is around it; each datagram has an id of its own."""
        source = self.source
        extra = {"data": source.choice((600, 1200, 2000)), "ipid": FIRST_FRAGMENT_ID + self.count}
        extra["inner_mtu" if inside and source.chance(60) else "mtu"] = source.choice((576, 600, 1000))
        return extra
