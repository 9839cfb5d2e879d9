// States and policies that do not find each other, or are never used.
#include <set>
#include <tuple>

#include "control/config/lint.hpp"
#include "control/config/validate.hpp"

namespace espalier::config {
namespace {

// What a template and a state have in common; reqid 0 and unset addresses of a template stand for any.
using Key = std::tuple<IpAddress, IpAddress, Mode, uint32_t>;

// Outbound: which state a packet would take.
class OutboundStates {
 public:
  explicit OutboundStates(const std::vector<State>& states) {
    for (const State& state : states) {
      if (state.direction != Direction::kOut) continue;
      keys_.emplace(state.source, state.destination, state.mode, state.reqid);
      keys_.emplace(state.source, state.destination, state.mode, 0);
    }
  }
  bool serve(const Template& t) const {
    return keys_.contains(Key(t.source, t.destination, t.mode, t.reqid));
  }

 private:
  std::set<Key> keys_;
};

// Inbound: whether a policy lets through what a state decrypts.
class InboundTemplates {
 public:
  explicit InboundTemplates(const std::vector<Policy>& policies) {
    for (const Policy& policy : policies)
      for (const Template& t : policy.templates)
        if (policy.direction != Direction::kOut) keys_.emplace(t.source, t.destination, t.mode, t.reqid);
  }
  bool accept(const State& s) const {
    for (const IpAddress& source : {s.source, IpAddress{}})
      for (const IpAddress& destination : {s.destination, IpAddress{}})
        for (const uint32_t reqid : {s.reqid, 0u})
          if (keys_.contains(Key(source, destination, s.mode, reqid))) return true;
    return false;
  }

 private:
  std::set<Key> keys_;
};

void check_states(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  const InboundTemplates templates(model.policies);
  for (const State& state : model.states) {
    const auto warn = [&](const std::string& text) {
      diagnostics.warning(state.line, "xfrm.state 0x{:x}: {}", state.spi, text);
    };
    const bool out = state.direction == Direction::kOut;
    const IpAddress& own = out ? state.source : state.destination;
    if (!topology.is_own(own))
      warn(fmt::format("{} {} is no address of this gateway: give it to an interface, or look at direction",
                       out ? "src" : "dst", to_string(own)));
    if (!out && !templates.accept(state))
      warn("no in or fwd policy has a template for it, so what it decrypts is dropped: add a policy");
    if (state.integrity != nullptr && state.integrity->weak)
      warn(fmt::format("hash {} is weak: use sha256", state.integrity->name));
  }
}

void check_templates(const Model& model, Diagnostics& diagnostics) {
  const OutboundStates states(model.states);
  for (const Policy& policy : model.policies) {
    if (policy.direction != Direction::kOut) continue;
    for (const Template& t : policy.templates)
      if (t.source.is_set() && t.destination.is_set() && !states.serve(t))
        diagnostics.warning(
            t.line != 0 ? t.line : policy.line,
            "xfrm.{}: no out state has src {}, dst {}, reqid {} and this mode, so nothing leaves: add the "
            "state",
            policy.name, to_string(t.source), to_string(t.destination), t.reqid);
  }
}

// Of two policies for the same traffic the one with the lower priority number, then the earlier, is used.
void check_shadowed(const Model& model, Diagnostics& diagnostics) {
  for_each_duplicate(
      model.policies,
      [](const Policy& p) {
        const TrafficSelector& s = p.selector;
        return std::tuple(p.direction, s.source, s.destination, s.protocol, s.source_port.low,
                          s.source_port.high, s.destination_port.low, s.destination_port.high);
      },
      [&](const Policy& first, const Policy& second) {
        const bool earlier_wins = first.priority <= second.priority;
        const Policy& used = earlier_wins ? first : second;
        const Policy& unused = earlier_wins ? second : first;
        diagnostics.warning(unused.line,
                            "xfrm.{}: is never used, because {} (line {}) has the same selector: remove one",
                            unused.name, used.name, used.line);
      });
}

}  // namespace

void lint_xfrm(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  check_states(model, topology, diagnostics);
  check_templates(model, diagnostics);
  check_shadowed(model, diagnostics);
}

}  // namespace espalier::config
