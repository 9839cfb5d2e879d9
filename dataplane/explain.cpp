// `explain`: one synthetic packet through the first-packet stages on the live tables. The stages are the
// workers' own; only the words are made here, from the decision they leave behind. Main lcore.
#include "control/shared/text.hpp"
#include "dataplane/gateway.hpp"
#include "dataplane/stages/first_packet.hpp"
#include "dataplane/stages/outer_header.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

std::string text(const Tuple& t) {
  if (t.protocol == kProtoTcp || t.protocol == kProtoUdp) {
    const auto end = [](IpAddress address, be16 port) {
      return address.is_v4() ? fmt::format("{}:{}", to_text(address), port.host())
                             : fmt::format("[{}]:{}", to_text(address), port.host());
    };
    return fmt::format("{} {} > {}", t.protocol == kProtoTcp ? "TCP" : "UDP", end(t.source, t.source_port),
                       end(t.destination, t.destination_port));
  }
  if (t.protocol == kProtoIcmp || t.protocol == kProtoIcmpv6)
    return fmt::format("{} type {} code {} id {} {} > {}", t.protocol == kProtoIcmp ? "ICMP" : "ICMPv6",
                       t.destination_port.host() >> 8, t.destination_port.host() & 255, t.source_port.host(),
                       to_text(t.source), to_text(t.destination));
  if (t.protocol == kProtoGre) return fmt::format("GRE {} > {}", to_text(t.source), to_text(t.destination));
  if (t.protocol == kProtoEsp) return fmt::format("ESP {} > {}", to_text(t.source), to_text(t.destination));
  return fmt::format("protocol {} {} > {}", t.protocol, to_text(t.source), to_text(t.destination));
}

std::string_view text(IcmpReason reason) {
  switch (reason) {
    case IcmpReason::kNone:
      return "none";
    case IcmpReason::kNetUnreachable:
      return "ICMP network unreachable";
    case IcmpReason::kHostUnreachable:
      return "ICMP host unreachable";
    case IcmpReason::kProhibited:
      return "ICMP administratively prohibited";
    case IcmpReason::kPortUnreachable:
      return "ICMP port unreachable";
    case IcmpReason::kProtocolUnreachable:
      return "ICMP protocol unreachable";
    case IcmpReason::kTimeExceeded:
      return "ICMP time exceeded";
    case IcmpReason::kTooBig:
      return "ICMP fragmentation needed or packet too big";
  }
  return "";
}

std::string_view text(PolicyAction a) {
  switch (a) {
    case PolicyAction::kProtect:
      return "protect";
    case PolicyAction::kBypass:
      return "bypass";
    case PolicyAction::kDiscard:
      return "discard";
  }
  return "";
}

std::string text(const PolicyRecord& p) {
  return fmt::format("policy {} (priority {}, {} > {}): {}", p.name.view(), p.priority,
                     to_text(p.selector.source), to_text(p.selector.destination), text(p.action));
}

std::string text(const Sa& sa) {
  return fmt::format("SA {} SPI {:#x} {} > {} reqid {}{}{}", sa.name().view(), sa.spi().value,
                     to_text(sa.source()), to_text(sa.destination()), sa.reqid().value,
                     sa.mode() == EspMode::kTransport ? ", transport mode" : "",
                     sa.has(kSaEncap) ? ", in UDP" : "");
}

// What each stage found, as a sentence. Everything comes from the decision.
class Narrator {
 public:
  Narrator(const Snapshot& tables, const Sad& sad, rte_mbuf* mbuf, const Decision& d)
      : tables_(tables), sad_(sad), p_(packet(mbuf)), ttl_(hop_limit(mbuf)), d_(d) {}

