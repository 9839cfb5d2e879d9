// Source NAT comes before the last policy lookup: a rule that takes a tunnel's traffic makes it leave in
// clear, with another source. What is left of a selector after the excludes is a set of rectangles, source by
// destination.
#include <algorithm>

#include "control/config/lint.hpp"

namespace espalier::config {
namespace {

struct Interval {
  uint128 low, high;  // inclusive, IpAddress::host()
};
struct Rectangle {
  Interval source, destination;
};

Interval interval_of(const AddressRange& range) {
  return {range.low.host(), range.high.host()};
}
Interval interval_of(const IpPrefix& prefix) {
  return interval_of(AddressRange::of(prefix));
}
std::string to_text(const Interval& i) {
  return config::to_text(AddressRange{IpAddress::from_host(i.low), IpAddress::from_host(i.high)});
}
bool meets(const Interval& a, const Interval& b) {
  return a.low <= b.high && b.low <= a.high;
}
bool holds(const Interval& outer, const Interval& inner) {
  return outer.low <= inner.low && inner.high <= outer.high;
}
Interval common(const Interval& a, const Interval& b) {
  return {std::max(a.low, b.low), std::min(a.high, b.high)};
}
bool meets(const Rectangle& a, const Rectangle& b) {
  return meets(a.source, b.source) && meets(a.destination, b.destination);
}
Rectangle common(const Rectangle& a, const Rectangle& b) {
  return {common(a.source, b.source), common(a.destination, b.destination)};
}

// What a rule compares, as intervals without negation: a negated one is what lies below and above.
std::vector<Interval> plain(const AddressRange& match) {
  const Interval inside = interval_of(match), all = interval_of(AddressRange::any(match.family()));
  if (!match.negate) return {inside};
  std::vector<Interval> result;
  if (match.low.host() > all.low) result.push_back({all.low, inside.low - 1});
  if (match.high.host() < all.high) result.push_back({inside.high + 1, all.high});
  return result;
}

// The parts of `from` outside of `hole`: below, above, left, right. Precondition: they meet.
std::vector<Rectangle> subtract(const Rectangle& from, const Rectangle& hole) {
  std::vector<Rectangle> rest;
  const Interval source = common(from.source, hole.source);
  if (from.source.low < source.low) rest.push_back({{from.source.low, source.low - 1}, from.destination});
  if (source.high < from.source.high) rest.push_back({{source.high + 1, from.source.high}, from.destination});
  const Interval destination = common(from.destination, hole.destination);
  if (from.destination.low < destination.low)
    rest.push_back({source, {from.destination.low, destination.low - 1}});
  if (destination.high < from.destination.high)
    rest.push_back({source, {destination.high + 1, from.destination.high}});
  return rest;
}

std::vector<Rectangle> rectangles(const NatRule& rule) {
  std::vector<Rectangle> result;
  for (const Interval& source : plain(rule.source.address))
    for (const Interval& destination : plain(rule.destination.address))
      result.push_back({source, destination});
  return result;
}

// Whether a rule matches all of the traffic, or some of it, as far as protocol and ports decide.
bool matches_all(const NatRule& rule, const Protected& traffic) {
  const auto covers = [](PortRange outer, PortRange inner) {
    return outer.low <= inner.low && inner.high <= outer.high;
  };
  return rule.protocol.covers(traffic.protocol) && covers(rule.source.ports, traffic.local_port) &&
         covers(rule.destination.ports, traffic.remote_port);
}
bool matches_some(const NatRule& rule, const Protected& traffic) {
  return (traffic.protocol == kProtoAny || rule.protocol.covers(traffic.protocol)) &&
         rule.source.ports.overlaps(traffic.local_port) &&
         rule.destination.ports.overlaps(traffic.remote_port);
}

// What the rule makes of the addresses, where it is not a masquerade.
Interval translated(const NatRule& rule, const Interval& from) {
  const Interval to = interval_of(rule.translation);
  if (rule.action != NatTranslation::kPrefix) return to;
  const uint128 hosts = to.high - to.low;  // 1:1: the bits of the host stay
  return {to.low | (from.low & hosts), to.low | (from.high & hosts)};
}

class SourceNatLint {
 public:
  SourceNatLint(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
                Diagnostics& diagnostics)
      : model_(model), topology_(topology), traffic_(traffic), diagnostics_(diagnostics) {
    for (const NatRule& rule : model.nat.source)
      if (!rule.disable && rule.action != NatTranslation::kExclude &&
          rule.action != NatTranslation::kMasquerade && !topology.connected(rule.translation.low))
        made_by_nat_.push_back(interval_of(rule.translation));
  }

