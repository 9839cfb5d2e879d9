"""Counts what the packets of random scenarios met, from what Linux reported: so that the number of them is no empty claim."""

import re
from collections import Counter

from compare import references

RULE = re.compile(r"\[(\d+):\d+\] -A (\w+) (.*)")
FEW_PACKETS = 30
FORWARDED = ("IpForwDatagrams", "Ip6OutForwDatagrams")


class Coverage:
    def __init__(self):
        self.scenarios = self.packets = self.short = 0
        self.outcomes, self.counters, self.rules, self.deviations, self.inputs = (Counter() for _ in range(5))

    def add(self, outcome):
        self.scenarios += 1
        self.packets += outcome.packets
        self.short += outcome.packets < FEW_PACKETS
        for given, step in zip(outcome.scenario["packet"], outcome.summary.get("steps", [])):
            if step["sent"]:
                self._add_step(given, step)
        for packets, chain, words in RULE.findall(outcome.rule_hits):
            if "-j LOG" not in words:
                self.rules[f"{chain} {words.partition('-j ')[2].split()[0]}"] += int(packets)
        self.deviations.update(f"rule {number}" for _, number in outcome.deviations)

    def _add_step(self, given, step):
        sent, out = " ".join(step["sent"]), " ".join(step["out"])
        forwarded = any(name in step["counters"] for name in FORWARDED)
        self.outcomes["forwarded"] += forwarded
        self.outcomes["encrypted"] += "ESP" in out
        self.outcomes["encrypted twice"] += any(text.count("ESP spi") > 1 for text in step["out"]) and "ESP" not in sent
        self.outcomes["decrypted and forwarded"] += forwarded and "ESP" in sent
        self.outcomes["one tunnel to another"] += forwarded and "ESP" in sent and "ESP" in out
        self.outcomes["answered with an ICMP error"] += "QUOTE" in out and "QUOTE" not in sent
        self.outcomes["left in fragments"] += "frag=" in out
        self.outcomes["delivered to a socket"] += bool(step["socket"])
        self.outcomes["nothing came out"] += not step["out"] and not step["socket"]
        self.counters.update(name for name in step["counters"])
        self.inputs[_kind(given, sent)] += 1
        self.inputs["behind a change of tables"] += any(key in given for key in ("ip", "iptables", "ip6tables"))
        self.inputs["fragments"] += "frag=" in sent

    def text(self):
        parts = (("outcomes", self.outcomes), ("packets", self.inputs), ("nat rules hit", self.rules),
                 ("Linux counted (steps)", self.counters), ("deviations", self.deviations))
        short = f"scenarios with fewer than {FEW_PACKETS} packets: {self.short}\n"
        return short + "\n".join(f"{name}: " + ", ".join(f"{key} {count}" for key, count in sorted(found.items()))
                         for name, found in parts)


def _kind(given, sent):
    if "reply_to" in given:
        return "answers"
    if references(given):
        return "ICMP errors" if "icmp_error" in given else "repeated"
    return "local" if given["in"] == "local" else "by ESP" if "ESP" in sent else "by GRE" if "GRE" in sent else "in clear"
