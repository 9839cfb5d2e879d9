#include "control/config/capabilities.hpp"

#include <algorithm>
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

constexpr Limit<Policy> kPolicyLimits[] = {
    {"limit", [](const Policy& p) { return p.has_limit; }},
};

constexpr Limit<Peer> kPeerLimits[] = {
    {"virtual-address", [](const Peer& p) { return !p.virtual_addresses.empty(); }},
};

void tell(Severity severity, int line, std::string text, Diagnostics& diagnostics) {
  if (severity == Severity::kError)
    diagnostics.add_error(line, std::move(text));
  else
    diagnostics.add_warning(Lint::kCannotBeApplied, line, std::move(text));
}

// Groups that the language knows and that OpenSSL no longer has, or nobody should (RFC 8247 section 2.4).
bool is_negotiable(uint32_t dh_group) {
  return dh_group != 1 && (dh_group < 22 || dh_group > 24);
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
        tell(severity, element.line,
             fmt::format("{}: {} cannot be applied by this version", name_of(element), limit.what),
             diagnostics);
}

// What a template and a state have in common, and the VTI that both are of. Reqid 0 of a template takes
// states of any.
using Key = std::tuple<IpAddress, IpAddress, EspMode, uint32_t, std::string_view>;

std::set<Key> outbound_templates(const Model& model) {
  std::set<Key> keys;
  for (const Policy& policy : model.policies)
    for (const Template& t : policy.templates)
      if (policy.direction == Direction::kOut)
        keys.emplace(t.record.source, t.record.destination, t.record.mode, t.record.reqid.value,
                     policy.vti.value);
  return keys;
}

// The dataplane takes a policy's latest SA, and its selector decides what is dropped; Linux would look for
// one whose selector fits.
void report_different_selectors(const Model& model, Severity severity, Diagnostics& diagnostics) {
  const std::set<Key> templates = outbound_templates(model);
  std::map<Key, const State*> first_of;
  for (const State& state : model.states)
    for (const uint32_t reqid : std::set<uint32_t>{state.reqid, 0}) {
      const Key key(state.source, state.destination, state.mode, reqid, state.vti.value);
      if (state.direction != Direction::kOut || !templates.contains(key)) continue;
      const State& first = *first_of.try_emplace(key, &state).first->second;
      if (first.selector == state.selector) continue;
      const std::string first_name = fmt::format("state 0x{:x}", first.spi);
      tell(severity, state.line,
           fmt::format(
               "{}: another selector than that of {} (line {}), which the same template names, cannot be "
               "applied by this version",
               name_of(state), first_name, first.line),
           diagnostics);
      break;
    }
}

void report_dh_group(uint32_t group, int line, const std::string& path, Severity severity,
                     Diagnostics& diagnostics) {
  if (is_negotiable(group)) return;
  tell(severity, line,
       fmt::format("{}: Diffie-Hellman group {} cannot be applied by this version: use 19, 20, 21 or 31",
                   path, group),
       diagnostics);
}

void report_dh_groups(const Vpn& vpn, Severity severity, Diagnostics& diagnostics) {
  for (const EspGroup& esp : vpn.esp_groups)
    if (esp.pfs == Pfs::kGroup)
      report_dh_group(esp.pfs_group, esp.pfs_line, fmt::format("vpn.ipsec.esp-group.{}.pfs", esp.name),
                      severity, diagnostics);
  for (const IkeGroup& ike : vpn.ike_groups)
    for (const Proposal& proposal : ike.proposals)
      report_dh_group(proposal.dh_group, proposal.line,
                      fmt::format("vpn.ipsec.ike-group.{}.proposal {}", ike.name, proposal.number), severity,
                      diagnostics);
}

// A peer that says nothing of it does as its IKE group says.
void report_reauthentication(const Vpn& vpn, Severity severity, Diagnostics& diagnostics) {
  for (const Peer& peer : vpn.peers) {
    const auto group = std::find_if(vpn.ike_groups.begin(), vpn.ike_groups.end(),
                                    [&](const IkeGroup& g) { return g.name == peer.ike_group.value; });
    if (peer.reauth.value_or(group->reauth))
      tell(severity, peer.line,
           fmt::format("{}: ikev2-reauth cannot be applied by this version", name_of(peer)), diagnostics);
  }
}

}  // namespace

void report_limitations(const Model& model, Severity severity, Diagnostics& diagnostics) {
  report_different_selectors(model, severity, diagnostics);
  report(model.policies, kPolicyLimits, severity, diagnostics);
  report_dh_groups(model.vpn, severity, diagnostics);
  report_reauthentication(model.vpn, severity, diagnostics);
  report(model.vpn.peers, kPeerLimits, severity, diagnostics);
}

}  // namespace espalier::config