  void run() {
    for (const Protected& selector : traffic_) {
      if (!any_rule_meets(selector)) continue;
      const std::vector<size_t> egress = egress_of(selector);
      bool found = egress.empty() && walk(selector, std::nullopt);
      for (size_t i = 0; i < egress.size() && !found; ++i) found = walk(selector, egress[i]);
    }
  }

 private:
  std::vector<size_t> egress_of(const Protected& selector) const {
    if (selector.policy != nullptr && !selector.policy->interface.value.empty())
      return {*topology_.interface(selector.policy->interface.value)};
    return topology_.egress(selector.remote);
  }

  bool any_rule_meets(const Protected& selector) const {
    const Interval local = interval_of(selector.local);
    return std::any_of(model_.nat.source.begin(), model_.nat.source.end(), [&](const NatRule& rule) {
      return rule.family == selector.local.family() && rule.action != NatTranslation::kExclude &&
             (rule.source.address.negate || meets(interval_of(rule.source.address), local));
    });
  }

  // Follows the rules as the packets that leave by `egress` do (nothing: not known, so by every interface).
  bool walk(const Protected& selector, std::optional<size_t> egress) {
    left_ = {{interval_of(selector.local), interval_of(selector.remote)}};
    for (const Interval& made : made_by_nat_) take_away({made, interval_of(IpPrefix::any(Family::kIpv6))});
    partial_exclude_ = nullptr;
    for (const NatRule& rule : model_.nat.source) {
      if (rule.disable || rule.family != selector.local.family() || !is_consulted(rule, selector, egress))
        continue;
      if (rule.action != NatTranslation::kExclude && takes(rule, selector, egress)) return true;
      if (matches_all(rule, selector)) settle(rule);
      if (left_.empty()) return false;
    }
    return false;
  }

  bool is_consulted(const NatRule& rule, const Protected& selector, std::optional<size_t> egress) const {
    const bool interface =
        rule.interface.value == "any" || !egress || rule.interface.value == model_.interfaces[*egress].name;
    // One for what no policy protects is not asked for this traffic.
    return interface && rule.ipsec != IpsecMatch::kNone && matches_some(rule, selector);
  }

  // What the rule matches is decided: the rules that follow do not see it.
  void settle(const NatRule& rule) {
    for (const Rectangle& hole : rectangles(rule))
      if (take_away(hole) && rule.action == NatTranslation::kExclude) partial_exclude_ = &rule;
  }

  // Whether there was some of it.
  bool take_away(const Rectangle& hole) {
    std::vector<Rectangle> rest;
    bool found = false;
    for (const Rectangle& part : left_) {
      if (!meets(part, hole)) {
        rest.push_back(part);
        continue;
      }
      found = true;
      for (const Rectangle& outside : subtract(part, hole)) rest.push_back(outside);
    }
    left_ = std::move(rest);
    return found;
  }

  bool takes(const NatRule& rule, const Protected& selector, std::optional<size_t> egress) {
    for (const Rectangle& match : rectangles(rule))
      for (const Rectangle& part : left_) {
        if (!meets(part, match)) continue;
        const Rectangle taken = common(part, match);
        if (is_unchanged(rule, taken, egress) || is_protected_afterwards(rule, selector, taken)) continue;
        report(rule, selector, taken.source, taken.destination);
        return true;
      }
    return false;
  }

