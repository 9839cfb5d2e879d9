// VTIs that cannot carry what is meant for them: without states, without a route, or with policies for
// something else.
#include <algorithm>
#include <set>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

class VtiLint {
 public:
  VtiLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : model_(model), topology_(topology), diagnostics_(diagnostics) {
    for (const Route& route : model.routes) {
      routed_.insert(route.interface.value);
      for (const auto& via : route.via) routed_.insert(interface_of(route, via.value));
    }
  }

  void run() {
    for (const Interface& interface : model_.interfaces) {
      if (interface.type != InterfaceType::kVti || interface.disable) continue;
      const bool carries = check_sas(interface);
      if (carries && !is_routed(interface))
        diagnostics_.warning(
            Lint::kVtiWithoutRoute, interface.line,
            "interfaces.{0}: nothing is routed into it: add a route with interface = \"{0}\", "
            "or give it an address",
            interface.name);
      check_policies(interface);
    }
  }

 private:
  bool has_state(const Interface& vti, Direction direction) const {
    return std::any_of(model_.states.begin(), model_.states.end(),
                       [&](const State& s) { return s.direction == direction && s.vti.value == vti.name; });
  }

  // Whether it can be up: with states of both directions, or by IKE.
  bool check_sas(const Interface& vti) {
    const bool bound = std::any_of(model_.vpn.peers.begin(), model_.vpn.peers.end(),
                                   [&](const Peer& p) { return p.vti && p.vti->bind.value == vti.name; });
    const bool out = has_state(vti, Direction::kOut), in = has_state(vti, Direction::kIn);
    if (bound || (out && in)) return true;
    const char* missing = out ? "no in state" : in ? "no out state" : "no states";
    diagnostics_.warning(Lint::kVtiWithoutSa, vti.line,
                         "interfaces.{0}: {1} and no peer bound to it, so it stays down: add states of both "
                         "directions with vti = \"{0}\"",
                         vti.name, missing);
    return false;
  }

  bool is_routed(const Interface& vti) const {
    const auto is_network = [](const auto& address) {
      return !address.value.is_host() && !address.value.address.is_link_local();
    };
    return model_.import || routed_.contains(vti.name) ||
           std::any_of(vti.addresses.begin(), vti.addresses.end(), is_network);
  }

  std::string_view interface_of(const Route& route, const IpAddress& via) const {
    if (!route.interface.value.empty()) return route.interface.value;
    const auto interface = topology_.connected(via);
    return interface ? std::string_view(model_.interfaces[*interface].name) : std::string_view();
  }

  bool leads_into(const Route& route, const Interface& vti) const {
    return route.interface.value == vti.name ||
           std::any_of(route.via.begin(), route.via.end(),
                       [&](const auto& via) { return interface_of(route, via.value) == vti.name; });
  }

  // A vti that has policies carries nothing that they do not cover.
  void check_policies(const Interface& vti) {
    std::vector<const Policy*> out;
    bool any = false;
    for (const Policy& policy : model_.policies) {
      if (policy.vti.value != vti.name) continue;
      any = true;
      if (policy.direction == Direction::kOut && policy.action == PolicyAction::kProtect)
        out.push_back(&policy);
    }
    if (!any) return;
    for (const Route& route : model_.routes) {
      const bool covered = std::any_of(out.begin(), out.end(), [&](const Policy* policy) {
        return policy->selector.destination.overlaps(route.prefix);
      });
      if (covered || !leads_into(route, vti)) continue;
      diagnostics_.warning(Lint::kVtiPolicyMissesRoute, route.line,
                           "routes {0}: leads into {1}, none of whose out policies is for it, so its packets "
                           "are dropped: add an out policy with vti = \"{1}\" for it, or remove those of {1}",
                           to_text(route.prefix), vti.name);
    }
  }

  const Model& model_;
  const Topology& topology_;
  Diagnostics& diagnostics_;
  std::set<std::string_view> routed_;  // names of the interfaces that routes lead to
};

}  // namespace

void lint_vtis(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  VtiLint(model, topology, diagnostics).run();
}

}  // namespace espalier::config
