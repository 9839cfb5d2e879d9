"""What Linux's counters and hooks say about a step, in Espalier's words: drop reasons, and filters.

Linux counts less finely than Espalier in places, so an expectation is a set of reasons of which one must be it.
"""

import re
from collections import Counter

# Counters of lost packets that stand for themselves.
REASONS = {
    "XfrmInNoStates": ["esp_no_state"],
    "XfrmInStateInvalid": ["esp_no_state"],
    "XfrmInStateSeqError": ["esp_replay"],
    "XfrmInStateProtoError": ["esp_icv", "esp_malformed"],
    "XfrmInStateModeError": ["esp_malformed"],
    "XfrmInHdrError": ["esp_truncated", "esp_malformed"],
    "XfrmInError": ["esp_malformed", "esp_truncated"],
    "XfrmInBufferError": ["esp_nested"],
    "XfrmInStateExpired": ["esp_in_expired"],
    "XfrmInStateMismatch": ["in_state_mismatch", "esp_encap_mismatch"],
    "XfrmInTmplMismatch": ["in_template_mismatch"],
    "XfrmInNoPols": ["in_no_policy"],
    "XfrmInPolBlock": ["in_policy_block"],
    "XfrmInPolError": ["in_no_policy", "in_template_mismatch"],
    "XfrmOutPolBlock": ["out_policy_block"],
    "XfrmOutNoStates": ["out_no_state", "vti_down"],
    "XfrmOutStateSeqError": ["esp_sequence_exhausted"],
    "XfrmOutStateExpired": ["esp_out_expired"],
    "XfrmOutStateInvalid": ["out_no_state"],
    "XfrmOutStateProtoError": ["esp_too_long", "out_no_state", "in_state_mismatch"],
    "UdpNoPorts": ["local_no_service"],
    "Udp6NoPorts": ["local_no_service"],
    "Ct.drop": ["nat_ports_exhausted", "nat_clash", "session_table_full"],
}
BAD_HEADER = ["ttl_exceeded", "ip_truncated", "ip_bad_version", "ip_bad_header_length", "ip_bad_length",
              "ip_bad_checksum", "ip_source_route", "ip_bad_extension", "ip_bad_source"]
BAD_ADDRESS = ["ip_bad_destination", "ip_bad_source", "ip_multicast", "no_route"]
UNREACHABLE = ["no_route", "route_unreachable", "route_prohibit", "too_big", "neighbor_unresolved",
               "local_no_service", "gre_no_tunnel", "vti_down", "egress_down", "out_no_state", "out_policy_block"]
REASSEMBLY = ["reassembly_timeout", "fragment_malformed", "reassembly_full"]
# What Linux drops without counting it anywhere.
SILENT = ["route_blackhole", "route_unreachable", "route_prohibit", "too_big", "interface_down", "egress_down", "vti_down", "no_route",
          "neighbor_unresolved", "ethernet_not_for_us", "ethernet_unknown_type", "ethernet_unknown_vlan",
          "ethernet_truncated", "l4_truncated", "nat_no_address", "nat_moved", "gre_malformed", "gre_no_tunnel", "nd_invalid",
          "local_no_service", "icmp_error_clear", *BAD_ADDRESS[:3], *BAD_HEADER[1:]]
ANSWERED = ("UdpNoPorts", "Udp6NoPorts", "IpInNoRoutes", "Ip6InNoRoutes", "IpInHdrErrors", "Ip6InHdrErrors",
            "IpFragFails", "Ip6FragFails")
NO_WAY = ["no_route", "route_blackhole", "route_unreachable", "route_prohibit"]
DELIVERED = ("IpInDelivers", "Ip6InDelivers", "IpReasmReqds", "Ip6ReasmReqds")


class _Drops:
    """Collects the expectations of a step."""

    def __init__(self, step):
        self.counters = Counter(step["counters"])
        self.in_fragments = any("frag=" in text for text in step["sent"])  # only the first is answered
        self.found = []

    def add(self, reasons, count):
        """`count` None: one or more."""
        if count is None or count > 0:
            self.found.append({"any_of": reasons, "count": count})

    def allow(self, reasons):
        """None, or any number of them."""
        self.found.append({"any_of": reasons, "count": None, "may_be_none": True})

    def sum(self, *names):
        return sum(self.counters[name] for name in names)


