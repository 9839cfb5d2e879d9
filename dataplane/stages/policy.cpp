// Stages `in_policy`, `out_policy`, `size`, `out_policy_after_snat` and `tunnel_interface`: the security
// policy database, asked as XFRM asks it.
//
// Forwarded packets are checked against direction fwd, those for the gateway against in, both with the
// addresses the packet came with. The out policy is looked up before source NAT and, if that changed
// something, again after it; the second answer replaces the first. Packets that are routed into a vti or gre
// interface were protected by none of that; what protects them there is found last, with the addresses that
// they leave with. Configuration: SPD, SAD, interface MTUs.
#include <algorithm>

#include "dataplane/pipeline.hpp"
#include "dataplane/selector.hpp"
#include "dataplane/stages/esp.hpp"
#include "dataplane/stages/ike.hpp"
#include "dataplane/stages/stop.hpp"
#include "dataplane/stages/way_out.hpp"

namespace espalier::dataplane {
namespace {

bool matches(IpAddress wanted, IpAddress is) {
  return wanted.is_unspecified() || wanted == is;
}

// xfrm_state_ok(): transport mode templates have no addresses of their own.
bool fits(const PolicyTemplate& wanted, const PathInfo::Layer& layer) {
  return (wanted.reqid.value == 0 || wanted.reqid == layer.reqid) && wanted.mode == layer.mode &&
         (wanted.mode == EspMode::kTransport ||
          (matches(wanted.source, layer.source) && matches(wanted.destination, layer.destination)));
}

// xfrm_policy_ok(): the layer from `from` on that the template takes; the layers behind it are left. False:
// none, and the template is required.
bool take_layer(const PolicyTemplate& wanted, const PathInfo& path, size_t& from) {
  const bool optional = wanted.level == TemplateLevel::kUse;
  if (optional && wanted.mode == EspMode::kTransport) return true;
  for (size_t i = from; i < path.count; ++i) {
    if (fits(wanted, path.layers[i])) {
      from = i + 1;
      return true;
    }
    if (path.layers[i].mode != EspMode::kTransport) break;
  }
  return optional;
}

// secpath_has_nontransport(): what came by transport mode was for the gateway's own address anyway, so it may
// come where no policy asks for it.
bool is_all_transport(const PathInfo& path, size_t from) {
  return std::all_of(path.layers.begin() + from, path.layers.begin() + path.count,
                     [](const PathInfo::Layer& layer) { return layer.mode == EspMode::kTransport; });
}

bool within_selectors(const PathInfo& path, const Tuple& tuple) {
  return std::all_of(
      path.layers.begin(), path.layers.begin() + path.count,
      [&](const PathInfo::Layer& layer) { return !layer.selector || covers(*layer.selector, tuple); });
}

// XFRM's __xfrm_policy_check: selectors of the SAs first, then the policy, then its templates.
DropReason judge_inbound(const Context& ctx, const Packet& p, const PolicyRecord* policy) {
  static constexpr PathInfo kNoPath{};
  const PathInfo* path = p.path == kClear ? &kNoPath : ctx.sad->path_info(p.path);
  if (path && !within_selectors(*path, p.tuple)) return DropReason::kInStateMismatch;
  if (!policy) return path && is_all_transport(*path, 0) ? DropReason::kNone : DropReason::kInNoPolicy;
  switch (policy->action) {
    case PolicyAction::kDiscard:
      return DropReason::kInPolicyBlock;
    case PolicyAction::kBypass:
    case PolicyAction::kProtect:
      break;
  }
  return path && fits_templates(*policy, *path) ? DropReason::kNone : DropReason::kInTemplateMismatch;
}

struct OutAnswer {
  const PolicyRecord* policy = nullptr;  // protects or bypasses
  const Sa* sa = nullptr;
  DropReason reason = DropReason::kNone;
};

// The SA of a transport mode template is for one pair of hosts.
bool serves(const Sa& sa, const Tuple& tuple) {
  return sa.mode() == EspMode::kTunnel ||
         (sa.source() == tuple.source && sa.destination() == tuple.destination);
}

// xfrm_tmpl_resolve() holds the packet itself against the selectors of all SAs, those of the outer templates
// too.
bool all_cover(const Context& ctx, const PolicyRecord& policy, const Tuple& tuple) {
  for (size_t at = 0; at < policy.templates; ++at) {
    const SaIndex index = ctx.tables->policy_sas->at(policy.index, at);
    const Sa* sa = index == kNoSa ? nullptr : ctx.sad->at(index);
    if (sa && !sa->covers(tuple)) return false;
  }
  return true;
}

OutAnswer find_sa(const Context& ctx, const PolicyRecord* policy, const Tuple& tuple) {
  if (!policy || policy->action == PolicyAction::kBypass) return {.policy = policy};
  if (policy->action == PolicyAction::kDiscard)
    return {.policy = policy, .reason = DropReason::kOutPolicyBlock};
  uint8_t at = 0;
  const SaIndex index = next_sa(ctx, *policy, at);
  if (at == policy->templates) return {.policy = policy};  // all of its templates are optional, and absent
  const Sa* sa = index == kNoSa ? nullptr : ctx.sad->at(index);
  const bool usable = sa && serves(*sa, tuple) && all_cover(ctx, *policy, tuple) &&
                      protected_mtu(ctx, *policy, tuple.family(), 65535) != 0;
  return {.policy = policy,
          .sa = usable ? sa : nullptr,
          .reason = usable ? DropReason::kNone : DropReason::kOutNoState};
}

// A fragment has no ports: as in Linux policies that name some do not take it. If that leaves it in clear,
// and one of them protects, it may not leave at all.
OutAnswer ask_out_policy(const Context& ctx, const Packet& p, const Tuple& tuple, InterfaceIndex out) {
  const Spd& spd = *ctx.tables->spd;
  OutAnswer answer = find_sa(ctx, spd.lookup(Direction::kOut, tuple, out), tuple);
  const bool in_clear = answer.reason == DropReason::kNone && !answer.sa;
  if (in_clear && (p.flags & kFragment) && spd.protects_some_ports(Direction::kOut, tuple, out))
    answer.reason = DropReason::kOutFragment;
  return answer;
}

// ip_exceeds_mtu: DF counts; of a packet that came in fragments the largest one has to fit.
bool exceeds(rte_mbuf* mbuf, uint32_t mtu_bytes) {
  const Packet& p = packet(mbuf);
  if (p.ip_bytes <= mtu_bytes || !(p.flags & kDontFragment)) return false;
  return !(p.flags & kReassembled) || p.fragment_limit > mtu_bytes;
}

// A packet of IPv6 may have 1280 bytes everywhere (RFC 8200 section 5); who has less cuts it himself.
uint32_t least_mtu(const Packet& p, uint32_t mtu_bytes) {
  return p.tuple.is_v4() ? mtu_bytes : std::max(mtu_bytes, kMinPathMtuIpv6);
}

bool too_big(Decision& d, rte_mbuf* mbuf, uint32_t mtu_bytes) {
  d.answer = {.reason = IcmpReason::kTooBig, .mtu_bytes = static_cast<uint16_t>(std::min(mtu_bytes, 65535u))};
  // Its host hears it from the other end: an own address would be a martian there.
  if (packet(mbuf).flags & kFromHost) d.answer_source = packet(mbuf).tuple.destination;
  return stop(mbuf, DropReason::kTooBig);
}

// Found on Linux's output path: the TTL is lowered already.
bool fits_behind_ttl(const Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const uint32_t mtu = least_mtu(packet(mbuf), mtu_of(ctx, way_of(d), packet(mbuf).tuple.family()));
  if (!exceeds(mbuf, mtu)) return true;
  d.answer_after_ttl = true;
  return too_big(d, mbuf, mtu);
}

// The packets of the gateway itself are never too big, but for those that its host made.
bool is_measured(const Packet& p) {
  return !(p.flags & kFromGateway) || (p.flags & kFromHost);
}

bool enter_vti(const Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const InterfaceIndex vti = d.route.interface;
  const OutAnswer found =
      find_sa(ctx, ctx.tables->spd->lookup(Direction::kOut, d.as_sent, vti, vti), d.as_sent);
  d.policy = found.policy;
  d.sa = found.sa;
  if (found.sa != nullptr && found.reason == DropReason::kNone) return true;
  // vti_xmit() calls that a link failure, behind source NAT.
  d.answer = {.reason = IcmpReason::kHostUnreachable};
  d.answer_about = d.as_sent.source;
  d.answer_after_ttl = true;
  return stop(mbuf, found.reason != DropReason::kNone ? found.reason : DropReason::kVtiDown);
}

// The GRE packet asks for itself when it is made; here is asked how large it may become.
bool enter_gre(const Context& ctx, rte_mbuf* mbuf, Decision& d, const GreTunnel& tunnel) {
  const RouteResult way = ctx.tables->fib->lookup(tunnel.remote);
  const Tuple outer{.source = tunnel.local, .destination = tunnel.remote, .protocol = kProtoGre};
  const PolicyRecord* policy = ctx.tables->spd->lookup(Direction::kOut, outer, way.interface);
  const bool is_protected = policy && policy->action == PolicyAction::kProtect;
  if (tunnel.protect && !is_protected) return stop(mbuf, DropReason::kGreUnprotected);
  if (way.verdict != RouteVerdict::kForward) return true;
  d.gre_out = way.interface;
  if (is_protected) d.gre_policy = policy;
  return true;
}

}  // namespace

// Templates are applied from the first on, so a packet comes by the SA of the last one first.
bool fits_templates(const PolicyRecord& policy, const PathInfo& path) {
  size_t from = 0;
  for (size_t t = policy.templates; t-- > 0;)
    if (!take_layer(policy.tmpl[t], path, from)) return false;
  return is_all_transport(path, from);
}

namespace {

// As a policy of the IKE socket's own: it lets pass what came in clear, and nothing that came by a tunnel.
constexpr PolicyRecord kIkeBypass = [] {
  PolicyRecord policy;
  policy.action = PolicyAction::kBypass;
  return policy;
}();

}  // namespace

bool in_policy(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  // What takes ESP off asks no policy; what it contains will be asked about.
  if (d.way == Way::kToGateway && is_esp(ctx, mbuf)) return true;
  if (d.way == Way::kToGateway && is_ike(ctx, mbuf, d.before_snat)) {
    const DropReason reason = judge_inbound(ctx, p, &kIkeBypass);
    return reason == DropReason::kNone || stop(mbuf, reason);
  }
  const Direction direction = d.way == Way::kToGateway ? Direction::kIn : Direction::kFwd;
  d.in_policy = ctx.tables->spd->lookup(direction, p.tuple);
  DropReason reason = judge_inbound(ctx, p, d.in_policy);
  // As of what leaves: see ask_out_policy().
  const bool in_clear = reason == DropReason::kNone && p.path == kClear;
  if (in_clear && (p.flags & kFragment) &&
      ctx.tables->spd->protects_some_ports(direction, p.tuple, kNoInterface))
    reason = DropReason::kInTemplateMismatch;
  return reason == DropReason::kNone || stop(mbuf, reason);
}

bool out_policy(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  if (packet(mbuf).flags & (kEncrypted | kOwnIke)) return true;
  const OutAnswer found = ask_out_policy(ctx, packet(mbuf), d.before_snat, d.route.interface);
  d.first_policy = d.policy = found.policy;
  d.first_sa = d.sa = found.sa;
  return found.reason == DropReason::kNone || stop(mbuf, found.reason);
}

bool size(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  // Of IPv6 Linux asks here whether the link bears the packet, and on the output path whether ESP leaves
  // room.
  const bool later = d.sa && !p.tuple.is_v4();
  const uint32_t mtu = later ? ctx.interface(d.route.interface).mtu_bytes
                             : least_mtu(p, mtu_of(ctx, way_of(d), p.tuple.family()));
  return !exceeds(mbuf, mtu) || too_big(d, mbuf, mtu);
}

bool out_policy_after_snat(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const bool snat =
      d.as_sent.source != d.before_snat.source || d.as_sent.source_port != d.before_snat.source_port;
  if (packet(mbuf).flags & (kEncrypted | kOwnIke)) return true;
  if (!snat) return !d.sa || d.way == Way::kFromGateway || d.as_sent.is_v4() || fits_behind_ttl(ctx, mbuf, d);
  const OutAnswer found = ask_out_policy(ctx, packet(mbuf), d.as_sent, d.route.interface);
  d.looked_up_again = true;
  d.policy = found.policy;
  d.sa = found.sa;
  if (found.reason != DropReason::kNone) return stop(mbuf, found.reason);
  if (d.way == Way::kFromGateway) return true;
  d.answer_about = d.as_sent.source;  // Linux routes the error to the translated source
  if (!fits_behind_ttl(ctx, mbuf, d)) {
    // Linux sees that in transport mode when it is ESP already, and tells itself alone.
    if (d.sa && d.sa->mode() == EspMode::kTransport) d.answer = {};
    return false;
  }
  d.answer_about = {};
  return true;
}

bool tunnel_interface(Context& ctx, rte_mbuf* mbuf, Decision& d) {
  const Packet& p = packet(mbuf);
  const TunnelTable& tunnels = *ctx.tables->tunnels;
  d.into_tunnel = !d.sa && tunnels.is_tunnel(d.route.interface);
  const GreTunnel* gre = d.sa ? nullptr : tunnels.gre(d.route.interface);
  if (!d.sa && tunnels.is_vti(d.route.interface) && !enter_vti(ctx, mbuf, d)) return false;
  if (gre && !enter_gre(ctx, mbuf, d, *gre)) return false;
  const bool is_protected = d.sa || d.gre_policy || (p.flags & kEncrypted);
  if (!is_protected && (p.flags & kAboutProtected)) return stop(mbuf, DropReason::kIcmpErrorClear);
  if (!is_protected && (p.flags & kMustProtect)) return stop(mbuf, DropReason::kGreUnprotected);
  const bool may_be_less = tunnels.is_tunnel(d.route.interface) || (p.flags & kFromHost);
  return !may_be_less || !is_measured(p) || fits_behind_ttl(ctx, mbuf, d);
}

}  // namespace espalier::dataplane
