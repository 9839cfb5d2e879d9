"""Reads iptables-restore and ip6tables-restore texts: NAT rules, and what else changes what packets meet.

Chains are read as netfilter asks them: the nat table for the first packet of a flow. User-defined chains are put in
the place of the jumps to them (chains.py). Filter chains are not translated, Espalier has none; RuleSet tells in
which chains packets can end, and expectations.py leaves out the steps that did.
"""

import copy
import dataclasses
from dataclasses import dataclass, field

from . import chains
from .model import Unsupported, prefix_of

KINDS = {"PREROUTING": "destination", "OUTPUT": "destination", "POSTROUTING": "source"}
WITHOUT_EFFECT = ("LOG", "NFLOG", "ULOG", "TRACE", "AUDIT")
CONNTRACK_MATCHES = ("conntrack", "state", "connmark", "connbytes", "connlimit", "connlabel", "helper", "cluster")
NO_MATCH = ("udp", "tcp", "icmp", "icmp6", "ipv6-icmp", "comment", "multiport", "policy", "iprange", "sctp", "esp",
            *CONNTRACK_MATCHES)
PORT_OPTIONS = {"--sport": "sport", "--source-port": "sport", "--sports": "sport", "--source-ports": "sport",
                "--dport": "dport", "--destination-port": "dport", "--dports": "dport",
                "--destination-ports": "dport"}
ADDRESS_OPTIONS = {"-s": "src", "--source": "src", "--src": "src", "-d": "dst", "--destination": "dst",
                   "--dst": "dst", "--src-range": "src", "--dst-range": "dst"}
INTERFACE_OPTIONS = {"-i": "in", "--in-interface": "in", "-o": "out", "--out-interface": "out"}
ECHO_REQUEST = {"8": 4, "echo-request": None, "8/0": 4, "128": 6, "128/0": 6, "any": None}
NO_QUERIES = ("0", "echo-reply", "3", "destination-unreachable", "11", "time-exceeded", "129")
WITHOUT_CHOICE = ("--persistent", "--random", "--random-fully")  # what they change is random here as well
NUMBERS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58,
           "sctp": 132, "udplite": 136}
LAST_PORT, LAST_PROTOCOL = 65535, 255


@dataclass
class NatRule:
    kind: str  # source or destination
    chain: str
    interface: str = "any"
    protocol: str = ""
    src: str = ""  # an address, prefix or range, perhaps with "!" in front
    dst: str = ""
    sport: str = ""
    dport: str = ""
    ipsec: str = ""  # match-none or match-ipsec
    target: str = "exclude"  # or masquerade, or address, prefix
    address: str = ""
    ports: str = ""


@dataclass
class RuleSet:
    rules: list = field(default_factory=list)
    dropping_chains: set = field(default_factory=set)  # where packets may end; of the filter table without its name
    tracks: bool = False  # something makes the kernel track connections
    sets_marks: bool = False
    mss_clamps: dict = field(default_factory=dict)  # link: "pmtu" or bytes

    def translates(self):
        return any(rule.target != "exclude" for rule in self.rules)


def read(text, family, gateway):
    """The RuleSet of a restore text; `family` 4 or 6. Raises Unsupported for what cannot be said."""
    found = RuleSet()
    for table in chains.read(text):
        for chain, policy in table.policies.items():
            if policy == "DROP":
                _may_drop(found, table.name, chain)
        for chain, words in table.rules():
            _rule(found, table.name, chain, words, family, gateway)
    return found


def _may_drop(found, table, chain):
    if table == "nat":
        raise Unsupported("dropping in table nat")
    found.dropping_chains.add(chain if table == "filter" else f"{table}.{chain}")


def _rule(found, table, chain, words, family, gateway):
    target = chains.target_of(words)
    matches = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-m", "--match")]
    found.tracks |= any(match in CONNTRACK_MATCHES for match in matches)
    if target in ("", *WITHOUT_EFFECT):
        return
    if table == "nat":
        _nat_rule(found, chain, words, target, family, gateway)
    elif target in ("ACCEPT", "RETURN"):
        return  # the tables' policies accept as well, unless they drop: then steps are told apart by their hooks
    elif target in ("DROP", "REJECT"):
        _may_drop(found, table, chain)
    elif target in ("MARK", "CONNMARK") and table == "mangle":
        found.sets_marks = True
    elif target == "TCPMSS":
        _mss_clamp(found, words)
    else:
        raise Unsupported(f"target {target} in table {table}")


