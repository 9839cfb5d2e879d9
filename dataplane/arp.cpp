#include "dataplane/arp.hpp"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

namespace espalier::dataplane {
namespace {

constexpr uint16_t kHardwareEthernet = 1;
constexpr uint16_t kRequest = 1, kReply = 2;
constexpr MacAddress kBroadcastMac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr uint64_t kNever = UINT64_MAX;

uint64_t key_of(InterfaceIndex interface, Ipv4Address address) {
  return uint64_t{interface.value} << 32 | address.host();
}
InterfaceIndex interface_of(uint64_t key) {
  return InterfaceIndex(static_cast<uint16_t>(key >> 32));
}
Ipv4Address address_of(uint64_t key) {
  return Ipv4Address::from_host(static_cast<uint32_t>(key));
}

bool is_station(const MacAddress& mac) {
  return !(mac[0] & 1) && mac != MacAddress{};
}

// False for what no station sends. A sender address of zero is a probe (RFC 5227 section 2.1.1).
bool parse(std::span<const uint8_t> bytes, ArpPacket& arp) {
  if (bytes.size() < sizeof arp) return false;
  std::memcpy(&arp, bytes.data(), sizeof arp);
  const uint16_t operation = arp.operation.host();
  return arp.hardware_type.host() == kHardwareEthernet && arp.protocol_type.host() == kEtherTypeIpv4 &&
         arp.hardware_bytes == sizeof(MacAddress) && arp.protocol_bytes == sizeof(Ipv4Address) &&
         (operation == kRequest || operation == kReply) && is_station(arp.sender_mac) &&
         !arp.sender_ip.is_multicast() && !arp.sender_ip.is_broadcast() && !arp.sender_ip.is_loopback();
}

ArpPacket make_arp(uint16_t operation, const MacAddress& sender_mac, Ipv4Address sender_ip,
                   const MacAddress& target_mac, Ipv4Address target_ip) {
  return {.hardware_type = be16::from_host(kHardwareEthernet),
          .protocol_type = be16::from_host(kEtherTypeIpv4),
          .hardware_bytes = sizeof(MacAddress),
          .protocol_bytes = sizeof(Ipv4Address),
          .operation = be16::from_host(operation),
          .sender_mac = sender_mac,
          .sender_ip = sender_ip,
          .target_mac = target_mac,
          .target_ip = target_ip};
}

bool has_network_with(const Interface& interface, Ipv4Address address) {
  return std::ranges::any_of(interface.addresses,
                             [&](const Ipv4Prefix& own) { return own.contains(address); });
}

bool is_same_interface(const Interface& a, const Interface& b) {
  return a.name.view() == b.name.view() && a.port == b.port && a.vlan_id == b.vlan_id;
}

void drop(rte_mbuf* mbuf, DropReason reason, ArpOutput& output) {
  packet(mbuf).reason = reason;
  packet(mbuf).exit = Exit::kDrop;
  output.dropped.push_back(mbuf);
}

}  // namespace

ArpResolver::ArpResolver(NeighborTable& table) : table_(table) {}

ArpResolver::~ArpResolver() {
  for (auto& [key, entry] : entries_)
    for (rte_mbuf* mbuf : entry.queue) rte_pktmbuf_free(mbuf);
}

// --- Entries and their states ---

namespace {

using State = message::NeighborState;

bool is_unresolved(State state) {
  return state == State::kIncomplete || state == State::kFailed;
}

// How long tick() leaves an entry alone in a state.
uint64_t pause_ms(State state) {
  switch (state) {
    case State::kIncomplete:
    case State::kProbe:
      return ArpResolver::kRetryMs;
    case State::kReachable:
      return ArpResolver::kReachableMs;
    case State::kStale:
      return ArpResolver::kStaleCheckMs;
    case State::kFailed:
      return ArpResolver::kFailedMs;
    case State::kPermanent:
      return kNever;
  }
  return kNever;
}

}  // namespace

ArpResolver::Entry* ArpResolver::find(Key key) {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

// A new entry, incomplete; null when the table is full. Invalidates no other.
ArpResolver::Entry* ArpResolver::add(Key key, uint64_t now_ms) {
  const NeighborRef ref = table_.find_or_add(interface_of(key), address_of(key));
  if (ref == kNoNeighbor) return nullptr;
  Entry& entry = entries_[key];
  entry.ref = ref;
  entry.due_ms = entry.confirmed_ms = entry.used_ms = now_ms;
  ++unresolved_;
  return &entry;
}

ArpResolver::Entries::iterator ArpResolver::remove(Entries::iterator found, ArpOutput& output) {
  Entry& entry = found->second;
  discard(entry, DropReason::kEgressDown, output);  // only where its interface went: others have no queue
  table_.remove(entry.ref);
  unresolved_ -= is_unresolved(entry.state);
  permanent_ -= entry.state == State::kPermanent;
  return entries_.erase(found);
}

void ArpResolver::become(Entry& entry, State state, uint64_t now_ms) {
  unresolved_ += is_unresolved(state);
  unresolved_ -= is_unresolved(entry.state);
  entry.state = state;
  entry.tries = 0;
  const uint64_t pause = pause_ms(state);
  entry.due_ms = pause == kNever ? kNever : now_ms + pause;
}

void ArpResolver::resolved(Entry& entry, State state, const MacAddress& mac, uint64_t now_ms,
                           ArpOutput& output) {
  const bool is_news = is_unresolved(entry.state) || entry.mac != mac;
  entry.mac = mac;
  entry.confirmed_ms = now_ms;
  become(entry, state, now_ms);
  if (is_news) table_.set_usable(entry.ref, mac);
  release(entry, output);
}

// An answer to our own question confirms a neighbour; anything else only tells its MAC address, which is then
// to be checked when it is used (stale). What is known already does not make it stale earlier.
void ArpResolver::learn(Entry& entry, const MacAddress& mac, bool solicited, uint64_t now_ms,
                        ArpOutput& output) {
  if (entry.state == State::kPermanent) return;
  if (solicited)
    resolved(entry, State::kReachable, mac, now_ms, output);
  else if (is_unresolved(entry.state) || entry.mac != mac)
    resolved(entry, State::kStale, mac, now_ms, output);
}

// What is due. False: the entry is to be removed.
bool ArpResolver::advance(Key key, Entry& entry, uint64_t now_ms, ArpOutput& output) {
  switch (entry.state) {
    case State::kIncomplete:
      if (entry.tries < kTries) {
        request(key, entry, now_ms, output);
      } else {
        discard(entry, DropReason::kNeighborUnresolved, output);
        become(entry, State::kFailed, now_ms);
        table_.set_unusable(entry.ref, NeighborTable::State::kFailed);
      }
      return true;
    case State::kProbe:
      if (entry.tries >= kTries) {
        table_.set_unusable(entry.ref);
        become(entry, State::kIncomplete, now_ms);
      }
      request(key, entry, now_ms, output);
      return true;
    case State::kReachable:
      if (table_.take_used(entry.ref)) entry.used_ms = now_ms;
      become(entry, State::kStale, now_ms);
      return true;
    case State::kStale:
      return advance_stale(key, entry, now_ms, output);
    case State::kFailed:
      return false;
    case State::kPermanent:
      return true;
  }
  return true;
}

bool ArpResolver::advance_stale(Key key, Entry& entry, uint64_t now_ms, ArpOutput& output) {
  if (table_.take_used(entry.ref)) {
    entry.used_ms = now_ms;
    become(entry, State::kProbe, now_ms);
    request(key, entry, now_ms, output);
    return true;
  }
  entry.due_ms = now_ms + kStaleCheckMs;
  return now_ms - entry.used_ms < kUnusedMs;
}

void ArpResolver::tick(uint64_t now_ms, ArpOutput& output) {
  if (!interfaces_) return;
  follow_links(output);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const bool keep = entry->second.due_ms > now_ms || advance(entry->first, entry->second, now_ms, output);
    entry = keep ? std::next(entry) : remove(entry, output);
  }
}

// --- Packets ---

void ArpResolver::hold(Entry& entry, rte_mbuf* mbuf, ArpOutput& output) {
  if (entry.queue.size() == kQueuedPackets) {
    drop(entry.queue.front(), DropReason::kNeighborQueueFull, output);
    entry.queue.erase(entry.queue.begin());
    --queued_;
  }
  if (queued_ == kQueuedPacketsTotal) return drop(mbuf, DropReason::kNeighborQueueFull, output);
  entry.queue.push_back(mbuf);
  ++queued_;
  if (is_unresolved(entry.state) && entry.queue.size() == kQueuedPackets)
    table_.set_unusable(entry.ref, NeighborTable::State::kQueueFull);
}

void ArpResolver::release(Entry& entry, ArpOutput& output) {
  for (rte_mbuf* mbuf : entry.queue) {
    packet(mbuf).neighbor = entry.ref.value;
    output.ready.push_back(mbuf);
  }
  queued_ -= entry.queue.size();
  entry.queue.clear();
}

void ArpResolver::discard(Entry& entry, DropReason reason, ArpOutput& output) {
  for (rte_mbuf* mbuf : entry.queue) drop(mbuf, reason, output);
  queued_ -= entry.queue.size();
  entry.queue.clear();
}

void ArpResolver::queue_packet(rte_mbuf* mbuf, uint64_t now_ms, ArpOutput& output) {
  const Packet& record = packet(mbuf);
  if (!has_wire(record.out) || !(*interfaces_)[record.out].is_up())
    return drop(mbuf, DropReason::kEgressDown, output);
  const Key key = key_of(record.out, record.next_hop);
  Entry* entry = find(key);
  if (entry == nullptr) {
    if (entries_.size() - permanent_ < kMaxEntries && unresolved_ < kMaxUnresolved) entry = add(key, now_ms);
    if (entry == nullptr) return drop(mbuf, DropReason::kNeighborQueueFull, output);
    request(key, *entry, now_ms, output);
  }
  entry->used_ms = now_ms;
  if (entry->state == State::kFailed) return drop(mbuf, DropReason::kNeighborUnresolved, output);
  hold(*entry, mbuf, output);
  if (!is_unresolved(entry->state)) release(*entry, output);
}

// --- Frames ---

void ArpResolver::handle(InterfaceIndex in, std::span<const uint8_t> bytes, uint64_t now_ms,
                         ArpOutput& output) {
  ++counters_.received;
  ArpPacket arp;
  if (!parse(bytes, arp)) {
    ++counters_.malformed;
    return;
  }
  // A frame of our own that came back shows a loop or a second port on the same wire, but no neighbour.
  if (!has_wire(in) || !(*interfaces_)[in].is_up() || is_own_mac(arp.sender_mac)) return;
  if (interfaces_->is_own_address(arp.sender_ip)) {
    ++counters_.conflicts;
    output.conflicts.push_back({in, arp.sender_ip, arp.sender_mac});
    return;
  }
  if (!arp.sender_ip.is_unspecified()) learn_from(in, arp, now_ms, output);
  // As Linux does by default (arp_ignore 0), for any own address; also to probes, which defends the address.
  if (arp.operation.host() == kRequest && interfaces_->is_own_address(arp.target_ip))
    answer((*interfaces_)[in], arp, output);
}

void ArpResolver::learn_from(InterfaceIndex in, const ArpPacket& arp, uint64_t now_ms, ArpOutput& output) {
  const Interface& interface = (*interfaces_)[in];
  const bool is_request = arp.operation.host() == kRequest;
  const bool is_for_us = interfaces_->is_own_address(arp.target_ip);
  const bool is_solicited = !is_request && is_for_us && arp.target_mac == interface.mac;
  const Key key = key_of(in, arp.sender_ip);
  Entry* entry = find(key);
  if (entry == nullptr && is_request && is_for_us && has_network_with(interface, arp.sender_ip) &&
      entries_.size() - permanent_ < kMaxToLearn)
    entry = add(key, now_ms);
  if (entry != nullptr) learn(*entry, arp.sender_mac, is_solicited, now_ms, output);
}

// A broadcast, or to the known MAC address where that is only to be confirmed. Without an own address in the
// neighbour's network the interface's first one asks, as with Linux.
void ArpResolver::request(Key key, Entry& entry, uint64_t now_ms, ArpOutput& output) {
  const Interface& interface = (*interfaces_)[interface_of(key)];
  const Ipv4Address target = address_of(key);
  const Ipv4Address own = interface.address_towards(target);
  const bool is_probe = entry.state == State::kProbe;
  ++entry.tries;
  entry.due_ms = now_ms + kRetryMs;
  output.frames.push_back(
      {interface.index, is_probe ? entry.mac : kBroadcastMac,
       make_arp(kRequest, interface.mac, own, is_probe ? entry.mac : MacAddress{}, target)});
  ++counters_.requested;
}

void ArpResolver::answer(const Interface& in, const ArpPacket& request, ArpOutput& output) {
  output.frames.push_back(
      {in.index, request.sender_mac,
       make_arp(kReply, in.mac, request.target_ip, request.sender_mac, request.sender_ip)});
  ++counters_.answered;
}

// RFC 5227 section 2.3: a request for the address by its owner.
void ArpResolver::announce(const Interface& interface, Ipv4Address address, ArpOutput& output) {
  output.frames.push_back(
      {interface.index, kBroadcastMac, make_arp(kRequest, interface.mac, address, {}, address)});
  ++counters_.announced;
}

// --- Interfaces ---

// Whether it exists and speaks Ethernet.
bool ArpResolver::has_wire(InterfaceIndex interface) const {
  return interfaces_ && interface.value < interfaces_->size() && (*interfaces_)[interface].port != kNoPort;
}

bool ArpResolver::is_own_mac(const MacAddress& mac) const {
  return std::ranges::any_of(*interfaces_,
                             [&](const Interface& i) { return i.port != kNoPort && i.mac == mac; });
}

// All but the permanent ones.
void ArpResolver::forget_interface(InterfaceIndex interface, ArpOutput& output) {
  auto entry = entries_.lower_bound(key_of(interface, {}));
  while (entry != entries_.end() && interface_of(entry->first) == interface) {
    const bool stays = entry->second.state == State::kPermanent;
    entry = stays ? std::next(entry) : remove(entry, output);
  }
}

// Gratuitous ARP when a link comes up moves our addresses on in switches and neighbours; what we knew about
// the neighbours of a link that went down may no longer be so.
void ArpResolver::follow_links(ArpOutput& output) {
  for (const Interface& interface : *interfaces_) {
    if (interface.port == kNoPort) continue;
    const bool is_up = interface.is_up();
    if (is_up == was_up_[interface.index.value]) continue;
    was_up_[interface.index.value] = is_up;
    if (!is_up)
      forget_interface(interface.index, output);
    else
      for (const Ipv4Prefix& own : interface.addresses) announce(interface, own.address, output);
  }
}

void ArpResolver::announce_new(const Interface& old, const Interface& now, ArpOutput& output) {
  for (const Ipv4Prefix& own : now.addresses) {
    const auto has_it = [&](const Ipv4Prefix& before) { return before.address == own.address; };
    if (std::ranges::none_of(old.addresses, has_it)) announce(now, own.address, output);
  }
}

size_t ArpResolver::reconfigure(std::shared_ptr<const InterfaceTable> interfaces,
                                std::span<const NeighborRecord> statics, uint64_t now_ms, ArpOutput& output) {
  const auto old = std::exchange(interfaces_, std::move(interfaces));
  for (uint16_t i = 0; i < was_up_.size(); ++i) {
    const InterfaceIndex index(i);
    const bool stays = i < interfaces_->size() && is_same_interface((*old)[index], (*interfaces_)[index]);
    if (!stays)
      forget_interface(index, output);
    else if (was_up_[i])
      announce_new((*old)[index], (*interfaces_)[index], output);
    was_up_[i] = stays && was_up_[i];
  }
  was_up_.resize(interfaces_->size(), false);
  remove_statics_but(statics, output);
  return static_cast<size_t>(std::ranges::count_if(
      statics, [&](const NeighborRecord& record) { return !set_static(record, now_ms, output); }));
}

void ArpResolver::remove_statics_but(std::span<const NeighborRecord> wanted, ArpOutput& output) {
  std::set<Key> keys;
  for (const NeighborRecord& record : wanted) keys.insert(key_of(record.interface, record.address));
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const bool stays = entry->second.state != State::kPermanent ||
                       (keys.contains(entry->first) && has_wire(interface_of(entry->first)));
    entry = stays ? std::next(entry) : remove(entry, output);
  }
}

bool ArpResolver::set_static(const NeighborRecord& record, uint64_t now_ms, ArpOutput& output) {
  if (!has_wire(record.interface)) return false;
  const Key key = key_of(record.interface, record.address);
  Entry* entry = find(key);
  if (entry == nullptr) entry = add(key, now_ms);
  if (entry == nullptr) return false;
  permanent_ += entry->state != State::kPermanent;
  resolved(*entry, State::kPermanent, record.mac, now_ms, output);
  return true;
}

size_t ArpResolver::rows(uint64_t cursor, uint64_t now_ms, std::span<message::NeighborRow> rows,
                         uint64_t& next_cursor) const {
  size_t count = 0;
  auto next = entries_.lower_bound(cursor);
  for (; next != entries_.end() && count < rows.size(); ++next) {
    const auto& [key, entry] = *next;
    rows[count++] = {.record = {interface_of(key), address_of(key), entry.mac},
                     .state = entry.state,
                     .queued_packets = static_cast<uint16_t>(entry.queue.size()),
                     .age_s = static_cast<uint32_t>((now_ms - entry.confirmed_ms) / 1000)};
  }
  next_cursor = next == entries_.end() ? 0 : next->first;
  return count;
}

}  // namespace espalier::dataplane
