#include "dataplane/story/decision_words.hpp"

#include "control/shared/text.hpp"
#include "dataplane/stages/esp.hpp"
#include "dataplane/stages/ike.hpp"
#include "dataplane/stages/parse.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/story/words.hpp"

namespace espalier::dataplane::story {
namespace {

std::string outbound(const PolicyRecord* policy, const Sa* sa) {
  if (!policy) return "no policy matches: in clear";
  if (sa) return text(*policy) + ", " + text(*sa);
  return text(*policy) + (policy->action == PolicyAction::kProtect ? ", no SA for this packet" : "");
}

// The SAs that a policy asks for, the outermost first.
std::string wanted(const PolicyRecord& policy) {
  std::string list;
  for (size_t i = policy.templates; i-- > 0;)
    list += fmt::format("{} reqid {}{}", list.empty() ? "; it wants" : ", inside", policy.tmpl[i].reqid.value,
                        policy.tmpl[i].source.is_unspecified()
                            ? ""
                            : fmt::format(" from {}", to_text(policy.tmpl[i].source)));
  return list;
}

}  // namespace

DecisionWords::DecisionWords(const Context& ctx, rte_mbuf* mbuf, const Decision& d)
    : ctx_(ctx), tables_(*ctx.tables), mbuf_(mbuf), p_(packet(mbuf)), d_(d) {}

std::string DecisionWords::say(DecideStage stage, bool stopped) const {
  if (stage == conntrack)
    return stopped ? fmt::format("a session of worker {}: it goes there", p_.to_worker.value) : session();
  if (stage == destination_nat) return nat(NatKind::kDestination);
  if (stage == route) return stopped && p_.reason != reason_of(d_.route.verdict) ? why() : way();
  if (stage == in_policy) return inbound();
  if (stage == ttl) {
    const uint8_t left = hop_limit(mbuf_);
    return stopped ? fmt::format("{}: it runs out here", left) : fmt::format("{}", left);
  }
  if (stage == out_policy)
    return (p_.flags & kEncrypted) ? "ESP of the gateway: not asked again"
           : (p_.flags & kOwnIke)  ? "IKE of the gateway: not asked"
                                   : outbound(d_.first_policy, d_.first_sa);
  if (stage == size) return bytes(stopped);
  if (stage == source_nat) return stopped ? no_translation() : nat(NatKind::kSource);
  if (stage == tunnel_interface) return tunnel(stopped);
  return d_.looked_up_again ? "source NAT changed the packet, asked again: " + outbound(d_.policy, d_.sa)
                            : "source NAT changed nothing: the first answer stands";
}

std::string DecisionWords::leaving() const {
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
    return fmt::format("the ESP packet has {}", no_way(outer.verdict, d_.sa->destination()));
  return fmt::format("leaves as ESP by {} to {}: {}, inside {}", name(outer.interface),
                     to_text(outer.next_hop), text(*d_.sa), text(d_.as_sent));
}

std::string DecisionWords::answer() const {
  if (d_.answer.reason == IcmpReason::kNone || !may_answer_with_icmp_error(mbuf_)) return {};
  if (d_.way == Way::kFromGateway && !(p_.flags & kFromHost)) return {};
  const IpAddress source = error_source(ctx_, p_, d_);
  if (source.is_unspecified()) return {};
  return fmt::format("{} from {}{}", text(d_.answer.reason), to_text(source),
                     d_.answer.mtu_bytes ? fmt::format(", MTU {}", d_.answer.mtu_bytes) : "");
}

std::string DecisionWords::delivery() const {
  if (d_.service == LocalService::kEsp || p_.tuple.protocol == kProtoEsp)
    return "delivered to the gateway itself: decrypted, if an SA has its SPI";
  if (is_ike(ctx_, mbuf_, d_.before_snat)) return "delivered to the gateway itself: IKE, for the IKE process";
  if (p_.tuple.protocol == kProtoGre)
    return "delivered to the gateway itself: unwrapped, if it is for a gre interface";
  return tables_.host_path ? "delivered to the gateway itself or its host"
                           : "delivered to the gateway itself";
}

std::string DecisionWords::tunnel(bool stopped) const {
  if (stopped && p_.reason != DropReason::kTooBig) return why();
  if (!d_.into_tunnel) return "not into a vti or gre interface";
  if (stopped)
    return fmt::format("{} takes {} bytes unfragmented", name(d_.route.interface), d_.answer.mtu_bytes);
  if (d_.sa) return fmt::format("{}: {}, {}", name(d_.route.interface), text(*d_.policy), text(*d_.sa));
  return fmt::format("{}: GRE, {}", name(d_.route.interface),
                     d_.gre_policy ? text(*d_.gre_policy) : "no policy protects it");
}

std::string DecisionWords::why() const {
  return std::string(info(p_.reason).help);
}

std::string DecisionWords::bytes(bool stopped) const {
  if (!stopped) return fmt::format("{} bytes", p_.ip_bytes);
  return fmt::format("{} bytes, and {} fit unfragmented", p_.ip_bytes, d_.answer.mtu_bytes);
}

std::string DecisionWords::no_translation() const {
  if (!d_.pending || d_.pending->source_rule_index == kNone32) return why();
  return fmt::format("rule {}: {}", d_.pending->source_rule_number, why());
}

std::string DecisionWords::session() const {
  if (!tables_.tracks(p_.tuple.family())) return "sessions are not tracked: no NAT rule needs them";
  if (p_.flags & kInvalid) return "belongs to no session and cannot start one";
  if (d_.pending) return "a new flow";
  if (!d_.session) return "no session";
  if (d_.is_related_error)
    return fmt::format("an ICMP error about a packet of a session of worker {}", d_.session->owner.value);
  const bool reply = d_.session->direction == nat::FlowDirection::kReply;
  return fmt::format("{} a session of worker {}", reply ? "an answer of" : "of", d_.session->owner.value);
}

std::string DecisionWords::nat(NatKind kind) const {
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

std::string DecisionWords::way() const {
  const std::string by = route_text(tables_, d_.route, d_.before_snat.destination);
  const std::string which = by.empty() ? "" : fmt::format(" ({})", by);
  switch (d_.route.verdict) {
    case RouteVerdict::kForward:
      if (!(*tables_.interfaces)[d_.route.interface].has_wire())
        return fmt::format("forwarded by {}{}", name(d_.route.interface), which);
      return fmt::format("forwarded by {} to {}{}", name(d_.route.interface), to_text(d_.route.next_hop),
                         which);
    case RouteVerdict::kLocal:
      return fmt::format("{} is the gateway's own", to_text(d_.before_snat.destination));
    case RouteVerdict::kNoRoute:
    case RouteVerdict::kBlackhole:
    case RouteVerdict::kUnreachable:
    case RouteVerdict::kProhibit:
      break;
  }
  return no_way(d_.route.verdict, d_.before_snat.destination) + which;
}

std::string DecisionWords::came() const {
  const PathInfo* path = ctx_.sad->path_info(p_.path);
  if (!path && p_.path != kClear) return "came by SAs that no policy has together";
  if (!path && (p_.flags & kCameProtected)) return fmt::format("came by {}, protected", name(p_.in));
  if (!path) return "came in clear";
  std::string layers = "came by";
  for (size_t i = 0; i < path->count; ++i)
    layers += fmt::format("{} an SA with reqid {} from {}", i ? ", inside" : "", path->layers[i].reqid.value,
                          to_text(path->layers[i].source));
  return layers;
}

std::string DecisionWords::inbound() const {
  if (d_.way == Way::kToGateway && is_esp(ctx_, mbuf_))
    return "ESP for the gateway: what it contains will be asked about";
  if (d_.way == Way::kToGateway && is_ike(ctx_, mbuf_, d_.before_snat))
    return came() + ", IKE for the gateway: no policy is asked";
  if (!d_.in_policy) return came() + ", no policy matches";
  const bool mismatch = p_.reason == DropReason::kInTemplateMismatch;
  return fmt::format("{}, {}{}", came(), text(*d_.in_policy), mismatch ? wanted(*d_.in_policy) : "");
}

}  // namespace espalier::dataplane::story