def _mss_clamp(found, words):
    links = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-o", "--out-interface")]
    if not links or "!" in words:
        raise Unsupported("TCPMSS without an output interface")
    value = "pmtu" if "--clamp-mss-to-pmtu" in words else int(words[words.index("--set-mss") + 1])
    found.mss_clamps[links[0]] = value


# ---- nat ---------------------------------------------------------------------------------------


class _Alternatives:
    """The rules that one iptables rule becomes: lists of addresses and ports become a rule each."""

    def __init__(self, rule):
        self.rules = [rule]

    def set(self, name, values):
        """Every rule, once with each of the values."""
        self.set_either([(name, value) for value in values])

    def set_either(self, choices):
        """Every rule, once with each of the (name, value)."""
        self.rules = [dataclasses.replace(rule, **{name: value}) for rule in self.rules for name, value in choices]


def _nat_rule(found, chain, words, target, family, gateway):
    if chain == "INPUT" and target in ("ACCEPT", "RETURN"):
        return
    if chain not in KINDS:
        raise Unsupported(f"nat rules in chain {chain}")
    alternatives = _Alternatives(NatRule(KINDS[chain], chain, "local" if chain == "OUTPUT" else "any"))
    rest, negated = list(words), False
    while rest and alternatives.rules:
        word = rest.pop(0)
        if word == "!":
            negated = True
            continue
        _nat_option(alternatives, word, rest, negated, family, gateway)
        negated = False
    if target not in ("ACCEPT", "RETURN"):
        found.tracks = True
        _set_target(alternatives, words, target, gateway)
    found.rules += copy.deepcopy(alternatives.rules)


def _nat_option(alternatives, word, rest, negated, family, gateway):
    bang = "!" if negated else ""
    if word in ("-m", "--match"):
        _known_match(rest.pop(0))
    elif word in ("-j", "--jump", "-g", "--goto", "--to-source", "--to-destination", "--to-ports", "--to", "--comment"):
        rest.pop(0)
    elif word in ADDRESS_OPTIONS:
        values = rest.pop(0).split(",")
        if negated and len(values) > 1:
            raise Unsupported("negated lists of addresses")
        alternatives.set(ADDRESS_OPTIONS[word], [bang + _plain(value) for value in values])
    elif word in INTERFACE_OPTIONS:
        _set_interface(alternatives, rest.pop(0), negated, gateway)
    elif word in ("-p", "--protocol"):
        alternatives.set("protocol", _protocols(rest.pop(0), negated))
    elif word in PORT_OPTIONS:
        alternatives.set(PORT_OPTIONS[word], _ports(rest.pop(0), negated))
    elif word == "--ports" and not negated:
        alternatives.set_either([(end, value) for value in _ports(rest.pop(0), False) for end in ("sport", "dport")])
    elif word in ("--icmp-type", "--icmpv6-type") and not negated:
        _set_icmp_type(alternatives, rest.pop(0), family)
    elif word in ("--ctstate", "--state"):
        _set_state(alternatives, rest.pop(0).split(","), negated)
    elif word in ("--dir", "--pol") and not negated:
        _set_policy_match(alternatives, word, rest.pop(0))
    elif word in ("--reqid", "--mode", "--proto", "--tunnel-src", "--tunnel-dst") and not negated:
        _check_policy_match(alternatives.rules[0], word, rest.pop(0), gateway)
    elif word == "--dst-type" and rest[0] == "LOCAL" and not negated:
        rest.pop(0)
        alternatives.set("dst", [own for own in gateway.own_addresses() if (":" in own) == (family == 6)])
    elif word not in WITHOUT_CHOICE:
        raise Unsupported(f"nat rules with {'! ' if negated else ''}{word}")


def _protocols(value, negated):
    """What `-p VALUE` lets through; without it, all but that one."""
    if value in ("all", "0"):
        return [""]
    if not negated:
        return [value]
    number = int(value) if value.isdigit() else NUMBERS.get(value)
    if number is None:
        raise Unsupported(f"nat rules with ! -p {value}")
    return [str(each) for each in range(1, LAST_PROTOCOL + 1) if each != number]


def _ports(text, negated):
    """A list of ports and ranges; negated, the ranges between them."""
    ranges = [value.split(":") for value in text.split(",")]
    ranges = sorted((int(each[0] or 0), int(each[-1] or LAST_PORT)) for each in ranges)
    if negated:
        ends = [(0, 0), *ranges, (LAST_PORT + 1, LAST_PORT + 1)]
        ranges = [(before[1] + 1, after[0] - 1) for before, after in zip(ends, ends[1:])]
    return [str(low) if low == high else f"{low}-{high}" for low, high in ranges if low <= high]