  // `stopped`: the packet ended in this stage, by the packet's reason.
  std::string say(DecideStage stage, bool stopped) const {
    if (stage == conntrack) return session();
    if (stage == destination_nat) return nat(NatKind::kDestination);
    if (stage == route) return stopped && p_.reason != reason_of(d_.route.verdict) ? why() : way();
    if (stage == in_policy) return inbound();
    if (stage == ttl) return stopped ? fmt::format("{}: it runs out here", ttl_) : fmt::format("{}", ttl_);
    if (stage == out_policy) return outbound(d_.first_policy, d_.first_sa);
    if (stage == size) return bytes(stopped);
    if (stage == source_nat) return stopped ? no_translation() : nat(NatKind::kSource);
    if (stage == tunnel_interface) return tunnel(stopped);
    return d_.looked_up_again ? "source NAT changed the packet, asked again: " + outbound(d_.policy, d_.sa)
                              : "source NAT changed nothing: the first answer stands";
  }

  std::string leaving() const {
    if (d_.way == Way::kToGateway) return delivery();
    if (d_.into_tunnel && !d_.sa)
      return fmt::format("leaves by {} as GRE, which {}: {}", name(d_.route.interface),
                         d_.gre_policy ? fmt::format("policy {} protects", d_.gre_policy->name.view())
                                       : "no policy protects: IN CLEAR",
                         text(d_.as_sent));
    if (!d_.sa)
      return fmt::format("leaves IN CLEAR by {} to {}: {}", name(d_.route.interface),
                         to_text(d_.route.next_hop), text(d_.as_sent));
    if (d_.sa->mode() == EspMode::kTransport)
      return fmt::format("leaves as ESP by {} to {}: {}, around {}", name(d_.route.interface),
                         to_text(d_.route.next_hop), text(*d_.sa), text(d_.as_sent));
    const RouteResult& outer = tables_.outer_route(*d_.sa).route;
    if (outer.verdict != RouteVerdict::kForward)
      return fmt::format("dropped ({}): the ESP packet has {}", info(reason_of(outer.verdict)).name,
                         no_way(outer.verdict, d_.sa->destination()));
    return fmt::format("leaves as ESP by {} to {}: {}, inside {}", name(outer.interface),
                       to_text(outer.next_hop), text(*d_.sa), text(d_.as_sent));
  }

 private:
  std::string_view name(InterfaceIndex i) const { return (*tables_.interfaces)[i].name.view(); }

  std::string delivery() const {
    if (p_.tuple.protocol == kProtoEsp)
      return "delivered to the gateway itself: decrypted, if an SA has its SPI";
    if (p_.tuple.protocol == kProtoGre)
      return "delivered to the gateway itself: unwrapped, if it is for a gre interface";
    return tables_.host_path ? "delivered to the gateway itself or its host"
                             : "delivered to the gateway itself";
  }

  std::string tunnel(bool stopped) const {
    if (stopped && p_.reason != DropReason::kTooBig) return why();
    if (!d_.into_tunnel) return "not into a vti or gre interface";
    if (stopped)
      return fmt::format("{} takes {} bytes unfragmented", name(d_.route.interface), d_.answer.mtu_bytes);
    if (d_.sa) return fmt::format("{}: {}, {}", name(d_.route.interface), text(*d_.policy), text(*d_.sa));
    return fmt::format("{}: GRE, {}", name(d_.route.interface),
                       d_.gre_policy ? text(*d_.gre_policy) : "no policy protects it");
  }

  std::string why() const { return std::string(info(p_.reason).help); }

  std::string bytes(bool stopped) const {
    if (!stopped) return fmt::format("{} bytes", p_.ip_bytes);
    return fmt::format("{} bytes, and {} fit unfragmented", p_.ip_bytes, d_.answer.mtu_bytes);
  }

  std::string no_translation() const {
    if (!d_.pending || d_.pending->source_rule_index == kNone32) return why();
    return fmt::format("rule {}: {}", d_.pending->source_rule_number, why());
  }

  std::string session() const {
    if (!tables_.tracks(p_.tuple.family())) return "sessions are not tracked: no NAT rule needs them";
    if (p_.flags & kInvalid) return "belongs to no session and cannot start one";
    if (d_.pending) return "a new flow";
    if (!d_.session) return "no session";
    const bool reply = d_.session->direction == nat::FlowDirection::kReply;
    return fmt::format("{} a session of worker {}", reply ? "an answer of" : "of", d_.session->owner.value);
  }

