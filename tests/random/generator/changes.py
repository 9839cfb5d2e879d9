"""What changes between two packets of a random scenario: SAs, policies, routes, NAT rules."""

from .security import FIRST_SPI
from .translation import KEYS


class Changes:
    def __init__(self, world, security, translation):
        self.world, self.security, self.translation, self.source = world, security, translation, world.source
        self.detours = {}  # prefix: the command that takes the route away

    def next(self):
        """The keys of a step that change something; or {}."""
        makers = [(self._detour, 2)]
        if self.security.tunnels:
            makers += [(self._rekey, 4), (self._lose_state, 1), (self._stray, 3)]
        if self.security.policies:
            makers += [(self._delete_policy, 2), (self._update_policy, 3)]
        if any(self.translation.rules.values()):
            makers += [(self._rules, 6)]
        return self.source.weighted(makers)()

    def _rekey(self):
        """New SAs beside the old ones, of which the oldest may go."""
        tunnel = self.source.choice(self.security.all_tunnels())
        lines = []
        for out, states in ((False, tunnel.inbound), (True, tunnel.outbound)):
            if self.source.chance(25):
                continue
            states.append(self.security.association(tunnel, out))
            lines.append(states[-1].add())
            while len(states) > 1 and (self.source.chance(50) or (out and self._many_states())):
                lines.append(states.pop(0).delete())
        return _ip(lines)

    def _many_states(self):
        """Whether Linux might resize its hash table: of SAs that came within a second it then takes another."""
        return len(self.security.all_tunnels()) > 1 or self.security.next_spi - FIRST_SPI > 5

    def _lose_state(self):
        tunnel = self.source.choice(self.security.all_tunnels())
        states = self.source.choice((tunnel.inbound, tunnel.outbound))
        fewest = 1 if tunnel.kind == "vti" else self.source.choice((0, 1))
        return _ip([states.pop().delete()]) if len(states) > fewest else {}

    def _stray(self):
        tunnels = [each for each in self.security.tunnels if each.kind == "policy"]
        policy = self.security.stray(self.source.choice(tunnels)) if tunnels else None
        return _ip([policy.add()]) if policy else {}

    def _delete_policy(self):
        policy = self.source.choice(self.security.policies)
        if " mark " in policy.selector:
            return {}  # a VTI without one takes everything here, and nothing in Linux
        self.security.policies.remove(policy)
        return _ip([policy.delete()])

    def _update_policy(self):
        """Another priority; a new one makes it the youngest of that priority."""
        policy = self.source.choice(self.security.policies)
        words = policy.rest.split()
        if "priority" in words:
            place = words.index("priority")
            del words[place:place + 2]
        policy.rest = " ".join(words)
        value = f"priority {self.source.choice((5, 10, 15, 20))}"
        at = policy.rest.find("tmpl")
        policy.rest = f"{policy.rest[:at]}{value} {policy.rest[at:]}" if at >= 0 else f"{policy.rest} {value}".strip()
        return _ip([policy.add("update")])

    def _detour(self):
        """A narrower route appears, or goes."""
        family = self.source.choice(self.world.families)
        if self.detours and self.source.chance(50):
            prefix = self.source.choice(list(self.detours))
            return _ip([self.detours.pop(prefix)])
        hosts = [self.world.internet_host(family)]
        hosts += [self.world.host(each.far) for each in self.security.tunnels
                  if each.family == family and each.kind not in ("transport", "vti", "gre")]
        prefix = self.source.choice(hosts) + ("/128" if family == 6 else "/32")
        if prefix in self.detours:
            return {}
        kind = self.source.weighted([("blackhole", 1), ("unreachable", 2), ("prohibit", 1), ("via", 5)])
        target = self._target(family) if kind == "via" else ""
        self.detours[prefix] = f"route del {'' if kind == 'via' else kind + ' '}{prefix}"
        return _ip([f"route add {'' if kind == 'via' else kind + ' '}{prefix}{target}"])

    def _target(self, family):
        link = self.source.choice(self.world.links)
        network = self.world.network(link, family)
        return f" via {self.world.host(network)} dev {link.name}"

    def _rules(self):
        """A rule more, one less, or two that change places."""
        family = self.source.choice([family for family, rules in self.translation.rules.items() if rules])
        rules = self.translation.rules[family]
        if any(map(self.translation.touches_esp, rules)):
            return {}
        kind = self.source.choice(("add", "remove", "swap"))
        if kind == "add" or len(rules) < 2:
            self.translation.add(family, self.source.randint(0, len(rules)), may_touch_esp=False)
        elif kind == "remove":
            rules.pop(self.source.randrange(len(rules)))
        else:
            rules.reverse()
        return {KEYS[family]: self.translation.text(family)}


def _ip(lines):
    return {"ip": "".join(line + "\n" for line in lines)} if lines else {}
