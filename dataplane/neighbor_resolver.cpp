#include "dataplane/neighbor_resolver.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "dataplane/arp.hpp"
#include "dataplane/link_local.hpp"

namespace espalier::dataplane {
namespace {

constexpr MacAddress kBroadcastMac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr uint64_t kNever = UINT64_MAX;

void drop(rte_mbuf* mbuf, DropReason reason, NeighborOutput& output) {
  packet(mbuf).reason = reason;
  packet(mbuf).exit = Exit::kDrop;
  output.dropped.push_back(mbuf);
}

}  // namespace

NeighborResolver::NeighborResolver(NeighborTable& table) : table_(table) {}

NeighborResolver::~NeighborResolver() {
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
      return NeighborResolver::kRetryMs;
    case State::kReachable:
      return NeighborResolver::kReachableMs;
    case State::kStale:
      return NeighborResolver::kStaleCheckMs;
    case State::kFailed:
      return NeighborResolver::kFailedMs;
    case State::kPermanent:
      return kNever;
  }
  return kNever;
}

}  // namespace

NeighborResolver::Entry* NeighborResolver::find(Key key) {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

// A new entry, incomplete; null when the table is full. Invalidates no other.
NeighborResolver::Entry* NeighborResolver::add(Key key, uint64_t now_ms) {
  const NeighborRef ref = table_.find_or_add(key.interface, key.address);
  if (ref == kNoNeighbor) return nullptr;
  Entry& entry = entries_[key];
  entry.ref = ref;
  entry.due_ms = entry.confirmed_ms = entry.used_ms = now_ms;
  ++unresolved_;
  return &entry;
}

NeighborResolver::Entries::iterator NeighborResolver::remove(Entries::iterator found,
                                                             NeighborOutput& output) {
  Entry& entry = found->second;
  discard(entry, DropReason::kEgressDown, output);  // only where its interface went: others have no queue
  table_.remove(entry.ref);
  unresolved_ -= is_unresolved(entry.state);
  permanent_ -= entry.state == State::kPermanent;
  return entries_.erase(found);
}

void NeighborResolver::become(Entry& entry, State state, uint64_t now_ms) {
  unresolved_ += is_unresolved(state);
  unresolved_ -= is_unresolved(entry.state);
  entry.state = state;
  entry.tries = 0;
  const uint64_t pause = pause_ms(state);
  entry.due_ms = pause == kNever ? kNever : now_ms + pause;
}

void NeighborResolver::resolved(Entry& entry, State state, const MacAddress& mac, uint64_t now_ms,
                                NeighborOutput& output) {
  const bool is_news = is_unresolved(entry.state) || entry.mac != mac;
  entry.mac = mac;
  entry.confirmed_ms = now_ms;
  become(entry, state, now_ms);
  if (is_news) table_.set_usable(entry.ref, mac);
  release(entry, output);
}

// RFC 4861 section 7.2.5, appendix C. An answer to our own question confirms a neighbour; anything else only
// tells its MAC address, which is then to be checked when it is used (stale). What is known already does not
// make it stale earlier.
void NeighborResolver::learn(Entry& entry, const News& news, uint64_t now_ms, NeighborOutput& output) {
  if (entry.state == State::kPermanent) return;
  const bool was_unresolved = is_unresolved(entry.state);
  if (was_unresolved && !news.mac) return;
  const MacAddress mac = news.mac.value_or(entry.mac);
  const bool is_other = was_unresolved || mac != entry.mac;
  if (is_other && !was_unresolved && !news.overrides) {
    if (entry.state == State::kReachable) become(entry, State::kStale, now_ms);
    return;
  }
  if (news.is_solicited)
    resolved(entry, State::kReachable, mac, now_ms, output);
  else if (is_other)
    resolved(entry, State::kStale, mac, now_ms, output);
}

// Whether somebody's question may make an entry for him.
bool NeighborResolver::may_learn(Key key) const {
  return (*interfaces_)[key.interface].has_network_with(key.address) &&
         entries_.size() - permanent_ < kMaxToLearn;
}

// Who asks for an own address is about to be answered. Null: there is no entry for him, and no room.
NeighborResolver::Entry* NeighborResolver::learn_asker(Key key, const MacAddress& mac, uint64_t now_ms,
                                                       NeighborOutput& output) {
  Entry* entry = find(key);
  if (entry == nullptr && may_learn(key)) entry = add(key, now_ms);
  if (entry != nullptr) learn(*entry, {.mac = mac}, now_ms, output);
  return entry;
}

// What is due. False: the entry is to be removed.
bool NeighborResolver::advance(Key key, Entry& entry, uint64_t now_ms, NeighborOutput& output) {
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

bool NeighborResolver::advance_stale(Key key, Entry& entry, uint64_t now_ms, NeighborOutput& output) {
  if (table_.take_used(entry.ref)) {
    entry.used_ms = now_ms;
    become(entry, State::kProbe, now_ms);
    request(key, entry, now_ms, output);
    return true;
  }
  entry.due_ms = now_ms + kStaleCheckMs;
  return now_ms - entry.used_ms < kUnusedMs;
}

void NeighborResolver::tick(uint64_t now_ms, NeighborOutput& output) {
  if (!interfaces_) return;
  follow_links(now_ms, output);
  announcer_.tick(*interfaces_, now_ms, output);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const bool keep = entry->second.due_ms > now_ms || advance(entry->first, entry->second, now_ms, output);
    entry = keep ? std::next(entry) : remove(entry, output);
  }
}

// --- Packets ---

void NeighborResolver::hold(Entry& entry, rte_mbuf* mbuf, NeighborOutput& output) {
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

void NeighborResolver::release(Entry& entry, NeighborOutput& output) {
  for (rte_mbuf* mbuf : entry.queue) {
    packet(mbuf).neighbor = entry.ref.value;
    output.ready.push_back(mbuf);
  }
  queued_ -= entry.queue.size();
  entry.queue.clear();
}

void NeighborResolver::discard(Entry& entry, DropReason reason, NeighborOutput& output) {
  for (rte_mbuf* mbuf : entry.queue) drop(mbuf, reason, output);
  queued_ -= entry.queue.size();
  entry.queue.clear();
}

void NeighborResolver::queue_packet(rte_mbuf* mbuf, uint64_t now_ms, NeighborOutput& output) {
  const Packet& record = packet(mbuf);
  if (!has_wire(record.out) || !(*interfaces_)[record.out].is_up())
    return drop(mbuf, DropReason::kEgressDown, output);
  const Key key{record.out, record.next_hop};
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

// --- Messages ---

bool NeighborResolver::listens(InterfaceIndex in) const {
  return has_wire(in) && (*interfaces_)[in].is_up();
}

// Whether `address`, which somebody uses, is ours. That is told, and nothing is believed of it.
bool NeighborResolver::is_conflict(const Interface& in, IpAddress address,
                                   const std::optional<MacAddress>& mac, NeighborOutput& output) {
  if (!interfaces_->is_own_address(address, in.index)) return false;
  ++counters_.conflicts;
  output.conflicts.push_back({.interface = in.index, .address = address, .mac = mac.value_or(MacAddress{})});
  return true;
}

void NeighborResolver::handle_arp(InterfaceIndex index, std::span<const uint8_t> bytes, uint64_t now_ms,
                                  NeighborOutput& output) {
  ++counters_.received;
  ArpPacket arp;
  if (!arp::parse(bytes, arp)) {
    ++counters_.malformed;
    return;
  }
  // A frame of our own that came back shows a loop or a second port on the same wire, but no neighbour.
  if (!listens(index) || is_own_mac(arp.sender_mac)) return;
  const Interface& in = (*interfaces_)[index];
  if (is_conflict(in, arp.sender_ip, arp.sender_mac, output)) return;
  if (!arp.sender_ip.is_unspecified()) learn_from_arp(in, arp, now_ms, output);
  // As Linux does by default (arp_ignore 0), for any own address; also to probes, which defends the address.
  if (arp.operation.host() == arp::kRequest && interfaces_->is_own_address(arp.target_ip))
    answer(in, arp, output);
}

void NeighborResolver::learn_from_arp(const Interface& in, const ArpPacket& arp, uint64_t now_ms,
                                      NeighborOutput& output) {
  const bool is_request = arp.operation.host() == arp::kRequest;
  const bool is_for_us = interfaces_->is_own_address(arp.target_ip);
  const Key key{in.index, arp.sender_ip};
  if (is_request && is_for_us) {
    learn_asker(key, arp.sender_mac, now_ms, output);
  } else if (Entry* entry = find(key)) {
    const bool is_solicited = !is_request && is_for_us && arp.target_mac == in.mac;
    learn(*entry, {.mac = arp.sender_mac, .is_solicited = is_solicited}, now_ms, output);
  }
}

DropReason NeighborResolver::handle_nd(InterfaceIndex index, std::span<const uint8_t> packet,
                                       size_t l4_offset, uint64_t now_ms, NeighborOutput& output) {
  ++counters_.received;
  nd::Message message;
  if (!nd::parse(packet, l4_offset, message)) {
    ++counters_.malformed;
    return DropReason::kNdInvalid;
  }
  if (!listens(index) || (message.mac && is_own_mac(*message.mac))) return DropReason::kUsedNd;
  const Interface& in = (*interfaces_)[index];
  switch (message.kind) {
    case nd::Message::Kind::kSolicitation:
      handle_solicitation(in, message, now_ms, output);
      break;
    case nd::Message::Kind::kAdvertisement:
      handle_advertisement(in, message, now_ms, output);
      break;
    case nd::Message::Kind::kQuery:
      announcer_.heard_query(in, message, now_ms);
      break;
    case nd::Message::Kind::kIgnored:
      break;
  }
  return DropReason::kUsedNd;
}

// RFC 4861 section 7.2.3. Unlike ARP, only addresses of this very link are answered for, as Linux does.
void NeighborResolver::handle_solicitation(const Interface& in, const nd::Message& question, uint64_t now_ms,
                                           NeighborOutput& output) {
  if (announcer_.heard(in, question, output) || !in.has_address(question.target)) return;
  if (is_conflict(in, question.source, question.mac, output)) return;
  answer(in, question, now_ms, output);
}

// RFC 4861 section 7.2.5.
void NeighborResolver::handle_advertisement(const Interface& in, const nd::Message& news, uint64_t now_ms,
                                            NeighborOutput& output) {
  if (announcer_.heard(in, news, output) || is_conflict(in, news.target, news.mac, output)) return;
  if (Entry* entry = find({in.index, news.target}))
    learn(*entry, {.mac = news.mac, .is_solicited = news.is_solicited, .overrides = news.overrides}, now_ms,
          output);
}

void NeighborResolver::request(Key key, Entry& entry, uint64_t now_ms, NeighborOutput& output) {
  ++entry.tries;
  entry.due_ms = now_ms + kRetryMs;
  key.address.is_v4() ? request_arp(key, entry, output) : request_nd(key, entry, output);
}

// A broadcast, or to the known MAC address where that is only to be confirmed. Without an own address in the
// neighbour's network the interface's first one asks, as with Linux.
void NeighborResolver::request_arp(Key key, const Entry& entry, NeighborOutput& output) {
  const Interface& interface = (*interfaces_)[key.interface];
  const bool is_probe = entry.state == State::kProbe;
  const IpAddress own = interface.address_towards(key.address);
  const Ipv4Address sender = own == IpAddress{} ? Ipv4Address{} : own.v4();
  output.frames.push_back({interface.index, is_probe ? entry.mac : kBroadcastMac, kEtherTypeArp,
                           arp::make(arp::kRequest, interface.mac, sender,
                                     is_probe ? entry.mac : MacAddress{}, key.address.v4())});
  ++counters_.requested;
}

// To the solicited-node group, or to the known MAC address. Nobody can ask while no own address is usable:
// the next try comes in a second, when they have been checked.
void NeighborResolver::request_nd(Key key, const Entry& entry, NeighborOutput& output) {
  const Interface& interface = (*interfaces_)[key.interface];
  const IpAddress own = interface.address_towards(key.address);
  if (own == IpAddress{}) return;
  const bool is_probe = entry.state == State::kProbe;
  const IpAddress destination = is_probe ? key.address : solicited_node(key.address);
  output.frames.push_back({interface.index, is_probe ? entry.mac : multicast_mac(destination), kEtherTypeIpv6,
                           nd::make_solicitation(own, destination, key.address, interface.mac)});
  ++counters_.requested;
}

void NeighborResolver::answer(const Interface& in, const ArpPacket& request, NeighborOutput& output) {
  output.frames.push_back(
      {in.index, request.sender_mac, kEtherTypeArp,
       arp::make(arp::kReply, in.mac, request.target_ip, request.sender_mac, request.sender_ip)});
  ++counters_.answered;
}

// RFC 4861 section 7.2.4. To somebody who checks whether the address is free: to all, which defends it. Who
// asks without telling his MAC address is asked for it in turn, and answered when he asks again.
void NeighborResolver::answer(const Interface& in, const nd::Message& question, uint64_t now_ms,
                              NeighborOutput& output) {
  const Key asker{in.index, question.source};
  const bool is_check = question.source == IpAddress{};
  MacAddress to = multicast_mac(kAllNodes);
  if (question.mac) {
    learn_asker(asker, *question.mac, now_ms, output);
    to = *question.mac;
  } else if (!is_check) {
    Entry* entry = find(asker);
    const bool has_room = unresolved_ < kMaxAskedBack && may_learn(asker);
    if (entry == nullptr && has_room && (entry = add(asker, now_ms))) request(asker, *entry, now_ms, output);
    if (entry == nullptr || is_unresolved(entry->state)) return;
    to = entry->mac;
  }
  const IpAddress destination = is_check ? kAllNodes : question.source;
  output.frames.push_back({in.index, to, kEtherTypeIpv6,
                           nd::make_advertisement(question.target, destination, in.mac, !is_check)});
  ++counters_.answered;
}

// --- Interfaces ---

// Whether it exists and speaks Ethernet.
bool NeighborResolver::has_wire(InterfaceIndex interface) const {
  return interfaces_ && interface.value < interfaces_->size() && (*interfaces_)[interface].has_wire();
}

bool NeighborResolver::is_own_mac(const MacAddress& mac) const {
  return std::ranges::any_of(*interfaces_, [&](const Interface& i) { return i.has_wire() && i.mac == mac; });
}

// All of it but the permanent entries.
void NeighborResolver::forget_interface(InterfaceIndex interface, NeighborOutput& output) {
  announcer_.stop(interface);
  auto entry = entries_.lower_bound({interface, {}});
  while (entry != entries_.end() && entry->first.interface == interface) {
    const bool stays = entry->second.state == State::kPermanent;
    entry = stays ? std::next(entry) : remove(entry, output);
  }
}

// Telling our addresses when a link comes up moves them on in switches and neighbours; what we knew about the
// neighbours of a link that went down may no longer be so.
void NeighborResolver::follow_links(uint64_t now_ms, NeighborOutput& output) {
  for (const Interface& interface : *interfaces_) {
    if (!interface.has_wire()) continue;
    const bool is_up = interface.is_up();
    if (is_up == was_up_[interface.index.value]) continue;
    was_up_[interface.index.value] = is_up;
    if (is_up)
      announcer_.start(interface, now_ms, output);
    else
      forget_interface(interface.index, output);
  }
}

size_t NeighborResolver::reconfigure(std::shared_ptr<const InterfaceTable> interfaces,
                                     std::span<const NeighborRecord> statics, uint64_t now_ms,
                                     NeighborOutput& output) {
  const auto old = std::exchange(interfaces_, std::move(interfaces));
  for (uint16_t i = 0; i < was_up_.size(); ++i) {
    const InterfaceIndex index(i);
    const bool stays = i < interfaces_->size() && is_same_interface((*old)[index], (*interfaces_)[index]);
    if (!stays)
      forget_interface(index, output);
    else if (was_up_[i])
      announcer_.start_new((*old)[index], (*interfaces_)[index], now_ms, output);
    was_up_[i] = stays && was_up_[i];
  }
  announcer_.keep_only(*interfaces_);
  was_up_.resize(interfaces_->size(), false);
  remove_statics_but(statics, output);
  return static_cast<size_t>(std::ranges::count_if(
      statics, [&](const NeighborRecord& record) { return !set_static(record, now_ms, output); }));
}

void NeighborResolver::remove_statics_but(std::span<const NeighborRecord> wanted, NeighborOutput& output) {
  std::set<Key> keys;
  for (const NeighborRecord& record : wanted) keys.insert({record.interface, record.address});
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const bool stays = entry->second.state != State::kPermanent ||
                       (keys.contains(entry->first) && has_wire(entry->first.interface));
    entry = stays ? std::next(entry) : remove(entry, output);
  }
}

bool NeighborResolver::set_static(const NeighborRecord& record, uint64_t now_ms, NeighborOutput& output) {
  if (!has_wire(record.interface)) return false;
  const Key key{record.interface, record.address};
  Entry* entry = find(key);
  if (entry == nullptr) entry = add(key, now_ms);
  if (entry == nullptr) return false;
  permanent_ += entry->state != State::kPermanent;
  resolved(*entry, State::kPermanent, record.mac, now_ms, output);
  return true;
}

size_t NeighborResolver::rows(uint64_t cursor, uint64_t now_ms, std::span<message::NeighborRow> rows,
                              uint64_t& next_cursor) const {
  size_t count = 0;
  auto next = std::next(entries_.begin(), static_cast<long>(std::min<uint64_t>(cursor, entries_.size())));
  for (; next != entries_.end() && count < rows.size(); ++next) {
    const auto& [key, entry] = *next;
    rows[count++] = {.record = {key.interface, key.address, entry.mac},
                     .state = entry.state,
                     .queued_packets = static_cast<uint16_t>(entry.queue.size()),
                     .age_s = static_cast<uint32_t>((now_ms - entry.confirmed_ms) / 1000)};
  }
  next_cursor = next == entries_.end() ? 0 : cursor + count;
  return count;
}

}  // namespace espalier::dataplane