  std::string nat(NatKind kind) const {
    const bool source = kind == NatKind::kSource;
    const Tuple& before = source ? d_.before_snat : p_.tuple;
    const Tuple& after = source ? d_.as_sent : d_.before_snat;
    const std::string change =
        before == after ? "unchanged" : fmt::format("{} becomes {}", text(before), text(after));
    if (!d_.pending) return d_.session ? "as the session has it: " + change : change;
    const uint32_t number = source ? d_.pending->source_rule_number : d_.pending->destination_rule_number;
    const uint32_t index = source ? d_.pending->source_rule_index : d_.pending->destination_rule_index;
    if (index == kNone32) return "no rule matches: " + change;
    const auto rules = source ? tables_.rules->source_rules() : tables_.rules->destination_rules();
    for (const NatRuleRecord& rule : rules)
      if (rule.number == number && rule.translation == NatTranslation::kExclude)
        return fmt::format("rule {} excludes it: {}", number, change);
    return fmt::format("rule {}: {}", number, change);
  }

  std::string way() const {
    switch (d_.route.verdict) {
      case RouteVerdict::kForward:
        if (!(*tables_.interfaces)[d_.route.interface].has_wire())
          return fmt::format("forwarded by {}", name(d_.route.interface));
        return fmt::format("forwarded by {} to {}", name(d_.route.interface), to_text(d_.route.next_hop));
      case RouteVerdict::kLocal:
        return fmt::format("{} is the gateway's own", to_text(d_.before_snat.destination));
      case RouteVerdict::kNoRoute:
      case RouteVerdict::kBlackhole:
      case RouteVerdict::kUnreachable:
      case RouteVerdict::kProhibit:
        return no_way(d_.route.verdict, d_.before_snat.destination);
    }
    return "";
  }

  static std::string no_way(RouteVerdict verdict, IpAddress destination) {
    switch (verdict) {
      case RouteVerdict::kBlackhole:
        return "a blackhole route";
      case RouteVerdict::kUnreachable:
        return "an unreachable route";
      case RouteVerdict::kProhibit:
        return "a prohibit route";
      case RouteVerdict::kNoRoute:
      case RouteVerdict::kForward:
      case RouteVerdict::kLocal:
        break;
    }
    return fmt::format("no route to {}", to_text(destination));
  }

  std::string inbound() const {
    const PathInfo* path = sad_.path_info(p_.path);
    std::string came = path ? "came by" : "came in clear";
    for (size_t i = 0; path && i < path->count; ++i)
      came += fmt::format("{} an SA with reqid {} from {}", i ? ", inside" : "", path->layers[i].reqid.value,
                          to_text(path->layers[i].source));
    return came + ", " + (d_.in_policy ? text(*d_.in_policy) : "no policy matches");
  }

  static std::string outbound(const PolicyRecord* policy, const Sa* sa) {
    if (!policy) return "no policy matches: in clear";
    if (sa) return text(*policy) + ", " + text(*sa);
    return text(*policy) + (policy->action == PolicyAction::kProtect ? ", no SA for this packet" : "");
  }

  const Snapshot& tables_;
  const Sad& sad_;
  const Packet& p_;
  const uint8_t ttl_;
  const Decision& d_;
};

message::TextRow row(std::string_view stage, std::string_view line) {
  message::TextRow made;
  made.stage.assign(stage.substr(0, 31));
  made.text.assign(line.substr(0, 239));
  return made;
}

void write_l4(const message::Explain& q, uint8_t* l4) {
  const be16 ports[2] = {be16::from_host(q.source_port), be16::from_host(q.destination_port)};
  if (q.protocol == kProtoIcmp || q.protocol == kProtoIcmpv6) {
    reinterpret_cast<IcmpHeader*>(l4)->type = q.icmp_type;
    reinterpret_cast<IcmpHeader*>(l4)->id = ports[0];
  } else if (q.protocol == kProtoTcp || q.protocol == kProtoUdp) {
    std::memcpy(l4, ports, sizeof ports);
    if (q.protocol == kProtoTcp) reinterpret_cast<TcpHeader*>(l4)->flags = nat::kTcpSyn;
  }
}

