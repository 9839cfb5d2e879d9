#include "dataplane/stages/way_out.hpp"

#include <algorithm>

namespace espalier::dataplane {
namespace {

uint32_t ip_header_bytes(Family family) {
  return family == Family::kIpv4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
}

uint32_t gre_mtu(const Context& ctx, const WayOut& way) {
  const GreTunnel& tunnel = *ctx.tables->tunnels->gre(way.out);
  const uint32_t own = ctx.interface(way.out).mtu_bytes;
  if (way.gre_out == kNoInterface) return own;
  uint32_t outer = ctx.interface(way.gre_out).mtu_bytes;
  if (protects(ctx, way.gre_policy))
    outer = protected_mtu(ctx, (*ctx.tables->spd)[way.gre_policy], tunnel.local.family(), outer);
  if (outer == 0) return own;  // an SA is missing: then it is the GRE packet that is dropped
  return std::min(own, outer - std::min(outer, tunnel.outer_bytes()));
}

}  // namespace

WayOut way_of(const Decision& d) {
  return {.out = d.route.interface,
          .policy = d.sa ? d.policy->index : kNoPolicy,
          .gre_policy = d.gre_policy ? d.gre_policy->index : kNoPolicy,
          .gre_out = d.gre_out};
}

InterfaceIndex interface_for_nat(const Context& ctx, const Decision& d) {
  if (!d.first_sa) return d.route.interface;
  for (size_t at = d.first_policy->templates; at-- > 0;) {
    const SaIndex index = ctx.tables->policy_sas->at(d.first_policy->index, at);
    const Sa* sa = index == kNoSa ? nullptr : ctx.sad->at(index);
    if (!sa || sa->mode() == EspMode::kTransport) continue;
    const RouteResult& route = ctx.tables->outer_route(*sa).route;
    return route.verdict == RouteVerdict::kForward ? route.interface : d.route.interface;
  }
  return d.route.interface;
}

bool protects(const Context& ctx, PolicyIndex policy) {
  return policy != kNoPolicy && (*ctx.tables->spd)[policy].action == PolicyAction::kProtect;
}

SaIndex next_sa(const Context& ctx, const PolicyRecord& policy, uint8_t& at) {
  for (; at < policy.templates; ++at) {
    const SaIndex sa = ctx.tables->policy_sas->at(policy.index, at);
    if (sa != kNoSa || policy.tmpl[at].level == TemplateLevel::kRequired) return sa;
  }
  return kNoSa;
}

uint32_t protected_mtu(const Context& ctx, const PolicyRecord& policy, Family family,
                       uint32_t out_mtu_bytes) {
  uint32_t mtu = out_mtu_bytes;
  for (size_t at = policy.templates; at-- > 0;) {
    const Sa* sa = nullptr;
    if (const SaIndex index = ctx.tables->policy_sas->at(policy.index, at); index != kNoSa)
      sa = ctx.sad->at(index);
    if (!sa && policy.tmpl[at].level == TemplateLevel::kUse) continue;
    if (!sa) return 0;
    const bool outermost = at + 1u == policy.templates;
    if (sa->mode() == EspMode::kTransport) {
      const Family of = at == 0 ? family : policy.tmpl[at - 1].destination.family();
      mtu = sa->shape().inner_mtu(outermost ? sa->outer_mtu(mtu, ctx.now_ms) : mtu, ip_header_bytes(of));
    } else {
      mtu = sa->shape().inner_mtu(outermost ? ctx.outer_mtu(*sa) : mtu, 0);
    }
  }
  return mtu;
}

uint32_t mtu_of(const Context& ctx, const WayOut& way, Family family) {
  const uint32_t clear = ctx.interface(way.out).mtu_bytes;
  if (protects(ctx, way.policy)) {
    const uint32_t inner = protected_mtu(ctx, (*ctx.tables->spd)[way.policy], family, clear);
    return ctx.tables->tunnels->is_vti(way.out) ? std::min(inner, clear) : inner;
  }
  return ctx.tables->tunnels->gre(way.out) ? gre_mtu(ctx, way) : clear;
}

}  // namespace espalier::dataplane
