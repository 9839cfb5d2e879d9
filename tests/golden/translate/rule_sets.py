"""Reads iptables-restore and ip6tables-restore texts: NAT rules, and what else changes what packets meet.

Chains are read as netfilter asks them: the nat table for the first packet of a flow. Filter chains are not
translated, Espalier has none; RuleSet tells in which chains packets can end, and expectations.py leaves out the
steps that did.
"""

import copy
import dataclasses
import shlex
from dataclasses import dataclass, field

from .model import Unsupported, prefix_of

KINDS = {"PREROUTING": "destination", "OUTPUT": "destination", "POSTROUTING": "source"}
WITHOUT_EFFECT = ("LOG", "NFLOG", "ULOG", "TRACE", "AUDIT")
CONNTRACK_MATCHES = ("conntrack", "state", "connmark", "connbytes", "connlimit", "connlabel", "helper", "cluster")
NO_MATCH = ("udp", "tcp", "icmp", "icmp6", "ipv6-icmp", "comment", "multiport", "policy", "iprange", "sctp", *CONNTRACK_MATCHES)
PORT_OPTIONS = {"--sport": "sport", "--source-port": "sport", "--sports": "sport", "--source-ports": "sport",
                "--dport": "dport", "--destination-port": "dport", "--dports": "dport",
                "--destination-ports": "dport"}
ADDRESS_OPTIONS = {"-s": "src", "--source": "src", "--src": "src", "-d": "dst", "--destination": "dst",
                   "--dst": "dst", "--src-range": "src", "--dst-range": "dst"}
INTERFACE_OPTIONS = {"-i": "in", "--in-interface": "in", "-o": "out", "--out-interface": "out"}
ECHO_REQUEST = {"8": 4, "echo-request": None, "8/0": 4, "128": 6, "128/0": 6, "any": None}
RANDOM = ("--random", "--random-fully")


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
    dropping_chains: set = field(default_factory=set)  # of the filter table: packets may end there
    tracks: bool = False  # something makes the kernel track connections
    sets_marks: bool = False
    mss_clamps: dict = field(default_factory=dict)  # link: "pmtu" or bytes

    def translates(self):
        return any(rule.target != "exclude" for rule in self.rules)


def read(text, family, gateway):
    """The RuleSet of a restore text; `family` 4 or 6. Raises Unsupported for what cannot be said."""
    found, table, chains = RuleSet(), "", {}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] == "COMMIT":
            continue
        if words[0].startswith("*"):
            table = words[0][1:]
        elif words[0].startswith(":"):
            _chain(found, table, words[0][1:], words[1])
        elif words[0] in ("-A", "--append", "-I", "--insert"):
            _insert(chains.setdefault(table, []), words)
        elif words[0] in ("-P", "--policy"):
            _chain(found, table, words[1], words[2])
        else:
            raise Unsupported(f"iptables {words[0]}")
    for table, rules in chains.items():
        for chain, words in rules:
            _rule(found, table, chain, words, family, gateway)
    return found


def _chain(found, table, chain, policy):
    if policy == "-":
        raise Unsupported(f"user-defined chains ({chain})")
    if policy == "DROP":
        if table != "filter":
            raise Unsupported(f"policy DROP of table {table}")
        found.dropping_chains.add(chain)


def _insert(rules, words):
    """Appends (chain, words of the rule), or for -I puts it before the chain's rule of that number."""
    chain, rest = words[1], words[2:]
    if words[0] in ("-A", "--append"):
        rules.append((chain, rest))
        return
    number = int(rest.pop(0)) if rest and rest[0].isdigit() else 1
    places = [place for place, each in enumerate(rules) if each[0] == chain]
    rules.insert(places[number - 1] if number <= len(places) else len(rules), (chain, rest))


def _target(words):
    for option in ("-j", "--jump", "-g", "--goto"):
        if option in words:
            return words[words.index(option) + 1]
    return ""


