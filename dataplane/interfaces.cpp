#include "dataplane/interfaces.hpp"

#include <algorithm>
#include <bit>

#include "dataplane/link_local.hpp"

namespace espalier::dataplane {
namespace {

// What an address is compared by, most important first; the higher is the better source.
struct SourceRank {
  bool is_destination = false;   // RFC 6724 section 5, rule 1
  bool reaches = false;          // rule 2: of no smaller scope than the destination
  bool is_of_its_scope = false;  // rule 2: and of no larger one than it needs
  uint8_t common_bits = 0;       // rule 8, within the network only, as Linux has it
  auto operator<=>(const SourceRank&) const = default;
};

int common_bits(IpAddress a, IpAddress b) {
  const uint64_t high = a.high.host() ^ b.high.host();
  return high != 0 ? std::countl_zero(high) : 64 + std::countl_zero(a.low.host() ^ b.low.host());
}

// A group of the link's scope (RFC 4291 section 2.7) is reached as a link-local address is.
bool is_of_link_scope(IpAddress a) {
  return a.is_link_local() || (!a.is_v4() && a.is_multicast() && (a.high.host() >> 48 & 0xf) <= 2);
}

SourceRank rank(const IpPrefix& own, IpAddress destination) {
  const bool link_scope = is_of_link_scope(destination);
  return {
      .is_destination = own.address == destination,
      .reaches = link_scope || !own.address.is_link_local(),
      .is_of_its_scope = link_scope == own.address.is_link_local(),
      .common_bits = static_cast<uint8_t>(std::min<int>(common_bits(own.address, destination), own.length))};
}

IpAddress ipv4_towards(const std::vector<OwnAddress>& addresses, IpAddress destination) {
  const OwnAddress* primary = nullptr;
  for (const OwnAddress& own : addresses) {
    if (!own.address().is_v4()) continue;
    if (own.prefix.contains(destination)) return own.address();
    if (primary == nullptr) primary = &own;
  }
  return primary ? primary->address() : IpAddress{};
}

IpAddress ipv6_towards(const std::vector<OwnAddress>& addresses, IpAddress destination) {
  const OwnAddress* best = nullptr;
  SourceRank best_rank;
  for (const OwnAddress& own : addresses) {
    if (own.address().is_v4() || !own.is_usable()) continue;
    const SourceRank its = rank(own.prefix, destination);
    if (best != nullptr && its < best_rank) continue;  // as in Linux the last of equals
    best = &own;
    best_rank = its;
  }
  return best ? best->address() : IpAddress{};
}

// Whether packets with this source get beyond what their destination asks for.
bool reaches(IpAddress source, IpAddress destination) {
  return source != IpAddress{} && (is_of_link_scope(destination) || !source.is_link_local());
}

}  // namespace

bool Interface::has_ipv6() const {
  return std::ranges::any_of(addresses, [](const OwnAddress& own) { return !own.address().is_v4(); });
}

bool Interface::has_address(IpAddress address) const {
  return std::ranges::any_of(
      addresses, [&](const OwnAddress& own) { return own.address() == address && own.is_usable(); });
}

bool Interface::has_network_with(IpAddress address) const {
  return std::ranges::any_of(addresses, [&](const OwnAddress& own) { return own.prefix.contains(address); });
}

bool Interface::hears(IpAddress group) const {
  if (!has_ipv6()) return false;
  if (group == kAllNodes || group == kAllRouters) return true;
  return std::ranges::any_of(addresses, [&](const OwnAddress& own) {
    return !own.address().is_v4() && solicited_node(own.address()) == group;
  });
}

IpAddress Interface::address_towards(IpAddress destination) const {
  return destination.is_v4() ? ipv4_towards(addresses, destination) : ipv6_towards(addresses, destination);
}

bool InterfaceTable::is_own_address(IpAddress a) const {
  auto found = std::ranges::lower_bound(own_, a, {}, &Own::address);
  for (; found != own_.end() && found->address == a; ++found)
    if (found->entry->is_usable()) return true;
  return false;
}

InterfaceIndex InterfaceTable::connected_to(IpAddress a) const {
  InterfaceIndex best = kNoInterface;
  int best_length = -1;
  if (a.is_link_local()) return best;
  for (const Interface& interface : interfaces_)
    for (const OwnAddress& own : interface.addresses)
      if (own.prefix.contains(a) && own.prefix.length > best_length) {
        best = interface.index;
        best_length = own.prefix.length;
      }
  return best;
}

IpAddress InterfaceTable::address_towards(InterfaceIndex out, IpAddress destination) const {
  const IpAddress own = (*this)[out].address_towards(destination);
  if (reaches(own, destination)) return own;
  for (const Interface& other : interfaces_)
    if (const IpAddress its = other.address_towards(destination); reaches(its, destination)) return its;
  return own;
}

}  // namespace espalier::dataplane