def drops(step, host_path, waits=False):
    """The expected drops of a step of summary.json: [{"any_of": reasons, "count": N or None}].

    With a host path what is for the gateway goes to the host, which answers itself. `waits`: a fragment may be held
    until the others come.
    """
    expected = _Drops(step)
    for name, reasons in REASONS.items():
        if name in ("XfrmOutNoStates", "XfrmOutPolBlock") and _tells(expected, step):
            continue  # a vti tells of it; and icmp_route_lookup() asks for an error's reverse way, to no effect
        if not (host_path and reasons == ["local_no_service"]):
            expected.add(reasons, expected.counters[name])
    _add_answered(expected)
    _add_header_errors(expected)
    if expected.sum("IpReasmFails", "Ip6ReasmFails"):
        expected.add(REASSEMBLY, None)
    if expected.found and not step["out"] and expected.sum(*ANSWERED):
        expected.allow(NO_WAY)  # of the answer, which Linux does not count
    if not expected.found and expected.counters["Udp6InDatagrams"] > len(step["socket"]):
        expected.allow(["esp_no_state"])  # an SPI in UDP over IPv6 that Linux does not know counts nowhere
    if not expected.found and not step["out"] and not step["socket"] and expected.sum(*DELIVERED):
        expected.allow(NO_WAY)  # what was unpacked has none, nor an answer
    if not expected.found and not step["out"] and not step["socket"] and not expected.sum(*DELIVERED):
        expected.add(SILENT + REASSEMBLY if waits else SILENT, None)
        expected.found[-1]["may_be_none"] = waits
    return expected.found


def _tells(expected, step):
    """Whether an ICMP error of the gateway left."""
    told = expected.sum("IcmpOutDestUnreachs", "IcmpOutTimeExcds", "Icmp6OutDestUnreachs", "Icmp6OutTimeExcds",
                        "Icmp6OutPktTooBigs")
    return told and (step["in"] == "local" or any("| QUOTE" in text for text in step["out"]))


def _add_answered(expected):
    """What ICMP errors were sent about."""
    too_big = max(expected.sum("IpFragFails", "Ip6FragFails"), expected.counters["Icmp6OutPktTooBigs"])
    expected.add(["too_big"], too_big)
    told = expected.sum("IcmpOutDestUnreachs", "Icmp6OutDestUnreachs")
    explained = expected.sum("UdpNoPorts", "Udp6NoPorts", "IpFragFails")
    expected.add(UNREACHABLE, None if told > explained and expected.in_fragments else told - explained)
    if told <= explained:
        expected.add(NO_WAY, expected.sum("IpInNoRoutes", "Ip6InNoRoutes"))
        expected.add(["local_no_service"], expected.sum("IpInUnknownProtos", "Ip6InUnknownProtos"))
    if not expected.sum("IpReasmFails", "Ip6ReasmFails"):
        expected.add(["ttl_exceeded"], expected.sum("IcmpOutTimeExcds", "Icmp6OutTimeExcds"))


def _add_header_errors(expected):
    errors = expected.sum("IpInHdrErrors", "Ip6InHdrErrors")
    expected.add(BAD_HEADER, errors - expected.sum("IcmpOutTimeExcds", "Icmp6OutTimeExcds"))
    if not expected.found:
        expected.add(BAD_ADDRESS, expected.sum("IpInAddrErrors", "Ip6InAddrErrors"))


# ---- filters -----------------------------------------------------------------------------------


def _dropped_early(step, dropping_chains):
    """The chain of raw or mangle that a packet of the step ended in, or ""."""
    seen = Counter(hook.split(" ")[0] for hook in step["hooks"])
    for chain in ("PREROUTING", "OUTPUT"):
        if f"raw.{chain}" in dropping_chains and seen[f"raw.{chain}"] > seen[f"mangle.{chain}"]:
            return f"raw {chain}"
    silent = not step.get("out") and not step.get("socket") and not step["counters"]
    for chain in ("PREROUTING", "POSTROUTING"):
        if f"mangle.{chain}" in dropping_chains and seen[f"mangle.{chain}"] and silent:
            return f"mangle {chain}"
    return ""


def filtered(step, dropping_chains):
    """The filter chain that a packet of the step ended in, as far as its hooks show; or ""."""
    early = _dropped_early(step, dropping_chains)
    if early:
        return early
    lines = {chain: Counter() for chain in ("FORWARD", "INPUT", "OUTPUT", "POSTROUTING")}
    for hook in step["hooks"]:
        match = re.match(r"mangle\.(\w+) \[[^]]*\] (.*)", hook)
        if match and match[1] in lines:
            lines[match[1]][match[2]] += 1
    left = lines["POSTROUTING"] - lines["FORWARD"]
    if {"FORWARD", "mangle.FORWARD"} & dropping_chains and lines["FORWARD"] - lines["POSTROUTING"]:
        return "FORWARD"
    if {"OUTPUT", "mangle.OUTPUT"} & dropping_chains and lines["OUTPUT"].total() > left.total():
        return "OUTPUT"
    delivered = step["counters"].get("IpInDelivers", 0) + step["counters"].get("Ip6InDelivers", 0)
    if {"INPUT", "mangle.INPUT"} & dropping_chains and lines["INPUT"].total() > delivered:
        return "INPUT"
    return ""
