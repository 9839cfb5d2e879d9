// Source NAT comes before the last policy lookup: a rule that takes a tunnel's traffic makes it leave in
// clear, with another source. What is left of a selector after the excludes is a set of rectangles, source by
// destination.
#include <algorithm>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

struct Rectangle {
  Ipv4Range source, destination;  // never negated
};

bool meets(const Ipv4Range& a, const Ipv4Range& b) {
  return a.low <= b.high && b.low <= a.high;
}
Ipv4Range common(const Ipv4Range& a, const Ipv4Range& b) {
  return {std::max(a.low, b.low), std::min(a.high, b.high)};
}

// What a rule compares, as ranges without negation: a negated one is what lies below and above.
std::vector<Ipv4Range> plain(const Ipv4Range& match) {
  if (!match.negate) return {match};
  std::vector<Ipv4Range> result;
  if (match.low > 0) result.push_back({0, match.low - 1});
  if (match.high < 0xffffffff) result.push_back({match.high + 1, 0xffffffff});
  return result;
}

// The parts of `from` outside of `hole`: below, above, left, right. Precondition: they meet.
std::vector<Rectangle> subtract(const Rectangle& from, const Rectangle& hole) {
  std::vector<Rectangle> rest;
  const Ipv4Range source = common(from.source, hole.source);
  if (from.source.low < source.low) rest.push_back({{from.source.low, source.low - 1}, from.destination});
  if (source.high < from.source.high) rest.push_back({{source.high + 1, from.source.high}, from.destination});
  const Ipv4Range destination = common(from.destination, hole.destination);
  if (from.destination.low < destination.low)
    rest.push_back({source, {from.destination.low, destination.low - 1}});
  if (destination.high < from.destination.high)
    rest.push_back({source, {destination.high + 1, from.destination.high}});
  return rest;
}

class SourceNatLint {
 public:
  SourceNatLint(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
                Diagnostics& diagnostics)
      : model_(model), topology_(topology), traffic_(traffic), diagnostics_(diagnostics) {}

  void run() {
    for (const Protected& selector : traffic_) {
      if (!selector.local.is_ipv4()) continue;
      if (!any_rule_meets(selector)) continue;
      const std::vector<size_t> egress = topology_.egress(selector.remote);
      bool found = egress.empty() && walk(selector, std::nullopt);
      for (size_t i = 0; i < egress.size() && !found; ++i) found = walk(selector, egress[i]);
    }
  }

 private:
  bool any_rule_meets(const Protected& selector) const {
    const Ipv4Range local = range_of(selector.local.ipv4());
    return std::any_of(model_.nat.source.begin(), model_.nat.source.end(), [&](const NatRule& rule) {
      return rule.action != NatAction::kExclude &&
             (rule.source.address.negate || meets(rule.source.address, local));
    });
  }

  // Follows the rules as the packets that leave by `egress` do (nothing: not known, so by every interface).
  bool walk(const Protected& selector, std::optional<size_t> egress) {
    left_ = {{range_of(selector.local.ipv4()), range_of(selector.remote.ipv4())}};
    partial_exclude_ = nullptr;
    for (const NatRule& rule : model_.nat.source) {
      if (rule.disable || !is_consulted(rule, selector, egress)) continue;
      if (rule.action == NatAction::kExclude)
        exclude(rule, selector);
      else if (takes(rule, selector))
        return true;
      if (left_.empty()) return false;
    }
    return false;
  }

  bool is_consulted(const NatRule& rule, const Protected& selector, std::optional<size_t> egress) const {
    const bool interface =
        rule.interface.value == "any" || !egress || rule.interface.value == model_.interfaces[*egress].name;
    return interface && (selector.protocol == kProtoAny || rule.protocol.covers(selector.protocol));
  }

  std::vector<Rectangle> rectangles(const NatRule& rule) const {
    std::vector<Rectangle> result;
    for (const Ipv4Range& source : plain(rule.source.address))
      for (const Ipv4Range& destination : plain(rule.destination.address))
        result.push_back({source, destination});
    return result;
  }

  static bool covers(PortRange rule, PortRange selector) {
    return rule.low <= selector.low && selector.high <= rule.high;
  }

  void exclude(const NatRule& rule, const Protected& selector) {
    // One for some protocols or ports only leaves the others to the rules that follow.
    if (!rule.protocol.covers(selector.protocol) || !covers(rule.source.ports, selector.local_port) ||
        !covers(rule.destination.ports, selector.remote_port))
      return;
    for (const Rectangle& hole : rectangles(rule)) {
      std::vector<Rectangle> rest;
      for (const Rectangle& part : left_) {
        if (!meets(part.source, hole.source) || !meets(part.destination, hole.destination)) {
          rest.push_back(part);
          continue;
        }
        partial_exclude_ = &rule;
        for (const Rectangle& outside : subtract(part, hole)) rest.push_back(outside);
      }
      left_ = std::move(rest);
    }
  }

  bool takes(const NatRule& rule, const Protected& selector) {
    for (const Rectangle& taken : rectangles(rule))
      for (const Rectangle& part : left_) {
        if (!meets(part.source, taken.source) || !meets(part.destination, taken.destination)) continue;
        const Ipv4Range destination = common(part.destination, taken.destination);
        if (is_protected_afterwards(rule, destination)) continue;
        report(rule, selector, common(part.source, taken.source), destination);
        return true;
      }
    return false;
  }

  // NAT before IPsec, as it is meant: the translated packet is for a tunnel again.
  bool is_protected_afterwards(const NatRule& rule, const Ipv4Range& destination) const {
    if (rule.action == NatAction::kMasquerade) return false;
    const auto holds = [](const Ipv4Range& outer, const Ipv4Range& inner) {
      return outer.low <= inner.low && inner.high <= outer.high;
    };
    return std::any_of(traffic_.begin(), traffic_.end(), [&](const Protected& other) {
      return other.local.is_ipv4() && holds(range_of(other.local.ipv4()), rule.translation) &&
             holds(range_of(other.remote.ipv4()), destination);
    });
  }

  void report(const NatRule& rule, const Protected& selector, const Ipv4Range& source,
              const Ipv4Range& destination) {
    const std::string taken = fmt::format("{} -> {}", to_string(source), to_string(destination));
    if (partial_exclude_ != nullptr)
      diagnostics_.warning(
          rule.line,
          "nat.source rule {}: takes {} out of the tunnel ({}, line {}), because exclude rule {} (line {}) "
          "covers only part of {} -> {}: widen the exclude",
          rule.number, taken, selector.name, selector.line, partial_exclude_->number, partial_exclude_->line,
          to_string(selector.local), to_string(selector.remote));
    else
      diagnostics_.warning(rule.line,
                           "nat.source rule {}: takes {} out of the tunnel ({}, line {}), which then leaves "
                           "in clear: add before "
                           "it a rule with source {}, destination {} and exclude = true",
                           rule.number, taken, selector.name, selector.line, to_string(selector.local),
                           to_string(selector.remote));
  }

  const Model& model_;
  const Topology& topology_;
  const std::vector<Protected>& traffic_;
  Diagnostics& diagnostics_;
  std::vector<Rectangle> left_;               // of the selector that is followed
  const NatRule* partial_exclude_ = nullptr;  // the last that took some of it away
};

}  // namespace

void lint_source_nat(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
                     Diagnostics& diagnostics) {
  SourceNatLint(model, topology, traffic, diagnostics).run();
}

}  // namespace espalier::config