  // The gateway's own address, masqueraded by itself: source NAT that changes nothing asks no policy again.
  bool is_unchanged(const NatRule& rule, const Rectangle& taken, std::optional<size_t> egress) const {
    if (!egress || taken.source.low != taken.source.high) return false;
    const IpAddress source = IpAddress::from_host(taken.source.low);
    return translated_address(rule, source, model_, topology_, *egress,
                              IpAddress::from_host(taken.destination.low)) == source;
  }

  // NAT before IPsec, as it is meant: the translated packet is for a tunnel again.
  bool is_protected_afterwards(const NatRule& rule, const Protected& selector, const Rectangle& taken) const {
    if (rule.action == NatTranslation::kMasquerade) return false;
    const Interval source = translated(rule, taken.source);
    return std::any_of(traffic_.begin(), traffic_.end(), [&](const Protected& other) {
      return (other.protocol == kProtoAny || other.protocol == selector.protocol ||
              (rule.protocol.protocol == other.protocol && !rule.protocol.tcp_and_udp)) &&
             holds(interval_of(other.local), source) && holds(interval_of(other.remote), taken.destination);
    });
  }

  void report(const NatRule& rule, const Protected& selector, const Interval& source,
              const Interval& destination) {
    const std::string taken = fmt::format("{} -> {}", to_text(source), to_text(destination));
    if (partial_exclude_ != nullptr)
      diagnostics_.warning(Lint::kNatPartialExclude, rule.line,
                           "{}: takes {} out of the tunnel ({}, line {}), because exclude rule {} (line {}) "
                           "covers only part of {} -> {}: widen the exclude",
                           path_of(rule), taken, selector.name, selector.line, partial_exclude_->number,
                           partial_exclude_->line, config::to_text(selector.local),
                           config::to_text(selector.remote));
    else
      diagnostics_.warning(Lint::kNatSwallowsTunnel, rule.line,
                           "{}: takes {} out of the tunnel ({}, line {}), which then leaves "
                           "in clear: add before "
                           "it a rule with source {}, destination {} and exclude = true",
                           path_of(rule), taken, selector.name, selector.line,
                           config::to_text(selector.local), config::to_text(selector.remote));
  }

  const Model& model_;
  const Topology& topology_;
  const std::vector<Protected>& traffic_;
  Diagnostics& diagnostics_;
  // Sources that no host has, since a rule makes them: a packet that has one has passed the rules.
  std::vector<Interval> made_by_nat_;
  std::vector<Rectangle> left_;               // of the selector that is followed
  const NatRule* partial_exclude_ = nullptr;  // the last that took some of it away
};

// The address of a masquerade: of the interface's, that in the next hop's network, else the first.
std::optional<IpAddress> masquerade_address(const Model& model, const Topology& topology, size_t interface,
                                            const IpAddress& destination) {
  std::vector<IpPrefix> own;
  for (const auto& address : model.interfaces[interface].addresses)
    if (address.value.family() == destination.family() && !address.value.address.is_link_local())
      own.push_back(address.value);
  if (own.empty()) return std::nullopt;
  if (own.size() == 1) return own[0].address;
  const IpAddress hop = topology.next_hop(destination, interface);
  const auto near = std::find_if(own.begin(), own.end(), [&](const IpPrefix& p) { return p.contains(hop); });
  return near == own.end() ? own[0].address : near->address;
}

}  // namespace

std::optional<IpAddress> translated_address(const NatRule& rule, const IpAddress& address, const Model& model,
                                            const Topology& topology, std::optional<size_t> interface,
                                            const IpAddress& destination) {
  if (rule.action == NatTranslation::kExclude) return address;
  if (rule.action == NatTranslation::kMasquerade)
    return interface ? masquerade_address(model, topology, *interface, destination) : std::nullopt;
  const Interval to = translated(rule, {address.host(), address.host()});
  if (to.low != to.high) return std::nullopt;
  return IpAddress::from_host(to.low);
}

void lint_source_nat(const Model& model, const Topology& topology, const std::vector<Protected>& traffic,
                     Diagnostics& diagnostics) {
  SourceNatLint(model, topology, traffic, diagnostics).run();
}

}  // namespace espalier::config
