// States and templates that do not find each other, and states that protect less than they seem to.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

// What a template and a state have in common, and the VTI that both are of; SPI 0, reqid 0 and unspecified
// addresses of a template stand for any.
using Key = std::tuple<IpAddress, IpAddress, EspMode, uint32_t, std::string_view>;

Key key_of(const Template& t, const Policy& policy) {
  return {t.record.source, t.record.destination, t.record.mode, t.record.reqid.value, policy.vti.value};
}
Key key_of(const State& s, uint32_t reqid) {
  return {s.source, s.destination, s.mode, reqid, s.vti.value};
}

// Outbound: which states a packet could take.
class OutboundStates {
 public:
  explicit OutboundStates(const std::vector<State>& states) {
    for (const State& state : states)
      for (const uint32_t reqid : std::set<uint32_t>{state.reqid, 0})
        if (state.direction == Direction::kOut) by_key_[key_of(state, reqid)].push_back(&state);
  }
  // Those that the template names.
  std::vector<const State*> serving(const Template& t, const Policy& policy) const {
    const auto found = by_key_.find(key_of(t, policy));
    std::vector<const State*> result;
    if (found == by_key_.end()) return result;
    std::copy_if(found->second.begin(), found->second.end(), std::back_inserter(result),
                 [&](const State* s) { return t.record.spi.value == 0 || t.record.spi.value == s->spi; });
    return result;
  }

 private:
  std::map<Key, std::vector<const State*>> by_key_;
};

bool carries_family(const State& state, Family family) {
  return state.selector || (state.flags & kAfUnspec) != 0 || state.source.family() == family;
}
bool may_carry(const State& state, const Selector& traffic) {
  if (state.selector) return state.selector->overlaps(traffic);
  return carries_family(state, traffic.source.family());
}

// Whether a policy of one way has a template for a state.
class Templates {
 public:
  Templates(const std::vector<Policy>& policies, bool outbound) {
    for (const Policy& policy : policies) {
      if ((policy.direction == Direction::kOut) != outbound) continue;
      vtis_.insert(policy.vti.value);
      for (const Template& t : policy.templates) keys_.emplace(key_of(t, policy), t.record.spi.value);
    }
  }
  bool take(const State& s) const {
    // A VTI without policies takes everything.
    if (!s.vti.value.empty() && !vtis_.contains(s.vti.value)) return true;
    for (const IpAddress& source : {s.source, IpAddress{}})
      for (const IpAddress& destination : {s.destination, IpAddress{}})
        for (const uint32_t reqid : {s.reqid, 0u})
          for (const uint32_t spi : {s.spi, 0u})
            if (keys_.contains({Key(source, destination, s.mode, reqid, s.vti.value), spi})) return true;
    return false;
  }

 private:
  std::set<std::pair<Key, uint32_t>> keys_;
  std::set<std::string_view> vtis_;
};

class StateLint {
 public:
  StateLint(const Model& model, const Topology& topology, Diagnostics& diagnostics)
      : model_(model),
        topology_(topology),
        inbound_(model.policies, false),
        outbound_(model.policies, true),
        diagnostics_(diagnostics) {}

  void run() {
    for (const State& state : model_.states) {
      check_address(state);
      check_use(state);
      check_strength(state);
    }
  }

 private:
  template <class... Args>
  void warn(Lint lint, const State& state, fmt::format_string<Args...> format, Args&&... args) {
    diagnostics_.warning(lint, state.line, "xfrm.state 0x{:x}: {}", state.spi,
                         fmt::format(format, std::forward<Args>(args)...));
  }

  void check_address(const State& state) {
    const bool out = state.direction == Direction::kOut;
    const IpAddress& own = out ? state.source : state.destination;
    if (!topology_.is_own(own))
      warn(Lint::kStateAddress, state,
           "{} {} is no address of this gateway: give it to an interface, or look at direction",
           out ? "src" : "dst", to_text(own));
  }

  void check_use(const State& state) {
    if (state.direction == Direction::kIn && !inbound_.take(state))
      warn(Lint::kStateUnused, state,
           "no in or fwd policy has a template for it, so what it decrypts is dropped: add a policy");
    if (state.direction == Direction::kOut && !outbound_.take(state))
      warn(
          Lint::kStateUnused, state,
          "no out policy has a template for it, so nothing is encrypted with it: add a policy, or remove it");
  }

  void check_strength(const State& state) {
    if (state.integrity != nullptr && state.integrity->weak)
      warn(Lint::kWeakHash, state, "hash {} is weak: use sha256", state.integrity->name);
    if (state.algorithm.cipher == EspCipher::kNull)
      warn(Lint::kNoEncryption, state, "encryption null hides nothing: use aes256gcm128");
    if (state.direction == Direction::kIn && state.replay_window == 0)
      warn(Lint::kReplayOff, state,
           "without a replay window old packets are accepted again: set replay-window = 64");
  }

  const Model& model_;
  const Topology& topology_;
  const Templates inbound_, outbound_;
  Diagnostics& diagnostics_;
};

class TemplateLint {
 public:
  TemplateLint(const Model& model, Diagnostics& diagnostics)
      : model_(model), states_(model.states), diagnostics_(diagnostics) {}

  void run() {
    for (const Policy& policy : model_.policies)
      for (const Template& t : policy.templates)
        if (policy.direction == Direction::kOut && is_needed(t.record)) check(policy, t);
  }

 private:
  // Without addresses the packet's own count; an optional one may be without a state.
  static bool is_needed(const PolicyTemplate& t) {
    return !t.source.is_unspecified() && !t.destination.is_unspecified() &&
           t.level == TemplateLevel::kRequired;
  }

  void check(const Policy& policy, const Template& t) {
    const auto serving = states_.serving(t, policy);
    const int line = t.line != 0 ? t.line : policy.line;
    if (serving.empty())
      return diagnostics_.warning(
          Lint::kTemplateWithoutState, line,
          "xfrm.{}: no out state has src {}, dst {}, reqid {}{} and this mode, so nothing leaves: add the "
          "state",
          policy.name, to_text(t.record.source), to_text(t.record.destination), t.record.reqid.value,
          t.record.spi.value == 0 ? "" : fmt::format(", spi 0x{:x}", t.record.spi.value));
    // An inner template carries the packet itself, an outer one what the inner one made of it.
    const bool innermost = &t == &policy.templates.front();
    if (innermost && std::none_of(serving.begin(), serving.end(),
                                  [&](const State* state) { return may_carry(*state, policy.selector); }))
      warn_of_selector(line, policy, *serving.front());
  }

  void warn_of_selector(int line, const Policy& policy, const State& state) {
    if (!carries_family(state, policy.selector.source.family()))
      return diagnostics_.warning(
          Lint::kTemplateSelector, line,
          "xfrm.{}: state 0x{:x} (line {}) carries {} only, so nothing leaves: give it "
          "a selector, or the flag \"af-unspec\"",
          policy.name, state.spi, state.line, name_of(state.source.family()));
    diagnostics_.warning(Lint::kTemplateSelector, line,
                         "xfrm.{}: the selector of state 0x{:x} (line {}) has nothing in common with the "
                         "policy's, so nothing leaves: make them agree",
                         policy.name, state.spi, state.line);
  }

  const Model& model_;
  const OutboundStates states_;
  Diagnostics& diagnostics_;
};

}  // namespace

void lint_states(const Model& model, const Topology& topology, Diagnostics& diagnostics) {
  StateLint(model, topology, diagnostics).run();
  TemplateLint(model, diagnostics).run();
}

}  // namespace espalier::config
