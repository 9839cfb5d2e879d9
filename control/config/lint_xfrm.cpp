// States and policies that do not find each other, or are never used.
#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <tuple>

#include "control/config/lint.hpp"
#include "control/config/validate.hpp"

namespace espalier::config {
namespace {

// What a template and a state have in common; reqid 0 and unset addresses of a template stand for any.
using Key = std::tuple<IpAddress, IpAddress, Mode, uint32_t>;

// Whether one packet can be in both.
bool overlap(const TrafficSelector& a, const TrafficSelector& b) {
  const bool protocols = a.protocol == kProtoAny || b.protocol == kProtoAny || a.protocol == b.protocol;
  return protocols && a.source.overlaps(b.source) && a.destination.overlaps(b.destination) &&
         a.source_port.overlaps(b.source_port) && a.destination_port.overlaps(b.destination_port);
}

// Outbound: which states a packet could take.
class OutboundStates {
 public:
  explicit OutboundStates(const std::vector<State>& states) {
    for (const State& state : states) {
      if (state.direction != Direction::kOut) continue;
      by_key_[Key(state.source, state.destination, state.mode, state.reqid)].push_back(&state);
      if (state.reqid != 0) by_key_[Key(state.source, state.destination, state.mode, 0)].push_back(&state);
    }
  }
  // Those that the template names.
  std::span<const State* const> serving(const Template& t) const {
    const auto found = by_key_.find(Key(t.source, t.destination, t.mode, t.reqid));
    return found == by_key_.end() ? std::span<const State* const>() : found->second;
  }

 private:
  std::map<Key, std::vector<const State*>> by_key_;
};

bool may_carry(const State* state, const TrafficSelector& traffic) {
  return !state->selector || overlap(*state->selector, traffic);
}

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
    for (const Template& t : policy.templates) {
      if (!t.source.is_set() || !t.destination.is_set()) continue;
      const auto serving = states.serving(t);
      const int line = t.line != 0 ? t.line : policy.line;
      if (serving.empty())
        diagnostics.warning(
            line,
            "xfrm.{}: no out state has src {}, dst {}, reqid {} and this mode, so nothing leaves: add the "
            "state",
            policy.name, to_string(t.source), to_string(t.destination), t.reqid);
      else if (std::none_of(serving.begin(), serving.end(),
                            [&](const State* state) { return may_carry(state, policy.selector); }))
        diagnostics.warning(line,
                            "xfrm.{}: the selector of state 0x{:x} (line {}) has nothing in common with the "
                            "policy's, so nothing "
                            "leaves: make them agree",
                            policy.name, serving.front()->spi, serving.front()->line);
    }
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
