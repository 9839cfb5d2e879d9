#include "control/cli/command.hpp"

namespace espalier::cli {
namespace {

constexpr Command kCommands[] = {
    {"check", "FILE", "tells what is wrong with a configuration; needs no espalierd",
     "Parses and validates FILE and looks for traps. Errors and warnings are written as FILE:LINE: error: "
     "TEXT.\n"
     "Exit status 0 without errors (there may be warnings), 1 with errors.",
     "espalier check /etc/espalier/espalier.conf", nullptr, run_check},
    {"diff", "FILE", "shows what applying a configuration would change",
     "A line for each change: + comes, - goes, ~ changes in place. Nothing is printed when nothing would "
     "change.",
     "espalier diff new.conf", nullptr, run_diff},
    {"apply", "FILE", "makes a configuration the running one, all of it or nothing",
     "Unchanged tunnels and sessions are not touched. The configuration survives a restart of espalierd, "
     "until\n"
     "the file that espalierd was started with is edited.",
     "espalier apply new.conf", describe_apply, run_apply},
    {"show interfaces", "", "ports with state, addresses and counters",
     "S/L is the administrative state and the link: u/u up, u/D no link, A/D switched off. Drops are what "
     "was\n"
     "lost of the packets that came in there; `espalier show drops` says why.",
     "espalier show interfaces", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show interfaces"}}, "interfaces", print_interfaces);
     }},
    {"show route", "", "the routing table",
     "Connected routes come from the interfaces' addresses, static ones from the configuration, kernel ones\n"
     "are imported from the host. Of one prefix the usable route with the lowest metric counts; several "
     "next\n"
     "hops share its flows.",
     "espalier show route", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show route"}}, "routes", print_routes);
     }},
    {"show neighbors", "", "next hops and their MAC addresses",
     "States are those of `ip neighbour`: incomplete asks, reachable was confirmed, stale and probe are "
     "being\n"
     "confirmed, failed does not answer, permanent is configured.",
     "espalier show neighbors", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show neighbors"}}, "neighbors", print_neighbors);
     }},
    {"show policy", "", "IPsec policies with the packets that each decided",
     "Within a direction the lowest priority number wins, among equals the one that was configured first.\n"
     "Policies of a VTI, which Interface names, decide its packets only.",
     "espalier show policy", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show policy"}}, "policies", print_policies);
     }},
    {"show nat rules", "", "NAT rules with the flows that each started",
     "Rules are consulted in this order, for the first packet of a flow only; those of IPv4 and of IPv6 "
     "apart.",
     "espalier show nat rules", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show nat rules"}}, "rules", print_nat_rules);
     }},
    {"show nat translations", "", "sessions with both directions' addresses",
     "Original is how the first packet came, Reply how an answer has to come, as in conntrack. A session is\n"
     "shown where one of its directions has all that is asked for.",
     "espalier show nat translations --address 10.1.0.0/24 --protocol tcp --limit 20", describe_translations,
     run_show_translations},
    {"show ipsec sa", "", "security associations with counters and sequence numbers",
     "One line per connection, its inbound and outbound SA side by side. What is configured and not "
     "installed\n"
     "is down, with the reason below the table. Uptime counts from the installation of the key, over "
     "restarts.\n"
     "Below it also which SAs have reached a limit, and where a peer behind a NAT was seen. Keys are never "
     "shown.",
     "espalier show ipsec sa", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show ipsec sa"}}, "sas", print_ipsec_sas);
     }},
    {"show ike sa", "", "IKE SAs with their peers, proposals and times",
     "One line per IKE SA: who began it, what was agreed on, who is behind a NAT, when its key changes. Old ones that "
     "are\nbeing replaced are shown as well.",
     "espalier show ike sa", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show ike sa"}}, "sas", print_ike_sas);
     }},
    {"show connections", "", "configured tunnels, up or down with the reason",
     "One line per tunnel of each peer. Below it why a tunnel is down, and of each peer what failed last: what we\n"
     "offered, what the peer offered, and the first difference.",
     "espalier show connections", nullptr,
     [](const Invocation& i) {
       return show_list(i, {{"command", "show connections"}}, "connections", print_connections);
     }},
    {"initiate", "PEER [TUNNEL]", "begins to negotiate with a peer",
     "Without TUNNEL all of the peer's. Tunnels are named as in show connections: tunnel-0, vti.",
     "espalier initiate OFFICE-B tunnel-0", nullptr, run_initiate},
    {"terminate", "PEER [TUNNEL]", "closes a peer's tunnels",
     "Without TUNNEL its IKE SA with all tunnels. The peer is told. What connection-type and trap policies say stays.",
     "espalier terminate OFFICE-B", nullptr, run_terminate},
    {"rekey", "PEER [TUNNEL]", "gives a tunnel, or the IKE SA, a new key",
     "Without TUNNEL the IKE SA gets one. Traffic goes on meanwhile.", "espalier rekey OFFICE-B tunnel-0", nullptr,
     run_rekey},
    {"log", "LEVEL [SUBSYSTEM] [PEER]", "how much espalier-ike writes to its log",
     "LEVEL is error, warning, info or debug; SUBSYSTEM ike, child, cfg, net, crypto or all. With PEER for that peer "
     "in\naddition. Until the configuration is applied again.",
     "espalier log debug ike OFFICE-B", nullptr, run_log},
    {"show drops", "", "every reason why packets did not leave, with its count",
     "By the interface that the packets came in by, and by tunnel where the SA counts it.",
     "espalier show drops", describe_drops, run_show_drops},
    {"show pipeline", "", "the stages that a packet passes, with packets and cycles",
     "In the order in which packets pass them. Cycles are those of the time stamp counter.",
     "espalier show pipeline", nullptr,
     [](const Invocation& i) {
       return show(i, {{"command", "show pipeline"}}, print_pipeline);
     }},
    {"show workers", "", "what the worker cores do",
     "Idle is the share of polls that found nothing. Flow hits are packets that followed a recorded "
     "decision;\n"
     "misses walked the whole order. Handed over went to the worker that owns their session.",
     "espalier show workers", nullptr,
     [](const Invocation& i) {
       return show(i, {{"command", "show workers"}}, print_workers);
     }},
    {"show status", "", "espalierd itself: processes, configuration, refused requests",
     "Whether the dataplane runs the configuration, and if not, why.", "espalier show status", nullptr,
     [](const Invocation& i) {
       return show(i, {{"command", "show status"}}, print_status);
     }},
    {"explain", "", "what would happen to a packet, stage by stage",
     "Sends one synthetic packet through the live tables, by the dataplane's own stages, and changes "
     "nothing:\n"
     "which rule, policy and SA decide, and what would leave.",
     "espalier explain --in eth0 --src 192.168.0.10 --dst 10.30.0.5 --protocol tcp --dport 443",
     describe_explain, run_explain},
    {"trace", "[FILTER]", "what happens to the next packets that come in, stage by stage",
     "Follows packets that FILTER takes, in tcpdump's words and as they are received, through the running "
     "gateway:\n"
     "which rule, policy and SA decide, and how they end. At most some hundred a second are followed.",
     "espalier trace --count 3 host 10.30.0.5 and icmp", describe_trace, run_trace},
    {"capture", "[FILTER] FILE|-", "writes packets to a pcapng file, with the reason of each drop",
     "FILTER is in tcpdump's words. A packet is written at each point that it passes: as received (rx) and "
     "sent\n"
     "(tx), inside of tunnels (plain), and where it was dropped (drop), with the reason as its comment. "
     "Ends with\n"
     "Ctrl-C or --count. FILE is for its owner alone, since plain shows what tunnels hide; - is stdout. "
     "Nothing\n"
     "waits for a capture: what comes faster than it is read is lost to it, and counted.",
     "espalier capture --tunnel B --point plain,drop host 10.30.0.5 b.pcapng", describe_capture, run_capture},
};

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace espalier::cli
