"""The tables of an iptables-restore text, with user-defined chains put in the place of the jumps to them."""

import shlex

from .model import Unsupported

BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
GOTO = ("-g", "--goto")
JUMP = ("-j", "--jump", *GOTO)
DEEPEST = 16


def target_of(words):
    return next((words[words.index(option) + 1] for option in JUMP if option in words), "")


class Table:
    def __init__(self, name):
        self.name = name
        self.policies = {}  # of built-in chains
        self.chains = {}  # name: [words of a rule]

    def rules(self):
        """(built-in chain, words) in the order in which packets meet them."""
        return [(chain, words) for chain in self.chains if chain in BUILT_IN for words in self._flat(chain, 0)]

    def command(self, words):
        what, rest = words[0], words[1:]
        if what.startswith(":"):
            self._declare(what[1:], rest[0])
        elif what in ("-P", "--policy"):
            self._declare(rest[0], rest[1])
        elif what in ("-N", "--new-chain"):
            self._declare(rest[0], "-")
        elif what in ("-A", "--append"):
            self.chains.setdefault(rest[0], []).append(rest[1:])
        elif what in ("-I", "--insert"):
            rules, rule = self.chains.setdefault(rest[0], []), rest[1:]
            number = int(rule.pop(0)) if rule and rule[0].isdigit() else 1
            rules.insert(number - 1, rule)
        else:
            raise Unsupported(f"iptables {what}")

    def _declare(self, chain, policy):
        self.chains.setdefault(chain, [])
        if chain in BUILT_IN:
            self.policies[chain] = policy

    def _flat(self, chain, depth):
        """The rules of a chain without jumps: what is behind one has the conditions of both rules."""
        if depth > DEEPEST:
            raise Unsupported("chains that jump in a circle")
        found, rules = [], self.chains.get(chain, [])
        for place, words in enumerate(rules):
            target = target_of(words)
            if target == "RETURN" and chain not in BUILT_IN and place + 1 < len(rules) and self.name == "nat":
                raise Unsupported(f"RETURN in the user-defined chain {chain}")
            if target not in self.chains:
                found.append(words)
                continue
            conditions = _without_jump(words)
            found += [_both(conditions, inner) for inner in self._flat(target, depth + 1)]
            if any(option in words for option in GOTO):
                found.append([*conditions, "-j", "RETURN"])
        return [words for words in found if target_of(words) != "RETURN" or chain in BUILT_IN]


def _without_jump(words):
    at = next(place for place, word in enumerate(words) if word in JUMP)
    return words[:at] + words[at + 2:]


def _both(outer, inner):
    """The conditions of two rules; one that both have must be the same in both."""
    for at, word in enumerate(outer):
        if not word.startswith("-") or word in ("-m", "--match") or word not in inner:
            continue
        place = inner.index(word)
        same = outer[at + 1:at + 2] == inner[place + 1:place + 2]
        if not same or outer[at - 1:at] == ["!"] or inner[place - 1:place] == ["!"]:
            raise Unsupported(f"a user-defined chain that asks for {word} once more")
    return outer + inner


def read(text):
    """The tables of a restore text, in their order."""
    found, table = {}, Table("filter")
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        while words and words[0].startswith("["):  # counters
            words.pop(0)
        if not words or words[0] == "COMMIT":
            continue
        if words[0].startswith("*"):
            table = found.setdefault(words[0][1:], Table(words[0][1:]))
        else:
            table.command(words)
    return list(found.values())
