"""What a scenario sets beside links and rules: sysctls, and whether sockets of the gateway matter."""

import re
from dataclasses import dataclass, field

from .model import Unsupported

CONNTRACK_TIMEOUT = re.compile(r"net\.netfilter\.nf_conntrack_((?:tcp|udp|icmp|generic)_timeout\w*)$")
PLAIN_TIMEOUTS = {"udp_timeout": "udp", "udp_timeout_stream": "udp-stream", "icmp_timeout": "icmp",
                  "generic_timeout": "generic"}
# What Espalier does anyway, and what makes no difference to it: (name, value or None for any).
TAKEN = (
    (r"net\.ipv4\.ip_forward", "1"), (r"net\.ipv[46]\.conf\.[\w.-]+\.forwarding", "1"),
    (r"net\.ipv4\.conf\.[\w.-]+\.rp_filter", "0"), (r"net\.ipv4\.icmp_ratelimit", "0"),
    (r"net\.ipv4\.icmp_ratemask", None), (r"net\.ipv4\.icmp_msgs_(per_sec|burst)", None),
    (r"net\.ipv6\.icmp\.ratelimit", "0"), (r"net\.ipv4\.ip_default_ttl", "64"),
    (r"net\.ipv[46]\.conf\.[\w.-]+\.(send_redirects|accept_redirects|accept_ra|accept_dad|dad_transmits|"
     r"router_solicitations|addr_gen_mode|autoconf)", None),
    (r"net\.ipv4\.conf\.[\w.-]+\.disable_(policy|xfrm)", None), (r"net\.ipv6\.conf\.[\w.-]+\.disable_ipv6", "0"),
    (r"net\.ipv[46]\.(conf|neigh)\.[\w.-]+\.(log_martians|arp_\w+|accept_local|src_valid_mark|ucast_solicit|"
     r"mcast_solicit|gc_\w+|base_reachable_time\w*|retrans_time\w*|unres_qlen\w*|secure_redirects|proxy_arp)", None),
    (r"net\.ipv4\.(ip_no_pmtu_disc|ip_forward_use_pmtu)", "0"), (r"net\.ipv4\.(ip_early_demux|udp_early_demux)", None),
    (r"net\.core\.xfrm_(acq_expires|larval_drop|aevent_etime|aevent_rseqth)", None),
    (r"net\.netfilter\.nf_conntrack_(tcp_loose|max|checksum|acct|log_invalid|tcp_be_liberal)", "1"),
    (r"net\.netfilter\.nf_conntrack_(max|acct|log_invalid)", None),
)


@dataclass
class Settings:
    host_path: bool = False
    timeouts: dict = field(default_factory=dict)  # nat.timeouts


def read(scenario):
    """The Settings of a scenario. Raises Unsupported for a sysctl that Espalier has no counterpart of."""
    found = Settings(host_path=bool(scenario.get("encap_ports") or scenario.get("udp_ports") or
                                    any(step.get("in") == "local" for step in scenario["packet"])))
    for name, value in scenario.get("sysctl", {}).items():
        _sysctl(found, name.replace("/", "."), str(value))
    return found


def _sysctl(found, name, value):
    timeout = CONNTRACK_TIMEOUT.match(name)
    if timeout:
        words = timeout[1]
        key = PLAIN_TIMEOUTS.get(words) or words.replace("tcp_timeout_", "tcp-").replace("_", "-")
        found.timeouts[key] = int(value)
        return
    if not any(re.fullmatch(pattern, name) and wanted in (None, value) for pattern, wanted in TAKEN):
        raise Unsupported(f"sysctl {name} = {value}")
