#include "control/config/capabilities.hpp"

#include <map>
#include <set>
#include <tuple>

namespace espalier::config {
namespace {

template <class Element>
struct Limit {
  std::string_view what;  // "... cannot be applied by this version"
  bool (*applies)(const Element&);
};

bool has_ipv6_address(const Interface& i) {
  for (const auto& address : i.addresses)
    if (!address.value.is_ipv4()) return true;
  return false;
}

bool has_template(const Policy& policy, bool (*is)(const Template&)) {
  for (const Template& one : policy.templates)
    if (is(one)) return true;
  return false;
}

bool is_ipv6(const IpAddress& address) {
  return address.family == Family::kIpv6;
}
bool is_ipv6(const TrafficSelector& selector) {
  return !selector.source.is_ipv4();
}

constexpr Limit<Interface> kInterfaceLimits[] = {
    {"an interface of type \"vti\"", [](const Interface& i) { return i.type == InterfaceType::kVti; }},
    {"an interface of type \"gre\"", [](const Interface& i) { return i.type == InterfaceType::kGre; }},
    {"an IPv6 address", has_ipv6_address},
    {"mss-clamp", [](const Interface& i) { return i.mss_clamp.has_value(); }},
};

constexpr Limit<Route> kRouteLimits[] = {
    {"an IPv6 route", [](const Route& r) { return !r.prefix.is_ipv4(); }},
    {"a route with several next hops", [](const Route& r) { return r.via.size() > 1; }},
    {"metric", [](const Route& r) { return r.metric.has_value(); }},
};

constexpr Limit<Neighbor> kNeighborLimits[] = {
    {"an IPv6 neighbor", [](const Neighbor& n) { return is_ipv6(n.address); }},
};

constexpr Limit<NatRule> kNatLimits[] = {
    {"translation 1:1 to a prefix",
     [](const NatRule& r) { return !r.disable && r.action == NatAction::kPrefix; }},
};

constexpr Limit<State> kStateLimits[] = {
    {"encryption other than AES-GCM with 16 bytes of ICV",
     [](const State& s) { return !s.cipher->algorithm; }},
    {"transport mode", [](const State& s) { return s.mode == Mode::kTransport; }},
    {"esn = true", [](const State& s) { return s.esn; }},
    {"encap", [](const State& s) { return s.encap.has_value(); }},
    {"an IPv6 address", [](const State& s) { return is_ipv6(s.source); }},
    {"a selector of IPv6", [](const State& s) { return s.selector && is_ipv6(*s.selector); }},
    {"vti", [](const State& s) { return !s.vti.value.empty(); }},
    {"limit", [](const State& s) { return s.limit.any(); }},
};

constexpr Limit<Policy> kPolicyLimits[] = {
    {"a selector of IPv6", [](const Policy& p) { return is_ipv6(p.selector); }},
    {"more than one template", [](const Policy& p) { return p.templates.size() > 1; }},
    {"a template in transport mode",
     [](const Policy& p) {
       return has_template(p, [](const Template& t) { return t.mode == Mode::kTransport; });
     }},
    {"a template of IPv6",
     [](const Policy& p) {
       return has_template(p, [](const Template& t) { return is_ipv6(t.source) || is_ipv6(t.destination); });
     }},
    {"level = \"use\"",
     [](const Policy& p) { return has_template(p, [](const Template& t) { return t.optional; }); }},
    {"vti", [](const Policy& p) { return !p.vti.value.empty(); }},
    {"limit", [](const Policy& p) { return p.limit.any(); }},
};

constexpr Limit<Peer> kPeerLimits[] = {
    {"IKE", [](const Peer&) { return true; }},
};

std::string name_of(const Interface& i) {
  return "interfaces." + i.name;
}
std::string name_of(const Route& r) {
  return "routes " + to_string(r.prefix);
}
std::string name_of(const Neighbor& n) {
  return "neighbors " + to_string(n.address);
}
std::string name_of(const NatRule& r) {
  return fmt::format("nat.{} rule {}", r.kind == NatKind::kSource ? "source" : "destination", r.number);
}
std::string name_of(const State& s) {
  return fmt::format("xfrm.state 0x{:x}", s.spi);
}
std::string name_of(const Policy& p) {
  return "xfrm." + p.name;
}
std::string name_of(const Peer& p) {
  return "vpn.ipsec.site-to-site.peer." + p.name;
}

template <class Element, size_t N>
void report(const std::vector<Element>& elements, const Limit<Element> (&limits)[N], Severity severity,
            Diagnostics& diagnostics) {
  for (const Element& element : elements)
    for (const Limit<Element>& limit : limits)
      if (limit.applies(element))
        diagnostics.add(
            severity, element.line,
            fmt::format("{}: {} cannot be applied by this version", name_of(element), limit.what));
}

auto fields_of(const TrafficSelector& s) {
  return std::tuple(s.source, s.destination, s.protocol, s.source_port.low, s.source_port.high,
                    s.destination_port.low, s.destination_port.high);
}
bool have_same_selector(const State& a, const State& b) {
  if (!a.selector || !b.selector) return a.selector.has_value() == b.selector.has_value();
  return fields_of(*a.selector) == fields_of(*b.selector);
}

// The dataplane takes a policy's latest SA, and its selector decides what is dropped; Linux would look for
// one whose selector fits.
void report_different_selectors(const Model& model, Severity severity, Diagnostics& diagnostics) {
  using Key = std::tuple<IpAddress, IpAddress, uint32_t>;  // of a template; reqid 0 takes states of any
  std::set<Key> templates;
  for (const Policy& policy : model.policies)
    for (const Template& t : policy.templates)
      if (policy.direction == Direction::kOut) templates.emplace(t.source, t.destination, t.reqid);
  std::map<Key, const State*> first_of;
  for (const State& state : model.states)
    for (const uint32_t reqid : std::set<uint32_t>{state.reqid, 0}) {
      const Key key(state.source, state.destination, reqid);
      if (state.direction != Direction::kOut || !templates.contains(key)) continue;
      const State& first = *first_of.try_emplace(key, &state).first->second;
      if (have_same_selector(first, state)) continue;
      const std::string first_name = fmt::format("state 0x{:x}", first.spi);
      diagnostics.add(severity, state.line,
                      fmt::format("{}: another selector than that of {} (line {}), which the same template "
                                  "names, cannot be applied by this version",
                                  name_of(state), first_name, first.line));
      break;
    }
}

}  // namespace

void report_limitations(const Model& model, Severity severity, Diagnostics& diagnostics) {
  report(model.interfaces, kInterfaceLimits, severity, diagnostics);
  report(model.routes, kRouteLimits, severity, diagnostics);
  report(model.neighbors, kNeighborLimits, severity, diagnostics);
  report(model.nat.source, kNatLimits, severity, diagnostics);
  report(model.nat.destination, kNatLimits, severity, diagnostics);
  report(model.states, kStateLimits, severity, diagnostics);
  report_different_selectors(model, severity, diagnostics);
  report(model.policies, kPolicyLimits, severity, diagnostics);
  if (model.vpn.line != 0 && model.vpn.peers.empty())
    diagnostics.add(severity, model.vpn.line, "vpn.ipsec: IKE cannot be applied by this version");
  report(model.vpn.peers, kPeerLimits, severity, diagnostics);
}

}  // namespace espalier::config
