#include "dataplane/address_announcer.hpp"

#include <algorithm>

#include "dataplane/arp.hpp"
#include "dataplane/link_local.hpp"

namespace espalier::dataplane {
namespace {

constexpr MacAddress kBroadcastMac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr uint64_t kNonceMask = 0xffff'ffff'ffff;

// Main lcore; relaxed, since nothing else is published by it.
void set_state(const OwnAddress& own, AddressState state) {
  own.state->store(state, std::memory_order_relaxed);
}

// To a group.
void send(const Interface& out, IpAddress group, std::vector<uint8_t> packet, NeighborOutput& output) {
  output.frames.push_back({out.index, multicast_mac(group), kEtherTypeIpv6, std::move(packet)});
}

// The groups of some of an interface's addresses, told by its link-local address; while it has none, by
// nobody (RFC 3810 section 5.2.13).
void report(const Interface& interface, std::span<const OwnAddress> addresses, bool joined,
            NeighborOutput& output) {
  std::vector<IpAddress> groups;
  for (const OwnAddress& own : addresses)
    if (!own.address().is_v4()) groups.push_back(solicited_node(own.address()));
  std::ranges::sort(groups);
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  const IpAddress own = interface.address_towards(kMldRouters);
  const IpAddress source = own.is_link_local() ? own : IpAddress{};
  for (std::span<const IpAddress> rest = groups; !rest.empty();) {
    const size_t count = std::min(rest.size(), nd::kGroupsPerReport);
    send(interface, kMldRouters, nd::make_report(source, rest.first(count), joined), output);
    rest = rest.subspan(count);
  }
}

}  // namespace

AddressAnnouncer::AddressAnnouncer() : random_(std::random_device{}()) {}

void AddressAnnouncer::announce(const Interface& interface, IpAddress address, NeighborOutput& output) {
  if (address.is_v4())
    output.frames.push_back(
        {interface.index, kBroadcastMac, kEtherTypeArp,
         arp::make(arp::kRequest, interface.mac, address.v4(), MacAddress{}, address.v4())});
  else
    send(interface, kAllNodes, nd::make_advertisement(address, kAllNodes, interface.mac, false), output);
  ++announced_;
}

void AddressAnnouncer::check(const Interface& interface, const OwnAddress& address, uint64_t now_ms,
                             NeighborOutput& output) {
  const uint64_t nonce = (random_() & kNonceMask) | 1;
  set_state(address, AddressState::kTentative);
  checks_.push_back({interface.index, address, nonce, now_ms + kCheckMs});
  send(interface, solicited_node(address.address()), nd::make_check(address.address(), nonce), output);
}

void AddressAnnouncer::start(const Interface& interface, std::span<const OwnAddress> addresses,
                             uint64_t now_ms, NeighborOutput& output) {
  report(interface, addresses, true, output);
  for (const OwnAddress& own : addresses)
    if (own.is_usable())
      announce(interface, own.address(), output);
    else
      check(interface, own, now_ms, output);
}

void AddressAnnouncer::start(const Interface& interface, uint64_t now_ms, NeighborOutput& output) {
  start(interface, interface.addresses, now_ms, output);
}

void AddressAnnouncer::start_new(const Interface& before, const Interface& now, uint64_t now_ms,
                                 NeighborOutput& output) {
  std::vector<OwnAddress> fresh;
  for (const OwnAddress& own : now.addresses)
    if (std::ranges::find(before.addresses, own.address(), &OwnAddress::address) == before.addresses.end())
      fresh.push_back(own);
  start(now, fresh, now_ms, output);
}

void AddressAnnouncer::stop(InterfaceIndex interface) {
  std::erase_if(checks_, [&](const Check& check) { return check.interface == interface; });
  std::erase_if(reports_, [&](const Report& report) { return report.interface == interface; });
}

void AddressAnnouncer::keep_only(const InterfaceTable& interfaces) {
  std::erase_if(checks_, [&](const Check& check) {
    const auto& addresses = interfaces[check.interface].addresses;
    return std::ranges::find(addresses, check.address.state, &OwnAddress::state) == addresses.end();
  });
}

// RFC 4862 section 5.4.3: who asks without a source checks the address as we do, and neither of us gets it.
// Section 5.4.4: who advertises it has it. What others ask with a source is for the time when we have it.
bool AddressAnnouncer::heard(const Interface& in, const nd::Message& message, NeighborOutput& output) {
  const auto own = std::ranges::find(in.addresses, message.target, &OwnAddress::address);
  if (own == in.addresses.end() || own->is_usable()) return false;
  const auto check = std::ranges::find(checks_, own->state, [](const Check& c) { return c.address.state; });
  if (check == checks_.end()) return true;  // refused already
  const bool is_claim = message.kind == nd::Message::Kind::kAdvertisement || message.source == IpAddress{};
  if (!is_claim || (message.nonce != 0 && message.nonce == check->nonce)) return true;
  checks_.erase(check);
  refuse(in, *own, message, output);
  return true;
}

void AddressAnnouncer::refuse(const Interface& in, const OwnAddress& address, const nd::Message& message,
                              NeighborOutput& output) {
  set_state(address, AddressState::kDuplicate);
  ++refused_;
  output.conflicts.push_back({.interface = in.index,
                              .address = address.address(),
                              .mac = message.mac.value_or(MacAddress{}),
                              .refused = true});
}

void AddressAnnouncer::heard_query(const Interface& in, const nd::Message& query, uint64_t now_ms) {
  if (query.target != IpAddress{} && !in.hears(query.target)) return;
  const uint64_t due_ms = now_ms + random_() % (std::min(query.delay_ms, kMaxReportDelayMs) + 1);
  const auto known = std::ranges::find(reports_, in.index, &Report::interface);
  if (known == reports_.end())
    reports_.push_back({in.index, due_ms});
  else
    known->due_ms = std::min(known->due_ms, due_ms);
}

// Nobody objected.
void AddressAnnouncer::settle(const Interface& interface, const OwnAddress& address, NeighborOutput& output) {
  set_state(address, AddressState::kUsable);
  // Reports without a source are for switches only; routers want to hear it from somebody.
  if (address.address().is_link_local()) report(interface, interface.addresses, true, output);
  announce(interface, address.address(), output);
}

void AddressAnnouncer::tick(const InterfaceTable& interfaces, uint64_t now_ms, NeighborOutput& output) {
  for (const Check& check : checks_)
    if (check.due_ms <= now_ms) settle(interfaces[check.interface], check.address, output);
  std::erase_if(checks_, [&](const Check& check) { return check.due_ms <= now_ms; });
  for (const Report& due : reports_)
    if (due.due_ms <= now_ms)
      report(interfaces[due.interface], interfaces[due.interface].addresses, false, output);
  std::erase_if(reports_, [&](const Report& due) { return due.due_ms <= now_ms; });
}

}  // namespace espalier::dataplane
