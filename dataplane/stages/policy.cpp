// Stages `in_policy`, `out_policy`, `size` and `out_policy_after_snat`: the security policy database, asked
// as XFRM asks it.
//
// Forwarded packets are checked against direction fwd, those for the gateway against in, both with the
// addresses the packet came with. The out policy is looked up before source NAT and, if that changed
// something, again after it; the second answer replaces the first. Configuration: SPD, SAD, interface MTUs.
#include <algorithm>

#include "dataplane/pipeline.hpp"
#include "dataplane/selector.hpp"
#include "dataplane/stages/stop.hpp"

namespace espalier::dataplane {
namespace {

bool fits_template(const PolicyTemplate& wanted, const Sad::PathInfo& came_by) {
  return (wanted.reqid.value == 0 || wanted.reqid == came_by.reqid) &&
         (wanted.source.is_unspecified() || wanted.source == came_by.source) &&
         (wanted.destination.is_unspecified() || wanted.destination == came_by.destination);
}

// XFRM's __xfrm_policy_check: selectors of the SAs first, then the policy, then its template.
DropReason judge_inbound(const Context& ctx, const Packet& p, const PolicyRecord* policy) {
  const Sad::PathInfo* path = ctx.sad->path_info(p.path);
  if (path && path->selector && !covers(*path->selector, p.tuple)) return DropReason::kInStateMismatch;
  if (!policy) return p.path == kClear ? DropReason::kNone : DropReason::kInNoPolicy;
  switch (policy->action) {
    case PolicyAction::kDiscard:
      return DropReason::kInPolicyBlock;
    case PolicyAction::kBypass:
      return p.path == kClear ? DropReason::kNone : DropReason::kInTemplateMismatch;
    case PolicyAction::kProtect:
      break;
  }
  return path && fits_template(policy->tmpl, *path) ? DropReason::kNone : DropReason::kInTemplateMismatch;
}

struct OutAnswer {
  const PolicyRecord* policy = nullptr;  // protects or bypasses
  const Sa* sa = nullptr;
  DropReason reason = DropReason::kNone;
};

OutAnswer ask_out_policy(const Context& ctx, const Ipv4Tuple& tuple) {
  const PolicyRecord* policy = ctx.tables->spd->lookup(Direction::kOut, tuple);
  if (!policy || policy->action == PolicyAction::kBypass) return {.policy = policy};
  if (policy->action == PolicyAction::kDiscard)
    return {.policy = policy, .reason = DropReason::kOutPolicyBlock};
  const SaIndex index = (*ctx.tables->policy_sas)[policy->index];
  const Sa* sa = index == kNoSa ? nullptr : ctx.sad->at(index);
  if (!sa || !sa->covers(tuple)) return {.policy = policy, .reason = DropReason::kOutNoState};
  return {.policy = policy, .sa = sa};
}

// The largest packet that may leave unfragmented by this SA, or in clear by the route.
uint32_t way_mtu(const Context& ctx, const Decision& d, const Sa* sa) {
  return sa ? inner_mtu(ctx.outer_mtu(*sa)) : ctx.interface(d.route.interface).mtu_bytes;
}

// ip_exceeds_mtu: DF counts; of a packet that came in fragments the largest one has to fit.
bool exceeds(rte_mbuf* mbuf, uint32_t mtu_bytes) {
  const Packet& p = packet(mbuf);
  if (p.ip_bytes <= mtu_bytes || !ip_header(mbuf).dont_fragment()) return false;
  return !(p.flags & kReassembled) || p.fragment_limit > mtu_bytes;
}

bool too_big(Decision& d, rte_mbuf* mbuf, uint32_t mtu_bytes) {
  d.answer = {.type = kIcmpUnreachable,
              .code = kIcmpFragmentationNeeded,
              .mtu_bytes = static_cast<uint16_t>(mtu_bytes)};
  return stop(mbuf, DropReason::kTooBig);
}

}  // namespace

bool in_policy(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  const Direction direction = d.way == Way::kToGateway ? Direction::kIn : Direction::kFwd;
  d.in_policy = ctx.tables->spd->lookup(direction, p.tuple);
  const DropReason reason = judge_inbound(ctx, p, d.in_policy);
  return reason == DropReason::kNone || stop(mbuf, reason);
}

bool out_policy(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const OutAnswer found = ask_out_policy(ctx, d.before_snat);
  d.first_policy = d.policy = found.policy;
  d.first_sa = d.sa = found.sa;
  return found.reason == DropReason::kNone || stop(mbuf, found.reason);
}

bool size(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const uint32_t mtu = way_mtu(ctx, d, d.sa);
  return !exceeds(mbuf, mtu) || too_big(d, mbuf, mtu);
}

bool out_policy_after_snat(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const bool snat =
      d.as_sent.source != d.before_snat.source || d.as_sent.source_port != d.before_snat.source_port;
  if (snat) {
    const OutAnswer found = ask_out_policy(ctx, d.as_sent);
    d.looked_up_again = true;
    d.policy = found.policy;
    d.sa = found.sa;
    if (found.reason != DropReason::kNone) return stop(mbuf, found.reason);
  }
  if (!d.sa && (packet(mbuf).flags & kAboutDecrypted)) return stop(mbuf, DropReason::kIcmpErrorClear);
  if (!d.looked_up_again || d.way == Way::kFromGateway) return true;
  const uint32_t mtu = way_mtu(ctx, d, d.sa);
  if (!exceeds(mbuf, mtu)) return true;
  // Linux finds this one on its output path: the TTL is lowered already, and the error is routed to the
  // translated source.
  d.answer_about = d.as_sent.source;
  d.answer_after_ttl = true;
  return too_big(d, mbuf, mtu);
}

}  // namespace espalier::dataplane
