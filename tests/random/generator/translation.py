"""NAT rules of a random scenario, as iptables writes them."""

import ipaddress

from .source import host, narrowed, whole

KEYS = {4: "iptables", 6: "ip6tables"}
CHAINS = ("PREROUTING", "OUTPUT", "POSTROUTING")
PORTS = (80, 443, 5000, 53)
MOST_RULES = 7


class Translation:
    """The nat tables as they are now."""

    def __init__(self, world, security):
        self.world, self.security, self.source = world, security, world.source
        self.rules = {family: [] for family in world.families}  # in the order of the table
        for family in world.families:
            if self.source.chance(75):
                for _ in range(self.source.randint(1, MOST_RULES)):
                    self.add(family)

    def add(self, family, place=None, may_touch_esp=True):
        """A new rule: at the end, or at a place."""
        maker = self.source.weighted([(self._source_rule, 10), (self._destination_rule, 8), (self._output_rule, 1)])
        rule = maker(family)
        if may_touch_esp or not self.touches_esp(rule):
            self.rules[family].insert(len(self.rules[family]) if place is None else place, rule)

    def touches_esp(self, rule):
        """Whether the gateway's own ESP may meet the rule. Linux goes on with what it tracks when such rules change."""
        words = rule.split()
        if "-p" in words:
            return "udp" in words  # NAT traversal
        option = "-s" if words[1] == "POSTROUTING" else "-d"
        if option not in words:
            return True
        prefix = ipaddress.ip_network(words[words.index(option) + 1])
        own = [ipaddress.ip_address(each) for link in self.world.links for each in link.addresses()]
        return any(each in prefix for each in own if each.version == prefix.version)

    def text(self, family):
        rules = [rule for chain in CHAINS for rule in self.rules[family] if rule.startswith(f"-A {chain} ")]
        return "*nat\n" + "".join(rule + "\n" for rule in rules) + "COMMIT\n" if rules else ""

    def texts(self):
        return {KEYS[family]: self.text(family) for family in self.rules if self.rules[family]}

    # ---- rules ---------------------------------------------------------------------------

    def _tunnels(self, family):
        return [each for each in self.security.tunnels if each.family == family and each.kind != "transport"]

    def _ends(self, family):
        """(near, far) of a tunnel, or of the way to everything else."""
        tunnels = self._tunnels(family)
        if tunnels and self.source.chance(60):
            tunnel = self.source.choice(tunnels)
            return self.source.choice((tunnel.near, self.world.lan_network(family))), tunnel.far
        return self.world.lan_network(family), whole(family)

    def _way_out(self, family):
        links = [self.world.wan.name] * 6 + [each.link for each in self._tunnels(family) if each.link] * 3
        return f" -o {self.source.choice(links)}" if self.source.chance(65) else ""

    def _source_rule(self, family):
        source = self.source
        near, far = self._ends(family)
        match = f"-A POSTROUTING{self._way_out(family)}"
        if source.chance(80):
            match += f" -s {narrowed(source, near)}"
        if source.chance(60) and far != whole(family):
            match += f" {'! ' if source.chance(10) else ''}-d {narrowed(source, far)}"
        target = source.weighted([("exclude", 4), ("masquerade", 4), ("snat", 6), ("netmap", 2)])
        if target == "netmap":
            return f"-A POSTROUTING{self._way_out(family)} -s {near} -j NETMAP --to {self.world.virtual_network(family)}"
        if source.chance(12):
            match += f" -m policy --dir out --pol {source.choice(('none', 'none', 'ipsec'))}"
        return match + {"exclude": lambda: " -j ACCEPT", "masquerade": self._masquerade,
                        "snat": lambda: self._snat(family)}[target]()

    def _masquerade(self):
        if self.source.chance(20):
            return f" -p {self.source.choice(('udp', 'tcp'))} -j MASQUERADE --to-ports {self._port_range()}"
        return " -j MASQUERADE"

    def _snat(self, family):
        source, world = self.source, self.world
        network = world.virtual_network(family)
        address = source.choice((world.public_address(family), host(network, source.choice((2, 3))), world.host(world.lan_network(family))))
        if source.chance(20):
            return f" -j SNAT --to-source {host(network, 4)}-{host(network, 7)}"
        if source.chance(25):
            address = f"[{address}]" if family == 6 else address
            return f" -p {source.choice(('udp', 'tcp'))} -j SNAT --to-source {address}:{self._port_range()}"
        protocol = f" -p {source.choice(('udp', 'tcp', 'icmp' if family == 4 else 'ipv6-icmp'))}" if source.chance(15) else ""
        return f"{protocol} -j SNAT --to-source {address}"

    def _port_range(self):
        """So wide that two flows rarely pick one port, which would look like one flow; packets have port 30001."""
        first = self.source.choice((20000, 30000))
        return f"{first}-{first + 9999}"

    def _destination_rule(self, family):
        source, world = self.source, self.world
        near, far = self._ends(family)
        virtual = world.virtual_network(family)
        target = source.weighted([("port", 5), ("host", 5), ("netmap", 3), ("exclude", 1), ("range", 1)])
        if target == "netmap":
            return f"-A PREROUTING -d {virtual} -j NETMAP --to {near if near != virtual else world.lan_network(family)}"
        match = "-A PREROUTING" + (f" -i {source.choice([each.name for each in world.links])}" if source.chance(40) else "")
        if source.chance(20) and far != whole(family):
            match += f" -s {narrowed(source, far)}"
        match += f" -d {source.choice((world.public_address(family), world.host(virtual), world.host(virtual)))}"
        if source.chance(10):
            match += f" -m policy --dir in --pol {source.choice(('none', 'ipsec'))}"
        return match + self._destination_target(family, target)

    def _destination_target(self, family, target):
        source, world = self.source, self.world
        network = world.lan_network(family)
        inside = world.host(network)
        if target == "exclude":
            return " -j ACCEPT"
        if target == "range":
            return f" -j DNAT --to-destination {host(network, 2)}-{host(network, 5)}"
        if target == "host":
            return f" -j DNAT --to-destination {inside}"
        port = f":{source.choice(PORTS)}" if source.chance(70) else ""
        if port and source.chance(20):
            port += f"-{int(port[1:]) + 3}"
        inside = f"[{inside}]" if family == 6 and port else inside
        return f" -p {source.choice(('udp', 'tcp'))} --dport {source.choice(PORTS)} -j DNAT --to-destination {inside}{port}"

    def _output_rule(self, family):
        inside = self.world.host(self.world.lan_network(family))
        return f"-A OUTPUT -d {self.world.host(self.world.virtual_network(family))} -j DNAT --to-destination {inside}"
