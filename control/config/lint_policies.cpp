// Policies that are never used, that leave a way open in clear, or whose answers are not let in.
#include <algorithm>
#include <set>
#include <tuple>

#include "control/config/lint.hpp"
#include "control/config/validate.hpp"

namespace espalier::config {
namespace {

// Of two policies for the same traffic the one with the lower priority number, then the earlier, is used.
void check_shadowed(const Model& model, Diagnostics& diagnostics) {
  for_each_duplicate(
      model.policies,
      [](const Policy& p) {
        const Selector& s = p.selector;
        return std::tuple(p.direction, std::string_view(p.vti.value), std::string_view(p.interface.value),
                          order_of(s.source), order_of(s.destination), s.protocol, s.source_port.low,
                          s.source_port.high, s.destination_port.low, s.destination_port.high);
      },
      [&](const Policy& first, const Policy& second) {
        const bool earlier_wins = first.priority <= second.priority;
        const Policy& used = earlier_wins ? first : second;
        const Policy& unused = earlier_wins ? second : first;
        diagnostics.warning(Lint::kPolicyNeverUsed, unused.line,
                            "xfrm.{}: is never used, because {} (line {}) has the same selector: remove one",
                            unused.name, used.name, used.line);
      });
}

bool is_tunnel_out(const Policy& p) {
  return p.direction == Direction::kOut && p.action == PolicyAction::kProtect && p.vti.value.empty() &&
         p.templates.back().record.mode == EspMode::kTunnel;
}

// What comes back through a tunnel and is for hosts behind the gateway needs a policy of direction fwd; those
// of direction in are for the gateway's own addresses, and Linux asks no other.
class AnswerLint {
 public:
  AnswerLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : model_(model), topology_(topology), diagnostics_(diagnostics) {
    for (const Policy& policy : model.policies) {
      if (policy.direction == Direction::kOut || !policy.vti.value.empty()) continue;
      for (const Template& t : policy.templates) peers_.emplace(t.record.source, t.record.destination);
      if (policy.direction != Direction::kFwd) continue;
      forward_.push_back(&policy);
      exact_.emplace(order_of(policy.selector.source), order_of(policy.selector.destination));
    }
  }

  void run() {
    for (const Policy& policy : model_.policies)
      if (is_tunnel_out(policy) && has_inbound(policy) && !is_own(policy.selector.source) &&
          !is_let_in(policy.selector))
        warn(policy);
  }

 private:
  // Without any inbound policy for the peer, state-unused says so.
  bool has_inbound(const Policy& policy) const {
    const PolicyTemplate& t = policy.templates.back().record;
    return peers_.contains({t.destination, t.source}) || peers_.contains({IpAddress{}, IpAddress{}});
  }
  bool is_own(const IpPrefix& prefix) const { return prefix.is_host() && topology_.is_own(prefix.address); }

  bool is_let_in(const Selector& out) const {
    if (exact_.contains({order_of(out.destination), order_of(out.source)})) return true;
    return std::any_of(forward_.begin(), forward_.end(), [&](const Policy* policy) {
      const Selector& in = policy->selector;
      return in.source.overlaps(out.destination) && in.destination.overlaps(out.source) &&
             (in.protocol == out.protocol || in.protocol == kProtoAny || out.protocol == kProtoAny);
    });
  }

  void warn(const Policy& policy) {
    const PolicyTemplate& t = policy.templates.back().record;
    diagnostics_.warning(
        Lint::kFwdPolicyMissing, policy.line,
        "xfrm.{}: no fwd policy is for its answers, {} -> {}, so they are decrypted and dropped: "
        "add one, with a template of src {} and dst {}",
        policy.name, to_text(policy.selector.destination), to_text(policy.selector.source),
        to_text(t.destination), to_text(t.source));
  }

  const Model& model_;
  const Topology& topology_;
  Diagnostics& diagnostics_;
  std::set<std::pair<IpAddress, IpAddress>> peers_;  // of the inbound templates
  std::vector<const Policy*> forward_;
  using Ends = std::pair<std::pair<IpAddress, uint8_t>, std::pair<IpAddress, uint8_t>>;
  std::set<Ends> exact_;  // selectors of forward_: most answers are found here
};

// A policy of one interface protects what leaves by that one only.
class InterfaceLint {
 public:
  InterfaceLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : model_(model), topology_(topology), diagnostics_(diagnostics) {
    for (const Policy& policy : model.policies)
      if (takes_care(policy)) exact_.insert(key_of(policy, policy.interface.value));
  }

  void run() {
    for (const Policy& policy : model_.policies)
      if (takes_care(policy) && !policy.interface.value.empty()) check(policy);
  }

 private:
  using Key = std::tuple<std::pair<IpAddress, uint8_t>, std::pair<IpAddress, uint8_t>, std::string_view>;
  static Key key_of(const Policy& policy, std::string_view interface) {
    return {order_of(policy.selector.source), order_of(policy.selector.destination), interface};
  }
  static bool takes_care(const Policy& policy) {
    return policy.direction == Direction::kOut && policy.vti.value.empty() &&
           policy.action != PolicyAction::kBypass;
  }

  void check(const Policy& policy) {
    const size_t own = *topology_.interface(policy.interface.value);
    for (const size_t way : topology_.ways_to(policy.selector.destination)) {
      if (way == own || is_covered(policy, way)) continue;
      const std::string& name = model_.interfaces[way].name;
      diagnostics_.warning(
          Lint::kPolicyInterface, policy.line,
          "xfrm.{}: is for {} only, and the route to {} also leads by {}, where it leaves in "
          "clear: leave interface out, or add a policy for {}",
          policy.name, policy.interface.value, to_text(policy.selector.destination), name, name);
      return;
    }
  }

  // Whether another policy takes care of what leaves by the interface; a vti does so by itself.
  bool is_covered(const Policy& policy, size_t way) const {
    const Interface& interface = model_.interfaces[way];
    if (interface.type == InterfaceType::kVti || exact_.contains(key_of(policy, interface.name))) return true;
    return std::any_of(model_.policies.begin(), model_.policies.end(), [&](const Policy& other) {
      return takes_care(other) &&
             (other.interface.value.empty() || other.interface.value == interface.name) &&
             contains(other.selector.source, policy.selector.source) &&
             contains(other.selector.destination, policy.selector.destination);
    });
  }

  const Model& model_;
  const Topology& topology_;
  Diagnostics& diagnostics_;
  std::set<Key> exact_;  // most policies for another interface have the same selector
};

}  // namespace

void lint_policies(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_shadowed(model, diagnostics);
  AnswerLint(model, topology, diagnostics).run();
  InterfaceLint(model, topology, diagnostics).run();
}

}  // namespace espalier::config