// The packet that is asked about, large enough for every header that a stage may read.
Result<void> build(const message::Explain& q, rte_mbuf* mbuf) {
  make_fresh(mbuf);
  const Family family = q.destination.family();
  const size_t ip_bytes = family == Family::kIpv4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
  const auto bytes = std::max(q.size_bytes, static_cast<uint16_t>(ip_bytes + sizeof(TcpHeader)));
  auto* at = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, bytes));
  if (!at)
    return fail("{} bytes are more than a packet buffer holds; {} fit", bytes, rte_pktmbuf_tailroom(mbuf));
  std::memset(at, 0, bytes);
  write_outer_header({.source = q.source,
                      .destination = q.destination,
                      .hop_limit = q.ttl,
                      .protocol = q.protocol,
                      .dont_fragment = q.dont_fragment != 0},
                     bytes, at);
  write_l4(q, at + ip_bytes);
  packet(mbuf).in = q.in;
  if (q.in == kNoInterface) packet(mbuf).flags = kFromGateway | kFromHost;
  if (parse_ip(mbuf, family, false)) return {};
  const DropReasonInfo& why = info(packet(mbuf).reason);
  return fail("such a packet is dropped before any table is asked ({}): {}", why.name, why.help);
}

}  // namespace

Result<void> Gateway::take_path(const message::Explain& question, Packet& p) {
  if (!question.decrypted) return {};
  const Sa* found = nullptr;
  sas_->sad().for_each([&](const Sa& sa) {
    if (sa.direction() == Direction::kIn && sa.spi() == question.sa_spi) found = &sa;
  });
  if (!found) return fail("no inbound SA has the SPI {:#x}", question.sa_spi.value);
  p.flags |= kCameProtected;
  if (found->vti() != kNoInterface)
    p.in = found->vti();  // judged by the vti's own policies, and in clear from then on
  else
    p.path = found->path();
  return {};
}

Result<std::vector<message::TextRow>> Gateway::explain(const message::Explain& question) {
  if (question.source.family() != question.destination.family())
    return fail("source and destination are not of one family");
  if (question.in != kNoInterface && question.in.value >= tables_->interfaces->size())
    return fail("there is no interface {}", question.in.value);
  const std::unique_ptr<rte_mbuf, void (*)(rte_mbuf*)> mbuf(rte_pktmbuf_alloc(pool_.get()), rte_pktmbuf_free);
  if (!mbuf) return fail("no packet buffer is free");
  TRY(build(question, mbuf.get()));
  TRY(take_path(question, packet(mbuf.get())));

  Context ctx = context_for(WorkerId{options_.workers});
  ctx.tables = tables_.get();
  ctx.now_ms = clock_.now_ms();
  ctx.explaining = true;
  Decision d;
  size_t stopped_at = 0;
  const bool goes_on = walk(ctx, mbuf.get(), d, &stopped_at);

  const Narrator narrator(*tables_, sas_->sad(), mbuf.get(), d);
  std::vector<message::TextRow> lines{row("packet", text(packet(mbuf.get()).tuple))};
  for (size_t i = 0; i < kFirstPacket.size() && i <= stopped_at; ++i)
    if (is_on_the_way(kFirstPacket[i], d.way))
      lines.push_back(
          row(kFirstPacket[i].name, narrator.say(kFirstPacket[i].decide, !goes_on && i == stopped_at)));
  const DropReasonInfo& why = info(packet(mbuf.get()).reason);
  if (goes_on)
    lines.push_back(row("result", narrator.leaving()));
  else
    lines.push_back(row("result", fmt::format("dropped ({}): {}", why.name, why.help)));
  if (!goes_on && d.answer.reason != IcmpReason::kNone)
    lines.push_back(row(
        "answer",
        fmt::format("{} from {}{}", text(d.answer.reason), to_text(error_source(ctx, packet(mbuf.get()), d)),
                    d.answer.mtu_bytes ? fmt::format(", MTU {}", d.answer.mtu_bytes) : "")));
  return lines;
}

}  // namespace espalier::dataplane