def _rule(found, table, chain, words, family, gateway):
    target = _target(words)
    matches = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-m", "--match")]
    found.tracks |= any(match in CONNTRACK_MATCHES for match in matches)
    if target in ("", *WITHOUT_EFFECT):
        return
    if table == "nat":
        _nat_rule(found, chain, words, target, family, gateway)
    elif target in ("ACCEPT", "RETURN"):
        return  # the tables' policies accept as well, unless they drop: then steps are told apart by their hooks
    elif table == "filter":
        _filter_rule(found, chain, target)
    elif target == "MARK" and table == "mangle":
        found.sets_marks = True
    elif target == "TCPMSS":
        _mss_clamp(found, words)
    else:
        raise Unsupported(f"target {target} in table {table}")


def _filter_rule(found, chain, target):
    if target not in ("DROP", "REJECT"):
        raise Unsupported(f"target {target} in filter chains")
    found.dropping_chains.add(chain)


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
        self.rules = [dataclasses.replace(rule, **{name: value}) for rule in self.rules for value in values]


def _nat_rule(found, chain, words, target, family, gateway):
    if chain == "INPUT" and target in ("ACCEPT", "RETURN"):
        return
    if chain not in KINDS:
        raise Unsupported(f"nat rules in chain {chain}")
    alternatives = _Alternatives(NatRule(KINDS[chain], chain, "local" if chain == "OUTPUT" else "any"))
    rest, negated = list(words), False
    while rest:
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
    elif word in ("-j", "--jump", "--to-source", "--to-destination", "--to-ports", "--to", "--comment"):
        rest.pop(0)
    elif word in ADDRESS_OPTIONS:
        values = rest.pop(0).split(",")
        if negated and len(values) > 1:
            raise Unsupported("negated lists of addresses")
        alternatives.set(ADDRESS_OPTIONS[word], [bang + _plain(value) for value in values])
    elif word in INTERFACE_OPTIONS:
        _set_interface(alternatives, rest.pop(0), negated, gateway)
    elif word in ("-p", "--protocol") and not negated:
        value = rest.pop(0)
        alternatives.set("protocol", ["" if value in ("all", "0") else value])
    elif word in PORT_OPTIONS and not negated:
        alternatives.set(PORT_OPTIONS[word], [value.replace(":", "-") for value in rest.pop(0).split(",")])
    elif word in ("--icmp-type", "--icmpv6-type") and ECHO_REQUEST.get(rest[0], 0) in (None, family):
        rest.pop(0)  # a flow of ICMP begins with a query anyway
    elif word in ("--ctstate", "--state") and not negated and "NEW" in rest[0].split(","):
        rest.pop(0)  # the nat table is asked for new flows only
    elif word in ("--dir", "--pol") and not negated:
        _set_policy_match(alternatives, word, rest.pop(0))
    elif word == "--dst-type" and rest[0] == "LOCAL" and not negated:
        rest.pop(0)
        alternatives.set("dst", [own for own in gateway.own_addresses() if (":" in own) == (family == 6)])
    elif word not in ("--persistent", *RANDOM):
        raise Unsupported(f"nat rules with {'! ' if negated else ''}{word}")


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


def _option(words, *names):
    return next((words[words.index(name) + 1] for name in names if name in words), "")


def _set_target(alternatives, words, target, gateway):
    if any(option in words for option in RANDOM):
        raise Unsupported("nat rules with --random")
    if target == "MASQUERADE":
        for rule in alternatives.rules:
            rule.target, rule.ports = "masquerade", _option(words, "--to-ports")
    elif target in ("SNAT", "DNAT"):
        address, ports = _address_and_ports(_option(words, "--to-source", "--to-destination", "--to"))
        for rule in alternatives.rules:
            rule.target, rule.address, rule.ports = "address", address, ports
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
    if not address:
        raise Unsupported("a translation of ports alone")
    return address, ports


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