def _set_icmp_type(alternatives, value, family):
    """A flow of ICMP begins with a query, nearly always with an echo request."""
    if value in NO_QUERIES:
        alternatives.rules = []
    elif ECHO_REQUEST.get(value, 0) not in (None, family):
        raise Unsupported(f"nat rules for ICMP type {value}")


def _set_state(alternatives, states, negated):
    """The nat table is asked for new flows only."""
    if any(state not in ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED") for state in states):
        raise Unsupported(f"nat rules for connections that are {','.join(states)}")
    if ("NEW" in states) == negated:
        alternatives.rules = []


def _known_match(name):
    if name not in (*NO_MATCH, "addrtype"):
        raise Unsupported(f"nat rules with -m {name}")


def _plain(address):
    """A prefix of all bits is an address."""
    return address.removesuffix("/128" if ":" in address else "/32")


def _set_interface(alternatives, name, negated, gateway):
    if alternatives.rules[0].chain == "OUTPUT":
        raise Unsupported("nat OUTPUT rules with an interface")
    if name.endswith("+") and name != "+":
        matching = [link for link in gateway.links if link.startswith(name[:-1])]
    else:
        matching = list(gateway.links) if name == "+" else [name]
    if negated:
        matching = [link for link in gateway.links if link not in matching]
    if set(matching) >= set(gateway.links):
        matching = ["any"]
    unknown = [link for link in matching if link != "any" and link not in gateway.links]
    alternatives.set("interface", [link for link in matching if link not in unknown])


def _set_policy_match(alternatives, word, value):
    rule = alternatives.rules[0]
    if word == "--dir":
        if value != ("out" if rule.kind == "source" else "in"):
            raise Unsupported(f"-m policy --dir {value} in {rule.chain}")
    elif value in ("none", "ipsec"):
        alternatives.set("ipsec", [f"match-{value}"])


def _check_policy_match(rule, word, value, gateway):
    """Espalier does not ask which SA it is; nor need it where there is one kind only."""
    name = {"--tunnel-src": "src", "--tunnel-dst": "dst"}.get(word, word.removeprefix("--"))
    direction = "out" if rule.kind == "source" else "fwd"
    known = {str(getattr(template, name, "esp")) for policy in gateway.policies if policy.direction == direction
             for template in policy.templates}
    if known - {value}:
        raise Unsupported(f"-m policy {word} where policies differ in it")


def _option(words, *names):
    return next((words[words.index(name) + 1] for name in names if name in words), "")


def _set_target(alternatives, words, target, gateway):
    if target == "MASQUERADE":
        for rule in alternatives.rules:
            rule.target, rule.ports = "masquerade", _option(words, "--to-ports")
    elif target in ("SNAT", "DNAT"):
        address, ports = _address_and_ports(_option(words, "--to-source", "--to-destination", "--to"))
        for rule in alternatives.rules:
            rule.target, rule.address, rule.ports = "address", address or _only_address(rule), ports
    elif target == "NETMAP":
        for rule in alternatives.rules:
            rule.target, rule.address = "prefix", prefix_of(_option(words, "--to"))
    elif target == "REDIRECT":
        _redirect(alternatives, _option(words, "--to-ports"), gateway)
    else:
        raise Unsupported(f"target {target} in table nat")


def _address_and_ports(text):
    """"192.0.2.1:80-90" is ("192.0.2.1", "80-90"); IPv6 addresses with ports have brackets."""
    if text.startswith("["):
        address, _, ports = text[1:].partition("]")
        ports = ports.removeprefix(":")
    elif text.count(":") > 1:
        address, ports = text, ""
    else:
        address, _, ports = text.partition(":")
    if "/" in ports:
        raise Unsupported("a translation of ports by their offset")
    return address, ports


def _only_address(rule):
    """A translation of ports alone is one to the address that the rule asks for, if that is one."""
    address = rule.src if rule.kind == "source" else rule.dst
    if not address or any(mark in address for mark in "!/-"):
        raise Unsupported("a translation of ports alone, of several addresses")
    return address


def _redirect(alternatives, ports, gateway):
    """REDIRECT sends to the incoming interface's first address: a rule for each interface that has one."""
    rules = []
    for rule in alternatives.rules:
        if rule.chain == "OUTPUT":
            raise Unsupported("REDIRECT in nat OUTPUT (to the loopback address)")
        for link in gateway.links.values():
            if link.addresses and rule.interface in ("any", link.name):
                rules.append(dataclasses.replace(rule, interface=link.name, target="address", ports=ports,
                                                 address=link.addresses[0].split("/")[0]))
    alternatives.rules = rules
