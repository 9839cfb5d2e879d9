#include <algorithm>
#include <bit>
#include <deque>
#include <map>

#include "dataplane/spd.hpp"

namespace espalier::dataplane {

namespace {

bool is_protecting(const PolicyRecord& p) {
  return p.action == PolicyAction::kProtect && p.vti == kNoInterface;
}
bool names_ports(const Selector& s) {
  return !s.source_port.is_any() || !s.destination_port.is_any();
}
bool names_protocol_that_hides(const Selector& s) {
  return !s.source.address.is_v4() && s.protocol != kProtoAny;
}

PolicyRecord without_ports(PolicyRecord policy, uint8_t protocol) {
  policy.selector.source_port = policy.selector.destination_port = {};
  policy.selector.protocol = protocol;
  return policy;
}

}  // namespace

Spd::Spd(std::span<const PolicyRecord> policies) : policies_(policies.begin(), policies.end()) {
  std::map<ListKey, std::vector<const PolicyRecord*>> by_list;
  std::deque<PolicyRecord> blind;  // their addresses stay
  for (const PolicyRecord& policy : policies_) {
    const Family family = policy.selector.source.family();
    if (policy.selector.destination.family() == family)  // else no packet ever matches
      by_list[key_of(policy.direction, family, policy.vti)].push_back(&policy);
    if (!is_protecting(policy)) continue;
    auto& hidden = by_list[key_of(port_blind(policy.direction), family, kNoInterface)];
    if (names_ports(policy.selector))
      hidden.push_back(&blind.emplace_back(without_ports(policy, policy.selector.protocol)));
    if (names_protocol_that_hides(policy.selector))
      hidden.push_back(&blind.emplace_back(without_ports(policy, kProtoHidden)));
  }
  for (const auto& [key, members] : by_list) lists_.push_back({key, build_groups(members)});
}

Spd::~Spd() = default;

Spd::Groups Spd::build_groups(std::span<const PolicyRecord* const> policies) {
  std::map<std::pair<uint8_t, uint8_t>, std::vector<const PolicyRecord*>> by_lengths;
  for (const PolicyRecord* policy : policies)
    by_lengths[{policy->selector.source.length, policy->selector.destination.length}].push_back(policy);
  Groups groups;
  for (auto& [lengths, members] : by_lengths) {
    std::ranges::sort(members, {}, [](const PolicyRecord* p) {
      return std::tuple(p->selector.source.network(), p->selector.destination.network(), rank(*p));
    });
    groups.push_back(build_group(members));
  }
  std::ranges::sort(groups, {}, &Group::best_rank);
  return groups;
}

// `members` have equal prefix lengths and are sorted by addresses, then rank.
Spd::Group Spd::build_group(std::span<const PolicyRecord* const> members) {
  Group group;
  group.masks = Pair::masks(members.front()->selector);
  group.best_rank = UINT64_MAX;
  group.buckets.resize(std::bit_ceil(members.size() * 2));
  group.shift = 64 - std::countr_zero(group.buckets.size());
  group.candidates.reserve(members.size());
  for (const PolicyRecord* policy : members) {
    const Selector& s = policy->selector;
    const Pair addresses = Pair::of(s);
    if (!group.candidates.empty() && group.candidates.back().addresses == addresses)
      group.candidates.back().is_last = false;
    else
      place(group, addresses);
    group.candidates.push_back({.addresses = addresses,
                                .rank = rank(*policy),
                                .source_port = s.source_port,
                                .destination_port = s.destination_port,
                                .egress = policy->interface,
                                .protocol = s.protocol,
                                .is_last = true});
    group.best_rank = std::min(group.best_rank, rank(*policy));
  }
  return group;
}

// Leads `addresses` to the candidate that is added next.
void Spd::place(Group& group, const Pair& addresses) {
  const uint32_t tag = tag_of(addresses);
  const size_t last = group.buckets.size() - 1;
  size_t slot = slot_of(group, tag);
  while (group.buckets[slot].first != kNone32) slot = (slot + 1) & last;
  group.buckets[slot] = {tag, static_cast<uint32_t>(group.candidates.size())};
}

}  // namespace espalier::dataplane
